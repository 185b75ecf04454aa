//! Bounds of the decoders. All are values, so that a server can widen them after authentication and a simulator can run
//! with tiny ones.

/// Longest line of a reply: a simple string, an error, a number, or the header of anything longer.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Longest header line inside a request (`*3`, `$5`), and longest inline request; Redis' `PROTO_INLINE_MAX_SIZE`.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Longest single argument of a request, and longest single string of a reply: Redis' `proto-max-bulk-len`.
pub const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Longest reply in all, headers included.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Most values in one reply, counted through all levels. An empty value takes 3 bytes on the wire and 40 in memory.
pub const FRAME_ELEMENTS_MAX: usize = 4 * 1024 * 1024;

/// Deepest nesting of a reply. Dropping and encoding a frame recurse this far.
pub const FRAME_DEPTH_MAX: usize = 64;

/// Most arguments of a request.
pub const ARGUMENTS_MAX: usize = 1024 * 1024;

/// Longest request in all: Redis' `client-query-buffer-limit`.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Most arguments of a request from a client that has not authenticated.
pub const ARGUMENTS_UNAUTHENTICATED_MAX: usize = 10;

/// Longest argument from a client that has not authenticated.
pub const BULK_BYTES_UNAUTHENTICATED_MAX: usize = 16 * 1024;

/// Elements for which room is made when an aggregate begins, whatever length it announces.
pub(crate) const ELEMENTS_RESERVED: usize = 16;

/// Bounds of a [`Decoder`](crate::Decoder).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Longest line.
    pub line_bytes_max: usize,
    /// Longest reply in all, headers included.
    pub frame_bytes_max: usize,
    /// Most values in one reply, counted through all levels.
    pub elements_max: usize,
    /// Deepest nesting; 0 allows no aggregate.
    pub depth_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            line_bytes_max: LINE_BYTES_MAX,
            frame_bytes_max: FRAME_BYTES_MAX,
            elements_max: FRAME_ELEMENTS_MAX,
            depth_max: FRAME_DEPTH_MAX,
        }
    }
}

/// Bounds of a [`RequestDecoder`](crate::RequestDecoder).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Longest inline request and longest header line.
    pub inline_bytes_max: usize,
    /// Most arguments, the command's name among them.
    pub arguments_max: usize,
    /// Longest argument.
    pub bulk_bytes_max: usize,
    /// Longest request in all.
    pub request_bytes_max: usize,
    /// Whether the client has authenticated; if not, refusals say so.
    pub authenticated: bool,
}

impl RequestLimits {
    /// What a client may send before it has authenticated: enough for `AUTH` and `HELLO`.
    pub const UNAUTHENTICATED: Self = Self {
        inline_bytes_max: INLINE_BYTES_MAX,
        arguments_max: ARGUMENTS_UNAUTHENTICATED_MAX,
        bulk_bytes_max: BULK_BYTES_UNAUTHENTICATED_MAX,
        request_bytes_max: REQUEST_BYTES_MAX,
        authenticated: false,
    };
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            inline_bytes_max: INLINE_BYTES_MAX,
            arguments_max: ARGUMENTS_MAX,
            bulk_bytes_max: BULK_BYTES_MAX,
            request_bytes_max: REQUEST_BYTES_MAX,
            authenticated: true,
        }
    }
}
