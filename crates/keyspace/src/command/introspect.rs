//! COMMAND and its subcommands: answers about the table itself.

use bytes::Bytes;

use crate::error::CommandError;
use crate::reply::Reply;

use super::spec::{Flags, Group, Keys, Spec, Subcommand, unknown_subcommand};
use super::{Outcome, is_word};

/// The subcommands of COMMAND.
pub const SUBCOMMANDS: &[Subcommand] =
    &[("count", 2), ("docs", -2), ("getkeys", -4), ("help", 2), ("info", -2), ("list", -2)];

/// Answers COMMAND over all commands, whose arguments were checked; `find` looks one up by name.
///
/// # Errors
/// Bad arguments.
pub fn command(
    arguments: &[Bytes],
    all: &[&'static Spec],
    find: impl Fn(&[u8]) -> Option<&'static Spec>,
    reply: &mut dyn Reply,
) -> Outcome {
    let Some(subcommand) = arguments.get(1) else {
        reply.array(all.len());
        all.iter().for_each(|spec| information(spec, reply));
        return Ok(());
    };
    let subcommand = String::from_utf8_lossy(subcommand).to_ascii_lowercase();
    match subcommand.as_str() {
        "count" => reply.count(all.len()),
        "list" if arguments.len() == 2 => {
            reply.array(all.len());
            all.iter().for_each(|spec| reply.bulk(spec.name.as_bytes()));
        }
        "list" => return filtered_list(arguments, all, reply),
        "info" if arguments.len() == 2 => {
            reply.array(all.len());
            all.iter().for_each(|spec| information(spec, reply));
        }
        "info" => {
            reply.array(arguments.len() - 2);
            for name in &arguments[2..] {
                match find(name) {
                    Some(spec) => information(spec, reply),
                    None => reply.null(),
                }
            }
        }
        "docs" => {
            let named: Vec<&Spec> = if arguments.len() == 2 {
                all.to_vec()
            } else {
                arguments[2..].iter().filter_map(|name| find(name)).collect()
            };
            reply.map(named.len());
            named.iter().for_each(|spec| documentation(spec, reply));
        }
        "getkeys" => return keys(&arguments[2..], find, reply),
        "help" => help(reply),
        _ => return Err(unknown_subcommand("command", &arguments[1])),
    }
    Ok(())
}

fn filtered_list(arguments: &[Bytes], all: &[&'static Spec], reply: &mut dyn Reply) -> Outcome {
    let [_, _, filter_by, kind, value] = arguments else { return Err(CommandError::Syntax) };
    if !is_word(filter_by, "filterby") {
        return Err(CommandError::Syntax);
    }
    let mut glob = crate::glob::Glob::new(value);
    let mut named = Vec::new();
    for spec in all {
        let fits = if is_word(kind, "pattern") {
            glob.matches(spec.name.as_bytes(), true)?
        } else if is_word(kind, "aclcat") {
            categories(spec).iter().any(|category| category.as_bytes()[1..].eq_ignore_ascii_case(value))
        } else if is_word(kind, "module") {
            false
        } else {
            return Err(CommandError::Syntax);
        };
        named.extend(fits.then_some(spec.name));
    }
    reply.array(named.len());
    named.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

fn keys(
    arguments: &[Bytes],
    find: impl Fn(&[u8]) -> Option<&'static Spec>,
    reply: &mut dyn Reply,
) -> Outcome {
    let spec = find(&arguments[0]).ok_or(CommandError::text("ERR Invalid command specified"))?;
    if spec.keys == Keys::None {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if spec.check(arguments).is_err() {
        return Err(CommandError::text("ERR Invalid number of arguments specified for command"));
    }
    let positions = spec
        .key_positions(arguments)
        .filter(|positions| positions.iter().all(|&position| position < arguments.len()))
        .ok_or(CommandError::text("ERR Invalid arguments specified for command"))?;
    if positions.is_empty() {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    reply.array(positions.len());
    positions.iter().for_each(|&position| reply.bulk(&arguments[position]));
    Ok(())
}

/// The ten elements of COMMAND INFO. Tips, key specifications and subcommands are not given: clients that want keys use
/// the three positions.
fn information(spec: &Spec, reply: &mut dyn Reply) {
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(i64::from(spec.arity));
    let flags: Vec<&str> = spec.flags.names().collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    let (first, last, step) = match spec.keys {
        Keys::Range { first, last, step } => (first, last, step),
        Keys::None | Keys::Counted { .. } => (0, 0, 0),
    };
    [first, last, step].into_iter().for_each(|position| reply.integer(i64::from(position)));
    let categories = categories(spec);
    reply.set(categories.len());
    categories.iter().for_each(|category| reply.simple(category));
    (0..3).for_each(|_| reply.array(0));
}

fn categories(spec: &Spec) -> Vec<&'static str> {
    let mut categories = Vec::new();
    let flags = spec.flags;
    let mut add = |condition: bool, category| {
        if condition {
            categories.push(category);
        }
    };
    // The commands of the keyspace category do not all belong to the generic group, and the other way round.
    let data = flags.has(Flags::WRITE) || flags.has(Flags::READONLY);
    add(spec.group == Group::Generic || (spec.group == Group::Server && data), "@keyspace");
    add(flags.has(Flags::READONLY) && spec.group != Group::Scripting, "@read");
    add(flags.has(Flags::WRITE), "@write");
    add(flags.has(Flags::ADMIN), "@admin");
    add(flags.has(Flags::ADMIN), "@dangerous");
    add(flags.has(Flags::FAST), "@fast");
    add(!flags.has(Flags::FAST), "@slow");
    if let Some(category) = spec.group.category().filter(|&category| category != "@keyspace") {
        categories.push(category);
    }
    categories
}

fn documentation(spec: &Spec, reply: &mut dyn Reply) {
    reply.bulk(spec.name.as_bytes());
    reply.map(3);
    for (name, text) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group.name())] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
}

fn help(reply: &mut dyn Reply) {
    let lines = [
        "COMMAND <subcommand> [<arg> ...]. Subcommands are:",
        "(no subcommand): all commands",
        "COUNT: the number of commands",
        "LIST [FILTERBY PATTERN|ACLCAT|MODULE <value>]: the names",
        "INFO [<name> ...]: arity, properties and key positions",
        "DOCS [<name> ...]: what each command does",
        "GETKEYS <command> [<arg> ...]: the keys of a whole command",
    ];
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}
