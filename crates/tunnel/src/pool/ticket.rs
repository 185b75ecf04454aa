//! Tickets: what a tunnel shows to prove that it was asked for.
//!
//! A ticket is 32 bytes: 8 that name the session and are no secret, and 24 random ones (192 bits) that are. It is good
//! once and for a short time. Secrets are compared without a shortcut, all that are out in every case, so that the time
//! of a refusal tells nothing.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

/// Bytes of a ticket that name the session.
const SESSION_BYTES: usize = 8;
/// Bytes of a ticket that are secret.
const SECRET_BYTES: usize = 24;

/// The secret part of a ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A secret from random bytes.
    pub fn from_random(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = [0; SECRET_BYTES];
        fill(&mut bytes);
        Self(bytes)
    }

    /// Whether both are equal, in a time that does not depend on where they differ.
    fn equals(&self, other: &Self) -> bool {
        let difference =
            self.0.iter().zip(&other.0).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A whole ticket, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The session that issued it.
    pub session: u64,
    /// What proves it.
    pub secret: Secret,
}

impl Ticket {
    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.session.to_be_bytes().as_slice(), self.secret.0.as_slice()].concat()
    }

    /// Reads the bytes on the wire; `None` if they have another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (session, secret) = bytes.split_at_checked(SESSION_BYTES)?;
        let session = u64::from_be_bytes(session.try_into().ok()?);
        Some(Self { session, secret: Secret(secret.try_into().ok()?) })
    }
}

/// Why a ticket is not accepted. Deliberately one answer for forged, used and expired ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ticket is unknown, used up or too old")]
pub struct TicketRefused;

/// The tickets of one session that are out, oldest first.
#[derive(Debug, Default)]
pub struct TicketBook {
    out: VecDeque<(Secret, Instant)>,
}

impl TicketBook {
    /// How many are out.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Notes a new one. `expires_at` must not be before that of the one issued last.
    pub fn issue(&mut self, secret: Secret, expires_at: Instant) {
        debug_assert!(self.out.back().is_none_or(|(_, last)| *last <= expires_at), "tickets expire in order");
        self.out.push_back((secret, expires_at));
    }

    /// Accepts a ticket, once.
    pub fn redeem(&mut self, secret: &Secret, now: Instant) -> Result<(), TicketRefused> {
        self.remove(secret, |expires_at| now < expires_at)
    }

    /// Forgets a ticket that will not be used.
    pub fn revoke(&mut self, secret: &Secret) -> Result<(), TicketRefused> {
        self.remove(secret, |_| true)
    }

    fn remove(&mut self, secret: &Secret, is_good: impl Fn(Instant) -> bool) -> Result<(), TicketRefused> {
        let mut found = None;
        for (index, (known, expires_at)) in self.out.iter().enumerate() {
            if known.equals(secret) && is_good(*expires_at) {
                found = Some(index);
            }
        }
        let index = found.ok_or(TicketRefused)?;
        self.out.remove(index);
        Ok(())
    }

    /// Forgets the expired ones.
    pub fn expire(&mut self, now: Instant) {
        let expired = self.out.iter().take_while(|(_, expires_at)| *expires_at <= now).count();
        self.out.drain(..expired);
    }

    /// When the next one expires.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.out.front().map(|(_, expires_at)| *expires_at)
    }
}
