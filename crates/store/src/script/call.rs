//! The table `redis` of scripts: commands, replies, the log.

use std::rc::Rc;

use bowline_keyspace::command::Flags;
use bowline_keyspace::number::parse_integer;
use bowline_keyspace::random::Random;
use bowline_keyspace::{Call, CommandError, Reply, ReplyTree, ReplyValue};
use bytes::Bytes;
use mlua::chunk::ChunkMode;
use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::{NativeResult, State, convert, location, sha1, stop_if_late};
use crate::commands::{self, Action, Entry};
use crate::limits::SCRIPT_CALL_REPLY_BYTES_MAX;
use crate::server::REDIS_VERSION;

/// 7.0.15 as Redis writes it in one number.
const REDIS_VERSION_NUMBER: u32 = 0x0007_000f;

const NO_ARGUMENTS: &str = "ERR Please specify at least one argument for this redis lib call";

/// Levels of the call stack between a native function and the script: itself and its wrapper in `sandbox.lua`.
const WRAPPED_LEVEL: usize = 2;

/// Puts the functions into `native`.
pub(super) fn register(lua: &Lua, native: &Table, state: &Rc<State>) -> mlua::Result<()> {
    native.set("version", REDIS_VERSION)?;
    native.set("version_number", REDIS_VERSION_NUMBER)?;
    let shared = state.clone();
    native.set(
        "call",
        lua.create_function(move |lua, arguments: MultiValue| call(lua, &shared, &arguments))?,
    )?;
    let shared = state.clone();
    let many = move |lua: &Lua, arguments: (Table, usize)| call_list(lua, &shared, arguments);
    native.set("call_list", lua.create_function(many)?)?;
    let shared = state.clone();
    let check = move |lua: &Lua, values: MultiValue| acl_check_cmd(lua, &shared, &values);
    native.set("acl_check_cmd", lua.create_function(check)?)?;
    let locate = |lua: &Lua, problem: Table| location::locate(lua, &problem, WRAPPED_LEVEL);
    native.set("locate", lua.create_function(locate)?)?;
    native.set("log", lua.create_function(|lua, values: MultiValue| log(lua, &values))?)?;
    let shared = state.clone();
    native.set(
        "sha1hex",
        lua.create_function(move |lua, values: MultiValue| sha1hex(lua, &shared, &values))?,
    )?;
    native.set("error_reply", lua.create_function(|lua, values: MultiValue| tagged(lua, "err", &values))?)?;
    native.set("status_reply", lua.create_function(|lua, values: MultiValue| tagged(lua, "ok", &values))?)?;
    native.set("set_repl", lua.create_function(|lua, values: MultiValue| set_repl(lua, &values))?)?;
    let shared = state.clone();
    native.set(
        "setresp",
        lua.create_function(move |lua, values: MultiValue| setresp(lua, &shared, &values))?,
    )?;
    let shared = state.clone();
    native.set(
        "compile",
        lua.create_function(move |lua, values: MultiValue| compile(lua, &shared, &values))?,
    )?;
    let shared = state.clone();
    let draw = move |_: &Lua, ()| {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let fraction = (shared.random.borrow_mut().bits() >> 11) as f64 / (1_u64 << 53) as f64;
        Ok(fraction)
    };
    native.set("draw", lua.create_function(draw)?)?;
    let shared = state.clone();
    let seed = move |_: &Lua, seed: f64| {
        *shared.random.borrow_mut() = Random::new(seed.to_bits());
        Ok(())
    };
    native.set("seed", lua.create_function(seed)?)
}

/// An error of the kind that Redis raises: a table with the text and the place.
fn refusal(lua: &Lua, text: &str) -> NativeResult {
    let problem = lua.create_table()?;
    problem.raw_set("err", text)?;
    location::locate(lua, &problem, WRAPPED_LEVEL)?;
    (false, problem).into_lua_multi(lua)
}

/// `redis.call` with few arguments.
fn call(lua: &Lua, state: &Rc<State>, values: &MultiValue) -> NativeResult {
    stop_if_late(lua, state)?;
    if values.is_empty() {
        return refusal(lua, NO_ARGUMENTS);
    }
    let arguments: Option<Vec<Bytes>> = values.iter().map(argument).collect();
    answer(lua, state, arguments)
}

/// `redis.call` with many arguments, in a table: none is held but the one that is copied.
fn call_list(lua: &Lua, state: &Rc<State>, (list, count): (Table, usize)) -> NativeResult {
    stop_if_late(lua, state)?;
    let mut arguments = Some(Vec::with_capacity(count));
    for index in 1..=count {
        let copied = argument(&list.raw_get(index)?);
        arguments = arguments.zip(copied).map(|(mut arguments, copied)| {
            arguments.push(copied);
            arguments
        });
    }
    answer(lua, state, arguments)
}

/// Runs a command whose arguments were all fit to be one.
fn answer(lua: &Lua, state: &Rc<State>, arguments: Option<Vec<Bytes>>) -> NativeResult {
    let Some(arguments) = arguments else {
        return refusal(lua, "ERR Lua redis lib command arguments must be strings or integers");
    };
    let mut tree = ReplyTree::bounded(state.resp3.get(), SCRIPT_CALL_REPLY_BYTES_MAX);
    if let Err(error) = run(state, &arguments, &mut tree) {
        return refusal(lua, &error.to_string());
    }
    if tree.overflowed() {
        return refusal(lua, "ERR the reply of the command is too large for a script");
    }
    let reply = tree.finish().unwrap_or(ReplyValue::Null);
    (true, convert::to_lua(lua, reply, state.resp3.get())?).into_lua_multi(lua)
}

fn argument(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(Bytes::copy_from_slice(&text.as_bytes())),
        number => convert::argument_text(number).map(Bytes::from),
    }
}

/// Finds a command and judges its arguments, with the errors that scripts get.
fn look_up(state: &State, arguments: &[Bytes]) -> Result<Entry, CommandError> {
    let unknown = || CommandError::text("ERR Unknown Redis command called from script");
    let entry = state.commands.find(&arguments[0]).ok_or_else(unknown)?;
    match entry.spec().check(arguments) {
        Ok(()) => Ok(entry),
        Err(CommandError::Arity(_)) => {
            Err(CommandError::text("ERR Wrong number of args calling Redis command from script"))
        }
        Err(_) => Err(unknown()),
    }
}

/// Runs a command of a script after the checks that Redis makes.
fn run(state: &State, arguments: &[Bytes], reply: &mut ReplyTree) -> Result<(), CommandError> {
    let entry = look_up(state, arguments)?;
    let spec = entry.spec();
    if spec.flags.has(Flags::NOSCRIPT) {
        return Err(CommandError::text("ERR This Redis command is not allowed from script"));
    }
    if state.read_only.get() && spec.flags.has(Flags::WRITE) {
        return Err(CommandError::text("ERR Write commands are not allowed from read-only scripts."));
    }
    // Only the first write is refused: a script must not be stopped half-way because it has filled the memory itself.
    if spec.flags.has(Flags::DENYOOM) && state.refuses_growth.get() && !state.wrote.get() {
        return Err(CommandError::OutOfMemory);
    }
    if spec.flags.has(Flags::WRITE) {
        state.wrote.set(true);
    }
    let outcome = match entry.action() {
        Action::Keyspace(command) => {
            let mut keyspace = state.keyspace.borrow_mut();
            let now_ms = i64::try_from(state.now.get().as_millis()).unwrap_or(i64::MAX);
            let mut call =
                Call { keyspace: &mut keyspace, database: state.database.get(), now_ms, arguments, reply };
            // Not `Call::run`: a refusal is raised in the script instead of being written.
            (command.run)(&mut call)
        }
        Action::Server(_) => run_own(state, spec.name, arguments, reply),
    };
    state.commands.statistics(entry).note(outcome.is_err());
    outcome
}

/// The commands of the server that make sense in a script.
fn run_own(
    state: &State,
    name: &str,
    arguments: &[Bytes],
    reply: &mut ReplyTree,
) -> Result<(), CommandError> {
    let gone = || CommandError::text("ERR the server is gone");
    let server = || state.server.borrow().upgrade().ok_or_else(gone);
    match (name, arguments) {
        ("ping", [_]) => reply.simple("PONG"),
        ("ping" | "echo", [_, text]) => reply.bulk(text),
        ("select", [_, database]) => {
            let number = parse_integer(database).ok_or(CommandError::NotAnInteger)?;
            let databases = state.keyspace.borrow().databases();
            let database = usize::try_from(number).ok().filter(|&number| number < databases);
            state.database.set(database.ok_or(CommandError::DatabaseIndex)?);
            reply.ok();
        }
        ("time", [_]) => {
            // The time of the start: it stands still in a script.
            let now = state.now.get();
            reply.array(2);
            reply.bulk(now.as_secs().to_string().as_bytes());
            reply.bulk(now.subsec_micros().to_string().as_bytes());
        }
        ("command", _) => return state.commands.describe(arguments, reply),
        ("info", _) => commands::write_info(&*server()?, &arguments[1..], reply),
        ("slowlog", _) => return commands::slowlog(&*server()?, arguments, reply),
        _ => return Err(CommandError::text("ERR This Redis command is not allowed from script")),
    }
    Ok(())
}

/// `redis.acl_check_cmd`: whoever is in may run every command.
fn acl_check_cmd(lua: &Lua, state: &Rc<State>, values: &MultiValue) -> NativeResult {
    let Some(name) = values.front().and_then(argument) else {
        return refusal(lua, NO_ARGUMENTS);
    };
    match state.commands.find(&name) {
        Some(_) => (true, true).into_lua_multi(lua),
        None => refusal(lua, "ERR Invalid command passed to redis.acl_check_cmd()"),
    }
}

/// `redis.error_reply` and `redis.status_reply`. Wrong arguments are answered, not raised, as in Redis.
fn tagged(lua: &Lua, field: &str, values: &MultiValue) -> NativeResult {
    let table = lua.create_table()?;
    match values.front() {
        Some(Value::String(text)) if values.len() == 1 && field == "ok" => table.raw_set(field, text)?,
        Some(Value::String(text)) if values.len() == 1 => {
            let bytes = text.as_bytes();
            let text = bytes.strip_prefix(b"-").unwrap_or(&bytes);
            // A text without a code gets the general one.
            let code: &[u8] = if text.contains(&b' ') { b"" } else { b"ERR " };
            table.raw_set(field, lua.create_string([code, text].concat())?)?;
        }
        _ => table.raw_set("err", "ERR wrong number or type of arguments")?,
    }
    (true, table).into_lua_multi(lua)
}

fn sha1hex(lua: &Lua, state: &Rc<State>, values: &MultiValue) -> NativeResult {
    stop_if_late(lua, state)?;
    match values.front() {
        Some(value) if values.len() == 1 => {
            let text = lua.coerce_string(value.clone())?;
            let digest = sha1(&text.map(|text| text.as_bytes().to_vec()).unwrap_or_default());
            (true, digest).into_lua_multi(lua)
        }
        _ => refusal(lua, "ERR wrong number of arguments"),
    }
}

fn log(lua: &Lua, values: &MultiValue) -> NativeResult {
    if values.len() < 2 {
        return refusal(lua, "ERR redis.log() requires two arguments or more.");
    }
    let mut values = values.iter();
    let Some(level) = values.next().and_then(convert::number) else {
        return refusal(lua, "ERR First argument must be a number (log level).");
    };
    let words: Vec<String> = values.filter_map(|value| value.to_string().ok()).collect();
    let message = words.join(" ");
    let message = &*String::from_utf8_lossy(location::line(message.as_bytes()));
    match level {
        3.0 => tracing::warn!(message, "a script says"),
        2.0 => tracing::info!(message, "a script says"),
        0.0 | 1.0 => tracing::debug!(message, "a script says"),
        _ => return refusal(lua, "ERR Invalid debug level."),
    }
    true.into_lua_multi(lua)
}

fn setresp(lua: &Lua, state: &State, values: &MultiValue) -> NativeResult {
    let version = values.front().and_then(convert::number).filter(|_| values.len() == 1);
    match version {
        None => return refusal(lua, "ERR redis.setresp() requires one argument."),
        Some(2.0) => state.resp3.set(false),
        Some(3.0) => state.resp3.set(true),
        Some(_) => return refusal(lua, "ERR RESP version must be 2 or 3."),
    }
    true.into_lua_multi(lua)
}

/// Every effect of a script is recorded, whatever it asks for: nothing replicates yet that could be kept back.
fn set_repl(lua: &Lua, values: &MultiValue) -> NativeResult {
    match values.front().and_then(convert::number) {
        Some(0.0 | 1.0 | 2.0 | 3.0) => true.into_lua_multi(lua),
        Some(_) => {
            let text = "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
            refusal(lua, text)
        }
        None => refusal(lua, "ERR redis.set_repl() requires one argument."),
    }
}

/// `loadstring`: text only, in the environment of the script, which is the first argument.
fn compile(lua: &Lua, state: &Rc<State>, values: &MultiValue) -> NativeResult {
    stop_if_late(lua, state)?;
    let Some(Value::String(text)) = values.get(1) else {
        return (Value::Nil, "bad argument to 'loadstring' (string expected)").into_lua_multi(lua);
    };
    let name = match values.get(2) {
        Some(Value::String(name)) => name.to_string_lossy(),
        _ => text.to_string_lossy().replace('\0', " "),
    };
    let text = text.as_bytes().to_vec();
    let mut chunk = lua.load(text).set_name(name).set_mode(ChunkMode::Text);
    if let Some(Value::Table(environment)) = values.front() {
        chunk = chunk.set_environment(environment.clone());
    }
    match chunk.into_function() {
        Ok(function) => function.into_lua_multi(lua),
        Err(mlua::Error::SyntaxError { message, .. }) => (Value::Nil, message).into_lua_multi(lua),
        Err(error) => (Value::Nil, error.to_string()).into_lua_multi(lua),
    }
}
