//! The holding side of a hop: the peer port.

use std::sync::Arc;

use bowline_identity::Identity;
use bowline_identity::tls::Stream;
use bowline_model::{AgentId, Reason, RequestId, ServiceName};
use bowline_proto::frame::{self, FrameError, HOP_PREAMBLE};
use bowline_proto::v1::{HopCommit, HopOpen, HopReply, HopRequest, Open, Opened, hop_request::Request};
use bowline_rt::net::reset_on_close;
use bowline_rt::relay::{Leg, relay};
use bowline_rt::time::{now, timeout};
use tokio::io::AsyncReadExt;

use crate::gateway::Inner;
use crate::limits;
use crate::listener::{Stranger, read_preamble};
use crate::route::Refusal;
use crate::session::Reserved;
use crate::stream::{OpenStream, User};
use crate::text::{explain, shorten};

/// Serves one connection to the peer port.
pub(crate) async fn serve(gateway: Arc<Inner>, stranger: Stranger) {
    let Stranger { mut stream, remote, place } = stranger;
    let request = match read_request(&mut stream, gateway.settings.preamble_timeout).await {
        Ok(request) => request,
        Err(problem) => {
            return gateway.peer_port.stranger("a hop is refused", remote, Some(&*problem));
        }
    };
    match request {
        Request::Status(_) => {
            let status = gateway.status_within(limits::STATUS_BYTES_MAX);
            let written = timeout(limits::STATUS_TIMEOUT, frame::write(&mut stream, &status)).await;
            if !matches!(written, Ok(Ok(()))) {
                tracing::debug!(%remote, "a status was not taken");
            }
        }
        Request::Open(open) => {
            drop(place);
            serve_open(&gateway, stream, open).await;
        }
    }
}

async fn read_request(
    stream: &mut Stream,
    limit: std::time::Duration,
) -> Result<Request, Box<dyn std::error::Error + Send + Sync>> {
    if read_preamble(stream, limit).await? != HOP_PREAMBLE {
        return Err("it speaks another protocol".into());
    }
    let read = frame::read::<HopRequest>(stream, limits::HOP_REQUEST_BYTES_MAX);
    let request = timeout(limit, read).await??;
    let request = request.request.ok_or("its request is not known to this version")?;
    if stream.is_tls() {
        let Some(Identity::Gateway(id)) = stream.peer() else {
            return Err("it has no gateway's certificate".into());
        };
        if let Request::Open(open) = &request
            && open.from != id.as_str()
        {
            return Err(format!("it calls itself {:?} and has the certificate of {id}", open.from).into());
        }
    }
    Ok(request)
}

/// What is asked for, in the model's words.
struct Asked {
    service: ServiceName,
    agent: Option<AgentId>,
    request_id: RequestId,
}

fn parse(open: &HopOpen) -> Result<Asked, Refusal> {
    let bad = |error: bowline_model::NameError| Refusal::new(Reason::BadRequest, shorten(error.to_string()));
    let agent = (!open.agent.is_empty()).then(|| open.agent.parse().map_err(bad)).transpose()?;
    let request_id = RequestId::parse(&open.request_id)
        .ok_or_else(|| Refusal::new(Reason::BadRequest, "the request id is not one"))?;
    Ok(Asked { service: open.service.parse().map_err(bad)?, agent, request_id })
}

async fn serve_open(gateway: &Arc<Inner>, mut stream: Stream, open: HopOpen) {
    let asked = match parse(&open) {
        Ok(asked) => asked,
        Err(refusal) => return refuse(gateway, &mut stream, refusal).await,
    };
    let Asked { service, request_id, .. } = &asked;
    let Some(place) = gateway.places.take(User::Hop) else {
        let refusal = Refusal::new(Reason::Overloaded, "the gateway is at its limit of streams");
        return refuse(gateway, &mut stream, refusal).await;
    };
    let reserved = tokio::select! {
        biased;
        reserved = reserve(gateway, &asked) => reserved,
        // The asker has nothing to say before the reply: it has found another way, or it is broken.
        _ = stream.read_u8() => {
            tracing::debug!(%request_id, %service, from = open.from, "hop abandoned while it waited for a tunnel");
            return;
        }
    };
    let reserved = match reserved {
        Ok(reserved) => reserved,
        Err(refusal) => {
            tracing::debug!(
                %request_id, %service, from = open.from, reason = refusal.reason.code(), detail = refusal.detail,
                "hop refused"
            );
            return refuse(gateway, &mut stream, refusal).await;
        }
    };
    let agent = reserved.agent().clone();
    match ready(&mut stream).await {
        Ok(()) => {}
        Err(error) => {
            tracing::debug!(%request_id, %service, from = open.from, error = explain(&error), "hop abandoned before its commit");
            return;
        }
    }
    let message = Open {
        service: open.service.clone(),
        request_id: open.request_id.clone(),
        client: shorten(open.client.clone()),
    };
    let opened = reserved.open(&message, gateway.settings.opened_timeout).await;
    gateway.metrics.hop_served(opened.as_ref().map(|_| ()).map_err(|refusal| refusal.reason));
    match opened {
        Ok((tunnel, lease)) => {
            let tunnel = OpenStream::new(tunnel, Some(lease), place, gateway.metrics.clone());
            tracing::debug!(%request_id, %service, %agent, from = open.from, "hop opened");
            pass_on(stream, tunnel, request_id).await;
        }
        Err(Refusal { reason, detail }) => {
            tracing::debug!(
                %request_id, %service, %agent, from = open.from, reason = reason.code(), detail,
                "a stream for another gateway could not be opened"
            );
            answer(&mut stream, &Opened { reason: reason.wire(), detail }).await;
        }
    }
}

/// A tunnel of a local agent: the best one's, or of the next one while there is time.
async fn reserve(gateway: &Arc<Inner>, asked: &Asked) -> Result<Reserved, Refusal> {
    let deadline = now() + gateway.settings.tunnel_timeout;
    let mut refusal = Refusal::new(Reason::ServiceUnknown, "no agent for it is attached here");
    for session in gateway.agents.offering(&asked.service, asked.agent.as_ref()) {
        match session.reserve(deadline.saturating_duration_since(now())).await {
            Ok(reserved) => return Ok(reserved),
            Err(next) => refusal = next,
        }
    }
    Err(refusal)
}

/// Says that a tunnel is held, and waits for the commit.
async fn ready(stream: &mut Stream) -> Result<(), FrameError> {
    let exchange = async {
        frame::write(stream, &HopReply { reason: 0, detail: String::new() }).await?;
        frame::read::<HopCommit>(stream, limits::ANSWER_BYTES_MAX).await
    };
    match timeout(limits::HOP_COMMIT_TIMEOUT, exchange).await {
        Ok(result) => result.map(|_| ()),
        Err(elapsed) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed).into()),
    }
}

/// A hop with an open stream. Dropped before the asker was told an orderly end, it resets the connection: the asker
/// must not take a part for the whole, least of all when a drain cuts what is left.
struct OpenHop {
    stream: Stream,
    has_end: bool,
}

impl Drop for OpenHop {
    fn drop(&mut self) {
        if !self.has_end {
            reset_on_close(self.stream.tcp());
        }
    }
}

async fn pass_on(hop: Stream, mut tunnel: OpenStream, request_id: &RequestId) {
    let mut hop = OpenHop { stream: hop, has_end: false };
    // The answer and the first bytes of the service are separate writes; the asker reads exactly one frame first.
    if !answer(&mut hop.stream, &Opened { reason: 0, detail: String::new() }).await {
        return;
    }
    // The tunnel looks after itself when it drops.
    let ended = relay(&mut hop.stream, &mut tunnel).await;
    hop.has_end = !ended.is_cut(Leg::A);
    let error = ended.result.as_ref().err().map(tracing::field::display);
    tracing::debug!(%request_id, to_service = ended.a_to_b, from_service = ended.b_to_a, error, "hop ended");
}

async fn refuse(gateway: &Inner, stream: &mut Stream, refusal: Refusal) {
    gateway.metrics.hop_served(Err(refusal.reason));
    answer(stream, &HopReply { reason: refusal.reason.wire(), detail: refusal.detail }).await;
}

/// Writes a last or only answer; an asker that has gone needs none.
async fn answer(stream: &mut Stream, message: &impl prost::Message) -> bool {
    matches!(timeout(limits::HOP_COMMIT_TIMEOUT, frame::write(stream, message)).await, Ok(Ok(())))
}
