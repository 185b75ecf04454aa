//! The log: on standard error, for people or for programs, with the fields of the spans around each line.

use std::io::IsTerminal as _;

use bowline_node::config::server::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// Starts the log. Call it once.
pub fn start(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&config.level).map_err(|error| {
        let level = &config.level;
        Failure::Usage(format!(
            "`{level}` is not a log filter: {error}; write a level such as info, or info,bowline_tunnel=debug"
        ))
    })?;
    // A line that cannot be written is lost. To say so on standard error, as the library would, panics when that is what
    // is closed.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Human => builder.with_ansi(colours()).init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(true).init()
        }
    }
    Ok(())
}

/// Colours are for terminals whose owner did not refuse them (no-color.org).
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}
