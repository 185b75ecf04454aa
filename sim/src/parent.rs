//! Many runs: this program starts itself once for each seed, several at a time.

use std::io;
use std::process::{Child, Command, ExitCode, Output, Stdio};

use crate::Arguments;
use crate::limits::PROCESSES_MAX;

/// Runs the seeds and prints one line for each; of a run that failed, everything.
pub fn run(arguments: &Arguments) -> ExitCode {
    match run_all(arguments) {
        Ok(0) => {
            println!("clean in {} runs", arguments.runs);
            ExitCode::SUCCESS
        }
        Ok(failures) => {
            println!("{failures} of {} runs failed", arguments.runs);
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(arguments: &Arguments) -> io::Result<u64> {
    let processes = std::thread::available_parallelism().map_or(1, usize::from).min(PROCESSES_MAX);
    let seeds: Vec<u64> = (0..arguments.runs).map(|run| arguments.seed.wrapping_add(run)).collect();
    let mut failures = 0;
    for batch in seeds.chunks(processes) {
        let children = batch.iter().map(|&seed| start(arguments, seed)).collect::<io::Result<Vec<_>>>()?;
        for (seed, child) in batch.iter().zip(children) {
            let output = child.wait_with_output()?;
            report(*seed, &output);
            failures += u64::from(!output.status.success());
        }
    }
    Ok(failures)
}

fn start(arguments: &Arguments, seed: u64) -> io::Result<Child> {
    let scenario = arguments.scenario.as_deref().expect("a run has a scenario");
    let mut command = Command::new(std::env::current_exe()?);
    command.args([scenario, "--single", "--seed", &seed.to_string()]);
    if arguments.trace {
        command.arg("--trace");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn report(seed: u64, output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let (last, before) = lines.split_last().unwrap_or((&"no output", &[]));
    for line in before {
        println!("seed {seed}: {line}");
    }
    if output.status.success() {
        println!("seed {seed}: {last}");
        return;
    }
    println!("seed {seed}: {last}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("seed {seed}: FAILED; again with: cargo xtask sim … --seed {seed} --runs 1 --trace");
}
