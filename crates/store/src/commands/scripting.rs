//! EVAL and its kin, and SCRIPT.

use bowline_keyspace::command::{Flags, Group, Keys, Subcommand, unknown_subcommand};
use bowline_keyspace::number::parse_integer;
use bowline_keyspace::{CommandError, Reply, Spec};

use super::{Outcome, Request, ServerCommand, keyless, row};
use crate::script::{Invocation, Source};

const RUN: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLE_KEYS);

const fn spec(name: &'static str, flags: Flags) -> Spec {
    Spec::new(name, -3, flags, Keys::Counted { count: 2 })
}

const SCRIPT: &[Subcommand] = &[("exists", -3), ("flush", -2), ("help", 2), ("kill", 2), ("load", 3)];

pub(super) const COMMANDS: &[ServerCommand] = &[
    row(spec("eval", RUN), Group::Scripting, "2.6.0", "runs a script", eval),
    row(spec("evalsha", RUN), Group::Scripting, "2.6.0", "runs a script that the server knows", eval),
    row(
        spec("eval_ro", RUN.and(Flags::READONLY)),
        Group::Scripting,
        "7.0.0",
        "runs a script that only reads",
        eval,
    ),
    row(
        spec("evalsha_ro", RUN.and(Flags::READONLY)),
        Group::Scripting,
        "7.0.0",
        "runs a known script that only reads",
        eval,
    ),
    row(
        keyless("script", -2, Flags::NOSCRIPT).with(SCRIPT),
        Group::Scripting,
        "2.6.0",
        "keeps and forgets scripts",
        script,
    ),
];

fn eval(request: &mut Request<'_>) -> Outcome {
    let name = request.word(0);
    let keys = parse_integer(request.argument(2)).ok_or(CommandError::NotAnInteger)?;
    let arguments = &request.arguments[3..];
    let keys =
        usize::try_from(keys).map_err(|_| CommandError::text("ERR Number of keys can't be negative"))?;
    if keys > arguments.len() {
        return Err(CommandError::text("ERR Number of keys can't be greater than number of args"));
    }
    let (keys, values) = arguments.split_at(keys);
    let text = &request.arguments[1];
    let invocation = Invocation {
        source: if name.starts_with("evalsha") { Source::Digest(text) } else { Source::Text(text) },
        keys,
        values,
        database: request.session.database(),
        read_only: name.ends_with("_ro"),
        full: request.clock.full.unwrap_or_else(|| request.server.memory_is_full(request.clock.now_ms)),
        // The scripts of one transaction share the time: nobody else is served between them.
        started: request.clock.started,
        time_limit: request.server.tunables.script_timeout.get(),
    };
    // All effects of the script are one unit (INV-REPL-EFFECT), those of one that fails half-way too.
    let server = request.server.clone();
    server.keyspace.borrow_mut().effects.begin();
    let outcome = server.scripts.run(&invocation, request.output);
    server.keyspace.borrow_mut().effects.end();
    outcome
}

fn script(request: &mut Request<'_>) -> Outcome {
    let subcommand = request.word(1);
    let scripts = &request.server.scripts;
    match (subcommand.as_str(), &request.arguments[2..]) {
        ("load", [text]) => {
            let digest = scripts.load(text)?;
            request.output.bulk(digest.as_bytes());
        }
        ("exists", digests) => {
            request.output.array(digests.len());
            digests.iter().for_each(|digest| request.output.truth(scripts.exists(digest)));
        }
        ("flush", []) => {
            scripts.flush();
            request.output.ok();
        }
        ("flush", [mode]) if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => {
            scripts.flush();
            request.output.ok();
        }
        ("flush", _) => {
            return Err(CommandError::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
        }
        // A script runs to its end before anybody else is heard, so there never is one to kill.
        ("kill", []) => return Err(CommandError::text("NOTBUSY No scripts in execution right now.")),
        ("help", []) => {
            let lines = [
                "SCRIPT <subcommand> [<arg> ...]. Subcommands are:",
                "LOAD <script> | EXISTS <sha1> [<sha1> ...] | FLUSH [ASYNC|SYNC] | KILL",
            ];
            request.output.array(lines.len());
            lines.iter().for_each(|line| request.output.simple(line));
        }
        _ => return Err(unknown_subcommand("script", request.argument(1))),
    }
    Ok(())
}
