//! Commands on strings.

use crate::error::CommandError;
use crate::extended::{Extended, NotANumber};
use crate::keyspace::Expiry;
use crate::limits::STRING_BYTES_MAX;
use crate::value::{StringValue, Value};

use super::expiry::{DeadlineKind, deadline};
use super::spec::{Flags, Group, Keys, Spec};
use super::{Call, Command, Outcome, is_word};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const GROW: Flags = Flags::WRITE.and(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

const fn row(
    spec: Spec,
    since: &'static str,
    summary: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
) -> Command {
    Command { spec: spec.about(Group::String, since, summary), run }
}

pub const COMMANDS: &[Command] = &[
    row(Spec::new("get", 2, READ_FAST, Keys::ONE), "1.0.0", "the string of a key", get),
    row(
        Spec::new("set", -3, GROW, Keys::ONE),
        "1.0.0",
        "sets a key to a string, with conditions and expiry",
        set,
    ),
    row(Spec::new("setnx", 3, GROW_FAST, Keys::ONE), "1.0.0", "sets a key that does not exist", setnx),
    row(Spec::new("setex", 4, GROW, Keys::ONE), "2.0.0", "sets a key that expires in seconds", setex),
    row(Spec::new("psetex", 4, GROW, Keys::ONE), "2.6.0", "sets a key that expires in milliseconds", setex),
    row(Spec::new("mset", -3, GROW, Keys::PAIRS), "1.0.1", "sets several keys at once", mset),
    row(Spec::new("msetnx", -3, GROW, Keys::PAIRS), "1.0.1", "sets several keys if none exists", msetnx),
    row(Spec::new("mget", -2, READ_FAST, Keys::ALL), "1.0.0", "the strings of several keys", mget),
    row(
        Spec::new("getset", 3, GROW_FAST, Keys::ONE),
        "1.0.0",
        "sets a key and answers its old string",
        getset,
    ),
    row(
        Spec::new("getdel", 2, WRITE_FAST, Keys::ONE),
        "6.2.0",
        "answers the string of a key and deletes it",
        getdel,
    ),
    row(
        Spec::new("getex", -2, WRITE_FAST, Keys::ONE),
        "6.2.0",
        "answers the string of a key and sets its expiry",
        getex,
    ),
    row(Spec::new("append", 3, GROW_FAST, Keys::ONE), "2.0.0", "adds to the end of a string", append),
    row(Spec::new("strlen", 2, READ_FAST, Keys::ONE), "2.2.0", "length of a string", strlen),
    row(Spec::new("incr", 2, GROW_FAST, Keys::ONE), "1.0.0", "adds one to a number", incr),
    row(Spec::new("decr", 2, GROW_FAST, Keys::ONE), "1.0.0", "takes one from a number", decr),
    row(Spec::new("incrby", 3, GROW_FAST, Keys::ONE), "1.0.0", "adds to a number", incrby),
    row(Spec::new("decrby", 3, GROW_FAST, Keys::ONE), "1.0.0", "takes from a number", decrby),
    row(Spec::new("incrbyfloat", 3, GROW_FAST, Keys::ONE), "2.6.0", "adds a decimal fraction", incrbyfloat),
    row(Spec::new("getrange", 4, READ, Keys::ONE), "2.4.0", "a part of a string", getrange),
    row(
        Spec::new("substr", 4, READ, Keys::ONE),
        "1.0.0",
        "a part of a string (old name of GETRANGE)",
        getrange,
    ),
    row(Spec::new("setrange", 4, GROW, Keys::ONE), "2.2.0", "overwrites a part of a string", setrange),
];

/// Writes the string of a key, or null.
fn reply_string(call: &mut Call<'_>, key: &[u8]) -> Outcome {
    match call.keyspace.read(call.database, key, call.now_ms) {
        None => call.reply.null(),
        Some(value) => call.reply.bulk(value.string()?.bytes(&mut itoa::Buffer::new())),
    }
    Ok(())
}

fn get(call: &mut Call<'_>) -> Outcome {
    reply_string(call, call.argument(1))
}

fn mget(call: &mut Call<'_>) -> Outcome {
    call.reply.array(call.arguments.len() - 1);
    for key in &call.arguments[1..] {
        match call.keyspace.read(call.database, key, call.now_ms) {
            Some(Value::String(string)) => call.reply.bulk(string.bytes(&mut itoa::Buffer::new())),
            Some(Value::Hash(_)) | None => call.reply.null(),
        }
    }
    Ok(())
}

/// What SET and GETEX were told.
#[derive(Default)]
struct Options {
    only_new: bool,
    only_existing: bool,
    answer_old: bool,
    keep_expiry: bool,
    persist: bool,
    deadline: Option<(DeadlineKind, usize)>,
}

impl Options {
    fn parse(call: &Call<'_>, from: usize, is_set: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut index = from;
        while index < call.arguments.len() {
            let word = call.argument(index);
            let unbounded = options.deadline.is_none() && !options.keep_expiry && !options.persist;
            let kind =
                DeadlineKind::from_word(word).filter(|_| unbounded && index + 1 < call.arguments.len());
            if is_set && is_word(word, "nx") && !options.only_existing {
                options.only_new = true;
            } else if is_set && is_word(word, "xx") && !options.only_new {
                options.only_existing = true;
            } else if is_set && is_word(word, "get") {
                options.answer_old = true;
            } else if is_set && is_word(word, "keepttl") && options.deadline.is_none() {
                options.keep_expiry = true;
            } else if !is_set && is_word(word, "persist") && options.deadline.is_none() {
                options.persist = true;
            } else if let Some(kind) = kind {
                index += 1;
                options.deadline = Some((kind, index));
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    fn deadline_ms(&self, call: &Call<'_>, command: &'static str) -> Result<Option<i64>, CommandError> {
        self.deadline.map(|(kind, index)| deadline(call, index, kind, command)).transpose()
    }
}

fn set(call: &mut Call<'_>) -> Outcome {
    let options = Options::parse(call, 3, true)?;
    let at_ms = options.deadline_ms(call, "set")?;
    let (key, value) = (call.argument(1), call.argument(2));
    let plain = call.arguments.len() == 3;
    if options.answer_old {
        reply_string(call, key)?;
    }
    if options.only_new || options.only_existing {
        let found = call.exists(key);
        if found == options.only_new {
            if !options.answer_old {
                call.reply.null();
            }
            return Ok(());
        }
    }
    let expiry = match at_ms {
        Some(at_ms) => Expiry::At(at_ms),
        None if options.keep_expiry => Expiry::Keep,
        None => Expiry::Clear,
    };
    store(call, key, value, expiry);
    match at_ms {
        Some(at_ms) => effect_set_until(call, key, value, at_ms),
        None if plain || !options.answer_old => call.effect_as_sent(),
        None => {
            let mut words: Vec<&[u8]> = vec![b"SET", key, value];
            words.extend(options.only_new.then_some(b"NX".as_slice()));
            words.extend(options.only_existing.then_some(b"XX".as_slice()));
            words.extend(options.keep_expiry.then_some(b"KEEPTTL".as_slice()));
            call.effect(&words);
        }
    }
    if !options.answer_old {
        call.reply.ok();
    }
    Ok(())
}

fn store(call: &mut Call<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    let value = Value::String(StringValue::new(value));
    call.keyspace.set(call.database, key, value, expiry, call.now_ms);
}

fn effect_set_until(call: &mut Call<'_>, key: &[u8], value: &[u8], at_ms: i64) {
    if call.keyspace.effects.recording() {
        call.effect(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at_ms).as_bytes()]);
    }
}

fn setnx(call: &mut Call<'_>) -> Outcome {
    let (key, value) = (call.argument(1), call.argument(2));
    let fresh = !call.exists(key);
    if fresh {
        store(call, key, value, Expiry::Clear);
        call.effect_as_sent();
    }
    call.reply.truth(fresh);
    Ok(())
}

/// SETEX and PSETEX.
fn setex(call: &mut Call<'_>) -> Outcome {
    let at_ms = if is_word(call.argument(0), "setex") {
        deadline(call, 2, DeadlineKind::Seconds, "setex")?
    } else {
        deadline(call, 2, DeadlineKind::Milliseconds, "psetex")?
    };
    let (key, value) = (call.argument(1), call.argument(3));
    store(call, key, value, Expiry::At(at_ms));
    effect_set_until(call, key, value, at_ms);
    call.reply.ok();
    Ok(())
}

fn mset(call: &mut Call<'_>) -> Outcome {
    if call.arguments.len().is_multiple_of(2) {
        return Err(CommandError::Arity("mset".into()));
    }
    store_pairs(call);
    call.reply.ok();
    Ok(())
}

fn msetnx(call: &mut Call<'_>) -> Outcome {
    if call.arguments.len().is_multiple_of(2) {
        return Err(CommandError::Arity("msetnx".into()));
    }
    let arguments = call.arguments;
    let fresh = !arguments[1..].iter().step_by(2).any(|key| call.exists(key));
    if fresh {
        store_pairs(call);
    }
    call.reply.truth(fresh);
    Ok(())
}

fn store_pairs(call: &mut Call<'_>) {
    let arguments = call.arguments;
    for pair in arguments[1..].chunks_exact(2) {
        store(call, &pair[0], &pair[1], Expiry::Clear);
    }
    call.effect_as_sent();
}

fn getset(call: &mut Call<'_>) -> Outcome {
    let (key, value) = (call.argument(1), call.argument(2));
    reply_string(call, key)?;
    store(call, key, value, Expiry::Clear);
    call.effect(&[b"SET", key, value]);
    Ok(())
}

fn getdel(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    reply_string(call, key)?;
    if call.keyspace.remove(call.database, key) {
        call.effect(&[b"DEL", key]);
    }
    Ok(())
}

fn getex(call: &mut Call<'_>) -> Outcome {
    let options = Options::parse(call, 2, false)?;
    let key = call.argument(1);
    // Redis judges the key before the time.
    let Some(entry) = call.keyspace.find(call.database, key, call.now_ms) else {
        reply_string(call, key)?;
        return Ok(());
    };
    entry.value.string()?;
    let expires = entry.expires_at_ms().is_some();
    let at_ms = options.deadline_ms(call, "getex")?;
    reply_string(call, key)?;
    match at_ms {
        Some(at_ms) if at_ms <= call.now_ms => {
            call.keyspace.remove(call.database, key);
            call.effect(&[b"DEL", key]);
        }
        Some(at_ms) => {
            call.keyspace.set_expiry(call.database, key, Some(at_ms));
            call.effect(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at_ms).as_bytes()]);
        }
        None if options.persist && expires => {
            call.keyspace.set_expiry(call.database, key, None);
            call.effect(&[b"PERSIST", key]);
        }
        None => {}
    }
    Ok(())
}

fn strlen(call: &mut Call<'_>) -> Outcome {
    let length = match call.keyspace.read(call.database, call.argument(1), call.now_ms) {
        None => 0,
        Some(value) => value.string()?.len(),
    };
    call.reply.count(length);
    Ok(())
}

/// Length of a string that is about to be changed; `None` if there is none.
pub(super) fn existing_length(call: &mut Call<'_>, key: &[u8]) -> Result<Option<usize>, CommandError> {
    let entry = call.keyspace.find(call.database, key, call.now_ms);
    entry.map(|entry| entry.value.string().map(StringValue::len)).transpose()
}

fn check_length(length: usize, added: usize) -> Outcome {
    let fits = length.checked_add(added).is_some_and(|total| total <= STRING_BYTES_MAX);
    if fits { Ok(()) } else { Err(CommandError::TooLong) }
}

fn append(call: &mut Call<'_>) -> Outcome {
    let (key, tail) = (call.argument(1), call.argument(2));
    let length = match existing_length(call, key)? {
        None => {
            store(call, key, tail, Expiry::Clear);
            tail.len()
        }
        Some(length) => {
            check_length(length, tail.len())?;
            let change = |value: &mut Value| {
                value.string_mut().map(|string| {
                    let bytes = string.grown();
                    bytes.extend_from_slice(tail);
                    bytes.len()
                })
            };
            let length = call.keyspace.modify(call.database, key, call.now_ms, change);
            call.keyspace.touched(call.database, key);
            length.unwrap_or(Ok(0))?
        }
    };
    call.effect_as_sent();
    call.reply.count(length);
    Ok(())
}

fn incr(call: &mut Call<'_>) -> Outcome {
    add(call, 1)
}

fn decr(call: &mut Call<'_>) -> Outcome {
    add(call, -1)
}

fn incrby(call: &mut Call<'_>) -> Outcome {
    add(call, call.integer_argument(2)?)
}

fn decrby(call: &mut Call<'_>) -> Outcome {
    let taken = call.integer_argument(2)?;
    add(call, taken.checked_neg().ok_or(CommandError::DecrementOverflow)?)
}

fn add(call: &mut Call<'_>, change: i64) -> Outcome {
    let key = call.argument(1);
    let found = match call.keyspace.find(call.database, key, call.now_ms) {
        None => None,
        Some(entry) => Some(entry.value.string()?.integer().ok_or(CommandError::NotAnInteger)?),
    };
    let sum = found.unwrap_or(0).checked_add(change).ok_or(CommandError::Overflow)?;
    let value = Value::String(StringValue::Integer(sum));
    if found.is_some() {
        call.keyspace.modify(call.database, key, call.now_ms, |old| *old = value);
        call.keyspace.touched(call.database, key);
    } else {
        call.keyspace.set(call.database, key, value, Expiry::Clear, call.now_ms);
    }
    call.effect_as_sent();
    call.reply.integer(sum);
    Ok(())
}

/// Adds two decimal numbers as Redis does.
pub(super) fn add_floats(old: &[u8], change: &[u8], bad_old: CommandError) -> Result<String, CommandError> {
    let parse = |text, malformed: CommandError| {
        Extended::parse(text).map_err(|error| match error {
            NotANumber::Malformed => malformed,
            NotANumber::Infinite => CommandError::NotFinite,
        })
    };
    let old = parse(old, bad_old)?;
    let change = parse(change, CommandError::NotAFloat)?;
    old.plus(change).map(Extended::to_text).ok_or(CommandError::NotFinite)
}

fn incrbyfloat(call: &mut Call<'_>) -> Outcome {
    let (key, change) = (call.argument(1), call.argument(2));
    let sum = match call.keyspace.find(call.database, key, call.now_ms) {
        None => add_floats(b"0", change, CommandError::NotAFloat)?,
        Some(entry) => {
            let mut buffer = itoa::Buffer::new();
            add_floats(entry.value.string()?.bytes(&mut buffer), change, CommandError::NotAFloat)?
        }
    };
    let value = Value::String(StringValue::Fixed(sum.as_bytes().into()));
    call.keyspace.set(call.database, key, value, Expiry::Keep, call.now_ms);
    call.effect(&[b"SET", key, sum.as_bytes(), b"KEEPTTL"]);
    call.reply.bulk(sum.as_bytes());
    Ok(())
}

fn getrange(call: &mut Call<'_>) -> Outcome {
    let (start, end) = (call.integer_argument(2)?, call.integer_argument(3)?);
    let Some(value) = call.keyspace.read(call.database, call.argument(1), call.now_ms) else {
        call.reply.bulk(b"");
        return Ok(());
    };
    let mut buffer = itoa::Buffer::new();
    let bytes = value.string()?.bytes(&mut buffer);
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let inside = |index: i64| if index < 0 { index.saturating_add(length).max(0) } else { index };
    let (from, to) = (inside(start), inside(end).min(length - 1));
    let reversed = start < 0 && end < 0 && start > end;
    match (usize::try_from(from), usize::try_from(to)) {
        (Ok(from), Ok(to)) if from <= to && !reversed => call.reply.bulk(&bytes[from..=to]),
        _ => call.reply.bulk(b""),
    }
    Ok(())
}

/// Changes the bytes of a string in place; those of a new one, if the key does not exist. Where `changed` denies it of the
/// outcome, nobody who watches the key is told.
pub(super) fn change_bytes<T>(
    call: &mut Call<'_>,
    key: &[u8],
    exists: bool,
    change: impl FnOnce(&mut Vec<u8>) -> T,
    changed: impl FnOnce(&T) -> bool,
) -> Result<T, CommandError> {
    if exists {
        let change = |value: &mut Value| value.string_mut().map(|string| change(string.grown()));
        let outcome = call.keyspace.modify(call.database, key, call.now_ms, change);
        // Whoever says that it exists has just seen it.
        let outcome = outcome.unwrap_or(Err(CommandError::NoSuchKey))?;
        if changed(&outcome) {
            call.keyspace.touched(call.database, key);
        }
        return Ok(outcome);
    }
    let mut bytes = Vec::new();
    let outcome = change(&mut bytes);
    let value = Value::String(StringValue::Grown(bytes));
    call.keyspace.set(call.database, key, value, Expiry::Clear, call.now_ms);
    Ok(outcome)
}

fn setrange(call: &mut Call<'_>) -> Outcome {
    let offset = usize::try_from(call.integer_argument(2)?).map_err(|_| CommandError::Offset)?;
    let (key, patch) = (call.argument(1), call.argument(3));
    let existing = existing_length(call, key)?;
    if patch.is_empty() {
        call.reply.count(existing.unwrap_or(0));
        return Ok(());
    }
    check_length(offset, patch.len())?;
    let overwrite = |bytes: &mut Vec<u8>| {
        let end = offset + patch.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(patch);
        bytes.len()
    };
    let length = change_bytes(call, key, existing.is_some(), overwrite, |_| true)?;
    call.effect_as_sent();
    call.reply.count(length);
    Ok(())
}
