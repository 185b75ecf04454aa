//! Every bound of this crate, and why it has its value. What an operator may want to change is in
//! [`crate::Settings`], which starts from the defaults here.

use std::time::Duration;

/// Fewest idle tunnels that a gateway keeps per agent, so that the first requests find one.
pub const IDLE_MIN_DEFAULT: usize = 2;
/// Most tunnels of one agent at one gateway: idle, busy and being dialled together.
pub const TUNNELS_PER_AGENT_MAX: usize = 500;
/// Most spare tunnels that are being dialled at a time, beyond those that somebody already waits for.
pub const DIAL_STEP_MAX: usize = 10;
/// Most idle tunnels that demand can make a gateway keep per agent.
pub const SPARE_MAX: usize = 64;
/// Most requests that wait for a tunnel of one agent.
pub const WAITERS_PER_AGENT_MAX: usize = 1_024;
/// Most tickets in one Dial message, which bounds its size.
pub const DIAL_TICKETS_MAX: usize = 64;
/// How long a ticket is good for.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Age at which an idle tunnel is closed: middle boxes forget connections, and certificates change.
pub const TUNNEL_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Quiet time after which the number of spare tunnels that demand had raised is halved.
pub const SPARE_HALVES_AFTER: Duration = Duration::from_secs(60);
/// First and longest pause of dialling after an agent reported that it could not dial.
pub const DIAL_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Time between two heartbeats of each side.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Heartbeats that may be missing in a row before the other side counts as dead.
pub const HEARTBEATS_MISSED_MAX: u32 = 3;
/// Messages to an agent that may wait for the agent to read. Few are needed: what has no room is decided anew later.
pub const OUTBOUND_MESSAGES_MAX: usize = 32;
/// Largest message from an agent: 256 names of 63 bytes with their framing fit several times over.
pub const AGENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest text that is taken over from a peer into errors and logs.
pub const PEER_TEXT_BYTES_MAX: usize = 256;

/// Most agents attached to one gateway.
pub const AGENTS_MAX: usize = 20_000;
/// Control connections per agent that is allowed: a leaving agent keeps its own until its streams have ended.
pub const CONVERSATIONS_PER_AGENT: usize = 2;
/// Connections of one port that have not yet said who they are: TLS handshake, first bytes, login, ticket.
pub const STRANGERS_MAX: usize = 1_024;
/// Those of one address. As many as [`STRANGERS_MAX`] more wait in a queue; who has said who he is counts no more. So many
/// places again are kept for addresses from which an agent is attached.
pub const STRANGERS_PER_ADDRESS_MAX: usize = STRANGERS_MAX / 4;
/// Longest wait in that queue; an agent does not wait longer for the handshake.
pub const QUEUED_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for the first bytes after the TLS handshake, and for the hello or hop request that follows them.
pub const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time from the first bytes of a control connection to its login.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time a control connection may take to end after its session has.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest TunnelHello.
pub const HELLO_BYTES_MAX: u32 = 64;
/// Largest Opened, and largest HopReply.
pub const ANSWER_BYTES_MAX: u32 = 4 * 1024;
/// Largest HopRequest: names, a request id and an address.
pub const HOP_REQUEST_BYTES_MAX: u32 = 1_024;
/// Pause after the operating system refused to accept (no descriptors left, for example).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Warnings about strangers, and about refused agents, that are logged per [`WARNING_PERIOD`]; the rest are counted.
pub const WARNINGS_MAX: u32 = 10;
/// See [`WARNINGS_MAX`].
pub const WARNING_PERIOD: Duration = Duration::from_secs(10);

/// HTTP/2 streams per control connection: one is used.
pub const H2_STREAMS_MAX: u32 = 4;
/// HTTP/2 window of a stream. The connection's is four times that, so no unread stream can freeze the others.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// See [`H2_STREAM_WINDOW_BYTES`].
pub const H2_CONNECTION_WINDOW_BYTES: u32 = H2_STREAMS_MAX * H2_STREAM_WINDOW_BYTES;
/// Largest header list of a request on a control connection.
pub const H2_HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Streams that an agent may reset before the connection counts as an attack.
pub const H2_RESETS_MAX: usize = 32;
/// HTTP/2 ping period and the longest wait for its answer. Pings show a dead peer; only the in-stream heartbeats show
/// that messages still flow.
pub const H2_KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));

/// Longest time to open a stream, all attempts included.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for a tunnel of an agent that is attached here.
pub const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an agent to connect to the service behind it.
pub const OPENED_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait for an agent's answer to an open before it is asked for a sign of life, and then for that sign. An agent that gives
/// it may take [`OPENED_TIMEOUT`]; one that does not is given up, because others may do what it cannot.
pub const DOUBT_AFTER: Duration = Duration::from_secs(1);
/// Pooled tunnels that may turn out to be dead before an open gives the agent up.
pub const DEAD_TUNNELS_MAX: usize = 3;
/// Wait for one gateway's answer before the next one is asked as well.
pub const HEDGE_AFTER: Duration = Duration::from_millis(10);
/// Wait for a tunnel of a local agent before other holders are asked as well: a dial takes a round trip to the agent.
pub const LOCAL_PATIENCE: Duration = Duration::from_millis(50);
/// First and longest pause between two rounds of looking for an agent that is registered and cannot be reached.
pub const ROUND_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Time after which a request whose candidates all hang looks who else holds its agent now.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Local agents that are considered for one request to a service which many of them offer.
pub const LOCAL_AGENTS_ASKED_MAX: usize = 8;
/// Holders that are asked in one round.
pub const HOLDERS_ASKED_MAX: usize = 16;
/// Asks of one open, over all rounds. At the longest pause the time runs out first.
pub const ASKS_MAX: usize = 128;
/// Streams that run through one gateway: opened by its entries, or passed on for other gateways.
pub const STREAMS_MAX: usize = 65_536;

/// Longest time to reach another gateway, TLS included.
pub const HOP_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer than a tunnel may take the asker waits for a hop's reply.
pub const HOP_SLACK: Duration = Duration::from_secs(1);
/// Longest time that a tunnel is held for another gateway that has not committed.
pub const HOP_COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// A gateway that could not be reached is asked last for this long.
pub const SUSPECT_FOR: Duration = Duration::from_secs(5);
/// Gateways that are remembered as suspected.
pub const SUSPECTS_MAX: usize = 1_024;

/// Longest wait for another gateway's status.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// Gateways that are asked for their status at a time.
pub const STATUS_ASKED_MAX: usize = 16;
/// Size of a status at which it lists no more agents; the frame's own limit is 4 MiB.
pub const STATUS_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Longest random wait that a draining gateway asks of its agents, so that they do not all move at once.
pub const DRAIN_JITTER: Duration = Duration::from_secs(2);

/// How long after that an agent may take to move. A gateway that drains and serves no stream ends then, although agents
/// are attached that found no other gateway.
pub const MOVE_TIME: Duration = Duration::from_secs(3);

/// Longest wait for the registry to withdraw everything at the end of a drain.
pub const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(2);
