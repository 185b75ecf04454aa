//! Every bound of the key space.

/// Longest key, field or value, in bytes (Redis' `proto-max-bulk-len`).
pub const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Databases that a key space has unless it is told otherwise.
pub const DATABASES_DEFAULT: usize = 16;

/// Most databases that a key space may have.
pub const DATABASES_MAX: usize = 1024;

/// Items in one segment of a table before it is split: what fills a table of 256 buckets. A split is the longest pause
/// that an insert can see.
pub const SEGMENT_ITEMS_MAX: usize = 224;

/// Most bits of a hash that select a segment. Beyond 16 million segments they grow instead of being split.
pub const DIRECTORY_DEPTH_MAX: u32 = 24;

/// Draws for a random item before an unevenly drawn one is taken.
pub const RANDOM_DRAWS_MAX: usize = 64;

/// Fields of a hash that is kept as a plain list.
pub const HASH_LIST_FIELDS_MAX: usize = 128;

/// Longest field or value of a hash that is kept as a plain list.
pub const HASH_LIST_BYTES_MAX: usize = 64;

/// Fields up to which OBJECT ENCODING calls a hash a list, unless it is told otherwise (Redis'
/// `hash-max-listpack-entries`).
pub const HASH_LISTPACK_FIELDS_DEFAULT: usize = 512;

/// The same for the longest field or value (Redis' `hash-max-listpack-value`).
pub const HASH_LISTPACK_BYTES_DEFAULT: usize = 64;

/// Longest string that Redis calls `embstr`.
pub const EMBEDDED_STRING_BYTES_MAX: usize = 44;

/// Steps that one command may spend on matching patterns: about a second of work.
pub const GLOB_STEPS_MAX: u64 = 200_000_000;

/// Longest decimal number that the float commands read.
pub const FLOAT_TEXT_BYTES_MAX: usize = 1024;

/// Decimal exponents of numbers that the float commands read; an 80-bit float has no others.
pub const FLOAT_EXPONENT_MAX: i32 = 5_000;

/// Bytes, about, that a command with a negative count (HRANDFIELD) may answer: it draws as often as it is told to.
pub const RANDOM_FIELDS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Different fields that are drawn one by one; more are chosen in one pass over all.
pub const RANDOM_DRAWN_FIELDS_MAX: usize = 64;

/// Empty segments that one SCAN call passes over, for each element that was asked for.
pub const SCAN_SEGMENTS_PER_COUNT: u64 = 10;

/// Commands that wait in one transaction.
pub const TRANSACTION_COMMANDS_MAX: usize = 1_000_000;

/// Bytes of what waits in one transaction: its arguments, and what they and the commands cost besides.
pub const TRANSACTION_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// What an argument that waits costs besides its bytes.
pub const TRANSACTION_ARGUMENT_BYTES: usize = 64;
/// What a command that waits costs besides its arguments.
pub const TRANSACTION_COMMAND_BYTES: usize = 64;

/// Keys that one connection may watch.
pub const WATCHED_KEYS_MAX: usize = 100_000;
/// Bytes of the keys that one connection may watch, and of what a watch costs besides.
pub const WATCHED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a watched key costs besides its bytes.
pub const WATCH_BYTES: usize = 256;

/// Segments that are freed in one step of the lazy clean-up after FLUSHALL.
pub const RECLAIM_SEGMENTS_PER_STEP: usize = 64;

/// What an element of a reply costs besides its bytes while the reply is kept as a whole.
pub const REPLY_ELEMENT_BYTES: usize = 64;

/// What an error repeats of the name of a subcommand.
pub const SUBCOMMAND_ECHO_BYTES_MAX: usize = 128;

/// Cells of the table of LCS, as in Redis: 4 bytes each are at most as much as the longest string.
pub const LCS_CELLS_MAX: usize = STRING_BYTES_MAX / 4;

/// Bytes of all strings of one BITOP: about a second of work.
pub const BIT_OPERATION_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
