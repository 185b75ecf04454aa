//! Programs from outside that some commands need, and how they come onto this machine.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, find_program, output, root, run};

/// A program that tests run against, and the Debian package that has it.
struct Peer {
    program: &'static str,
    package: &'static str,
}

const PEERS: [Peer; 3] = [
    Peer { program: "redis-server", package: "redis-server" },
    Peer { program: "redis-cli", package: "redis-tools" },
    Peer { program: "nginx", package: "nginx-light" },
];

/// Installs the real peers of the tests that are missing.
///
/// # Errors
/// Something is missing and cannot be installed; the message says what to install by hand.
pub fn install_peers() -> Result<()> {
    for peer in &PEERS {
        if let Some(path) = find_program(peer.program) {
            println!("{} is {}", peer.program, path.display());
        }
    }
    let missing: Vec<&str> = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install by hand: apt-get install {}", missing.join(" "));
    if find_program("apt-get").is_none() {
        bail!("the real peers of the tests are missing and there is no apt-get; {by_hand}");
    }
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("the real peers of the tests are missing and only root can install them; {by_hand}");
    }
    run(Command::new("apt-get").args(["update", "-qq"])).with_context(|| by_hand.clone())?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        // Somebody else may be installing at this moment: wait for them instead of failing.
        "-o",
        "DPkg::Lock::Timeout=120",
    ]);
    run(install.args(&missing)).with_context(|| by_hand.clone())?;
    match missing_packages().as_slice() {
        [] => Ok(()),
        still => bail!("installed, and still not found: {}", still.join(" ")),
    }
}

fn missing_packages() -> Vec<&'static str> {
    PEERS.iter().filter(|peer| find_program(peer.program).is_none()).map(|peer| peer.package).collect()
}

/// Makes sure that `cargo +nightly fuzz` works.
///
/// # Errors
/// There is no nightly toolchain, or cargo-fuzz cannot be installed.
pub fn require_cargo_fuzz() -> Result<()> {
    let toolchains = output(Command::new("rustup").args(["toolchain", "list"]))
        .context("fuzzing needs rustup, to reach a nightly compiler")?;
    if !toolchains.lines().any(|line| line.starts_with("nightly-")) {
        bail!("fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal");
    }
    if find_program("cargo-fuzz").is_none() {
        run(cargo("").args(["install", "--locked", "cargo-fuzz", "--version", CARGO_FUZZ_VERSION]))?;
    }
    Ok(())
}

/// The version that this repository was tried with.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// Installs rathole for the benchmarks, below `bench/target`. Without it they run too, only not beside it; so a failure
/// is told and is none.
pub fn install_rathole() {
    let folder = root().join("bench/target/tools");
    if folder.join("bin/rathole").is_file() || find_program("rathole").is_some() {
        return;
    }
    // Its own TLS would need OpenSSL's headers; Noise, with which it is compared, does not.
    let mut install = cargo("");
    install.args([
        "install",
        "rathole",
        "--version",
        "0.5.0",
        "--no-default-features",
        "--features",
        "embedded",
    ]);
    if let Err(error) = run(install.arg("--root").arg(&folder)) {
        eprintln!("rathole cannot be installed, so nothing is measured beside it: {error:#}");
    }
}
