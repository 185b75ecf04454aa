//! The server over loopback: connections, limits, and what the protocol promises, byte by byte.

use std::time::Duration;

use bowline_resp::{DecodeLimits, Decoder, Frame, encode_command};
use bowline_rt::net::{TcpStream, connect};
use bowline_rt::time::timeout;
use bowline_store::{Password, Settings, Store, StoreError};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(20);

struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Peer {
    async fn new(store: &Store) -> Self {
        let stream = connect(store.address(), PATIENCE).await.expect("the store listens");
        Self { stream, decoder: Decoder::new(DecodeLimits::default()), buffer: BytesMut::new() }
    }

    async fn send(&mut self, line: &str) {
        let mut bytes = BytesMut::new();
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        encode_command(words.into_iter(), &mut bytes);
        self.stream.write_all(&bytes).await.expect("the store reads");
    }

    /// The next reply; `None` when the store has closed the connection.
    async fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).expect("well-formed replies") {
                return Some(frame);
            }
            let read =
                timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("an answer in time");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.receive().await.map_or("closed".to_owned(), |frame| show(&frame))
    }
}

fn show(frame: &Frame) -> String {
    match frame {
        Frame::Simple(text) | Frame::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Frame::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Frame::Integer(number) => format!(":{number}"),
        Frame::Null | Frame::NullArray => "nil".to_owned(),
        Frame::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Frame::Map(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(key, value)| format!("{}={}", show(key), show(value))).collect();
            format!("{{{}}}", pairs.join(" "))
        }
        other => format!("{other:?}"),
    }
}

async fn start(settings: Settings) -> Store {
    Store::start("127.0.0.1:0".parse().expect("an address"), settings).await.expect("a free port")
}

#[tokio::test]
async fn transactions_run_whole_or_not_at_all() {
    let store = start(Settings::default()).await;
    let (mut one, mut two) = (Peer::new(&store).await, Peer::new(&store).await);
    for (line, expected) in [
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
        ("INCR a", "QUEUED"),
        ("EXEC", "[OK :2]"),
        ("EXEC", "-ERR EXEC without MULTI"),
        ("MULTI", "OK"),
        ("NOPE", "-ERR unknown command 'NOPE', with args beginning with: "),
        ("SET a 9", "QUEUED"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
        ("GET a", "2"),
        ("WATCH a", "OK"),
    ] {
        assert_eq!(one.ask(line).await, expected, "{line}");
    }
    assert_eq!(two.ask("SET a 5").await, "OK");
    for (line, expected) in [("MULTI", "OK"), ("GET a", "QUEUED"), ("EXEC", "nil"), ("GET a", "5")] {
        assert_eq!(one.ask(line).await, expected, "{line}");
    }
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn both_protocols_and_the_state_of_a_connection() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    assert_eq!(peer.ask("HSET h f v").await, ":1");
    assert_eq!(peer.ask("HGETALL h").await, "[f v]");
    assert!(peer.ask("HELLO 3 SETNAME tester").await.contains("proto=:3"));
    assert_eq!(peer.ask("HGETALL h").await, "{f=v}");
    assert_eq!(peer.ask("CLIENT GETNAME").await, "tester");
    assert_eq!(peer.ask("SELECT 3").await, "OK");
    assert_eq!(peer.ask("DBSIZE").await, ":0");
    peer.send("CLIENT REPLY SKIP").await;
    peer.send("SET skipped 1").await;
    assert_eq!(peer.ask("GET skipped").await, "1");
    peer.send("CLIENT REPLY OFF").await;
    peer.send("SET off 1").await;
    assert_eq!(peer.ask("CLIENT REPLY ON").await, "OK");
    assert_eq!(peer.ask("RESET").await, "RESET");
    assert_eq!(peer.ask("CLIENT GETNAME").await, "nil");
    assert_eq!(peer.ask("HGETALL h").await, "[f v]");
    assert_eq!(
        peer.ask("LPUSH l 1").await,
        "-ERR unknown command 'LPUSH': the Bowline store has no commands for lists"
    );
    assert_eq!(peer.ask("QUIT").await, "OK");
    assert_eq!(peer.receive().await, None);
}

#[tokio::test]
async fn nothing_is_done_before_authentication() {
    let store = start(Settings { password: Some(Password::new(b"secret")), ..Settings::default() }).await;
    let mut peer = Peer::new(&store).await;
    assert_eq!(peer.ask("GET a").await, "-NOAUTH Authentication required.");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(peer.ask("AUTH wrong").await, wrong);
    assert_eq!(peer.ask("AUTH other secret").await, wrong);
    assert!(peer.ask("HELLO 3").await.starts_with("-NOAUTH HELLO"));
    assert!(peer.ask("HELLO 3 AUTH default secret").await.contains("role=master"));
    assert_eq!(peer.ask("GET a").await, "nil");
    // Small limits hold until then: nobody fills memory from outside.
    let mut stranger = Peer::new(&store).await;
    stranger.stream.write_all(b"*1\r\n$100000\r\n").await.expect("the store reads");
    let refused = stranger.receive().await.map(|frame| show(&frame));
    assert_eq!(refused.as_deref(), Some("-ERR Protocol error: unauthenticated bulk length"));
    assert_eq!(stranger.receive().await, None);
}

#[tokio::test]
async fn garbage_gets_an_answer_and_costs_its_sender_only() {
    let store = start(Settings::default()).await;
    for garbage in [b"*1\r\nGARBAGE\r\n".as_slice(), b"*x\r\n", b"*-5\r\n*1\r\n$-9\r\n", &[b'x'; 100_000]] {
        let mut peer = Peer::new(&store).await;
        peer.stream.write_all(garbage).await.expect("the store reads");
        let answer = peer.receive().await.map(|frame| show(&frame)).unwrap_or_default();
        assert!(answer.starts_with("-ERR Protocol error: "), "{answer}");
        assert_eq!(peer.receive().await, None);
    }
    let mut peer = Peer::new(&store).await;
    peer.stream.write_all(b"SET inline \"a b\"\r\nGET inline\r\n").await.expect("the store reads");
    assert_eq!(peer.receive().await, Some(Frame::Simple("OK".into())));
    assert_eq!(peer.receive().await, Some(Frame::Bulk("a b".into())));
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order_and_leaves_others_their_turn() {
    let store = start(Settings::default()).await;
    let (mut busy, mut other) = (Peer::new(&store).await, Peer::new(&store).await);
    let mut bytes = BytesMut::new();
    for number in 0..20_000 {
        encode_command([b"ECHO".as_slice(), format!("{number}").as_bytes()].into_iter(), &mut bytes);
    }
    busy.stream.write_all(&bytes).await.expect("the store reads");
    assert_eq!(other.ask("PING").await, "PONG");
    for number in 0..20_000 {
        let reply = busy.receive().await.map(|frame| show(&frame));
        assert_eq!(reply, Some(number.to_string()));
    }
}

#[tokio::test]
async fn clients_are_counted_and_can_be_ended() {
    let store = start(Settings { clients_max: 2, ..Settings::default() }).await;
    let (mut one, mut two) = (Peer::new(&store).await, Peer::new(&store).await);
    assert_eq!(one.ask("CLIENT ID").await, ":1");
    assert_eq!(two.ask("CLIENT ID").await, ":2");
    let mut third = Peer::new(&store).await;
    let refused = third.receive().await.map(|frame| show(&frame));
    assert_eq!(refused.as_deref(), Some("-ERR max number of clients reached"));
    assert_eq!(one.ask("CLIENT KILL ID 2").await, ":1");
    assert_eq!(two.receive().await, None);
    let gone = async {
        // Each round is a round trip to the store, which gets its time by it.
        while one.ask("CLIENT LIST").await.lines().count() > 1 {}
    };
    timeout(PATIENCE, gone).await.expect("the killed client leaves the list");
    let mut fourth = Peer::new(&store).await;
    assert_eq!(fourth.ask("PING").await, "PONG");
}

#[tokio::test]
async fn idle_clients_go_and_keys_expire_by_themselves() {
    let settings = Settings { idle_timeout: Some(Duration::from_millis(100)), ..Settings::default() };
    let store = start(settings).await;
    let mut idle = Peer::new(&store).await;
    assert_eq!(idle.ask("SET k v PX 20").await, "OK");
    assert_eq!(idle.receive().await, None);
    let gone = async {
        loop {
            let mut peer = Peer::new(&store).await;
            if peer.ask("DBSIZE").await == ":0" {
                return;
            }
        }
    };
    timeout(PATIENCE, gone).await.expect("nobody asked for the key, and it went");
}

/// Calls from Lua into Rust and back nest up to Lua's own limit; the stack must be larger than that.
#[tokio::test]
async fn scripts_cannot_overflow_the_stack() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    for script in [
        "local function f(s) return (s:gsub('.', f)) end return f('a')",
        "local function f(s) return pcall(string.gsub, s, '.', f) end return #{f('a')}",
        "local t = setmetatable({}, {__index = function(t, k) return (k:gsub('.', t)) end}) return t.a",
        "local t = {} for i = 1, 100000 do t = {t} end return t",
        "local t = {} for i = 1, 100000 do t = {t} end return cjson.encode(t)",
        "return cjson.decode(('['):rep(100000))",
        "return string.find(('a'):rep(100000), ('a*'):rep(10000))",
        "return string.find(('('):rep(100000), ('%('):rep(30000))",
        "return loadstring('return ' .. ('('):rep(100000))",
        "local s = ('x'):rep(100) local f = loadstring('return ' .. ('{'):rep(100000)) return f",
    ] {
        let mut bytes = BytesMut::new();
        encode_command([b"EVAL".as_slice(), script.as_bytes(), b"0"].into_iter(), &mut bytes);
        peer.stream.write_all(&bytes).await.expect("the store reads");
        assert!(peer.receive().await.is_some(), "{script}");
        assert_eq!(peer.ask("PING").await, "PONG", "after {script}");
    }
}

#[tokio::test]
async fn memory_has_a_limit() {
    let store = start(Settings { memory_max_bytes: 10_000, ..Settings::default() }).await;
    let mut peer = Peer::new(&store).await;
    let mut refused = false;
    for number in 0..1_000 {
        let answer = peer.ask(&format!("SET key{number} {}", "x".repeat(100))).await;
        refused |= answer == "-OOM command not allowed when used memory > 'maxmemory'.";
    }
    assert!(refused);
    assert_eq!(peer.ask("DEL key0").await, ":1");
    assert!(peer.ask("INFO memory").await.contains("maxmemory:10000"));
}

#[tokio::test]
async fn what_has_expired_makes_room_before_a_command_is_refused() {
    let store = start(Settings { memory_max_bytes: 10_000, ..Settings::default() }).await;
    let mut peer = Peer::new(&store).await;
    for number in 0..10 {
        assert_eq!(peer.ask(&format!("SET key{number} {} PX 1", "x".repeat(1_000))).await, "OK");
    }
    // One that goes with the next millisecond is looked for until then.
    while peer.ask("PTTL key9").await != ":-2" {}
    assert_eq!(peer.ask(&format!("SET key {}", "x".repeat(9_000))).await, "OK");
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn info_counts_commands_and_errors_by_sections() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    for line in ["SET k v EX 100", "GET k", "GET k", "INCR k", "NOPE", "GET", "HGET k f"] {
        peer.ask(line).await;
    }
    let info = peer.ask("INFO").await;
    for present in ["# Server", "# Errorstats", "errorstat_ERR:count=3", "errorstat_WRONGTYPE:count=1"] {
        assert!(info.contains(present), "{present}: {info}");
    }
    assert!(info.contains("db0:keys=1,expires=1,avg_ttl=99") || info.contains("avg_ttl=100000"), "{info}");
    assert!(!info.contains("# Commandstats"), "{info}");
    for sections in ["all", "everything", "commandstats", "Clients CommandStats"] {
        let info = peer.ask(&format!("INFO {sections}")).await;
        assert!(info.contains("cmdstat_get:calls=2,"), "{sections}: {info}");
        assert!(info.contains("rejected_calls=1,failed_calls=0"), "{info}");
        assert!(info.contains("cmdstat_incr:calls=1,"), "{info}");
        assert_eq!(info.contains("# Server"), sections.starts_with(['a', 'e']), "{info}");
        assert_eq!(info.contains("# Clients"), sections != "commandstats", "{info}");
    }
    assert!(peer.ask("INFO memory").await.contains("used_memory_peak:"));
    assert_eq!(peer.ask("CONFIG RESETSTAT").await, "OK");
    assert!(!peer.ask("INFO commandstats errorstats").await.contains("cmdstat_get"));
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_limits_of_lists_have_two_names() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    assert_eq!(peer.ask("CONFIG GET hash-max-ziplist-entries").await, "[hash-max-ziplist-entries 512]");
    assert_eq!(peer.ask("CONFIG SET hash-max-listpack-entries 1 hash-max-ziplist-value 1kb").await, "OK");
    assert_eq!(peer.ask("CONFIG GET hash-max-ziplist-entries").await, "[hash-max-ziplist-entries 1]");
    assert_eq!(peer.ask("CONFIG GET hash-max-listpack-value").await, "[hash-max-listpack-value 1024]");
    peer.ask("HSET h a 1").await;
    assert_eq!(peer.ask("OBJECT ENCODING h").await, "listpack");
    peer.ask("HSET h b 1").await;
    assert_eq!(peer.ask("OBJECT ENCODING h").await, "hashtable");
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_store_starts_and_ends_as_it_is_told() {
    let store = start(Settings::default()).await;
    let taken = Store::start(store.address(), Settings::default()).await;
    assert!(matches!(taken, Err(StoreError::Bind { .. })), "{taken:?}");
    let mut peer = Peer::new(&store).await;
    assert_eq!(peer.ask("PING").await, "PONG");
    store.stop().await.expect("a clean end");
    assert_eq!(peer.receive().await, None);

    let mut store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    assert_eq!(peer.ask("SHUTDOWN NOSAVE").await, "closed");
    timeout(PATIENCE, store.ended()).await.expect("in time").expect("a clean end");

    let store = start(Settings { shutdown_allowed: false, ..Settings::default() }).await;
    let mut peer = Peer::new(&store).await;
    assert!(peer.ask("SHUTDOWN").await.starts_with("-ERR SHUTDOWN is not allowed"));
}

#[tokio::test]
async fn config_set_changes_everything_or_nothing() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    let refused = peer.ask("CONFIG SET maxclients 7 maxmemory many").await;
    assert!(refused.starts_with("-ERR CONFIG SET failed"), "{refused}");
    assert_eq!(peer.ask("CONFIG GET maxclients").await, "[maxclients 10000]");
    assert_eq!(peer.ask("CONFIG SET maxclients 7 maxmemory 1mb").await, "OK");
    assert_eq!(peer.ask("CONFIG GET maxclients maxmemory").await, "[maxclients 7 maxmemory 1048576]");
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_transaction_does_not_pass_the_memory_limit_that_it_was_queued_below() {
    let store = start(Settings { memory_max_bytes: 1_000, ..Settings::default() }).await;
    let (mut one, mut two) = (Peer::new(&store).await, Peer::new(&store).await);
    assert_eq!(one.ask("MULTI").await, "OK");
    assert_eq!(one.ask("SET a 1").await, "QUEUED");
    assert_eq!(two.ask(&format!("SET b {}", "x".repeat(2_000))).await, "OK");
    assert!(one.ask("EXEC").await.starts_with("-EXECABORT"));
    assert_eq!(one.ask("GET a").await, "nil");
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn who_waits_for_a_password_that_is_taken_away_is_let_in() {
    let store = start(Settings { password: Some(Password::new(b"secret")), ..Settings::default() }).await;
    let (mut early, mut admin) = (Peer::new(&store).await, Peer::new(&store).await);
    assert_eq!(early.ask("GET a").await, "-NOAUTH Authentication required.");
    assert_eq!(admin.ask("AUTH secret").await, "OK");
    admin.stream.write_all(b"CONFIG SET requirepass \"\"\r\n").await.expect("the store reads");
    assert_eq!(admin.receive().await.map(|frame| show(&frame)), Some("OK".to_owned()));
    assert_eq!(early.ask("GET a").await, "nil");
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_scripts_of_a_transaction_share_their_time() {
    let store = start(Settings { script_timeout: Duration::from_millis(100), ..Settings::default() }).await;
    let mut peer = Peer::new(&store).await;
    let started = bowline_rt::time::now();
    peer.stream.write_all(b"MULTI\r\n").await.expect("the store reads");
    for _ in 0..50 {
        peer.stream.write_all(b"EVAL \"while true do end\" 0\r\n").await.expect("the store reads");
    }
    peer.stream.write_all(b"EXEC\r\n").await.expect("the store reads");
    for _ in 0..51 {
        peer.receive().await.expect("queued");
    }
    let answer = peer.receive().await.map(|frame| show(&frame)).expect("an answer");
    assert_eq!(answer.matches("-ERR the script ran longer than 100 ms").count(), 50, "{answer}");
    assert!(bowline_rt::time::now() - started < Duration::from_secs(2));
    store.stop().await.expect("a clean end");
}

/// A page in a browser may be made to send commands in the body of a request.
#[tokio::test]
async fn who_speaks_http_is_cut_off_before_its_commands_run() {
    let store = start(Settings::default()).await;
    for start in ["POST / HTTP/1.1", "post /", "Host: localhost", "hOST: x"] {
        let mut peer = Peer::new(&store).await;
        let request = format!("{start}\r\n\r\nSET k v\r\n");
        peer.stream.write_all(request.as_bytes()).await.expect("the store reads");
        assert_eq!(peer.receive().await, None, "{start}");
    }
    let mut peer = Peer::new(&store).await;
    assert_eq!(peer.ask("EXISTS k").await, ":0");
    assert!(peer.ask("GET / HTTP/1.1").await.starts_with("-ERR wrong number of arguments"));
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_error_in_a_subcommand_aborts_the_transaction_when_it_is_queued() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    for (line, expected) in [
        ("OBJECT FOO a", "-ERR unknown subcommand 'FOO'. Try OBJECT HELP."),
        ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
        ("CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP."),
        ("SCRIPT LOAD", "-ERR wrong number of arguments for 'script|load' command"),
        ("COMMAND GETKEYS", "-ERR wrong number of arguments for 'command|getkeys' command"),
        ("MEMORY USAGE", "-ERR wrong number of arguments for 'memory|usage' command"),
        ("SLOWLOG nope", "-ERR unknown subcommand 'nope'. Try SLOWLOG HELP."),
    ] {
        assert_eq!(peer.ask("MULTI").await, "OK");
        assert_eq!(peer.ask(line).await, expected);
        let aborted = "-EXECABORT Transaction discarded because of previous errors.";
        assert_eq!(peer.ask("EXEC").await, aborted, "{line}");
        assert_eq!(peer.ask(line).await, expected, "outside of a transaction");
    }
    assert_eq!(peer.ask("MULTI").await, "OK");
    assert_eq!(peer.ask("COMMAND").await, "QUEUED");
    assert_eq!(peer.ask("DISCARD").await, "OK");
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn skipping_replies_follows_the_order_of_commands() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    peer.send("CLIENT REPLY SKIP").await;
    assert_eq!(peer.ask("CLIENT REPLY ON").await, "OK");
    peer.send("CLIENT REPLY SKIP").await;
    peer.send("CLIENT REPLY SKIP").await;
    peer.send("PING skipped").await;
    assert_eq!(peer.ask("PING answered").await, "answered");
    peer.send("CLIENT REPLY OFF").await;
    peer.send("CLIENT REPLY SKIP").await;
    peer.send("PING off").await;
    assert_eq!(peer.ask("CLIENT REPLY ON").await, "OK");
    assert_eq!(peer.ask("PING on").await, "on");
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn what_client_libraries_ask_of_a_connection_is_answered() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    for (line, expected) in [
        ("CLIENT TRACKING OFF", "OK"),
        ("CLIENT TRACKING ON", "-ERR CLIENT TRACKING is not supported by the Bowline store"),
        ("CLIENT TRACKING maybe", "-ERR syntax error"),
        ("CLIENT TRACKINGINFO", "[flags [off] redirect :-1 prefixes []]"),
        ("CLIENT PAUSE 0", "OK"),
        ("CLIENT PAUSE 0 WRITE", "OK"),
        ("CLIENT PAUSE 0 x", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE 5", "-ERR CLIENT PAUSE is not supported by the Bowline store"),
        ("CLIENT UNPAUSE", "OK"),
        ("CLIENT NO-EVICT ON", "OK"),
        ("CLIENT NO-TOUCH OFF", "OK"),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT SETINFO LIB-NAME tester", "OK"),
        ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range"),
    ] {
        assert_eq!(peer.ask(line).await, expected, "{line}");
    }
    store.stop().await.expect("a clean end");
}

#[tokio::test]
async fn scripts_may_ask_about_the_server() {
    let store = start(Settings::default()).await;
    let mut peer = Peer::new(&store).await;
    let mut ask = async |script: &str| {
        let mut bytes = BytesMut::new();
        encode_command([b"EVAL".as_slice(), script.as_bytes(), b"0"].into_iter(), &mut bytes);
        peer.stream.write_all(&bytes).await.expect("the store reads");
        peer.receive().await.map(|frame| show(&frame)).expect("an answer")
    };
    assert!(ask("return redis.call('info', 'server')").await.contains("redis_version:7.0.15"));
    assert_eq!(ask("return redis.call('slowlog', 'len')").await, ":0");
    assert_eq!(ask("return redis.call('slowlog', 'get')").await, "[]");
    assert_eq!(ask("return #redis.call('time')").await, ":2");
    store.stop().await.expect("a clean end");
}
