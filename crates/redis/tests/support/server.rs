//! Real servers: redis-server processes on loopback.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bowline_rt::{net, task, time};

/// Longest wait for anything that should come soon.
pub const SOON: Duration = Duration::from_secs(15);
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let started = time::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < SOON, "waited in vain: {what}");
        time::sleep(LOOK_PERIOD).await;
    }
}

/// A port on loopback that nobody listens on. Those below 32768 are never the near end of a connection.
async fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    let start = u16::try_from(std::process::id().wrapping_mul(83) % u32::from(COUNT)).unwrap();
    loop {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if net::connect(address, Duration::from_millis(200)).await.is_err() {
            return port;
        }
    }
}

/// One redis-server. Dropping it kills it.
pub struct Server {
    pub port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts one on a free port, with `arguments` before all others, and waits until it answers.
    pub async fn start(directory: &Path, arguments: &[&str]) -> Self {
        let port = free_port().await;
        let log = File::create(directory.join(format!("{port}.log"))).unwrap();
        let child = Command::new("redis-server")
            .current_dir(directory)
            .args(arguments)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("redis-server is installed");
        let server = Self { port, child };
        wait_for("redis-server answers", || async { (server.cli(&["PING"]).await == "PONG").then_some(()) })
            .await;
        server
    }

    /// Runs a command with redis-cli.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(arguments).stdin(Stdio::null());
        let output = task::blocking(move || command.output().expect("redis-cli is installed")).await;
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // Either may fail because it is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
