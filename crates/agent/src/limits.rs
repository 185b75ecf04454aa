//! Every bound of this crate that is not a setting.

use std::time::Duration;

/// Most entries of a join list.
pub const JOIN_MAX: usize = 64;
/// Longest address (`host:port`) of a gateway or service, in bytes: the longest DNS name and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;
/// Tunnels to one gateway that are being dialled at the same time.
pub const DIALS_AT_ONCE_MAX: usize = 64;
/// Longest wait for a turn to dial. Gateways take a ticket for 30 s, and the dial itself is to fit as well.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(20);
/// Tickets in one message that are looked at; the rest is answered as failed.
pub const TICKETS_PER_MESSAGE_MAX: usize = 1_000;
/// Tickets in one message that says that tunnels will not come: it stays well below what a gateway takes.
pub const FAILED_PER_MESSAGE_MAX: usize = 512;
/// Failed tickets that wait to be told. A gateway that hands out more at once is left to let them expire.
pub const FAILED_PENDING_MAX: usize = 4_096;
/// Longest ticket, in bytes.
pub const TICKET_BYTES_MAX: usize = 256;
/// Largest message from a gateway on the control connection, in bytes: all tickets of the longest kind fit.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 512 * 1024;
/// Messages to a gateway that wait to be sent. A gateway that lets so many pile up does not read and is given up.
pub const OUTBOUND_MESSAGES_MAX: usize = 64;
/// Events of sessions that wait for the supervisor; a session whose event does not fit waits, nobody else does.
pub const SESSION_EVENTS_MAX: usize = 64;
/// Largest `Open` on a tunnel, in bytes.
pub const OPEN_BYTES_MAX: u32 = 4 * 1024;
/// Longest text for people in a message or a status, in bytes.
pub const DETAIL_BYTES_MAX: usize = 512;
/// Longest wait for a frame of ours to leave on a tunnel.
pub const FRAME_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle tunnel that its gateway ends sooner than this was not welcome: gateways close idle ones when they are old.
pub const TUNNEL_WELCOME_AFTER: Duration = Duration::from_secs(2);
/// How long after the end of such a tunnel the end of its session may show, which then explains it.
pub const SESSION_END_SHOWS_WITHIN: Duration = Duration::from_secs(1);
/// Shortest and longest heartbeat period that a gateway may ask for.
pub const HEARTBEAT_PERIOD: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(60);
/// Periods without a word from the gateway after which it is dead.
pub const HEARTBEATS_MISSED_MAX: u32 = 3;
/// Longest jitter of a drain that is obeyed.
pub const DRAIN_JITTER_MAX: Duration = Duration::from_secs(60);
/// First bound of the wait after a refused login, and before a gateway that drains is tried again.
pub const SLOW_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// After the grace, how long streams that were cut may take to be gone.
pub const CUT_TIMEOUT: Duration = Duration::from_secs(1);
/// After `Leaving`, how long idle tunnels stay for streams that the gateway had already begun to open.
pub const LEAVING_SETTLE: Duration = Duration::from_millis(500);
/// Longest wait for the gateway to answer the end of a control connection.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 flow-control window of the one stream of a control connection, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// HTTP/2 flow-control window of a control connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Time between HTTP/2 pings.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(10);
/// Time after which an unanswered HTTP/2 ping ends the connection.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
