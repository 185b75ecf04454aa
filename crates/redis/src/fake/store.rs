//! The data of a fake: a key space of Bowline's embedded store, and how closures of a test reach it.

use std::collections::BTreeMap;
use std::fmt;

use bowline_keyspace::command::{Command, Flags, commands};
use bowline_keyspace::{Call, CommandError, Keyspace, ReplyTree, ReplyValue, Settings};
use bowline_resp::{Frame, Protocol};
use bytes::Bytes;

use crate::limits::{FAKE_MEMORY_BYTES_MAX, FAKE_REPLY_BYTES_MAX};

/// The data, and the commands that work on it.
pub(super) struct Store {
    pub keyspace: Keyspace,
    /// By name in lower case.
    commands: BTreeMap<&'static str, &'static Command>,
}

/// The data of a [`Fake`](super::Fake) in the hands of a closure, which has it to itself as long as it runs.
pub struct Data<'a> {
    store: &'a mut Store,
    database: usize,
    now_ms: i64,
    protocol: Protocol,
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Data<'_> {
    /// Runs a command of the data (strings, hashes, bits, keys, expiry). Everything else, also what was given an answer by
    /// [`Fake::answer`](super::Fake::answer), brings an error.
    pub fn run(&mut self, command: impl IntoIterator<Item: AsRef<[u8]>>) -> Frame {
        let command = command.into_iter().map(|argument| Bytes::copy_from_slice(argument.as_ref()));
        let command: Vec<Bytes> = command.collect();
        let answer = match self.store.find(&command) {
            Some(found) => found.spec.check(&command).map(|()| self.run_found(found, &command)),
            None => Err(unknown_command(&command)),
        };
        answer.unwrap_or_else(|refusal| error(&refusal))
    }

    /// Runs a command whose number of arguments was checked.
    pub(super) fn run_found(&mut self, command: &Command, arguments: &[Bytes]) -> Frame {
        let keyspace = &mut self.store.keyspace;
        if command.spec.flags.has(Flags::DENYOOM) && keyspace.is_full() {
            return error(&CommandError::OutOfMemory);
        }
        let mut reply = ReplyTree::bounded(self.protocol == Protocol::Resp3, FAKE_REPLY_BYTES_MAX);
        let call =
            Call { keyspace, database: self.database, now_ms: self.now_ms, arguments, reply: &mut reply };
        // A refusal was written as the reply.
        drop(call.run(command));
        keyspace.reclaim();
        match reply.finish() {
            Some(reply) => frame(reply),
            None => Frame::error("ERR the answer is larger than the fake gives"),
        }
    }
}

impl Store {
    pub fn new() -> Self {
        let settings = Settings { memory_max_bytes: FAKE_MEMORY_BYTES_MAX, ..Settings::default() };
        Self {
            keyspace: Keyspace::new(&settings),
            commands: commands().map(|command| (command.spec.name, command)).collect(),
        }
    }

    pub fn data(&mut self, database: usize, now_ms: i64, protocol: Protocol) -> Data<'_> {
        Data { store: self, database, now_ms, protocol }
    }

    /// The command that a request names, in any case.
    pub fn find(&self, request: &[Bytes]) -> Option<&'static Command> {
        self.commands.get(word(request.first()?).as_str()).copied()
    }
}

/// An argument as text in lower case, for names and options.
pub(super) fn word(argument: &[u8]) -> String {
    String::from_utf8_lossy(argument).to_ascii_lowercase()
}

pub(super) fn error(refusal: &CommandError) -> Frame {
    Frame::error(refusal.to_string())
}

/// The refusal of what the fake has not. The first words are Redis'.
pub(super) fn unknown_command(request: &[Bytes]) -> CommandError {
    let name = request.first().map(|name| word(name)).unwrap_or_default();
    let text = format!(
        "ERR unknown command '{name}': the fake has no such command; give it an answer with Fake::answer"
    );
    CommandError::Other(text.into())
}

/// A reply as it goes over the wire.
fn frame(reply: ReplyValue) -> Frame {
    let frames = |values: Vec<ReplyValue>| values.into_iter().map(frame);
    match reply {
        ReplyValue::Simple(text) => Frame::Simple(text.into()),
        ReplyValue::Error(text) => Frame::error(text),
        ReplyValue::Integer(number) => Frame::Integer(number),
        ReplyValue::Bulk(bytes) => Frame::bulk(bytes),
        ReplyValue::Null => Frame::Null,
        ReplyValue::NullArray => Frame::NullArray,
        ReplyValue::Array(values) => Frame::Array(frames(values).collect()),
        ReplyValue::Set(values) => Frame::Set(frames(values).collect()),
        ReplyValue::Map(values) => {
            let mut values = frames(values);
            Frame::Map(std::iter::from_fn(|| values.next().zip(values.next())).collect())
        }
        ReplyValue::Double(number) => Frame::Double(number),
        ReplyValue::Boolean(yes) => Frame::Boolean(yes),
        ReplyValue::BigNumber(digits) => Frame::BigNumber(digits.into()),
        ReplyValue::Verbatim(format, text) => Frame::Verbatim { format, text: text.into() },
    }
}
