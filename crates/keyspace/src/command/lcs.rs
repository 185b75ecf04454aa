//! LCS: the longest common subsequence of two strings, by the usual table of prefixes.
//!
//! Redis keeps the table of lengths. Here two rows of it are kept, and one bit a cell that says which way the walk back
//! takes: 16 MiB instead of 512 MiB at the bound.

use crate::error::CommandError;
use crate::limits::LCS_CELLS_MAX;
use crate::number::integer;
use crate::value::Value;

use super::spec::{Flags, Group, Keys, Spec};
use super::{Call, Command, Outcome, is_word};

pub const COMMANDS: &[Command] = &[Command {
    spec: Spec::new("lcs", -3, Flags::READONLY, Keys::TWO).about(
        Group::String,
        "7.0.0",
        "the longest common subsequence of two strings",
    ),
    run: lcs,
}];

#[derive(Default)]
struct Options {
    length: bool,
    indexes: bool,
    with_lengths: bool,
    length_min: usize,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = call.arguments[3..].iter();
        while let Some(word) = words.next() {
            if is_word(word, "idx") {
                options.indexes = true;
            } else if is_word(word, "len") {
                options.length = true;
            } else if is_word(word, "withmatchlen") {
                options.with_lengths = true;
            } else if is_word(word, "minmatchlen") {
                let length = integer(words.next().ok_or(CommandError::Syntax)?)?;
                options.length_min = usize::try_from(length.max(0)).unwrap_or(usize::MAX);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.length && options.indexes {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::text(text));
        }
        Ok(options)
    }
}

fn lcs(call: &mut Call<'_>) -> Outcome {
    let mut string = |index: usize| {
        let value = call.keyspace.read(call.database, call.argument(index), call.now_ms);
        match value.map(Value::string).transpose() {
            Ok(string) => {
                Ok(string.map_or(Vec::new(), |string| string.bytes(&mut itoa::Buffer::new()).to_vec()))
            }
            Err(_) => Err(CommandError::text("ERR The specified keys must contain string values")),
        }
    };
    let (first, second) = (string(1)?, string(2)?);
    let options = Options::parse(call)?;
    if (first.len() + 1).saturating_mul(second.len() + 1) > LCS_CELLS_MAX {
        let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        return Err(CommandError::text(text));
    }
    let table = Table::new(&first, &second);
    if options.length {
        call.reply.count(table.length);
    } else if options.indexes {
        write_ranges(call, &table, &options);
    } else {
        call.reply.bulk(&table.subsequence());
    }
    Ok(())
}

fn write_ranges(call: &mut Call<'_>, table: &Table<'_>, options: &Options) {
    let ranges: Vec<Range> =
        table.ranges().into_iter().filter(|range| range.length >= options.length_min).collect();
    call.reply.map(2);
    call.reply.bulk(b"matches");
    call.reply.array(ranges.len());
    for Range { first, second, length } in ranges {
        call.reply.array(2 + usize::from(options.with_lengths));
        for start in [first, second] {
            call.reply.array(2);
            call.reply.count(start);
            call.reply.count(start + length - 1);
        }
        if options.with_lengths {
            call.reply.count(length);
        }
    }
    call.reply.bulk(b"len");
    call.reply.count(table.length);
}

/// A part that both strings have in common: where it starts in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: usize,
    second: usize,
    length: usize,
}

/// The table of two strings, filled.
struct Table<'a> {
    first: &'a [u8],
    second: &'a [u8],
    /// Length of the subsequence.
    length: usize,
    /// For each pair of prefixes, row by row: whether the last byte of the first one is to be left out.
    leaves_first: Vec<u64>,
}

impl<'a> Table<'a> {
    fn new(first: &'a [u8], second: &'a [u8]) -> Self {
        let mut leaves_first = vec![0; (first.len() * second.len()).div_ceil(64)];
        let (mut above, mut row) = (vec![0_u32; second.len() + 1], vec![0_u32; second.len() + 1]);
        let mut cell = 0;
        for left in first {
            for (index, right) in second.iter().enumerate() {
                let (without_left, without_right) = (above[index + 1], row[index]);
                row[index + 1] = match left == right {
                    true => above[index] + 1,
                    false => without_left.max(without_right),
                };
                leaves_first[cell / 64] |= u64::from(without_left > without_right) << (cell % 64);
                cell += 1;
            }
            std::mem::swap(&mut above, &mut row);
        }
        let length = usize::try_from(above[second.len()]).unwrap_or(usize::MAX);
        Self { first, second, length, leaves_first }
    }

    /// The pairs of equal bytes that make the subsequence, the last one first.
    fn walk(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (mut left, mut right) = (self.first.len(), self.second.len());
        std::iter::from_fn(move || {
            while left > 0 && right > 0 {
                if self.first[left - 1] == self.second[right - 1] {
                    (left, right) = (left - 1, right - 1);
                    return Some((left, right));
                }
                let cell = (left - 1) * self.second.len() + right - 1;
                if self.leaves_first[cell / 64] >> (cell % 64) & 1 == 1 {
                    left -= 1;
                } else {
                    right -= 1;
                }
            }
            None
        })
    }

    fn subsequence(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.walk().map(|(left, _)| self.first[left]).collect();
        bytes.reverse();
        bytes
    }

    /// The parts in common, the last one first.
    fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (first, second) in self.walk() {
            match ranges.last_mut() {
                Some(range) if range.first == first + 1 && range.second == second + 1 => {
                    *range = Range { first, second, length: range.length + 1 };
                }
                _ => ranges.push(Range { first, second, length: 1 }),
            }
        }
        ranges
    }
}
