//! Commands on keys of several slots, divided among these. The cluster itself runs none of them as one: the caller has to ask for
//! it by name, because what was one step becomes several.

use std::collections::BTreeMap;

use bowline_resp::Frame;
use bowline_rt::time::now;
use futures_util::future::join_all;

use crate::client::Client;
use crate::cluster::ReadFrom;
use crate::cluster::key::Slot;
use crate::cluster::router::Way;
use crate::command::Command;
use crate::error::{CallError, NotSent};
use crate::reply::{ConversionError, FromReply, QueryError};
use crate::request::Request as _;

/// The commands that can be divided, and how many arguments there are for each key, the key included.
const DIVISIBLE: [(&str, usize); 6] =
    [("MGET", 1), ("EXISTS", 1), ("TOUCH", 1), ("DEL", 1), ("UNLINK", 1), ("MSET", 2)];

/// What came of the part of a command that concerns the keys of one slot. See [`Client::over_slots`].
#[derive(Debug, Clone, PartialEq)]
pub struct OnSlot {
    /// The keys that it concerns, by their places among the keys of the command; the first is 0.
    pub keys: Vec<usize>,
    /// What came of it.
    pub outcome: Result<Frame, CallError>,
}

/// A part, before it is sent.
#[derive(Debug)]
struct Part {
    keys: Vec<usize>,
    command: Command,
}

impl Client {
    /// Runs `MGET`, `EXISTS`, `TOUCH`, `DEL`, `UNLINK` or `MSET` on keys of several slots of a cluster: as one command for each
    /// slot, all at the same time and within one deadline. The result tells for each slot, and so for each key, what came of it, in
    /// the order of the first key of each. With a single server there is one part.
    ///
    /// It is not one step: others may see and change some keys between the parts, and some parts may fail, or be of unknown
    /// fate, while others are done. In particular **`MSET` is atomic within each slot only**. What may be sent again
    /// is decided for each part by itself.
    ///
    /// Cancel safe as [`Client::call`] is: each part may or may not be executed.
    ///
    /// ```no_run
    /// # async fn example(client: bowline_redis::Client) -> Result<(), bowline_redis::CallError> {
    /// use bowline_redis::Command;
    ///
    /// let keys = ["a", "b", "c"];
    /// for part in client.over_slots(Command::new("UNLINK").args(keys)).await? {
    ///     match part.outcome {
    ///         Ok(count) => println!("{:?} removed", count.as_integer()),
    ///         Err(error) => println!("{:?}: {error}", part.keys.iter().map(|&key| keys[key]).collect::<Vec<_>>()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NotSent::Refused`] in [`CallError`]: another command, no key, or an `MSET` with a key that has no value. Nothing was
    /// sent.
    pub async fn over_slots(&self, command: Command) -> Result<Vec<OnSlot>, CallError> {
        command.check_shared(self.bytes_max())?;
        let started = now();
        let deadline = command.deadline_or(self.settings().call_deadline);
        let is_divided = self.servers().primary().is_err();
        let calls = divide(&command, is_divided, self.settings().read_from)?.into_iter();
        let calls = calls.map(|Part { keys, command }| async move {
            let outcome = self.run_on(command.deadline(deadline), Way::default(), Some(started)).await;
            OnSlot { keys, outcome }
        });
        Ok(join_all(calls).await)
    }

    /// The values of keys in any slots (`MGET`): for each key its value, `None` if there is none, or why it could not be read. See
    /// [`Client::over_slots`].
    ///
    /// # Errors
    /// As [`Client::over_slots`].
    pub async fn mget_over_slots<T: FromReply>(
        &self,
        keys: impl IntoIterator<Item: AsRef<[u8]>>,
    ) -> Result<Vec<Result<Option<T>, QueryError>>, CallError> {
        let mut values = BTreeMap::new();
        for OnSlot { keys, outcome } in self.over_slots(Command::new("MGET").args(keys)).await? {
            match outcome.map_err(QueryError::from).and_then(|frame| elements(frame, keys.len())) {
                Ok(frames) => {
                    let converted =
                        frames.into_iter().map(|frame| Option::from_reply(frame).map_err(QueryError::from));
                    values.extend(keys.into_iter().zip(converted));
                }
                Err(error) => values.extend(keys.into_iter().map(|key| (key, Err(error.clone())))),
            }
        }
        Ok(values.into_values().collect())
    }
}

/// The answer to an `MGET` of `expected` keys.
fn elements(frame: Frame, expected: usize) -> Result<Vec<Frame>, QueryError> {
    let frames = Vec::<Frame>::from_reply(frame)?;
    match frames.len() {
        found if found == expected => Ok(frames),
        found => Err(ConversionError::Length { expected, found }.into()),
    }
}

/// One command for each slot, in the order of the first keys; the whole as one part if it is not to be divided. What is said of
/// the whole holds of each; where it does not say from whom to read, `read_from` does.
fn divide(command: &Command, is_divided: bool, read_from: ReadFrom) -> Result<Vec<Part>, NotSent> {
    let refused = |why| NotSent::Refused { command: "a command over slots", why };
    let row = DIVISIBLE.iter().find(|(name, _)| command.name().eq_ignore_ascii_case(name.as_bytes()));
    let &(name, step) =
        row.ok_or(refused("only MGET, EXISTS, TOUCH, DEL, UNLINK and MSET can be divided among slots"))?;
    let arguments: Vec<&[u8]> = command.arguments().skip(1).collect();
    if arguments.is_empty() {
        return Err(refused("it names no key"));
    }
    if !arguments.len().is_multiple_of(step) {
        return Err(refused("each key of MSET needs a value"));
    }
    let arguments: Vec<&[&[u8]]> = arguments.chunks_exact(step).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known = BTreeMap::new();
    for (key, arguments) in arguments.iter().enumerate() {
        let slot = is_divided.then(|| Slot::of(arguments[0]));
        let group = *known.entry(slot).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(key);
    }
    let parts = groups.into_iter().map(|keys| {
        let part = Command::new(name).args(keys.iter().flat_map(|&key| arguments[key]));
        let part = part.read_from(command.read_from_or(read_from));
        Part { keys, command: if command.is_idempotent() { part.idempotent() } else { part } }
    });
    Ok(parts.collect())
}

#[cfg(test)]
#[path = "over_slots_tests.rs"]
mod tests;
