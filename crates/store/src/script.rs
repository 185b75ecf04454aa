//! Scripts: Lua 5.1 in a sandbox.
//!
//! A script runs to its end before anything else happens in the store: it is atomic, and time stands still in it. It
//! cannot hang the store: a hook stops it when its time is over, whatever it catches. A script that is stopped, or fails,
//! keeps what it wrote until then; its effects replicate as one unit. Redis instead refuses to stop a script that has
//! written, and stays busy.
//!
//! The hook counts instructions and cannot interrupt C code, so what takes long in C looks at the clock itself
//! ([`stop_if_late`]) or is replaced: commands, compiling, JSON, moving in a long table, sorting. What is left between two
//! looks are a few operations on strings of many megabytes.
//!
//! What a script can reach is the list in `sandbox.lua`: no files, no process, no byte code, no other script's
//! globals. Matching patterns counts its steps ([`pattern`]), because the hook cannot interrupt C code.
//!
//! Memory: one limit for the interpreter, scripts that are kept included.

mod cache;
mod call;
mod convert;
mod json;
mod location;
mod pattern;
mod strings;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bowline_keyspace::random::Random;
use bowline_keyspace::{CommandError, Keyspace, Reply};
use bytes::Bytes;
use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Value, VmState};

use crate::commands::CommandTable;
use crate::limits::{
    PATTERN_STEPS_MAX, SCRIPT_HOOK_INSTRUCTIONS, SCRIPT_INSTRUCTIONS_MAX, SCRIPT_MEMORY_BYTES_MAX,
    SCRIPT_MEMORY_GROWTH_BYTES,
};
use crate::server::Server;
use cache::{Cache, CompileError, Compiled, Promises, Script};

/// Where a script comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Its text (EVAL).
    Text(&'a [u8]),
    /// The SHA-1 of its text (EVALSHA).
    Digest(&'a [u8]),
}

/// One run of a script.
#[derive(Debug)]
pub(crate) struct Invocation<'a> {
    pub source: Source<'a>,
    pub keys: &'a [Bytes],
    pub values: &'a [Bytes],
    pub database: usize,
    pub read_only: bool,
    /// Memory is full.
    pub full: bool,
    /// The script is stopped `time_limit` after this.
    pub started: Instant,
    pub time_limit: Duration,
}

/// What the functions of the running script share.
pub(crate) struct State {
    keyspace: Rc<RefCell<Keyspace>>,
    commands: Rc<CommandTable>,
    /// What runs INFO and its like; nothing in tests of scripts alone.
    server: RefCell<Weak<Server>>,
    database: Cell<usize>,
    /// Time since 1970 at the start of the script.
    now: Cell<Duration>,
    read_only: Cell<bool>,
    /// Memory was full when the script began, and the script did not say that this is fine.
    refuses_growth: Cell<bool>,
    /// The script has run a command that writes.
    wrote: Cell<bool>,
    resp3: Cell<bool>,
    deadline: Cell<Option<Instant>>,
    instructions_left: Cell<u64>,
    stopped: Cell<bool>,
    pattern_steps_max: Cell<u64>,
    pattern_steps_left: Cell<u64>,
    random: RefCell<Random>,
    /// Instructions between two runs of the hook as it is set now.
    hook_instructions: Cell<u32>,
}

impl State {
    fn begin(&self, invocation: &Invocation<'_>, promises: Promises) {
        self.database.set(invocation.database);
        self.now.set(bowline_rt::time::unix_time());
        self.read_only.set(invocation.read_only || promises.read_only);
        self.refuses_growth.set(invocation.full && !promises.when_full);
        self.wrote.set(false);
        self.resp3.set(false);
        self.deadline.set(Some(invocation.started + invocation.time_limit));
        self.instructions_left.set(SCRIPT_INSTRUCTIONS_MAX);
        self.stopped.set(false);
        self.pattern_steps_left.set(self.pattern_steps_max.get());
    }
}

/// The interpreter with the scripts that it knows.
pub(crate) struct Scripts {
    lua: Lua,
    state: Rc<State>,
    /// Runs a script in a fresh environment; see `sandbox.lua`.
    runner: Function,
    cache: RefCell<Cache>,
    /// Memory of the interpreter after garbage was collected last.
    collected_bytes: Cell<usize>,
}

impl Scripts {
    pub fn new(keyspace: Rc<RefCell<Keyspace>>, commands: Rc<CommandTable>) -> mlua::Result<Self> {
        let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::new())?;
        let state = Rc::new(State {
            keyspace,
            commands,
            server: RefCell::default(),
            database: Cell::new(0),
            now: Cell::default(),
            read_only: Cell::new(false),
            refuses_growth: Cell::new(false),
            wrote: Cell::new(false),
            resp3: Cell::new(false),
            deadline: Cell::new(None),
            instructions_left: Cell::new(0),
            stopped: Cell::new(false),
            pattern_steps_max: Cell::new(PATTERN_STEPS_MAX),
            pattern_steps_left: Cell::new(0),
            // One sequence for all scripts, as in Redis: each run goes on where the last one ended.
            random: RefCell::new(Random::new(bowline_rt::random::bits64())),
            hook_instructions: Cell::new(0),
        });
        let native = lua.create_table()?;
        strings::register(&lua, &native, &state)?;
        call::register(&lua, &native, &state)?;
        json::register(&lua, &native, &state)?;
        let shared = state.clone();
        native.set("tick", lua.create_function(move |lua, ()| stop_if_late(lua, &shared))?)?;
        let known = lua.create_table()?;
        native.set("known", &known)?;
        let sandbox: Function =
            lua.load(include_str!("script/sandbox.lua")).set_name("=sandbox").call(native)?;
        lua.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX)?;
        let cache = RefCell::new(Cache::new(known));
        Ok(Self { runner: sandbox, lua, state, cache, collected_bytes: Cell::new(0) })
    }

    /// Tells scripts whom to ask about the server.
    pub fn attach(&self, server: Weak<Server>) {
        *self.state.server.borrow_mut() = server;
    }

    /// Memory of the interpreter.
    pub fn memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Scripts that EVALSHA can run.
    pub fn count(&self) -> usize {
        self.cache.borrow().len()
    }

    /// SCRIPT EXISTS.
    pub fn exists(&self, digest: &[u8]) -> bool {
        self.cache.borrow().find(digest).is_some()
    }

    /// SCRIPT LOAD: keeps a script until SCRIPT FLUSH; the answer is its digest.
    pub fn load(&self, text: &[u8]) -> Result<String, CommandError> {
        let digest = sha1(text);
        if !self.cache.borrow_mut().pin(&digest)? {
            let compiled = self.compile(text, &digest)?;
            let kept = self.cache.borrow_mut().insert(compiled, true);
            self.cache.borrow_mut().shed();
            self.tidy_if_grown();
            kept?;
        }
        Ok(digest)
    }

    /// SCRIPT FLUSH.
    pub fn flush(&self) {
        self.cache.borrow_mut().clear();
        self.tidy();
    }

    fn resolve(&self, source: Source<'_>) -> Result<Rc<Script>, CommandError> {
        let text = match source {
            Source::Digest(digest) => {
                let text = "NOSCRIPT No matching script. Please use EVAL.";
                return self.cache.borrow().find(digest).ok_or(CommandError::text(text));
            }
            Source::Text(text) => text,
        };
        let digest = sha1(text);
        if let Some(script) = self.cache.borrow().find(digest.as_bytes()) {
            return Ok(script);
        }
        let compiled = self.compile(text, &digest)?;
        self.cache.borrow_mut().insert(compiled, false)
    }

    /// Compiles a script; if memory does not suffice, once more without what could be spared.
    fn compile(&self, text: &[u8], digest: &str) -> Result<Compiled, CommandError> {
        let first = Compiled::new(&self.lua, text, digest);
        let outcome = if matches!(first, Err(CompileError::Memory)) {
            self.cache.borrow_mut().forget_evaluated();
            self.tidy();
            Compiled::new(&self.lua, text, digest)
        } else {
            first
        };
        outcome.map_err(|error| match error {
            // It may quote the script.
            CompileError::Refused(error) => location::shortened(&error),
            CompileError::Memory => {
                CommandError::text("ERR Error compiling script (new function): not enough memory")
            }
        })
    }

    /// Runs a script and writes its reply.
    ///
    /// # Errors
    /// What the client is to be told if the script fails.
    pub fn run(&self, invocation: &Invocation<'_>, output: &mut dyn Reply) -> Result<(), CommandError> {
        let script = self.resolve(invocation.source)?;
        let promises = script.promises;
        if invocation.full && promises.declared && !promises.when_full && !promises.read_only {
            let text =
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";
            return Err(CommandError::text(text));
        }
        self.state.begin(invocation, promises);
        let outcome = self.execute(&script, invocation, output);
        self.cache.borrow_mut().shed();
        self.tidy_if_grown();
        outcome
    }

    fn execute(
        &self,
        script: &Script,
        invocation: &Invocation<'_>,
        output: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let started = self.start(script, invocation);
        if self.state.stopped.get() {
            let limit_ms = invocation.time_limit.as_millis();
            tracing::warn!(script = script.digest, limit_ms, "a script ran too long and was stopped");
            let text = format!(
                "ERR the script ran longer than {limit_ms} ms and was stopped; what it wrote before stays script: {}",
                script.digest
            );
            return Err(CommandError::Other(text.into()));
        }
        let (finished, value) = started.map_err(|error| interpreter_error(&error, &script.digest))?;
        if finished {
            // Writing gets as much time again.
            let deadline = bowline_rt::time::now() + invocation.time_limit;
            return convert::write_reply(&value, self.state.resp3.get(), deadline, output);
        }
        Err(location::describe_error(&value, &script.digest, script.only_line))
    }

    /// Runs the script; the answer is whether it finished, and its result or its error.
    fn start(&self, script: &Script, invocation: &Invocation<'_>) -> mlua::Result<(bool, Value)> {
        let list = |items: &[Bytes]| {
            let table = self.lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(self.lua.create_string(item)?)?;
            }
            Ok::<_, mlua::Error>(table)
        };
        let (keys, values) = (list(invocation.keys)?, list(invocation.values)?);
        if self.state.hook_instructions.get() != SCRIPT_HOOK_INSTRUCTIONS {
            set_hook(&self.lua, self.state.clone(), SCRIPT_HOOK_INSTRUCTIONS)?;
        }
        self.runner.call((script.slot, keys, values))
    }

    /// Collects garbage once the interpreter has grown much since the last time, whatever it holds: a fixed bound would
    /// make every script pay once that much is kept.
    fn tidy_if_grown(&self) {
        let grown = self.lua.used_memory().saturating_sub(self.collected_bytes.get());
        if grown > SCRIPT_MEMORY_GROWTH_BYTES {
            self.tidy();
        }
    }

    fn tidy(&self) {
        // A failing finaliser cannot be: scripts cannot make any (there is no newproxy).
        let _ = self.lua.gc_collect();
        self.collected_bytes.set(self.lua.used_memory());
    }
}

/// Lets the hook run each so many instructions.
fn set_hook(lua: &Lua, state: Rc<State>, instructions: u32) -> mlua::Result<()> {
    state.hook_instructions.set(instructions);
    let triggers = HookTriggers::new().every_nth_instruction(instructions);
    lua.set_global_hook(triggers, move |lua, _| {
        let left = state.instructions_left.get().saturating_sub(u64::from(instructions));
        state.instructions_left.set(left);
        stop_if_late(lua, &state)?;
        Ok(VmState::Continue)
    })
}

/// Stops the script when its time, or what it may do in all, is spent: from then on every single instruction fails, which
/// no pcall can outlive.
fn stop_if_late(lua: &Lua, state: &Rc<State>) -> mlua::Result<()> {
    if !state.stopped.get() {
        let late = state.deadline.get().is_some_and(|deadline| bowline_rt::time::now() >= deadline);
        if state.instructions_left.get() > 0 && !late {
            return Ok(());
        }
        state.stopped.set(true);
    }
    if state.hook_instructions.get() > 1 {
        set_hook(lua, state.clone(), 1)?;
    }
    Err(mlua::Error::runtime("the script ran too long"))
}

/// The interpreter itself failed: it is out of memory, or a value cannot be passed.
fn interpreter_error(error: &mlua::Error, digest: &str) -> CommandError {
    location::sentence(&[b"ERR ", error.to_string().as_bytes()], digest, "0")
}

/// SHA-1 in hexadecimal, as EVALSHA names scripts.
fn sha1(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    digest.as_ref().iter().fold(String::with_capacity(40), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// What a native function answers to `sandbox.lua`: whether it worked, and the results or the error.
type NativeResult = mlua::Result<MultiValue>;

#[cfg(test)]
mod tests;
