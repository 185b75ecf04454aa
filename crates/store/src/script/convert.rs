//! Between replies and Lua values, by the rules of Redis' "Lua API reference".

use std::time::Instant;

use bowline_keyspace::{CommandError, Reply, ReplyValue};
use bowline_rt::time::now;
use mlua::{Lua, Table, Value};

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
        && let Some(text) = text_field(table, "err")
    {
        return Err(CommandError::Other(text.into()));
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

fn text_field(table: &Table, name: &str) -> Option<String> {
    match table.raw_get::<Value>(name) {
        Ok(Value::String(text)) => Some(text.to_string_lossy()),
        _ => None,
    }
}

/// Writes a value. Tables that hold each other can stand for more than anybody could read: past a number of elements, a
/// depth and a time, errors stand in for them.
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
            self.output.error("ERR the reply of the script has too many elements, or takes too long");
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
            Value::Table(table) => self.table(table, depth),
            _ => self.output.null(),
        }
    }

    fn table(&mut self, table: &Table, depth: usize) {
        if now() >= self.deadline {
            self.elements_left = 0;
        }
        let output = &mut *self.output;
        if let Some(text) = text_field(table, "err") {
            return output.error(&text);
        }
        if let Some(text) = text_field(table, "ok") {
            return output.simple(&text);
        }
        if let Some(number) = table.raw_get::<Value>("double").ok().as_ref().and_then(number) {
            return output.double(number);
        }
        if let Ok(Value::Table(map)) = table.raw_get("map") {
            let pairs: Vec<(Value, Value)> = map.pairs().filter_map(Result::ok).collect();
            output.map(pairs.len());
            for (key, value) in &pairs {
                self.value(key, depth + 1);
                self.value(value, depth + 1);
            }
            return;
        }
        if let Ok(Value::Table(set)) = table.raw_get("set") {
            let members: Vec<Value> =
                set.pairs::<Value, Value>().filter_map(Result::ok).map(|(key, _)| key).collect();
            output.set(members.len());
            return members.iter().for_each(|member| self.value(member, depth + 1));
        }
        if let Some(digits) = text_field(table, "big_number") {
            return output.big_number(digits.replace(['\r', '\n'], " ").as_bytes());
        }
        if let Ok(Value::Table(verbatim)) = table.raw_get("verbatim_string")
            && let (Some(text), Some(format)) =
                (text_field(&verbatim, "string"), text_field(&verbatim, "format"))
        {
            return output.verbatim(format.as_bytes().try_into().unwrap_or(*b"txt"), text.as_bytes());
        }
        // A list ends at its first nil, whatever comes after.
        let items: Vec<Value> = (1..)
            .map_while(|index: i64| table.raw_get::<Value>(index).ok().filter(|item| !item.is_nil()))
            .collect();
        output.array(items.len());
        items.iter().for_each(|item| self.value(item, depth + 1));
    }
}

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
        fn error(&mut self, _: &str) {
            self.one();
            self.elements -= 1;
            self.errors += 1;
        }
        fn array(&mut self, length: usize) {
            self.one();
            self.missing += i64::try_from(length).expect("a short list");
        }
        fn simple(&mut self, _: &str) {}
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
