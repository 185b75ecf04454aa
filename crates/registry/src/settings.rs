//! Who this gateway is and how patient it is.

use std::time::Duration;

use bowline_model::{Epoch, GatewayId, ZoneName};

use crate::limits::{self, TOMBSTONE_TTL};

/// Identity and times of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub(crate) gateway: GatewayId,
    pub(crate) zone: ZoneName,
    pub(crate) peer_address: String,
    /// Identity of this incarnation of the gateway; random by default.
    pub epoch: Epoch,
    /// How long an entry outlives its last renewal, by the store's clock. Renewals and audits come after a third of it.
    pub ttl: Duration,
    /// How long a withdrawal waits for the agent to come back.
    pub linger: Duration,
    /// Longest wait for one write.
    pub write_timeout: Duration,
    /// Longest wait for one read.
    pub read_timeout: Duration,
    /// Most agents and services, each service of each agent counted, that this gateway publishes.
    pub entries_max: usize,
    /// Most routes that are remembered.
    pub routes_max: usize,
}

/// Settings that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The address could not be told to other gateways.
    #[error(
        "the peer address must be 1 to {} visible ASCII characters without spaces, not {address:?}",
        limits::PEER_ADDRESS_BYTES_MAX
    )]
    PeerAddress {
        /// The refused address.
        address: String,
    },
    /// The times do not fit together.
    #[error("the times do not fit together")]
    Times(#[source] bowline_converge::SettingsError),
    /// A write could reach the store after the tombstone of a later removal is gone.
    #[error("with time-outs of {write:?} and {read:?} a write may outlive a tombstone of {TOMBSTONE_TTL:?}")]
    TimeoutsTooLong {
        /// The time-out of writes.
        write: Duration,
        /// The time-out of reads.
        read: Duration,
    },
}

impl Settings {
    /// The default times for a gateway whose peer port other gateways reach at `peer_address`.
    ///
    /// # Errors
    /// [`SettingsError::PeerAddress`].
    pub fn new(gateway: GatewayId, zone: ZoneName, peer_address: &str) -> Result<Self, SettingsError> {
        let fits = (1..=limits::PEER_ADDRESS_BYTES_MAX).contains(&peer_address.len());
        if !fits || !peer_address.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SettingsError::PeerAddress { address: peer_address.to_owned() });
        }
        Ok(Self {
            gateway,
            zone,
            peer_address: peer_address.to_owned(),
            epoch: bowline_rt::random::epoch(),
            ttl: limits::TTL,
            linger: limits::LINGER,
            write_timeout: limits::WRITE_TIMEOUT,
            read_timeout: limits::READ_TIMEOUT,
            entries_max: bowline_converge::limits::KEYS_MAX,
            routes_max: limits::ROUTES_MAX,
        })
    }

    /// Checks what [`crate::Registry::start`] relies on.
    ///
    /// # Errors
    /// [`SettingsError::Times`], [`SettingsError::TimeoutsTooLong`].
    pub fn check(&self) -> Result<(), SettingsError> {
        let (write, read) = (self.write_timeout, self.read_timeout);
        // The store's clock is estimated from an answer, which may have been as long on its way as an answer may be.
        if write.max(read).saturating_add(write).saturating_add(limits::LATE_SLACK) >= TOMBSTONE_TTL {
            return Err(SettingsError::TimeoutsTooLong { write, read });
        }
        self.converge().check().map_err(SettingsError::Times)
    }

    pub(crate) fn converge(&self) -> bowline_converge::Settings {
        bowline_converge::Settings {
            lease: Some(self.ttl),
            renew_after: self.ttl / 3,
            audit_period: self.ttl / 3,
            linger: self.linger,
            // The calls themselves end by then; the core's own clock is there for one that does not.
            write_timeout: self.write_timeout + limits::LATE_SLACK / 2,
            observe_timeout: self.read_timeout + limits::LATE_SLACK / 2,
            keys_max: self.entries_max,
            ..bowline_converge::Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_the_record_or_the_fence_is_refused() {
        let check = |address: &str| {
            let (gateway, zone) = ("g1".parse().expect("a name"), "z1".parse().expect("a name"));
            Settings::new(gateway, zone, address).map(|settings| settings.check())
        };
        assert_eq!(check("10.0.0.1:7003"), Ok(Ok(())));
        let (gateway, zone) = ("g1".parse().expect("a name"), "z1".parse().expect("a name"));
        let mut patient = Settings::new(gateway, zone, "h:1").expect("an address");
        patient.write_timeout = Duration::from_secs(5);
        assert!(matches!(patient.check(), Err(SettingsError::TimeoutsTooLong { .. })));
        for address in ["", "a b:1", "a\n:1", "ä:1", &"x".repeat(301)] {
            assert_eq!(check(address), Err(SettingsError::PeerAddress { address: address.to_owned() }));
        }
    }
}
