//! Bounds of the driver. Those that an operator may want to change are defaults of [`Settings`](crate::Settings).

use std::time::Duration;

/// Most requests that one connection owes answers for.
pub const IN_FLIGHT_MAX: usize = 16 * 1024;

/// Most bytes of requests that one connection owes answers for.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most callers that wait for a connection or for room in it. The next one is refused at once.
pub const WAITING_MAX: usize = 64 * 1024;

/// Most bytes of requests whose callers wait.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest reply.
pub const REPLY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Time that a call may take in all, unless it says otherwise.
pub const CALL_DEADLINE: Duration = Duration::from_secs(1);

/// Longest wait for a connection to be accepted, name look-up and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for the answers to `HELLO` and what follows it.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Silence after which a server that owes an answer counts as dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Checks of the silence within that time; each also shows whether this process itself was asleep.
pub(crate) const SILENCE_CHECKS: u32 = 4;

/// So many times that silence may a server owe an answer while it sends pushes: those of a long queue may come first.
pub(crate) const PUSHES_FOR_SILENCES: u32 = 5;

/// Idle time after which a `PING` asks whether the server is still there. With [`SILENCE_MAX`] it bounds the time for which a
/// half-open connection goes unnoticed to 5 s.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// Upper bound of the pause before the second attempt to connect; it doubles with every further one.
pub const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Where the upper bound of the pause stops growing.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(300);

/// A connection that lived this long was good: the next pause begins small again.
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Times that one idempotent call is sent again after its outcome was lost.
pub(crate) const RESENDS_MAX: u32 = 3;

/// Most arguments of a command.
pub(crate) const ARGUMENTS_MAX: usize = 1024 * 1024;

/// Most commands of a batch or a transaction.
pub(crate) const BATCH_COMMANDS_MAX: usize = 16 * 1024;

/// Most dedicated connections of one client.
pub const DEDICATED_MAX: usize = 64;

/// Difference by which the clock that counts sleep may run ahead of the one that does not without this machine having slept.
pub(crate) const SUSPENSION_MIN: Duration = Duration::from_millis(500);

/// Most bytes of answers that a client-side cache keeps.
pub const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most answers that a client-side cache keeps.
pub const CACHE_ENTRIES_MAX: usize = 100_000;

/// Longest life of an answer in a client-side cache.
pub const CACHE_TTL_MAX: Duration = Duration::from_secs(10 * 60);

/// An answer that would take more than this part of the cache is not kept.
pub(crate) const CACHE_SHARE_MIN: usize = 8;

/// Bytes of encoded arguments that a command holds without memory of its own: a name, a key of fifty bytes, or a shorter one and a
/// short value.
pub(crate) const BODY_INLINE_BYTES: usize = 72;

/// Longest command name that is looked up; no known one is longer.
pub(crate) const NAME_BYTES_MAX: usize = 24;

/// Bytes that a read may bring.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// Room below which the read buffer is extended.
pub(crate) const READ_BYTES_MIN: usize = 4 * 1024;

/// An empty read buffer with more room than this is given back: a large reply had made it grow.
pub(crate) const READ_BUFFER_KEPT_BYTES: usize = 4 * READ_BYTES;

/// Answers that are delivered before their callers have their turn: a quarter of what is owed, within these bounds. Fewer
/// would make small writes; with more the server waits for all callers, and then all callers for the server.
pub(crate) const ANSWERS_PER_TURN_MIN: usize = 16;

/// See [`ANSWERS_PER_TURN_MIN`]; where several threads run the tasks. One of them has room for 256 that are to run, and the more
/// there are, the more of them move to another thread, which costs more than it gains.
pub(crate) const ANSWERS_PER_TURN_MAX: usize = 128;

/// As [`ANSWERS_PER_TURN_MAX`], where one thread runs all tasks.
pub(crate) const ANSWERS_PER_TURN_ALONE_MAX: usize = 512;

/// See [`ANSWERS_PER_TURN_MIN`].
pub(crate) const TURNS_PER_ROUND: usize = 4;

/// Reads in a row before writes and timers get their turn.
pub(crate) const READS_PER_TURN_MAX: usize = 16;

/// An empty write buffer larger than this is given back.
pub(crate) const WRITE_BUFFER_KEPT_BYTES: usize = 1024 * 1024;

/// Bytes of a text of the server's that an error repeats.
pub(crate) const ERROR_TEXT_BYTES_MAX: usize = 512;

/// Stands for a deadline beyond what the clock can count.
pub(crate) const DEADLINE_FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The port of a server whose URL names none.
pub(crate) const DATABASE_PORT: u16 = 6379;

/// The port of a sentinel whose URL names none.
pub(crate) const SENTINEL_PORT: u16 = 26379;

/// Longest URL. Passwords may be tokens.
pub const URL_BYTES_MAX: usize = 64 * 1024;

/// Most hosts in one URL.
pub const TARGETS_MAX: usize = 64;

/// Longest host name; the same as in DNS.
pub(crate) const HOST_BYTES_MAX: usize = 255;

/// Longest name of a service that sentinels watch.
pub(crate) const SERVICE_BYTES_MAX: usize = 255;

/// Longest path of a socket: what fits into an address of the operating system.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest wait for a provider of credentials.
pub const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(5);

/// Upper bound of the pause after the server refused the credentials. Asking more often would fill its logs and may lock the
/// user out; news from the provider end the pause.
pub const CREDENTIALS_PAUSE: Duration = Duration::from_secs(5);

/// How often files with credentials are read again.
pub const CREDENTIAL_FILES_INTERVAL: Duration = Duration::from_secs(2);

/// Longest file with a user or a password.
pub const CREDENTIAL_FILE_BYTES_MAX: usize = 64 * 1024;

/// Most sentinels of one service that are known; more seeds than these are all kept.
pub(crate) const SENTINELS_MAX: usize = 64;

/// Longest wait for a sentinel: to connect, to log in, and for its answers, each.
pub const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);

/// Longest answer of a sentinel. One about another sentinel has less than 1 KiB.
pub(crate) const SENTINEL_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Most values in an answer of a sentinel.
pub(crate) const SENTINEL_ANSWER_VALUES_MAX: usize = 16 * 1024;

/// Time after which the primary is looked for again, whatever the sentinels tell of their own accord.
pub const SENTINEL_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest time between two looks that a sentinel gives reason for.
pub(crate) const SENTINEL_LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Where the upper bound of the pause between two attempts to listen to a sentinel stops growing.
pub(crate) const SENTINEL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Sentinels that an error names with what is wrong with them.
pub(crate) const SEARCH_FAILURES_SHOWN_MAX: usize = 8;

/// Most nodes of a cluster that a client keeps connections to; Redis advises against more than 1000.
pub const CLUSTER_NODES_MAX: usize = 1024;

/// Most nodes whose addresses are kept, with those that redirects named or that are on their way off the map.
pub(crate) const CLUSTER_PLACES_MAX: usize = 2 * CLUSTER_NODES_MAX;

/// Most replicas of one primary that are known.
pub const CLUSTER_REPLICAS_MAX: usize = 64;

/// A replica has this part of the time that a call has left; then the primary is asked.
pub(crate) const REPLICA_SHARE: u32 = 2;

/// Redirects in a row that one call follows at once. A slot that moves needs one or two.
pub(crate) const REDIRECTS_AT_ONCE_MAX: u32 = 3;

/// Redirects and refusals after which one call gives up: nodes that send it round and round do not agree.
pub const REDIRECTS_MAX: u32 = 256;

/// Upper bound of the first pause after a refusal of a cluster; it doubles with every further one.
pub(crate) const CLUSTER_PAUSE_MIN: Duration = Duration::from_millis(5);

/// Where the upper bound of that pause stops growing.
pub(crate) const CLUSTER_PAUSE_MAX: Duration = Duration::from_millis(250);

/// Longest wait for a connection to the node to which a slot is on its way, before the owner is asked again.
pub(crate) const CLUSTER_ASK_PATIENCE: Duration = Duration::from_millis(250);

/// How often the layout of a cluster is asked for when nothing says that it has changed.
pub const CLUSTER_REFRESH_PERIOD: Duration = Duration::from_secs(10);

/// Shortest time between two refreshes of the layout, whatever happens.
pub const CLUSTER_REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// Where the pause between refreshes stops growing while something is amiss: a node is missed, or no answer is new enough.
pub(crate) const CLUSTER_REFRESH_PAUSE_MAX: Duration = Duration::from_millis(300);

/// Refreshes in a row without any answer after which the cluster counts as out of reach.
pub(crate) const CLUSTER_SILENT_ROUNDS: u32 = 3;

/// Nodes that are asked in one refresh.
pub(crate) const CLUSTER_REFRESH_NODES: usize = 3;

/// Refreshes after which a node that has left the map is forgotten.
pub(crate) const CLUSTER_LINGER_ROUNDS: u32 = 3;

/// Wait for further answers to a refresh after one has come: nodes that are well answer at the same time.
pub(crate) const CLUSTER_REFRESH_GRACE: Duration = Duration::from_millis(50);

/// Longest wait for the answer of one node to a refresh.
pub(crate) const CLUSTER_REFRESH_TIMEOUT: Duration = Duration::from_millis(500);

/// Refreshes in a row that must tell of a sound cluster with a smaller epoch before it is believed to have been built anew.
pub(crate) const CLUSTER_REBIRTH_ROUNDS: u32 = 20;

/// Commands of which a fake server remembers that they came; see [`Fake::commands`](crate::fake::Fake::commands).
#[cfg(feature = "fake")]
pub const FAKE_COMMANDS_MAX: usize = 16 * 1024;

/// Data above which a fake server refuses commands that need memory, as Redis does at its `maxmemory`.
#[cfg(feature = "fake")]
pub const FAKE_MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest answer of a fake server.
#[cfg(feature = "fake")]
pub(crate) const FAKE_REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Messages that wait for one connection of a fake server. Whoever lets more come up is cut off, as Redis does.
#[cfg(feature = "fake")]
pub(crate) const FAKE_MESSAGES_MAX: usize = 64 * 1024;

/// Bytes that lie between a client and a fake server before the writer has to wait, as in the buffers of a socket.
#[cfg(feature = "fake")]
pub(crate) const FAKE_PIPE_BYTES: usize = 256 * 1024;

/// Most messages that wait to be read from one subscription; the next ones are thrown away and counted.
pub const SUBSCRIPTION_MESSAGES_MAX: usize = 1024;

/// Most bytes of messages that wait to be read from one subscription.
pub const SUBSCRIPTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most subscriptions of one subscriber.
pub const SUBSCRIPTIONS_MAX: usize = 64 * 1024;

/// Parts of a counter that is counted up by several threads at a time.
pub(crate) const COUNTER_PARTS: usize = 8;

/// Longest name of a channel, and longest pattern.
pub const TOPIC_BYTES_MAX: usize = 64 * 1024;

/// Most commands about subscriptions whose answers one connection is owed; others wait for their turn.
pub(crate) const SUBSCRIBER_IN_FLIGHT_MAX: usize = 128;

/// Bytes that a read of a subscriber may bring. A message that waits keeps them all in memory.
pub(crate) const SUBSCRIBER_READ_BYTES: usize = 16 * 1024;

/// Pause before a subscription that the server refuses is tried again; it doubles with every further refusal.
pub(crate) const SUBSCRIBE_PAUSE_MIN: Duration = Duration::from_millis(100);

/// Where that pause stops growing.
pub(crate) const SUBSCRIBE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Most nodes of a cluster that a subscriber learns of, beside those that it was given.
pub(crate) const SUBSCRIBER_NODES_MAX: usize = 64;

/// Of those, the ones that it tries before it comes back to the nodes that it was given.
pub(crate) const SUBSCRIBER_NODES_PER_ROUND: usize = 3;

/// Most nodes of a cluster to which a subscriber holds connections for shard channels, beside its first one.
pub(crate) const SHARD_NODES_MAX: usize = 64;

/// Most times that a shard channel is sent on from node to node before it has to wait.
pub(crate) const SHARD_MOVES_MAX: u32 = 5;
