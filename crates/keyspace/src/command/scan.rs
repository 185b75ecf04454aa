//! Commands that walk over many keys or fields.

use crate::error::CommandError;
use crate::glob::Glob;
use crate::hash::Hash;
use crate::limits::RANDOM_DRAWS_MAX;
use crate::number::cursor;
use crate::table::Item;
use crate::value::{Entry, Value};

use super::spec::{Flags, Group, Keys, Spec};
use super::{Call, Command, Outcome, is_word};

const READ: Flags = Flags::READONLY;

const fn row(spec: Spec, group: Group, since: &'static str, run: fn(&mut Call<'_>) -> Outcome) -> Command {
    Command { spec: spec.about(group, since, spec.summary), run }
}

const fn spec(name: &'static str, arity: i32, keys: Keys, summary: &'static str) -> Spec {
    Spec { summary, ..Spec::new(name, arity, READ, keys) }
}

pub const COMMANDS: &[Command] = &[
    row(spec("keys", 2, Keys::None, "all keys that match a pattern"), Group::Generic, "1.0.0", keys),
    row(spec("scan", -2, Keys::None, "walks over all keys, a few at a time"), Group::Generic, "2.8.0", scan),
    row(spec("randomkey", 1, Keys::None, "a key chosen at random"), Group::Generic, "1.0.0", randomkey),
    row(spec("hscan", -3, Keys::ONE, "walks over all fields, a few at a time"), Group::Hash, "2.8.0", hscan),
];

/// Elements that one step of a scan looks at unless it is told otherwise.
const COUNT_DEFAULT: u64 = 10;

struct Options<'a> {
    glob: Option<Glob<'a>>,
    count: u64,
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(call: &Call<'a>, from: usize, with_type: bool) -> Result<Self, CommandError> {
        let mut options = Self { glob: None, count: COUNT_DEFAULT, kind: None };
        for pair in call.arguments[from..].chunks(2) {
            let [word, value] = pair else { return Err(CommandError::Syntax) };
            if is_word(word, "count") {
                let count = crate::number::integer(value)?;
                options.count =
                    u64::try_from(count).ok().filter(|&count| count > 0).ok_or(CommandError::Syntax)?;
            } else if is_word(word, "match") {
                options.glob = Some(Glob::new(value)).filter(|glob| !glob.is_any());
            } else if with_type && is_word(word, "type") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    fn matches(&mut self, name: &[u8]) -> Result<bool, CommandError> {
        self.glob.as_mut().map_or(Ok(true), |glob| glob.matches(name, false))
    }
}

fn reply_cursor(call: &mut Call<'_>, next: u64) {
    call.reply.array(2);
    call.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
}

fn scan(call: &mut Call<'_>) -> Outcome {
    let from = cursor(call.argument(1))?;
    let mut options = Options::parse(call, 2, true)?;
    let mut seen: Vec<Box<[u8]>> = Vec::new();
    let kind = options.kind;
    let table = &call.keyspace.databases[call.database].table;
    let next = table.scan(from, options.count, |entry| {
        if kind.is_none_or(|kind| kind.eq_ignore_ascii_case(entry.value.kind().as_bytes())) {
            seen.push(entry.key().into());
        }
    });
    let mut found = Vec::with_capacity(seen.len());
    for key in seen {
        // Looking at a key removes it if it has expired.
        if options.matches(&key)? && call.exists(&key) {
            found.push(key);
        }
    }
    reply_cursor(call, next);
    call.reply.array(found.len());
    found.iter().for_each(|key| call.reply.bulk(key));
    Ok(())
}

fn keys(call: &mut Call<'_>) -> Outcome {
    let mut glob = Glob::new(call.argument(1));
    let any = glob.is_any();
    let now_ms = call.now_ms;
    let mut found: Vec<&[u8]> = Vec::new();
    for entry in call.keyspace.databases[call.database].table.iter() {
        if entry.expires_at_ms > now_ms && (any || glob.matches(entry.key(), false)?) {
            found.push(entry.key());
        }
    }
    call.reply.array(found.len());
    found.iter().for_each(|key| call.reply.bulk(key));
    Ok(())
}

fn randomkey(call: &mut Call<'_>) -> Outcome {
    for _ in 0..RANDOM_DRAWS_MAX {
        let keyspace = &mut *call.keyspace;
        let (table, random) = (&keyspace.databases[call.database].table, &mut keyspace.random);
        let Some(entry) = table.random(|bound| random.below(bound)) else { break };
        let key: Box<[u8]> = entry.key().into();
        if call.exists(&key) {
            call.reply.bulk(&key);
            return Ok(());
        }
    }
    // Nearly all have expired and are not collected yet.
    let keyspace = &mut *call.keyspace;
    let (table, random) = (&keyspace.databases[call.database].table, &mut keyspace.random);
    let alive = |entry: &Entry| entry.expires_at_ms > call.now_ms;
    match table.random_among(|bound| random.below(bound), alive) {
        Some(entry) => call.reply.bulk(entry.key()),
        None => call.reply.null(),
    }
    Ok(())
}

fn hscan(call: &mut Call<'_>) -> Outcome {
    let from = cursor(call.argument(2))?;
    let key = call.argument(1);
    let mut options = Options::parse(call, 3, false)?;
    let value = call.keyspace.read(call.database, key, call.now_ms);
    let hash = value.map(Value::hash).transpose()?;
    let mut seen = Vec::new();
    let next = hash.map_or(0, |hash: &Hash| hash.scan(from, options.count, |field| seen.push(field.clone())));
    let mut found = Vec::with_capacity(seen.len());
    for field in seen {
        if options.matches(field.name())? {
            found.push(field);
        }
    }
    reply_cursor(call, next);
    call.reply.array(found.len() * 2);
    for field in &found {
        call.reply.bulk(field.name());
        call.reply.bulk(field.value());
    }
    Ok(())
}
