//! Tests of a whole client against sentinels and servers in the test, over pipes in memory and with a paused clock.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_model::Epoch;
use bowline_resp::{Frame, Protocol, RequestDecoder, RequestLimits, encode};
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{now, timeout};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::broadcast;

use crate::connect::Dial;
use crate::limits::{SENTINEL_ANSWER_BYTES_MAX, SENTINEL_LOOK_INTERVAL, SENTINEL_TIMEOUT};
use crate::topology::Address;
use crate::{CallError, Client, Command, Config, Connection, Credentials, Login};

/// What stands at an address.
#[derive(Debug, Clone)]
enum Host {
    /// A server, with its role. It answers every `GET` with its address.
    Server(&'static str),
    /// A sentinel that names a primary, the number of its failover, and other sentinels.
    Sentinel(&'static str, u64, &'static [&'static str]),
    /// A sentinel that wants this login first.
    Guarded(&'static [&'static str], &'static str),
    /// A sentinel that names a primary and the number of its failover; of each replica the address, the flags and its link.
    Watching(&'static str, u64, &'static [[&'static str; 3]]),
    /// A replica whose link to its primary is so, and what it does when it is asked for a value.
    Replica(&'static str, Reads),
    /// Takes everything and says nothing.
    Silent,
    /// Answers everything with these bytes.
    Says(Bytes),
}

/// What a replica does with a `GET`.
#[derive(Debug, Clone, Copy)]
enum Reads {
    /// Answers with its address.
    Well,
    Refuses(&'static str),
    Never,
    /// Ends the connection.
    Cuts,
}

/// The hosts that a client can reach.
#[derive(Clone)]
struct Net(Arc<Mutex<State>>);

struct State {
    hosts: BTreeMap<&'static str, Host>,
    connections: Vec<(String, JoinHandle<()>)>,
    /// Texts that sentinels publish.
    news: broadcast::Sender<&'static str>,
}

impl Net {
    fn new(hosts: impl IntoIterator<Item = (&'static str, Host)>) -> Self {
        let hosts = hosts.into_iter().collect();
        let news = broadcast::Sender::new(16);
        Self(Arc::new(Mutex::new(State { hosts, connections: Vec::new(), news })))
    }

    fn put(&self, address: &'static str, host: Host) {
        self.0.lock().unwrap().hosts.insert(address, host);
    }

    fn kill(&self, address: &str) {
        let mut state = self.0.lock().unwrap();
        state.hosts.remove(address);
        state.connections.retain(|(of, connection)| {
            let stays = of != address;
            if !stays {
                connection.abort();
            }
            stays
        });
    }

    /// Connections to `address` that are open.
    fn connections(&self, address: &str) -> usize {
        let state = self.0.lock().unwrap();
        let open =
            state.connections.iter().filter(|(of, connection)| of == address && !connection.is_finished());
        open.count()
    }

    fn publish(&self, text: &'static str) {
        // Nobody may listen.
        drop(self.0.lock().unwrap().news.send(text));
    }

    fn client(&self, url: &str) -> Client {
        self.client_of(Config::from_url(url).unwrap())
    }

    fn client_of(&self, config: Config) -> Client {
        Client::start_with(config, self.clone(), self.clone())
    }

    fn host(&self, address: &str) -> Option<Host> {
        self.0.lock().unwrap().hosts.get(address).cloned()
    }

    async fn serve(self, address: String, mut stream: DuplexStream) {
        let mut decoder = RequestDecoder::new(RequestLimits::default());
        let mut news = self.0.lock().unwrap().news.subscribe();
        let (mut requests, mut is_subscribed) = (BytesMut::new(), false);
        loop {
            let mut replies = BytesMut::new();
            tokio::select! {
                Ok(text) = news.recv(), if is_subscribed => {
                    encode(&texts(&["message", "+switch-master", text]), Protocol::Resp2, &mut replies);
                }
                read = stream.read_buf(&mut requests) => if read.unwrap_or(0) == 0 { return },
            }
            while let Some(request) = decoder.decode(&mut requests).unwrap() {
                let request: Vec<&str> =
                    request.iter().map(|text| std::str::from_utf8(text).unwrap()).collect();
                is_subscribed |= request[0] == "SUBSCRIBE";
                match self.host(&address) {
                    Some(Host::Says(bytes)) => replies.extend_from_slice(&bytes),
                    Some(Host::Silent) | None => {}
                    Some(Host::Replica(_, Reads::Never)) if request[0] == "GET" => {}
                    Some(Host::Replica(_, Reads::Cuts)) if request[0] == "GET" => return,
                    Some(host) => {
                        let is_server = matches!(host, Host::Server(_) | Host::Replica(..));
                        let protocol = if is_server { Protocol::Resp3 } else { Protocol::Resp2 };
                        encode(&answer(&host, &address, &request), protocol, &mut replies);
                    }
                }
            }
            if stream.write_all(&replies).await.is_err() {
                return;
            }
        }
    }
}

impl Dial for Net {
    type Stream = DuplexStream;

    async fn dial(&self, address: &Address, _: Duration) -> io::Result<DuplexStream> {
        let address = address.to_string();
        if self.host(&address).is_none() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(4096);
        let connection = task::spawn("host", self.clone().serve(address.clone(), far));
        self.0.lock().unwrap().connections.push((address, connection));
        Ok(near)
    }
}

fn texts(texts: &[&str]) -> Frame {
    Frame::Array(texts.iter().map(|text| Frame::bulk(text.as_bytes().to_vec())).collect())
}

fn pair(address: &str) -> [&str; 2] {
    let (host, port) = address.split_once(':').unwrap();
    [host, port]
}

fn answer(host: &Host, address: &str, request: &[&str]) -> Frame {
    match (host, request) {
        (Host::Server(role), ["HELLO", ..]) => Frame::Map(vec![
            (Frame::bulk("proto"), Frame::Integer(3)),
            (Frame::bulk("role"), Frame::bulk(*role)),
            (Frame::bulk("id"), Frame::Integer(7)),
        ]),
        (Host::Replica(..), ["HELLO", ..]) => answer(&Host::Server("replica"), address, request),
        (Host::Replica(link, _), ["INFO", "replication"]) => {
            Frame::bulk(format!("role:slave\r\nmaster_link_status:{link}\r\n"))
        }
        (Host::Replica(_, Reads::Refuses(text)), ["GET", ..]) => Frame::error(*text),
        (Host::Server(role), ["INFO", "replication"]) => Frame::bulk(format!("role:{role}\r\n")),
        (Host::Server(_) | Host::Replica(..), ["INFO", ..]) => Frame::bulk(format!("run_id:{address}\r\n")),
        (Host::Server(_) | Host::Replica(..), ["CLIENT", "KILL", ..]) => Frame::Integer(1),
        (Host::Server(_) | Host::Replica(..), ["PING"]) => Frame::Simple("PONG".into()),
        (Host::Server(_), ["SET", ..]) => Frame::ok(),
        (Host::Server(_) | Host::Replica(..), ["GET", ..]) => Frame::bulk(address.to_owned()),
        (_, ["INFO", ..]) => Frame::bulk("redis_mode:sentinel\r\n"),
        (_, ["SUBSCRIBE", channel]) => Frame::Array(vec![
            Frame::bulk("subscribe"),
            Frame::bulk((*channel).to_owned()),
            Frame::Integer(1),
        ]),
        (Host::Guarded(login, _), ["AUTH", said @ ..]) if said == *login => Frame::ok(),
        (Host::Guarded(..), ["AUTH", ..]) => Frame::error("WRONGPASS invalid username-password pair"),
        (
            Host::Sentinel(primary, ..) | Host::Guarded(_, primary) | Host::Watching(primary, ..),
            ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "my"],
        ) => texts(&pair(primary)),
        (Host::Watching(.., replicas), ["SENTINEL", "REPLICAS", "my"]) => {
            let fields = |[address, flags, link]: &[&str; 3]| {
                let [ip, port] = pair(address);
                texts(&["ip", ip, "port", port, "flags", flags, "master-link-status", link])
            };
            Frame::Array(replicas.iter().map(fields).collect())
        }
        (Host::Sentinel(_, epoch, _) | Host::Watching(_, epoch, _), ["SENTINEL", "MASTER", "my"]) => {
            texts(&["name", "my", "config-epoch", &epoch.to_string()])
        }
        (Host::Sentinel(_, _, others), ["SENTINEL", "SENTINELS", "my"]) => {
            let fields = |other: &&str| texts(&["ip", pair(other)[0], "port", pair(other)[1]]);
            Frame::Array(others.iter().map(fields).collect())
        }
        (_, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", _]) => Frame::NullArray,
        (_, ["PING"]) => texts(&["pong", ""]),
        _ => Frame::error("ERR unknown command"),
    }
}

#[path = "replicas_tests.rs"]
mod replicas;

/// Who answers a call; waits for it.
async fn who(client: &Client) -> String {
    let get = Command::new("GET").arg("k").deadline(Duration::from_secs(20));
    client.call(get).await.unwrap().as_text().unwrap().to_owned()
}

/// The connection that there is.
fn epoch(client: &Client) -> Option<Epoch> {
    match &*client.connection().borrow() {
        Connection::Up { epoch, .. } => Some(*epoch),
        Connection::Down { .. } => None,
    }
}

/// Waits for another connection.
async fn another_after(client: &Client, before: Option<Epoch>) {
    let mut connection = client.connection();
    let is_other = |connection: &Connection| matches!(connection, Connection::Up { epoch, .. } if Some(*epoch) != before);
    connection.wait_for(is_other).await.unwrap();
}

const URL: &str = "redis-sentinel://s1:1,s2:1/my";

#[tokio::test(start_paused = true)]
async fn the_sentinels_are_asked_in_turn_until_one_knows() {
    for first in
        [None, Some(Host::Silent), Some(Host::Says("+OK\r\n".into())), Some(Host::Says("*-1\r\n".into()))]
    {
        let net = Net::new([("s2:1", Host::Sentinel("a:1", 1, &[])), ("a:1", Host::Server("master"))]);
        if let Some(first) = first {
            net.put("s1:1", first);
        }
        let client = net.client(URL);
        let started = now();
        assert_eq!(who(&client).await, "a:1");
        assert!(now() - started <= 2 * SENTINEL_TIMEOUT);
    }
}

#[tokio::test(start_paused = true)]
async fn word_of_a_failover_ends_the_connection_to_the_old_primary_at_once() {
    let old = Host::Sentinel("a:1", 1, &[]);
    let net = Net::new([
        ("s1:1", old.clone()),
        ("s2:1", old),
        ("a:1", Host::Server("master")),
        ("b:1", Host::Server("master")),
    ]);
    let client = net.client(URL);
    assert_eq!(who(&client).await, "a:1");
    // The old primary is there still, and believes to be one.
    for sentinel in ["s1:1", "s2:1"] {
        net.put(sentinel, Host::Sentinel("b:1", 2, &[]));
    }
    assert_eq!(who(&client).await, "a:1", "nobody has said anything");
    let before = epoch(&client);
    net.publish("my a 1 b 1");
    timeout(Duration::from_millis(500), another_after(&client, before)).await.expect("at once");
    assert_eq!(client.metrics().deaths("replaced"), 1);
    assert_eq!(who(&client).await, "b:1");
}

#[tokio::test(start_paused = true)]
async fn a_failover_of_which_nobody_told_is_found_out_by_looking() {
    let net = Net::new([
        ("s1:1", Host::Sentinel("a:1", 1, &[])),
        ("a:1", Host::Server("master")),
        ("b:1", Host::Server("master")),
    ]);
    let client = net.client(URL);
    assert_eq!(who(&client).await, "a:1");
    let before = epoch(&client);
    net.put("s1:1", Host::Sentinel("b:1", 2, &[]));
    net.publish("other a 1 b 1");
    timeout(SENTINEL_LOOK_INTERVAL + Duration::from_secs(1), another_after(&client, before))
        .await
        .expect("by looking");
    assert_eq!(who(&client).await, "b:1");
}

#[tokio::test(start_paused = true)]
async fn a_sentinel_that_is_listened_to_and_was_cut_off_is_found_out_by_asking_the_others() {
    let net = Net::new([
        ("s1:1", Host::Sentinel("a:1", 1, &[])),
        ("s2:1", Host::Sentinel("a:1", 1, &[])),
        ("a:1", Host::Server("master")),
        ("b:1", Host::Server("master")),
    ]);
    let client = net.client(URL);
    assert_eq!(who(&client).await, "a:1");
    let before = epoch(&client);
    // s1 says nothing of it and does not know of it.
    net.put("s2:1", Host::Sentinel("b:1", 2, &[]));
    timeout(3 * SENTINEL_LOOK_INTERVAL, another_after(&client, before)).await.expect("by asking s2");
    assert_eq!(who(&client).await, "b:1");
    // And it does not bring the old one back.
    let stays = another_after(&client, epoch(&client));
    assert!(timeout(5 * SENTINEL_LOOK_INTERVAL, stays).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn sentinels_that_were_told_of_replace_those_that_die() {
    let all: &[&str] = &["s3:1"];
    let net = Net::new([("s1:1", Host::Sentinel("a:1", 1, all)), ("a:1", Host::Server("master"))]);
    let client = net.client("redis-sentinel://s1:1/my");
    assert_eq!(who(&client).await, "a:1");
    net.put("s3:1", Host::Sentinel("b:1", 2, &[]));
    net.put("b:1", Host::Server("master"));
    net.kill("s1:1");
    net.kill("a:1");
    assert_eq!(who(&client).await, "b:1");
}

#[tokio::test(start_paused = true)]
async fn a_sentinel_that_misleads_is_asked_last() {
    let lies = ["r:1", "s1:1", "s2:1", "nobody:1"];
    for lie in lies {
        let net = Net::new([
            ("s1:1", Host::Sentinel(lie, 9, &[])),
            ("s2:1", Host::Sentinel("a:1", 9, &[])),
            ("r:1", Host::Server("replica")),
            ("a:1", Host::Server("master")),
        ]);
        assert_eq!(who(&net.client(URL)).await, "a:1", "{lie}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sentinel_that_was_cut_off_does_not_bring_the_old_primary_back() {
    let net = Net::new([
        ("s1:1", Host::Sentinel("a:1", 2, &[])),
        ("a:1", Host::Server("master")),
        ("old:1", Host::Server("master")),
    ]);
    let client = net.client(URL);
    assert_eq!(who(&client).await, "a:1");
    net.put("s2:1", Host::Sentinel("old:1", 1, &[]));
    net.put("s1:1", Host::Silent);
    net.kill("a:1");
    net.put("a:1", Host::Server("master"));
    net.put("s1:1", Host::Sentinel("a:1", 2, &[]));
    for _ in 0..3 {
        assert_eq!(who(&client).await, "a:1");
        net.kill("a:1");
        net.put("a:1", Host::Server("master"));
    }
    // Where it is the only one left it is believed: the numbers began anew.
    net.kill("s1:1");
    net.kill("a:1");
    assert_eq!(who(&client).await, "old:1");
}

#[tokio::test(start_paused = true)]
async fn hostile_answers_are_bounded_and_named() {
    let huge = format!("${}\r\n{}", SENTINEL_ANSWER_BYTES_MAX * 2, "x".repeat(SENTINEL_ANSWER_BYTES_MAX * 2));
    let many = format!("*1000000000\r\n{}", ":1\r\n".repeat(20_000));
    let deep = "*1\r\n".repeat(1000);
    let flood = "$-1\r\n".repeat(100_000);
    for text in
        [huge, many, deep, flood, "*2\r\n$1\r\nh\r\n$99\r\n".to_owned(), "HTTP/1.1 200 OK\r\n\r\n".to_owned()]
    {
        let net = Net::new([("s1:1", Host::Says(text.into()))]);
        let client = net.client("redis-sentinel://s1:1/my");
        let call = client.call(Command::new("GET").arg("k").deadline(Duration::from_secs(3)));
        let Err(CallError::NotSent(error)) = call.await else { panic!("nobody is there") };
        assert!(error.to_string().contains("no sentinel tells who the primary is: s1:1: "), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn sentinels_have_a_login_of_their_own_and_never_see_that_of_the_servers() {
    let url = "redis-sentinel://u:hunter2@s1:1/my";
    let net = Net::new([("s1:1", Host::Guarded(&["s", "p"], "a:1")), ("a:1", Host::Server("master"))]);
    let config =
        Config::from_url(url).unwrap().sentinel_credentials(Credentials::Fixed(Login::user("s", "p")));
    assert_eq!(who(&net.client_of(config)).await, "a:1");
    assert_eq!(who(&net.client(&format!("{url}?sentinel_user=s&sentinel_password=p"))).await, "a:1");

    let client = net.client(&format!("{url}?sentinel_password=hunter3"));
    let call = client.call(Command::new("GET").arg("k").deadline(Duration::from_secs(3)));
    let error = call.await.unwrap_err().to_string();
    assert!(error.contains("s1:1: it refused the login: WRONGPASS") && !error.contains("hunter"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_listened_to_any_more_when_the_last_client_is_gone() {
    let net = Net::new([("s1:1", Host::Sentinel("a:1", 1, &[])), ("a:1", Host::Server("master"))]);
    let client = net.client("redis-sentinel://s1:1/my");
    let clone = client.clone();
    assert_eq!(who(&client).await, "a:1");
    drop(client);
    assert_eq!(who(&clone).await, "a:1");
    drop(clone);
    let connections = std::mem::take(&mut net.0.lock().unwrap().connections);
    for (address, connection) in connections {
        timeout(Duration::from_millis(1), connection).await.unwrap_or_else(|_| panic!("{address}")).unwrap();
    }
}
