//! How a command ends: the exit statuses, and an error that knows its own.

use std::process::ExitCode;

use bowline_node::config::{ConfigError, Finding, Problem};

/// Something failed while running.
pub const FAILURE: u8 = 1;
/// The command line or a configuration is wrong. clap uses the same number.
pub const USAGE: u8 = 2;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The command line, a configuration or a file that one of them names is wrong.
    Usage(String),
    /// A signal cut what ran. Nothing is said: who sent it knows, and `ssh` ends its ProxyCommand so every time.
    Cut,
    /// The rest.
    Failed(anyhow::Error),
}

impl Failure {
    /// The exit status.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => USAGE,
            Self::Cut | Self::Failed(_) => FAILURE,
        })
    }
}

impl Failure {
    /// A problem with a value that no file has, only the command line or a variable.
    pub fn from_flag(problem: Problem) -> Self {
        ConfigError { findings: vec![Finding { place: None, problem }] }.into()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Cut => Ok(()),
            // With its causes, on one line.
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}
