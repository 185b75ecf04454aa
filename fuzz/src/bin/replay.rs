//! Feeds fuzz targets with samples, corpora and random changes of them, on the stable compiler.

#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bowline_fuzz::replay::replay;
use bowline_fuzz::{ALL, Target};
use clap::Parser;

/// Feeds fuzz targets without libFuzzer.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these targets; all of them without any.
    targets: Vec<String>,
    /// Changed inputs for each target.
    #[arg(long, default_value_t = 20_000)]
    runs: u64,
    /// Seed of the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the names of the targets.
    #[arg(long)]
    list: bool,
    /// Writes the samples of the targets into their corpora, for libFuzzer to start from.
    #[arg(long)]
    write_samples: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    for wanted in &arguments.targets {
        if !ALL.iter().any(|target| target.name == wanted) {
            return Err(io::Error::other(format!("no target is called {wanted:?}; --list prints them")));
        }
    }
    let is_wanted = |target: &&Target| {
        arguments.targets.is_empty() || arguments.targets.iter().any(|name| name == target.name)
    };
    for target in ALL.iter().filter(is_wanted) {
        let corpus = corpus(target);
        if arguments.list {
            println!("{}", target.name);
        } else if arguments.write_samples {
            write_samples(target, &corpus)?;
        } else {
            let inputs = replay(target, &corpus, arguments.runs, arguments.seed)?;
            println!("fuzz replay {:<16} {inputs} inputs, no finding", target.name);
        }
    }
    Ok(())
}

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

fn write_samples(target: &Target, corpus: &Path) -> io::Result<()> {
    fs::create_dir_all(corpus)?;
    for (number, sample) in target.samples.iter().enumerate() {
        fs::write(corpus.join(format!("sample-{number}")), sample)?;
    }
    Ok(())
}
