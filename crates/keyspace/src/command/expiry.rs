//! Commands on the life time of keys.

use crate::error::CommandError;
use crate::table::NEVER;

use super::spec::{Flags, Group, Keys, Spec};
use super::{Call, Command, Outcome, is_word};

const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

const fn row(
    spec: Spec,
    since: &'static str,
    summary: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
) -> Command {
    Command { spec: spec.about(Group::Generic, since, summary), run }
}

pub const COMMANDS: &[Command] = &[
    row(Spec::new("expire", -3, WRITE_FAST, Keys::ONE), "1.0.0", "lets a key expire in seconds", expire),
    row(
        Spec::new("pexpire", -3, WRITE_FAST, Keys::ONE),
        "2.6.0",
        "lets a key expire in milliseconds",
        pexpire,
    ),
    row(
        Spec::new("expireat", -3, WRITE_FAST, Keys::ONE),
        "1.2.0",
        "lets a key expire at a unix time",
        expireat,
    ),
    row(Spec::new("pexpireat", -3, WRITE_FAST, Keys::ONE), "2.6.0", "the same in milliseconds", pexpireat),
    row(Spec::new("ttl", 2, READ_FAST, Keys::ONE), "1.0.0", "seconds that a key has left", ttl),
    row(Spec::new("pttl", 2, READ_FAST, Keys::ONE), "2.6.0", "milliseconds that a key has left", pttl),
    row(
        Spec::new("expiretime", 2, READ_FAST, Keys::ONE),
        "7.0.0",
        "unix time at which a key expires",
        expiretime,
    ),
    row(Spec::new("pexpiretime", 2, READ_FAST, Keys::ONE), "7.0.0", "the same in milliseconds", pexpiretime),
    row(Spec::new("persist", 2, WRITE_FAST, Keys::ONE), "2.2.0", "lets a key live for ever", persist),
];

/// How a point in time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadlineKind {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl DeadlineKind {
    /// The option of SET and GETEX.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let kinds = [
            ("ex", Self::Seconds),
            ("px", Self::Milliseconds),
            ("exat", Self::UnixSeconds),
            ("pxat", Self::UnixMilliseconds),
        ];
        kinds.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, kind)| kind)
    }

    /// The time in unix milliseconds, if it can be written as a number.
    fn absolute_ms(self, value: i64, now_ms: i64) -> Option<i64> {
        match self {
            Self::Seconds => value.checked_mul(1_000)?.checked_add(now_ms),
            Self::Milliseconds => value.checked_add(now_ms),
            Self::UnixSeconds => value.checked_mul(1_000),
            Self::UnixMilliseconds => Some(value),
        }
        // The largest number means "never" in the table.
        .map(|at_ms| at_ms.min(NEVER - 1))
    }
}

/// The time that the argument at `index` names, which must be positive.
pub(super) fn deadline(
    call: &Call<'_>,
    index: usize,
    kind: DeadlineKind,
    command: &'static str,
) -> Result<i64, CommandError> {
    let value = call.integer_argument(index)?;
    kind.absolute_ms(value, call.now_ms).filter(|_| value > 0).ok_or(CommandError::InvalidExpire(command))
}

fn expire(call: &mut Call<'_>) -> Outcome {
    expire_as(call, DeadlineKind::Seconds, "expire")
}

fn pexpire(call: &mut Call<'_>) -> Outcome {
    expire_as(call, DeadlineKind::Milliseconds, "pexpire")
}

fn expireat(call: &mut Call<'_>) -> Outcome {
    expire_as(call, DeadlineKind::UnixSeconds, "expireat")
}

fn pexpireat(call: &mut Call<'_>) -> Outcome {
    expire_as(call, DeadlineKind::UnixMilliseconds, "pexpireat")
}

#[derive(Default)]
struct Conditions {
    without: bool,
    with: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn parse(call: &Call<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for word in &call.arguments[3..] {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => conditions.without = true,
                b"xx" => conditions.with = true,
                b"gt" => conditions.later = true,
                b"lt" => conditions.earlier = true,
                _ => {
                    let word = String::from_utf8_lossy(&word[..word.len().min(128)]);
                    return Err(CommandError::Other(format!("ERR Unsupported option {word}").into()));
                }
            }
        }
        if conditions.without && (conditions.with || conditions.later || conditions.earlier) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(CommandError::text(text));
        }
        if conditions.later && conditions.earlier {
            return Err(CommandError::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether a key with this expiry may get the other one. No expiry counts as infinite.
    fn hold(&self, current: Option<i64>, wanted: i64) -> bool {
        !(self.without && current.is_some()
            || self.with && current.is_none()
            || self.later && current.is_none_or(|current| wanted <= current)
            || self.earlier && current.is_some_and(|current| wanted >= current))
    }
}

fn expire_as(call: &mut Call<'_>, kind: DeadlineKind, name: &'static str) -> Outcome {
    let conditions = Conditions::parse(call)?;
    let value = call.integer_argument(2)?;
    let at_ms = kind.absolute_ms(value, call.now_ms).ok_or(CommandError::InvalidExpire(name))?;
    let key = call.argument(1);
    let entry = call.keyspace.find(call.database, key, call.now_ms);
    let Some(current) = entry.map(|entry| entry.expires_at_ms()) else {
        call.reply.integer(0);
        return Ok(());
    };
    if !conditions.hold(current, at_ms) {
        call.reply.integer(0);
        return Ok(());
    }
    if at_ms <= call.now_ms {
        call.keyspace.remove(call.database, key);
        call.effect(&[b"DEL", key]);
    } else {
        call.keyspace.set_expiry(call.database, key, Some(at_ms));
        call.effect(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at_ms).as_bytes()]);
    }
    call.reply.integer(1);
    Ok(())
}

/// Writes −2 for no key, −1 for no expiry, else what `show` makes of the time.
fn reply_time(call: &mut Call<'_>, show: impl Fn(i64) -> i64) -> Outcome {
    let entry = call.keyspace.find(call.database, call.argument(1), call.now_ms);
    let time = match entry.map(|entry| entry.expires_at_ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => show(at_ms),
    };
    call.reply.integer(time);
    Ok(())
}

/// Rounds to the nearest second.
fn to_seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1_000
}

fn ttl(call: &mut Call<'_>) -> Outcome {
    let now_ms = call.now_ms;
    reply_time(call, |at_ms| to_seconds((at_ms - now_ms).max(0)))
}

fn pttl(call: &mut Call<'_>) -> Outcome {
    let now_ms = call.now_ms;
    reply_time(call, |at_ms| (at_ms - now_ms).max(0))
}

fn expiretime(call: &mut Call<'_>) -> Outcome {
    reply_time(call, to_seconds)
}

fn pexpiretime(call: &mut Call<'_>) -> Outcome {
    reply_time(call, |at_ms| at_ms)
}

fn persist(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let entry = call.keyspace.find(call.database, key, call.now_ms);
    let expires = entry.is_some_and(|entry| entry.expires_at_ms().is_some());
    if expires {
        call.keyspace.set_expiry(call.database, key, None);
        call.effect_as_sent();
    }
    call.reply.truth(expires);
    Ok(())
}
