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
    while edge::print_while_read(&format!("{clear}{}", look(&endpoint, flags.output).await?))? {
        bowline_rt::time::sleep(WATCH_PERIOD).await;
    }
    Ok(())
}

async fn look(endpoint: &Endpoint, output: Output) -> Result<String> {
    let response = endpoint.get("/v1/status").await.with_context(|| {
        format!("no status; is a gateway running, and is {} its admin address (--gateway)?", endpoint.url)
    })?;
    let text = String::from_utf8_lossy(response.body());
    if response.status() == StatusCode::UNAUTHORIZED {
        anyhow::bail!("{} needs a client token: give --token-file or BOWLINE_TOKEN", endpoint.url);
    }
    anyhow::ensure!(
        response.status().is_success(),
        "{} answered {}: {}",
        endpoint.url,
        response.status(),
        text.chars().take(SHOWN_CHARACTERS_MAX).collect::<String>().trim()
    );
    if output == Output::Json {
        return Ok(text.into_owned());
    }
    let status: Status = serde_json::from_str(&text)
        .with_context(|| format!("{} is not the admin address of a gateway", endpoint.url))?;
    Ok(table::show(&status, edge::stdout_is_terminal()))
}
