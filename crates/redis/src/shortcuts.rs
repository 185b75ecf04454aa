//! The commonest commands as methods. Each builds one [`Command`] and asks for its answer; for every other command, for options
//! and deadlines, that is the way to go: [`Client::query`].

use std::time::Duration;

use crate::client::Client;
use crate::command::Command;
use crate::reply::{FromReply, QueryError};

/// What `SET` does beside giving a key a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetOptions {
    expiry: Expiry,
    condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expiry {
    #[default]
    Never,
    AsBefore,
    In(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Condition {
    #[default]
    Always,
    Absent,
    Present,
}

impl SetOptions {
    /// Sets the key whatever it holds, for ever.
    #[must_use]
    pub const fn new() -> Self {
        Self { expiry: Expiry::Never, condition: Condition::Always }
    }

    /// The key is gone after this time, which counts in whole milliseconds; a part of one counts as one. The server refuses
    /// zero.
    #[must_use]
    pub const fn expires_in(mut self, time: Duration) -> Self {
        self.expiry = Expiry::In(time);
        self
    }

    /// The key is gone when its former value would have been.
    #[must_use]
    pub const fn keeps_expiry(mut self) -> Self {
        self.expiry = Expiry::AsBefore;
        self
    }

    /// Only if the key does not exist.
    #[must_use]
    pub const fn if_absent(mut self) -> Self {
        self.condition = Condition::Absent;
        self
    }

    /// Only if the key exists.
    #[must_use]
    pub const fn if_present(mut self) -> Self {
        self.condition = Condition::Present;
        self
    }

    fn append_to(self, command: Command) -> Command {
        let command = match self.expiry {
            Expiry::Never => command,
            Expiry::AsBefore => command.arg("KEEPTTL"),
            Expiry::In(time) => command.arg("PX").number(milliseconds(time)),
        };
        match self.condition {
            Condition::Always => command,
            Condition::Absent => command.arg("NX"),
            Condition::Present => command.arg("XX"),
        }
    }
}

/// Rounded up, so that nothing lives shorter than it was told to, and bounded by what the server can count.
fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// Shortcuts. Each is `query` of one command, with its errors and its cancel safety; none is repeated when its fate is unknown,
/// but for those that only read.
impl Client {
    /// `GET`: the value of a key; `None` if there is none.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn get<T: FromReply>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, QueryError> {
        self.query(Command::new("GET").arg(key)).await
    }

    /// `SET`: gives a key a value, for ever.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), QueryError> {
        self.query(Command::new("SET").arg(key).arg(value)).await
    }

    /// `SET` with options. Tells whether it was done: an unmet condition is no error.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: SetOptions,
    ) -> Result<bool, QueryError> {
        let command = options.append_to(Command::new("SET").arg(key).arg(value));
        Ok(self.query::<Option<()>>(command).await?.is_some())
    }

    /// `DEL`: removes keys and tells how many there were. In a cluster they must be in one slot; else there is
    /// [`Client::over_slots`].
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn del(&self, keys: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<u64, QueryError> {
        self.query(Command::new("DEL").args(keys)).await
    }

    /// `EXISTS` of one key.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool, QueryError> {
        self.query(Command::new("EXISTS").arg(key)).await
    }

    /// `INCRBY`: adds to a counter, which begins at 0, and tells the sum.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn incr(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, QueryError> {
        self.query(Command::new("INCRBY").arg(key).number(by)).await
    }

    /// `PEXPIRE`: lets a key be gone after this time, rounded up to milliseconds; zero removes it now. `false` if there is no such
    /// key.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn expire(&self, key: impl AsRef<[u8]>, time: Duration) -> Result<bool, QueryError> {
        self.query(Command::new("PEXPIRE").arg(key).number(milliseconds(time))).await
    }

    /// `HGET`: a field of a hash; `None` if there is none.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn hget<T: FromReply>(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
    ) -> Result<Option<T>, QueryError> {
        self.query(Command::new("HGET").arg(key).arg(field)).await
    }

    /// `HSET` of one field. Tells whether it is new.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn hset(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, QueryError> {
        self.query(Command::new("HSET").arg(key).arg(field).arg(value)).await
    }

    /// `HGETALL`: a whole hash, as a map, a `Vec` of pairs, or what else takes pairs; empty if there is none.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn hgetall<T: FromReply>(&self, key: impl AsRef<[u8]>) -> Result<T, QueryError> {
        self.query(Command::new("HGETALL").arg(key)).await
    }

    /// `HDEL`: removes fields of a hash and tells how many there were.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn hdel(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item: AsRef<[u8]>>,
    ) -> Result<u64, QueryError> {
        self.query(Command::new("HDEL").arg(key).args(fields)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_bounded() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(5)), 5);
        assert_eq!(milliseconds(Duration::MAX), i64::MAX);
    }
}
