//! One request: where to, over which connection, and what comes back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_model::{AgentId, Reason, RequestId};
use bowline_rt::random;
use bowline_rt::ration::Ration;
use bowline_rt::time::now;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Uri, Version, request, uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::OwnedSemaphorePermit;

use super::body::{Download, Progress, Upload};
use super::client::{Activity, Busy};
use super::headers::{self, Origin};
use super::pool::{Lease, Protocol};
use super::reply::Failure;
use super::{Shared, route, stream};
use crate::accept::Ending;
use crate::destination::Destination;
use crate::limits::HTTP2_PIECE_BYTES_MAX;
use crate::metrics::Metrics;
use crate::opener::{OpenRequest, Opener};

/// The connection that a request came over.
#[derive(Debug)]
pub(super) struct Connection {
    pub client: SocketAddr,
    pub is_tls: bool,
    pub activity: Arc<Activity>,
    pub ending: Ending,
}

/// A request on its way, from its first byte to the last one of its response. Dropping it, wherever that happens, ends
/// it: for the connection, the metrics and the log.
#[derive(Debug)]
pub(super) struct Flight {
    pub request_id: RequestId,
    destination: Option<Destination>,
    outcome: Option<(StatusCode, Option<Reason>)>,
    began: Instant,
    metrics: Metrics,
    /// The place among the requests of this entry.
    place: Option<OwnedSemaphorePermit>,
    busy: Busy,
}

impl Flight {
    fn new(request_id: RequestId, connection: &Connection, metrics: Metrics) -> Self {
        metrics.request_began();
        let busy = connection.activity.begin();
        Self { request_id, destination: None, outcome: None, began: now(), metrics, place: None, busy }
    }

    /// Where it goes is known.
    pub fn is_for(&mut self, destination: &Destination) {
        self.destination = Some(destination.clone());
    }

    /// Service and agent, for the log.
    fn destination(&self) -> (Option<&str>, Option<&str>) {
        let destination = self.destination.as_ref();
        let agent = destination.and_then(|destination| destination.agent.as_ref());
        (destination.map(|destination| destination.service.as_str()), agent.map(AgentId::as_str))
    }

    /// Its response broke off.
    pub fn broke_off(&self) {
        tracing::debug!(request_id = %self.request_id, "a service broke off in the middle of a response");
        self.metrics.failed(Reason::ServiceBroken);
        self.busy.broke_off();
    }

    fn responded(&mut self, status: StatusCode, reason: Option<Reason>) {
        self.outcome = Some((status, reason));
        self.metrics.responded(status.as_u16(), now().saturating_duration_since(self.began));
        if let Some(reason) = reason {
            self.metrics.failed(reason);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.metrics.request_ended(self.outcome.is_some());
        let (request_id, elapsed) = (&self.request_id, now().saturating_duration_since(self.began));
        let (service, agent) = self.destination();
        match self.outcome {
            None => {
                tracing::debug!(%request_id, service, agent, ?elapsed, "the client of a request went away")
            }
            Some((status, reason)) => {
                let (status, reason) = (status.as_u16(), reason.map(Reason::code));
                tracing::debug!(%request_id, service, agent, status, reason, ?elapsed, "served a request");
            }
        }
    }
}

/// Serves one request; every failure becomes a response.
pub(super) async fn serve<O: Opener>(
    shared: Arc<Shared<O>>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Download>, Infallible> {
    let request_id = headers::request_id_of(request.headers()).unwrap_or_else(random::request_id);
    let mut flight = Flight::new(request_id, &connection, shared.metrics.clone());
    flight.place = shared.places.clone().try_acquire_owned().ok();
    let result = if flight.place.is_none() {
        Err(Failure::new(Reason::Overloaded, ""))
    } else if request.method() == Method::CONNECT {
        stream::connect(&shared, &connection, &mut flight, request).await
    } else {
        forward(&shared, &connection, &mut flight, request).await
    };
    let (mut response, reason) = match result {
        Ok(response) => (response, None),
        Err(failure) => {
            log_failure(&shared.warnings, &flight, &failure);
            (failure.response(&flight.request_id), Some(failure.reason))
        }
    };
    flight.responded(response.status(), reason);
    response.body_mut().carry(flight);
    Ok(response)
}

/// What a client did wrong is its own affair; what we could not do is the operator's.
fn log_failure(warnings: &Ration, flight: &Flight, failure: &Failure) {
    let (service, agent) = flight.destination();
    let (request_id, reason, detail) = (&flight.request_id, failure.reason.code(), &failure.detail);
    if failure.reason.http_status() < 500 {
        tracing::debug!(%request_id, service, agent, reason, detail, "refused a request");
    } else if let Some(suppressed) = warnings.admit() {
        tracing::warn!(%request_id, service, agent, reason, detail, suppressed, "cannot serve a request");
    }
}

/// Sends a request to its service and makes the response fit for the client.
async fn forward<O: Opener>(
    shared: &Shared<O>,
    connection: &Arc<Connection>,
    flight: &mut Flight,
    mut request: Request<Incoming>,
) -> Result<Response<Download>, Failure> {
    let host = route::host_of(&shared.settings, &request)?;
    let destination = route::destination_of(&shared.settings, &host)?;
    flight.is_for(&destination);
    if headers::has_foreign_coding(request.headers()) {
        return Err(Failure::new(Reason::BadRequest, "its body is coded by more than `chunked`"));
    }
    let upgrade =
        if request.version() == Version::HTTP_11 { headers::upgrade_of(request.headers()) } else { None };
    let client_upgrade = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let protocol = protocol_of(&request);
    let piece_bytes_max =
        if request.version() == Version::HTTP_2 { HTTP2_PIECE_BYTES_MAX } else { usize::MAX };

    let (mut head, body) = request.into_parts();
    let origin = Origin {
        client: connection.client.ip(),
        host: &host,
        is_tls: connection.is_tls,
        trusted: shared.settings.trust_forwarded,
    };
    headers::for_service(&mut head.headers, &origin, &flight.request_id, upgrade);
    address(&mut head, &body, protocol, &host)?;
    let progress = Progress::new();
    let upload = Upload::new(body, progress.clone(), shared.metrics.clone(), &connection.activity);
    let open = destination.open(flight.request_id.clone(), connection.client);
    let request = Request::from_parts(head, upload);
    let (mut response, lease) = exchange(shared, request, &destination, &open, protocol, &progress).await?;

    *response.version_mut() = Version::HTTP_11;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client_upgrade else {
            return Err(Failure::new(
                Reason::ServiceBroken,
                "it changed the protocol without being asked to",
            ));
        };
        return Ok(stream::upgrade(
            connection,
            flight,
            destination.service,
            &shared.metrics,
            client,
            response,
            lease,
        ));
    }
    headers::for_client(response.headers_mut(), &flight.request_id, None);
    Ok(response.map(|body| Download::relayed(body, lease, shared.metrics.clone(), piece_bytes_max)))
}

/// gRPC needs HTTP/2 all the way; everything else is spoken to in the version that every server knows. gRPC-Web
/// (`application/grpc-web`) is made for HTTP/1 and is among the rest.
fn protocol_of<B>(request: &Request<B>) -> Protocol {
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = content_type.split(|byte| matches!(byte, b'+' | b';')).next().unwrap_or_default();
    let is_grpc = kind.trim_ascii().eq_ignore_ascii_case(b"application/grpc");
    if request.version() == Version::HTTP_2 && is_grpc { Protocol::Http2 } else { Protocol::Http1 }
}

/// Gives a request the target and framing that its way to the service needs.
fn address(
    head: &mut request::Parts,
    body: &Incoming,
    protocol: Protocol,
    host: &str,
) -> Result<(), Failure> {
    let malformed = |_| Failure::new(Reason::BadRequest, "its target is not one");
    let target = head.uri.path_and_query().cloned().unwrap_or(uri::PathAndQuery::from_static("/"));
    head.extensions.clear();
    match protocol {
        Protocol::Http1 => {
            if head.version == Version::HTTP_2 {
                headers::join_cookies(&mut head.headers);
            }
            head.version = Version::HTTP_11;
            head.uri = Uri::builder().path_and_query(target).build().map_err(malformed)?;
            // hyper takes a GET without a length for one without a body.
            if !body.is_end_stream() && body.size_hint().exact().is_none() {
                head.headers.remove(CONTENT_LENGTH);
                head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        Protocol::Http2 => {
            head.version = Version::HTTP_2;
            head.headers.remove(HOST);
            head.uri = Uri::builder()
                .scheme(uri::Scheme::HTTP)
                .authority(host)
                .path_and_query(target)
                .build()
                .map_err(malformed)?;
        }
    }
    Ok(())
}

/// Sends a request and waits for the head of its response; once more on a new connection where that is safe.
async fn exchange<O: Opener>(
    shared: &Shared<O>,
    mut request: Request<Upload>,
    destination: &Destination,
    open: &OpenRequest,
    protocol: Protocol,
    progress: &Arc<Progress>,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let replay = replay_of(&request);
    let mut used_before = shared.pool.take(destination, protocol);
    loop {
        let mut lease = match used_before.take() {
            Some(lease) => lease,
            None => shared.pool.open(open.clone(), protocol).await?,
        };
        let mut error = match respond(&mut lease, request, progress, shared.settings.response_timeout).await?
        {
            Ok(response) => return Ok((response, lease)),
            Err(error) => error,
        };
        // A new connection never comes to a second turn: it is not reused.
        let empty = || Upload::empty(progress.clone(), shared.metrics.clone());
        let unsent = error.take_message();
        request = match (unsent, &replay) {
            _ if !lease.is_reused => return Err(broken(&error.into_error())),
            (Some(unsent), _) => unsent,
            (None, Some(head)) if !lease.has_heard() => Request::from_parts(head.clone(), empty()),
            (None, _) => return Err(broken(&error.into_error())),
        };
        shared.metrics.counters.retries.inc();
        tracing::debug!(request_id = %open.request_id, service = %open.service, "an old connection was closed: once more");
    }
}

/// The head of a request that may be sent twice: it changes nothing and has no body.
fn replay_of(request: &Request<Upload>) -> Option<request::Parts> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    (is_safe && request.body().is_end_stream()).then(|| {
        let mut copy = Request::new(());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        *copy.version_mut() = request.version();
        copy.into_parts().0
    })
}

/// Sends a request and waits for the head of its response, as long as something moves.
async fn respond(
    lease: &mut Lease,
    request: Request<Upload>,
    progress: &Progress,
    response_timeout: Duration,
) -> Result<Result<Response<Incoming>, TrySendError<Request<Upload>>>, Failure> {
    progress.restart();
    let response = progress.watch(response_timeout, lease.send(request)).await;
    response.map_err(|reason| Failure::new(reason, ""))
}

/// What an error of the connection to the service means.
fn broken(error: &hyper::Error) -> Failure {
    if error.is_user() {
        // The only thing of ours that can fail there is the body, and it fails with the client's connection.
        return Failure::new(Reason::BadRequest, "its body broke off");
    }
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail.push_str(": ");
        detail.push_str(&cause.to_string());
        source = cause.source();
    }
    Failure::new(Reason::ServiceBroken, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_whole_name() {
        let check = |content_type: &str, expected| {
            let request = Request::post("/").version(Version::HTTP_2).header(CONTENT_TYPE, content_type);
            assert_eq!(protocol_of(&request.body(()).unwrap()), expected, "{content_type}");
        };
        check("application/grpc", Protocol::Http2);
        check("application/grpc+proto", Protocol::Http2);
        check("Application/gRPC; charset=utf-8", Protocol::Http2);
        check("application/grpc-web", Protocol::Http1);
        check("application/grpc-web+proto", Protocol::Http1);
        check("application/json", Protocol::Http1);
        let request = Request::post("/").header(CONTENT_TYPE, "application/grpc").body(()).unwrap();
        assert_eq!(protocol_of(&request), Protocol::Http1, "not over HTTP/1");
    }
}
