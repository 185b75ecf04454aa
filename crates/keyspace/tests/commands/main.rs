//! Commands as a client sees them: a line in, the reply and the effects out.

use bowline_keyspace::effects::framed;
use bowline_keyspace::{Call, Command, Keyspace, ReplyTree, ReplyValue, Settings, Transaction, command};
use bytes::Bytes;

mod bits;
mod choices;

struct Bench {
    keyspace: Keyspace,
    database: usize,
    now_ms: i64,
}

impl Bench {
    fn new() -> Self {
        let mut keyspace = Keyspace::new(&Settings { seed: 42, ..Settings::default() });
        keyspace.effects.record(true);
        Self { keyspace, database: 0, now_ms: 1_000_000 }
    }

    fn run(&mut self, line: &str) -> String {
        let arguments: Vec<Bytes> =
            line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let found = find(&arguments[0]);
        if let Err(error) = found.spec.check(&arguments) {
            return format!("-{error}");
        }
        let mut reply = ReplyTree::new(false);
        let call = Call {
            keyspace: &mut self.keyspace,
            database: self.database,
            now_ms: self.now_ms,
            arguments: &arguments,
            reply: &mut reply,
        };
        // The refusal is in the reply as well.
        drop(call.run(found));
        show(&reply.finish().expect("one whole reply"))
    }

    fn effects(&mut self) -> String {
        let units = self.keyspace.effects.take();
        let units = units.iter().map(|unit| {
            let commands = framed(unit).map(|effect| {
                let words: Vec<_> =
                    effect.arguments.iter().map(|word| String::from_utf8_lossy(word)).collect();
                words.join(" ")
            });
            commands.collect::<Vec<_>>().join(", ")
        });
        units.collect::<Vec<_>>().join("; ")
    }
}

fn find(name: &[u8]) -> &'static Command {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    command::commands().find(|command| command.spec.name == name).expect("a known command")
}

fn show(value: &ReplyValue) -> String {
    match value {
        ReplyValue::Simple(text) => text.clone(),
        ReplyValue::Error(text) => format!("-{text}"),
        ReplyValue::Integer(number) => format!(":{number}"),
        ReplyValue::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ReplyValue::Null | ReplyValue::NullArray => "nil".to_owned(),
        ReplyValue::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}

/// Runs lines of `command => reply` on one key space.
fn check(script: &str) {
    let mut bench = Bench::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(advance) = line.strip_prefix("after ") {
            bench.now_ms += advance.parse::<i64>().expect("milliseconds");
            continue;
        }
        let (command, expected) = line.split_once(" =>").expect("command => reply");
        assert_eq!(bench.run(command), expected.trim(), "{command}");
    }
}

#[test]
fn strings() {
    check(
        "SET k v => OK
         GET k => v
         SET k w NX => nil
         SET k w XX GET => v
         GET k => w
         SET n 1 NX GET => nil
         SET k v EX 0 => -ERR invalid expire time in 'set' command
         SET k v EX 10 KEEPTTL => -ERR syntax error
         SET k v EX 9223372036854775807 => -ERR invalid expire time in 'set' command
         SETEX k x v => -ERR value is not an integer or out of range
         PSETEX k 1500 v => OK
         PTTL k => :1500
         TTL k => :2
         SET k v2 KEEPTTL => OK
         PTTL k => :1500
         APPEND k 34 => :4
         GET k => v234
         STRLEN k => :4
         INCR k => -ERR value is not an integer or out of range
         SET c 9223372036854775806 => OK
         INCR c => :9223372036854775807
         INCR c => -ERR increment or decrement would overflow
         DECRBY c -9223372036854775808 => -ERR decrement would overflow
         OBJECT encoding c => int
         APPEND c 0 => :20
         OBJECT encoding c => raw
         SET f 10.50 => OK
         INCRBYFLOAT f 0.1 => 10.6
         INCRBYFLOAT f 0.4 => 11
         INCR f => :12
         INCRBYFLOAT f abc => -ERR value is not a valid float
         INCRBYFLOAT f inf => -ERR increment would produce NaN or Infinity
         SET r Hello => OK
         GETRANGE r 1 3 => ell
         GETRANGE r -3 -1 => llo
         GETRANGE r -1 -3 => 
         GETRANGE r 0 100 => Hello
         SETRANGE r 6 World => :11
         SETRANGE r -1 x => -ERR offset is out of range
         SETRANGE r 536870912 x => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
         MSET a 1 b 2 => OK
         MSET a 1 b => -ERR wrong number of arguments for 'mset' command
         MSETNX b 3 z 4 => :0
         MGET a b z => [1 2 nil]
         GETSET a 5 => 1
         GETDEL a => 5
         GET a => nil
         GETEX b PX 100 => 2
         after 101
         GET b => nil",
    );
}

#[test]
fn hashes() {
    check(
        "HSET h a 1 b 2 => :2
         HSET h a 3 => :0
         HSET h a 1 b => -ERR wrong number of arguments for 'hset' command
         HGETALL h => [a 3 b 2]
         HMGET h a x => [3 nil]
         HSETNX h a 9 => :0
         HINCRBY h a 5 => :8
         HINCRBY h t 5 => :5
         HINCRBYFLOAT h b 0.5 => 2.5
         HINCRBY h b 1 => -ERR hash value is not an integer
         HSTRLEN h b => :3
         HEXISTS h t => :1
         HLEN h => :3
         HDEL h a b t => :3
         EXISTS h => :0
         SET s v => OK
         HGET s f => -WRONGTYPE Operation against a key holding the wrong kind of value
         HSET h a 1 => :1
         GET h => -WRONGTYPE Operation against a key holding the wrong kind of value
         HRANDFIELD h => a
         HRANDFIELD h 5 WITHVALUES => [a 1]
         HRANDFIELD h -3 => [a a a]
         HSCAN h 0 => [0 [a 1]]
         HSCAN h 0 MATCH b* => [0 []]
         OBJECT ENCODING h => listpack",
    );
}

#[test]
fn the_encoding_of_a_hash_follows_the_limits_and_never_goes_back() {
    let mut bench = Bench::new();
    for number in 0..512 {
        bench.run(&format!("HSET h f{number} v"));
    }
    assert_eq!(bench.run("OBJECT ENCODING h"), "listpack");
    bench.run("HSET h one more");
    assert_eq!(bench.run("OBJECT ENCODING h"), "hashtable");
    bench.run("HDEL h one");
    assert_eq!(bench.run("OBJECT ENCODING h"), "hashtable");
    bench.run(&format!("HSET long f {}", "x".repeat(64)));
    assert_eq!(bench.run("OBJECT ENCODING long"), "listpack");
    bench.run(&format!("HSET long f {}", "x".repeat(65)));
    assert_eq!(bench.run("OBJECT ENCODING long"), "hashtable");
    bench.keyspace.hash_limits.fields = 0;
    bench.run("HSET small f v");
    assert_eq!(bench.run("OBJECT ENCODING small"), "hashtable");
    bench.run("COPY small copy");
    assert_eq!(bench.run("OBJECT ENCODING copy"), "hashtable");
}

#[test]
fn what_is_counted_for_operators_is_true() {
    let mut bench = Bench::new();
    bench.run("HSET h f v");
    bench.run("SETRANGE s 5 v");
    bench.run("SETBIT b 7 1");
    bench.run("SETBIT b 7 1");
    assert_eq!(bench.keyspace.statistics().changes, 3);
    bench.run("DEL b");
    bench.run("SET a v PX 1000");
    bench.run("SET b v PX 3000");
    bench.run("SET c v PX 9000");
    assert_eq!(bench.keyspace.mean_ttl_ms(0, bench.now_ms), 13_000 / 3);
    bench.run("PERSIST c");
    assert_eq!(bench.keyspace.mean_ttl_ms(0, bench.now_ms), 2_000);
    bench.run("PEXPIRE a 5000");
    bench.run("DEL b");
    assert_eq!(bench.keyspace.mean_ttl_ms(0, bench.now_ms), 5_000);
    bench.keyspace.expire_due(bench.now_ms + 5_000, 100);
    assert_eq!((bench.keyspace.mean_ttl_ms(0, 0), bench.keyspace.sizes(0)), (0, (3, 0)));
}

#[test]
fn keys_and_expiry() {
    check(
        "SET a 1 => OK
         EXPIRE a 10 => :1
         EXPIRE a 5 GT => :0
         EXPIRE a 20 GT => :1
         EXPIRE a 5 NX => :0
         EXPIRE a 5 NX XX => -ERR NX and XX, GT or LT options at the same time are not compatible
         EXPIRE a 5 ZZ => -ERR Unsupported option ZZ
         EXPIRE a 9223372036854775807 => -ERR invalid expire time in 'expire' command
         PEXPIRETIME a => :1020000
         PERSIST a => :1
         TTL a => :-1
         EXPIRE a 5 GT => :0
         EXPIRE a 5 LT => :1
         RENAME a b => OK
         TTL b => :5
         RENAME a b => -ERR no such key
         COPY b c => :1
         TTL c => :5
         COPY b c => :0
         COPY b b => -ERR source and destination objects are the same
         COPY b b DB 1 => :1
         MOVE c 1 => :1
         MOVE b 1 => :0
         MOVE b 99 => -ERR DB index is out of range
         TYPE b => string
         EXISTS b b x => :2
         KEYS * => [b]
         SCAN 0 => [0 [b]]
         SCAN 0 TYPE hash => [0 []]
         SCAN x => -ERR invalid cursor
         SCAN 0 COUNT 0 => -ERR syntax error
         SWAPDB 0 1 => OK
         DBSIZE => :2
         after 5000
         TTL c => :-2
         RANDOMKEY => nil
         DBSIZE => :0
         EXPIRE a -1 => :0
         SET a 1 => OK
         EXPIRE a -1 => :1
         FLUSHALL NOW => -ERR syntax error
         OBJECT ENCODING a => nil
         OBJECT FOO a => -ERR unknown subcommand 'FOO'. Try OBJECT HELP.
         OBJECT ENCODING => -ERR wrong number of arguments for 'object|encoding' command
         OBJECT => -ERR wrong number of arguments for 'object' command
         MEMORY USAGE => -ERR wrong number of arguments for 'memory|usage' command",
    );
}

/// Section 4 of the field sheet, the rows of strings and hashes: INV-REPL-EFFECT.
#[test]
fn effects_are_absolute_and_resolved() {
    let cases = [
        ("SETEX k 10 v", "SET k v PXAT 1010000"),
        ("PSETEX k 10 v", "SET k v PXAT 1000010"),
        ("SET k v PX 10", "SET k v PXAT 1000010"),
        ("SET k v EXAT 5000", "SET k v PXAT 5000000"),
        ("SET s v NX", ""),
        ("SET s w GET", "SET s w"),
        ("GETSET s w", "SET s w"),
        ("SETNX n v", "SETNX n v"),
        ("INCRBYFLOAT f 0.5", "SET f 0.5 KEEPTTL"),
        ("HINCRBYFLOAT hf a 0.5", "HSET hf a 0.5"),
        ("HINCRBY h n 5", "HINCRBY h n 5"),
        ("INCR i", "INCR i"),
        ("EXPIRE s 10", "PEXPIREAT s 1010000"),
        ("PEXPIRE s 10", "PEXPIREAT s 1000010"),
        ("GETEX s EX 10", "PEXPIREAT s 1010000"),
        ("GETEX p PERSIST", "PERSIST p"),
        ("GETEX s", ""),
        ("EXPIRE s 0", "DEL s"),
        ("GETDEL h", ""),
        ("GETDEL t", "DEL t"),
        ("DEL nothing", ""),
        ("HDEL h nothing", ""),
        ("COPY t c", "COPY t c"),
        ("RENAME t c", "RENAME t c"),
        ("MOVE t 2", "MOVE t 2"),
        ("SWAPDB 0 1", "SWAPDB 0 1"),
        ("FLUSHALL", "FLUSHALL"),
        ("MSETNX t 1 u 2", ""),
        ("MGET s t", ""),
    ];
    for (command, expected) in cases {
        let mut bench = Bench::new();
        for line in ["SET s v", "SET t v", "HSET h f 1", "SET p v PX 99"] {
            bench.run(line);
        }
        bench.effects();
        bench.run(command);
        assert_eq!(bench.effects(), expected, "{command}");
    }
}

#[test]
fn an_expired_key_leaves_its_deletion_in_the_log() {
    let mut bench = Bench::new();
    bench.run("SET k v PX 10");
    bench.run("SET l v PX 10");
    bench.effects();
    bench.now_ms += 10;
    assert_eq!(bench.run("GET k"), "nil");
    assert_eq!(bench.effects(), "DEL k");
    assert_eq!(bench.run("APPEND l x"), ":1");
    assert_eq!(bench.effects(), "MULTI, DEL l, APPEND l x, EXEC");

    bench.run("SET m v PX 10");
    bench.effects();
    assert_eq!(bench.keyspace.expire_due(bench.now_ms + 10, 100), 1);
    assert_eq!(bench.effects(), "DEL m");
    assert_eq!(bench.keyspace.statistics().expired_keys, 3);
}

/// Nobody collected the key yet; a command that keeps its time must not keep one that is over.
#[test]
fn what_has_expired_hands_its_end_to_nobody() {
    check(
        "SET k v PX 10 => OK
         after 20
         SET k w KEEPTTL => OK
         PTTL k => :-1
         GET k => w
         SET f 1 PX 10 => OK
         after 20
         INCRBYFLOAT f 1 => 1
         PTTL f => :-1
         SET n 1 PX 10 => OK
         after 20
         INCR n => :1
         PTTL n => :-1
         SET a 1 PX 10 => OK
         after 20
         APPEND a x => :1
         PTTL a => :-1
         SET r 1 PX 10 => OK
         after 20
         SETRANGE r 0 x => :1
         PTTL r => :-1
         HSET h f 1 => :1
         PEXPIRE h 10 => :1
         after 20
         HINCRBY h f 1 => :1
         PTTL h => :-1
         SET s v => OK
         SET d v PX 10 => OK
         after 20
         RENAME s d => OK
         PTTL d => :-1",
    );
    let mut bench = Bench::new();
    bench.run("SET k v PX 10");
    bench.effects();
    bench.now_ms += 20;
    bench.run("SET k w KEEPTTL");
    assert_eq!(bench.effects(), "MULTI, DEL k, SET k w KEEPTTL, EXEC");
    assert_eq!(bench.keyspace.statistics().expired_keys, 1);
}

#[test]
fn every_database_gets_its_turn_at_expiring() {
    let mut bench = Bench::new();
    for database in [0, 5] {
        bench.database = database;
        for number in 0..3_000 {
            bench.run(&format!("SET key{number} v PX {}", if database == 0 { 1_000_000 } else { 10 }));
        }
    }
    bench.now_ms += 10;
    let mut removed = 0;
    for _ in 0..40 {
        removed += bench.keyspace.expire_due(bench.now_ms, 4);
    }
    assert_eq!(removed, 3_000);
    assert_eq!(bench.keyspace.sizes(0), (3_000, 3_000));
    assert_eq!(bench.keyspace.sizes(5), (0, 0));
}

#[test]
fn many_effects_of_one_unit_are_one_transaction() {
    let mut bench = Bench::new();
    bench.keyspace.effects.begin();
    bench.run("SET a 1");
    bench.run("INCR a");
    bench.keyspace.effects.end();
    bench.run("GET a");
    assert_eq!(bench.effects(), "MULTI, SET a 1, INCR a, EXEC");
}

#[test]
fn watched_keys_notice_every_kind_of_change() {
    use bowline_keyspace::transaction::Outcome;
    let cases = [
        ("GET k", false),
        ("SET k v", true),
        ("SET other v", false),
        ("APPEND k v", true),
        ("EXPIRE k 10", true),
        ("DEL k", true),
        ("RENAME k l", true),
        ("RENAME l k", true),
        ("FLUSHALL", true),
        ("FLUSHDB", true),
        ("SWAPDB 0 1", true),
        ("HSET h f v", false),
        ("after 1000", true),
    ];
    for (line, changes) in cases {
        let mut bench = Bench::new();
        bench.run("SET k v PX 1000");
        bench.run("SET l v");
        let mut transaction = Transaction::default();
        assert!(transaction.watch(&mut bench.keyspace, 0, b"k", bench.now_ms));
        match line.strip_prefix("after ") {
            Some(ms) => bench.now_ms += ms.parse::<i64>().expect("milliseconds"),
            None => drop(bench.run(line)),
        }
        transaction.begin();
        let outcome = transaction.finish(&mut bench.keyspace, bench.now_ms);
        assert_eq!(outcome == Outcome::Changed, changes, "{line}");
    }
}

#[test]
fn what_a_connection_queues_and_watches_has_a_bound_in_memory() {
    use bowline_keyspace::limits::{TRANSACTION_BYTES_MAX, WATCHED_BYTES_MAX};
    let mut bench = Bench::new();
    let mut transaction = Transaction::default();
    let key = vec![b'k'; WATCHED_BYTES_MAX / 3];
    let mut other = key.clone();
    other[0] = b'o';
    assert!(transaction.watch(&mut bench.keyspace, 0, &key, 0));
    assert!(transaction.watch(&mut bench.keyspace, 0, &other, 0));
    assert!(transaction.watch(&mut bench.keyspace, 0, &key, 0), "it is watched already");
    assert!(!transaction.watch(&mut bench.keyspace, 1, &key, 0));
    transaction.unwatch(&mut bench.keyspace);
    assert!(transaction.watch(&mut bench.keyspace, 1, &key, 0));

    // Empty arguments are not free.
    transaction.begin();
    let arguments = vec![Bytes::new(); 100_000];
    let queued = (0..1_000).take_while(|_| transaction.push(arguments.clone())).count();
    assert!(queued < TRANSACTION_BYTES_MAX / (100_000 * 64) + 1, "{queued}");
    transaction.discard(&mut bench.keyspace);
}

#[test]
fn memory_returns_to_zero_and_the_limit_holds() {
    let mut bench = Bench::new();
    for number in 0..2_000 {
        bench.run(&format!("SET key{number} value-{number}"));
        bench.run(&format!("HSET hash{} field{number} value{number}", number % 7));
        bench.run(&format!("APPEND key{number} more"));
    }
    bench.keyspace.set_memory_max_bytes(1_000);
    assert!(bench.keyspace.is_full());
    for number in 0..2_000 {
        bench.run(&format!("DEL key{number}"));
        bench.run(&format!("HDEL hash{} field{number}", number % 7));
    }
    assert_eq!(bench.keyspace.used_bytes(), 0);
    assert!(!bench.keyspace.is_full());
    while bench.keyspace.reclaim() {}
}

#[test]
fn command_answers_about_the_table() {
    let specs: Vec<_> = command::commands().map(|command| &command.spec).collect();
    let ask = |line: &str| {
        let arguments: Vec<Bytes> =
            line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let mut reply = ReplyTree::new(false);
        let find = |name: &[u8]| {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            specs.iter().find(|spec| spec.name == name).copied()
        };
        match command::introspect::command(&arguments, &specs, find, &mut reply) {
            Ok(()) => show(&reply.finish().expect("one whole reply")),
            Err(error) => format!("-{error}"),
        }
    };
    assert_eq!(ask("COMMAND COUNT"), format!(":{}", specs.len()));
    assert_eq!(ask("COMMAND INFO get"), "[[get :2 [readonly fast] :1 :1 :1 [@read @fast @string] [] [] []]]");
    assert_eq!(ask("COMMAND INFO nope"), "[nil]");
    assert_eq!(ask("COMMAND GETKEYS MSET a 1 b 2"), "[a b]");
    assert_eq!(ask("COMMAND GETKEYS SWAPDB 0 1"), "-ERR The command has no key arguments");
    assert_eq!(ask("COMMAND NOPE"), "-ERR unknown subcommand 'NOPE'. Try COMMAND HELP.");
}
