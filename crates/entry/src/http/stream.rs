//! Where HTTP ends and bytes begin: upgrades (WebSocket and any other) and CONNECT.

use std::sync::Arc;

use bowline_identity::tls;
use bowline_model::ServiceName;
use bowline_rt::relay::{Leg, relay_with};
use bowline_rt::rewind::Rewound;
use bowline_rt::{net, task, time};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::body::Download;
use super::client::{Busy, ClientStream};
use super::pool::{Lease, Upstream};
use super::proxy::{Connection, Flight};
use super::reply::Failure;
use super::{Shared, credential, headers, route};
use crate::limits::UPGRADE_LIMIT;
use crate::metrics::{Metrics, Open};
use crate::opener::{Opener, Stream};

/// Answers CONNECT: 200 once a stream to the service is open, and from then on its bytes.
pub(super) async fn connect<O: Opener>(
    shared: &Shared<O>,
    connection: &Arc<Connection>,
    flight: &mut Flight,
    mut request: Request<Incoming>,
) -> Result<Response<Download>, Failure> {
    let name = credential::check(&shared.settings.connect, request.headers())?;
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let destination = route::connect_destination_of(&shared.settings, authority, request.headers())?;
    flight.is_for(&destination);
    let open = destination.open(flight.request_id.clone(), connection.client);
    let upstream = shared.pool.opener().open(open).await?;
    tracing::debug!(request_id = %flight.request_id, %destination, client = name, "opened a stream");
    let client = hyper::upgrade::on(&mut request);
    let handover = Handover::new(connection, flight, destination.service, &shared.metrics);
    handover.start(client, async { Ok(Rewound::new(upstream, Bytes::new())) });
    let mut response = Response::new(Download::ready(Bytes::new()));
    headers::insert_request_id(response.headers_mut(), &flight.request_id);
    Ok(response)
}

/// Passes a 101 on to a client that asked for it, and from then on bytes.
pub(super) fn upgrade(
    connection: &Arc<Connection>,
    flight: &Flight,
    service: ServiceName,
    metrics: &Metrics,
    client: OnUpgrade,
    mut response: Response<Incoming>,
    lease: Lease,
) -> Response<Download> {
    let upstream = hyper::upgrade::on(&mut response);
    let protocol = headers::upgrade_of(response.headers());
    headers::for_client(response.headers_mut(), &flight.request_id, protocol);
    Handover::new(connection, flight, service, metrics).start(client, async move {
        let upgraded = upstream.await;
        // Only now: hyper hands nothing over on a connection that nobody holds.
        drop(lease);
        service_leg(upgraded?)
    });
    response.map(|_| Download::ready(Bytes::new()))
}

/// What a stream needs that goes on after its request.
struct Handover {
    connection: Arc<Connection>,
    request_id: bowline_model::RequestId,
    service: ServiceName,
    metrics: Metrics,
    _open: Open,
    _busy: Busy,
}

impl Handover {
    fn new(connection: &Arc<Connection>, flight: &Flight, service: ServiceName, metrics: &Metrics) -> Self {
        metrics.counters.streams.inc();
        Self {
            connection: connection.clone(),
            request_id: flight.request_id.clone(),
            service,
            metrics: metrics.clone(),
            _open: Open::new(&metrics.counters.streams_open),
            _busy: connection.activity.begin(),
        }
    }

    /// Waits for both ends in the background and relays between them.
    fn start<F>(self, client: OnUpgrade, service: F)
    where
        F: Future<Output = hyper::Result<Rewound<Box<dyn Stream>>>> + Send + 'static,
    {
        let tasks = self.connection.ending.tasks.clone();
        let stream = async move {
            let both = time::timeout(UPGRADE_LIMIT, async { tokio::try_join!(client, service) }).await;
            match both {
                Ok(Ok((client, upstream))) => self.relay(client_leg(client), upstream).await,
                Ok(Err(error)) => {
                    tracing::debug!(request_id = %self.request_id, %error, "a stream ended before it began");
                }
                Err(elapsed) => {
                    tracing::debug!(request_id = %self.request_id, %elapsed, "a stream was not handed over");
                }
            }
        };
        task::spawn("stream", tasks.track_future(stream));
    }

    async fn relay(&self, mut client: ClientLeg, mut upstream: Rewound<Box<dyn Stream>>) {
        let Self { request_id, service, metrics, .. } = self;
        let count = |from, bytes| match from {
            Leg::A => drop(metrics.counters.bytes_up.inc_by(bytes)),
            Leg::B => drop(metrics.counters.bytes_down.inc_by(bytes)),
        };
        let relaying = async {
            let ended = match &mut client {
                ClientLeg::Whole(stream) => relay_with(&mut **stream, &mut upstream, count).await,
                ClientLeg::Http2(stream) => relay_with(stream, &mut upstream, count).await,
            };
            if let Err(error) = &ended.result {
                tracing::debug!(%request_id, %service, %error, "a stream broke off");
            }
            ended.is_cut(Leg::A)
        };
        let is_cut = tokio::select! {
            biased;
            () = self.connection.ending.cut.cancelled() => true,
            is_cut = relaying => is_cut,
        };
        if is_cut && let ClientLeg::Whole(stream) = &client {
            net::reset_on_close(stream.inner().tcp());
        }
    }
}

/// The client's end of a stream.
enum ClientLeg {
    /// A connection of its own, with nothing of hyper's between it and us.
    Whole(Box<Rewound<tls::Stream>>),
    /// One stream of an HTTP/2 connection; dropping it resets it.
    Http2(TokioIo<Upgraded>),
}

fn client_leg(upgraded: Upgraded) -> ClientLeg {
    match upgraded.downcast::<TokioIo<ClientStream>>() {
        Ok(parts) => {
            let mut stream = parts.io.into_inner().into_inner();
            stream.put_back(parts.read_buf);
            ClientLeg::Whole(Box::new(stream))
        }
        Err(upgraded) => ClientLeg::Http2(TokioIo::new(upgraded)),
    }
}

fn service_leg(upgraded: Upgraded) -> hyper::Result<Rewound<Box<dyn Stream>>> {
    Ok(match upgraded.downcast::<TokioIo<Upstream>>() {
        Ok(parts) => Rewound::new(parts.io.into_inner().into_inner(), parts.read_buf),
        Err(upgraded) => Rewound::new(Box::new(TokioIo::new(upgraded)), Bytes::new()),
    })
}
