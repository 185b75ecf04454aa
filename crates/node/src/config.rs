//! Configuration: TOML text and flags in, plain structs out, errors that say what, where and how to mend it.
//!
//! A role's struct is filled in one place, in layers: defaults, then a file ([`Loaded::parse`]), then what environment
//! and flags override ([`Loaded::set`]). It is still loose: whether it is *right* is decided when a plan is made of it
//! (`ServerPlan::new` and its siblings), which is also where the security rules live. A plan cannot be wrong.
//!
//! Every key of every struct stands in the printed default of its role (`default/*.toml`), which reads back to the
//! defaults; tests hold both. Nothing here reads files or the environment: the binary hands in the texts.

pub mod agent;
mod changes;
pub mod rules;
pub mod server;
pub mod sessions;
pub mod store;
mod suggest;
pub mod text;
pub mod tls;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use agent::AgentConfig;
pub use changes::changed_keys;
use server::LogConfig;
pub use server::ServerConfig;
pub use store::StoreConfig;

/// Reads a file that a configuration names. The binary gives the file system, tests give a table.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// The configuration of one role.
pub trait RoleConfig: Serialize + DeserializeOwned + Default {
    /// The documented default, which `bowline config print-default` prints.
    const DEFAULT_TEXT: &'static str;

    /// Makes relative paths relative to `directory`, in which the configuration file lies.
    fn resolve_paths(&mut self, directory: &Path);

    /// How the role logs.
    fn log(&self) -> &LogConfig;
}

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, as a dotted path (`http.listen`, `tcp[0].service`).
    pub key: String,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub advice: String,
}

impl Problem {
    /// A problem with `key`.
    pub fn new(key: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { key: key.into(), text: text.into(), advice: advice.into() }
    }
}

/// A problem and where the value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `file:line`, a flag, or nothing for a default.
    pub place: Option<String>,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.problem.key.is_empty() {
            write!(f, "{}: ", self.problem.key)?;
        }
        f.write_str(&self.problem.text)?;
        if !self.problem.advice.is_empty() {
            write!(f, "; {}", self.problem.advice)?;
        }
        Ok(())
    }
}

/// A configuration that cannot be used: everything that was found, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What was found; never empty.
    pub findings: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A configuration together with where its values came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The values.
    pub config: T,
    source: Option<text::Source>,
    overridden: BTreeMap<&'static str, String>,
}

impl<T: RoleConfig> Loaded<T> {
    /// The defaults, for a role that runs without a file.
    #[must_use]
    pub fn defaults() -> Self {
        Self { config: T::default(), source: None, overridden: BTreeMap::new() }
    }

    /// Reads the text of the file called `name`.
    ///
    /// # Errors
    /// A syntax error, an unknown key (with a suggestion), or a value of the wrong type or form, with `file:line`.
    pub fn parse(name: &Path, content: &str) -> Result<Self, ConfigError> {
        let source = text::Source::new(name.display().to_string(), content.to_owned());
        let mut config: T = source.parse()?;
        if let Some(directory) = name.parent() {
            config.resolve_paths(directory);
        }
        Ok(Self { config, source: Some(source), overridden: BTreeMap::new() })
    }

    /// Puts `value`, if there is one, over the value of `key`; `origin` names the flag or variable that it came from.
    pub fn set<V>(
        &mut self,
        key: &'static str,
        origin: &str,
        value: Option<V>,
        slot: impl FnOnce(&mut T) -> &mut V,
    ) {
        if let Some(value) = value {
            *slot(&mut self.config) = value;
            self.overridden.insert(key, origin.to_owned());
        }
    }

    /// Says of each problem where the value came from.
    ///
    /// # Panics
    /// Without a problem there is no error to make.
    #[must_use]
    pub fn locate(&self, problems: Vec<Problem>) -> ConfigError {
        assert!(!problems.is_empty(), "an error has a cause");
        let findings =
            problems.into_iter().map(|problem| Finding { place: self.place(&problem.key), problem });
        ConfigError { findings: findings.collect() }
    }

    /// A flag may have set the key or a list around it (`--join` for `join[0]`).
    fn place(&self, key: &str) -> Option<String> {
        let list = key.split('[').next().unwrap_or(key);
        if let Some(origin) = self.overridden.get(key).or_else(|| self.overridden.get(list)) {
            return Some(origin.clone());
        }
        self.source.as_ref().map(|source| source.place_of(key))
    }
}

#[cfg(test)]
#[path = "config/default_tests.rs"]
mod tests;
