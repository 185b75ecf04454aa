//! The commands as a table of data: what each is called, what it takes, what it does to keys, and the function that
//! runs it. The server's own commands (connections, scripts) use the same [`Spec`] in their own table.

mod bitmaps;
mod expiry;
mod hashes;
pub mod introspect;
mod keys;
mod lcs;
mod scan;
mod spec;
mod strings;

use bytes::Bytes;

use crate::error::CommandError;
use crate::keyspace::Keyspace;
use crate::number::integer;
use crate::reply::Reply;

pub use spec::{Flags, Group, Keys, Spec, Subcommand, unknown_subcommand};

/// How a command ends: with its reply written, or refused before anything of it was written.
pub type Outcome = Result<(), CommandError>;

/// One command of the table.
#[derive(Debug)]
pub struct Command {
    /// What it takes.
    pub spec: Spec,
    /// What it does. Its arity was checked.
    pub run: fn(&mut Call<'_>) -> Outcome,
}

/// Every command of the key space.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    let tables = [
        strings::COMMANDS,
        lcs::COMMANDS,
        bitmaps::COMMANDS,
        hashes::COMMANDS,
        keys::COMMANDS,
        expiry::COMMANDS,
        scan::COMMANDS,
    ];
    tables.into_iter().flatten()
}

/// One call of a command.
pub struct Call<'a> {
    /// The data.
    pub keyspace: &'a mut Keyspace,
    /// The selected database.
    pub database: usize,
    /// Unix milliseconds; the same throughout a script or a transaction.
    pub now_ms: i64,
    /// The name of the command and its arguments, as they were sent.
    pub arguments: &'a [Bytes],
    /// Where the reply goes.
    pub reply: &'a mut dyn Reply,
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Arguments are the users' data: they do not belong into logs.
        f.debug_struct("Call")
            .field("database", &self.database)
            .field("arguments", &self.arguments.len())
            .finish()
    }
}

impl<'a> Call<'a> {
    /// Runs a command whose arity fits, as one unit of effects, and writes its refusal as an error reply.
    ///
    /// # Errors
    /// The refusal, for those who count.
    pub fn run(mut self, command: &Command) -> Result<(), CommandError> {
        self.keyspace.effects.begin();
        let outcome = (command.run)(&mut self);
        self.keyspace.effects.end();
        outcome.inspect_err(|error| error.write(self.reply))
    }

    pub(crate) fn argument(&self, index: usize) -> &'a [u8] {
        &self.arguments[index]
    }

    pub(crate) fn integer_argument(&self, index: usize) -> Result<i64, CommandError> {
        integer(self.argument(index))
    }

    /// The effect of this call is the call itself.
    pub(crate) fn effect_as_sent(&mut self) {
        self.keyspace.effects.push_as_sent(self.database, self.arguments);
    }

    pub(crate) fn effect(&mut self, arguments: &[&[u8]]) {
        self.keyspace.effects.push(self.database, arguments);
    }

    /// Whether the key is there, for commands that do not look at its value.
    pub(crate) fn exists(&mut self, key: &[u8]) -> bool {
        self.keyspace.find(self.database, key, self.now_ms).is_some()
    }
}

/// Whether an argument is this word of the protocol, in whatever case.
pub(crate) fn is_word(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}
