//! Where keys stand, by example; `tests/cluster/keys.rs` asks a real server.

use proptest::prelude::*;

use super::*;
use crate::cluster::RouteError;
use crate::command::Command;

fn check(line: &str, expected: Result<&str, RouteError>) {
    let mut words = line.split(' ').map(|word| if word == "''" { "" } else { word });
    let command = Command::new(words.next().unwrap()).args(words);
    let keys = command.keys().map(|keys| keys.join(&b' '));
    assert_eq!(keys.as_deref(), expected.map(str::as_bytes).as_ref().map(|keys| &keys[..]), "{line}");
}

#[test]
fn every_kind_of_position() {
    check("get a", Ok("a"));
    check("GET", Ok(""));
    check("set a b EX 5", Ok("a"));
    check("mset a 1 b 2", Ok("a b"));
    check("BLPOP a b 0", Ok("a b"));
    check("BLPOP", Ok(""));
    check("lcs a b LEN", Ok("a b"));
    check("BITOP AND d a b", Ok("d a b"));
    check("eval script 2 a b c", Ok("a b"));
    check("eval script 0", Ok(""));
    check("eval script 3 a b", Err(RouteError::KeyCount));
    check("eval script x a b", Err(RouteError::KeyCount));
    check("eval script -1 a b", Err(RouteError::KeyCount));
    check("eval script", Err(RouteError::KeyCount));
    check("eval script 18446744073709551615 a", Err(RouteError::KeyCount));
    check("zunionstore d 2 a b WEIGHTS 1 2", Ok("d a b"));
    check("zunion 2 a b WITHSCORES", Ok("a b"));
    check("bzmpop 0 2 a b MIN", Ok("a b"));
    check("xread COUNT 2 streams a b 0 0", Ok("a b"));
    check("xread COUNT 2", Ok(""));
    check("XREADGROUP GROUP streams streams STREAMS a b > >", Ok("a b"));
    check("sort a BY store GET store LIMIT 0 1 STORE d", Ok("a d"));
    check("georadius a 1 2 3 m STORE d STOREDIST e", Ok("a d e"));
    check("georadiusbymember a store 3 m COUNT 2 ANY STORE d", Ok("a d"));
    check("migrate host 1 a 0 100 COPY", Ok("a"));
    check("migrate host 1 '' 0 100 AUTH keys KEYS a b", Ok("a b"));
    check("object ENCODING a", Ok("a"));
    check("object help", Ok(""));
    check("xgroup CREATE a g $", Ok("a"));
    check("ping", Ok(""));
    check("my.module a", Err(RouteError::UnknownCommand));
}

#[test]
fn the_slot_is_that_of_all_keys() {
    let slot = |line: &str| {
        let mut words = line.split(' ');
        Command::new(words.next().unwrap()).args(words).route().map(|slot| slot.map(crate::Slot::number))
    };
    assert_eq!(slot("get foo"), Ok(Some(12182)));
    assert_eq!(slot("mget {foo}1 {foo}2"), Ok(Some(12182)));
    let [first, other] = [b"foo", b"bar"].map(|key| crate::Slot::of(key));
    assert_eq!(slot("mget foo foo bar"), Err(RouteError::CrossSlot { first, other }));
    assert_eq!(slot("ping"), Ok(None));
    assert_eq!(slot("eval script 0"), Ok(None));
    assert_eq!(slot("dbsize"), Err(RouteError::OfNode));
    assert_eq!(slot("memory stats"), Err(RouteError::OfNode));
    assert_eq!(slot("my.module foo"), Err(RouteError::UnknownCommand));
    assert_eq!(Command::new("my.module").arg("x").routed_by(b"foo").route(), Ok(Some(first)));
}

#[test]
fn no_command_stands_twice_in_the_table() {
    let mut names: Vec<&str> =
        TABLE.iter().flat_map(|(_, _, names)| names.split_ascii_whitespace()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX));
}

proptest! {
    #[test]
    fn keys_are_always_among_the_arguments(
        row in 0..TABLE.len(),
        arguments in proptest::collection::vec("(?i)STORE|STREAMS|KEYS|BY|LIMIT|[0-9]|-1|[a-z]*", 0..12),
    ) {
        let name = TABLE[row].2.split_ascii_whitespace().next().unwrap();
        let command = Command::new(name).args(&arguments);
        if let Ok(keys) = command.keys() {
            prop_assert!(keys.len() <= arguments.len());
            for key in keys {
                prop_assert!(arguments.iter().any(|argument| argument.as_bytes() == key));
            }
        }
    }
}
