//! The scripts that EVALSHA can run, by the digest of their text.
//!
//! Their functions stand in one Lua table, each in a slot of its own: the interpreter's binding has 8,000 places for
//! what Rust refers to, which thousands of scripts would take from the one that runs.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bowline_keyspace::CommandError;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Table, Value};

use crate::limits::{SCRIPT_BYTES_MAX, SCRIPTS_CODE_BYTES_MAX, SCRIPTS_EVALUATED_MAX, SCRIPTS_LOADED_MAX};

/// What is known of a script, besides its function.
#[derive(Debug)]
pub(super) struct Script {
    pub digest: String,
    pub promises: Promises,
    /// "1" if it has one line, which then is where every error is; else "0".
    pub only_line: &'static str,
    /// Memory of the interpreter that compiling it took.
    bytes: usize,
    /// Where its function stands.
    pub slot: usize,
}

/// What a script declared in a first line `#!lua flags=…`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Promises {
    /// There was such a line.
    pub declared: bool,
    /// `no-writes`.
    pub read_only: bool,
    /// `allow-oom`.
    pub when_full: bool,
}

/// A script that was compiled and is not kept yet.
#[derive(Debug)]
pub(super) struct Compiled {
    function: Function,
    script: Script,
}

/// Why a text is no script.
pub(super) enum CompileError {
    /// The interpreter has no memory for it at the moment.
    Memory,
    Refused(CommandError),
}

impl From<CommandError> for CompileError {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}

impl Compiled {
    pub fn new(lua: &Lua, text: &[u8], digest: &str) -> Result<Self, CompileError> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(CommandError::text("ERR the script is too long").into());
        }
        let (promises, body) = shebang(text)?;
        // What the collector frees meanwhile would be taken off what the script costs.
        lua.gc_stop();
        let before = lua.used_memory();
        let compiled = lua.load(body).set_name("@user_script").set_mode(ChunkMode::Text).into_function();
        let bytes = lua.used_memory().saturating_sub(before);
        lua.gc_restart();
        let function = compiled.map_err(|error| {
            let problem = match error {
                mlua::Error::MemoryError(_) => return CompileError::Memory,
                mlua::Error::SyntaxError { message, .. } => message,
                error => error.to_string(),
            };
            let text = format!("ERR Error compiling script (new function): {problem}");
            CompileError::Refused(CommandError::Other(text.into()))
        })?;
        let only_line = if text.contains(&b'\n') { "0" } else { "1" };
        let digest = digest.to_owned();
        Ok(Self { function, script: Script { digest, promises, only_line, bytes, slot: 0 } })
    }
}

/// Reads `#!lua flags=a,b` in the first line; the answer is what it says, and the rest with the line end, so that line
/// numbers stay.
fn shebang(text: &[u8]) -> Result<(Promises, &[u8]), CommandError> {
    let mut promises = Promises::default();
    if !text.starts_with(b"#!") {
        return Ok((promises, text));
    }
    promises.declared = true;
    let end = text
        .iter()
        .position(|&byte| byte == b'\n')
        .ok_or(CommandError::text("ERR Invalid script shebang"))?;
    let line = String::from_utf8_lossy(&text[2..end]);
    let mut words = line.split_whitespace();
    let engine = words.next().unwrap_or_default();
    if engine != "lua" {
        return Err(CommandError::Other(
            format!("ERR Unexpected engine in script shebang: #!{engine}").into(),
        ));
    }
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else {
            return Err(CommandError::Other(format!("ERR Unknown lua shebang option: {word}").into()));
        };
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            match flag {
                "no-writes" => promises.read_only = true,
                "allow-oom" => promises.when_full = true,
                "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                flag => {
                    return Err(CommandError::Other(
                        format!("ERR Unexpected flag in script shebang: {flag}").into(),
                    ));
                }
            }
        }
    }
    Ok((promises, &text[end..]))
}

#[derive(Debug)]
struct Kept {
    script: Rc<Script>,
    loaded: bool,
}

/// Scripts of SCRIPT LOAD stay until SCRIPT FLUSH; those that EVAL left go when newer ones come, or when there is too much
/// code in all.
#[derive(Debug)]
pub(super) struct Cache {
    scripts: BTreeMap<String, Kept>,
    /// Slot → function.
    functions: Table,
    free_slots: Vec<usize>,
    loaded: usize,
    loaded_bytes: usize,
    /// Digests of what EVAL left, the oldest first.
    evaluated: VecDeque<String>,
    evaluated_bytes: usize,
}

impl Cache {
    /// An empty cache, whose scripts' functions will stand in `functions`.
    pub fn new(functions: Table) -> Self {
        Self {
            scripts: BTreeMap::new(),
            functions,
            free_slots: Vec::new(),
            loaded: 0,
            loaded_bytes: 0,
            evaluated: VecDeque::new(),
            evaluated_bytes: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    pub fn find(&self, digest: &[u8]) -> Option<Rc<Script>> {
        let digest = std::str::from_utf8(digest).ok()?;
        let kept = match digest.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.scripts.get(&digest.to_ascii_lowercase()),
            false => self.scripts.get(digest),
        };
        kept.map(|kept| kept.script.clone())
    }

    /// Whether one more script of this size may be kept for good.
    fn room(&self, bytes: usize) -> Result<(), CommandError> {
        let full = self.loaded >= SCRIPTS_LOADED_MAX || self.loaded_bytes + bytes > SCRIPTS_CODE_BYTES_MAX;
        if full {
            Err(CommandError::text("ERR too many scripts are loaded: use SCRIPT FLUSH"))
        } else {
            Ok(())
        }
    }

    /// Keeps a known script for good; false if it is not known yet, and there is room for one.
    pub fn pin(&mut self, digest: &str) -> Result<bool, CommandError> {
        let known = self.scripts.get(digest).map(|kept| (kept.loaded, kept.script.bytes));
        match known {
            Some((true, _)) => return Ok(true),
            None => return self.room(0).map(|()| false),
            Some((false, bytes)) => {
                self.room(bytes)?;
                self.loaded += 1;
                self.loaded_bytes += bytes;
                self.evaluated_bytes -= bytes;
                self.evaluated.retain(|other| other != digest);
            }
        }
        if let Some(kept) = self.scripts.get_mut(digest) {
            kept.loaded = true;
        }
        Ok(true)
    }

    /// Adds a script that is not known yet.
    pub fn insert(&mut self, compiled: Compiled, loaded: bool) -> Result<Rc<Script>, CommandError> {
        let Compiled { function, mut script } = compiled;
        if loaded {
            self.room(script.bytes)?;
        }
        // Slots count from 1, and those that were given back come again: the table stays a list.
        script.slot = self.free_slots.pop().unwrap_or(self.scripts.len() + 1);
        if let Err(error) = self.functions.raw_set(script.slot, function) {
            self.free_slots.push(script.slot);
            return Err(CommandError::Other(format!("ERR the script cannot be kept: {error}").into()));
        }
        if loaded {
            self.loaded += 1;
            self.loaded_bytes += script.bytes;
        } else {
            self.evaluated_bytes += script.bytes;
            self.evaluated.push_back(script.digest.clone());
        }
        let script = Rc::new(script);
        self.scripts.insert(script.digest.clone(), Kept { script: script.clone(), loaded });
        Ok(script)
    }

    /// Forgets what EVAL left beyond what may stay, the oldest first.
    pub fn shed(&mut self) {
        while self.evaluated.len() > SCRIPTS_EVALUATED_MAX
            || (self.loaded_bytes + self.evaluated_bytes > SCRIPTS_CODE_BYTES_MAX
                && !self.evaluated.is_empty())
        {
            self.forget_oldest();
        }
    }

    /// Forgets all that EVAL left.
    pub fn forget_evaluated(&mut self) {
        while !self.evaluated.is_empty() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.evaluated.pop_front().and_then(|digest| self.scripts.remove(&digest));
        if let Some(Kept { script, .. }) = oldest {
            self.evaluated_bytes -= script.bytes;
            // A place that is there is emptied: that needs no memory, so it cannot fail.
            let _ = self.functions.raw_set(script.slot, Value::Nil);
            self.free_slots.push(script.slot);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // As above; whatever would stay would only stay in memory.
        let _ = self.functions.clear();
        *self = Self::new(self.functions.clone());
    }
}
