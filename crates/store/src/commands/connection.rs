//! Commands on the connection itself.

use bowline_keyspace::command::{Flags, Group, Subcommand, unknown_subcommand};
use bowline_keyspace::number::parse_integer;
use bowline_keyspace::{CommandError, Reply};
use bowline_resp::Protocol;
use bowline_rt::time::now;

use super::{Outcome, Request, ServerCommand, keyless, kill, row};
use crate::client::Replies;
use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::output::Output;
use crate::server::REDIS_VERSION;

const FAST: Flags = Flags::FAST.and(Flags::LOADING).and(Flags::STALE);
const EARLY: Flags = FAST.and(Flags::NOSCRIPT).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

/// Those of Redis 7.0, with SETINFO and NO-TOUCH of 7.2, which new client libraries send.
const CLIENT: &[Subcommand] = &[
    ("caching", 3),
    ("getname", 2),
    ("getredir", 2),
    ("help", 2),
    ("id", 2),
    ("info", 2),
    ("kill", -3),
    ("list", -2),
    ("no-evict", 3),
    ("no-touch", 3),
    ("pause", -3),
    ("reply", 3),
    ("setinfo", 4),
    ("setname", 3),
    ("tracking", -3),
    ("trackinginfo", 2),
    ("unblock", -3),
    ("unpause", 2),
];

pub(super) const COMMANDS: &[ServerCommand] = &[
    row(keyless("ping", -1, Flags::FAST), Group::Connection, "1.0.0", "answers PONG or its argument", ping),
    row(keyless("echo", 2, FAST), Group::Connection, "1.0.0", "answers its argument", echo),
    row(keyless("select", 2, FAST), Group::Connection, "1.0.0", "selects a database", select),
    row(keyless("auth", -2, EARLY), Group::Connection, "1.0.0", "authenticates the connection", auth),
    row(
        keyless("hello", -1, EARLY),
        Group::Connection,
        "6.0.0",
        "chooses the protocol, and authenticates",
        hello,
    ),
    row(keyless("quit", -1, EARLY), Group::Connection, "1.0.0", "closes the connection", quit),
    row(
        keyless("reset", 1, EARLY),
        Group::Connection,
        "6.2.0",
        "sets the connection back to its start",
        reset,
    ),
    row(
        keyless("client", -2, Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE)).with(CLIENT),
        Group::Connection,
        "2.4.0",
        "shows, names and ends connections",
        client,
    ),
];

fn ping(request: &mut Request<'_>) -> Outcome {
    match request.arguments.len() {
        1 => request.output.simple("PONG"),
        2 => request.output.bulk(request.argument(1)),
        _ => return Err(CommandError::Arity("ping".into())),
    }
    Ok(())
}

fn echo(request: &mut Request<'_>) -> Outcome {
    request.output.bulk(request.argument(1));
    Ok(())
}

/// The database that an argument of SELECT names.
pub(crate) fn database(argument: &[u8], databases: usize) -> Result<usize, CommandError> {
    let number = parse_integer(argument).ok_or(CommandError::NotAnInteger)?;
    usize::try_from(number).ok().filter(|&number| number < databases).ok_or(CommandError::DatabaseIndex)
}

fn select(request: &mut Request<'_>) -> Outcome {
    let database = database(request.argument(1), request.server.keyspace.borrow().databases())?;
    request.session.client.database.set(database);
    request.output.ok();
    Ok(())
}

/// Lets the client in if the password is right. Without a password everybody is `default`.
fn authenticate(request: &mut Request<'_>, user: &[u8], password: &[u8]) -> Outcome {
    let right = user == b"default"
        && request
            .server
            .tunables
            .password
            .borrow()
            .as_ref()
            .is_none_or(|expected| expected.verify(password));
    if !right {
        tracing::info!(peer = %request.session.client.peer, "a client gave a wrong user or password");
        return Err(CommandError::text("WRONGPASS invalid username-password pair or user is disabled."));
    }
    request.session.stranger_since = None;
    Ok(())
}

fn auth(request: &mut Request<'_>) -> Outcome {
    let (user, password) = match request.arguments {
        [_, password] => {
            if request.server.tunables.password.borrow().is_none() {
                return Err(CommandError::text(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                ));
            }
            (b"default".as_slice(), password)
        }
        [_, user, password] => (user.as_ref(), password),
        _ => return Err(CommandError::Syntax),
    };
    authenticate(request, user, password)?;
    request.output.ok();
    Ok(())
}

fn hello(request: &mut Request<'_>) -> Outcome {
    let mut version = None;
    if request.arguments.len() > 1 {
        let text = "ERR Protocol version is not an integer or out of range";
        let number = parse_integer(request.argument(1)).ok_or(CommandError::text(text))?;
        version = Some(match number {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(CommandError::text("NOPROTO unsupported protocol version")),
        });
    }
    let mut name = None;
    let mut rest = request.arguments.get(2..).unwrap_or_default();
    while let Some(option) = rest.first() {
        match rest {
            [_, user, password, ..] if option.eq_ignore_ascii_case(b"auth") => {
                authenticate(request, user, password)?;
                rest = &rest[3..];
            }
            [_, given, ..] if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(client_name(given)?);
                rest = &rest[2..];
            }
            _ => {
                let option = String::from_utf8_lossy(&option[..option.len().min(64)]);
                return Err(CommandError::Other(
                    format!("ERR Syntax error in HELLO option '{option}'").into(),
                ));
            }
        }
    }
    if request.session.stranger_since.is_some() {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(name) = name {
        *request.session.client.name.borrow_mut() = name;
    }
    if let Some(version) = version {
        request.output.set_protocol(version);
        request.session.client.resp3.set(version == Protocol::Resp3);
    }
    let proto = if request.output.protocol() == Protocol::Resp3 { 3 } else { 2 };
    let id = i64::try_from(request.session.client.id).unwrap_or(i64::MAX);
    let output = &mut *request.output;
    output.map(7);
    for (field, text) in [("server", "redis"), ("version", REDIS_VERSION)] {
        output.bulk(field.as_bytes());
        output.bulk(text.as_bytes());
    }
    for (field, number) in [("proto", proto), ("id", id)] {
        output.bulk(field.as_bytes());
        output.integer(number);
    }
    for (field, text) in [("mode", "standalone"), ("role", "master")] {
        output.bulk(field.as_bytes());
        output.bulk(text.as_bytes());
    }
    output.bulk(b"modules");
    output.array(0);
    Ok(())
}

fn quit(request: &mut Request<'_>) -> Outcome {
    request.output.ok();
    request.session.closing = true;
    Ok(())
}

fn reset(request: &mut Request<'_>) -> Outcome {
    let session = &mut *request.session;
    session.transaction.discard(&mut request.server.keyspace.borrow_mut());
    session.client.database.set(0);
    session.client.name.borrow_mut().clear();
    session.client.resp3.set(false);
    session.client.no_evict.set(false);
    session.replies = Replies::default();
    session.stranger_since = request.server.tunables.password.borrow().is_some().then(now);
    request.output.set_protocol(Protocol::Resp2);
    request.output.simple("RESET");
    Ok(())
}

fn client_name(name: &[u8]) -> Result<String, CommandError> {
    let valid = name.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if !valid {
        let text = "ERR Client names cannot contain spaces, newlines or special characters.";
        return Err(CommandError::text(text));
    }
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Err(CommandError::text("ERR the name is too long"));
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn client(request: &mut Request<'_>) -> Outcome {
    let subcommand = request.word(1);
    let me = request.session.client.clone();
    match subcommand.as_str() {
        "id" => request.output.integer(i64::try_from(me.id).unwrap_or(i64::MAX)),
        "getname" => match me.name.borrow().as_str() {
            "" => request.output.null(),
            name => request.output.bulk(name.as_bytes()),
        },
        "setname" => {
            *me.name.borrow_mut() = client_name(request.argument(2))?;
            request.output.ok();
        }
        "setinfo" => return set_library(request),
        "info" => {
            let line = format!("{}\n", me.describe(now(), true));
            request.output.verbatim(*b"txt", line.as_bytes());
        }
        "list" => return kill::list(request),
        "kill" => return kill::kill(request),
        "reply" => return reply_mode(request),
        "no-evict" => {
            me.no_evict.set(switch(request)?);
            request.output.ok();
        }
        // There is nothing that a look-up of this client could leave untouched but the idle time of a key.
        "no-touch" => {
            switch(request)?;
            request.output.ok();
        }
        "pause" => return pause(request),
        // Nobody can pause this server.
        "unpause" => request.output.ok(),
        "tracking" => return tracking(request),
        "trackinginfo" => write_tracking(request.output),
        "caching" => {
            let text = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
                        OPTOUT mode enabled";
            return Err(CommandError::text(text));
        }
        // No client tracks keys or waits for them.
        "getredir" => request.output.integer(-1),
        "unblock" => {
            parse_integer(request.argument(2)).ok_or(CommandError::NotAnInteger)?;
            request.output.integer(0);
        }
        "help" => help(request),
        _ => return Err(unknown_subcommand("client", request.argument(1))),
    }
    Ok(())
}

/// The argument "on" or "off".
fn switch(request: &Request<'_>) -> Result<bool, CommandError> {
    match request.word(2).as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

/// A pause of no time is none; others are refused, because commands of other clients are never held back here.
fn pause(request: &mut Request<'_>) -> Outcome {
    let text = "ERR timeout is not an integer or out of range";
    let timeout_ms = parse_integer(request.argument(2)).ok_or(CommandError::text(text))?;
    match request.arguments.get(3).map(|mode| mode.to_ascii_lowercase()).as_deref() {
        None | Some(b"all" | b"write") if request.arguments.len() <= 4 => {}
        _ => return Err(CommandError::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    }
    match timeout_ms {
        ..0 => Err(CommandError::text("ERR timeout is negative")),
        0 => {
            request.output.ok();
            Ok(())
        }
        _ => Err(CommandError::text("ERR CLIENT PAUSE is not supported by the Bowline store")),
    }
}

fn tracking(request: &mut Request<'_>) -> Outcome {
    if switch(request)? {
        return Err(CommandError::text("ERR CLIENT TRACKING is not supported by the Bowline store"));
    }
    request.output.ok();
    Ok(())
}

fn write_tracking(output: &mut Output) {
    output.map(3);
    output.bulk(b"flags");
    output.set(1);
    output.bulk(b"off");
    output.bulk(b"redirect");
    output.integer(-1);
    output.bulk(b"prefixes");
    output.array(0);
}

fn set_library(request: &mut Request<'_>) -> Outcome {
    let value = client_name(request.argument(3)).map_err(|_| {
        let option = request.word(2);
        CommandError::Other(
            format!("ERR {option} cannot contain spaces, newlines or special characters.").into(),
        )
    })?;
    let mut library = request.session.client.library.borrow_mut();
    match request.word(2).as_str() {
        "lib-name" => library.0 = value,
        "lib-ver" => library.1 = value,
        option => return Err(CommandError::Other(format!("ERR Unrecognized option '{option}'").into())),
    }
    request.output.ok();
    Ok(())
}

fn reply_mode(request: &mut Request<'_>) -> Outcome {
    let mode = request.word(2);
    let replies = &mut request.session.replies;
    match mode.as_str() {
        "on" => {
            *replies = Replies::default();
            request.output.ok();
        }
        "off" => replies.off = true,
        // Skipping while everything is skipped changes nothing.
        "skip" => replies.skip_next = !replies.off,
        _ => return Err(CommandError::Syntax),
    }
    Ok(())
}

fn help(request: &mut Request<'_>) {
    let lines = [
        "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
        "GETNAME | SETNAME <name> | SETINFO LIB-NAME|LIB-VER <value>",
        "ID | INFO | LIST [TYPE <type>] [ID <id> ...]",
        "KILL <addr:port> | KILL [ID <id>] [ADDR <addr>] [LADDR <addr>] [TYPE <type>] [USER <user>] [SKIPME yes|no]",
        "NO-EVICT on|off | REPLY on|off|skip",
    ];
    request.output.array(lines.len());
    lines.iter().for_each(|line| request.output.simple(line));
}
