//! The scripts that EVALSHA can run, by the digest of their text.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bowline_keyspace::CommandError;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua};

use crate::limits::{SCRIPT_BYTES_MAX, SCRIPTS_BYTES_MAX, SCRIPTS_EVALUATED_MAX, SCRIPTS_LOADED_MAX};

/// A compiled script.
#[derive(Debug)]
pub(super) struct Script {
    pub function: Function,
    pub digest: String,
    /// It declared `#!lua flags=no-writes`.
    pub read_only: bool,
    /// "1" if it has one line, which then is where every error is; else "0".
    pub only_line: &'static str,
    /// Length of its text.
    pub bytes: usize,
}

impl Script {
    pub fn compile(lua: &Lua, text: &[u8], digest: &str) -> Result<Rc<Self>, CommandError> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(CommandError::text("ERR the script is too long"));
        }
        let (read_only, body) = shebang(text)?;
        let compiled = lua.load(body).set_name("@user_script").set_mode(ChunkMode::Text).into_function();
        let function = compiled.map_err(|error| {
            let problem = match error {
                mlua::Error::SyntaxError { message, .. } => message,
                error => error.to_string(),
            };
            CommandError::Other(format!("ERR Error compiling script (new function): {problem}").into())
        })?;
        let only_line = if text.contains(&b'\n') { "0" } else { "1" };
        let digest = digest.to_owned();
        Ok(Rc::new(Self { function, digest, read_only, only_line, bytes: text.len() }))
    }
}

/// Reads `#!lua flags=a,b` in the first line; the answer is whether the script only reads, and the rest with the line
/// end, so that line numbers stay.
fn shebang(text: &[u8]) -> Result<(bool, &[u8]), CommandError> {
    if !text.starts_with(b"#!") {
        return Ok((false, text));
    }
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
    let mut read_only = false;
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else {
            return Err(CommandError::Other(format!("ERR Unknown lua shebang option: {word}").into()));
        };
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            match flag {
                "no-writes" => read_only = true,
                "allow-oom" | "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                flag => {
                    return Err(CommandError::Other(
                        format!("ERR Unexpected flag in script shebang: {flag}").into(),
                    ));
                }
            }
        }
    }
    Ok((read_only, &text[end..]))
}

#[derive(Debug)]
struct Kept {
    script: Rc<Script>,
    loaded: bool,
}

/// Scripts of SCRIPT LOAD stay until SCRIPT FLUSH; those that EVAL left go when newer ones come.
#[derive(Debug, Default)]
pub(super) struct Cache {
    scripts: BTreeMap<String, Kept>,
    loaded: usize,
    loaded_bytes: usize,
    /// Digests of what EVAL left, the oldest first.
    evaluated: VecDeque<String>,
    evaluated_bytes: usize,
}

impl Cache {
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

    /// Keeps a known script for good; false if it is not known yet, and there is room for `bytes` more.
    pub fn pin(&mut self, digest: &str, bytes: usize) -> Result<bool, CommandError> {
        let full = self.loaded >= SCRIPTS_LOADED_MAX || self.loaded_bytes + bytes > SCRIPTS_BYTES_MAX;
        match self.scripts.get_mut(digest) {
            Some(kept) if kept.loaded => Ok(true),
            _ if full => Err(CommandError::text("ERR too many scripts are loaded: use SCRIPT FLUSH")),
            None => Ok(false),
            Some(kept) => {
                kept.loaded = true;
                self.loaded += 1;
                self.loaded_bytes += bytes;
                self.evaluated_bytes -= bytes;
                self.evaluated.retain(|other| other != digest);
                Ok(true)
            }
        }
    }

    pub fn insert(&mut self, script: Rc<Script>, loaded: bool) {
        if loaded {
            self.loaded += 1;
            self.loaded_bytes += script.bytes;
        } else {
            self.evaluated_bytes += script.bytes;
            self.evaluated.push_back(script.digest.clone());
            // The newest stays in any case: it is about to run.
            while self.evaluated.len() > 1
                && (self.evaluated.len() > SCRIPTS_EVALUATED_MAX || self.evaluated_bytes > SCRIPTS_BYTES_MAX)
            {
                let oldest = self.evaluated.pop_front().and_then(|digest| self.scripts.remove(&digest));
                self.evaluated_bytes -= oldest.map_or(0, |kept| kept.script.bytes);
            }
        }
        self.scripts.insert(script.digest.clone(), Kept { script, loaded });
    }
}
