//! The agent port: control connections and tunnels share it, and their first bytes tell them apart.
//!
//! A control connection is one HTTP/2 connection with one Attach call. It is closed when nobody logs in on it in time,
//! and when its session has ended. A tunnel shows a ticket and goes into the pool of the session that issued it.

mod attach;
mod conversation;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_identity::{Identity, tls};
use bowline_proto::frame::{self, TUNNEL_PREAMBLE};
use bowline_proto::v1::TunnelHello;
use bowline_proto::v1::control_server::ControlServer;
use bowline_rt::rewind::Rewound;
use bowline_rt::time::{now, sleep_until_some, timeout};
use bytes::Bytes;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

use crate::gateway::Inner;
use crate::limits;
use crate::listener::{PREAMBLE_BYTES, Stranger, read_preamble};
use crate::lobby::LobbyPlace;
use crate::pool::Ticket;
use attach::Attach;

/// First bytes of an HTTP/2 connection (RFC 9113, 3.4), as many as ours have; the rest is checked by the HTTP/2 code.
const HTTP2_PREAMBLE: [u8; PREAMBLE_BYTES] = *b"PRI *";

/// Where a control connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody has logged in yet.
    Silent,
    /// A session runs.
    Attached,
    /// The session has ended, or the login was refused.
    Over,
}

/// Serves one connection to the agent port.
pub(crate) async fn serve(gateway: Arc<Inner>, mut stranger: Stranger) {
    match read_preamble(&mut stranger.stream, gateway.settings.preamble_timeout).await {
        Ok(HTTP2_PREAMBLE) => serve_control(gateway, stranger).await,
        Ok(TUNNEL_PREAMBLE) => serve_tunnel(&gateway, stranger).await,
        Ok(_) => gateway.agent_port.stranger("a connection speaks another protocol", stranger.remote, None),
        // A port that is only looked at, as load balancers do.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            tracing::debug!(remote = %stranger.remote, "a connection was closed before it said who it is");
        }
        Err(error) => gateway.agent_port.stranger("a connection said nothing", stranger.remote, Some(&error)),
    }
}

async fn serve_tunnel(gateway: &Arc<Inner>, stranger: Stranger) {
    let Stranger { mut stream, remote, place } = stranger;
    let hello = timeout(
        gateway.settings.preamble_timeout,
        frame::read::<TunnelHello>(&mut stream, limits::HELLO_BYTES_MAX),
    );
    let ticket = match hello.await {
        Ok(Ok(hello)) => Ticket::from_bytes(&hello.ticket),
        Ok(Err(error)) => return gateway.agent_port.stranger("a tunnel broke off", remote, Some(&error)),
        Err(elapsed) => return gateway.agent_port.stranger("a tunnel said nothing", remote, Some(&elapsed)),
    };
    let redeemed = ticket.and_then(|ticket| {
        let session = gateway.agents.session(ticket.session)?;
        // A certificate, where there is one, has to name the agent to whom the ticket was given.
        let fits = match stream.peer() {
            None => !session.login.by_certificate,
            Some(Identity::Agent(agent)) => *agent == session.login.agent,
            Some(Identity::Gateway(_)) => false,
        };
        fits.then_some((session, ticket.secret))
    });
    let accepted = redeemed.is_some_and(|(session, secret)| session.arrive(&secret, stream).is_ok());
    if !accepted {
        gateway.metrics.tickets_refused.inc();
        gateway.agent_port.warn(
            "a tunnel showed a ticket that is unknown, used up or too old",
            Some(remote),
            None,
        );
    }
    drop(place);
}

async fn serve_control(gateway: Arc<Inner>, stranger: Stranger) {
    let Stranger { stream, remote, place } = stranger;
    let identity = stream.peer().cloned();
    let (stage, stages) = watch::channel(Stage::Silent);
    let attach = Attach::new(gateway.clone(), Caller { remote, identity }, stage);
    let service = ControlServer::new(attach).max_decoding_message_size(limits::AGENT_MESSAGE_BYTES_MAX);
    let io = TokioIo::new(Rewound::new(stream, Bytes::from_static(&HTTP2_PREAMBLE)));
    let connection = http2_settings().serve_connection(io, TowerToHyperService::new(service));
    if let Err(problem) = run_connection(connection, stages, place, gateway.settings.login_timeout).await {
        gateway.agent_port.stranger("a control connection was closed", remote, Some(&*problem));
    }
}

/// Who calls, as far as the connection tells.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub remote: SocketAddr,
    pub identity: Option<Identity>,
}

type Connection =
    http2::Connection<TokioIo<Rewound<tls::Stream>>, TowerToHyperService<ControlServer<Attach>>, Spawner>;

/// Drives the connection until it ends: by itself, because nobody logged in, or a while after its session ended.
async fn run_connection(
    connection: Connection,
    mut stages: watch::Receiver<Stage>,
    place: LobbyPlace,
    login_timeout: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tokio::pin!(connection);
    let mut place = Some(place);
    let mut patience: Option<Instant> = Some(now() + login_timeout);
    loop {
        let stage = tokio::select! {
            biased;
            ended = connection.as_mut() => return match ended {
                Err(error) if place.is_some() => Err(error.into()),
                Err(error) => {
                    tracing::debug!(%error, "a control connection ended");
                    Ok(())
                }
                Ok(()) => Ok(()),
            },
            changed = stages.changed() => changed.map_or(Stage::Over, |()| *stages.borrow_and_update()),
            () = sleep_until_some(patience) => return Err("nobody logged in on it in time".into()),
        };
        match stage {
            Stage::Silent => {}
            Stage::Attached => {
                place = None;
                patience = None;
            }
            Stage::Over => break,
        }
    }
    // What was said last is still to be delivered.
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits::GOODBYE_TIMEOUT, connection).await;
    Ok(())
}

fn http2_settings() -> http2::Builder<Spawner> {
    let mut builder = http2::Builder::new(Spawner);
    let (ping_every, ping_timeout) = limits::H2_KEEP_ALIVE;
    builder
        .timer(TokioTimer::new())
        // The date would be read past `rt`, and nobody needs it.
        .auto_date_header(false)
        .max_concurrent_streams(limits::H2_STREAMS_MAX)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::AGENT_MESSAGE_BYTES_MAX)
        .max_header_list_size(limits::H2_HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(limits::H2_RESETS_MAX)
        .max_local_error_reset_streams(limits::H2_RESETS_MAX)
        .keep_alive_interval(ping_every)
        .keep_alive_timeout(ping_timeout);
    builder
}

/// Spawns hyper's tasks through `rt`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spawner;

impl<F> Executor<F> for Spawner
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        bowline_rt::task::spawn("control stream", future);
    }
}
