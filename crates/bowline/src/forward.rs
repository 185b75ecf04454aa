//! `bowline forward`: a local port, or standard input and output, that leads to a service through a gateway.
//!
//! What a connection does is [`bowline_node::forward`]'s business; here are flags, messages and the standard streams.

use anyhow::{Context as _, Result};
use bowline_node::config::value::is_loopback;
use bowline_node::forward::{Destination, Settings, connect, serve};
use bowline_rt::net::Listener;
use tokio_util::sync::CancellationToken;

use crate::cli::tools::ForwardFlags;
use crate::client::Endpoint;
use crate::edge;
use crate::exit::Failure;
use crate::stdio::{self, Output};

/// Runs the command until `shutdown`.
pub async fn run(flags: &ForwardFlags, shutdown: CancellationToken) -> Result<(), Failure> {
    let endpoint = Endpoint::new(&flags.gateway, &flags.client)?;
    let settings = Settings {
        gateway: endpoint.host_port,
        connector: endpoint.connector,
        destination: Destination { service: flags.service.clone(), agent: flags.agent.clone() },
        token: endpoint.token,
    };
    if flags.stdio {
        return tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(Failure::Cut),
            done = standard_streams(&settings) => Ok(done?),
        };
    }
    let listener = Listener::bind(flags.listen).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {}: {error}; choose another address with --listen", flags.listen)
    })?;
    let address = listener.local_addr().context("cannot tell the local address")?;
    if !is_loopback(&flags.listen) {
        edge::say(&format!(
            "warning: other machines can reach {address}, and nothing there asks who they are"
        ));
    }
    edge::say(&format!("forwarding {address} to {} through {}", settings.destination, flags.gateway));
    serve(listener, settings, shutdown).await;
    Ok(())
}

async fn standard_streams(settings: &Settings) -> Result<()> {
    let stream = connect(settings).await?;
    stdio::join(stream, tokio::io::stdin(), Output::new()).await.context("the stream broke off")
}
