//! The programs that are measured, and how they start.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// `bowline` as it is released; `cargo xtask bench` has built it.
///
/// # Errors
/// It was not built.
pub fn bowline() -> Result<PathBuf> {
    built("release/bowline")
}

/// What `cargo xtask bench` has built as `path`, which begins with the profile.
///
/// # Errors
/// It was not built.
pub fn built(path: &str) -> Result<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
    ensure!(program.is_file(), "{} is missing; cargo xtask bench builds it", program.display());
    Ok(program)
}

/// `rathole`, where `cargo xtask bench` installs it or on the search path.
pub fn rathole() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/rathole");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("rathole"));
    std::iter::once(installed).chain(on_path).find(|program| program.is_file())
}

/// A command that runs `program` with as many open files as the system allows it.
pub fn with_many_files(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\""]).arg(program);
    command
}

/// Runs `program` to its end.
///
/// # Errors
/// It failed; its output is in the error.
pub fn run(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{} {arguments:?} failed: {out}{error}", program.display());
    Ok(out.into_owned())
}
