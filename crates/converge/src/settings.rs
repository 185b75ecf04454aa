//! What the owner of a core decides about times and bounds.

use std::time::Duration;

use crate::limits;

/// Times and bounds of one core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long the copy keeps a value that is not written again; `None` if it keeps values for ever.
    pub lease: Option<Duration>,
    /// Age at which a value is written again to renew its lease. Jittered down by up to a quarter.
    pub renew_after: Duration,
    /// Time between two audits. Jittered down by up to a quarter.
    pub audit_period: Duration,
    /// After "the copy may be lost" the audit starts within this time, at random, so that a fleet does not stampede.
    pub doubt_spread: Duration,
    /// How long a removal waits for the key to be set again. Such a flap costs no write.
    pub linger: Duration,
    /// After this time without an outcome a write counts as [`crate::Outcome::Unknown`].
    pub write_timeout: Duration,
    /// After this time without an answer an observation counts as failed.
    pub observe_timeout: Duration,
    /// Upper end of the first back-off of a key; it doubles with every failure in a row.
    pub backoff_base: Duration,
    /// Upper end of every later back-off.
    pub backoff_cap: Duration,
    /// Most writes in one batch.
    pub batch_writes_max: usize,
    /// Most batches that hold a slot at once; further writes gather until one is free.
    pub batches_in_flight_max: usize,
    /// Most writes in flight at once. Only when as many hang do further keys wait for them, for a write time-out at most.
    pub writes_in_flight_max: usize,
    /// How long a batch may hold its slot; its unfinished writes go on without one.
    pub batch_patience: Duration,
    /// Most keys that one observation asks for.
    pub audit_keys_max: usize,
    /// Most keys with a local truth.
    pub keys_max: usize,
    /// Most removed keys that are remembered for the audit.
    pub removed_keys_max: usize,
}

impl Default for Settings {
    /// A lease of 30 s, renewed and audited after 10 s, a linger of 3 s, and a write time-out of 1 s.
    fn default() -> Self {
        Self {
            lease: Some(Duration::from_secs(30)),
            renew_after: Duration::from_secs(10),
            audit_period: Duration::from_secs(10),
            doubt_spread: Duration::from_millis(250),
            linger: Duration::from_secs(3),
            write_timeout: Duration::from_secs(1),
            observe_timeout: Duration::from_secs(1),
            backoff_base: limits::BACKOFF_BASE,
            backoff_cap: limits::BACKOFF_CAP,
            batch_writes_max: limits::BATCH_WRITES_MAX,
            batches_in_flight_max: limits::BATCHES_IN_FLIGHT_MAX,
            writes_in_flight_max: limits::WRITES_IN_FLIGHT_MAX,
            batch_patience: limits::BATCH_PATIENCE,
            audit_keys_max: limits::AUDIT_KEYS_MAX,
            keys_max: limits::KEYS_MAX,
            removed_keys_max: limits::REMOVED_KEYS_MAX,
        }
    }
}

/// Settings under which a core could not keep its promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A bound or a time of zero would stop the core for ever, or spin it.
    #[error("{name} must not be zero")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// The lease could pass before a renewal that times out once is tried again.
    #[error(
        "a lease of {lease:?} leaves no time to try again: renewal after {renew_after:?}, write time-out {write_timeout:?}, \
         back-off up to {backoff_cap:?}"
    )]
    LeaseTooShort {
        /// The lease.
        lease: Duration,
        /// Age at which it is renewed.
        renew_after: Duration,
        /// Longest wait for a write.
        write_timeout: Duration,
        /// Longest back-off.
        backoff_cap: Duration,
    },
}

impl Settings {
    /// Checks what the core relies on.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), SettingsError> {
        let times = [
            ("renew_after", self.renew_after),
            ("audit_period", self.audit_period),
            ("write_timeout", self.write_timeout),
            ("observe_timeout", self.observe_timeout),
            ("backoff_base", self.backoff_base),
            ("backoff_cap", self.backoff_cap),
            ("batch_patience", self.batch_patience),
        ];
        let bounds = [
            ("batch_writes_max", self.batch_writes_max),
            ("batches_in_flight_max", self.batches_in_flight_max),
            ("writes_in_flight_max", self.writes_in_flight_max),
            ("audit_keys_max", self.audit_keys_max),
            ("keys_max", self.keys_max),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(SettingsError::Zero { name });
        }
        if let Some((name, _)) = bounds.into_iter().find(|(_, bound)| *bound == 0) {
            return Err(SettingsError::Zero { name });
        }
        let second_try = self.renew_after + self.write_timeout + self.backoff_cap;
        match self.lease {
            Some(lease) if lease <= second_try => Err(SettingsError::LeaseTooShort {
                lease,
                renew_after: self.renew_after,
                write_timeout: self.write_timeout,
                backoff_cap: self.backoff_cap,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert_eq!(Settings::default().check(), Ok(()));
        let zero = Settings { keys_max: 0, ..Settings::default() };
        assert_eq!(zero.check(), Err(SettingsError::Zero { name: "keys_max" }));
        let short = Settings { lease: Some(Duration::from_secs(11)), ..Settings::default() };
        let error = short.check().expect_err("11 s is too short").to_string();
        assert_eq!(
            error,
            "a lease of 11s leaves no time to try again: renewal after 10s, write time-out 1s, back-off up to 500ms"
        );
    }
}
