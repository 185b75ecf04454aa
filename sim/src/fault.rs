//! What goes wrong, when, and for how long: a plan that follows from the seed and is printed before it is carried out.
//!
//! A fault has a subject, a host or a link, and no subject has two faults at once. All faults have ended when the plan
//! has. `hold` is a stall (what was sent arrives later); `partition` loses segments for good, as when a peer dies and
//! nobody says so.

use std::fmt;
use std::time::Duration;

use bowline_rt::random;
use turmoil::Sim;

use crate::limits::{FAULT_MAX, FAULT_MIN, FAULTS_MAX, LATENCY_MAX, SLOW_LINK};

/// Hosts that may crash, and links that may fail.
#[derive(Debug, Clone, Copy)]
pub struct Subjects {
    /// Hosts that may crash and start anew.
    pub hosts: &'static [&'static str],
    /// Pairs of hosts whose link may fail.
    pub links: &'static [(&'static str, &'static str)],
}

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Host(&'static str),
    Link(&'static str, &'static str),
}

/// How it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The host loses its memory and starts anew.
    Crash,
    /// Segments wait.
    Hold,
    /// Segments are lost, both ways.
    Partition,
    /// Segments from the first to the second host are lost.
    PartitionThere,
    /// Segments from the second to the first host are lost.
    PartitionBack,
    /// Segments take long.
    Slow,
}

const LINK_KINDS: [Kind; 5] =
    [Kind::Hold, Kind::Partition, Kind::PartitionThere, Kind::PartitionBack, Kind::Slow];

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, from the beginning of the plan.
    pub from: Duration,
    /// When it ends.
    pub until: Duration,
    subject: Subject,
    kind: Kind,
}

/// All faults of a run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    faults: Vec<Fault>,
}

impl Plan {
    /// Draws a plan from the random numbers of this thread.
    pub fn draw(subjects: &Subjects, duration: Duration) -> Self {
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..=random::below(FAULTS_MAX) {
            let fault = Fault::draw(subjects, duration);
            let clashes = |other: &Fault| {
                other.subject == fault.subject && other.from <= fault.until && fault.from <= other.until
            };
            if !faults.iter().any(clashes) {
                faults.push(fault);
            }
        }
        faults.sort_by_key(|fault| fault.from);
        Self { faults }
    }

    /// The faults, in the order in which they begin.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Begins and ends what is due between two times; the second one is not part of the span.
    pub fn apply(&self, sim: &mut Sim<'_>, after: Duration, until: Duration) {
        let due = |at: Duration| (after..until).contains(&at);
        for fault in &self.faults {
            if due(fault.from) {
                tracing::info!(%fault, "begins");
                fault.begin(sim);
            }
            if due(fault.until) {
                tracing::info!(%fault, "ends");
                fault.end(sim);
            }
        }
    }

    /// When the last fault ends.
    pub fn end(&self) -> Duration {
        self.faults.iter().map(|fault| fault.until).max().unwrap_or_default()
    }
}

impl Fault {
    fn draw(subjects: &Subjects, duration: Duration) -> Self {
        // Half of all faults strike hosts: there are fewer of them, and a crash has more consequences.
        let strikes_host = random::below(2) == 0 && !subjects.hosts.is_empty() || subjects.links.is_empty();
        let (subject, kind) = if strikes_host {
            (Subject::Host(pick(subjects.hosts)), Kind::Crash)
        } else {
            let (a, b) = pick(subjects.links);
            (Subject::Link(a, b), pick(&LINK_KINDS))
        };
        // Lengths spread over orders of magnitude: halving at random makes short ones as likely as long ones.
        let halvings = u32::try_from(random::below(8)).expect("it is below 8");
        let length = (FAULT_MAX / 2_u32.pow(halvings)).max(FAULT_MIN);
        let from = random::jitter(duration);
        Self { from, until: from + FAULT_MIN + random::jitter(length), subject, kind }
    }

    fn begin(&self, sim: &mut Sim<'_>) {
        match (self.subject, self.kind) {
            (Subject::Host(host), _) => sim.crash(host),
            (Subject::Link(a, b), Kind::Hold) => sim.hold(a, b),
            (Subject::Link(a, b), Kind::PartitionThere) => sim.partition_oneway(a, b),
            (Subject::Link(a, b), Kind::PartitionBack) => sim.partition_oneway(b, a),
            (Subject::Link(a, b), Kind::Slow) => sim.set_link_latency(a, b, SLOW_LINK),
            (Subject::Link(a, b), Kind::Partition | Kind::Crash) => sim.partition(a, b),
        }
    }

    fn end(&self, sim: &mut Sim<'_>) {
        match (self.subject, self.kind) {
            (Subject::Host(host), _) => sim.bounce(host),
            (Subject::Link(a, b), Kind::Hold) => sim.release(a, b),
            (Subject::Link(a, b), Kind::PartitionThere) => sim.repair_oneway(a, b),
            (Subject::Link(a, b), Kind::PartitionBack) => sim.repair_oneway(b, a),
            (Subject::Link(a, b), Kind::Slow) => sim.set_link_latency(a, b, LATENCY_MAX),
            (Subject::Link(a, b), Kind::Partition | Kind::Crash) => sim.repair(a, b),
        }
    }
}

/// One of them, every one equally likely.
fn pick<T: Copy>(choices: &[T]) -> T {
    let index = random::below(choices.len() as u64);
    choices[usize::try_from(index).expect("an index of a slice fits")]
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, length) = (self.from.as_millis(), (self.until - self.from).as_millis());
        write!(f, "{from:>6} ms, for {length:>5} ms: ")?;
        match (self.subject, self.kind) {
            (Subject::Host(host), _) => write!(f, "{host} crashes"),
            (Subject::Link(a, b), Kind::Hold) => write!(f, "{a} <-> {b} stalls"),
            (Subject::Link(a, b), Kind::PartitionThere) => write!(f, "{a} -> {b} loses everything"),
            (Subject::Link(a, b), Kind::PartitionBack) => write!(f, "{b} -> {a} loses everything"),
            (Subject::Link(a, b), Kind::Slow) => write!(f, "{a} <-> {b} takes {SLOW_LINK:?}"),
            (Subject::Link(a, b), Kind::Partition | Kind::Crash) => write!(f, "{a} <-> {b} loses everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECTS: Subjects = Subjects { hosts: &["a", "b"], links: &[("a", "b")] };

    #[test]
    fn a_plan_follows_from_the_seed_and_no_subject_has_two_faults_at_once() {
        let duration = Duration::from_secs(40);
        let draw = |seed| {
            random::seed(seed);
            Plan::draw(&SUBJECTS, duration)
        };
        assert_eq!(draw(1).faults, draw(1).faults);
        assert_ne!(draw(1).faults, draw(2).faults);
        for seed in 0..200 {
            let plan = draw(seed);
            for (index, fault) in plan.faults.iter().enumerate() {
                assert!(fault.from < fault.until && fault.until <= plan.end());
                let later = plan.faults[index + 1..].iter();
                let overlap = |other: &&Fault| other.subject == fault.subject && other.from <= fault.until;
                assert_eq!(later.filter(overlap).count(), 0, "seed {seed}");
            }
        }
    }
}
