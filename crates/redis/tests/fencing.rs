//! The end of a connection that was lost, against a real server: what it had sent and the server had not read must not run once
//! the next connection is up. And what is known where the server does not help.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

#[path = "support/server.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bowline_redis::{CallError, Client, Command, Config, Connection, Predecessor, ServerInfo, Settings};
use bowline_rt::net::{self, Listener, TcpStream};
use bowline_rt::task::{self, JoinSet};
use bowline_rt::time::{self, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use support::{SOON, Server};

/// Gives up soon.
fn impatient() -> Settings {
    Settings {
        call_deadline: Duration::from_millis(400),
        silence_max: Duration::from_millis(400),
        probe_interval: Duration::from_millis(100),
        ..Settings::default()
    }
}

fn client_at(address: &str, user: &str) -> Client {
    let mut config = Config::from_url(&format!("redis://{user}{address}")).unwrap();
    config.settings = impatient();
    Client::start(config)
}

fn incr(key: &str) -> Command {
    Command::new("INCR").arg(key)
}

async fn wait_out(duration: Duration) {
    time::sleep(duration).await;
}

/// The counter, as the server has it.
async fn counter(server: &Server) -> usize {
    server.cli(&["GET", "n"]).await.parse().unwrap_or_default()
}

/// Increments that a server which stands still has not read.
const UNREAD: usize = 16_000;

/// A stop of the process; dropping it lets the process go on.
struct Stopped(String);

impl Stopped {
    async fn stop(server: &Server) -> Self {
        let info = server.cli(&["INFO", "server"]).await;
        let number = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
        let stopped = Self(number.trim().to_owned());
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        let status = std::process::Command::new("kill").args([signal, &self.0]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// Who a client is connected to, other than by the connection `before`.
async fn wait_for_another(client: &Client, before: Option<&ServerInfo>) -> ServerInfo {
    let mut connection = client.connection();
    let is_it = |connection: &Connection| matches!(connection, Connection::Up { server, .. } if before != Some(server));
    let found = timeout(SOON, connection.wait_for(is_it)).await.expect("a connection comes up");
    let Connection::Up { server, .. } = found.unwrap().clone() else { unreachable!("awaited") };
    server
}

/// Stops the server under increments until the client gives the connection up, lets it go on, and waits for the next connection.
/// Returns what became of the first one, and the counter as the new connection sees it at first and when the dust has settled.
async fn survive_a_stop(server: &Server, client: &Client) -> (Predecessor, usize, usize) {
    let first = wait_for_another(client, None).await;
    let stopped = Stopped::stop(server).await;
    let mut calls = JoinSet::new();
    for _ in 0..UNREAD {
        let client = client.clone();
        calls.spawn(async move { client.call(incr("n")).await });
    }
    let (mut unknown, mut not_sent) = (0, 0);
    while let Some(outcome) = calls.join_next().await {
        match outcome.unwrap() {
            Err(CallError::Unknown(_)) => unknown += 1,
            Err(CallError::NotSent(_)) => not_sent += 1,
            outcome => panic!("nobody can have answered: {outcome:?}"),
        }
    }
    assert!(unknown > 0, "{not_sent} were not sent");
    let mut connection = client.connection();
    let is_given_up = |now: &Connection| !matches!(now, Connection::Up { server, .. } if *server == first);
    timeout(SOON, connection.wait_for(is_given_up)).await.expect("the client notices").unwrap();
    drop(stopped);
    let second = wait_for_another(client, Some(&first)).await;
    let read = || async { client.get::<usize>("n").await.unwrap().unwrap_or_default() };
    let at_first = read().await;
    assert!(at_first <= unknown, "{at_first} of {unknown}");
    wait_out(Duration::from_millis(500)).await;
    (second.predecessor, at_first, read().await)
}

/// A process that was stopped and goes on: what the kernel holds of the old connection does not run after the new one is up.
#[tokio::test]
async fn a_server_that_was_stopped_runs_nothing_of_the_old_connection_after_the_new_one_is_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--save", ""]).await;
    let client = client_at(&format!("127.0.0.1:{}", server.port), "");
    let (predecessor, at_first, at_last) = survive_a_stop(&server, &client).await;
    assert_eq!(predecessor, Predecessor::Ended);
    assert_eq!(at_first, at_last, "increments of the old connection ran after the new one was up");
    assert_eq!(client.metrics().unfenced.get(), 0);
}

/// What a way holds back of the first connection, and of no other, until it is let go: the server's end of that connection stays
/// open, whatever its client does.
struct Way {
    address: SocketAddr,
    is_held: watch::Sender<bool>,
}

impl Way {
    async fn to(server: &Server) -> Self {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let (address, is_held) = (listener.local_addr().unwrap(), watch::Sender::new(false));
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        let hold = is_held.subscribe();
        task::spawn("way", async move {
            let first = listener.accept().await.unwrap().0;
            task::spawn("held", carry(first, server, hold));
            loop {
                // Nobody ever holds these.
                let (_, never) = watch::channel(false);
                let next = listener.accept().await.unwrap().0;
                task::spawn("free", carry(next, server, never));
            }
        });
        Self { address, is_held }
    }
}

/// Carries bytes both ways until the server ends the connection.
async fn carry(client: TcpStream, server: SocketAddr, mut is_held: watch::Receiver<bool>) {
    let server = net::connect(server, SOON).await.unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let there = async {
        let mut bytes = Vec::new();
        loop {
            let count = from_client.read_buf(&mut bytes).await.unwrap_or(0);
            // Where the sender is gone, nothing is held.
            drop(is_held.wait_for(|is_held| !is_held).await);
            let is_sent = to_server.write_all(&bytes).await.is_ok();
            bytes.clear();
            if count == 0 || !is_sent {
                // The connection stays open at the server until that ends it.
                return std::future::pending().await;
            }
        }
    };
    let back = async {
        // The client may be gone: the answers are lost then.
        let mut bytes = Vec::new();
        while from_server.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            drop(to_client.write_all(&bytes).await);
            bytes.clear();
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// Lets increments be held on their way until the client has given up their connection and has another, then lets them go, and
/// returns what became of the first connection and how many increments ran late.
async fn survive_held_bytes(server: &Server, user: &str) -> (Client, Predecessor, usize) {
    const HELD: usize = 100;
    let way = Way::to(server).await;
    let client = client_at(&way.address.to_string(), user);
    let first = wait_for_another(&client, None).await;
    way.is_held.send_replace(true);
    let mut calls = JoinSet::new();
    for _ in 0..HELD {
        let client = client.clone();
        calls.spawn(async move { client.call(incr("n")).await });
    }
    while let Some(outcome) = calls.join_next().await {
        let outcome = outcome.unwrap();
        assert!(matches!(outcome, Err(CallError::Unknown(_))), "{outcome:?}");
    }
    let second = wait_for_another(&client, Some(&first)).await;
    assert_eq!(counter(server).await, 0);
    way.is_held.send_replace(false);
    wait_out(Duration::from_millis(500)).await;
    let late = counter(server).await;
    assert!(late == 0 || late == HELD, "{late}");
    (client, second.predecessor, late)
}

/// Packets that were lost on the way come late: the server has ended their connection.
#[tokio::test]
async fn bytes_that_come_late_run_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--save", ""]).await;
    let (client, predecessor, late) = survive_held_bytes(&server, "").await;
    assert_eq!((predecessor, late), (Predecessor::Ended, 0));
    assert_eq!(client.metrics().unfenced.get(), 0);
}

/// Without the fence they run, long after their callers were told that it is not known. The driver says and counts it.
#[tokio::test]
async fn a_server_that_does_not_end_the_old_connection_is_told_of() {
    for (denied, why) in [("-client|kill", "NOPERM"), ("-info", "does not tell its run_id")] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &["--save", ""]).await;
        let rule = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", denied];
        assert_eq!(server.cli(&rule).await, "OK");
        let (client, predecessor, late) = survive_held_bytes(&server, "app:secret@").await;
        let Predecessor::Unfenced { reason } = predecessor else { panic!("{denied}: {predecessor:?}") };
        assert!(reason.contains(why), "{denied}: {reason}");
        assert!(late > 0, "{denied}: this is what the fence is for");
        assert!(client.metrics().unfenced.get() >= 1);
    }
}
