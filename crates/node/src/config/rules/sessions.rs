//! Rules of the session service. Signatures say who asks, and TLS keeps values from who is on the way.

use bowline_api::sessions::limits::{LIFETIME_MAX, TTL_MIN, VALUE_BYTES_MAX};

use super::{Verdict, check_client_port};
use crate::config::ServerConfig;
use crate::limits::{LIMIT_MAX, SESSIONS_MEMORY_BYTES_MIN};

/// Judges the section, also while the service is off: what is wrong should be known before it is on.
pub(super) fn check(config: &ServerConfig, verdict: &mut Verdict) {
    let sessions = &config.sessions;
    verdict.check_range("sessions.value_bytes", sessions.value_bytes, VALUE_BYTES_MAX);
    verdict.check_range("sessions.connections", sessions.connections, LIMIT_MAX);
    verdict.check_duration("sessions.lifetime", sessions.lifetime, TTL_MIN, LIFETIME_MAX);
    if let Some(ttl) = sessions.ttl {
        verdict.check_duration("sessions.ttl", ttl, TTL_MIN, sessions.lifetime.0.max(TTL_MIN));
    }
    if sessions.memory_bytes < SESSIONS_MEMORY_BYTES_MIN {
        let text = format!("{} is too little", sessions.memory_bytes);
        verdict.problem(
            "sessions.memory_bytes",
            text,
            format!("give it {SESSIONS_MEMORY_BYTES_MIN} or more"),
        );
    }
    let insecure = sessions.insecure_plaintext || config.insecure_plaintext;
    if sessions.keys_file.is_some() {
        let port = (&sessions.listen, sessions.tls, insecure);
        check_client_port("sessions", port, config.tls.is_some(), verdict);
    }
}
