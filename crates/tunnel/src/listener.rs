//! Accepts connections and finds out who is at the other end, with a bound on how many have not said so yet.
//!
//! Nobody is read from without a time-out. On a port that is full of strangers whoever comes waits in a queue, which smooths
//! a herd of agents that reconnect. Neither one address alone nor many together can keep the agents out: see [`Lobby`].
//! What strangers do wrong is counted always and logged sparingly, so that garbage cannot flood the log.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bowline_identity::tls::{Acceptor, Stream};
use bowline_rt::net::Listener;
use bowline_rt::ration::Ration;
use bowline_rt::time::{sleep, timeout};
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::lobby::{Entry, Lobby, LobbyPlace, Queued};
use crate::text::explain;

/// Bytes that tell what a connection is.
pub const PREAMBLE_BYTES: usize = 5;

/// A connection after its handshake, and its place among the strangers, to be dropped once it has said who it is.
pub struct Stranger {
    pub stream: Stream,
    pub remote: SocketAddr,
    pub place: LobbyPlace,
}

/// Accepts connections until `stop`, and gives each one to `serve` in a task of its own. `is_known` tells the addresses for
/// which places are kept.
pub async fn accept<F, S>(
    listener: Listener,
    (lobby, is_known): (Lobby, impl Fn(IpAddr) -> bool),
    acceptor: Acceptor,
    warnings: Arc<Warnings>,
    stop: CancellationToken,
    serve: S,
) where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Stranger) -> F + Clone + Send + Sync + 'static,
{
    loop {
        if lobby.is_full() {
            warnings.warn("too many connections that have not said who they are; new ones wait", None, None);
        }
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warnings.warn("cannot accept a connection", None, Some(&error));
                sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let entry = lobby.enter(remote, is_known(remote.ip()));
        if let Entry::Full = entry {
            warnings.stranger(TOO_MANY, remote, None);
            continue;
        }
        let (acceptor, warnings, serve) = (acceptor.clone(), warnings.clone(), serve.clone());
        let stop = stop.clone();
        bowline_rt::task::spawn("connection", async move {
            let connection = async {
                let Some(place) = place_of(entry).await else {
                    return warnings.stranger(TOO_MANY, remote, None);
                };
                match acceptor.accept(tcp).await {
                    Ok(stream) => serve(Stranger { stream, remote, place }).await,
                    Err(error) => warnings.stranger("a handshake failed", remote, Some(&error)),
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = connection => {}
            }
        });
    }
}

const TOO_MANY: &str = "too many connections have not said who they are: this one is turned away";

/// Waits for a place, not for ever.
async fn place_of(entry: Entry) -> Option<LobbyPlace> {
    match entry {
        Entry::Place(place) => Some(place),
        Entry::Queued(queued) => timeout(limits::QUEUED_TIMEOUT, Queued::place(queued)).await.ok(),
        Entry::Full => None,
    }
}

/// Reads the bytes that tell what a connection is.
///
/// # Errors
/// The connection's, or that it was silent for too long.
pub async fn read_preamble(stream: &mut Stream, limit: Duration) -> io::Result<[u8; PREAMBLE_BYTES]> {
    let mut preamble = [0; PREAMBLE_BYTES];
    timeout(limit, stream.read_exact(&mut preamble))
        .await
        .map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
    Ok(preamble)
}

/// Logs at most [`limits::WARNINGS_MAX`] warnings per [`limits::WARNING_PERIOD`].
#[derive(Debug)]
pub struct Warnings {
    port: &'static str,
    strangers_refused: Counter,
    ration: Ration,
}

impl Warnings {
    /// Warnings about one port. Refused strangers are counted by `strangers_refused`.
    pub fn new(port: &'static str, strangers_refused: Counter) -> Arc<Self> {
        let ration = Ration::new(limits::WARNINGS_MAX, limits::WARNING_PERIOD);
        Arc::new(Self { port, strangers_refused, ration })
    }

    /// A connection that did not say who it is, or said nonsense.
    pub fn stranger(&self, message: &str, remote: SocketAddr, error: Option<&dyn std::error::Error>) {
        self.strangers_refused.inc();
        self.warn(message, Some(remote), error);
    }

    /// Logs, if not too much has been logged lately.
    pub fn warn(&self, message: &str, remote: Option<SocketAddr>, error: Option<&dyn std::error::Error>) {
        let Some(suppressed) = self.ration.admit() else { return };
        let (remote, error) = (remote.map(tracing::field::display), error.map(explain));
        tracing::warn!(port = self.port, remote, error, suppressed, "{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_opens_connections_and_says_nothing_keeps_no_other_out() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = listener.local_addr().expect("it listens");
        let (served, mut strangers) = tokio::sync::mpsc::unbounded_channel();
        let serve = move |stranger: Stranger| {
            let served = served.clone();
            async move { served.send(stranger).expect("the test listens") }
        };
        let warnings = Warnings::new("test", Counter::default());
        let (stop, lobby) = (CancellationToken::new(), Lobby::new(4, 1));
        let accepting =
            accept(listener, (lobby, |_| false), Acceptor::Plain, warnings.clone(), stop.clone(), serve);
        let accepting = bowline_rt::task::spawn("accept", accepting);
        let connect = |host: u8| async move {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind(([127, 0, 0, host], 0).into()).expect("all of 127/8 is ours");
            socket.connect(address).await.expect("it listens")
        };
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(connect(1).await);
        }
        let held = strangers.recv().await.expect("one is served");
        let _other = connect(2).await;
        let other = strangers.recv().await.expect("another address is served");
        assert_eq!(
            [held.remote, other.remote].map(|remote| remote.ip().to_string()),
            ["127.0.0.1", "127.0.0.2"]
        );
        assert_eq!(warnings.strangers_refused.get(), 10 - 1 - 4);
        // Who has said who he is makes room for the next one of his address.
        drop(held);
        let next = strangers.recv().await.expect("the next in the queue");
        assert_eq!(next.remote.ip().to_string(), "127.0.0.1");
        stop.cancel();
        accepting.await.expect("no panic");
    }
}
