//! Bounds of the session service. Those that an operator may want to change are defaults of
//! [`Settings`](super::Settings).

use std::time::Duration;

/// Largest value of a session, in bytes, unless another is configured.
pub const VALUE_BYTES: usize = 64 * 1024;

/// Highest bound that can be configured for the value of a session, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Idle time after which a session is over, unless the request or the configuration says otherwise.
pub const TTL: Duration = Duration::from_secs(30 * 60);

/// Shortest time that a session may be given.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// Longest life of a session, however busy, unless another is configured.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Highest bound that can be configured for the life of a session.
pub const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most connections at once, unless another number is configured.
pub const CONNECTIONS: usize = 1024;

/// Longest key of a session, in bytes without escapes.
pub const KEY_BYTES_MAX: usize = 256;

/// Longest owner of a session, in bytes without escapes.
pub const OWNER_BYTES_MAX: usize = 256;

/// Longest content type, in bytes.
pub const TYPE_BYTES_MAX: usize = 128;

/// Longest query, in bytes: an owner and a cursor whose every byte is escaped, and the rest.
pub const QUERY_BYTES_MAX: usize = 4 * 1024;

/// Most entity tags in one condition.
pub const TAGS_MAX: usize = 16;

/// Deepest object of a merge patch.
pub const PATCH_DEPTH_MAX: usize = 64;

/// Most keys of one bulk read.
pub const BULK_KEYS_MAX: usize = 100;

/// Largest body of a bulk read, in bytes: every byte of every key may be escaped.
pub const BULK_REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Bytes of values after which a bulk read answers no more of them.
pub const BULK_VALUES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most bytes that an answer says of a session without its value: a key and an owner of which every byte is escaped make half
/// of it.
pub const LISTED_BYTES_MAX: usize = 2 * 1024;

/// Bytes that the answers to all bulk reads and listings together may hold until their callers have read them.
pub const ANSWERS_BYTES_MAX: usize = 128 * 1024 * 1024;

/// One namespace may hold this part of it, so that callers of one who do not read keep no other from its answers.
pub const ANSWERS_OF_ONE_NAMESPACE: usize = 4;

/// Bytes that the bodies of all requests together may hold, from when they come to when their requests are answered: values of
/// [`VALUE_BYTES`] on every one of [`CONNECTIONS`], twice. It is more where so much would not do for [`BODIES_AT_ONCE`].
pub const BODIES_BYTES_MAX: usize = 128 * 1024 * 1024;

/// So many bodies of the largest size find room at a time. With fewer, those of honest clients that come side by side would take
/// what there is when they are half there, and wait for one another.
pub const BODIES_AT_ONCE: usize = 512;

/// One namespace may hold this part of it, so that callers of one who send slowly keep no other from its requests; nor can
/// whoever has seen the head of one request, and sends it with bodies that never end.
pub const BODIES_OF_ONE_NAMESPACE: usize = 2;

/// Bytes of values that are on their way to the store at a time. There each is held three times: as its request's body, in a
/// command, and in the buffer of a connection. Others wait for their turn, and are held once.
pub const SENDING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Sessions that one bulk read or listing asks the store for at the same time.
pub const PARALLEL_MAX: usize = 16;

/// Most sessions of one page of a listing, and how many there are unless the request says otherwise.
pub const PAGE_MAX: usize = 100;

/// Most sessions that one owner may have.
pub const OWNER_SESSIONS_MAX: usize = 1_000;

/// How long an entry of an owner stays after it was written, or after its session can last have lived. It is more than
/// the time from entering a session to writing it, and what clocks of a cluster differ by.
pub const ENTRY_GRACE: Duration = Duration::from_secs(60);

/// Reads of a session that lengthen lives enter it among its owner's again after this time: a list can be lost without its
/// sessions.
pub const ENTRY_PERIOD: Duration = Duration::from_secs(5 * 60);

/// Longest wait of such a read for that, with its answer in hand.
pub const ENTRY_PATIENCE: Duration = Duration::from_millis(250);

/// Entries of an owner that are looked at when one is written.
pub const NEIGHBOURS: usize = 8;

/// Longest wait for the body of a request.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait of a request for the store, with all its steps there.
pub const STORE_DEADLINE: Duration = Duration::from_secs(2);

/// No step begins with less than this left: it would most likely end as one of unknown outcome.
pub const STEP_MIN: Duration = Duration::from_millis(50);

/// What the clocks of the servers of a store may differ by.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// A nonce is remembered for so much longer than its signature can be believed: for as long as a request that began just
/// before that can still be carried out ([`STORE_DEADLINE`] and [`CLOCK_TOLERANCE`]), and a little more.
pub const NONCE_MARGIN: Duration = Duration::from_secs(10);

/// Bound of the first pause after a mark could not be written; it doubles with each further one up to [`MARK_PAUSE_MAX`].
pub const MARK_PAUSE_MIN: Duration = Duration::from_millis(50);

/// See [`MARK_PAUSE_MIN`].
pub const MARK_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A mark that is ahead of a gateway's clock by so much is told of.
pub const MARK_AHEAD_TOLD: Duration = Duration::from_secs(3);

/// Shortest time between the end of writing all marks, which are 16,384 in a cluster, and its next beginning.
pub const MARK_REST: Duration = Duration::from_secs(1);

/// Times that a change is tried on the state that another writer left.
pub const CHANGE_ATTEMPTS: u32 = 8;

/// What a caller is asked to wait when the store does not answer.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Lines about a store that fails, in each [`LOG_PERIOD`].
pub const LOG_LINES: u32 = 5;

/// See [`LOG_LINES`].
pub const LOG_PERIOD: Duration = Duration::from_secs(10);
