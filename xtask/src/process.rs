//! Running other programs: every command is printed before it runs, and a failure names it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The top folder of the repository.
pub fn root() -> &'static Path {
    // This program is always built from the tree that it works on.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

/// A `cargo` command that runs in the folder `workspace`, given from the top of the repository ("" for the main one).
pub fn cargo(workspace: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root().join(workspace));
    // `cargo run` tells its child which manifest and toolchain it uses; a child workspace must find its own.
    for variable in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}

/// As [`cargo`], with the target folder of the main workspace: `bench` and `fuzz` compile the same dependencies, and
/// need them only once that way.
pub fn cargo_sharing_target(workspace: &str) -> Command {
    let mut command = cargo(workspace);
    command.env("CARGO_TARGET_DIR", root().join("target"));
    command
}

/// Runs `command`, with its output on the terminal.
///
/// # Errors
/// The program is missing or failed.
pub fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.status().with_context(|| format!("cannot start {}", text(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", text(command));
    }
    Ok(())
}

/// Runs `command` and shows each line of its standard output to `look` after printing it.
///
/// # Errors
/// The program is missing or failed.
pub fn run_watching(command: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    announce(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", text(command)))?;
    let stdout = child.stdout.take().expect("the output was asked for");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read the output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        look(&line);
    }
    let status = child.wait().context("cannot wait for the program")?;
    if !status.success() {
        bail!("{} failed ({status})", text(command));
    }
    Ok(())
}

/// The standard output of `command`, which is not printed.
///
/// # Errors
/// The program is missing or failed; its standard error is part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", text(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", text(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the program `name` is, on the search path or where Debian puts servers.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Standard output may be data (`--output json`), so what is run goes to standard error.
fn announce(command: &Command) {
    eprintln!("$ {}", text(command));
}

fn text(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
