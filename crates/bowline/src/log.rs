//! The log: on standard error, for people or for programs, with the fields of the spans around each line.

use std::io::IsTerminal as _;

use bowline_node::config::Problem;
use bowline_node::config::server::{LogConfig, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Starts the log. Call it once.
///
/// # Errors
/// As [`filter`].
pub fn start(config: &LogConfig) -> Result<(), Problem> {
    let filter = filter(&config.level)?;
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

/// Reads a level or a filter.
///
/// # Errors
/// A problem with `log.level`.
pub fn filter(level: &str) -> Result<EnvFilter, Problem> {
    const ADVICE: &str =
        "write a level (error, warn, info, debug, trace), or a filter such as info,bowline_tunnel=debug";
    let problem = |text: String| Problem::new("log.level", text, ADVICE);
    if let Some(word) = misspelt(level) {
        return Err(problem(format!("`{level}` is not a log filter: `{word}` is not a level")));
    }
    EnvFilter::builder()
        .parse(level)
        .map_err(|error| problem(format!("`{level}` is not a log filter: {error}")))
}

/// A word that stands alone and is no level. The library would take it for the name of a module, and let nothing else
/// through: whoever writes `inof` would get no log at all.
fn misspelt(level: &str) -> Option<&str> {
    let stands_alone = |part: &&str| !part.is_empty() && !part.contains(['=', '[', ']', ':']);
    level.split(',').filter(stands_alone).find(|word| word.parse::<LevelFilter>().is_err())
}

/// Colours are for terminals whose owner did not refuse them (no-color.org).
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_level_or_a_filter() {
        let check = |level: &str, fits: bool| assert_eq!(filter(level).is_ok(), fits, "{level}");
        for level in [
            "info",
            "WARN",
            "off",
            "info,bowline_tunnel=debug",
            "info,hyper=off",
            "bowline_tunnel::hop=trace",
        ] {
            check(level, true);
        }
        for level in ["bowline_entry::http", "[request{id=a}]=debug", "info,[request]"] {
            check(level, true);
        }
        for level in [
            "inof",
            "verbose",
            "info,debg",
            "info,bowline_tunnel=loud",
            "no=such=level",
            "inof,bowline=debug",
            "info, hyper=off",
        ] {
            check(level, false);
        }
    }
}
