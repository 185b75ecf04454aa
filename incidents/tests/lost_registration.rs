//! Incident 1 for ever: every mutant is caught, and the design is clean.

use bowline_incidents::explore::explore;
use bowline_incidents::lost_registration::SUBJECTS;

const RUNS: u64 = 3_000;

#[test]
fn the_checker_catches_every_mutant_and_finds_nothing_in_the_design() {
    for subject in &SUBJECTS {
        let report = explore(subject, RUNS, 1);
        assert!(report.is_as_it_should_be(), "{report}\n{report:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for subject in &SUBJECTS {
        for seed in 0..20 {
            let (one, two) = ((subject.run)(seed), (subject.run)(seed));
            assert_eq!(one.trace.to_string(), two.trace.to_string());
            assert_eq!(one.violation, two.violation);
        }
    }
}
