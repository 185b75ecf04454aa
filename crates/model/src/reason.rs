//! Why a stream could not be opened, as a closed list that travels between agent, gateways and clients.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $status:literal, $number:literal;)*) => {
        /// Why a request could not be served. The code is stable: programs may match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable machine-readable code.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Self::$name => $code,)* } }

            /// What a person should know, in one sentence without a full stop.
            #[must_use]
            pub const fn text(self) -> &'static str { match self { $(Self::$name => $text,)* } }

            /// The HTTP status that answers a request with this reason.
            #[must_use]
            pub const fn http_status(self) -> u16 { match self { $(Self::$name => $status,)* } }

            /// The number on the wire between gateways and agents.
            #[must_use]
            pub const fn wire(self) -> u32 { match self { $(Self::$name => $number,)* } }

            /// The reason with this number, if this version knows it.
            #[must_use]
            pub const fn from_wire(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// No agent offers the service.
    ServiceUnknown = "service_unknown", "no connected agent offers this service", 503, 1;
    /// Agents are registered, but no gateway that was said to hold them does.
    AgentUnreachable = "agent_unreachable", "an agent offers this service, but no gateway can reach it now", 502, 2;
    /// The agent's control connection is up, but no tunnel came in time.
    TunnelTimeout = "tunnel_timeout", "the agent did not open a tunnel in time", 504, 3;
    /// The agent could not connect to the service behind it.
    ServiceRefused = "service_refused", "the agent could not connect to the service behind it", 502, 4;
    /// The agent's connection to the service took too long.
    ServiceTimeout = "service_timeout", "the service behind the agent did not accept a connection in time", 504, 5;
    /// The service answered with something that is not HTTP, or broke the connection off.
    ServiceBroken = "service_broken", "the service behind the agent broke the connection or the protocol", 502, 6;
    /// The store did not answer and nothing is cached.
    StoreUnavailable = "store_unavailable", "the store does not answer and this gateway has no cached route", 503, 7;
    /// The gateway is at one of its limits.
    Overloaded = "overloaded", "the gateway is at its limit of streams", 503, 8;
    /// The gateway is shutting down.
    Draining = "draining", "the gateway is shutting down", 503, 9;
    /// The service sent no response in time.
    ResponseTimeout = "response_timeout", "the service behind the agent sent no response in time", 504, 10;
    /// The host name is not one of this gateway's.
    HostUnknown = "host_unknown", "no route matches this host name", 404, 11;
    /// The request lacks a valid credential.
    Unauthorized = "unauthorized", "this entry needs a valid client token", 401, 12;
    /// The request itself is malformed.
    BadRequest = "bad_request", "the request is malformed", 400, 13;
    /// The client did not send what it announced in time.
    RequestTimeout = "request_timeout", "the client sent its request too slowly", 408, 14;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_unique_and_read_back() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_wire(reason.wire()), Some(*reason));
            assert!(Reason::ALL[..index].iter().all(|other| other.code() != reason.code()));
        }
        assert_eq!(Reason::from_wire(0), None);
    }
}
