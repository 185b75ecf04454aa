//! Between replies and Lua values, by the rules of Redis' "Lua API reference".

use std::time::Instant;

use bowline_keyspace::{CommandError, Reply, ReplyValue};
use bowline_rt::time::now;
use bytes::Bytes;
use mlua::{Lua, Table, Value};

use super::location::line;
use crate::limits::{REPLY_DEPTH_MAX, SCRIPT_REPLY_ELEMENTS_MAX};

/// A reply as a Lua value. An error becomes a table with the field `err`; the caller decides whether it is raised.
pub(super) fn to_lua(lua: &Lua, reply: ReplyValue, resp3: bool) -> mlua::Result<Value> {
    let tagged = |name: &str, value: Value| {
        let table = lua.create_table()?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    };
    let string = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    match reply {
        ReplyValue::Simple(text) => tagged("ok", string(text.as_bytes())?),
        ReplyValue::Error(text) => tagged("err", string(text.as_bytes())?),
        #[expect(clippy::cast_precision_loss, reason = "Lua 5.1 has no other numbers")]
        ReplyValue::Integer(number) => Ok(Value::Number(number as f64)),
        ReplyValue::Bulk(bytes) => string(&bytes),
        ReplyValue::Null | ReplyValue::NullArray if resp3 => Ok(Value::Nil),
        ReplyValue::Null | ReplyValue::NullArray => Ok(Value::Boolean(false)),
        ReplyValue::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.into_iter().enumerate() {
                table.raw_set(index + 1, to_lua(lua, item, resp3)?)?;
            }
            Ok(Value::Table(table))
        }
        ReplyValue::Map(items) => {
            let table = lua.create_table()?;
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                table.raw_set(to_lua(lua, key, resp3)?, to_lua(lua, value, resp3)?)?;
            }
            tagged("map", Value::Table(table))
        }
        ReplyValue::Set(items) => {
            let table = lua.create_table()?;
            for item in items {
                table.raw_set(to_lua(lua, item, resp3)?, true)?;
            }
            tagged("set", Value::Table(table))
        }
        ReplyValue::Double(number) => tagged("double", Value::Number(number)),
        ReplyValue::Boolean(value) => Ok(Value::Boolean(value)),
        ReplyValue::BigNumber(digits) => tagged("big_number", string(&digits)?),
        ReplyValue::Verbatim(format, text) => {
            let inner = lua.create_table()?;
            inner.raw_set("string", string(&text)?)?;
            inner.raw_set("format", string(&format)?)?;
            tagged("verbatim_string", Value::Table(inner))
        }
    }
}

/// Writes what a script returned, until `deadline` at most.
///
/// # Errors
/// The script returned an error table.
pub(super) fn write_reply(
    value: &Value,
    resp3: bool,
    deadline: Instant,
    output: &mut dyn Reply,
) -> Result<(), CommandError> {
    if let Value::Table(table) = value
        && let Ok(Some(text)) = text_field(table, "err")
    {
        return Err(CommandError::Raw(Bytes::copy_from_slice(line(&text))));
    }
    Writer { resp3, elements_left: SCRIPT_REPLY_ELEMENTS_MAX, deadline, output }.value(value, 0);
    Ok(())
}

/// A number, which the interpreter's binding shows as an integer when it is one.
#[expect(clippy::cast_precision_loss, reason = "Lua 5.1 has no other numbers")]
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

fn text_field(table: &Table, name: &str) -> mlua::Result<Option<Vec<u8>>> {
    match table.raw_get::<Value>(name)? {
        Value::String(text) => Ok(Some(text.as_bytes().to_vec())),
        _ => Ok(None),
    }
}

const TOO_MUCH: &str = "ERR the reply of the script has too many elements, or takes too long";

/// Writes a value. Tables that hold each other can stand for more than anybody could read: past a number of elements, a
/// depth and a time, errors stand in for them.
///
/// An aggregate is counted first and written then. It holds one element at a time: each one that Rust refers to takes one
/// of the 8,000 places that the interpreter's binding has for it. What cannot be read becomes an error in its place, so
/// that a reply is never shorter than what the script returned.
struct Writer<'a> {
    resp3: bool,
    elements_left: usize,
    deadline: Instant,
    output: &'a mut dyn Reply,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        if depth > REPLY_DEPTH_MAX {
            self.output.error("ERR reached lua stack limit");
            return;
        }
        let Some(left) = self.elements_left.checked_sub(1) else {
            self.output.error(TOO_MUCH);
            return;
        };
        self.elements_left = left;
        match value {
            Value::String(text) => self.output.bulk(&text.as_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "Redis cuts fractions off, too")]
            Value::Number(number) => self.output.integer(*number as i64),
            Value::Integer(number) => self.output.integer(*number),
            Value::Boolean(value) if self.resp3 => self.output.boolean(*value),
            Value::Boolean(true) => self.output.integer(1),
            Value::Table(table) => {
                if self.late() {
                    self.elements_left = 0;
                }
                if let Err(error) = self.table(table, depth) {
                    self.unreadable(&error);
                }
            }
            _ => self.output.null(),
        }
    }

    fn late(&self) -> bool {
        now() >= self.deadline
    }

    fn unreadable(&mut self, error: &mlua::Error) {
        let text = error.to_string();
        let text = format!("ERR a part of the reply cannot be read: {text}");
        self.output.error_bytes(line(text.as_bytes()));
    }

    fn element(&mut self, value: mlua::Result<Value>, depth: usize) {
        match value {
            Ok(value) => self.value(&value, depth),
            Err(error) => self.unreadable(&error),
        }
    }

    /// Writes a table. An error means that nothing was written.
    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        if let Some(text) = text_field(table, "err")? {
            self.output.error_bytes(line(&text));
        } else if let Some(text) = text_field(table, "ok")? {
            self.output.simple_bytes(line(&text));
        } else if let Some(number) = number(&table.raw_get("double")?) {
            self.output.double(number);
        } else if let Value::Table(map) = table.raw_get("map")? {
            self.map(&map, depth)?;
        } else if let Value::Table(set) = table.raw_get("set")? {
            self.set(&set, depth)?;
        } else if let Some(mut digits) = text_field(table, "big_number")? {
            digits.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
            self.output.big_number(&digits);
        } else if let Some((format, text)) = verbatim(table)? {
            self.output.verbatim(format, &text);
        } else {
            self.list(table, depth)?;
        }
        Ok(())
    }

    /// Whether so many elements may follow; else an error is written in place of the aggregate.
    fn admits(&mut self, elements: usize) -> bool {
        let admitted = elements <= self.elements_left;
        if !admitted {
            self.output.error(TOO_MUCH);
        }
        admitted
    }

    /// A list ends at its first nil, whatever comes after.
    fn list(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let mut length = 0_usize;
        while length <= self.elements_left && !table.raw_get::<Value>(length + 1)?.is_nil() {
            length += 1;
            if length.is_multiple_of(COUNTED_PER_LOOK) && self.late() {
                self.elements_left = 0;
            }
        }
        if self.admits(length) {
            self.output.array(length);
            (1..=length).for_each(|index| self.element(table.raw_get(index), depth + 1));
        }
        Ok(())
    }

    /// How many keys a table has. None of them changes until it is written.
    fn count(&mut self, table: &Table) -> mlua::Result<usize> {
        let mut count = 0_usize;
        for pair in table.pairs::<Value, Value>() {
            pair?;
            count += 1;
            if count.is_multiple_of(COUNTED_PER_LOOK) && self.late() {
                self.elements_left = 0;
            }
        }
        Ok(count)
    }

    fn map(&mut self, map: &Table, depth: usize) -> mlua::Result<()> {
        let count = self.count(map)?;
        if !self.admits(count.saturating_mul(2)) {
            return Ok(());
        }
        self.output.map(count);
        let mut missing = count;
        for pair in map.pairs::<Value, Value>().map_while(Result::ok) {
            self.value(&pair.0, depth + 1);
            self.value(&pair.1, depth + 1);
            missing -= 1;
        }
        (0..missing * 2).for_each(|_| self.output.error(UNREADABLE));
        Ok(())
    }

    fn set(&mut self, set: &Table, depth: usize) -> mlua::Result<()> {
        let count = self.count(set)?;
        if !self.admits(count) {
            return Ok(());
        }
        self.output.set(count);
        let mut missing = count;
        for pair in set.pairs::<Value, Value>().map_while(Result::ok) {
            self.value(&pair.0, depth + 1);
            missing -= 1;
        }
        (0..missing).for_each(|_| self.output.error(UNREADABLE));
        Ok(())
    }
}

/// Stands for what was counted and could not be read then.
const UNREADABLE: &str = "ERR a part of the reply cannot be read";

/// Elements that are counted between two looks at the clock.
const COUNTED_PER_LOOK: usize = 4_096;

/// The format and the text of `{verbatim_string = {format = …, string = …}}`.
fn verbatim(table: &Table) -> mlua::Result<Option<([u8; 3], Vec<u8>)>> {
    let Value::Table(inner) = table.raw_get("verbatim_string")? else { return Ok(None) };
    let (Some(text), Some(format)) = (text_field(&inner, "string")?, text_field(&inner, "format")?) else {
        return Ok(None);
    };
    Ok(Some((format.as_slice().try_into().unwrap_or(*b"txt"), text)))
}

/// Whole numbers from here on have an exponent.
const EXPONENT_FROM: u64 = 100_000_000_000_000_000;

/// A number as an argument of a command: as C's `%.17g` writes it.
pub(super) fn argument_text(value: &Value) -> Option<String> {
    match value {
        Value::Integer(number) if number.unsigned_abs() < EXPONENT_FROM => Some(number.to_string()),
        value => number(value).map(|number| number_text(number, ARGUMENT_DIGITS)),
    }
}

/// Digits of a number that is an argument.
const ARGUMENT_DIGITS: i32 = 17;

/// A number as C's `%.<digits>g` writes it.
pub(super) fn number_text(number: f64, digits: i32) -> String {
    if !number.is_finite() {
        let sign = if number.is_sign_negative() { "-" } else { "" };
        return format!("{sign}{}", if number.is_nan() { "nan" } else { "inf" });
    }
    let scientific = format!("{number:.*e}", usize::try_from(digits - 1).unwrap_or(0));
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..digits).contains(&exponent) {
        let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
        return trim(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_stands_for_more_than_anybody_could_read_ends() {
        // 2^50 elements out of 50 tables: writing them would never end.
        let lua = Lua::new();
        let value: Value =
            lua.load("local a = {} for i = 1, 50 do a = {a, a} end return a").eval().expect("a table");
        let mut sink = Count::default();
        let deadline = now() + std::time::Duration::from_secs(60);
        Writer { resp3: false, elements_left: 1_000, deadline, output: &mut sink }.value(&value, 0);
        assert!(sink.errors > 0, "the rest is refused in its place");
        assert!(sink.elements <= 1_000, "{} elements", sink.elements);
        assert_eq!(sink.missing, 0, "the reply is well-formed");
    }

    /// Counts what a reply has, without keeping it.
    #[derive(Default)]
    struct Count {
        elements: usize,
        errors: usize,
        missing: i64,
        begun: bool,
    }

    impl Count {
        fn one(&mut self) {
            if self.begun {
                self.missing -= 1;
            }
            self.begun = true;
            self.elements += 1;
        }
    }

    impl Reply for Count {
        fn resp3(&self) -> bool {
            false
        }
        fn error_bytes(&mut self, _: &[u8]) {
            self.one();
            self.elements -= 1;
            self.errors += 1;
        }
        fn array(&mut self, length: usize) {
            self.one();
            self.missing += i64::try_from(length).expect("a short list");
        }
        fn simple_bytes(&mut self, _: &[u8]) {}
        fn integer(&mut self, _: i64) {}
        fn bulk(&mut self, _: &[u8]) {}
        fn null(&mut self) {}
        fn null_array(&mut self) {}
        fn map(&mut self, _: usize) {}
        fn set(&mut self, _: usize) {}
        fn double(&mut self, _: f64) {}
        fn boolean(&mut self, _: bool) {}
        fn big_number(&mut self, _: &[u8]) {}
        fn verbatim(&mut self, _: [u8; 3], _: &[u8]) {}
    }
}
