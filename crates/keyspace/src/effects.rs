//! The effects log: what a replica or an append-only file must apply to arrive at the same data.
//!
//! INV-REPL-EFFECT: times are absolute, choices are resolved, and conditions are gone, so that applying the effects
//! needs neither a clock nor a script. What one command, one transaction or one script did is one unit; a unit of
//! several effects is applied inside MULTI and EXEC, as a whole or not at all.

use bytes::Bytes;

/// One command to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The database that must be selected.
    pub database: usize,
    /// The command and its arguments.
    pub arguments: Vec<Bytes>,
}

/// What happened at once: one or more effects.
pub type Unit = Vec<Effect>;

/// Collects effects; recording is off until somebody wants them.
#[derive(Debug, Default)]
pub struct Effects {
    recording: bool,
    /// How many commands, transactions and scripts are open inside each other.
    depth: u32,
    open: Unit,
    units: Vec<Unit>,
}

impl Effects {
    /// Turns recording on or off. The reader takes the units after each command, so that they do not pile up.
    pub fn record(&mut self, recording: bool) {
        self.recording = recording;
    }

    /// Whether effects are kept at all.
    #[must_use]
    pub fn recording(&self) -> bool {
        self.recording
    }

    /// Takes what was recorded since the last call.
    pub fn take(&mut self) -> Vec<Unit> {
        std::mem::take(&mut self.units)
    }

    /// Starts a unit, or goes one level down inside one.
    pub fn begin(&mut self) {
        self.depth += 1;
    }

    /// Ends what [`Effects::begin`] began.
    ///
    /// # Panics
    /// If nothing was begun.
    pub fn end(&mut self) {
        self.depth = self.depth.checked_sub(1).expect("a unit that ends was begun");
        if self.depth == 0 && !self.open.is_empty() {
            self.units.push(std::mem::take(&mut self.open));
        }
    }

    pub(crate) fn push(&mut self, database: usize, arguments: &[&[u8]]) {
        if self.recording {
            let arguments = arguments.iter().map(|argument| Bytes::copy_from_slice(argument)).collect();
            self.open.push(Effect { database, arguments });
        }
    }

    pub(crate) fn push_as_sent(&mut self, database: usize, arguments: &[Bytes]) {
        if self.recording {
            self.open.push(Effect { database, arguments: arguments.to_vec() });
        }
    }
}

/// The unit as it goes into a stream: inside MULTI and EXEC when it has several effects.
pub fn framed(unit: &Unit) -> impl Iterator<Item = Effect> + '_ {
    let frame = |word: &'static str, effect: Option<&Effect>| {
        let database = effect.filter(|_| unit.len() > 1)?.database;
        Some(Effect { database, arguments: vec![Bytes::from_static(word.as_bytes())] })
    };
    frame("MULTI", unit.first()).into_iter().chain(unit.iter().cloned()).chain(frame("EXEC", unit.last()))
}
