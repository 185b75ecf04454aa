//! The incidents behind Bowline, replayed at the lowest level that can show them.
//!
//! A run draws a schedule from a seed: which thread takes its next step, what the network does with a request, when time
//! passes. Faulty designs (*mutants*) and Bowline's own code run under the same [`checker`]. It must catch every mutant, each
//! under faults no worse than those that its own flaw needs, and it must find nothing in the design under all of them
//! together. A checker that has never caught anything proves nothing.
//!
//! This is test code: nothing of it is part of the program.

pub mod checker;
pub mod draw;
pub mod explore;
pub mod lost_registration;
pub mod mixed_replies;
pub mod trace;
