//! The targets, by what they read.

pub mod proto;
pub mod resp;
pub mod signature;
pub mod text;
pub mod words;
