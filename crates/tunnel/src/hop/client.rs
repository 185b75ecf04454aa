//! The asking side of a hop.

use std::time::Duration;

use bowline_identity::Identity;
use bowline_identity::tls::{Connector, Stream};
use bowline_model::{GatewayId, Reason};
use bowline_proto::convert;
use bowline_proto::frame::{self, FrameError, HOP_PREAMBLE};
use bowline_proto::v1::{
    GatewayStatus, HopCommit, HopOpen, HopReply, HopRequest, HopStatus, Opened, hop_request::Request,
};
use bowline_rt::time::timeout;
use tokio::io::AsyncWriteExt;

use crate::limits;
use crate::route::Refusal;
use crate::text::{explain, shorten};

/// Why a gateway did not give what it was asked for.
#[derive(Debug)]
pub enum HopError {
    /// It could not be reached, is not what it should be, or did not answer.
    Unreachable(String),
    /// It answered that it has no tunnel.
    Refused(Refusal),
}

impl HopError {
    /// What an open makes of it.
    pub fn into_refusal(self, gateway: &GatewayId) -> Refusal {
        match self {
            Self::Unreachable(problem) => Refusal::new(
                Reason::AgentUnreachable,
                format!("gateway {gateway} cannot be reached: {problem}"),
            ),
            Self::Refused(Refusal { reason, detail }) => {
                Refusal::new(reason, format!("gateway {gateway}: {detail}"))
            }
        }
    }
}

/// A tunnel that another gateway holds for us. Dropping it gives the tunnel back.
#[derive(Debug)]
pub struct Held {
    stream: Stream,
}

/// Asks `gateway` for a tunnel, within `limit` after the connection is made.
pub async fn ask(
    connector: &Connector,
    gateway: &GatewayId,
    address: &str,
    open: HopOpen,
    limit: Duration,
) -> Result<Held, HopError> {
    let mut stream = connect(connector, gateway, address).await?;
    let exchange = async {
        send(&mut stream, Request::Open(open)).await?;
        frame::read::<HopReply>(&mut stream, limits::ANSWER_BYTES_MAX).await
    };
    let reply = answered(timeout(limit, exchange).await)?;
    match convert::reason(reply.reason) {
        None => Ok(Held { stream }),
        Some(reason) => Err(HopError::Refused(Refusal::new(reason, shorten(reply.detail)))),
    }
}

impl Held {
    /// Has the stream opened, within `limit`.
    pub async fn commit(mut self, limit: Duration) -> Result<Stream, HopError> {
        let exchange = async {
            frame::write(&mut self.stream, &HopCommit {}).await?;
            frame::read::<Opened>(&mut self.stream, limits::ANSWER_BYTES_MAX).await
        };
        let opened = answered(timeout(limit, exchange).await)?;
        match convert::reason(opened.reason) {
            None => Ok(self.stream),
            Some(reason) => Err(HopError::Refused(Refusal::new(reason, shorten(opened.detail)))),
        }
    }
}

/// Asks `gateway` for its status, within `limit` after the connection is made.
pub async fn status(
    connector: &Connector,
    gateway: &GatewayId,
    address: &str,
    limit: Duration,
) -> Result<GatewayStatus, HopError> {
    let mut stream = connect(connector, gateway, address).await?;
    let exchange = async {
        send(&mut stream, Request::Status(HopStatus {})).await?;
        frame::read(&mut stream, frame::FRAME_BYTES_MAX).await
    };
    answered(timeout(limit, exchange).await)
}

async fn connect(connector: &Connector, gateway: &GatewayId, address: &str) -> Result<Stream, HopError> {
    let stream = connector
        .connect(address, limits::HOP_CONNECT_TIMEOUT)
        .await
        .map_err(|error| HopError::Unreachable(explain(&error)))?;
    check_peer(&stream, gateway)?;
    Ok(stream)
}

/// Under TLS the other end has to be the very gateway that the registry named.
fn check_peer(stream: &Stream, gateway: &GatewayId) -> Result<(), HopError> {
    match stream.peer() {
        _ if !stream.is_tls() => Ok(()),
        Some(Identity::Gateway(id)) if id == gateway => Ok(()),
        Some(other) => Err(HopError::Unreachable(format!("its certificate is that of {other}"))),
        None => Err(HopError::Unreachable("its certificate names no gateway".to_owned())),
    }
}

async fn send(stream: &mut Stream, request: Request) -> Result<(), FrameError> {
    let mut bytes = HOP_PREAMBLE.to_vec();
    frame::append(&mut bytes, &HopRequest { request: Some(request) });
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

fn answered<T>(result: Result<Result<T, FrameError>, bowline_rt::time::Elapsed>) -> Result<T, HopError> {
    match result {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(HopError::Unreachable(explain(&error))),
        Err(elapsed) => Err(HopError::Unreachable(elapsed.to_string())),
    }
}
