//! What a gateway has to be told.

use std::time::Duration;

use bowline_identity::tls::Connector;
use bowline_identity::token::TokenTable;
use bowline_model::{Epoch, GatewayId, ZoneName};

use crate::limits;
use crate::pool::PoolSettings;
use crate::route::RouteSettings;

/// Which agents may attach.
#[derive(Debug, Clone, Default)]
pub struct AgentAuthentication {
    /// Tokens that agents may show instead of a client certificate.
    pub tokens: TokenTable,
    /// Take any agent at its word. Only for a gateway on loopback that has neither tokens nor an authority; the node
    /// sees to that.
    pub anyone: bool,
}

/// Everything a [`crate::Gateway`] needs to know. [`Settings::new`] fills in the defaults of [`crate::limits`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of this gateway.
    pub gateway: GatewayId,
    /// Identity of this incarnation; the same that the registry uses.
    pub epoch: Epoch,
    /// The zone this gateway is in.
    pub zone: ZoneName,
    /// Version of the program, for people.
    pub version: String,
    /// Who may attach.
    pub agents: AgentAuthentication,
    /// How to connect to the peer ports of other gateways.
    pub connector: Connector,
    /// Time between two heartbeats of a control connection.
    pub heartbeat: Duration,
    /// Most agents attached at a time.
    pub agents_max: usize,
    /// Most streams at a time, those passed on for other gateways included.
    pub streams_max: usize,
    /// Tunnels per agent.
    pub pool: PoolSettings,
    /// Opening of streams.
    pub route: RouteSettings,
    /// Longest wait for a tunnel of an attached agent.
    pub tunnel_timeout: Duration,
    /// Longest wait for an agent to connect to the service behind it.
    pub opened_timeout: Duration,
    /// Wait for that before the agent is asked for a sign of life, and then for the sign.
    pub doubt_after: Duration,
    /// Longest silence of a connection whose handshake is done: for its first bytes, and for what has to follow them.
    pub preamble_timeout: Duration,
    /// Longest wait for the login on a control connection.
    pub login_timeout: Duration,
    /// Longest random wait of an agent before it leaves a draining gateway.
    pub drain_jitter: Duration,
    /// How long after that an agent without streams is waited for; see [`limits::MOVE_TIME`].
    pub move_time: Duration,
}

impl Settings {
    /// Settings with defaults for all that has one: no agent may attach, other gateways are reached without TLS.
    #[must_use]
    pub fn new(gateway: GatewayId, epoch: Epoch, zone: ZoneName) -> Self {
        Self {
            gateway,
            epoch,
            zone,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agents: AgentAuthentication::default(),
            connector: Connector::Plain,
            heartbeat: limits::HEARTBEAT,
            agents_max: limits::AGENTS_MAX,
            streams_max: limits::STREAMS_MAX,
            pool: PoolSettings::default(),
            route: RouteSettings::default(),
            tunnel_timeout: limits::TUNNEL_TIMEOUT,
            opened_timeout: limits::OPENED_TIMEOUT,
            doubt_after: limits::DOUBT_AFTER,
            preamble_timeout: limits::PREAMBLE_TIMEOUT,
            login_timeout: limits::LOGIN_TIMEOUT,
            drain_jitter: limits::DRAIN_JITTER,
            move_time: limits::MOVE_TIME,
        }
    }
}
