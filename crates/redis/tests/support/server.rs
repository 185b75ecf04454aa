//! Real servers: redis-server processes on loopback.

use std::cell::RefCell;
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
    /// Starts one on free ports, with `arguments` before all others, and waits until it answers.
    pub async fn start(directory: &Path, arguments: &[&str]) -> Self {
        loop {
            // By default the port of a cluster's bus would be this one and 10000, which may be anybody's.
            let (port, bus) = (free_port().await, free_port().await.to_string());
            let path = directory.join(format!("{port}.log"));
            let log = File::create(&path).unwrap();
            let child = Command::new("redis-server")
                .current_dir(directory)
                .args(arguments)
                .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--cluster-port", &bus])
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .expect("redis-server is installed");
            let mut server = Self { port, child };
            if server.has_started(&path).await {
                return server;
            }
        }
    }

    /// Waits until it answers, and nobody else in its place; `false` if somebody else has taken one of its ports.
    async fn has_started(&mut self, log: &Path) -> bool {
        let (port, own) = (self.port, format!("process_id:{}", self.id()));
        let child = RefCell::new(&mut self.child);
        wait_for("redis-server answers", || async {
            if redis_cli(port, &["INFO", "server"]).await.lines().any(|line| line == own) {
                return Some(true);
            }
            child.borrow_mut().try_wait().unwrap()?;
            let log = std::fs::read_to_string(log).unwrap();
            assert!(log.contains("Address already in use"), "redis-server has ended: {log}");
            Some(false)
        })
        .await
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command with redis-cli.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        redis_cli(self.port, arguments).await
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // Either may fail because it is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn redis_cli(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string()]).args(arguments).stdin(Stdio::null());
    let output = task::blocking(move || command.output().expect("redis-cli is installed")).await;
    String::from_utf8_lossy(&output.stdout).replace('\r', "").trim_end().to_owned()
}
