//! Bearer tokens.
