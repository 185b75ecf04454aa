//! The session service of `bowline server` by itself, as a gateway runs it, or with everything left out that signatures bring
//! with them: their check, the digest of the body, the nonce in the store.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bowline_api::sessions::{Sessions, Settings};
use bowline_api::{ServeSettings, serve_with};
use bowline_identity::signature::{Keys, Namespace};
use bowline_identity::tls::Acceptor;
use bowline_redis::{Client, Config};
use bowline_rt::net::Listener;
use bowline_rt::task::spawn;
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// Serves sessions until it is killed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The store.
    #[arg(long)]
    store: SocketAddr,
    /// Who may sign, as `[sessions] keys_file` of a gateway.
    #[arg(long, conflicts_with = "unsigned")]
    keys_file: Option<PathBuf>,
    /// Nobody has to sign; whoever asks has this namespace.
    #[arg(long, required_unless_present = "keys_file")]
    unsigned: Option<Namespace>,
    /// Connections that are served at once.
    #[arg(long)]
    connections_max: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let client = Client::start(Config::from_url(&format!("redis://{}", arguments.store))?);
    let settings = Settings::default();
    let sessions = match (arguments.keys_file, arguments.unsigned) {
        (Some(file), _) => Sessions::new(client, Keys::from_file(&file)?, settings),
        (None, namespace) => Sessions::unguarded(client, namespace.context("no namespace")?, settings),
    };
    let marked = sessions.clone();
    spawn("sessions-marks", async move { marked.keep_marked().await });
    let served = ServeSettings {
        name: "sessions",
        connections_max: arguments.connections_max,
        ..ServeSettings::default()
    };
    let listener = Listener::bind(arguments.listen).await.context("cannot listen")?;
    serve_with(served, listener, Acceptor::Plain, sessions.router(), CancellationToken::new()).await;
    Ok(())
}
