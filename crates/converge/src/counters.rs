//! What a core counts.

/// Differences that were found between copy and truth where the core believed them equal. All of them are repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    /// The copy had lost a value.
    pub missing: u64,
    /// The copy held another value or an older write than the acknowledged one.
    pub stale: u64,
    /// The copy held a value that local truth had removed or never known.
    pub unexpected: u64,
}

impl Drift {
    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.missing + self.stale + self.unexpected
    }
}

/// Totals since the core was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Writes handed out.
    pub writes: u64,
    /// Writes that were carried out.
    pub applied: u64,
    /// Writes that a newer writer's entry stopped.
    pub refused: u64,
    /// Writes whose end nobody knows, time-outs included.
    pub unknown: u64,
    /// Writes that were certainly not carried out.
    pub failed: u64,
    /// Outcomes that came after their write had been given up.
    pub late_outcomes: u64,
    /// Observations asked for.
    pub observations: u64,
    /// Differences found.
    pub drift: Drift,
}
