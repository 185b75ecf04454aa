//! What is measured: the session service in a process of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_identity::signature::{Algorithm, SigningKey};
use bowline_torture::ports::free_address;
use bowline_torture::process::Process;
use bowline_torture::wait::wait_within;

use crate::limits::{HTTP_CONNECTIONS, READY_MAX};
use crate::program;
use crate::report::OURS;

/// Whose sessions they are.
const NAMESPACE: &str = "bench";

/// A running service.
#[derive(Debug)]
pub struct Subject {
    /// Under which its samples are reported.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Signs requests to it, if it wants them signed.
    pub key: Option<SigningKey>,
    process: Process,
}

impl Subject {
    /// The service as gateways run it.
    ///
    /// # Errors
    /// It does not start.
    pub async fn signed(folder: &Path, store: SocketAddr, algorithm: Algorithm) -> Result<Self> {
        let key = SigningKey::generate(algorithm.as_str().parse()?, algorithm);
        let file = folder.join(format!("{}.toml", algorithm.as_str()));
        fs::write(&file, key.table_entry(&NAMESPACE.parse()?).as_bytes())?;
        let (address, process) = start(folder, store, "--keys-file", &file.to_string_lossy()).await?;
        Ok(Self { name: OURS, address, key: Some(key), process })
    }

    /// The same handler, and nobody has to sign.
    ///
    /// # Errors
    /// It does not start.
    pub async fn unsigned(folder: &Path, store: SocketAddr) -> Result<Self> {
        let (address, process) = start(folder, store, "--unsigned", NAMESPACE).await?;
        Ok(Self { name: "unsigned", address, key: None, process })
    }

    /// CPU time of its threads, none of which ends before it does.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cpu(&self) -> Result<Duration> {
        let threads = format!("/proc/{}/task", self.process.id());
        let mut sum = Duration::ZERO;
        for thread in fs::read_dir(&threads).with_context(|| format!("cannot read {threads}"))? {
            let path = thread?.path().join("schedstat");
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            // The first field: nanoseconds on a CPU.
            let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
            sum += Duration::from_nanos(nanoseconds.context("schedstat does not begin with a number")?);
        }
        Ok(sum)
    }
}

async fn start(folder: &Path, store: SocketAddr, guard: &str, value: &str) -> Result<(SocketAddr, Process)> {
    let address = free_address();
    let mut command = Command::new(program::built("release/bowline-bench-sessions")?);
    command.args(["--listen", &address.to_string(), "--store", &store.to_string(), guard, value]);
    command.args(["--connections-max", &(HTTP_CONNECTIONS + 1).to_string()]);
    let process = Process::start(folder, &format!("sessions-{address}"), &mut command)?;
    wait_within(READY_MAX, "the session service listens", || async {
        bowline_rt::net::connect(address, READY_MAX).await.ok()
    })
    .await;
    Ok((address, process))
}
