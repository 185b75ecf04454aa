//! The targets, by what they read.

pub mod proto;
pub mod resp;
pub mod text;
pub mod words;
