//! A few runs of each scenario. Many are `cargo xtask sim SCENARIO --runs N`.

use std::process::Command;

/// Runs of each scenario, and of one that takes longer.
const RUNS: u32 = 8;
/// See [`RUNS`].
const RUNS_FEW: u32 = 4;

fn check(scenario: &str, runs: u32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline-sim"));
    let output = command.args([scenario, "--seed", "1", "--runs", &runs.to_string()]).output();
    let output = output.expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.ends_with(&format!("clean in {runs} runs\n")), "{text}");
}

#[test]
fn echo_comes_back_after_any_faults() {
    check("echo", RUNS);
}

#[test]
fn no_answer_of_the_driver_reaches_anothers_call() {
    check("driver", RUNS);
}

#[test]
fn the_registry_converges_after_any_faults() {
    check("registry", RUNS);
}

#[test]
fn sessions_are_neither_lost_nor_late_nor_served_twice() {
    check("sessions", RUNS_FEW);
}
