//! What a cluster has to know about a request: where it belongs, who may answer it, and whether an answer says that nothing of
//! it was run.

use std::time::Duration;

use bowline_resp::Frame;
use bytes::BytesMut;

use crate::batch::{Batch, Transaction};
use crate::cluster::ReadFrom;
use crate::cluster::course::Refusal;
use crate::cluster::error::RouteError;
use crate::cluster::key::Slot;
use crate::command::Command;
use crate::request::{Replies, Request};
use crate::table::Shape;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// A request that can be sent to a cluster.
pub(crate) trait Routed: Request {
    /// The slot that it belongs to; `None` if any primary will do.
    fn slot(&self) -> Result<Option<Slot>, RouteError>;

    /// From whom it may read if `default` holds where it says nothing. [`ReadFrom::Primary`] for what may write.
    fn reads_from(&self, default: ReadFrom) -> ReadFrom;

    /// The refusal of the node at `asked`, if `answer` says that it has run nothing of the request.
    fn refusal(&self, answer: &Frame, asked: &str) -> Option<Refusal>;

    /// The same request for a node to which a slot is on its way.
    fn asking(&self) -> Asking;

    /// The answer to [`Routed::asking`] as it were without `ASKING`. If that was refused, the answers behind it are those of a
    /// node that redirects.
    fn without_asking(&self, answers: Vec<Frame>) -> Option<Frame>;
}

/// A request with `ASKING` in front, encoded anew: it is rare.
#[derive(Debug)]
pub(crate) struct Asking {
    bytes: BytesMut,
    shapes: Box<[Shape]>,
    is_idempotent: bool,
}

impl Request for Asking {
    fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn write_to(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.bytes);
    }

    fn replies(&self) -> Replies {
        Replies::Each(self.shapes.clone())
    }

    fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    fn deadline_or(&self, default: Duration) -> Duration {
        default
    }
}

impl Routed for Command {
    fn slot(&self) -> Result<Option<Slot>, RouteError> {
        self.route()
    }

    fn reads_from(&self, default: ReadFrom) -> ReadFrom {
        match self.read_from_or(default) {
            ReadFrom::Primary => ReadFrom::Primary,
            other if self.only_reads() => other,
            _ => ReadFrom::Primary,
        }
    }

    fn refusal(&self, answer: &Frame, asked: &str) -> Option<Refusal> {
        refusal(answer, asked)
    }

    fn asking(&self) -> Asking {
        let mut bytes = BytesMut::from(ASKING);
        self.write_to(&mut bytes);
        let shapes = Box::new([Shape::STATUS, self.shape()]);
        Asking { bytes, shapes, is_idempotent: self.is_idempotent() }
    }

    fn without_asking(&self, mut answers: Vec<Frame>) -> Option<Frame> {
        answers.pop()
    }
}

impl Routed for Batch {
    fn slot(&self) -> Result<Option<Slot>, RouteError> {
        common_slot(self.commands())
    }

    fn reads_from(&self, default: ReadFrom) -> ReadFrom {
        common_source(self.commands(), default)
    }

    /// Only if every command was refused: of a batch that has run in part nothing is sent again.
    fn refusal(&self, answer: &Frame, asked: &str) -> Option<Refusal> {
        let Frame::Array(answers) = answer else { return None };
        let refusals: Option<Vec<_>> = answers.iter().map(|answer| refusal(answer, asked)).collect();
        refusals?.into_iter().next()
    }

    /// `ASKING` holds for one command.
    fn asking(&self) -> Asking {
        let mut bytes = BytesMut::new();
        for command in self.commands() {
            bytes.extend_from_slice(ASKING);
            command.write_to(&mut bytes);
        }
        let shapes = self.commands().iter().flat_map(|command| [Shape::STATUS, command.shape()]);
        Asking { bytes, shapes: shapes.collect(), is_idempotent: self.is_idempotent() }
    }

    fn without_asking(&self, answers: Vec<Frame>) -> Option<Frame> {
        Some(Frame::Array(answers.into_iter().skip(1).step_by(2).collect()))
    }
}

impl Routed for Transaction {
    fn slot(&self) -> Result<Option<Slot>, RouteError> {
        common_slot(self.commands())
    }

    fn reads_from(&self, default: ReadFrom) -> ReadFrom {
        common_source(self.commands(), default)
    }

    /// `EXEC` was refused, or aborted because a command was refused before.
    fn refusal(&self, answer: &Frame, asked: &str) -> Option<Refusal> {
        let Frame::Array(answers) = answer else { return None };
        let (exec, queued) = answers.split_last()?;
        // Where MULTI was refused, the commands were run by themselves.
        let (Frame::Error(aborted), Frame::Simple(_)) = (exec, queued.first()?) else { return None };
        if let Some(refusal) = refusal(exec, asked) {
            return Some(refusal);
        }
        let queued = || queued.iter().find_map(|answer| refusal(answer, asked));
        aborted.starts_with(b"EXECABORT").then(queued)?
    }

    /// Within a transaction `ASKING` holds until `EXEC`.
    fn asking(&self) -> Asking {
        let mut bytes = BytesMut::from(ASKING);
        self.write_to(&mut bytes);
        let Replies::Each(shapes) = self.replies() else { unreachable!("a transaction has several answers") };
        let shapes = [Shape::STATUS].into_iter().chain(shapes);
        Asking { bytes, shapes: shapes.collect(), is_idempotent: self.is_idempotent() }
    }

    fn without_asking(&self, answers: Vec<Frame>) -> Option<Frame> {
        Some(Frame::Array(answers.into_iter().skip(1).collect()))
    }
}

fn refusal(answer: &Frame, asked: &str) -> Option<Refusal> {
    match answer {
        Frame::Error(text) => Refusal::read(text, asked),
        _ => None,
    }
}

/// The slot of all commands that have one.
fn common_slot(commands: &[Command]) -> Result<Option<Slot>, RouteError> {
    let mut common = None;
    for command in commands {
        let Some(other) = command.route()? else { continue };
        let first = *common.get_or_insert(other);
        if first != other {
            return Err(RouteError::CrossSlot { first, other });
        }
    }
    Ok(common)
}

/// A replica will do only if it does for each of them.
fn common_source(commands: &[Command], default: ReadFrom) -> ReadFrom {
    let mut sources = commands.iter().map(|command| command.reads_from(default));
    let first = sources.next().unwrap_or_default();
    if sources.all(|other| other == first) { first } else { ReadFrom::Primary }
}

#[cfg(test)]
#[path = "routed_tests.rs"]
mod tests;
