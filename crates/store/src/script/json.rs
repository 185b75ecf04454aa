//! `cjson` of scripts: `encode`, `decode` and `null`, by the rules of the library that Redis has: an empty table is an
//! object, numbers have 14 digits, slashes are escaped, very sparse arrays are refused.

use std::rc::Rc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::{NativeResult, State, convert, stop_if_late};
use crate::limits::{JSON_DEPTH_MAX, SCRIPT_MEMORY_BYTES_MAX};

/// Arrays up to this length may have any holes.
const SPARSE_SAFE: usize = 10;
/// Longer ones need an item in every so many places.
const SPARSE_RATIO: usize = 2;
/// Digits of numbers.
const DIGITS: i32 = 14;

/// Puts the functions into `native`.
pub(super) fn register(lua: &Lua, native: &Table, state: &Rc<State>) -> mlua::Result<()> {
    native.set("json_null", Value::NULL)?;
    let shared = state.clone();
    let encode = move |lua: &Lua, values: MultiValue| {
        let Some(value) = values.front().filter(|_| values.len() == 1) else {
            return (false, "bad argument #1 to 'encode' (expected 1 argument)").into_lua_multi(lua);
        };
        let mut writer = Writer { lua, state: &shared, text: Vec::new() };
        match writer.value(value, 0) {
            Ok(()) => (true, lua.create_string(&writer.text)?).into_lua_multi(lua),
            Err(Failure::Text(problem)) => (false, problem).into_lua_multi(lua),
            Err(Failure::Lua(error)) => Err(error),
        }
    };
    native.set("json_encode", lua.create_function(encode)?)?;
    let shared = state.clone();
    let decode = move |lua: &Lua, values: MultiValue| decode(lua, &shared, &values);
    native.set("json_decode", lua.create_function(decode)?)
}

/// Why a text cannot be read or written.
enum Failure {
    Text(String),
    Lua(mlua::Error),
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// Writes values as text, with an eye on the clock: tables that hold each other can stand for very much of it.
struct Writer<'a> {
    lua: &'a Lua,
    state: &'a Rc<State>,
    text: Vec<u8>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Failure> {
        let refused = |problem: String| Err(Failure::Text(problem));
        if depth > JSON_DEPTH_MAX {
            return refused(format!("Cannot serialise, excessive depth ({depth})"));
        }
        if self.text.len() > SCRIPT_MEMORY_BYTES_MAX {
            return refused("not enough memory".to_owned());
        }
        match value {
            Value::Nil => self.text.extend_from_slice(b"null"),
            value if value.is_null() => self.text.extend_from_slice(b"null"),
            Value::Boolean(value) => self.text.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::String(string) => write_string(&string.as_bytes(), &mut self.text),
            Value::Table(table) => return self.table(table, depth),
            value => match convert::number(value) {
                Some(number) if number.is_finite() => {
                    self.text.extend(convert::number_text(number, DIGITS).bytes());
                }
                Some(_) => return refused("Cannot serialise number: must not be NaN or Inf".to_owned()),
                None => {
                    return refused(format!("Cannot serialise {}: type not supported", value.type_name()));
                }
            },
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Failure> {
        stop_if_late(self.lua, self.state)?;
        if let Some(length) = array_length(table)? {
            self.text.push(b'[');
            for index in 1..=length {
                if index > 1 {
                    self.text.push(b',');
                }
                let item: Value = table.raw_get(index)?;
                self.value(&item, depth + 1)?;
            }
            self.text.push(b']');
            return Ok(());
        }
        self.text.push(b'{');
        for (index, pair) in table.pairs::<Value, Value>().enumerate() {
            let (key, value) = pair?;
            if index > 0 {
                self.text.push(b',');
            }
            match (&key, convert::number(&key)) {
                (Value::String(name), _) => write_string(&name.as_bytes(), &mut self.text),
                (_, Some(number)) => {
                    write_string(convert::number_text(number, DIGITS).as_bytes(), &mut self.text);
                }
                _ => {
                    let problem = "Cannot serialise table: table key must be a number or string";
                    return Err(Failure::Text(problem.to_owned()));
                }
            }
            self.text.push(b':');
            self.value(&value, depth + 1)?;
        }
        self.text.push(b'}');
        Ok(())
    }
}

fn write_string(bytes: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | b'/' => text.extend([b'\\', byte]),
            0x08 => text.extend_from_slice(b"\\b"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'\n' => text.extend_from_slice(b"\\n"),
            0x0c => text.extend_from_slice(b"\\f"),
            b'\r' => text.extend_from_slice(b"\\r"),
            0..0x20 | 0x7f => text.extend(format!("\\u{byte:04x}").bytes()),
            byte => text.push(byte),
        }
    }
    text.push(b'"');
}

/// The length of a table that has positive whole numbers as keys only; `None` if it has others, or none at all.
fn array_length(table: &Table) -> Result<Option<usize>, Failure> {
    let (mut longest, mut items) = (0_usize, 0_usize);
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        let index = match key {
            Value::Integer(index) => usize::try_from(index).ok().filter(|&index| index > 0),
            _ => None,
        };
        let Some(index) = index else { return Ok(None) };
        longest = longest.max(index);
        items += 1;
    }
    if longest > SPARSE_SAFE && longest > items.saturating_mul(SPARSE_RATIO) {
        return Err(Failure::Text("Cannot serialise table: excessively sparse array".to_owned()));
    }
    Ok((items > 0).then_some(longest))
}

fn decode(lua: &Lua, state: &Rc<State>, values: &MultiValue) -> NativeResult {
    stop_if_late(lua, state)?;
    let Some(Value::String(text)) = values.front().filter(|_| values.len() == 1) else {
        return (false, "bad argument #1 to 'decode' (string expected)").into_lua_multi(lua);
    };
    let bytes = text.as_bytes();
    let mut reader = Reader { lua, text: &bytes, at: 0 };
    let outcome = reader.value(0).and_then(|value| match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.problem("the end")),
    });
    match outcome {
        Ok(value) => (true, value).into_lua_multi(lua),
        Err(Failure::Text(problem)) => (false, problem).into_lua_multi(lua),
        Err(Failure::Lua(error)) => Err(error),
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn problem(&self, expected: &str) -> Failure {
        let found = if self.at < self.text.len() { "invalid token" } else { "T_END" };
        Failure::Text(format!("Expected {expected} but found {found} at character {}", self.at + 1))
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(|byte| b" \t\r\n".contains(byte)) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, expected: &str) -> Result<(), Failure> {
        if self.peek() != Some(byte) {
            return Err(self.problem(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, Failure> {
        if depth > JSON_DEPTH_MAX {
            return Err(Failure::Text(format!("Found too many nested data structures ({depth})")));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(self.lua.create_string(self.string()?)?)),
            Some(b't') => self.word("true", Value::Boolean(true)),
            Some(b'f') => self.word("false", Value::Boolean(false)),
            Some(b'n') => self.word("null", Value::NULL),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.problem("value")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Failure> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(self.problem("value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, Failure> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !b"+-.0123456789eE".contains(byte)).unwrap_or(rest.len());
        let number = std::str::from_utf8(&rest[..length]).ok().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| self.problem("value"))?;
        self.at += length;
        Ok(Value::Number(number))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Failure> {
        let table = self.lua.create_table()?;
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        loop {
            let value = self.value(depth + 1)?;
            table.raw_push(value)?;
            if self.peek() == Some(b',') {
                self.at += 1;
            } else {
                self.expect(b']', "comma or array end")?;
                return Ok(Value::Table(table));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Failure> {
        let table = self.lua.create_table()?;
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.problem("object key string"));
            }
            let name = self.lua.create_string(self.string()?)?;
            self.expect(b':', "colon")?;
            let value = self.value(depth + 1)?;
            table.raw_set(name, value)?;
            if self.peek() == Some(b',') {
                self.at += 1;
            } else {
                self.expect(b'}', "comma or object end")?;
                return Ok(Value::Table(table));
            }
        }
    }

    /// The string whose opening quote is next.
    fn string(&mut self) -> Result<Vec<u8>, Failure> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let byte = self.text.get(self.at).copied();
            self.at += 1;
            match byte {
                Some(b'"') => return Ok(bytes),
                Some(b'\\') => {
                    let escape = self.text.get(self.at).copied();
                    self.at += 1;
                    match escape {
                        Some(byte @ (b'"' | b'\\' | b'/')) => bytes.push(byte),
                        Some(b'b') => bytes.push(0x08),
                        Some(b'f') => bytes.push(0x0c),
                        Some(b'n') => bytes.push(b'\n'),
                        Some(b'r') => bytes.push(b'\r'),
                        Some(b't') => bytes.push(b'\t'),
                        Some(b'u') => {
                            let letter = self.escaped_letter().ok_or_else(|| self.problem("value"))?;
                            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                        _ => return Err(self.problem("value")),
                    }
                }
                Some(byte) if byte >= 0x20 => bytes.push(byte),
                _ => {
                    self.at = start;
                    return Err(self.problem("value"));
                }
            }
        }
    }

    /// What follows `\u`: four digits, or a pair of surrogates.
    fn escaped_letter(&mut self) -> Option<char> {
        let high = self.hexadecimal()?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high);
        }
        if !self.text.get(self.at..)?.starts_with(b"\\u") {
            return None;
        }
        self.at += 2;
        let low = self.hexadecimal()?.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
        char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = std::str::from_utf8(self.text.get(self.at..self.at + 4)?).ok()?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
