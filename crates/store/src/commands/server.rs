//! COMMAND, TIME, SHUTDOWN, SLOWLOG.

use bowline_keyspace::command::introspect::SUBCOMMANDS;
use bowline_keyspace::command::{Flags, Group, Subcommand, unknown_subcommand};
use bowline_keyspace::number::parse_integer;
use bowline_keyspace::{CommandError, Reply};
use bytes::Bytes;

use super::{Outcome, Request, ServerCommand, keyless, row};
use crate::server::{Server, SlowCommand};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

const SLOWLOG: &[Subcommand] = &[("get", -2), ("help", 2), ("len", 2), ("reset", 2)];

pub(super) const COMMANDS: &[ServerCommand] = &[
    row(
        keyless("command", -1, Flags::LOADING.and(Flags::STALE)).with(SUBCOMMANDS),
        Group::Server,
        "2.8.13",
        "describes the commands",
        command,
    ),
    row(
        keyless("time", 1, Flags::FAST.and(Flags::LOADING).and(Flags::STALE)),
        Group::Server,
        "2.6.0",
        "unix time of the server: seconds and microseconds",
        time,
    ),
    row(
        keyless("shutdown", -1, ADMIN.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY)),
        Group::Server,
        "1.0.0",
        "ends the store",
        shutdown,
    ),
    row(
        keyless("slowlog", -2, Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE)).with(SLOWLOG),
        Group::Server,
        "2.2.12",
        "commands that took long",
        slowlog_command,
    ),
];

fn command(request: &mut Request<'_>) -> Outcome {
    request.server.commands.describe(request.arguments, request.output)
}

fn time(request: &mut Request<'_>) -> Outcome {
    let now = bowline_rt::time::unix_time();
    request.output.array(2);
    request.output.bulk(now.as_secs().to_string().as_bytes());
    request.output.bulk(now.subsec_micros().to_string().as_bytes());
    Ok(())
}

fn shutdown(request: &mut Request<'_>) -> Outcome {
    for index in 1..request.arguments.len() {
        match request.word(index).as_str() {
            "nosave" | "save" | "now" | "force" => {}
            "abort" => return Err(CommandError::text("ERR No shutdown in progress.")),
            _ => return Err(CommandError::Syntax),
        }
    }
    if !request.server.settings.shutdown_allowed {
        return Err(CommandError::text(
            "ERR SHUTDOWN is not allowed: this store is a part of another process",
        ));
    }
    tracing::info!(peer = %request.session.client.peer, "a client asked the store to shut down");
    request.session.closing = true;
    request.server.stop.cancel();
    Ok(())
}

fn slowlog_command(request: &mut Request<'_>) -> Outcome {
    slowlog(request.server, request.arguments, request.output)
}

/// SLOWLOG, for clients and for scripts.
pub(crate) fn slowlog(server: &Server, arguments: &[Bytes], output: &mut dyn Reply) -> Outcome {
    let mut log = server.slowlog.borrow_mut();
    match (arguments[1].to_ascii_lowercase().as_slice(), &arguments[2..]) {
        (b"len", []) => output.count(log.entries.len()),
        (b"reset", []) => {
            log.entries.clear();
            output.ok();
        }
        (b"get", rest @ ([] | [_])) => {
            let count = match rest.first() {
                None => 10,
                Some(count) => parse_integer(count)
                    .filter(|&count| count >= -1)
                    .ok_or(CommandError::text("ERR count should be greater than or equal to -1"))?,
            };
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(log.entries.len());
            output.array(count);
            log.entries.iter().take(count).for_each(|entry| write_slow_command(entry, output));
        }
        (b"get", _) => return Err(CommandError::Syntax),
        (b"help", []) => {
            let lines = [
                "SLOWLOG <subcommand> [<arg> ...]. Subcommands are:",
                "GET [<count>]: the newest entries (10; -1 for all)",
                "LEN: how many there are",
                "RESET: forgets them",
            ];
            output.array(lines.len());
            lines.iter().for_each(|line| output.simple(line));
        }
        _ => return Err(unknown_subcommand("slowlog", &arguments[1])),
    }
    Ok(())
}

fn write_slow_command(entry: &SlowCommand, output: &mut dyn Reply) {
    output.array(6);
    output.integer(i64::try_from(entry.id).unwrap_or(i64::MAX));
    output.integer(i64::try_from(entry.unix_seconds).unwrap_or(i64::MAX));
    output.integer(i64::try_from(entry.took.as_micros()).unwrap_or(i64::MAX));
    output.array(entry.arguments.len());
    entry.arguments.iter().for_each(|argument| output.bulk(argument));
    output.bulk(entry.peer.to_string().as_bytes());
    output.bulk(entry.client_name.as_bytes());
}
