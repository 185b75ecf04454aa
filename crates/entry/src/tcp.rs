//! A TCP port that stands for one service, or for that of one agent: every connection to it becomes one stream.

use std::time::Duration;

use bowline_identity::tls::{self, Acceptor};
use bowline_model::AgentId;
use bowline_rt::net::{self, Listener};
use bowline_rt::random;
use bowline_rt::ration::Ration;
use bowline_rt::relay::{Leg, relay_with};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::accept::{self, Accepted};
use crate::destination::Destination;
use crate::limits::{CONNECTIONS_MAX, GRACE_DEFAULT, WARNING_PERIOD, WARNINGS_MAX};
use crate::metrics::{Metrics, Open};
use crate::opener::{OpenRequest, Opener};

/// How a TCP listener serves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the port stands for.
    pub destination: Destination,
    /// Connections at once.
    pub connections_max: usize,
    /// How long open streams are served after a shutdown was asked for.
    pub grace: Duration,
}

impl Settings {
    /// The defaults, for `destination`.
    #[must_use]
    pub fn new(destination: Destination) -> Self {
        Self { destination, connections_max: CONNECTIONS_MAX, grace: GRACE_DEFAULT }
    }
}

/// Serves until `shutdown`, then lets open streams end for [`Settings::grace`].
///
/// A client whose stream cannot be opened is reset, which is all that bare TCP can say; the log has the reason.
pub async fn serve<O: Opener>(
    listener: Listener,
    acceptor: Acceptor,
    opener: Arc<O>,
    settings: Settings,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let (connections_max, grace) = (settings.connections_max, settings.grace);
    let counters = metrics.clone();
    let warnings = Arc::new(Ration::new(WARNINGS_MAX, WARNING_PERIOD));
    let each = move |accepted: Accepted, ending: accept::Ending| {
        let (opener, destination, metrics) = (opener.clone(), settings.destination.clone(), metrics.clone());
        let warnings = warnings.clone();
        async move {
            let Accepted { mut stream, client, slot } = accepted;
            let open = destination.open(random::request_id(), client);
            let cut = tokio::select! {
                biased;
                () = ending.cut.cancelled() => true,
                cut = serve_one(&*opener, &mut stream, open, &metrics, &warnings) => cut,
            };
            if cut {
                net::reset_on_close(stream.tcp());
            }
            drop(slot);
        }
    };
    accept::run(listener, &acceptor, connections_max, grace, &shutdown, &counters, each).await;
}

/// Opens a stream and relays until it ends; says whether what the client got broke off.
async fn serve_one(
    opener: &impl Opener,
    stream: &mut tls::Stream,
    open: OpenRequest,
    metrics: &Metrics,
    warnings: &Ration,
) -> bool {
    let OpenRequest { service, agent, request_id, client } = open.clone();
    let agent = agent.as_ref().map(AgentId::as_str);
    let mut upstream = match opener.open(open).await {
        Ok(upstream) => upstream,
        Err(error) => {
            metrics.failed(error.reason);
            let (reason, detail) = (error.reason.code(), error.detail);
            if let Some(suppressed) = warnings.admit() {
                tracing::warn!(%request_id, %service, agent, ?client, reason, detail, suppressed, "cannot open a stream");
            }
            return true;
        }
    };
    metrics.counters.streams.inc();
    let _open = Open::new(&metrics.counters.streams_open);
    let ended = relay_with(stream, &mut upstream, |from, bytes| match from {
        Leg::A => drop(metrics.counters.bytes_up.inc_by(bytes)),
        Leg::B => drop(metrics.counters.bytes_down.inc_by(bytes)),
    })
    .await;
    if let Err(error) = &ended.result {
        tracing::debug!(%request_id, %service, %error, "a stream broke off");
    }
    ended.is_cut(Leg::A)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, FakeOpener, LIMIT, read_all};
    use bowline_model::Reason;
    use bowline_rt::{task, time};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_port_is_a_service() {
        let opener = FakeOpener::new(testing::echo().await);
        let listener = testing::listener().await;
        let address = listener.local_addr().unwrap();
        let (metrics, shutdown) = (Metrics::default(), CancellationToken::new());
        let settings = Settings::new(Destination::parse("db.edge-1").unwrap());
        let (counters, ending) = (metrics.clone(), shutdown.clone());
        let running = serve(listener, Acceptor::Plain, opener.clone(), settings, counters, ending);
        let running = task::spawn("tcp", running);

        let mut stream = net::connect(address, LIMIT).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, "hello");
        let asked = opener.requests.lock().unwrap()[0].clone();
        assert_eq!((asked.service.as_str(), asked.agent.unwrap().as_str()), ("db", "edge-1"));

        opener.fail(Reason::ServiceUnknown);
        let mut refused = net::connect(address, LIMIT).await.unwrap();
        let error = refused.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "a refusal is no orderly end");

        shutdown.cancel();
        time::timeout(LIMIT, running).await.unwrap().unwrap();
        assert_eq!((metrics.counters.bytes_up.get(), metrics.counters.bytes_down.get()), (5, 5));
        assert_eq!((metrics.counters.streams.get(), metrics.counters.streams_open.get()), (1, 0));
    }
}
