//! A few runs of each scenario. Many are `cargo xtask sim SCENARIO --runs N`.

use std::process::Command;

/// Runs of each scenario.
const RUNS: u32 = 8;

fn check(scenario: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline-sim"));
    let output = command.args([scenario, "--seed", "1", "--runs", &RUNS.to_string()]).output();
    let output = output.expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.ends_with(&format!("clean in {RUNS} runs\n")), "{text}");
}

#[test]
fn echo_comes_back_after_any_faults() {
    check("echo");
}

#[test]
fn no_answer_of_the_driver_reaches_anothers_call() {
    check("driver");
}

#[test]
fn the_registry_converges_after_any_faults() {
    check("registry");
}
