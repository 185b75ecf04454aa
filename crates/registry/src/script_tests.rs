//! The scripts, run by the Lua that Redis embeds, give the same answers as the model that the other tests use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bowline_model::{Epoch, Fence, Generation, Term};
use bowline_redis::Frame;
use bytes::Bytes;
use mlua::{Lua, MultiValue, Value};

use crate::backend::{ClaimRequest, ReadRequest, WriteRequest};
use crate::fake::{Draw, Model, START_UNIX_MS};
use crate::layout::TOMBSTONE;
use crate::redis::{
    CLAIM, READ, WRITE, claim_arguments, parse_claim, parse_read, parse_write, read_arguments,
    write_arguments,
};

/// The few commands that the scripts use, on keys that expire.
#[derive(Default)]
struct Commands {
    now_unix_ms: u64,
    strings: BTreeMap<String, String>,
    hashes: BTreeMap<String, BTreeMap<String, String>>,
    expiry: BTreeMap<String, u64>,
}

impl Commands {
    fn expire(&mut self) {
        let now = self.now_unix_ms;
        let (over, rest) = std::mem::take(&mut self.expiry).into_iter().partition(|(_, at)| *at <= now);
        self.expiry = rest;
        let over: BTreeMap<String, u64> = over;
        self.strings.retain(|key, _| !over.contains_key(key));
        self.hashes.retain(|key, _| !over.contains_key(key));
    }

    fn call(&mut self, lua: &Lua, arguments: &[String]) -> mlua::Result<Value> {
        self.expire();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let text = |text: Option<String>| match text {
            Some(text) => lua.create_string(text).map(Value::String),
            None => Ok(Value::Boolean(false)),
        };
        let list = |texts: Vec<String>| lua.create_sequence_from(texts).map(Value::Table);
        match words[..] {
            ["TIME"] => {
                let now = self.now_unix_ms;
                list(vec![(now / 1_000).to_string(), (now % 1_000 * 1_000).to_string()])
            }
            ["GET", key] => text(self.strings.get(key).cloned()),
            ["SET", key, value, "PX", lifetime] => {
                self.strings.insert(key.to_owned(), value.to_owned());
                self.expiry
                    .insert(key.to_owned(), self.now_unix_ms + lifetime.parse::<u64>().expect("a number"));
                text(Some("OK".to_owned()))
            }
            ["PEXPIRE", key, lifetime] => {
                self.expiry
                    .insert(key.to_owned(), self.now_unix_ms + lifetime.parse::<u64>().expect("a number"));
                Ok(Value::Number(1.0))
            }
            ["PTTL", key] => {
                let left = self.expiry.get(key).map(|at| at - self.now_unix_ms);
                #[expect(clippy::cast_precision_loss, reason = "a lifetime is far below 2^52 ms")]
                let left = left.map_or(-1.0, |left| left as f64);
                Ok(Value::Number(left))
            }
            ["HGET", key, field] => text(self.hashes.get(key).and_then(|hash| hash.get(field)).cloned()),
            ["HSET", key, field, value] => {
                self.hashes.entry(key.to_owned()).or_default().insert(field.to_owned(), value.to_owned());
                Ok(Value::Number(1.0))
            }
            ["HDEL", key, field] => {
                self.hashes.get_mut(key).expect("it was just listed").remove(field);
                Ok(Value::Number(1.0))
            }
            ["HRANDFIELD", key, count, "WITHVALUES"] => {
                let hash = self.hashes.get(key).cloned().unwrap_or_default();
                let count = count.parse().expect("a number");
                list(hash.into_iter().take(count).flat_map(|(field, value)| [field, value]).collect())
            }
            ["HGETALL", key] => {
                let hash = self.hashes.get(key).cloned().unwrap_or_default();
                list(hash.into_iter().flat_map(|(field, value)| [field, value]).collect())
            }
            _ => panic!("the scripts use another command: {words:?}"),
        }
    }
}

/// Runs scripts on the commands.
struct Interpreter {
    lua: Lua,
    commands: Rc<RefCell<Commands>>,
}

impl Interpreter {
    fn new() -> Self {
        let (lua, commands) = (Lua::new(), Rc::new(RefCell::new(Commands::default())));
        let shared = Rc::clone(&commands);
        let call = lua.create_function(move |lua, arguments: MultiValue| {
            let arguments: Vec<String> =
                arguments.iter().map(|argument| argument.to_string().expect("a text")).collect();
            shared.borrow_mut().call(lua, &arguments)
        });
        let redis = lua.create_table().expect("memory");
        redis.set("call", call.expect("memory")).expect("memory");
        lua.globals().set("redis", redis).expect("memory");
        Self { lua, commands }
    }

    fn run(&self, now_unix_ms: u64, script: &str, key: &str, arguments: Vec<String>) -> Frame {
        self.commands.borrow_mut().now_unix_ms = now_unix_ms;
        self.lua.globals().set("KEYS", vec![key]).expect("memory");
        self.lua.globals().set("ARGV", arguments).expect("memory");
        let reply: Vec<mlua::LuaString> = self.lua.load(script).eval().expect("the script runs");
        Frame::Array(reply.iter().map(|text| Frame::Bulk(Bytes::copy_from_slice(&text.as_bytes()))).collect())
    }
}

fn compare_one(
    draw: &mut Draw,
    interpreter: &Interpreter,
    model: &mut Model,
    last_term: &mut Term,
    now: u64,
) {
    let key = format!("k{}", draw.below(2));
    let epoch = Epoch::from_bits(u128::from(draw.below(3)));
    match draw.below(8) {
        0 => {
            let replaces = (draw.below(2) == 0).then_some(*last_term);
            let seen = Term(if draw.below(4) == 0 { now * 1_000 + draw.below(3) } else { 0 });
            let lifetime = Duration::from_millis(1 + draw.below(3_000));
            let not_after_unix_ms = now + 20 - draw.below(25);
            let request =
                ClaimRequest { key: "c".to_owned(), epoch, replaces, lifetime, seen, not_after_unix_ms };
            let reply = interpreter.run(now, CLAIM, "c", claim_arguments(&request));
            let claimed = model.claim(&request, now);
            *last_term = claimed.term;
            assert_eq!(parse_claim(&reply), Some(claimed), "{request:?}");
        }
        1..5 => {
            let request = WriteRequest {
                key: key.clone(),
                field: format!("f{}", draw.below(5)),
                fence: Fence { term: Term(draw.below(3)), generation: Generation(draw.below(6)), epoch },
                lifetime: Duration::from_millis(1 + draw.below(3_000)),
                payload: if draw.below(3) == 0 { TOMBSTONE.to_owned() } else { "h:1 z1 -".to_owned() },
                not_after_unix_ms: now + 20 - draw.below(25),
            };
            let reply = interpreter.run(now, WRITE, &key, write_arguments(&request));
            assert_eq!(parse_write(&reply), Some(model.write(&request, now)), "{request:?}");
        }
        _ => {
            let field = (draw.below(2) == 0).then(|| format!("f{}", draw.below(5)));
            let entries_max = usize::try_from(draw.below(6)).expect("small");
            let request = ReadRequest { key: key.clone(), field, entries_max };
            let reply = interpreter.run(now, READ, &key, read_arguments(&request));
            assert_eq!(parse_read(&reply), Some(model.read(&request, now)), "{request:?}");
        }
    }
}

#[test]
fn the_scripts_do_what_the_model_does() {
    let (interpreter, mut model, mut draw) = (Interpreter::new(), Model::default(), Draw(1));
    let (mut now, mut last_term) = (START_UNIX_MS, Term::default());
    for _ in 0..20_000 {
        now += draw.below(400);
        compare_one(&mut draw, &interpreter, &mut model, &mut last_term, now);
    }
}
