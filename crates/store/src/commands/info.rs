//! INFO: what operators and tools read. Fields of what this store does not have carry the value that Redis shows when it
//! is not in use; nothing is made up.

use std::fmt::Write;

use bowline_keyspace::Reply;
use bowline_keyspace::command::{Flags, Group};
use bowline_rt::time::now;
use bytes::Bytes;

use super::{Outcome, Request, ServerCommand, keyless, row};
use crate::server::{REDIS_VERSION, Server, now_ms};

pub(super) const COMMANDS: &[ServerCommand] = &[row(
    keyless("info", -1, Flags::LOADING.and(Flags::STALE)),
    Group::Server,
    "1.0.0",
    "the state of the server, by sections",
    info,
)];

type Fields = Vec<(String, String)>;
type Section = fn(&Server) -> Fields;

/// Name, title and content of the usual sections.
const SECTIONS: [(&str, &str, Section); 9] = [
    ("server", "Server", server),
    ("clients", "Clients", clients),
    ("memory", "Memory", memory),
    ("persistence", "Persistence", persistence),
    ("stats", "Stats", stats),
    ("replication", "Replication", replication),
    ("errorstats", "Errorstats", errors),
    ("cluster", "Cluster", |_| fields(&[("cluster_enabled", "0")])),
    ("keyspace", "Keyspace", keyspace),
];

/// Sections that only who asks for them, or for all, gets.
const MORE_SECTIONS: [(&str, &str, Section); 1] =
    [("commandstats", "Commandstats", |server| server.commands.describe_statistics())];

fn info(request: &mut Request<'_>) -> Outcome {
    write_info(request.server, &request.arguments[1..], request.output);
    Ok(())
}

/// Writes the sections that are named, or the usual ones.
pub(crate) fn write_info(server: &Server, names: &[Bytes], reply: &mut dyn Reply) {
    let wanted: Vec<String> =
        names.iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let names = |words: &[&str]| wanted.iter().any(|wanted| words.contains(&wanted.as_str()));
    let all = names(&["all", "everything"]);
    let usual = all || wanted.is_empty() || names(&["default"]);
    let mut text = String::new();
    let usual = SECTIONS.into_iter().zip(std::iter::repeat(usual));
    for ((name, title, section), wanted) in usual.chain(MORE_SECTIONS.into_iter().zip(std::iter::repeat(all)))
    {
        if wanted || names(&[name]) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "# {title}\r\n");
            for (field, value) in section(server) {
                let _ = write!(text, "{field}:{value}\r\n");
            }
        }
    }
    reply.verbatim(*b"txt", text.as_bytes());
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn numbers(list: &[(&str, u64)]) -> Fields {
    list.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
}

fn server(server: &Server) -> Fields {
    let uptime = now().saturating_duration_since(server.started).as_secs();
    let mut list = fields(&[
        ("redis_version", REDIS_VERSION),
        ("bowline_version", env!("CARGO_PKG_VERSION")),
        ("redis_mode", "standalone"),
        ("os", std::env::consts::OS),
        ("arch_bits", if cfg!(target_pointer_width = "64") { "64" } else { "32" }),
        ("multiplexing_api", "tokio"),
        ("run_id", &server.run_id),
        ("executable", ""),
        ("config_file", ""),
    ]);
    list.extend(numbers(&[
        ("process_id", u64::from(bowline_rt::task::process_id())),
        ("tcp_port", u64::from(server.address.port())),
        ("server_time_usec", u64::try_from(bowline_rt::time::unix_time().as_micros()).unwrap_or(u64::MAX)),
        ("uptime_in_seconds", uptime),
        ("uptime_in_days", uptime / 86_400),
        ("hz", 10),
        ("configured_hz", 10),
    ]));
    list
}

fn errors(server: &Server) -> Fields {
    let counts = server.counters.errors_by_code.counts();
    counts.into_iter().map(|(code, count)| (format!("errorstat_{code}"), format!("count={count}"))).collect()
}

fn clients(server: &Server) -> Fields {
    let all = server.clients.all();
    let largest =
        |size: fn(&crate::client::Client) -> usize| all.iter().map(|client| size(client)).max().unwrap_or(0);
    numbers(&[
        ("connected_clients", all.len() as u64),
        ("cluster_connections", 0),
        ("maxclients", server.tunables.clients_max.get() as u64),
        ("client_recent_max_input_buffer", largest(|client| client.input_bytes.get()) as u64),
        ("client_recent_max_output_buffer", largest(|client| client.output_bytes.get()) as u64),
        ("blocked_clients", 0),
        ("tracking_clients", 0),
    ])
}

fn memory(server: &Server) -> Fields {
    let total = server.used_memory();
    let keyspace = server.keyspace.borrow();
    let (used, limit) = (keyspace.used_bytes(), keyspace.memory_max_bytes());
    let scripts = server.scripts.memory();
    let peak = server.counters.memory_peak.get();
    let mut list = numbers(&[("used_memory", total as u64)]);
    list.push(("used_memory_human".to_owned(), human(total)));
    list.extend(numbers(&[("used_memory_peak", peak as u64)]));
    list.push(("used_memory_peak_human".to_owned(), human(peak)));
    list.extend(numbers(&[
        ("used_memory_dataset", used as u64),
        ("used_memory_scripts", scripts as u64),
        ("used_memory_vm_eval", scripts as u64),
        ("number_of_cached_scripts", server.scripts.count() as u64),
        ("number_of_functions", 0),
        ("maxmemory", limit as u64),
    ]));
    list.push(("maxmemory_human".to_owned(), human(limit)));
    list.extend(fields(&[
        ("maxmemory_policy", "noeviction"),
        ("mem_total_replication_buffers", "0"),
        ("mem_replication_backlog", "0"),
        ("mem_clients_slaves", "0"),
    ]));
    list.extend(numbers(&[("lazyfree_pending_objects", keyspace.pending().0 as u64)]));
    list
}

fn human(bytes: usize) -> String {
    let mut whole = bytes;
    let mut rest = 0;
    for unit in ["B", "K", "M", "G"] {
        if whole < 1024 || unit == "G" {
            return if unit == "B" {
                format!("{whole}B")
            } else {
                format!("{whole}.{:02}{unit}", rest * 100 / 1024)
            };
        }
        (whole, rest) = (whole / 1024, whole % 1024);
    }
    format!("{bytes}B")
}

fn persistence(server: &Server) -> Fields {
    let changes = server.keyspace.borrow().statistics().changes.to_string();
    fields(&[
        ("loading", "0"),
        ("async_loading", "0"),
        ("rdb_changes_since_last_save", &changes),
        ("rdb_bgsave_in_progress", "0"),
        ("rdb_last_save_time", "0"),
        ("rdb_last_bgsave_status", "ok"),
        ("rdb_last_load_keys_expired", "0"),
        ("rdb_last_load_keys_loaded", "0"),
        ("aof_enabled", "0"),
        ("aof_rewrite_in_progress", "0"),
        ("aof_last_bgrewrite_status", "ok"),
        ("aof_last_write_status", "ok"),
    ])
}

fn stats(server: &Server) -> Fields {
    let counters = &server.counters;
    let keys = server.keyspace.borrow().statistics();
    numbers(&[
        ("total_connections_received", counters.connections.get()),
        ("total_commands_processed", counters.commands.get()),
        ("instantaneous_ops_per_sec", counters.commands_per_second.get()),
        ("total_net_input_bytes", counters.input_bytes.get()),
        ("total_net_output_bytes", counters.output_bytes.get()),
        ("rejected_connections", counters.rejected_connections.get()),
        ("sync_full", 0),
        ("sync_partial_ok", 0),
        ("sync_partial_err", 0),
        ("expired_keys", keys.expired_keys),
        ("evicted_keys", 0),
        ("keyspace_hits", keys.hits),
        ("keyspace_misses", keys.misses),
        ("pubsub_channels", 0),
        ("pubsub_patterns", 0),
        ("latest_fork_usec", 0),
        ("total_forks", 0),
        ("total_error_replies", counters.errors.get()),
    ])
}

fn replication(server: &Server) -> Fields {
    fields(&[
        ("role", "master"),
        ("connected_slaves", "0"),
        ("master_failover_state", "no-failover"),
        ("master_replid", &server.replication_id),
        ("master_replid2", "0000000000000000000000000000000000000000"),
        ("master_repl_offset", "0"),
        ("second_repl_offset", "-1"),
        ("repl_backlog_active", "0"),
        ("repl_backlog_size", "0"),
        ("repl_backlog_first_byte_offset", "0"),
        ("repl_backlog_histlen", "0"),
    ])
}

fn keyspace(server: &Server) -> Fields {
    let keyspace = server.keyspace.borrow();
    let now_ms = now_ms();
    let describe = |database: usize| {
        let (keys, expires) = keyspace.sizes(database);
        let ttl_ms = keyspace.mean_ttl_ms(database, now_ms);
        (keys > 0)
            .then(|| (format!("db{database}"), format!("keys={keys},expires={expires},avg_ttl={ttl_ms}")))
    };
    (0..keyspace.databases()).filter_map(describe).collect()
}
