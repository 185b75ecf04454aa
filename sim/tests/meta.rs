//! The simulator about itself: one seed is one trace.

use std::process::Command;

/// Everything that one run prints, in a process of its own.
fn trace(scenario: &str, seed: u64) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline-sim"));
    let output = command.args([scenario, "--single", "--trace", "--seed", &seed.to_string()]).output();
    let output = output.expect("the simulator starts");
    let text = String::from_utf8(output.stdout).expect("logs are text");
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap_or_default();
    assert!(output.status.success(), "{scenario}, seed {seed}: {last}\n{errors}");
    text
}

/// Where two traces part, with the lines before it.
fn difference(one: &str, other: &str) -> Option<String> {
    let (one, other): (Vec<&str>, Vec<&str>) = (one.lines().collect(), other.lines().collect());
    let mut pairs = one.iter().zip(&other);
    let line = pairs.position(|(one, other)| one != other).or_else(|| {
        let (shorter, longer) = (one.len().min(other.len()), one.len().max(other.len()));
        (shorter != longer).then_some(shorter)
    })?;
    let around =
        |lines: &[&str]| lines[line.saturating_sub(3).min(lines.len())..lines.len().min(line + 1)].join("\n");
    Some(format!("line {line}:\n{}\n--- and\n{}", around(&one), around(&other)))
}

fn check(scenario: &str) {
    let (first, second, other) = (trace(scenario, 7), trace(scenario, 7), trace(scenario, 8));
    if let Some(difference) = difference(&first, &second) {
        panic!("{scenario}, seed 7, two runs: {difference}");
    }
    assert!(difference(&first, &other).is_some(), "the seed changes nothing");
}

#[test]
fn the_same_seed_gives_the_same_trace_of_echo() {
    check("echo");
}

#[test]
fn the_same_seed_gives_the_same_trace_of_whole_nodes() {
    check("registry");
}

#[test]
fn a_difference_is_found() {
    assert_eq!(difference("a\nb", "a\nb"), None);
    assert!(difference("a\nb", "a\nc").expect("they differ").starts_with("line 1:"));
    assert!(difference("a", "a\nb").is_some());
}
