//! What all connections of one store share. Everything runs on one thread, so cells are enough; nothing here is held
//! borrowed while a connection waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bowline_keyspace::{CommandError, Keyspace, Settings as KeyspaceSettings};
use bowline_rt::ration::Ration;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::client::Clients;
use crate::commands::CommandTable;
use crate::error::StoreError;
use crate::limits::{
    EXPIRE_SEGMENTS_PER_STEP, EXPIRE_SEGMENTS_WHEN_FULL, HOUSEKEEPING_MAX, HOUSEKEEPING_PERIOD,
    HOUSEKEEPING_STEPS_MAX, HTTP_LINES_MAX, HTTP_LINES_PERIOD, SLOWLOG_ARGUMENT_BYTES_MAX,
    SLOWLOG_ARGUMENTS_MAX,
};
use crate::script::Scripts;
use crate::settings::{Password, Settings};
use crate::statistics::ErrorStatistics;

/// The version of Redis whose behaviour this is.
pub(crate) const REDIS_VERSION: &str = "7.0.15";

/// Settings that CONFIG SET can change.
#[derive(Debug)]
pub(crate) struct Tunables {
    pub password: RefCell<Option<Password>>,
    pub clients_max: Cell<usize>,
    pub idle_timeout: Cell<Option<Duration>>,
    pub script_timeout: Cell<Duration>,
    pub slowlog_threshold: Cell<Option<Duration>>,
    pub slowlog_length: Cell<usize>,
}

/// Counters for INFO.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connections: Cell<u64>,
    pub rejected_connections: Cell<u64>,
    pub commands: Cell<u64>,
    pub errors: Cell<u64>,
    pub errors_by_code: ErrorStatistics,
    /// Most memory that was seen in use.
    pub memory_peak: Cell<usize>,
    pub input_bytes: Cell<u64>,
    pub output_bytes: Cell<u64>,
    /// Commands at the start of the current sampling period, and the rate of the last one.
    pub sampled_commands: Cell<u64>,
    pub sampled_at: Cell<Option<Instant>>,
    pub commands_per_second: Cell<u64>,
}

impl Counters {
    pub fn reset(&self) {
        for counter in [
            &self.connections,
            &self.rejected_connections,
            &self.commands,
            &self.errors,
            &self.input_bytes,
            &self.output_bytes,
            &self.sampled_commands,
        ] {
            counter.set(0);
        }
        self.errors_by_code.reset();
    }

    /// Counts an error reply.
    pub fn note_error(&self, error: &CommandError) {
        Self::add(&self.errors, 1);
        self.errors_by_code.note(error);
    }

    pub fn add(counter: &Cell<u64>, amount: usize) {
        counter.set(counter.get().saturating_add(amount as u64));
    }

    /// Notes how many commands a second were run since the last call, unless that was just now.
    pub fn sample(&self, now: Instant) {
        if let Some(since) = self.sampled_at.get() {
            let elapsed_ms = now.saturating_duration_since(since).as_millis();
            if elapsed_ms < HOUSEKEEPING_PERIOD.as_millis() {
                return;
            }
            let commands = u128::from(self.commands.get().saturating_sub(self.sampled_commands.get()));
            self.commands_per_second.set(u64::try_from(commands * 1_000 / elapsed_ms).unwrap_or(u64::MAX));
        }
        self.sampled_at.set(Some(now));
        self.sampled_commands.set(self.commands.get());
    }
}

/// A command that took long.
#[derive(Debug)]
pub(crate) struct SlowCommand {
    pub id: u64,
    pub unix_seconds: u64,
    pub took: Duration,
    pub arguments: Vec<Bytes>,
    pub peer: SocketAddr,
    pub client_name: String,
}

/// The last commands that took long.
#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    pub entries: VecDeque<SlowCommand>,
    next_id: u64,
}

impl SlowLog {
    pub fn push(&mut self, mut entry: SlowCommand, length_max: usize) {
        entry.id = self.next_id;
        self.next_id += 1;
        self.entries.push_front(entry);
        self.entries.truncate(length_max);
    }
}

/// Short copies of arguments, for the slow log.
pub(crate) fn shortened(arguments: &[Bytes]) -> Vec<Bytes> {
    let mut kept: Vec<Bytes> = arguments
        .iter()
        .take(SLOWLOG_ARGUMENTS_MAX)
        .map(|argument| match argument.get(..SLOWLOG_ARGUMENT_BYTES_MAX) {
            None => Bytes::copy_from_slice(argument),
            Some(start) => {
                let more = format!("... ({} more bytes)", argument.len() - start.len());
                [start, more.as_bytes()].concat().into()
            }
        })
        .collect();
    if arguments.len() > SLOWLOG_ARGUMENTS_MAX {
        let more = arguments.len() - SLOWLOG_ARGUMENTS_MAX + 1;
        kept[SLOWLOG_ARGUMENTS_MAX - 1] = format!("... ({more} more arguments)").into();
    }
    kept
}

/// One store.
pub(crate) struct Server {
    pub settings: Settings,
    pub tunables: Tunables,
    pub counters: Counters,
    pub keyspace: Rc<RefCell<Keyspace>>,
    pub scripts: Scripts,
    pub clients: Clients,
    pub commands: Rc<CommandTable>,
    pub slowlog: RefCell<SlowLog>,
    /// Lines about clients that speak HTTP.
    pub http_ration: Ration,
    pub address: SocketAddr,
    /// 40 hexadecimal digits, new with every start.
    pub run_id: String,
    pub replication_id: String,
    pub started: Instant,
    /// Cancelled when the store must end.
    pub stop: CancellationToken,
}

impl Server {
    pub fn new(
        settings: Settings,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> Result<Rc<Self>, StoreError> {
        let keyspace = Rc::new(RefCell::new(Keyspace::new(&KeyspaceSettings {
            databases: settings.databases,
            seed: bowline_rt::random::bits64(),
            memory_max_bytes: settings.memory_max_bytes,
        })));
        let tunables = Tunables {
            password: RefCell::new(settings.password.clone()),
            clients_max: Cell::new(settings.clients_max),
            idle_timeout: Cell::new(settings.idle_timeout),
            script_timeout: Cell::new(settings.script_timeout),
            slowlog_threshold: Cell::new(settings.slowlog_threshold),
            slowlog_length: Cell::new(settings.slowlog_length),
        };
        let commands = Rc::new(CommandTable::new());
        let server = Rc::new(Self {
            scripts: Scripts::new(keyspace.clone(), commands.clone())
                .map_err(|error| StoreError::Interpreter(error.to_string()))?,
            settings,
            tunables,
            counters: Counters::default(),
            keyspace,
            clients: Clients::default(),
            commands,
            slowlog: RefCell::default(),
            http_ration: Ration::new(HTTP_LINES_MAX, HTTP_LINES_PERIOD),
            address,
            run_id: identifier(),
            replication_id: identifier(),
            started: bowline_rt::time::now(),
            stop,
        });
        server.scripts.attach(Rc::downgrade(&server));
        Ok(server)
    }

    /// One round of housekeeping; true if it ended with the time while there was more to expire.
    pub fn tidy_up(&self) -> bool {
        let started = bowline_rt::time::now();
        self.counters.sample(started);
        self.used_memory();
        let mut keyspace = self.keyspace.borrow_mut();
        for _ in 0..HOUSEKEEPING_STEPS_MAX {
            let expired = keyspace.expire_due(now_ms(), EXPIRE_SEGMENTS_PER_STEP);
            keyspace.reclaim();
            if bowline_rt::time::now().saturating_duration_since(started) >= HOUSEKEEPING_MAX {
                return expired > 0;
            }
        }
        false
    }

    /// Memory in use: data, what is to be freed, and scripts. Also notes the most that there was.
    pub fn used_memory(&self) -> usize {
        let keyspace = self.keyspace.borrow();
        let used = keyspace.used_bytes() + keyspace.pending().1 + self.scripts.memory();
        self.counters.memory_peak.set(self.counters.memory_peak.get().max(used));
        used
    }

    /// Whether commands that need memory must be refused. What has expired goes first, as far as one step finds it.
    pub fn memory_is_full(&self, now_ms: i64) -> bool {
        let mut keyspace = self.keyspace.borrow_mut();
        if !keyspace.is_full() {
            return false;
        }
        keyspace.expire_due(now_ms, EXPIRE_SEGMENTS_WHEN_FULL);
        keyspace.is_full()
    }

    /// CONFIG RESETSTAT.
    pub fn reset_statistics(&self) {
        self.counters.reset();
        self.commands.reset_statistics();
        self.keyspace.borrow_mut().reset_statistics();
    }
}

/// 40 random hexadecimal digits.
fn identifier() -> String {
    let digits = format!("{:032x}{:016x}", bowline_rt::random::bits128(), bowline_rt::random::bits64());
    digits[..40].to_owned()
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(bowline_rt::time::unix_time().as_millis()).unwrap_or(i64::MAX)
}
