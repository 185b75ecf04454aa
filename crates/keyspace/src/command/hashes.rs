//! Commands on hashes.

use std::collections::BTreeSet;

use crate::error::CommandError;
use crate::hash::{Field, Hash};
use crate::keyspace::{Expiry, Keyspace};
use crate::limits::{RANDOM_DRAWN_FIELDS_MAX, RANDOM_FIELDS_BYTES_MAX};
use crate::number::parse_integer;
use crate::random::Random;
use crate::reply::Reply;
use crate::value::Value;

use super::spec::{Flags, Group, Keys, Spec};
use super::strings::add_floats;
use super::{Call, Command, Outcome, is_word};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const GROW_FAST: Flags = WRITE_FAST.and(Flags::DENYOOM);

const fn row(
    spec: Spec,
    since: &'static str,
    summary: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
) -> Command {
    Command { spec: spec.about(Group::Hash, since, summary), run }
}

pub const COMMANDS: &[Command] = &[
    row(Spec::new("hset", -4, GROW_FAST, Keys::ONE), "2.0.0", "sets fields of a hash", hset),
    row(
        Spec::new("hmset", -4, GROW_FAST, Keys::ONE),
        "2.0.0",
        "sets fields of a hash (old form of HSET)",
        hmset,
    ),
    row(Spec::new("hsetnx", 4, GROW_FAST, Keys::ONE), "2.0.0", "sets a field that does not exist", hsetnx),
    row(Spec::new("hget", 3, READ_FAST, Keys::ONE), "2.0.0", "the value of a field", hget),
    row(Spec::new("hmget", -3, READ_FAST, Keys::ONE), "2.0.0", "the values of several fields", hmget),
    row(Spec::new("hgetall", 2, READ, Keys::ONE), "2.0.0", "all fields and values", hgetall),
    row(Spec::new("hkeys", 2, READ, Keys::ONE), "2.0.0", "all fields", hkeys),
    row(Spec::new("hvals", 2, READ, Keys::ONE), "2.0.0", "all values", hvals),
    row(Spec::new("hlen", 2, READ_FAST, Keys::ONE), "2.0.0", "number of fields", hlen),
    row(Spec::new("hexists", 3, READ_FAST, Keys::ONE), "2.0.0", "whether a field exists", hexists),
    row(Spec::new("hstrlen", 3, READ_FAST, Keys::ONE), "3.2.0", "length of the value of a field", hstrlen),
    row(Spec::new("hdel", -3, WRITE_FAST, Keys::ONE), "2.0.0", "deletes fields", hdel),
    row(Spec::new("hincrby", 4, GROW_FAST, Keys::ONE), "2.0.0", "adds to the number in a field", hincrby),
    row(
        Spec::new("hincrbyfloat", 4, GROW_FAST, Keys::ONE),
        "2.6.0",
        "adds a decimal fraction to a field",
        hincrbyfloat,
    ),
    row(Spec::new("hrandfield", -2, READ, Keys::ONE), "6.2.0", "fields chosen at random", hrandfield),
];

/// The hash of the first argument, for reading.
fn read<'c>(call: &'c mut Call<'_>) -> Result<(Option<&'c Hash>, &'c mut dyn Reply), CommandError> {
    let key = call.argument(1);
    let value = call.keyspace.read(call.database, key, call.now_ms);
    Ok((value.map(Value::hash).transpose()?, call.reply))
}

fn reply_bulk_or_null(reply: &mut dyn Reply, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

fn hget(call: &mut Call<'_>) -> Outcome {
    let field = call.argument(2);
    let (hash, reply) = read(call)?;
    reply_bulk_or_null(reply, hash.and_then(|hash| hash.find(field)));
    Ok(())
}

fn hmget(call: &mut Call<'_>) -> Outcome {
    let fields = &call.arguments[2..];
    let (hash, reply) = read(call)?;
    reply.array(fields.len());
    fields.iter().for_each(|field| reply_bulk_or_null(reply, hash.and_then(|hash| hash.find(field))));
    Ok(())
}

fn hgetall(call: &mut Call<'_>) -> Outcome {
    let (hash, reply) = read(call)?;
    reply.map(hash.map_or(0, Hash::len));
    for field in hash.into_iter().flat_map(Hash::iter) {
        reply.bulk(field.name());
        reply.bulk(field.value());
    }
    Ok(())
}

fn hkeys(call: &mut Call<'_>) -> Outcome {
    let (hash, reply) = read(call)?;
    reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|field| reply.bulk(field.name()));
    Ok(())
}

fn hvals(call: &mut Call<'_>) -> Outcome {
    let (hash, reply) = read(call)?;
    reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|field| reply.bulk(field.value()));
    Ok(())
}

fn hlen(call: &mut Call<'_>) -> Outcome {
    let (hash, reply) = read(call)?;
    reply.count(hash.map_or(0, Hash::len));
    Ok(())
}

fn hexists(call: &mut Call<'_>) -> Outcome {
    let field = call.argument(2);
    let (hash, reply) = read(call)?;
    reply.truth(hash.is_some_and(|hash| hash.find(field).is_some()));
    Ok(())
}

fn hstrlen(call: &mut Call<'_>) -> Outcome {
    let field = call.argument(2);
    let (hash, reply) = read(call)?;
    reply.count(hash.and_then(|hash| hash.find(field)).map_or(0, <[u8]>::len));
    Ok(())
}

/// Sets fields given in turn with their values; creates the hash. The answer is how many are new.
fn insert(call: &mut Call<'_>, pairs: &[&[u8]]) -> Result<usize, CommandError> {
    let key = call.argument(1);
    let (hasher, limits) = (call.keyspace.hasher.clone(), call.keyspace.hash_limits);
    let fill = |hash: &mut Hash| {
        pairs.chunks_exact(2).filter(|pair| hash.insert(pair[0], pair[1], &hasher, limits)).count()
    };
    if let Some(entry) = call.keyspace.find(call.database, key, call.now_ms) {
        entry.value.hash()?;
        let change = |value: &mut Value| value.hash_mut().map(fill);
        let created = call.keyspace.modify(call.database, key, call.now_ms, change);
        call.keyspace.touched(call.database, key);
        return created.unwrap_or(Ok(0));
    }
    let mut hash = Box::<Hash>::default();
    let created = fill(&mut hash);
    call.keyspace.set(call.database, key, Value::Hash(hash), Expiry::Clear, call.now_ms);
    Ok(created)
}

fn insert_all(call: &mut Call<'_>, name: &'static str) -> Result<usize, CommandError> {
    if !call.arguments.len().is_multiple_of(2) {
        return Err(CommandError::Arity(name.into()));
    }
    let created = match &call.arguments[2..] {
        // One field is the common case: it needs no list.
        [field, value] => insert(call, &[field, value])?,
        pairs => {
            let pairs: Vec<&[u8]> = pairs.iter().map(AsRef::as_ref).collect();
            insert(call, &pairs)?
        }
    };
    call.effect_as_sent();
    Ok(created)
}

fn hset(call: &mut Call<'_>) -> Outcome {
    let created = insert_all(call, "hset")?;
    call.reply.count(created);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Outcome {
    insert_all(call, "hmset")?;
    call.reply.ok();
    Ok(())
}

fn hsetnx(call: &mut Call<'_>) -> Outcome {
    let (field, value) = (call.argument(2), call.argument(3));
    let taken = match call.keyspace.find(call.database, call.argument(1), call.now_ms) {
        None => false,
        Some(entry) => entry.value.hash()?.find(field).is_some(),
    };
    if !taken {
        insert(call, &[field, value])?;
        call.effect_as_sent();
    }
    call.reply.truth(!taken);
    Ok(())
}

fn hdel(call: &mut Call<'_>) -> Outcome {
    let (key, fields) = (call.argument(1), &call.arguments[2..]);
    let Some(entry) = call.keyspace.find(call.database, key, call.now_ms) else {
        call.reply.integer(0);
        return Ok(());
    };
    entry.value.hash()?;
    let change = |value: &mut Value| {
        let hash = value.hash_mut()?;
        let deleted = fields.iter().filter(|field| hash.remove(field)).count();
        Ok((deleted, hash.is_empty()))
    };
    let outcome = call.keyspace.modify(call.database, key, call.now_ms, change);
    let (deleted, empty) = outcome.unwrap_or(Ok((0, false)))?;
    if empty {
        call.keyspace.remove(call.database, key);
    } else if deleted > 0 {
        call.keyspace.touched(call.database, key);
    }
    if deleted > 0 {
        call.effect_as_sent();
    }
    call.reply.count(deleted);
    Ok(())
}

/// The value of a field that is about to be changed.
fn existing<'k>(
    keyspace: &'k mut Keyspace,
    database: usize,
    key: &[u8],
    field: &[u8],
    now_ms: i64,
) -> Result<Option<&'k [u8]>, CommandError> {
    match keyspace.find(database, key, now_ms) {
        None => Ok(None),
        Some(entry) => Ok(entry.value.hash()?.find(field)),
    }
}

fn hincrby(call: &mut Call<'_>) -> Outcome {
    let change = call.integer_argument(3)?;
    let (key, field) = (call.argument(1), call.argument(2));
    let old = match existing(call.keyspace, call.database, key, field, call.now_ms)? {
        None => 0,
        Some(value) => parse_integer(value).ok_or(CommandError::HashNotAnInteger)?,
    };
    let sum = old.checked_add(change).ok_or(CommandError::Overflow)?;
    insert(call, &[field, itoa::Buffer::new().format(sum).as_bytes()])?;
    call.effect_as_sent();
    call.reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(call: &mut Call<'_>) -> Outcome {
    let (key, field, change) = (call.argument(1), call.argument(2), call.argument(3));
    // Redis judges the increment before the key.
    add_floats(b"0", change, CommandError::NotAFloat).map_err(|error| match error {
        CommandError::NotFinite => CommandError::text("ERR value is NaN or Infinity"),
        error => error,
    })?;
    let old = existing(call.keyspace, call.database, key, field, call.now_ms)?;
    let sum = add_floats(old.unwrap_or(b"0"), change, CommandError::HashNotAFloat)?;
    insert(call, &[field, sum.as_bytes()])?;
    call.effect(&[b"HSET", key, field, sum.as_bytes()]);
    call.reply.bulk(sum.as_bytes());
    Ok(())
}

fn hrandfield(call: &mut Call<'_>) -> Outcome {
    if call.arguments.len() == 2 {
        let mut random = call.keyspace.random.clone();
        let (hash, reply) = read(call)?;
        reply_bulk_or_null(reply, hash.and_then(|hash| hash.random(&mut random)).map(|field| field.name()));
        call.keyspace.random = random;
        return Ok(());
    }
    let count = call.integer_argument(2)?;
    let with_values = call.arguments.len() == 4 && is_word(call.argument(3), "withvalues");
    if call.arguments.len() > 4 || (call.arguments.len() == 4 && !with_values) {
        return Err(CommandError::Syntax);
    }
    if count == i64::MIN {
        let text =
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        return Err(CommandError::text(text));
    }
    let wanted = count.unsigned_abs();
    if with_values && wanted > i64::MAX.unsigned_abs() / 2 {
        return Err(CommandError::OutOfRange);
    }
    let mut random = call.keyspace.random.clone();
    let (hash, reply) = read(call)?;
    match hash {
        None => reply.array(0),
        Some(hash) if count < 0 => draw(reply, hash, wanted, with_values, &mut random)?,
        Some(hash) => {
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            write_pairs(reply, &distinct(hash, wanted, &mut random), with_values);
        }
    }
    call.keyspace.random = random;
    Ok(())
}

/// Writes `wanted` fields, each drawn among all.
fn draw(reply: &mut dyn Reply, hash: &Hash, wanted: u64, with_values: bool, random: &mut Random) -> Outcome {
    let mean_bytes = (hash.bytes() / hash.len().max(1)) as u64;
    if wanted.saturating_mul(mean_bytes) > RANDOM_FIELDS_BYTES_MAX {
        let text = format!(
            "ERR value is out of range, the reply would have more than {RANDOM_FIELDS_BYTES_MAX} bytes"
        );
        return Err(CommandError::Other(text.into()));
    }
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    write_header(reply, wanted, with_values);
    // A draw can cost a walk over the whole hash: for many a list of all fields is cheaper.
    let all: Vec<&Field> =
        if wanted > hash.len() / RANDOM_DRAWN_FIELDS_MAX { hash.iter().collect() } else { Vec::new() };
    for _ in 0..wanted {
        let field = all.get(random.index(all.len())).copied().or_else(|| hash.random(random));
        // A stored hash has a field.
        let pair = field.map_or((&b""[..], &b""[..]), |field| (field.name(), field.value()));
        write_pair(reply, pair, with_values);
    }
    Ok(())
}

/// A field with its value.
type Pair<'k> = (&'k [u8], &'k [u8]);

/// `wanted` different fields, or all.
fn distinct<'k>(hash: &'k Hash, wanted: usize, random: &mut Random) -> Vec<Pair<'k>> {
    if wanted > RANDOM_DRAWN_FIELDS_MAX || wanted > hash.len() / 2 {
        // One pass: each field is taken with the probability that is left for it.
        let (mut missing, mut left) = (wanted.min(hash.len()), hash.len());
        return hash
            .iter()
            .filter(|_| {
                let taken = random.index(left) < missing;
                missing -= usize::from(taken);
                left -= 1;
                taken
            })
            .map(|field| (field.name(), field.value()))
            .collect();
    }
    let mut drawn: BTreeSet<Pair<'k>> = BTreeSet::new();
    while drawn.len() < wanted {
        drawn.extend(hash.random(random).map(|field| (field.name(), field.value())));
    }
    drawn.into_iter().collect()
}

fn write_pairs(reply: &mut dyn Reply, pairs: &[Pair<'_>], with_values: bool) {
    write_header(reply, pairs.len(), with_values);
    pairs.iter().for_each(|&pair| write_pair(reply, pair, with_values));
}

/// RESP3 nests a field and its value.
fn write_header(reply: &mut dyn Reply, pairs: usize, with_values: bool) {
    reply.array(if with_values && !reply.resp3() { pairs * 2 } else { pairs });
}

fn write_pair(reply: &mut dyn Reply, (name, value): Pair<'_>, with_values: bool) {
    if with_values && reply.resp3() {
        reply.array(2);
    }
    reply.bulk(name);
    if with_values {
        reply.bulk(value);
    }
}
