//! Where in a script an error happened, and how Redis words it.

use bowline_keyspace::CommandError;
use bytes::Bytes;
use mlua::{Lua, Table, Value};

use crate::limits::SCRIPT_LINE_BYTES_MAX;

/// Puts the script's current line into an error table, for the message. `level` counts the calls from the native
/// function (0) to the script.
pub(super) fn locate(lua: &Lua, problem: &Table, level: usize) -> mlua::Result<()> {
    let line = lua.inspect_stack(level, |debug| debug.current_line()).flatten();
    if let Some(line) = line {
        problem.raw_set("source", "@user_script")?;
        problem.raw_set("line", line.to_string())?;
    }
    Ok(())
}

/// A status or an error is a line for people: what is longer is cut.
pub(super) fn line(text: &[u8]) -> &[u8] {
    &text[..text.len().min(SCRIPT_LINE_BYTES_MAX)]
}

/// What a client is told whose script raised `problem`. `fallback_line` is named when Lua does not know the line: a
/// function that was called in a `return` has left the stack.
pub(super) fn describe_error(problem: &Value, digest: &str, fallback_line: &str) -> CommandError {
    let field = |table: &Table, name: &str| {
        let text = table.raw_get::<Option<mlua::LuaString>>(name).ok().flatten();
        text.map(|text| text.as_bytes().to_vec())
    };
    match problem {
        Value::Table(table) => {
            let text = field(table, "err").unwrap_or_else(|| b"ERR unknown error".to_vec());
            let place = field(table, "line").unwrap_or_else(|| fallback_line.as_bytes().to_vec());
            sentence(&[&text], digest, &String::from_utf8_lossy(&place))
        }
        problem => {
            let text = match problem {
                Value::String(text) => text.as_bytes().to_vec(),
                problem => problem.to_string().unwrap_or_default().into_bytes(),
            };
            let text = without_trace(&text);
            let text = text.strip_prefix(b"runtime error: ").unwrap_or(text);
            let text = without_our_own_place(text);
            let place =
                text.strip_prefix(b"user_script:").and_then(|rest| rest.split(|&byte| byte == b':').next());
            let place = place.map_or(fallback_line.into(), String::from_utf8_lossy);
            sentence(&[b"ERR ", text], digest, &place)
        }
    }
}

/// The same refusal, no longer than a line may be.
pub(super) fn shortened(error: &CommandError) -> CommandError {
    CommandError::Raw(Bytes::copy_from_slice(line(error.to_string().as_bytes())))
}

/// Rust's errors come with a trace of the stack.
fn without_trace(text: &[u8]) -> &[u8] {
    const TRACE: &[u8] = b"\nstack traceback:";
    let end = text.windows(TRACE.len()).position(|part| part == TRACE).unwrap_or(text.len());
    &text[..end]
}

/// An error with the script that it happened in, and the line.
pub(super) fn sentence(text: &[&[u8]], digest: &str, place: &str) -> CommandError {
    let mut sentence = line(without_trace(&text.concat())).to_vec();
    let place = place.get(..place.len().min(LINE_NUMBER_BYTES_MAX)).unwrap_or_default();
    sentence.extend_from_slice(format!(" script: {digest}, on @user_script:{place}.").as_bytes());
    CommandError::Raw(sentence.into())
}

/// A line's number is no longer than this; a script can put anything into its place.
const LINE_NUMBER_BYTES_MAX: usize = 20;

/// Lua names the place where it noticed an error; a line of `sandbox.lua` says nothing to the author of a script.
fn without_our_own_place(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b"sandbox:") else { return text };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].strip_prefix(b": ").unwrap_or(text)
}
