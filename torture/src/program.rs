//! Where the `bowline` binary is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// Names a binary to test instead of one that is built from this tree, for instance that of a release.
pub const PROGRAM_VARIABLE: &str = "BOWLINE_PROGRAM";

/// The binary, built from this tree unless [`PROGRAM_VARIABLE`] names another. The first call of a process runs `cargo
/// build`, which is quick when nothing changed: `cargo test` builds only the programs of the package under test, and an
/// old binary would prove nothing.
///
/// # Panics
/// If it cannot be built.
pub fn bowline() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os(PROGRAM_VARIABLE) {
        Some(program) => program.into(),
        None => build().expect("the program under test must build"),
    })
}

fn build() -> Result<PathBuf> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the folder of this crate has a parent")?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args(["build", "--quiet", "--package", "bowline", "--bin", "bowline"]);
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo build failed");

    // A test runs as target/debug/deps/<name>-<hash>; programs lie one folder up, as does the one that runs tests for minutes.
    let test = std::env::current_exe().context("cannot find this test")?;
    let is_deps = |folder: &&Path| folder.ends_with("deps");
    let folder =
        test.ancestors().skip(1).find(|folder| !is_deps(folder)).context("this test is in no folder")?;
    let program = folder.join("bowline");
    ensure!(program.is_file(), "cargo built no {}", program.display());
    Ok(program)
}
