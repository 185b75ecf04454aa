//! Commands on keys of any type, and on whole databases.

use crate::error::CommandError;
use crate::keyspace::Expiry;
use crate::number::parse_integer;
use crate::value::seconds;

use super::spec::{Flags, Group, Keys, Spec, Subcommand, unknown_subcommand};
use super::{Call, Command, Outcome, is_word};

const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

const fn row(
    spec: Spec,
    since: &'static str,
    summary: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
) -> Command {
    Command { spec: spec.about(Group::Generic, since, summary), run }
}

const fn server(
    spec: Spec,
    since: &'static str,
    summary: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
) -> Command {
    Command { spec: spec.about(Group::Server, since, summary), run }
}

const OBJECT: &[Subcommand] = &[("encoding", 3), ("freq", 3), ("help", 2), ("idletime", 3), ("refcount", 3)];

const MEMORY: &[Subcommand] = &[("help", 2), ("usage", -3)];

pub const COMMANDS: &[Command] = &[
    row(Spec::new("del", -2, WRITE, Keys::ALL), "1.0.0", "deletes keys", del),
    row(
        Spec::new("unlink", -2, WRITE_FAST, Keys::ALL),
        "4.0.0",
        "deletes keys, and frees their memory later",
        del,
    ),
    row(Spec::new("exists", -2, READ_FAST, Keys::ALL), "1.0.0", "how many of the keys exist", exists),
    row(Spec::new("touch", -2, READ_FAST, Keys::ALL), "3.2.1", "counts as an access of the keys", exists),
    row(Spec::new("type", 2, READ_FAST, Keys::ONE), "1.0.0", "the type of a key", kind),
    row(Spec::new("rename", 3, WRITE, Keys::TWO), "1.0.0", "gives a key another name", rename),
    row(
        Spec::new("renamenx", 3, WRITE_FAST, Keys::TWO),
        "1.0.0",
        "renames, if the new name is free",
        renamenx,
    ),
    row(
        Spec::new("copy", -3, WRITE.and(Flags::DENYOOM), Keys::TWO),
        "6.2.0",
        "copies a key, also into another database",
        copy,
    ),
    row(Spec::new("move", 3, WRITE_FAST, Keys::ONE), "1.0.0", "moves a key into another database", move_key),
    row(
        Spec::new("object", -2, Flags::NONE, Keys::Range { first: 2, last: 2, step: 1 }).with(OBJECT),
        "2.2.3",
        "how a key is kept: ENCODING, FREQ, IDLETIME, REFCOUNT",
        object,
    ),
    server(
        Spec::new("memory", -2, Flags::READONLY, Keys::Range { first: 2, last: 2, step: 1 }).with(MEMORY),
        "4.0.0",
        "memory of a key, about: USAGE",
        memory,
    ),
    server(Spec::new("dbsize", 1, READ_FAST, Keys::None), "1.0.0", "number of keys in the database", dbsize),
    server(Spec::new("flushdb", -1, WRITE, Keys::None), "1.0.0", "deletes all keys of the database", flushdb),
    server(
        Spec::new("flushall", -1, WRITE, Keys::None),
        "1.0.0",
        "deletes all keys of all databases",
        flushall,
    ),
    server(Spec::new("swapdb", 3, WRITE_FAST, Keys::None), "4.0.0", "exchanges two databases", swapdb),
];

fn del(call: &mut Call<'_>) -> Outcome {
    let mut deleted = 0;
    for key in &call.arguments[1..] {
        if call.exists(key) {
            deleted += usize::from(call.keyspace.remove(call.database, key));
        }
    }
    if deleted > 0 {
        call.effect_as_sent();
    }
    call.reply.count(deleted);
    Ok(())
}

/// EXISTS and TOUCH: a read is an access.
fn exists(call: &mut Call<'_>) -> Outcome {
    let keys = &call.arguments[1..];
    let found =
        keys.iter().filter(|key| call.keyspace.read(call.database, key, call.now_ms).is_some()).count();
    call.reply.count(found);
    Ok(())
}

fn kind(call: &mut Call<'_>) -> Outcome {
    let entry = call.keyspace.find(call.database, call.argument(1), call.now_ms);
    call.reply.simple(entry.map_or("none", |entry| entry.value.kind()));
    Ok(())
}

/// Moves a key; false if the new name is taken and must not be overwritten.
fn rename_key(call: &mut Call<'_>, overwrite: bool) -> Result<bool, CommandError> {
    let (from, to) = (call.argument(1), call.argument(2));
    if !call.exists(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from == to {
        return Ok(overwrite);
    }
    if !overwrite && call.exists(to) {
        return Ok(false);
    }
    if let Some(entry) = call.keyspace.take(call.database, from) {
        let expiry = entry.expires_at_ms().map_or(Expiry::Clear, Expiry::At);
        call.keyspace.set(call.database, to, entry.value, expiry, call.now_ms);
        call.effect_as_sent();
    }
    Ok(true)
}

fn rename(call: &mut Call<'_>) -> Outcome {
    rename_key(call, true)?;
    call.reply.ok();
    Ok(())
}

fn renamenx(call: &mut Call<'_>) -> Outcome {
    let renamed = rename_key(call, false)?;
    call.reply.truth(renamed);
    Ok(())
}

fn database_argument(call: &Call<'_>, index: usize) -> Result<usize, CommandError> {
    let number = call.integer_argument(index)?;
    let database = usize::try_from(number).map_err(|_| CommandError::DatabaseIndex)?;
    if database < call.keyspace.databases() { Ok(database) } else { Err(CommandError::DatabaseIndex) }
}

fn copy(call: &mut Call<'_>) -> Outcome {
    let (mut to_database, mut replace, mut index) = (call.database, false, 3);
    while index < call.arguments.len() {
        if is_word(call.argument(index), "replace") {
            replace = true;
        } else if is_word(call.argument(index), "db") && index + 1 < call.arguments.len() {
            index += 1;
            to_database = database_argument(call, index)?;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    let (from, to) = (call.argument(1), call.argument(2));
    if to_database == call.database && from == to {
        return Err(CommandError::SameObject);
    }
    let hasher = call.keyspace.hasher.clone();
    let Some(entry) = call.keyspace.find(call.database, from, call.now_ms) else {
        call.reply.integer(0);
        return Ok(());
    };
    let expiry = entry.expires_at_ms().map_or(Expiry::Clear, Expiry::At);
    let value = entry.value.duplicate(&hasher);
    let taken = call.keyspace.find(to_database, to, call.now_ms).is_some();
    let copied = replace || !taken;
    if copied {
        call.keyspace.set(to_database, to, value, expiry, call.now_ms);
        call.effect_as_sent();
    }
    call.reply.truth(copied);
    Ok(())
}

fn move_key(call: &mut Call<'_>) -> Outcome {
    let to_database = database_argument(call, 2)?;
    if to_database == call.database {
        return Err(CommandError::SameObject);
    }
    let key = call.argument(1);
    let moves = call.exists(key) && call.keyspace.find(to_database, key, call.now_ms).is_none();
    if moves && let Some(entry) = call.keyspace.take(call.database, key) {
        let expiry = entry.expires_at_ms().map_or(Expiry::Clear, Expiry::At);
        call.keyspace.set(to_database, key, entry.value, expiry, call.now_ms);
        call.effect_as_sent();
    }
    call.reply.truth(moves);
    Ok(())
}

fn object(call: &mut Call<'_>) -> Outcome {
    let subcommand = call.argument(1).to_ascii_lowercase();
    if subcommand == b"help" {
        object_help(call);
        return Ok(());
    }
    let now_s = seconds(call.now_ms);
    let Some(entry) = call.keyspace.find(call.database, call.argument(2), call.now_ms) else {
        call.reply.null();
        return Ok(());
    };
    match subcommand.as_slice() {
        b"encoding" => call.reply.bulk(entry.value.encoding().as_bytes()),
        b"refcount" => call.reply.integer(1),
        b"idletime" => call.reply.integer(i64::from(now_s.saturating_sub(entry.accessed_s))),
        b"freq" => {
            return Err(CommandError::text(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        _ => return Err(unknown_subcommand("object", call.argument(1))),
    }
    Ok(())
}

fn object_help(call: &mut Call<'_>) {
    let lines = [
        "OBJECT <subcommand> <key>. Subcommands are:",
        "ENCODING: how the value is kept in memory",
        "FREQ: not available: no LFU policy",
        "IDLETIME: seconds since the last access",
        "REFCOUNT: always 1",
    ];
    call.reply.array(lines.len());
    lines.iter().for_each(|line| call.reply.simple(line));
}

fn memory(call: &mut Call<'_>) -> Outcome {
    if is_word(call.argument(1), "help") {
        call.reply.array(2);
        call.reply.simple("MEMORY <subcommand> [<arg> ...]. Subcommands are:");
        call.reply.simple("USAGE <key> [SAMPLES <count>]: bytes of the key and its value, about");
        return Ok(());
    }
    if !is_word(call.argument(1), "usage") {
        return Err(unknown_subcommand("memory", call.argument(1)));
    }
    match &call.arguments[2..] {
        [] | [_] => {}
        [_, word, count] if is_word(word, "samples") => {
            parse_integer(count).ok_or(CommandError::NotAnInteger)?;
        }
        _ => return Err(CommandError::Syntax),
    }
    match call.keyspace.find(call.database, call.argument(2), call.now_ms) {
        None => call.reply.null(),
        Some(entry) => call.reply.count(entry.memory()),
    }
    Ok(())
}

fn dbsize(call: &mut Call<'_>) -> Outcome {
    call.reply.count(call.keyspace.sizes(call.database).0);
    Ok(())
}

/// Memory is freed bit by bit in either mode.
fn check_flush_mode(call: &Call<'_>) -> Outcome {
    match &call.arguments[1..] {
        [] => Ok(()),
        [mode] if is_word(mode, "async") || is_word(mode, "sync") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

fn flushdb(call: &mut Call<'_>) -> Outcome {
    check_flush_mode(call)?;
    call.keyspace.clear(call.database);
    call.effect_as_sent();
    call.reply.ok();
    Ok(())
}

fn flushall(call: &mut Call<'_>) -> Outcome {
    check_flush_mode(call)?;
    (0..call.keyspace.databases()).for_each(|database| call.keyspace.clear(database));
    call.effect_as_sent();
    call.reply.ok();
    Ok(())
}

fn swapdb(call: &mut Call<'_>) -> Outcome {
    let parse = |index, error| parse_integer(call.argument(index)).ok_or(CommandError::text(error));
    let first = parse(1, "ERR invalid first DB index")?;
    let second = parse(2, "ERR invalid second DB index")?;
    let inside = |number| {
        usize::try_from(number)
            .ok()
            .filter(|&database| database < call.keyspace.databases())
            .ok_or(CommandError::DatabaseIndex)
    };
    let (first, second) = (inside(first)?, inside(second)?);
    call.keyspace.swap(first, second);
    call.effect_as_sent();
    call.reply.ok();
    Ok(())
}
