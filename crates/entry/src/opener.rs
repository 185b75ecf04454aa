//! The door to the rest of the system: opens a stream to a service.

use std::fmt;
use std::net::SocketAddr;

use bowline_model::{Reason, RequestId, ServiceName};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What is asked of an [`Opener`].
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// The service to reach, through any agent that offers it.
    pub service: ServiceName,
    /// For the logs of everyone on the way.
    pub request_id: RequestId,
    /// Who asks.
    pub client: Option<SocketAddr>,
}

/// No stream could be opened.
#[derive(Debug, Clone)]
pub struct OpenError {
    /// Why, for programs.
    pub reason: Reason,
    /// What happened, for people; may be empty.
    pub detail: String,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => write!(f, "{}", self.reason),
            detail => write!(f, "{}: {detail}", self.reason),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens streams to services.
pub trait Opener: Send + Sync + 'static {
    /// Opens a stream, within a bound of its own. Dropping the future gives up without a trace.
    fn open(&self, request: OpenRequest) -> impl Future<Output = Result<Box<dyn Stream>, OpenError>> + Send;
}
