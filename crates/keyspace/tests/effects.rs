//! INV-REPL-EFFECT as a property: whatever commands ran, applying their effects to an empty key space gives equal data.

use bowline_keyspace::table::Item;
use bowline_keyspace::{Call, Keyspace, ReplyTree, ReplyValue, Settings, command};
use bytes::Bytes;
use proptest::prelude::*;

const DATABASES: usize = 2;

fn run(keyspace: &mut Keyspace, database: usize, now_ms: i64, arguments: &[Bytes]) -> ReplyValue {
    let name = String::from_utf8_lossy(&arguments[0]).to_ascii_lowercase();
    let found = command::commands().find(|command| command.spec.name == name).expect("a known command");
    assert!(found.spec.check(arguments).is_ok(), "arity of {arguments:?}");
    let mut reply = ReplyTree::new(false);
    drop(Call { keyspace, database, now_ms, arguments, reply: &mut reply }.run(found));
    reply.finish().expect("one whole reply")
}

fn words(line: &str) -> Vec<Bytes> {
    line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

/// Everything that is in a key space: keys, values, expiry.
fn dump(keyspace: &mut Keyspace, now_ms: i64) -> Vec<(usize, Vec<(String, String)>)> {
    (0..DATABASES)
        .map(|database| {
            let ReplyValue::Array(keys) = run(keyspace, database, now_ms, &words("KEYS *")) else {
                panic!("KEYS answers a list");
            };
            let mut entries: Vec<_> = keys
                .into_iter()
                .map(|key| {
                    let ReplyValue::Bulk(key) = key else { panic!("keys are strings") };
                    let entry = keyspace.find(database, &key, now_ms).expect("KEYS shows what is there");
                    let expires = entry.expires_at_ms();
                    let key = String::from_utf8(entry.key().to_vec()).expect("test keys are text");
                    let value = match entry.value.string() {
                        Ok(string) => format!("{:?}", string.bytes(&mut itoa::Buffer::new())),
                        Err(_) => {
                            let hash = entry.value.hash().expect("the other type");
                            let mut fields: Vec<_> = hash
                                .iter()
                                .map(|field| (field.name().to_vec(), field.value().to_vec()))
                                .collect();
                            fields.sort();
                            format!("{fields:?}")
                        }
                    };
                    (key, format!("{value} until {expires:?}"))
                })
                .collect();
            entries.sort();
            (database, entries)
        })
        .collect()
}

fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![Just("a"), Just("b"), Just("c")];
    let other = prop_oneof![Just("a"), Just("b"), Just("d")];
    let number = 1_i64..40;
    (0_usize..36, key, other, number).prop_map(|(choice, key, other, number)| match choice {
        0 => format!("SET {key} {number}"),
        1 => format!("SET {key} text PX {number}"),
        2 => format!("SET {key} {number} NX GET"),
        3 => format!("SET {key} {number} XX KEEPTTL"),
        4 => format!("SETEX {key} 1 {number}"),
        5 => format!("GETSET {key} {number}"),
        6 => format!("GETDEL {key}"),
        7 => format!("GETEX {key} PX {number}"),
        8 => format!("GETEX {key} PERSIST"),
        9 => format!("APPEND {key} {number}"),
        10 => format!("INCRBY {key} {number}"),
        11 => format!("DECR {key}"),
        12 => format!("INCRBYFLOAT {key} 0.{number}"),
        13 => format!("SETRANGE {key} {number} x"),
        14 => format!("MSET {key} 1 {other} 2"),
        15 => format!("MSETNX {key} 1 {other} 2"),
        16 => format!("HSET {key} f{number} {number} g 1"),
        17 => format!("HSETNX {key} f{number} {number}"),
        18 => format!("HDEL {key} f{number} g"),
        19 => format!("HINCRBY {key} n {number}"),
        20 => format!("HINCRBYFLOAT {key} n 0.{number}"),
        21 => format!("EXPIRE {key} 1 NX"),
        22 => format!("PEXPIRE {key} {number}"),
        23 => format!("PEXPIRE {key} {number} GT"),
        24 => format!("PEXPIRE {key} -{number}"),
        25 => format!("PERSIST {key}"),
        26 => format!("DEL {key} {other}"),
        27 => format!("RENAME {key} {other}"),
        28 => format!("RENAMENX {key} {other}"),
        29 => format!("COPY {key} {other} DB 1 REPLACE"),
        30 => format!("COPY {key} {other}"),
        31 => format!("MOVE {key} 1"),
        32 if number < 4 => "SWAPDB 0 1".to_owned(),
        33 if number < 4 => "FLUSHDB".to_owned(),
        34 if number < 4 => "FLUSHALL".to_owned(),
        _ => format!("GET {key}"),
    })
}

proptest! {
    #[test]
    fn effects_give_equal_data(steps in proptest::collection::vec((line(), 0_usize..DATABASES, 0_i64..15), 1..120)) {
        let mut primary = Keyspace::new(&Settings { databases: DATABASES, seed: 1, memory_max_bytes: 0 });
        let mut replica = Keyspace::new(&Settings { databases: DATABASES, seed: 2, memory_max_bytes: 0 });
        primary.effects.record(true);
        let mut now_ms = 1_000_000;
        for (line, database, elapsed) in &steps {
            now_ms += elapsed;
            run(&mut primary, *database, now_ms, &words(line));
            for effect in primary.effects.take().into_iter().flatten() {
                // Long before anything expires: an effect needs no clock but the primary's.
                run(&mut replica, effect.database, 0, &effect.arguments);
            }
        }
        // What has expired unseen is removed, and that is an effect, too.
        primary.expire_due(now_ms, 1_000);
        for effect in primary.effects.take().into_iter().flatten() {
            run(&mut replica, effect.database, 0, &effect.arguments);
        }
        prop_assert_eq!(dump(&mut primary, now_ms), dump(&mut replica, 0));
    }
}
