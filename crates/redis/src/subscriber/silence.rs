//! Whether the server is still there: by what is read, never by what is written.

use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::error::Death;
use crate::limits::{PUSHES_FOR_SILENCES, SILENCE_CHECKS};

/// The clock of one connection.
#[derive(Debug)]
pub(crate) struct Silence {
    silence_max: Duration,
    answer_max: Duration,
    check_interval: Duration,
    probe_interval: Duration,
    /// Silence before this is not the server's: bytes came, nothing was owed, or this process was asleep.
    since: Instant,
    /// This silence has been excused once with this process being asleep.
    is_excused: bool,
    /// When the silence is measured next; only while an answer is owed.
    next_check: Option<Instant>,
}

impl Silence {
    pub fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            silence_max: settings.silence_max,
            answer_max: settings.silence_max * PUSHES_FOR_SILENCES,
            check_interval: settings.silence_max / SILENCE_CHECKS,
            probe_interval: settings.probe_interval,
            since: now,
            is_excused: false,
            next_check: None,
        }
    }

    /// Bytes were read, or their lack proves nothing.
    pub const fn broken(&mut self, now: Instant) {
        self.since = now;
        self.is_excused = false;
    }

    /// The first answer is owed.
    pub fn begin(&mut self, now: Instant) {
        self.broken(now);
        self.next_check = Some(now + self.check_interval);
    }

    /// No answer is owed any more.
    pub const fn end(&mut self) {
        self.next_check = None;
    }

    /// When to look next.
    pub fn poll_timeout(&self) -> Instant {
        self.next_check.unwrap_or(self.since + self.probe_interval)
    }

    /// Whether nothing is owed and nothing came for so long that the server should be asked.
    pub fn wants_probe(&self, now: Instant) -> bool {
        self.next_check.is_none() && now >= self.since + self.probe_interval
    }

    /// Why the connection is dead, if it is. `oldest` is when the oldest request without an answer was sent: an answer that never
    /// comes is noticed even while messages do. A look that comes much too late means that this process was asleep; once, for one that
    /// is starved for good would otherwise never notice a dead server.
    pub fn check(&mut self, oldest: Option<Instant>, now: Instant) -> Option<Death> {
        let check_at = self.next_check.filter(|&check_at| now >= check_at)?;
        let oldest = oldest?;
        if now.saturating_duration_since(check_at) > self.check_interval && !self.is_excused {
            self.is_excused = true;
            self.since = now;
        }
        let silent_since = self.since.max(oldest);
        if now.saturating_duration_since(silent_since) >= self.silence_max {
            return Some(Death::Silent(self.silence_max));
        }
        let asleep = self.since == now;
        if !asleep && now.saturating_duration_since(oldest) >= self.answer_max {
            return Some(Death::Unanswered(self.answer_max));
        }
        self.next_check = Some((silent_since + self.silence_max).min(now + self.check_interval));
        None
    }
}
