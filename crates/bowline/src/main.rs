//! The `bowline` program: command line, files and signals on one side, [`bowline_node`] on the other.
//!
//! Standard output carries results, standard error the log and messages. Exit statuses: 0 success, 1 failure, 2 wrong
//! usage or configuration.

mod cli;
mod client;
mod config_command;
mod edge;
mod exit;
mod forward;
mod limits;
mod log;
mod pki;
mod roles;
mod sign;
mod signal;
mod status;
mod stdio;

use std::process::ExitCode;

use anyhow::Context as _;
use bowline_node::config::server::{LogConfig, LogFormat};
use clap::{CommandFactory as _, FromArgMatches as _};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, LogFlags, Origins};
use crate::exit::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Log level of commands that are not roles: what goes wrong, and nothing else.
const TOOL_LOG_LEVEL: &str = "warn";

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let origins = Origins::new(&Cli::command(), &matches);
    match run(cli, &origins) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                edge::say(&format!("bowline: {line}"));
            }
            failure.code()
        }
    }
}

fn run(cli: Cli, origins: &Origins) -> Result<(), Failure> {
    match cli.command {
        Command::Dev(flags) => {
            log::start(&log_config(&cli.log, "warn")).map_err(Failure::from_flag)?;
            block_on(roles::dev(&flags))
        }
        Command::Server(flags) => block_on(roles::server(&flags, &cli.log, origins)),
        Command::Agent(flags) => block_on(roles::agent(&flags, &cli.log, origins)),
        Command::Store(flags) => block_on(roles::store(&flags, &cli.log, origins)),
        Command::Forward(flags) => {
            log::start(&log_config(&cli.log, TOOL_LOG_LEVEL)).map_err(Failure::from_flag)?;
            block_on(async {
                let shutdown = CancellationToken::new();
                let signals = signal::Signals::take()?;
                bowline_rt::task::spawn("signals", signals.watch_to_stop(shutdown.clone()));
                forward::run(&flags, shutdown).await
            })
        }
        Command::Status(flags) => {
            log::start(&log_config(&cli.log, TOOL_LOG_LEVEL)).map_err(Failure::from_flag)?;
            block_on(status::run(&flags))
        }
        Command::Config(flags) => {
            // Reading certificates warns of those that expire.
            log::start(&log_config(&cli.log, TOOL_LOG_LEVEL)).map_err(Failure::from_flag)?;
            config_command::run(&flags.command)
        }
        Command::Ca(flags) => edge::print(&pki::authority(flags.command)?),
        Command::Token(flags) => match flags.command {
            cli::tools::TokenCommand::New(flags) => edge::print(&pki::new_token(&flags)?),
        },
        Command::Sign(flags) => edge::print(&sign::run(&flags)?),
        Command::SignKey(flags) => match flags.command {
            cli::signing::SignKeyCommand::New(flags) => edge::print(&pki::new_signing_key(&flags)?),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bowline", &mut script);
            edge::print(&String::from_utf8_lossy(&script))
        }
        Command::Version => edge::print(concat!("bowline ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

fn log_config(flags: &LogFlags, level: &str) -> LogConfig {
    LogConfig {
        level: flags.log_level.clone().unwrap_or_else(|| level.to_owned()),
        format: match flags.log_format {
            Some(cli::LogFormat::Json) => LogFormat::Json,
            _ => LogFormat::Human,
        },
    }
}

fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(command);
    // A task that will not end (a blocked name look-up, standard input) must not keep the process.
    runtime.shutdown_background();
    result
}
