//! What a gateway says of itself, and what all gateways of the zone say.

use std::time::Duration;

use bowline_model::GatewayId;
use bowline_proto::convert;
use bowline_proto::v1::{AgentStatus, GatewayStatus};
use bowline_rt::time::{now, timeout};
use futures_util::stream::{self, StreamExt};
use prost::Message;

use crate::directory::{Directory, GatewayEntry};
use crate::gateway::{Gateway, Inner};
use crate::hop::client;
use crate::limits;
use crate::session::Session;
use crate::text::explain;

/// What became of asking one gateway for its status.
#[derive(Debug, Clone)]
pub struct GatewayReport {
    /// The gateway.
    pub gateway: GatewayId,
    /// Where its peer port is; empty for this gateway itself.
    pub address: String,
    /// Its status, or why it could not be had.
    pub status: Result<GatewayStatus, String>,
}

/// What all gateways of the zone say.
#[derive(Debug, Clone)]
pub struct ZoneReport {
    /// One report for each gateway, by name.
    pub gateways: Vec<GatewayReport>,
    /// Why the list of gateways may be old or incomplete: the store did not answer.
    pub incomplete: Option<String>,
}

impl Gateway {
    /// The status of this gateway.
    #[must_use]
    pub fn status(&self) -> GatewayStatus {
        self.inner.status_within(usize::MAX)
    }

    /// The status of every live gateway of the zone, this one included, by name. Each is asked over its peer port; one that
    /// does not answer is reported as such. If the store does not answer, those are asked that it named last.
    pub async fn status_of_all(&self) -> Vec<GatewayReport> {
        self.zone_report().await.gateways
    }

    /// As [`Gateway::status_of_all`], and whether all gateways are known.
    pub async fn zone_report(&self) -> ZoneReport {
        let inner = &self.inner;
        let own = inner.settings.gateway.clone();
        let own_report =
            GatewayReport { gateway: own.clone(), address: String::new(), status: Ok(self.status()) };
        let (others, incomplete) = match timeout(limits::STATUS_TIMEOUT, inner.directory.gateways()).await {
            Ok(Ok(entries)) => (entries, None),
            Ok(Err(error)) => remembered(&*inner.directory, &explain(&error)),
            Err(elapsed) => remembered(&*inner.directory, &elapsed.to_string()),
        };
        let others = others.into_iter().filter(|entry| entry.gateway != own);
        let mut gateways: Vec<GatewayReport> =
            stream::iter(others.map(|entry| ask(inner, entry.gateway, entry.peer_address)))
                .buffer_unordered(limits::STATUS_ASKED_MAX)
                .collect()
                .await;
        gateways.push(own_report);
        gateways.sort_by(|a, b| a.gateway.cmp(&b.gateway));
        ZoneReport { gateways, incomplete }
    }
}

/// What is known of the other gateways although the store did not answer, and what to say of it.
fn remembered(directory: &dyn Directory, error: &str) -> (Vec<GatewayEntry>, Option<String>) {
    match directory.remembered_gateways() {
        Some((age, entries)) => {
            (entries, Some(format!("{error}; this is the list of {}s ago", age.as_secs())))
        }
        None => (Vec::new(), Some(error.to_owned())),
    }
}

async fn ask(inner: &Inner, gateway: GatewayId, address: String) -> GatewayReport {
    let asked = client::status(&inner.settings.connector, &gateway, &address, limits::STATUS_TIMEOUT);
    let status = match timeout(limits::STATUS_TIMEOUT, asked).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => Err(error.into_refusal(&gateway).detail),
        Err(elapsed) => Err(format!("gateway {gateway} cannot be reached: {elapsed}")),
    };
    GatewayReport { gateway, address, status }
}

impl Inner {
    /// The status, with as many agents as fit into `bytes_max`.
    pub fn status_within(&self, bytes_max: usize) -> GatewayStatus {
        let (settings, sessions) = (&self.settings, self.agents.all());
        let mut status = GatewayStatus {
            gateway: settings.gateway.to_string(),
            epoch: convert::epoch_bytes(settings.epoch),
            version: settings.version.clone(),
            zone: settings.zone.to_string(),
            draining: self.is_draining(),
            uptime_ms: millis(now() - self.started_at),
            streams: self.places.open_of_entry(),
            agents: Vec::new(),
            store_up: self.directory.store_up(),
            registry_pending: self.directory.pending() as u64,
            agents_attached: sessions.len() as u64,
        };
        let mut bytes = status.encoded_len();
        for session in sessions {
            let agent = agent_status(&session);
            // Tag and length of an element take less.
            bytes += agent.encoded_len() + 8;
            if bytes > bytes_max {
                tracing::warn!(listed = status.agents.len(), "the status lists only some of the agents");
                break;
            }
            status.agents.push(agent);
        }
        status
    }
}

fn agent_status(session: &Session) -> AgentStatus {
    let counts = session.counts();
    let login = &session.login;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    AgentStatus {
        agent: login.agent.to_string(),
        epoch: convert::epoch_bytes(login.epoch),
        version: login.version.clone(),
        remote: login.remote.to_string(),
        connected_ms: millis(now() - session.connected_at),
        services: session.services().iter().map(ToString::to_string).collect(),
        tunnels_idle: number(counts.idle),
        tunnels_busy: number(counts.busy),
        tunnels_dialling: number(counts.dialling),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
