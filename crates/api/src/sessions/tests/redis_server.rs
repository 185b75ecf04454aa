//! Debian's redis-server, by a socket of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bowline_redis::{Client, Config};

use super::{BOUND, nonce, until};

/// One redis-server without persistence. Dropping it kills it.
pub(super) struct RedisServer {
    child: Child,
    socket: PathBuf,
    arguments: Vec<String>,
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::with(&["--port", "0"]).await
    }

    pub async fn with(arguments: &[&str]) -> Self {
        let socket = std::env::temp_dir().join(format!("bowline-{}.sock", nonce()));
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = spawn(&socket, &arguments);
        let server = Self { child, socket, arguments };
        server.listens().await;
        server
    }

    async fn listens(&self) {
        until("redis-server listens", async || self.socket.exists().then_some(())).await;
    }

    /// Kills it and starts it again: it has nothing of what it had.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.socket, &self.arguments);
        self.listens().await;
    }

    fn kill(&mut self) {
        // Each may fail because it is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.socket));
    }

    pub fn client(&self) -> Client {
        let mut config = Config::from_url(&format!("unix://{}", self.socket.display())).expect("a URL");
        config.settings.silence_max = BOUND;
        Client::start(config)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(socket: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--save", "", "--appendonly", "no", "--unixsocket"]).arg(socket).args(arguments);
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("redis-server is installed")
}
