//! Credentials that change while a client runs, against a real server behind a socket in the file system.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bowline_redis::tls::Connector;
use bowline_redis::{CallError, Client, Command, Config, Connection, CredentialFiles, Credentials, Frame};
use bowline_rt::time::timeout;

use support::{SOON, Server, wait_for};

/// Replaces a file as a whole.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

async fn get(client: &Client) -> Result<Frame, CallError> {
    client.call(Command::new("GET").arg("k").deadline(SOON)).await
}

async fn until(client: &Client, is_it: impl FnMut(&Connection) -> bool) -> Connection {
    timeout(SOON, client.connection().wait_for(is_it)).await.expect("in time").unwrap().clone()
}

#[tokio::test]
async fn users_and_passwords_change_under_a_living_connection_and_between_two() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, user, password] = ["s", "user", "password"].map(|name| directory.path().join(name));
    let server =
        Server::start(directory.path(), &["--save", "", "--unixsocket", socket.to_str().unwrap()]).await;
    let allow = async |name: &str, password: &str| {
        let arguments = ["ACL", "SETUSER", name, "on", password, "~*", "&*", "+@all"];
        assert_eq!(server.cli(&arguments).await, "OK");
    };
    allow("one", ">first").await;
    allow("two", ">second").await;
    put(&user, "one\n");
    put(&password, "first\n");

    let files = CredentialFiles::open_both(user.clone(), password.clone()).unwrap();
    let config = Config::from_url(&format!("unix://{}", socket.display())).unwrap();
    let client = Client::start(config.credentials(Credentials::Provider(Arc::new(files))).name("subject"));
    assert_eq!(get(&client).await, Ok(Frame::Null));
    let is_known_as = async |name: &str| {
        let list = server.cli(&["CLIENT", "LIST"]).await;
        let of_subject = list.lines().find(|line| line.contains(" name=subject "));
        of_subject.is_some_and(|line| line.contains(&format!(" user={name} ")))
    };
    assert!(is_known_as("one").await);

    put(&password, "second\n");
    put(&user, "two\n");
    wait_for("the new user", || async { is_known_as("two").await.then_some(()) }).await;
    assert_eq!(client.metrics().connected.get(), 1, "on the same connection");
    assert_eq!(get(&client).await, Ok(Frame::Null));

    // Deleting a user ends its connections.
    assert_eq!(server.cli(&["ACL", "DELUSER", "two"]).await, "1");
    let is_refused = |connection: &Connection| matches!(connection, Connection::Down { error: Some(error) } if error.contains("refused the user or the password: WRONGPASS"));
    until(&client, is_refused).await;
    put(&password, "first\n");
    put(&user, "one\n");
    until(&client, |connection| matches!(connection, Connection::Up { .. })).await;
    assert_eq!(get(&client).await, Ok(Frame::Null));
    assert!(is_known_as("one").await);
}

#[tokio::test]
async fn the_password_of_the_user_in_the_url_is_replaced_without_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, password] = ["s", "password"].map(|name| directory.path().join(name));
    let server =
        Server::start(directory.path(), &["--save", "", "--unixsocket", socket.to_str().unwrap()]).await;
    let set = async |rule: &str| assert_eq!(server.cli(&["ACL", "SETUSER", "gw", rule]).await, "OK");
    for rule in ["on", "~*", "+@all", ">first"] {
        set(rule).await;
    }
    put(&password, "first\n");
    let url = format!("unix://gw@{}", socket.display());
    let (config, user) = Config::from_url_without_password(&url, &Connector::Plain).unwrap();
    let files = Arc::new(CredentialFiles::open(user, password.clone()).unwrap());
    let client = Client::start(config.credentials(Credentials::Provider(files.clone())));
    assert_eq!(get(&client).await, Ok(Frame::Null));

    // Both are valid in between; the living connection says the new one.
    set(">second").await;
    put(&password, "second\n");
    assert!(files.refresh().unwrap());
    set("<first").await;
    assert_eq!(get(&client).await, Ok(Frame::Null));
    // The next connection does so too, whatever has become of the file.
    fs::remove_file(&password).unwrap();
    assert_eq!(server.cli(&["CLIENT", "KILL", "USER", "gw"]).await, "1");
    wait_for("the next connection", || async { (client.metrics().connected.get() == 2).then_some(()) }).await;
    assert_eq!(get(&client).await, Ok(Frame::Null));
    assert_eq!(client.metrics().logins_refused.get(), 0);
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_an_error_that_names_it() {
    let client = Client::start(Config::from_url("unix:///nowhere/redis.sock").unwrap());
    let call = client.call(Command::new("PING").deadline(Duration::from_millis(300)));
    let error = call.await.unwrap_err().to_string();
    assert!(error.contains("cannot connect to unix:/nowhere/redis.sock: "), "{error}");
}
