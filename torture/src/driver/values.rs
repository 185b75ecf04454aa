//! What is in the server. Every value and every list names its key, so that an answer that belongs to another question shows.

use std::sync::Arc;

use anyhow::{Context, Result};
use bowline_redis::{Client, Command, Frame};
use bytes::Bytes;

use crate::limits::SOON;

/// Keys with values.
pub const KEYS: usize = 500;
/// Lists.
pub const LISTS: usize = MESSAGES.len();
/// Counters.
pub const COUNTERS: usize = 16;
/// The last of them belong to callers who never give up: of these, few fates are unknown, and a command that runs twice shows.
pub const PATIENT_COUNTERS: usize = 4;
/// Longest value. Small ones are more frequent.
const VALUE_BYTES_MAX: usize = 20_000;

/// Lists that read like messages; fred takes seven of the eight for some (driver.md 2.1).
pub const MESSAGES: [&[&str]; 8] = [
    &["subscribe", "a", "1"],
    &["unsubscribe", "a", "0"],
    &["message", "chan", "payload"],
    &["pmessage", "p*", "chan", "payload"],
    &["smessage", "chan", "payload"],
    &["invalidate", "k"],
    &["pubsub", "subscribe", "a", "1"],
    &["pubsub", "message", "chan", "payload"],
];

/// All values, made once.
#[derive(Debug, Clone)]
pub struct Values(Arc<Vec<Bytes>>);

impl Default for Values {
    fn default() -> Self {
        Self(Arc::new((0..KEYS).map(value).collect()))
    }
}

impl Values {
    /// The value of a key.
    #[must_use]
    pub fn of(&self, key: usize) -> &Bytes {
        &self.0[key]
    }

    /// Whose value this is.
    #[must_use]
    pub fn owner(&self, value: &[u8]) -> Option<usize> {
        self.0.iter().position(|other| other == value)
    }

    /// Writes them all, and the lists.
    ///
    /// # Errors
    /// The driver's.
    pub async fn fill(&self, client: &Client) -> Result<()> {
        for key in 0..KEYS {
            set(client, Command::new("SET").arg(value_key(key)).arg(self.of(key))).await?;
        }
        for (list, elements) in MESSAGES.into_iter().enumerate() {
            set(client, Command::new("DEL").arg(list_key(list))).await?;
            set(client, Command::new("RPUSH").arg(list_key(list)).args(elements)).await?;
        }
        Ok(())
    }
}

async fn set(client: &Client, command: Command) -> Result<()> {
    client.call(command.deadline(SOON)).await.context("cannot fill the server")?;
    Ok(())
}

/// The key whose value is read together with that of `key`. Both are in one slot of a cluster.
#[must_use]
pub const fn partner(key: usize) -> usize {
    key ^ 1
}

/// The name of a key. The counter of the same number is in the same slot of a cluster.
#[must_use]
pub fn value_key(key: usize) -> String {
    format!("value:{{{}}}:{key}", key / 2)
}

/// The name of a list.
#[must_use]
pub fn list_key(list: usize) -> String {
    format!("list:{list}")
}

/// The name of a counter.
#[must_use]
pub fn counter_key(counter: usize) -> String {
    format!("counter:{{{}}}:{counter}", counter / 2)
}

/// What `LRANGE` of a list answers.
#[must_use]
pub fn list(list: usize) -> Frame {
    Frame::Array(MESSAGES[list].iter().map(|&text| Frame::bulk(text)).collect())
}

fn value(key: usize) -> Bytes {
    // Cubes of an even spread: half of the values are below an eighth of the longest.
    let part = (key * 7919) % 1_000;
    let length = VALUE_BYTES_MAX * part * part * part / 1_000_000_000;
    let name = format!("{}:", value_key(key));
    // The end names the key as well: whole values are compared, and this shows whose end it is.
    let text = name.repeat(length / name.len() + 1);
    Bytes::from(text)
}
