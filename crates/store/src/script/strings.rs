//! `string.find`, `match`, `gmatch` and `gsub` over [`Matcher`], which counts its steps.

use std::rc::Rc;

use mlua::{IntoLua, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use super::pattern::{Capture, Matcher, PatternError};
use super::{NativeResult, State, stop_if_late};
use crate::limits::SCRIPT_MEMORY_BYTES_MAX;

/// Bytes that a plain search compares for one step.
const PLAIN_BYTES_PER_STEP: u64 = 16;

/// An error with its text, or one of the interpreter.
enum Failure {
    Text(String),
    Lua(mlua::Error),
}

impl From<PatternError> for Failure {
    fn from(error: PatternError) -> Self {
        Self::Text(error.to_string())
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

type Found = Result<MultiValue, Failure>;

/// Puts the functions into `native`.
pub(super) fn register(lua: &Lua, native: &Table, state: &Rc<State>) -> mlua::Result<()> {
    type Body = fn(&Lua, &Rc<State>, &MultiValue) -> Found;
    let bodies: [(&str, Body); 5] = [
        ("find", find),
        ("match", first_match),
        ("gmatch", gmatch),
        ("gmatch_step", gmatch_step),
        ("gsub", gsub),
    ];
    for (name, body) in bodies {
        let state = state.clone();
        let function = lua
            .create_function(move |lua, arguments: MultiValue| answer(lua, body(lua, &state, &arguments)))?;
        native.set(name, function)?;
    }
    Ok(())
}

/// (true, results) or (false, text), as `sandbox.lua` expects.
fn answer(lua: &Lua, found: Found) -> NativeResult {
    match found {
        Ok(mut values) => {
            values.push_front(Value::Boolean(true));
            Ok(values)
        }
        Err(Failure::Text(text)) => (false, text).into_lua_multi(lua),
        Err(Failure::Lua(error)) => Err(error),
    }
}

fn text_argument(
    lua: &Lua,
    arguments: &MultiValue,
    index: usize,
    function: &str,
) -> Result<LuaString, Failure> {
    let value = arguments.get(index).cloned().unwrap_or(Value::Nil);
    let kind = if arguments.len() > index { value.type_name() } else { "no value" };
    let text = match value {
        Value::String(_) | Value::Number(_) | Value::Integer(_) => lua.coerce_string(value)?,
        _ => None,
    };
    text.ok_or_else(|| {
        let number = index + 1;
        Failure::Text(format!("bad argument #{number} to '{function}' (string expected, got {kind})"))
    })
}

/// The start of a search, from 0: the optional third argument counts from 1, or from the end if negative.
fn start_argument(lua: &Lua, arguments: &MultiValue, length: usize) -> Result<usize, Failure> {
    let start = match arguments.get(2) {
        None | Some(Value::Nil) => return Ok(0),
        Some(value) => lua.coerce_integer(value.clone())?.unwrap_or(1),
    };
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let start = if start < 0 { length.saturating_add(start) } else { start.saturating_sub(1) };
    Ok(usize::try_from(start.clamp(0, length)).unwrap_or(0))
}

fn anchored(pattern: &[u8]) -> (bool, &[u8]) {
    match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    }
}

/// A match: its span and captures.
type Hit = (usize, usize, Vec<Capture>);

/// The first match at or after `from`.
fn search(state: &State, subject: &[u8], pattern: &[u8], from: usize) -> Result<Option<Hit>, PatternError> {
    let (anchor, body) = anchored(pattern);
    let last = if anchor { from } else { subject.len() };
    search_between(state, subject, body, from, last)
}

/// The first match that starts in a range; the pattern is without its anchor.
fn search_between(
    state: &State,
    subject: &[u8],
    body: &[u8],
    from: usize,
    last: usize,
) -> Result<Option<Hit>, PatternError> {
    let mut steps_left = state.pattern_steps_left.get();
    let mut matcher = Matcher::new(subject, body, &mut steps_left);
    let mut outcome = Ok(None);
    for start in from..=last {
        match matcher.match_at(start) {
            Ok(None) => {}
            Ok(Some(end)) => {
                outcome = Ok(Some((start, end, std::mem::take(&mut matcher.captures))));
                break;
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    state.pattern_steps_left.set(steps_left);
    outcome
}

#[expect(clippy::cast_precision_loss, reason = "Lua 5.1 has no other numbers")]
fn count(count: usize) -> Value {
    Value::Number(count as f64)
}

fn position(index: usize) -> Value {
    count(index + 1)
}

fn capture_value(lua: &Lua, subject: &[u8], capture: Capture) -> mlua::Result<Value> {
    match capture {
        Capture::Span(start, end) => lua.create_string(&subject[start..end])?.into_lua(lua),
        Capture::Position(index) => Ok(position(index)),
        Capture::Open(_) => Ok(Value::Nil),
    }
}

/// The captures, or the whole match if the pattern has none.
fn captures(
    lua: &Lua,
    subject: &[u8],
    span: (usize, usize),
    captures: &[Capture],
) -> mlua::Result<Vec<Value>> {
    let whole = [Capture::Span(span.0, span.1)];
    let shown = if captures.is_empty() { &whole } else { captures };
    shown.iter().map(|&capture| capture_value(lua, subject, capture)).collect()
}

fn find(lua: &Lua, state: &Rc<State>, arguments: &MultiValue) -> Found {
    let (subject, pattern) =
        (text_argument(lua, arguments, 0, "find")?, text_argument(lua, arguments, 1, "find")?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let from = start_argument(lua, arguments, subject.len())?;
    let special = pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte));
    let plain = !special
        || arguments.get(3).is_some_and(|plain| !matches!(plain, Value::Nil | Value::Boolean(false)));
    if plain {
        let cost = (subject.len() as u64).saturating_mul(pattern.len().max(1) as u64) / PLAIN_BYTES_PER_STEP;
        let left = state.pattern_steps_left.get().checked_sub(cost).ok_or(PatternError::TooManySteps)?;
        state.pattern_steps_left.set(left);
        let found = match pattern.len() {
            0 => Some(0),
            length => subject[from..].windows(length).position(|window| *window == *pattern),
        };
        return Ok(match found {
            None => Value::Nil.into_lua_multi(lua)?,
            Some(at) => {
                let start = from + at;
                MultiValue::from_vec(vec![position(start), count(start + pattern.len())])
            }
        });
    }
    match search(state, &subject, &pattern, from)? {
        None => Ok(Value::Nil.into_lua_multi(lua)?),
        Some((start, end, found)) => {
            let mut values = vec![position(start), count(end)];
            for capture in found {
                values.push(capture_value(lua, &subject, capture)?);
            }
            Ok(MultiValue::from_vec(values))
        }
    }
}

fn first_match(lua: &Lua, state: &Rc<State>, arguments: &MultiValue) -> Found {
    let (subject, pattern) =
        (text_argument(lua, arguments, 0, "match")?, text_argument(lua, arguments, 1, "match")?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let from = start_argument(lua, arguments, subject.len())?;
    match search(state, &subject, &pattern, from)? {
        None => Ok(Value::Nil.into_lua_multi(lua)?),
        Some((start, end, found)) => Ok(MultiValue::from_vec(captures(lua, &subject, (start, end), &found)?)),
    }
}

/// The arguments of `gmatch`, judged: the iterator over them is made in `sandbox.lua`, because one of Rust's would hold
/// both until it is collected as garbage.
fn gmatch(lua: &Lua, _: &Rc<State>, arguments: &MultiValue) -> Found {
    let (subject, pattern) =
        (text_argument(lua, arguments, 0, "gmatch")?, text_argument(lua, arguments, 1, "gmatch")?);
    Ok((subject, pattern).into_lua_multi(lua)?)
}

/// One step of `gmatch` from a position (from 0): the next position and the captures, or nothing at the end. The pattern
/// has no anchor: `^` stands for itself.
fn gmatch_step(lua: &Lua, state: &Rc<State>, arguments: &MultiValue) -> Found {
    let (subject, pattern) =
        (text_argument(lua, arguments, 0, "gmatch")?, text_argument(lua, arguments, 1, "gmatch")?);
    let from = match arguments.get(2) {
        Some(value) => lua.coerce_integer(value.clone())?.and_then(|from| usize::try_from(from).ok()),
        None => None,
    };
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let Some(from) = from.filter(|&from| from <= subject.len()) else { return Ok(MultiValue::new()) };
    let Some((start, end, found)) = search_between(state, &subject, &pattern, from, subject.len())? else {
        return Ok(MultiValue::new());
    };
    let mut values = captures(lua, &subject, (start, end), &found)?;
    // An empty match must not come again.
    values.insert(0, count(if end == start { end + 1 } else { end }));
    Ok(MultiValue::from_vec(values))
}

fn gsub(lua: &Lua, state: &Rc<State>, arguments: &MultiValue) -> Found {
    let (subject, pattern) =
        (text_argument(lua, arguments, 0, "gsub")?, text_argument(lua, arguments, 1, "gsub")?);
    let replacement = match arguments.get(2) {
        Some(Value::Number(_) | Value::Integer(_)) => {
            Value::String(text_argument(lua, arguments, 2, "gsub")?)
        }
        Some(value @ (Value::String(_) | Value::Table(_) | Value::Function(_))) => value.clone(),
        _ => {
            return Err(Failure::Text(
                "bad argument #3 to 'gsub' (string/function/table expected)".to_owned(),
            ));
        }
    };
    let most = match arguments.get(3) {
        None | Some(Value::Nil) => usize::MAX,
        Some(value) => usize::try_from(lua.coerce_integer(value.clone())?.unwrap_or(0)).unwrap_or(0),
    };
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let anchor = pattern.first() == Some(&b'^');
    let (mut result, mut copied, mut at, mut replaced) = (Vec::new(), 0, 0, 0_usize);
    while replaced < most && at <= subject.len() {
        stop_if_late(lua, state)?;
        let Some((start, end, found)) = search(state, &subject, &pattern, at)? else { break };
        result.extend_from_slice(&subject[copied..start]);
        append_replacement(lua, &replacement, &subject, (start, end), &found, &mut result)?;
        if result.len() > SCRIPT_MEMORY_BYTES_MAX {
            return Err(Failure::Text("not enough memory".to_owned()));
        }
        copied = end;
        replaced += 1;
        if end == start {
            // An empty match is followed by the byte after it.
            result.extend_from_slice(subject.get(end..=end).unwrap_or_default());
            copied = (end + 1).min(subject.len());
            at = end + 1;
        } else {
            at = end;
        }
        if anchor {
            break;
        }
    }
    result.extend_from_slice(&subject[copied..]);
    Ok((lua.create_string(&result)?, count(replaced)).into_lua_multi(lua)?)
}

fn append_replacement(
    lua: &Lua,
    replacement: &Value,
    subject: &[u8],
    span: (usize, usize),
    found: &[Capture],
    result: &mut Vec<u8>,
) -> Result<(), Failure> {
    let values = captures(lua, subject, span, found)?;
    let value = match replacement {
        Value::String(template) => {
            return append_template(lua, &template.as_bytes(), subject, span, &values, result);
        }
        Value::Table(table) => table.get::<Value>(values.first().cloned())?,
        Value::Function(function) => function.call::<Value>(MultiValue::from_vec(values))?,
        _ => Value::Nil,
    };
    match value {
        Value::Nil | Value::Boolean(false) => result.extend_from_slice(&subject[span.0..span.1]),
        Value::String(text) => result.extend_from_slice(&text.as_bytes()),
        Value::Number(_) | Value::Integer(_) => {
            if let Some(text) = lua.coerce_string(value)? {
                result.extend_from_slice(&text.as_bytes());
            }
        }
        value => return Err(Failure::Text(format!("invalid replacement value (a {})", value.type_name()))),
    }
    Ok(())
}

/// `%0` is the whole match, `%1` the first capture, `%%` a percent sign.
fn append_template(
    lua: &Lua,
    template: &[u8],
    subject: &[u8],
    span: (usize, usize),
    values: &[Value],
    result: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut bytes = template.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            result.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'0') => result.extend_from_slice(&subject[span.0..span.1]),
            Some(digit @ b'1'..=b'9') => {
                let value = values.get(usize::from(digit - b'1')).cloned();
                let text = lua.coerce_string(value.ok_or(PatternError::CaptureIndex)?)?;
                result.extend_from_slice(&text.ok_or(PatternError::CaptureIndex)?.as_bytes());
            }
            Some(&other) => result.push(other),
            None => {}
        }
    }
    Ok(())
}
