//! CONFIG: the parameters that clients and tools ask for, of which a few can be changed while the store runs.

use std::time::Duration;

use bowline_keyspace::command::{Flags, Group, Subcommand, unknown_subcommand};
use bowline_keyspace::glob::Glob;
use bowline_keyspace::number::parse_integer;
use bowline_keyspace::{CommandError, Reply};

use super::{Outcome, Request, ServerCommand, keyless, row};
use crate::limits::{SLOWLOG_LENGTH_MAX, WRITE_STALL_MAX};
use crate::server::Server;
use crate::settings::Password;

const FLAGS: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

const SUBCOMMANDS: &[Subcommand] = &[("get", -3), ("help", 2), ("resetstat", 2), ("rewrite", 2), ("set", -4)];

pub(super) const COMMANDS: &[ServerCommand] = &[row(
    keyless("config", -2, FLAGS).with(SUBCOMMANDS),
    Group::Server,
    "2.0.0",
    "shows and changes settings",
    config,
)];

/// What makes a change that was found to be possible.
type Apply = Box<dyn FnOnce(&Server)>;

/// Reads a value; `None` refuses it. Nothing is changed before all values of a CONFIG SET were read.
type Change = fn(&[u8]) -> Option<Apply>;

/// A change that stores a value.
fn apply<T: 'static>(value: T, store: fn(&Server, T)) -> Apply {
    Box::new(move |server| store(server, value))
}

struct Parameter {
    name: &'static str,
    show: fn(&Server) -> String,
    change: Option<Change>,
}

const fn fixed(name: &'static str, show: fn(&Server) -> String) -> Parameter {
    Parameter { name, show, change: None }
}

const fn tunable(name: &'static str, show: fn(&Server) -> String, change: Change) -> Parameter {
    Parameter { name, show, change: Some(change) }
}

/// By name, as CONFIG GET answers them.
const PARAMETERS: &[Parameter] = &[
    fixed("appendfsync", |_| "everysec".to_owned()),
    fixed("appendonly", |_| "no".to_owned()),
    fixed("bind", |server| server.address.ip().to_string()),
    fixed("client-output-buffer-limit", |_| {
        let (limit, seconds) = (crate::limits::OUTPUT_BYTES_MAX, WRITE_STALL_MAX.as_secs());
        format!("normal {limit} 0 {seconds} slave 0 0 0 pubsub 0 0 0")
    }),
    fixed("client-query-buffer-limit", |_| bowline_resp::limits::REQUEST_BYTES_MAX.to_string()),
    fixed("cluster-enabled", |_| "no".to_owned()),
    fixed("databases", |server| server.keyspace.borrow().databases().to_string()),
    fixed("dbfilename", |_| String::new()),
    fixed("dir", |_| String::new()),
    tunable("hash-max-listpack-entries", hash_fields, set_hash_fields),
    tunable("hash-max-listpack-value", hash_bytes, set_hash_bytes),
    tunable("hash-max-ziplist-entries", hash_fields, set_hash_fields),
    tunable("hash-max-ziplist-value", hash_bytes, set_hash_bytes),
    fixed("hz", |_| "10".to_owned()),
    tunable("lua-time-limit", script_limit, set_script_limit),
    tunable("busy-reply-threshold", script_limit, set_script_limit),
    tunable(
        "maxclients",
        |server| server.tunables.clients_max.get().to_string(),
        |value| {
            let clients_max = number(value).filter(|&value| value > 0)?;
            Some(apply(clients_max, |server, value| server.tunables.clients_max.set(value)))
        },
    ),
    tunable(
        "maxmemory",
        |server| server.keyspace.borrow().memory_max_bytes().to_string(),
        |value| {
            Some(apply(memory(value)?, |server, value| {
                server.keyspace.borrow_mut().set_memory_max_bytes(value);
            }))
        },
    ),
    fixed("maxmemory-policy", |_| "noeviction".to_owned()),
    fixed("notify-keyspace-events", |_| String::new()),
    fixed("port", |server| server.address.port().to_string()),
    fixed("proto-max-bulk-len", |_| bowline_resp::limits::BULK_BYTES_MAX.to_string()),
    tunable(
        "requirepass",
        // The password is known by its digest only.
        |_| String::new(),
        |value| {
            let password = (!value.is_empty()).then(|| Password::new(value));
            Some(apply(password, |server, value| *server.tunables.password.borrow_mut() = value))
        },
    ),
    fixed("save", |_| String::new()),
    tunable(
        "slowlog-log-slower-than",
        |server| {
            server
                .tunables
                .slowlog_threshold
                .get()
                .map_or("-1".to_owned(), |time| time.as_micros().to_string())
        },
        |value| {
            let micros = parse_integer(value).filter(|&micros| micros >= -1)?;
            let threshold = u64::try_from(micros).ok().map(Duration::from_micros);
            Some(apply(threshold, |server, value| server.tunables.slowlog_threshold.set(value)))
        },
    ),
    tunable(
        "slowlog-max-len",
        |server| server.tunables.slowlog_length.get().to_string(),
        |value| {
            let length = number(value).filter(|&length| length <= SLOWLOG_LENGTH_MAX)?;
            Some(apply(length, |server, value| server.tunables.slowlog_length.set(value)))
        },
    ),
    fixed("tcp-keepalive", |_| "15".to_owned()),
    tunable(
        "timeout",
        |server| server.tunables.idle_timeout.get().map_or(0, |timeout| timeout.as_secs()).to_string(),
        |value| {
            let seconds = u64::try_from(number(value)?).ok()?;
            let timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            Some(apply(timeout, |server, value| server.tunables.idle_timeout.set(value)))
        },
    ),
];

fn number(value: &[u8]) -> Option<usize> {
    parse_integer(value).and_then(|number| usize::try_from(number).ok())
}

/// A number of bytes, with a unit.
fn memory(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?.to_ascii_lowercase();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number(digits.as_bytes())?.checked_mul(unit)
}

fn hash_fields(server: &Server) -> String {
    server.keyspace.borrow().hash_limits.fields.to_string()
}

fn set_hash_fields(value: &[u8]) -> Option<Apply> {
    Some(apply(number(value)?, |server, value| server.keyspace.borrow_mut().hash_limits.fields = value))
}

fn hash_bytes(server: &Server) -> String {
    server.keyspace.borrow().hash_limits.bytes.to_string()
}

fn set_hash_bytes(value: &[u8]) -> Option<Apply> {
    Some(apply(memory(value)?, |server, value| server.keyspace.borrow_mut().hash_limits.bytes = value))
}

fn script_limit(server: &Server) -> String {
    server.tunables.script_timeout.get().as_millis().to_string()
}

fn set_script_limit(value: &[u8]) -> Option<Apply> {
    let limit_ms = u64::try_from(number(value)?).ok().filter(|&limit_ms| limit_ms > 0)?;
    let limit = Duration::from_millis(limit_ms);
    Some(apply(limit, |server, value| server.tunables.script_timeout.set(value)))
}

fn find(name: &[u8]) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| name.eq_ignore_ascii_case(parameter.name.as_bytes()))
}

fn config(request: &mut Request<'_>) -> Outcome {
    let subcommand = request.word(1);
    match subcommand.as_str() {
        "get" => get(request),
        "set" if request.arguments.len().is_multiple_of(2) => set(request),
        "set" => Err(CommandError::Syntax),
        "resetstat" => {
            request.server.reset_statistics();
            request.output.ok();
            Ok(())
        }
        "rewrite" => Err(CommandError::text("ERR The server is running without a config file")),
        "help" => {
            let lines = [
                "CONFIG <subcommand> [<arg> ...]. Subcommands are:",
                "GET <pattern> [<pattern> ...]",
                "SET <parameter> <value> [<parameter> <value> ...]",
                "RESETSTAT",
            ];
            request.output.array(lines.len());
            lines.iter().for_each(|line| request.output.simple(line));
            Ok(())
        }
        _ => Err(unknown_subcommand("config", request.argument(1))),
    }
}

fn get(request: &mut Request<'_>) -> Outcome {
    let mut globs: Vec<Glob<'_>> = request.arguments[2..].iter().map(|pattern| Glob::new(pattern)).collect();
    let mut found = Vec::new();
    for parameter in PARAMETERS {
        let mut fits = false;
        for glob in &mut globs {
            fits |= glob.matches(parameter.name.as_bytes(), true)?;
        }
        found.extend(fits.then_some(parameter));
    }
    request.output.map(found.len());
    for parameter in found {
        request.output.bulk(parameter.name.as_bytes());
        request.output.bulk((parameter.show)(request.server).as_bytes());
    }
    Ok(())
}

fn set(request: &mut Request<'_>) -> Outcome {
    let refusal = |name: &[u8], why: &str| {
        let name = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
        CommandError::Other(
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}").into(),
        )
    };
    let pairs = || request.arguments[2..].chunks_exact(2);
    for pair in pairs() {
        let Some(parameter) = find(&pair[0]) else {
            let name = String::from_utf8_lossy(&pair[0][..pair[0].len().min(64)]).into_owned();
            let text = format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
            return Err(CommandError::Other(text.into()));
        };
        // Setting what is set already is not a change: tools do it to be sure.
        if parameter.change.is_none() && (parameter.show)(request.server).as_bytes() != pair[1] {
            return Err(refusal(&pair[0], "can't set immutable config"));
        }
    }
    let mut changes = Vec::new();
    for pair in pairs() {
        let change = find(&pair[0]).and_then(|parameter| parameter.change);
        if let Some(change) = change {
            changes.push(change(&pair[1]).ok_or_else(|| refusal(&pair[0], "argument couldn't be parsed"))?);
        }
    }
    changes.into_iter().for_each(|change| change(request.server));
    request.output.ok();
    Ok(())
}
