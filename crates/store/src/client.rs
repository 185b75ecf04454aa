//! Connected clients: what everybody may know of a connection, and what only the connection itself has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bowline_keyspace::Transaction;
use tokio::sync::Notify;

/// What CLIENT LIST shows and CLIENT KILL needs.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: u64,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub connected_at: Instant,
    pub active_at: Cell<Instant>,
    pub name: RefCell<String>,
    pub library: RefCell<(String, String)>,
    pub database: Cell<usize>,
    pub resp3: Cell<bool>,
    pub command: Cell<&'static str>,
    /// Commands in the open transaction, or −1.
    pub queued: Cell<i64>,
    pub no_evict: Cell<bool>,
    pub input_bytes: Cell<usize>,
    pub output_bytes: Cell<usize>,
    killed: Cell<bool>,
    wake: Notify,
}

impl Client {
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, now: Instant) -> Self {
        Self {
            id,
            peer,
            local,
            connected_at: now,
            active_at: Cell::new(now),
            name: RefCell::default(),
            library: RefCell::default(),
            database: Cell::new(0),
            resp3: Cell::new(false),
            command: Cell::new("NULL"),
            queued: Cell::new(-1),
            no_evict: Cell::new(false),
            input_bytes: Cell::new(0),
            output_bytes: Cell::new(0),
            killed: Cell::new(false),
            wake: Notify::new(),
        }
    }

    /// Ends the connection soon.
    pub fn kill(&self) {
        self.killed.set(true);
        self.wake.notify_one();
    }

    pub fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Waits until somebody kills the connection.
    pub async fn killed(&self) {
        while !self.is_killed() {
            self.wake.notified().await;
        }
    }

    /// The line of CLIENT LIST. What this server does not have is given as Redis gives it when it is not in use.
    pub fn describe(&self, now: Instant, with_library: bool) -> String {
        let age = now.saturating_duration_since(self.connected_at).as_secs();
        let idle = now.saturating_duration_since(self.active_at.get()).as_secs();
        let flags = if self.queued.get() >= 0 { "x" } else { "N" };
        let (input, output) = (self.input_bytes.get(), self.output_bytes.get());
        let mut line = format!(
            "id={} addr={} laddr={} fd=-1 name={} age={age} idle={idle} flags={flags} db={} sub=0 psub=0 ssub=0 \
             multi={} qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={output} oll=0 omem=0 \
             tot-mem={} events=r cmd={} user=default redir=-1 resp={}",
            self.id,
            self.peer,
            self.local,
            self.name.borrow(),
            self.database.get(),
            self.queued.get(),
            input + output,
            self.command.get(),
            if self.resp3.get() { 3 } else { 2 },
        );
        if with_library {
            let (name, version) = &*self.library.borrow();
            // Writing to a string cannot fail.
            let _ = write!(line, " lib-name={name} lib-ver={version}");
        }
        line
    }
}

/// All connected clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    connected: RefCell<BTreeMap<u64, Rc<Client>>>,
    last_id: Cell<u64>,
}

impl Clients {
    pub fn len(&self) -> usize {
        self.connected.borrow().len()
    }

    pub fn add(&self, peer: SocketAddr, local: SocketAddr, now: Instant) -> Rc<Client> {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let client = Rc::new(Client::new(id, peer, local, now));
        self.connected.borrow_mut().insert(id, client.clone());
        client
    }

    pub fn remove(&self, id: u64) {
        self.connected.borrow_mut().remove(&id);
    }

    /// A snapshot in the order of connecting.
    pub fn all(&self) -> Vec<Rc<Client>> {
        self.connected.borrow().values().cloned().collect()
    }
}

/// How replies are treated (CLIENT REPLY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Replies {
    /// No command is answered.
    pub off: bool,
    /// The command that runs is not answered.
    pub skip: bool,
    /// The command after the one that runs will not be answered.
    pub skip_next: bool,
}

impl Replies {
    /// Whether the command that has just run is not answered.
    pub fn silent(self) -> bool {
        self.off || self.skip
    }

    /// The command that has run is over.
    pub fn step(&mut self) {
        self.skip = std::mem::take(&mut self.skip_next);
    }
}

/// What only the connection itself has.
#[derive(Debug)]
pub(crate) struct Session {
    pub client: Rc<Client>,
    /// Since when the client has been one that has not authenticated; `None` once it has, or need not.
    pub stranger_since: Option<Instant>,
    pub transaction: Transaction,
    pub replies: Replies,
    /// The connection ends once its replies are sent.
    pub closing: bool,
    /// The connection ends at once, without a word.
    pub hang_up: bool,
}

impl Session {
    pub fn database(&self) -> usize {
        self.client.database.get()
    }
}
