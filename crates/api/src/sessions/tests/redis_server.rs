//! Debian's redis-server, by a socket of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bowline_redis::{Client, Config};

use super::{BOUND, nonce, until};

/// One redis-server without persistence. Dropping it kills it.
pub(super) struct RedisServer {
    child: Child,
    socket: PathBuf,
}

impl RedisServer {
    pub async fn start() -> Self {
        let socket = std::env::temp_dir().join(format!("bowline-{}.sock", nonce()));
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Self { child, socket };
        until("redis-server listens", async || server.socket.exists().then_some(())).await;
        server
    }

    pub fn client(&self) -> Client {
        let mut config = Config::from_url(&format!("unix://{}", self.socket.display())).expect("a URL");
        config.settings.silence_max = BOUND;
        Client::start(config)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Either may fail because it is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.socket));
    }
}
