//! A small certificate authority.
