//! Commands on the bits of strings. Bit 0 is the highest one of the first byte.

use crate::error::CommandError;
use crate::keyspace::Expiry;
use crate::limits::{BIT_OPERATION_BYTES_MAX, STRING_BYTES_MAX};
use crate::number::parse_integer;
use crate::value::{StringValue, Value};

use super::spec::{Flags, Group, Keys, Spec};
use super::strings::{change_bytes, existing_length};
use super::{Call, Command, Outcome, is_word};

const READ: Flags = Flags::READONLY;
const GROW: Flags = Flags::WRITE.and(Flags::DENYOOM);

const fn row(
    spec: Spec,
    since: &'static str,
    summary: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
) -> Command {
    Command { spec: spec.about(Group::Bitmap, since, summary), run }
}

pub const COMMANDS: &[Command] = &[
    row(Spec::new("setbit", 4, GROW, Keys::ONE), "2.2.0", "sets or clears a bit", setbit),
    row(Spec::new("getbit", 3, READ.and(Flags::FAST), Keys::ONE), "2.2.0", "a bit of a string", getbit),
    row(Spec::new("bitcount", -2, READ, Keys::ONE), "2.6.0", "how many bits are set", bitcount),
    row(Spec::new("bitpos", -3, READ, Keys::ONE), "2.8.7", "the first bit that is set or clear", bitpos),
    row(
        Spec::new("bitop", -4, GROW, Keys::Range { first: 2, last: -1, step: 1 }),
        "2.6.0",
        "AND, OR, XOR or NOT of strings, into another one",
        bitop,
    ),
];

/// The byte and the mask of the bit that an argument names.
fn bit_argument(call: &Call<'_>) -> Result<(usize, u8), CommandError> {
    let offset = parse_integer(call.argument(2)).and_then(|offset| usize::try_from(offset).ok());
    let offset = offset.filter(|offset| offset / 8 < STRING_BYTES_MAX);
    let offset = offset.ok_or(CommandError::text("ERR bit offset is not an integer or out of range"))?;
    Ok((offset / 8, 0x80 >> (offset % 8)))
}

fn setbit(call: &mut Call<'_>) -> Outcome {
    let (index, mask) = bit_argument(call)?;
    let set = match parse_integer(call.argument(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CommandError::text("ERR bit is not an integer or out of range")),
    };
    let key = call.argument(1);
    let exists = existing_length(call, key)?.is_some();
    let flip = |bytes: &mut Vec<u8>| {
        let grows = index >= bytes.len();
        bytes.resize(bytes.len().max(index + 1), 0);
        let was_set = bytes[index] & mask != 0;
        bytes[index] = if set { bytes[index] | mask } else { bytes[index] & !mask };
        (was_set, grows || was_set != set)
    };
    let (was_set, changed) = change_bytes(call, key, exists, flip, |&(_, changed)| changed)?;
    if changed {
        call.effect_as_sent();
    }
    call.reply.truth(was_set);
    Ok(())
}

fn getbit(call: &mut Call<'_>) -> Outcome {
    let (index, mask) = bit_argument(call)?;
    let value = call.keyspace.read(call.database, call.argument(1), call.now_ms);
    let mut buffer = itoa::Buffer::new();
    let bytes = match value {
        None => b"",
        Some(value) => value.string()?.bytes(&mut buffer),
    };
    call.reply.truth(bytes.get(index).is_some_and(|byte| byte & mask != 0));
    Ok(())
}

/// Whether the argument at `index` asks for positions in bits.
fn in_bits(call: &Call<'_>, index: usize) -> Result<bool, CommandError> {
    match call.arguments.get(index) {
        None => Ok(false),
        Some(unit) if is_word(unit, "bit") => Ok(true),
        Some(unit) if is_word(unit, "byte") => Ok(false),
        Some(_) => Err(CommandError::Syntax),
    }
}

/// A part of a string that is looked at.
struct Part {
    /// The first and the last bit.
    bits: (usize, usize),
    /// An end was given: what lies behind it does not count.
    ended: bool,
}

impl Part {
    /// From `start` to `end`, both in bits or in bytes, in a string of `length` bytes; negative ones count from its end.
    /// `None` if nothing lies between them.
    fn new(start: i64, end: Option<i64>, in_bits: bool, length: usize) -> Option<Self> {
        let unit = if in_bits { 1 } else { 8 };
        let total = i64::try_from(length * 8 / unit).unwrap_or(i64::MAX);
        let inside = |index: i64| if index < 0 { index.saturating_add(total).max(0) } else { index };
        let first = usize::try_from(inside(start)).ok()?;
        let last = usize::try_from(inside(end.unwrap_or(-1)).min(total - 1)).ok()?;
        let bits = (first * unit, last * unit + unit - 1);
        (first <= last).then_some(Self { bits, ended: end.is_some() })
    }

    /// The bytes that the part touches; the bits outside of it read as `outside`.
    fn bytes<'b>(&self, bytes: &'b [u8], outside: bool) -> impl Iterator<Item = u8> + 'b {
        let (first, last) = self.bits;
        let (from, to) = (first / 8, last / 8);
        let (before, behind) = (!(0xff_u8 >> (first % 8)), 0x7f_u8 >> (last % 8));
        bytes[from..=to].iter().enumerate().map(move |(index, &byte)| {
            let mask = if index == 0 { before } else { 0 } | if index == to - from { behind } else { 0 };
            if outside { byte | mask } else { byte & !mask }
        })
    }
}

/// The string of the first argument, which was read: the arguments behind it are judged once it is known to be one.
fn read_again<'c>(call: &'c mut Call<'_>, buffer: &'c mut itoa::Buffer) -> Result<&'c [u8], CommandError> {
    let entry = call.keyspace.find(call.database, call.argument(1), call.now_ms);
    let string = entry.map(|entry| entry.value.string()).transpose()?;
    Ok(string.map_or(&b""[..], |string| string.bytes(buffer)))
}

fn bitcount(call: &mut Call<'_>) -> Outcome {
    let Some(value) = call.keyspace.read(call.database, call.argument(1), call.now_ms) else {
        call.reply.integer(0);
        return Ok(());
    };
    let length = value.string()?.len();
    let part = match call.arguments.len() {
        2 => Part::new(0, None, false, length),
        4 | 5 => {
            let (start, end) = (call.integer_argument(2)?, call.integer_argument(3)?);
            // Two negative ends in the wrong order are not both moved to the start.
            if start < 0 && end < 0 && start > end {
                None
            } else {
                Part::new(start, Some(end), in_bits(call, 4)?, length)
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    let mut buffer = itoa::Buffer::new();
    let bytes = read_again(call, &mut buffer)?;
    let count = part.map_or(0, |part| part.bytes(bytes, false).map(|byte| byte.count_ones() as usize).sum());
    call.reply.count(count);
    Ok(())
}

fn bitpos(call: &mut Call<'_>) -> Outcome {
    let wanted = match call.integer_argument(2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text("ERR The bit argument must be 1 or 0.")),
    };
    let Some(value) = call.keyspace.read(call.database, call.argument(1), call.now_ms) else {
        // A string that is not there is one of clear bits without end.
        call.reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let length = value.string()?.len();
    if call.arguments.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = if call.arguments.len() > 3 { call.integer_argument(3)? } else { 0 };
    let in_bits = in_bits(call, 5)?;
    let end = if call.arguments.len() > 4 { Some(call.integer_argument(4)?) } else { None };
    let Some(part) = Part::new(start, end, in_bits, length) else {
        call.reply.integer(-1);
        return Ok(());
    };
    let mut buffer = itoa::Buffer::new();
    let bytes = read_again(call, &mut buffer)?;
    // Bits outside of the part must not be found.
    let found = part.bytes(bytes, !wanted).enumerate().find_map(|(index, byte)| {
        let zeros = if wanted { byte.leading_zeros() } else { byte.leading_ones() } as usize;
        (zeros < 8).then_some((part.bits.0 / 8 + index) * 8 + zeros)
    });
    match found {
        Some(position) => call.reply.count(position),
        None if wanted || part.ended => call.reply.integer(-1),
        None => call.reply.count(length * 8),
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        let words = [("and", Self::And), ("or", Self::Or), ("xor", Self::Xor), ("not", Self::Not)];
        let found = words.into_iter().find(|(name, _)| is_word(word, name));
        found.map(|(_, operation)| operation).ok_or(CommandError::Syntax)
    }

    /// Puts a further string to the result so far, which is the longer one; missing bytes are zero.
    fn apply(self, result: &mut [u8], bytes: &[u8]) {
        let (common, rest) = result.split_at_mut(bytes.len());
        for (left, right) in common.iter_mut().zip(bytes) {
            match self {
                Self::And => *left &= right,
                Self::Or => *left |= right,
                Self::Xor => *left ^= right,
                Self::Not => *left = !right,
            }
        }
        if self == Self::And {
            rest.fill(0);
        }
    }
}

fn bitop(call: &mut Call<'_>) -> Outcome {
    let operation = Operation::parse(call.argument(1))?;
    let (target, sources) = (call.argument(2), &call.arguments[3..]);
    if operation == Operation::Not && sources.len() != 1 {
        return Err(CommandError::text("ERR BITOP NOT must be called with a single source key."));
    }
    let (mut longest, mut total) = (0, 0_usize);
    for key in sources {
        let length = existing_length(call, key)?.unwrap_or(0);
        longest = longest.max(length);
        total = total.saturating_add(length);
    }
    if total > BIT_OPERATION_BYTES_MAX {
        let text = format!("ERR the strings of BITOP have more than {BIT_OPERATION_BYTES_MAX} bytes");
        return Err(CommandError::Other(text.into()));
    }
    let mut result = vec![0; longest];
    for (index, key) in sources.iter().enumerate() {
        let mut buffer = itoa::Buffer::new();
        let entry = call.keyspace.find(call.database, key, call.now_ms);
        let value = entry.map(|entry| entry.value.string()).transpose()?;
        let bytes = value.map_or(&b""[..], |string| string.bytes(&mut buffer));
        match (index, operation) {
            // The first one is the result so far.
            (0, Operation::And | Operation::Or | Operation::Xor) => {
                result[..bytes.len()].copy_from_slice(bytes)
            }
            _ => operation.apply(&mut result, bytes),
        }
    }
    if result.is_empty() {
        if call.keyspace.remove(call.database, target) {
            call.effect_as_sent();
        }
    } else {
        let value = Value::String(StringValue::Grown(result));
        call.keyspace.set(call.database, target, value, Expiry::Clear, call.now_ms);
        call.effect_as_sent();
    }
    call.reply.count(longest);
    Ok(())
}
