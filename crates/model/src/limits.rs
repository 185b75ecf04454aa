//! Bounds that more than one crate has to agree on. A bound that one crate alone needs lives in that crate's `limits`.

/// Longest name of an agent, gateway, service or zone, in bytes: one DNS label (RFC 1035, 2.3.4).
pub const NAME_BYTES_MAX: usize = 63;

/// Longest request id that is carried, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Most services that one agent may offer.
pub const SERVICES_PER_AGENT_MAX: usize = 256;
