//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use bowline_keyspace::command::{Flags, Group, Keys};
use bowline_keyspace::transaction::Outcome as Execution;
use bowline_keyspace::{CommandError, Reply, Spec};
use bowline_rt::time::now;

use super::{Outcome, Request, ServerCommand, keyless, row};
use crate::dispatch::{Clock, run};

const BASE: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::ALLOW_BUSY);
const FAST: Flags = BASE.and(Flags::FAST);

pub(super) const COMMANDS: &[ServerCommand] = &[
    row(keyless("multi", 1, FAST), Group::Transactions, "1.2.0", "starts to queue commands", multi),
    row(
        keyless("exec", 1, BASE.and(Flags::SKIP_MONITOR)),
        Group::Transactions,
        "1.2.0",
        "runs the queued commands at once",
        exec,
    ),
    row(keyless("discard", 1, FAST), Group::Transactions, "2.0.0", "forgets the queued commands", discard),
    row(
        Spec::new("watch", -2, FAST, Keys::ALL),
        Group::Transactions,
        "2.2.0",
        "lets EXEC fail if a key changes",
        watch,
    ),
    row(keyless("unwatch", 1, FAST), Group::Transactions, "2.2.0", "forgets the watched keys", unwatch),
];

fn multi(request: &mut Request<'_>) -> Outcome {
    if !request.session.transaction.begin() {
        return Err(CommandError::text("ERR MULTI calls can not be nested"));
    }
    request.output.ok();
    Ok(())
}

fn discard(request: &mut Request<'_>) -> Outcome {
    if !request.session.transaction.open() {
        return Err(CommandError::text("ERR DISCARD without MULTI"));
    }
    request.session.transaction.discard(&mut request.server.keyspace.borrow_mut());
    request.output.ok();
    Ok(())
}

fn watch(request: &mut Request<'_>) -> Outcome {
    if request.session.transaction.open() {
        return Err(CommandError::text("ERR WATCH inside MULTI is not allowed"));
    }
    let mut keyspace = request.server.keyspace.borrow_mut();
    let database = request.session.database();
    for key in &request.arguments[1..] {
        if !request.session.transaction.watch(&mut keyspace, database, key, request.clock.now_ms) {
            return Err(CommandError::text("ERR too many watched keys"));
        }
    }
    request.output.ok();
    Ok(())
}

fn unwatch(request: &mut Request<'_>) -> Outcome {
    request.session.transaction.unwatch(&mut request.server.keyspace.borrow_mut());
    request.output.ok();
    Ok(())
}

fn exec(request: &mut Request<'_>) -> Outcome {
    if !request.session.transaction.open() {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    }
    let server = request.server;
    let execution =
        request.session.transaction.finish(&mut server.keyspace.borrow_mut(), request.clock.now_ms);
    let queue = match execution {
        Execution::Run(queue) => queue,
        Execution::Changed => {
            request.output.null_array();
            return Ok(());
        }
        Execution::Aborted => {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Err(CommandError::text(text));
        }
    };
    // Memory may have filled up since the commands were queued.
    let needs_memory = |arguments: &Vec<bytes::Bytes>| {
        let entry = server.commands.find(&arguments[0]);
        entry.is_some_and(|entry| entry.spec().flags.has(Flags::DENYOOM))
    };
    let full = server.memory_is_full(request.clock.now_ms);
    if full && queue.iter().any(needs_memory) {
        let text =
            "EXECABORT Transaction discarded because of: command not allowed when used memory > 'maxmemory'.";
        return Err(CommandError::text(text));
    }
    // Scripts among them are judged by how it was before all.
    let clock = Clock { full: Some(full), ..request.clock };
    request.output.array(queue.len());
    // All effects of the transaction are one unit (INV-REPL-EFFECT).
    server.keyspace.borrow_mut().effects.begin();
    let mut started = now();
    for arguments in &queue {
        // It was looked up when it was queued, and the table does not change.
        let entry = server.commands.find(&arguments[0]).expect("a queued command is known");
        // A command that fails answers its error in its place; the others run.
        let _ = run(server, request.session, entry, arguments, clock, request.output);
        let ended = now();
        server.commands.statistics(entry).note_time(ended.saturating_duration_since(started));
        started = ended;
    }
    server.keyspace.borrow_mut().effects.end();
    Ok(())
}
