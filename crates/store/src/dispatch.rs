//! From a request to its command: every check that Redis makes before a command runs, in the same order.

use std::rc::Rc;
use std::time::Instant;

use bowline_keyspace::command::Flags;
use bowline_keyspace::{Call, CommandError, Reply};
use bowline_rt::time::now;
use bytes::Bytes;

use crate::client::Session;
use crate::commands::{Action, Entry, unknown_command};
use crate::output::Output;
use crate::server::{Counters, Server, SlowCommand, shortened};

/// Commands that act at once inside MULTI instead of being queued.
const NEVER_QUEUED: [&str; 6] = ["exec", "discard", "multi", "watch", "quit", "reset"];

/// Runs or queues one request and writes its reply. `started` is now; the answer is the time when it was done.
pub(crate) fn dispatch(
    server: &Rc<Server>,
    session: &mut Session,
    request: &[Bytes],
    now_ms: i64,
    started: Instant,
    output: &mut Output,
) -> Instant {
    let before = output.buffer.len();
    Counters::add(&server.counters.commands, 1);
    let mut ran = None;
    match admit(server, session, request, now_ms, output) {
        Err(refusal) => reject(server, session, request, &refusal, output),
        Ok(None) => {}
        Ok(Some(entry)) => {
            let clock = Clock { now_ms, started, full: None };
            // Its refusal, if any, was written and counted.
            let _ = run(server, session, entry, request, clock, output);
            ran = Some(entry);
        }
    }
    session.client.queued.set(match session.transaction.open() {
        true => i64::try_from(session.transaction.queued()).unwrap_or(i64::MAX),
        false => -1,
    });
    if session.replies.silent() {
        output.buffer.truncate(before);
    }
    session.replies.step();
    let ended = now();
    if let Some(entry) = ran {
        server.commands.statistics(entry).note_time(ended.saturating_duration_since(started));
    }
    note_if_slow(server, session, request, started, ended);
    ended
}

/// Writes and counts a refusal; a transaction that was to have the command is not run.
fn reject(
    server: &Server,
    session: &mut Session,
    request: &[Bytes],
    refusal: &CommandError,
    output: &mut Output,
) {
    session.transaction.abort();
    server.counters.note_error(refusal);
    if let Some(entry) = server.commands.find(&request[0]) {
        server.commands.statistics(entry).reject();
    }
    refusal.write(output);
}

/// The checks before a command runs. `None` if it was queued.
fn admit(
    server: &Server,
    session: &mut Session,
    request: &[Bytes],
    now_ms: i64,
    output: &mut Output,
) -> Result<Option<Entry>, CommandError> {
    let Some(entry) = server.commands.find(&request[0]) else {
        if is_http(&request[0]) {
            end_http(server, session);
        }
        return Err(unknown_command(request));
    };
    let spec = entry.spec();
    spec.check(request)?;
    if session.stranger_since.is_some() && server.tunables.password.borrow().is_none() {
        // The password was taken away meanwhile.
        session.stranger_since = None;
    }
    if session.stranger_since.is_some() && !spec.flags.has(Flags::NO_AUTH) {
        return Err(CommandError::text("NOAUTH Authentication required."));
    }
    if session.transaction.open() && spec.flags.has(Flags::NO_MULTI) {
        return Err(CommandError::text("ERR Command not allowed inside a transaction"));
    }
    if spec.flags.has(Flags::DENYOOM) && server.memory_is_full(now_ms) {
        return Err(CommandError::OutOfMemory);
    }
    if session.transaction.open() && !NEVER_QUEUED.contains(&spec.name) {
        // Copies, because the request is a part of a large read buffer, which would stay alive.
        let copies = request.iter().map(|argument| Bytes::copy_from_slice(argument)).collect();
        if !session.transaction.push(copies) {
            return Err(CommandError::text("ERR the transaction is too large"));
        }
        output.simple("QUEUED");
        return Ok(None);
    }
    Ok(Some(entry))
}

/// Whether this is the start of what a browser sends: a page in it may be made to talk to us, with commands in the body.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Ends the connection before anything of such a request is taken for a command.
fn end_http(server: &Server, session: &mut Session) {
    session.hang_up = true;
    if let Some(left_out) = server.http_ration.admit() {
        let peer = session.client.peer;
        tracing::warn!(%peer, left_out, "possible attack: a client sends POST or Host: to the store; cut off");
    }
}

/// When a request began. All commands of a transaction share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Unix milliseconds.
    pub now_ms: i64,
    pub started: Instant,
    /// Whether memory was full when a transaction began; `None` outside of one.
    pub full: Option<bool>,
}

/// Runs a command that was admitted; writes and counts its refusal, if any.
pub(crate) fn run(
    server: &Rc<Server>,
    session: &mut Session,
    entry: Entry,
    arguments: &[Bytes],
    clock: Clock,
    output: &mut Output,
) -> Result<(), CommandError> {
    session.client.command.set(entry.spec().name);
    let outcome = match entry.action() {
        Action::Keyspace(command) => {
            let mut keyspace = server.keyspace.borrow_mut();
            let (database, now_ms) = (session.database(), clock.now_ms);
            Call { keyspace: &mut keyspace, database, now_ms, arguments, reply: output }.run(command)
        }
        Action::Server(command) => {
            let mut request = crate::commands::Request { server, session, arguments, clock, output };
            let outcome = (command.run)(&mut request);
            outcome.inspect_err(|error| error.write(output))
        }
    };
    server.commands.statistics(entry).note(outcome.is_err());
    outcome.inspect_err(|error| server.counters.note_error(error))
}

fn note_if_slow(server: &Server, session: &Session, request: &[Bytes], started: Instant, ended: Instant) {
    let took = ended.saturating_duration_since(started);
    if server.tunables.slowlog_threshold.get().is_none_or(|threshold| took < threshold) {
        return;
    }
    // Passwords must not be kept.
    let secret =
        [b"auth".as_slice(), b"hello", b"config"].iter().any(|name| request[0].eq_ignore_ascii_case(name));
    if secret {
        return;
    }
    let entry = SlowCommand {
        id: 0,
        unix_seconds: bowline_rt::time::unix_time().as_secs(),
        took,
        arguments: shortened(request),
        peer: session.client.peer,
        client_name: session.client.name.borrow().clone(),
    };
    server.slowlog.borrow_mut().push(entry, server.tunables.slowlog_length.get());
}
