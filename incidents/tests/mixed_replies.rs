//! Incident 2 for ever: every mutant is caught, and the design is clean.

use bowline_incidents::explore::explore;
use bowline_incidents::mixed_replies::SUBJECTS;

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

/// Clean because nothing happens would prove nothing.
#[test]
fn requests_of_the_design_end_in_every_way() {
    let design = SUBJECTS.last().expect("the design");
    let traces: String = (0..200).map(|seed| (design.run)(seed).trace.to_string()).collect();
    for (end, least) in [
        ("Answered(Bulk", 300),
        ("Answered(Error", 100),
        ("Answered(Array", 100),
        ("NotSent", 50),
        ("Unknown", 100),
    ] {
        let count = traces.matches(end).count();
        assert!(count >= least, "{end}: {count}");
    }
}
