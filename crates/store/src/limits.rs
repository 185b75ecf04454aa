//! Every bound of the server.

use std::time::Duration;

/// Connections at once unless the settings say otherwise.
pub const CLIENTS_MAX_DEFAULT: usize = 10_000;

/// Room that is made in a connection's buffer before each read.
pub const READ_BYTES: usize = 16 * 1024;

/// Longest reply that is kept for one client; a client whose replies need more is cut off.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Replies are written once so many bytes have gathered, before more requests of the client are run.
pub const OUTPUT_BATCH_BYTES: usize = 256 * 1024;

/// Buffers that have grown beyond this are given back when they are empty.
pub const BUFFER_KEPT_BYTES: usize = 64 * 1024;

/// Requests of one client that are run before the others get their turn.
pub const BATCH_REQUESTS_MAX: usize = 512;

/// Time after which the others get their turn, when requests are slow. One request is never interrupted.
pub const BATCH_TIME_MAX: Duration = Duration::from_millis(2);

/// A client that takes no byte of its replies for so long is cut off.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// A client that has to authenticate and has not done so for so long is cut off, whatever it sends meanwhile.
pub const AUTHENTICATION_MAX: Duration = Duration::from_secs(60);

/// How long a connection that is being closed gets to take what is left for it.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How long connections get to send their last replies when the store ends.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Wait after a failed accept: descriptors may come free.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Period of the active expiry and of the clean-up.
pub const HOUSEKEEPING_PERIOD: Duration = Duration::from_millis(100);

/// Longest time that one round of housekeeping takes from the clients.
pub const HOUSEKEEPING_MAX: Duration = Duration::from_millis(2);

/// Pause between two rounds while there is much to expire: with it housekeeping takes a quarter of the time.
pub const HOUSEKEEPING_PAUSE_BUSY: Duration = Duration::from_millis(6);

/// Steps of one round of housekeeping, whatever the clock says.
pub const HOUSEKEEPING_STEPS_MAX: usize = 1_024;

/// Segments that one step of the active expiry looks at: a millisecond, if all in them is due.
pub const EXPIRE_SEGMENTS_PER_STEP: usize = 16;

/// Segments in which a command that needs memory looks for expired keys before it is refused.
pub const EXPIRE_SEGMENTS_WHEN_FULL: usize = 16;

/// Longest name of a connection, and of a client library.
pub const CLIENT_NAME_BYTES_MAX: usize = 256;

/// Text of arguments that an error about an unknown command repeats.
pub const ERROR_ECHO_BYTES_MAX: usize = 128;

/// Entries of the slow log unless the settings say otherwise, and the most that CONFIG SET takes.
pub const SLOWLOG_LENGTH_DEFAULT: usize = 128;
/// Most entries that CONFIG SET allows the slow log.
pub const SLOWLOG_LENGTH_MAX: usize = 10_000;
/// Arguments that a slow log entry keeps.
pub const SLOWLOG_ARGUMENTS_MAX: usize = 32;
/// Bytes that a slow log entry keeps of an argument.
pub const SLOWLOG_ARGUMENT_BYTES_MAX: usize = 128;

/// Longest run of a script unless the settings say otherwise.
pub const SCRIPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Lua instructions of one script, whatever the clock says: several times what the default time allows.
pub const SCRIPT_INSTRUCTIONS_MAX: u64 = 10_000_000_000;

/// Lua instructions between two looks at the clock. Few, because one of them can take 20 ms (joining strings of many
/// megabytes); scripts that only compute pay for it with a fifth of their speed.
pub const SCRIPT_HOOK_INSTRUCTIONS: u32 = 200;

/// Memory of the Lua interpreter: all scripts and the data of the one that runs.
pub const SCRIPT_MEMORY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Garbage is collected after a script once the interpreter has grown by so much since the last time.
pub const SCRIPT_MEMORY_GROWTH_BYTES: usize = 16 * 1024 * 1024;

/// Longest text of a script.
pub const SCRIPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Scripts that EVAL leaves behind for EVALSHA; the oldest goes first.
pub const SCRIPTS_EVALUATED_MAX: usize = 500;

/// Scripts that SCRIPT LOAD keeps.
pub const SCRIPTS_LOADED_MAX: usize = 5_000;

/// Memory of the code of all scripts that are kept: it is a part of the interpreter's, which the script that runs needs.
/// Code takes several times the memory of its text.
pub const SCRIPTS_CODE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Largest reply of a command to a script, kept as a whole before it becomes a Lua value.
pub const SCRIPT_CALL_REPLY_BYTES_MAX: usize = SCRIPT_MEMORY_BYTES_MAX;

/// Longest status and longest error that a script answers; what is longer is cut.
pub const SCRIPT_LINE_BYTES_MAX: usize = 4 * 1024;

/// Steps of pattern matching (string.find and its kin) in one run of a script.
pub const PATTERN_STEPS_MAX: u64 = 100_000_000;

/// Deepest nesting of a pattern match.
pub const PATTERN_DEPTH_MAX: u32 = 200;

/// Deepest nesting of a value that a script returns: what our own clients read, with room for EXEC around it.
pub const REPLY_DEPTH_MAX: usize = bowline_resp::limits::FRAME_DEPTH_MAX - 4;

/// Elements of the reply of a script, counted through all levels: what our own clients read.
pub const SCRIPT_REPLY_ELEMENTS_MAX: usize = bowline_resp::limits::FRAME_ELEMENTS_MAX;

/// Deepest nesting of JSON in scripts. Redis' library allows 1000; here each level takes a few kilobytes of the stack.
pub const JSON_DEPTH_MAX: usize = 128;

/// Captures of one pattern (Lua's own limit).
pub const PATTERN_CAPTURES_MAX: usize = 32;

/// Lines of the log about clients that speak HTTP, in each period.
pub const HTTP_LINES_MAX: u32 = 1;
/// The period of these lines.
pub const HTTP_LINES_PERIOD: Duration = Duration::from_secs(60);

/// Codes of errors that INFO tells apart.
pub const ERROR_CODES_MAX: usize = 128;
/// Longest code of an error that INFO shows.
pub const ERROR_CODE_BYTES_MAX: usize = 32;
