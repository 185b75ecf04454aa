//! `bowline status`: what a gateway says of its zone.

mod table;

use anyhow::{Context as _, Result};
use bowline_node::status::Status;
use hyper::StatusCode;

use crate::cli::tools::{Output, StatusFlags};
use crate::client::Endpoint;
use crate::edge;
use crate::exit::Failure;
use crate::limits::{SHOWN_CHARACTERS_MAX, WATCH_PERIOD};

/// Clears the screen and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Runs the command.
pub async fn run(flags: &StatusFlags) -> Result<(), Failure> {
    let endpoint = Endpoint::new(&flags.gateway, &flags.client)?;
    if !flags.watch {
        return edge::print(&look(&endpoint, flags.output).await?);
    }
    let clear = if edge::stdout_is_terminal() && flags.output == Output::Table { CLEAR } else { "" };
    while show(clear, look(&endpoint, flags.output).await, flags.output)? {
        bowline_rt::time::sleep(WATCH_PERIOD).await;
    }
    Ok(())
}

/// Shows a look, or why there is none, and says whether there still is a reader. Programs read statuses only.
fn show(clear: &str, seen: Result<String>, output: Output) -> Result<bool, Failure> {
    match (seen, output) {
        (Ok(text), _) => edge::print_while_read(&format!("{clear}{text}")),
        (Err(error), Output::Table) => edge::print_while_read(&format!("{clear}{error:#}\n")),
        (Err(error), Output::Json) => {
            edge::say(&format!("bowline: {error:#}"));
            Ok(true)
        }
    }
}

async fn look(endpoint: &Endpoint, output: Output) -> Result<String> {
    let url = &endpoint.url;
    let response = endpoint.get("/v1/status").await.with_context(|| {
        format!("no status; is a gateway running, and is {url} its admin address (--gateway)?")
    })?;
    let text = String::from_utf8_lossy(response.body());
    if response.status() == StatusCode::UNAUTHORIZED {
        anyhow::bail!("{url} needs a client token: give --token-file or BOWLINE_TOKEN");
    }
    anyhow::ensure!(
        response.status().is_success(),
        "{url} answered {}: {}",
        response.status(),
        start_of(&text)
    );
    // A gateway of another version may say more than this one knows: programs get what it said.
    let status: Status = serde_json::from_str(&text).with_context(|| {
        format!("{url} is not the admin address of a gateway, it answered: {}", start_of(&text))
    })?;
    Ok(match output {
        Output::Json => text.into_owned(),
        Output::Table => table::show(&status, edge::stdout_is_terminal()),
    })
}

/// As much of an unexpected answer as people want to see.
fn start_of(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS_MAX).collect::<String>().trim().to_owned()
}
