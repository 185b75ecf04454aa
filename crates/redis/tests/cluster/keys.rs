//! What the driver knows about keys, against what a real server knows.

use bowline_redis::{Client, Command, Config, Frame, RouteError};

use crate::support::Server;

/// Commands with arguments in every form that decides where keys are.
const LINES: &[&str] = &[
    "BITOP AND d a b",
    "BLMPOP 0 2 a b LEFT COUNT 3",
    "BLMOVE a b LEFT RIGHT 0",
    "BLPOP a b c 0",
    "BZMPOP 0 1 a MIN",
    "BZPOPMIN a b 0",
    "COPY a b DB 0 REPLACE",
    "DEL a b c",
    "EVAL script 2 a b c",
    "EVALSHA digest 1 a b",
    "EVAL_RO script 1 a",
    "FCALL f 2 a b c",
    "FCALL_RO f 1 a",
    "GEORADIUS a 1 2 3 m COUNT 5 ASC STORE d STOREDIST e",
    "GEORADIUSBYMEMBER a m 3 m STOREDIST d",
    "GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 m",
    "LCS a b LEN",
    "LMPOP 2 a b LEFT",
    "MEMORY USAGE a SAMPLES 5",
    "MIGRATE h 1 a 0 100 COPY",
    "MIGRATE h 1 '' 0 100 AUTH keys KEYS a b",
    "MIGRATE h 1 '' 0 100 AUTH2 user keys KEYS a b",
    "MSET a 1 b 2",
    "MSETNX a 1 b 2",
    "OBJECT ENCODING a",
    "OBJECT FREQ a",
    "PFMERGE d a b",
    "SINTERCARD 2 a b LIMIT 1",
    "SORT a BY x GET store LIMIT 0 1 STORE d",
    "SORT a",
    "SORT_RO a BY x",
    "XADD a * f v",
    "XGROUP CREATE a g $",
    "XGROUP DELCONSUMER a g c",
    "XINFO STREAM a FULL",
    "XREAD COUNT 1 BLOCK 5 STREAMS a b 0 0",
    "XREADGROUP GROUP streams streams COUNT 1 STREAMS a b > >",
    "ZDIFF 2 a b WITHSCORES",
    "ZDIFFSTORE d 2 a b",
    "ZINTERSTORE d 2 a b WEIGHTS 1 2",
    "ZMPOP 2 a b MIN",
    "ZRANGESTORE d a 0 -1",
    "ZUNIONSTORE d 3 a b c AGGREGATE MAX",
];

/// Those whose channels the server does not count as keys and the driver does; and those that have examples above, because the
/// server finds no keys in the form that is tried here.
const NOT_ASKED: [&str; 5] = ["ssubscribe", "sunsubscribe", "spublish", "migrate", "pfmerge"];

struct Known {
    name: String,
    arity: i64,
    reads: bool,
    subcommands: Vec<Known>,
}

/// An element of the answer to `COMMAND`.
fn known(frame: &Frame) -> Known {
    let Frame::Array(fields) = frame else { panic!("{frame:?}") };
    let flags = match &fields[2] {
        Frame::Array(flags) | Frame::Set(flags) => flags,
        other => panic!("{other:?}"),
    };
    let subcommands = match fields.get(9) {
        Some(Frame::Array(commands)) => commands.iter().map(known).collect(),
        _ => Vec::new(),
    };
    Known {
        name: fields[0].as_text().unwrap().to_owned(),
        arity: fields[1].as_integer().unwrap(),
        reads: flags.iter().any(|flag| flag.as_text() == Some("readonly")),
        subcommands,
    }
}

async fn check(client: &Client, words: &[&str]) {
    let command = Command::new(words[0]).args(&words[1..]);
    let asked = client.call(Command::new("COMMAND").arg("GETKEYS").args(words)).await;
    let expected: Vec<Vec<u8>> = match asked {
        Ok(Frame::Array(keys)) => keys.iter().map(|key| key.as_bytes().unwrap().to_vec()).collect(),
        Err(error) if error.to_string().contains("no key arguments") => Vec::new(),
        other => panic!("{words:?}: {other:?}"),
    };
    assert_eq!(command.keys().unwrap(), expected, "{words:?}");
}

#[tokio::test]
async fn keys_and_readers_are_those_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let client = Client::start(Config::from_url(&format!("redis://{}", server.address())).unwrap());
    let Frame::Array(commands) = client.call(Command::new("COMMAND")).await.unwrap() else { panic!() };
    let mut checked = 0;
    for command in commands.iter().map(known) {
        let name = command.name.as_str();
        let subcommands = command.subcommands.iter();
        let forms = subcommands.map(|sub| (sub.name.split_once('|').unwrap().1, sub.arity, sub.reads));
        let mut forms: Vec<_> = forms.map(|(sub, arity, reads)| (vec![name, sub], arity, reads)).collect();
        if forms.is_empty() {
            forms.push((vec![name], command.arity, command.reads));
        }
        for (mut words, arity, reads) in forms {
            assert_ne!(Command::new(words[0]).keys(), Err(RouteError::UnknownCommand), "{name} is not known");
            let is_keyed = !NOT_ASKED.contains(&name);
            // Numbers do for keys, counts of keys and anything else.
            let arguments = usize::try_from(arity.abs()).unwrap().max(2);
            words.extend(
                ["1", "2", "3", "4", "5", "6", "7", "8"].iter().take(arguments - words.len().min(arguments)),
            );
            let built = Command::new(words[0]).args(&words[1..]);
            if let (Ok(keys), true) = (built.keys(), is_keyed)
                && !keys.is_empty()
            {
                assert_eq!(built.only_reads(), reads, "{words:?}");
                check(&client, &words).await;
                checked += 1;
            } else if is_keyed && built.keys().is_ok() {
                let asked = client.call(Command::new("COMMAND").arg("GETKEYS").args(&words)).await;
                let has_keys = matches!(&asked, Ok(Frame::Array(keys)) if !keys.is_empty());
                assert!(!has_keys, "{words:?} has keys: {asked:?}");
            }
        }
    }
    assert!(checked > 150, "only {checked} commands were checked");
    for line in LINES {
        let words: Vec<&str> = line.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
        check(&client, &words).await;
    }
}
