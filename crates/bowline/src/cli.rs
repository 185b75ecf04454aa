//! The command line: what can be said, and its help.
//!
//! Every flag of a role has a `BOWLINE_*` variable; flags win over variables, variables over the file, the file over
//! the defaults. clap does the first half; [`roles`] lays the result over the file.

pub mod roles;
pub mod signing;
pub mod tools;

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum};

/// What stands below the list of commands.
const AFTER_HELP: &str = "\
Examples:
  bowline dev
  bowline server --name gw-1 --store redis://127.0.0.1:7120
  bowline agent --name edge-1 --join 127.0.0.1:7100 --service web=127.0.0.1:8080
  curl -H 'Host: web.svc.bowline' http://127.0.0.1:7080/

Exit status: 0 success, 1 failure, 2 wrong usage or configuration.
Logs go to standard error; NO_COLOR turns colours off.";

/// Services behind NAT dial out; any gateway reaches any of them.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, about, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogFlags,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// Level or filter of the log: error, warn, info, debug, trace, or such as `info,bowline_tunnel=debug`
    #[arg(long, global = true, env = "BOWLINE_LOG", value_name = "FILTER", help_heading = "Logging")]
    pub log_level: Option<String>,
    /// Form of the log
    #[arg(long, global = true, env = "BOWLINE_LOG_FORMAT", value_enum, help_heading = "Logging")]
    pub log_format: Option<LogFormat>,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text, coloured on a terminal
    Human,
    /// One JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process on loopback, with a demo service (for development only)
    Dev(roles::DevFlags),
    /// Run a gateway
    Server(Box<roles::ServerFlags>),
    /// Run an agent next to services
    Agent(Box<roles::AgentFlags>),
    /// Run a store, which speaks the Redis protocol
    Store(Box<roles::StoreFlags>),
    /// Listen locally and forward raw TCP to a service
    Forward(tools::ForwardFlags),
    /// Show gateways, agents and services
    Status(tools::StatusFlags),
    /// Print the documented default configuration, or check a file
    Config(tools::ConfigFlags),
    /// Create a certificate authority and issue certificates
    Ca(tools::CaFlags),
    /// Create tokens for agents and clients
    Token(tools::TokenFlags),
    /// Sign an HTTP request, for curl
    Sign(signing::SignFlags),
    /// Create keys that sign requests
    SignKey(signing::SignKeyFlags),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  bowline completions bash > /etc/bash_completion.d/bowline")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    #[command(after_help = "Example:\n  bowline version")]
    Version,
}

/// Where values came from that are not from the command line itself: by flag, the environment variable.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<String, String>);

impl Origins {
    /// The origins of the arguments of the subcommand in `matches`.
    pub fn new(command: &clap::Command, matches: &ArgMatches) -> Self {
        let Some((name, values)) = matches.subcommand() else { return Self::default() };
        let arguments = command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
        let from_variable = |argument: &&clap::Arg| {
            values.try_contains_id(argument.get_id().as_str()).is_ok()
                && values.value_source(argument.get_id().as_str()) == Some(ValueSource::EnvVariable)
        };
        let named = |argument: &clap::Arg| {
            let variable = argument.get_env()?.to_string_lossy().into_owned();
            Some((format!("--{}", argument.get_long()?), variable))
        };
        Self(arguments.filter(from_variable).filter_map(named).collect())
    }

    /// The variable that stood in for `flag`, or the flag.
    pub fn of<'a>(&'a self, flag: &'a str) -> &'a str {
        self.0.get(flag).map_or(flag, String::as_str)
    }
}

/// A `NAME=HOST:PORT` or `ADDRESS=NAME` argument, split at its first or last `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub left: String,
    pub right: String,
}

impl std::str::FromStr for Pair {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() => {
                Ok(Self { left: left.to_owned(), right: right.to_owned() })
            }
            _ => Err(format!("`{text}` has no `=` between two parts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command shows an example.
    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Example") && after.contains("bowline "), "{path} has no example");
            command.get_subcommands().for_each(|inner| check(inner, &path));
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn command_lines_are_understood_or_refused() {
        let check = |line: &str, fits: bool| {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert_eq!(parsed.is_ok(), fits, "{line}: {:?}", parsed.err().map(|error| error.to_string()));
        };
        check("bowline dev", true);
        check("bowline dev --port-base 9000", true);
        check("bowline server --http-listen 127.0.0.1:80 --tcp 127.0.0.1:22=ssh --insecure-plaintext", true);
        check("bowline server --http-listen 80", false);
        check("bowline server --tcp 127.0.0.1:22=ssh.edge-1 --registry-ttl 10s --drain-delay 5s", true);
        check("bowline server --tcp 127.0.0.1:22", false);
        check("bowline server --tcp 127.0.0.1:22=ssh.a.b", false);
        check("bowline server --name GW", false);
        check("bowline server --drain-grace 5", false);
        check("bowline agent --name a --join a:1 --join b:2 --service web=127.0.0.1:80", true);
        check("bowline agent --name a --join a:1,b:2", true);
        check("bowline agent --admin-listen 127.0.0.1:7095", true);
        check("bowline agent --service web", false);
        check("bowline store --listen 127.0.0.1:6379 --log-format json", true);
        check("bowline forward ssh --listen 127.0.0.1:2222", true);
        check("bowline forward ssh --agent edge-1 --stdio", true);
        check("bowline forward ssh --gateway http://gw --insecure-plaintext --stdio", true);
        check("bowline forward", false);
        check("bowline status --output json", true);
        check("bowline status --output xml", false);
        check("bowline config print-default agent", true);
        check("bowline config check gw.toml", true);
        check("bowline config check --role agent edge.toml", true);
        check("bowline ca issue gateway gw-1 --san a.example.com --days 30", true);
        check("bowline ca issue gateway gw-1 --renew", true);
        check("bowline ca issue store s-1", false);
        check("bowline token new --agent edge-1", true);
        check("bowline token new", false);
        check("bowline token new --agent a --client b", false);
        check("bowline sign --key a.key http://127.0.0.1/a", true);
        check("bowline sign --key a.key -X PUT --data {} -H a:b -H c:d http://127.0.0.1/a", true);
        check("bowline sign --key a.key --data-file - --valid-for 5m --output json http://127.0.0.1/a", true);
        check("bowline sign --key a.key --data a --data-file b http://127.0.0.1/a", false);
        check("bowline sign --key a.key", false);
        check("bowline sign http://127.0.0.1/a", false);
        check("bowline sign-key new --id a --namespace b --algorithm hmac-sha256", true);
        check("bowline sign-key new --id a", false);
        check("bowline sign-key new --id a --namespace {b}", false);
        check("bowline sign-key new --id a --namespace b --algorithm rsa", false);
        check("bowline completions zsh", true);
        check("bowline version", true);
        check("bowline", false);
    }
}
