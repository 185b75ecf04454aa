//! The one place that chooses the cryptography: aws-lc-rs, explicitly, so that no process-wide default matters.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// The cryptography of this process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// Makes session tickets under keys of its own, which it changes as time goes by.
pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

/// Certificates are judged by the seam's clock, so that the simulator can let them expire.
#[derive(Debug)]
pub(super) struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(bowline_rt::time::unix_time()))
    }
}
