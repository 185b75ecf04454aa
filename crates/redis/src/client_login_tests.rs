//! Tests of credentials that change while a client runs.

use std::sync::Mutex;
use std::time::Duration;

use bowline_rt::task;
use bowline_rt::time::{sleep, timeout};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};

use super::tests::{Server, Wire};
use super::*;
use crate::limits::CREDENTIALS_PAUSE;
use crate::{CredentialProvider, Credentials, Login, LoginFuture};

/// A provider whose credentials the test sets.
struct Vault {
    login: Mutex<Login>,
    version: watch::Sender<u64>,
}

impl Vault {
    fn new(password: &str) -> Arc<Self> {
        Arc::new(Self { login: Mutex::new(Login::user("u", password)), version: watch::Sender::new(0) })
    }

    fn set(&self, password: &str) {
        *self.login.lock().unwrap() = Login::user("u", password);
        self.version.send_modify(|version| *version += 1);
    }
}

impl CredentialProvider for Vault {
    fn login(&self) -> LoginFuture<'_> {
        let login = self.login.lock().unwrap().clone();
        Box::pin(async { Ok(login) })
    }

    fn version(&self) -> Option<watch::Receiver<u64>> {
        Some(self.version.subscribe())
    }
}

fn client(vault: &Arc<Vault>) -> (Client, mpsc::UnboundedReceiver<DuplexStream>) {
    let config = Config::from_url("redis://h").unwrap().credentials(Credentials::Provider(vault.clone()));
    let (sender, connections) = mpsc::unbounded_channel();
    (Client::start_with(config, Wire(sender.clone()), Wire(sender)), connections)
}

/// The next request, in one line.
async fn line(server: &mut Server) -> String {
    let request = timeout(Duration::from_secs(60), server.request()).await.unwrap().unwrap();
    request.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
}

/// Makes a client's connection, and returns what it said of itself.
async fn introduced(connections: &mut mpsc::UnboundedReceiver<DuplexStream>) -> (Server, String) {
    let mut server = Server::new(connections.recv().await.unwrap());
    let hello = line(&mut server).await;
    let fields = [("proto", Frame::Integer(3)), ("role", Frame::bulk("master")), ("id", Frame::Integer(7))];
    server.reply(&Frame::Map(fields.map(|(name, value)| (Frame::bulk(name), value)).into())).await;
    assert_eq!(line(&mut server).await, "INFO server");
    server.reply(&Frame::bulk("run_id:1\r\n")).await;
    (server, hello)
}

#[tokio::test(start_paused = true)]
async fn a_living_connection_says_the_new_credentials_in_line_with_the_requests() {
    let vault = Vault::new("p1");
    let (client, mut connections) = client(&vault);
    let (mut server, hello) = introduced(&mut connections).await;
    assert_eq!(hello, "HELLO 3 AUTH u p1");
    vault.set("p2");
    assert_eq!(line(&mut server).await, "AUTH u p2");
    let call = task::spawn("call", {
        let client = client.clone();
        async move { client.call(Command::new("ECHO").arg("x")).await }
    });
    assert_eq!(line(&mut server).await, "ECHO x");
    server.reply(&Frame::ok()).await;
    server.reply(&Frame::bulk("x")).await;
    assert_eq!(call.await.unwrap(), Ok(Frame::bulk("x")));
    assert_eq!(client.metrics().connected.get(), 1);
    // The next connection begins with what holds by then.
    vault.set("p3");
    drop(server);
    assert_eq!(introduced(&mut connections).await.1, "HELLO 3 AUTH u p3");
}

#[tokio::test(start_paused = true)]
async fn a_refused_change_leaves_the_connection_and_is_tried_again() {
    let vault = Vault::new("p1");
    let (client, mut connections) = client(&vault);
    let (mut server, _) = introduced(&mut connections).await;
    vault.set("p2");
    for _ in 0..4 {
        assert_eq!(line(&mut server).await, "AUTH u p2");
        server.reply(&Frame::error("WRONGPASS not yet")).await;
    }
    assert_eq!(line(&mut server).await, "AUTH u p2");
    server.reply(&Frame::ok()).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(client.metrics().logins_refused.get(), 4);
    assert!(matches!(&*client.connection().borrow(), Connection::Up { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_login_that_cannot_be_one_ends_the_connection() {
    let vault = Vault::new("p1");
    let (client, mut connections) = client(&vault);
    let (mut server, _) = introduced(&mut connections).await;
    vault.set("p2");
    assert_eq!(line(&mut server).await, "AUTH u p2");
    server.reply(&Frame::Integer(1)).await;
    introduced(&mut connections).await;
    assert_eq!(client.metrics().deaths("shape"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_the_credentials_is_not_hammered_but_news_are_said_at_once() {
    let vault = Vault::new("hunter2");
    let (client, mut connections) = client(&vault);
    let started = now();
    let mut attempts = 0;
    while now() - started < 10 * CREDENTIALS_PAUSE {
        let mut server = Server::new(connections.recv().await.unwrap());
        assert_eq!(line(&mut server).await, "HELLO 3 AUTH u hunter2");
        server.reply(&Frame::error("WRONGPASS invalid username-password pair")).await;
        attempts += 1;
    }
    assert!(attempts < 60, "{attempts}");
    assert_eq!(client.metrics().logins_refused.get(), attempts - 1);
    let error = client.call(Command::new("GET").arg("k")).await.unwrap_err().to_string();
    assert!(error.contains("h:6379 refused the user or the password: WRONGPASS"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");

    // Everything that it has tried until now is let down, so that the next attempt is the one that follows the news.
    while let Ok(stream) = connections.try_recv() {
        let mut server = Server::new(stream);
        line(&mut server).await;
        server.reply(&Frame::error("WRONGPASS invalid username-password pair")).await;
    }
    sleep(Duration::from_millis(1)).await;
    let set_at = now();
    vault.set("right");
    loop {
        let mut server = Server::new(connections.recv().await.unwrap());
        if line(&mut server).await == "HELLO 3 AUTH u right" {
            break;
        }
    }
    assert!(now() - set_at < Duration::from_millis(400), "{:?}", now() - set_at);
}

#[test]
fn a_core_of_ones_own_needs_credentials_that_were_asked_for() {
    let config = Config::from_url("redis://h").unwrap().credentials(Credentials::Provider(Vault::new("p")));
    let introduction = crate::handshake::Introduction::default();
    let mut handshake = crate::handshake::Handshake::new(&config, introduction);
    let error = handshake.answer(Frame::Map(Vec::new())).unwrap_err();
    assert!(error.reason.contains("with_current_credentials"), "{error:?}");
}
