//! Commands that travel together: a pipeline, or a transaction.

use std::time::Duration;

use bowline_resp::Frame;
use bytes::BytesMut;

use crate::command::Command;
use crate::error::{CallError, NotSent, ServerError, Unknown};
use crate::limits::BATCH_COMMANDS_MAX;
use crate::request::{Replies, Request};
use crate::table::Shape;

/// The answers to a batch or a transaction, in the order of its commands: a value, or the server's error for that command.
pub type Answers = Vec<Result<Frame, ServerError>>;

/// Several commands that are sent one behind the other, with nothing between them, and whose answers come back together. The
/// server may run commands of others between them; see [`Transaction`].
///
/// A batch ends as a whole: if its connection is lost, the fate of all of it is unknown, even where some answers had come. It is
/// idempotent if all its commands are.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    commands: Vec<Command>,
    deadline: Option<Duration>,
}

impl Batch {
    /// A batch without commands.
    #[must_use]
    pub const fn new() -> Self {
        Self { commands: Vec::new(), deadline: None }
    }

    /// Appends a command. Its own deadline is ignored.
    #[must_use]
    pub fn command(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }

    /// Limits the time that the call may take in all.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Number of commands.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is no command in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The commands, in order.
    pub(crate) fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Whether a connection may carry it; `check` judges each command.
    pub(crate) fn check(
        &self,
        bytes_max: usize,
        check: impl Fn(&Command, usize) -> Result<(), NotSent>,
    ) -> Result<(), NotSent> {
        let refused = |why| NotSent::Refused { command: "a batch", why };
        if self.is_empty() {
            return Err(refused("it has no commands"));
        }
        if self.len() > BATCH_COMMANDS_MAX {
            return Err(refused("it has more commands than one may have"));
        }
        self.commands.iter().try_for_each(|command| check(command, bytes_max))?;
        self.check_size(bytes_max)
    }

    /// Whether there can ever be room for it. Waiting for more than there is would keep everybody behind it waiting too.
    pub(crate) fn check_size(&self, bytes_max: usize) -> Result<(), NotSent> {
        let bytes = self.size_bytes();
        if bytes > bytes_max { Err(NotSent::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }
}

impl Request for Batch {
    fn size_bytes(&self) -> usize {
        self.commands.iter().map(Request::size_bytes).sum()
    }

    fn write_to(&self, out: &mut BytesMut) {
        out.reserve(self.size_bytes());
        self.commands.iter().for_each(|command| command.write_to(out));
    }

    fn replies(&self) -> Replies {
        Replies::Each(self.commands.iter().map(Command::shape).collect())
    }

    fn is_idempotent(&self) -> bool {
        self.commands.iter().all(Request::is_idempotent)
    }

    fn deadline_or(&self, default: Duration) -> Duration {
        self.deadline.unwrap_or(default.saturating_add(self.blocks_for()))
    }

    fn blocks_for(&self) -> Duration {
        self.commands.iter().fold(Duration::ZERO, |sum, command| sum.saturating_add(command.blocks_for()))
    }
}

/// The answers of a batch out of the array in which the connection delivers them.
pub(crate) fn answers(frame: Frame) -> Answers {
    let frames = frame.into_elements().expect("a batch is answered by an array");
    frames.into_iter().map(answer).collect()
}

fn answer(frame: Frame) -> Result<Frame, ServerError> {
    match frame {
        Frame::Error(text) => Err(ServerError::new(&text)),
        frame => Ok(frame),
    }
}

/// Commands that the server runs without anything between them (`MULTI` and `EXEC`). They are sent at once and as a whole.
///
/// A transaction is not undone when one of its commands fails: that command's answer is an error, and the others have run. If
/// the server refuses to queue one (no such command, wrong number of arguments, out of memory), none runs, and the call ends with
/// that error.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    commands: Batch,
}

impl Transaction {
    /// A transaction without commands.
    #[must_use]
    pub const fn new() -> Self {
        Self { commands: Batch::new() }
    }

    /// Appends a command. Its own deadline is ignored.
    #[must_use]
    pub fn command(mut self, command: Command) -> Self {
        self.commands = self.commands.command(command);
        self
    }

    /// Limits the time that the call may take in all.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.commands.deadline = Some(deadline);
        self
    }

    /// The commands, in order.
    pub(crate) fn commands(&self) -> &[Command] {
        self.commands.commands()
    }

    /// Whether a shared connection may carry it. What blocks does not block in a transaction; what changes the connection
    /// does so beyond the transaction.
    pub(crate) fn check_shared(&self, bytes_max: usize) -> Result<(), NotSent> {
        self.commands.check(bytes_max, Command::check_shared_and_queued)
    }

    /// Whether a connection that one caller has to itself may carry it.
    pub(crate) fn check_dedicated(&self, bytes_max: usize) -> Result<(), NotSent> {
        self.commands.check(bytes_max, Command::check_dedicated_and_queued)
    }

    /// What the answers mean: `None` if a watched key had changed, so that nothing was run.
    pub(crate) fn outcome(&self, frame: Frame) -> Result<Option<Answers>, CallError> {
        let mut queued = answers(frame);
        let exec = queued.pop().expect("EXEC is answered");
        let refused = queued.iter().position(Result::is_err);
        // Without MULTI each command ran by itself, if it ran.
        if refused == Some(0) && queued.iter().any(Result::is_ok) {
            return Err(Unknown::Torn.into());
        }
        match (exec, refused) {
            // Why a command was not queued says more than that the transaction was not run.
            (Err(_), Some(first)) => Err(queued.swap_remove(first).expect_err("it is one").into()),
            (Err(error), None) => Err(error.into()),
            (Ok(Frame::Null | Frame::NullArray), _) => Ok(None),
            (Ok(Frame::Array(frames)), _) if frames.len() == self.commands.len() => {
                Ok(Some(answers(Frame::Array(frames))))
            }
            (Ok(_), _) => Err(Unknown::Torn.into()),
        }
    }
}

impl Request for Transaction {
    fn size_bytes(&self) -> usize {
        MULTI.len() + self.commands.size_bytes() + EXEC.len()
    }

    fn write_to(&self, out: &mut BytesMut) {
        out.reserve(self.size_bytes());
        out.extend_from_slice(MULTI);
        self.commands.write_to(out);
        out.extend_from_slice(EXEC);
    }

    /// Where `MULTI` is refused, by a user's rights for one, each command is run by itself and answered as such.
    fn replies(&self) -> Replies {
        let queued = self.commands().iter().map(|command| command.shape().or(Shape::STATUS));
        Replies::Each([Shape::STATUS].into_iter().chain(queued).chain([Shape::LIST_OR_NULL]).collect())
    }

    fn is_idempotent(&self) -> bool {
        self.commands.is_idempotent()
    }

    fn deadline_or(&self, default: Duration) -> Duration {
        self.commands.deadline.unwrap_or(default)
    }
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str) -> Command {
        Command::new("SET").arg(key).arg("1")
    }

    #[test]
    fn a_transaction_is_written_whole() {
        let transaction = Transaction::new().command(set("a")).command(set("b"));
        let mut out = BytesMut::new();
        transaction.write_to(&mut out);
        assert_eq!(out.len(), transaction.size_bytes());
        assert!(out.starts_with(MULTI) && out.ends_with(EXEC));
        let Replies::Each(shapes) = transaction.replies() else { unreachable!("it has several answers") };
        assert_eq!(shapes.len(), 4);
    }

    #[test]
    fn the_outcome_of_a_transaction_is_that_of_exec() {
        let transaction = Transaction::new().command(set("a"));
        let check = |frames: Vec<Frame>, expected: Result<Option<Answers>, CallError>| {
            assert_eq!(transaction.outcome(Frame::Array(frames)), expected);
        };
        let queued = || Frame::Simple("QUEUED".into());
        let error = |text: &str| ServerError::new(text.as_bytes());
        let exec = Frame::Array(vec![Frame::error("WRONGTYPE x")]);
        check(vec![Frame::ok(), queued(), exec], Ok(Some(vec![Err(error("WRONGTYPE x"))])));
        check(vec![Frame::ok(), queued(), Frame::Null], Ok(None));
        let abort = || Frame::error("EXECABORT x");
        check(vec![Frame::ok(), Frame::error("OOM x"), abort()], Err(error("OOM x").into()));
        check(vec![Frame::ok(), queued(), abort()], Err(error("EXECABORT x").into()));
        let too_many = Frame::Array(vec![Frame::ok(), Frame::ok()]);
        check(vec![Frame::ok(), queued(), too_many], Err(Unknown::Torn.into()));
        // The server refused MULTI: then the command ran by itself, or was refused too.
        let without = || Frame::error("ERR EXEC without MULTI");
        let refused = || Frame::error("NOPERM x");
        check(vec![refused(), Frame::ok(), without()], Err(Unknown::Torn.into()));
        check(vec![refused(), refused(), without()], Err(error("NOPERM x").into()));
    }

    #[test]
    fn what_would_shift_answers_cannot_be_part_of_a_batch() {
        let batch = |command| Batch::new().command(command);
        let check = |batch: &Batch, check: fn(&Command, usize) -> Result<(), NotSent>| {
            batch.check(1000, check).is_ok()
        };
        assert!(check(&batch(set("a")), Command::check_shared));
        assert!(!check(&Batch::new(), Command::check_shared), "no commands");
        let pop = batch(Command::new("BLPOP").args(["a", "1.5"]));
        assert!(!check(&pop, Command::check_shared) && check(&pop, Command::check_dedicated));
        assert_eq!(pop.blocks_for(), Duration::from_millis(1500));
        let queued = |name| Transaction::new().command(Command::new(name).arg("1"));
        let queued =
            |name| (queued(name).check_shared(1000).is_ok(), queued(name).check_dedicated(1000).is_ok());
        for name in ["SELECT", "READONLY", "READWRITE", "ASKING"] {
            assert_eq!(queued(name), (false, true), "{name} lasts longer than its transaction");
        }
        assert_eq!((queued("WATCH"), queued("UNWATCH")), ((false, false), (false, false)));
        assert_eq!(queued("BLPOP"), (true, true), "it does not block");
        for never in ["MULTI", "SUBSCRIBE", "HELLO", "MONITOR"] {
            let never = batch(Command::new(never));
            assert!(!check(&never, Command::check_shared) && !check(&never, Command::check_dedicated));
        }
    }
}
