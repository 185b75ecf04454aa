//! Where in a script an error happened, and how Redis words it.

use mlua::{Lua, Table, Value};

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

/// The message for a client whose script raised `problem`. `fallback_line` is named when Lua does not know the line: a
/// function that was called in a `return` has left the stack.
pub(super) fn describe_error(problem: &Value, digest: &str, fallback_line: &str) -> String {
    let field = |table: &Table, name: &str| {
        let text = table.raw_get::<Option<mlua::LuaString>>(name).ok().flatten();
        text.map(|text| text.to_string_lossy())
    };
    match problem {
        Value::Table(table) => {
            let text = field(table, "err").unwrap_or_else(|| "ERR unknown error".to_owned());
            let line = field(table, "line").unwrap_or_else(|| fallback_line.to_owned());
            format!("{text} script: {digest}, on @user_script:{line}.")
        }
        problem => {
            let text = match problem {
                Value::String(text) => text.to_string_lossy(),
                problem => problem.to_string().unwrap_or_default(),
            };
            // Rust's errors come with a trace of the stack.
            let text = text.lines().next().unwrap_or_default();
            let text = text.strip_prefix("runtime error: ").unwrap_or(text);
            let text = without_our_own_place(text);
            let line = text
                .strip_prefix("user_script:")
                .and_then(|rest| rest.split(':').next())
                .unwrap_or(fallback_line);
            format!("ERR {text} script: {digest}, on @user_script:{line}.")
        }
    }
}

/// Lua names the place where it noticed an error; a line of `sandbox.lua` says nothing to the author of a script.
fn without_our_own_place(text: &str) -> &str {
    let after = text
        .strip_prefix("sandbox:")
        .map(|rest| rest.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    after.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text)
}
