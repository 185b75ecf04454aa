//! Where requests and streams go.

use std::fmt;

use bowline_model::{AgentId, RequestId, ServiceName};

use crate::opener::OpenRequest;

/// A service, of any agent that offers it or of one in particular.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The service.
    pub service: ServiceName,
    /// The one agent whose service is meant, if it matters.
    pub agent: Option<AgentId>,
}

impl Destination {
    /// Reads `SERVICE` or `SERVICE.AGENT`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (service, agent) = match text.split_once('.') {
            None => (text, None),
            Some((service, agent)) => (service, Some(agent.parse().ok()?)),
        };
        Some(Self { service: service.parse().ok()?, agent })
    }

    /// Asks for a stream to it, in the name of a request of `client`.
    pub(crate) fn open(&self, request_id: RequestId, client: std::net::SocketAddr) -> OpenRequest {
        OpenRequest {
            service: self.service.clone(),
            agent: self.agent.clone(),
            request_id,
            client: Some(client),
        }
    }
}

impl From<ServiceName> for Destination {
    fn from(service: ServiceName) -> Self {
        Self { service, agent: None }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.agent {
            None => write!(f, "{}", self.service),
            Some(agent) => write!(f, "{}.{agent}", self.service),
        }
    }
}
