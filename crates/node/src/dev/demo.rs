//! The demo service of the development set-up: a small web server, and a client to see that it is reached.
//!
//! `/` greets, `/echo` sends the request's body back as it comes, `/stream` sends a line every now and then.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bowline_model::AgentId;
use bowline_rt::net::{TcpStream, connect};
use bowline_rt::task::JoinSet;
use bowline_rt::time::{sleep, timeout};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits::{
    DEMO_ACCEPT_PAUSE, DEMO_CONNECTIONS_MAX, DEMO_STREAM_LINES, DEMO_STREAM_PAUSE, DEV_PROBE_MAX,
};
use crate::listen::{Bound, ListenError, bind};
use crate::plan::Port;

/// Header that carries the request id.
const REQUEST_ID: &str = "x-request-id";

type Body = BoxBody<Bytes, hyper::Error>;

/// The demo service, listening on a free port of loopback.
#[derive(Debug)]
pub struct Demo {
    bound: Bound,
    agent: AgentId,
}

impl Demo {
    /// Listens. `agent`: who it says it is behind.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn start(agent: AgentId) -> Result<Self, ListenError> {
        let bound = bind(&Port::plain("demo", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).await?;
        Ok(Self { bound, agent })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.bound.address
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { bound: Bound { listener, .. }, agent } = self;
        let agent: Arc<str> = agent.as_str().into();
        let places = Arc::new(Semaphore::new(DEMO_CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let place = places.clone().acquire_owned();
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(_) = connections.join_next() => continue,
                accepted = async {
                    let place = place.await.expect("the semaphore is never closed");
                    listener.accept().await.map(|(tcp, _)| (tcp, place))
                } => accepted,
            };
            match accepted {
                Ok((tcp, place)) => {
                    let agent = agent.clone();
                    connections.spawn(async move {
                        connection(tcp, agent).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the demo cannot accept a connection");
                    sleep(DEMO_ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(tcp: TcpStream, agent: Arc<str>) {
    let service = service_fn(move |request| {
        let response = answer(&agent, request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let serving =
        builder.timer(TokioTimer::new()).half_close(true).serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a connection of the demo broke off");
    }
}

fn answer(agent: &str, request: Request<Incoming>) -> Response<Body> {
    let request_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none");
    match request.uri().path() {
        "/" => text(format!(
            "Hello from behind the agent {agent}.\nrequest id: {request_id}\n\n\
             This is Bowline's demo service. Try /stream, or send something to /echo.\n"
        )),
        "/echo" => {
            let kind = request.headers().get(CONTENT_TYPE).cloned();
            let mut response = Response::new(request.into_body().boxed());
            let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        "/stream" => plain(StreamBody::new(lines()).boxed()),
        path => {
            let mut response = text(format!("There is no {path} here. Try /, /echo or /stream.\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

fn text(text: String) -> Response<Body> {
    plain(Full::from(text).map_err(|never| match never {}).boxed())
}

fn plain(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn lines() -> impl stream::Stream<Item = Result<Frame<Bytes>, hyper::Error>> + Send + Sync {
    stream::unfold(1, |line| async move {
        if line > DEMO_STREAM_LINES {
            return None;
        }
        if line > 1 {
            sleep(DEMO_STREAM_PAUSE).await;
        }
        Some((Ok(Frame::data(format!("line {line} of {DEMO_STREAM_LINES}\n").into())), line + 1))
    })
}

/// Whether `host` answers well through the entry at `http`.
pub(super) async fn probe(http: SocketAddr, host: &str) -> bool {
    let attempt = async {
        let tcp = connect(http, DEV_PROBE_MAX).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.ok()?;
        let request = Request::get("/").header(HOST, host).body(Empty::<Bytes>::new()).ok()?;
        let answered = async {
            let response = sender.send_request(request).await.ok()?;
            let good = response.status() == StatusCode::OK;
            response.into_body().collect().await.ok()?;
            good.then_some(())
        };
        tokio::select! {
            biased;
            answered = answered => answered,
            _ = connection => None,
        }
    };
    matches!(timeout(DEV_PROBE_MAX, attempt).await, Ok(Some(())))
}
