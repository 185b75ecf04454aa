//! The bounds of the wire.

/// Largest message that is read, in bytes: a status of thousands of agents fits.
pub const FRAME_BYTES_MAX: u32 = 4 * 1024 * 1024;
