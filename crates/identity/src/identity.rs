//! What a verified certificate says about its holder.

use std::fmt;

use bowline_model::{AgentId, GatewayId};

/// Scheme and separator of the URI in a certificate.
const SCHEME: &str = "bowline://";

/// The holder of a verified certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// An agent. It may speak for itself only.
    Agent(AgentId),
    /// A gateway. Other gateways may trust what it forwards.
    Gateway(GatewayId),
}

impl Identity {
    /// The URI that stands in the certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Agent(id) => format!("{SCHEME}agent/{id}"),
            Self::Gateway(id) => format!("{SCHEME}gateway/{id}"),
        }
    }

    /// Reads a URI from a certificate; `None` if it is not one of ours.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let (kind, id) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        match kind {
            "agent" => id.parse().ok().map(Self::Agent),
            "gateway" => id.parse().ok().map(Self::Gateway),
            _ => None,
        }
    }

    /// Whether a URI from a certificate says that it is an agent's, whichever.
    pub(crate) fn is_uri_of_agent(uri: &str) -> bool {
        uri.strip_prefix(SCHEME).is_some_and(|rest| rest.starts_with("agent/"))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent {id}"),
            Self::Gateway(id) => write!(f, "gateway {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: Option<&str>) {
        let identity = Identity::from_uri(uri);
        assert_eq!(identity.as_ref().map(ToString::to_string).as_deref(), expected, "{uri}");
        if let Some(identity) = identity {
            assert_eq!(identity.uri(), uri);
        }
    }

    #[test]
    fn only_our_own_uris_name_someone() {
        check("bowline://agent/edge-1", Some("agent edge-1"));
        check("bowline://gateway/g1", Some("gateway g1"));
        check("bowline://agent/", None);
        check("bowline://agent/a/b", None);
        check("bowline://agent/Edge", None);
        check("bowline://root/g1", None);
        check("BOWLINE://gateway/g1", None);
        check("spiffe://agent/edge-1", None);
    }
}
