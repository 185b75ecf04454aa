//! The table of all commands: those of the key space and those of the server itself.

mod config;
mod connection;
mod info;
mod kill;
mod scripting;
mod server;
mod transactions;

use std::rc::Rc;

use bowline_keyspace::command::{Command, Flags, Group, Keys, commands, introspect};
use bowline_keyspace::table::{Item, KeyHasher, Table};
use bowline_keyspace::{CommandError, Reply, Spec};
use bytes::Bytes;

pub(crate) use info::write_info;
pub(crate) use server::slowlog;

use crate::client::Session;
use crate::dispatch::Clock;
use crate::limits::ERROR_ECHO_BYTES_MAX;
use crate::output::Output;
use crate::server::Server;
use crate::statistics::CommandStatistics;

/// Longest name of a command.
const NAME_BYTES_MAX: usize = 32;

/// How a command of the server ends: its reply written, or refused before anything of it was written.
pub(crate) type Outcome = Result<(), CommandError>;

/// One call of a command of the server.
pub(crate) struct Request<'a> {
    pub server: &'a Rc<Server>,
    pub session: &'a mut Session,
    pub arguments: &'a [Bytes],
    pub clock: Clock,
    pub output: &'a mut Output,
}

impl<'a> Request<'a> {
    pub fn argument(&self, index: usize) -> &'a [u8] {
        &self.arguments[index]
    }

    /// An argument as text in lower case, for options and subcommands.
    pub fn word(&self, index: usize) -> String {
        String::from_utf8_lossy(&self.arguments[index]).to_ascii_lowercase()
    }
}

/// A command of the server.
pub(crate) struct ServerCommand {
    pub spec: Spec,
    pub run: fn(&mut Request<'_>) -> Outcome,
}

pub(super) const fn row(
    spec: Spec,
    group: Group,
    since: &'static str,
    summary: &'static str,
    run: fn(&mut Request<'_>) -> Outcome,
) -> ServerCommand {
    ServerCommand { spec: spec.about(group, since, summary), run }
}

/// A spec without keys, which most of the server's commands are.
pub(super) const fn keyless(name: &'static str, arity: i32, flags: Flags) -> Spec {
    Spec::new(name, arity, flags, Keys::None)
}

/// What runs a command.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    Keyspace(&'static Command),
    Server(&'static ServerCommand),
}

/// One command of the table.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    action: Action,
    /// Its place among the statistics.
    index: usize,
}

impl Entry {
    pub fn spec(self) -> &'static Spec {
        match self.action {
            Action::Keyspace(command) => &command.spec,
            Action::Server(command) => &command.spec,
        }
    }

    pub fn action(self) -> Action {
        self.action
    }
}

impl Item for Entry {
    fn key(&self) -> &[u8] {
        self.spec().name.as_bytes()
    }
}

/// All commands by name.
pub(crate) struct CommandTable {
    table: Table<Entry>,
    sorted: Vec<&'static Spec>,
    statistics: Vec<CommandStatistics>,
}

impl CommandTable {
    pub fn new() -> Self {
        // The names are ours: no seed is needed.
        let mut table = Table::new(KeyHasher::new(0));
        let server = [
            connection::COMMANDS,
            transactions::COMMANDS,
            scripting::COMMANDS,
            server::COMMANDS,
            info::COMMANDS,
            config::COMMANDS,
        ];
        let server = server.into_iter().flatten().map(Action::Server);
        for (index, action) in commands().map(Action::Keyspace).chain(server).enumerate() {
            let entry = Entry { action, index };
            table.insert(table.hash(entry.key()), entry);
        }
        let mut sorted: Vec<&'static Spec> = table.iter().map(|entry| entry.spec()).collect();
        sorted.sort_unstable_by_key(|spec| spec.name);
        let statistics = (0..sorted.len()).map(|_| CommandStatistics::default()).collect();
        Self { table, sorted, statistics }
    }

    /// What is counted of a command.
    pub fn statistics(&self, entry: Entry) -> &CommandStatistics {
        &self.statistics[entry.index]
    }

    /// The lines of INFO about the commands that were asked for, by name.
    pub fn describe_statistics(&self) -> Vec<(String, String)> {
        let entries = self.sorted.iter().filter_map(|spec| self.find(spec.name.as_bytes()));
        let lines = entries.filter_map(|entry| {
            let line = self.statistics(entry).describe()?;
            Some((format!("cmdstat_{}", entry.spec().name), line))
        });
        lines.collect()
    }

    /// Counts from zero again.
    pub fn reset_statistics(&self) {
        self.statistics.iter().for_each(CommandStatistics::reset);
    }

    /// The command of this name, in whatever case.
    pub fn find(&self, name: &[u8]) -> Option<Entry> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.table.find(self.table.hash(lower), lower).copied()
    }

    /// COMMAND: what the table says of itself.
    pub fn describe(&self, arguments: &[Bytes], reply: &mut dyn Reply) -> Outcome {
        introspect::command(arguments, &self.sorted, |name| self.find(name).map(Entry::spec), reply)
    }
}

/// Commands that Redis 7.0 has and this store has not, by what they are for.
const MISSING: &[(&str, &[&str])] = &[
    (
        "lists",
        &[
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "lindex",
            "linsert",
            "llen",
            "lmove",
            "lmpop",
            "lpop",
            "lpos",
            "lpush",
            "lpushx",
            "lrange",
            "lrem",
            "lset",
            "ltrim",
            "rpop",
            "rpoplpush",
            "rpush",
            "rpushx",
        ],
    ),
    (
        "sets",
        &[
            "sadd",
            "scard",
            "sdiff",
            "sdiffstore",
            "sinter",
            "sintercard",
            "sinterstore",
            "sismember",
            "smembers",
            "smismember",
            "smove",
            "spop",
            "srandmember",
            "srem",
            "sscan",
            "sunion",
            "sunionstore",
        ],
    ),
    (
        "sorted sets",
        &[
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "zadd",
            "zcard",
            "zcount",
            "zdiff",
            "zdiffstore",
            "zincrby",
            "zinter",
            "zintercard",
            "zinterstore",
            "zlexcount",
            "zmpop",
            "zmscore",
            "zpopmax",
            "zpopmin",
            "zrandmember",
            "zrange",
            "zrangebylex",
            "zrangebyscore",
            "zrangestore",
            "zrank",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
            "zrevrange",
            "zrevrangebylex",
            "zrevrangebyscore",
            "zrevrank",
            "zscan",
            "zscore",
            "zunion",
            "zunionstore",
        ],
    ),
    (
        "streams",
        &[
            "xack",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xdel",
            "xgroup",
            "xinfo",
            "xlen",
            "xpending",
            "xrange",
            "xread",
            "xreadgroup",
            "xrevrange",
            "xsetid",
            "xtrim",
        ],
    ),
    (
        "publishing and subscribing",
        &[
            "psubscribe",
            "publish",
            "pubsub",
            "punsubscribe",
            "spublish",
            "ssubscribe",
            "subscribe",
            "sunsubscribe",
            "unsubscribe",
        ],
    ),
    ("fields of bits", &["bitfield", "bitfield_ro"]),
    ("cardinality estimates", &["pfadd", "pfcount", "pfdebug", "pfmerge", "pfselftest"]),
    (
        "geography",
        &[
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "geosearch",
            "geosearchstore",
        ],
    ),
    ("persistence", &["bgrewriteaof", "bgsave", "lastsave", "save"]),
    ("replication", &["failover", "psync", "replconf", "replicaof", "role", "slaveof", "sync", "wait"]),
    ("functions", &["fcall", "fcall_ro", "function"]),
    ("cluster", &["asking", "cluster", "migrate", "readonly", "readwrite", "restore-asking"]),
    (
        "this purpose",
        &["acl", "debug", "dump", "latency", "lolwut", "module", "monitor", "restore", "sort", "sort_ro"],
    ),
];

/// The refusal of a command that is not in the table.
pub(crate) fn unknown_command(request: &[Bytes]) -> CommandError {
    let name = printable(&request[0]);
    let lower = name.to_ascii_lowercase();
    if let Some((purpose, _)) = MISSING.iter().find(|(_, names)| names.contains(&lower.as_str())) {
        // The first words are Redis', because clients look for them to find out what a server has.
        let text = format!("ERR unknown command '{name}': the Bowline store has no commands for {purpose}");
        return CommandError::Other(text.into());
    }
    let mut arguments = String::new();
    for argument in &request[1..] {
        if arguments.len() >= ERROR_ECHO_BYTES_MAX {
            break;
        }
        let room = ERROR_ECHO_BYTES_MAX - arguments.len();
        arguments.push_str(&format!("'{}' ", printable(&argument[..argument.len().min(room)])));
    }
    CommandError::Other(format!("ERR unknown command '{name}', with args beginning with: {arguments}").into())
}

/// The start of what a client sent, fit for an error line.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(ERROR_ECHO_BYTES_MAX)]).into_owned()
}
