//! A server in memory, for the tests of those who use this crate (feature `fake`).
//!
//! A [`Fake`] is at the far end of pipes that a real [`Client`] dials: what is tested against it runs through the real driver,
//! with its connections, deadlines and outcomes, without a socket and without a process. Time may be paused
//! (`start_paused`): keys expire by the clock of the runtime.
//!
//! It has the commands of Bowline's embedded store: strings, hashes, bits, expiry, scans, transactions with `WATCH`, to the letter
//! of Redis 7.0; and channels, patterns and shard channels to publish to. What it has not (lists, sets, sorted sets, streams, Lua) it refuses with an error that says what to
//! do: [`Fake::answer`] gives any command an answer, [`Fake::script`] stands in for a script. It accepts every user and password.
//!
//! # Examples
//! ```
//! use bowline_redis::fake::Fake;
//! use bowline_redis::{CallError, Command, QueryError, Unknown};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), QueryError> {
//! let fake = Fake::new();
//! let client = fake.client();
//! client.set("greeting", "hello").await?;
//! assert_eq!(client.get::<String>("greeting").await?.as_deref(), Some("hello"));
//! assert_eq!(fake.keys(), ["greeting"]);
//!
//! // The server executes a command, and its answer is lost with the connection.
//! fake.lose_next_answer();
//! let lost = client.call(Command::new("INCR").arg("visits")).await;
//! assert!(matches!(lost, Err(CallError::Unknown(Unknown::Lost(_)))));
//! assert_eq!(client.get::<u32>("visits").await?, Some(1));
//! # Ok(())
//! # }
//! ```

mod connection;
mod introduction;
mod store;
mod topics;
mod world;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bowline_resp::{Frame, Protocol};
use bowline_rt::task;
use bytes::Bytes;
use tokio::io::DuplexStream;

use crate::client::Client;
use crate::config::Config;
use crate::connect::Dial;
use crate::limits::FAKE_PIPE_BYTES;
use crate::script::Script;
use crate::subscriber::Subscriber;
use crate::topology::{Address, Topology};

use connection::Connection;
pub use store::Data;
use world::World;

/// Where it is, as far as its clients know.
const ADDRESS: &str = "fake:6379";

/// A server in memory; see the [module](self). Clones are handles of the same one. Its connections end with their clients.
///
/// Closures that are given to it run while its data is locked: they reach the data through their [`Data`], and must not call
/// [`Fake::run`] or [`Fake::keys`], which would wait for them for ever.
#[derive(Debug, Clone)]
pub struct Fake {
    world: Arc<World>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// An empty server that speaks RESP3, as Redis since version 6 does.
    #[must_use]
    pub fn new() -> Self {
        Self::speaking(Protocol::Resp3)
    }

    /// An empty server that speaks no newer protocol than this.
    #[must_use]
    pub fn speaking(newest: Protocol) -> Self {
        Self { world: Arc::new(World::new(newest)) }
    }

    /// A client of this server, with the default settings.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_of(Config::from_url("redis://fake").expect("it is one"))
    }

    /// A client of this server with everything as `config` says, but for where the server is.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn client_of(&self, config: Config) -> Client {
        Client::start_with(leading_here(config), self.clone(), self.clone())
    }

    /// A subscriber of this server, with the default settings.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn subscriber(&self) -> Subscriber {
        self.subscriber_of(Config::from_url("redis://fake").expect("it is one"))
    }

    /// A subscriber of this server with everything as `config` says, but for where the server is.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn subscriber_of(&self, config: Config) -> Subscriber {
        Subscriber::start_with(leading_here(config), self.clone(), self.clone())
    }

    /// Cuts all connections. Commands that the server has not read are not executed; answers that the client has not read are
    /// lost. Clients connect anew.
    pub fn cut(&self) {
        self.world.cut();
    }

    /// Stands still from now on, as a process that was stopped (`SIGSTOP`): connections are accepted, nothing is read, nothing is
    /// answered. Commands that were sent meanwhile are executed after [`Fake::resume`], those of connections that their clients
    /// have given up included, unless the client has ended them (`CLIENT KILL`).
    pub fn stall(&self) {
        self.world.stalled.send_replace(true);
    }

    /// Goes on after [`Fake::stall`].
    pub fn resume(&self) {
        self.world.stalled.send_replace(false);
    }

    /// Whether new connections are refused. Those that exist stay; see [`Fake::cut`].
    pub fn refuse_connections(&self, refuse: bool) {
        self.world.refuses.store(refuse, Ordering::Relaxed);
    }

    /// Is another process from now on, as after a restart: cuts all connections and forgets which scripts it has seen. The data
    /// stays, as if it had been saved.
    pub fn restart(&self) {
        self.world.restart();
    }

    /// Answers the next command with this error (code first: `ERR no`) in place of running it. Called several times, the errors
    /// are given in turn. A command of a transaction is refused when it is queued, so that none of them runs. What belongs to
    /// the connection (`HELLO`, `MULTI`, `EXEC`, …) is never meant.
    pub fn fail_next(&self, error: impl Into<String>) {
        self.world.orders().fail(error.into());
    }

    /// Executes the next command (the whole transaction, if it is one) and then cuts all connections in place of answering: to the
    /// caller its fate is unknown.
    pub fn lose_next_answer(&self) {
        self.world.orders().lose();
    }

    /// Answers every command of this name, in any case, with what `answer` makes of its arguments (the name first), whether the
    /// server has such a command or not.
    ///
    /// # Examples
    /// ```
    /// use bowline_redis::fake::Fake;
    /// use bowline_redis::{Command, Frame, QueryError};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), QueryError> {
    /// let fake = Fake::new();
    /// fake.answer("LLEN", |data, arguments| {
    ///     // The list is stood in for by a counter.
    ///     data.run([&b"INCRBY"[..], &arguments[1][..], &b"0"[..]])
    /// });
    /// fake.run(["SET", "queue", "7"]);
    /// assert_eq!(fake.client().query::<u64>(Command::new("LLEN").arg("queue")).await?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn answer(
        &self,
        name: &str,
        answer: impl Fn(&mut Data<'_>, &[Bytes]) -> Frame + Send + Sync + 'static,
    ) {
        self.world.stand_ins().answers.insert(name.to_ascii_lowercase(), Arc::new(answer));
    }

    /// Stands in for a script: in its place `run` is called with the keys and the arguments. What it does to the data happens at
    /// once, as a script does it. As a server does, the fake asks for the source of a script that it has not seen (`NOSCRIPT`),
    /// which the driver then sends.
    ///
    /// # Examples
    /// ```
    /// use bowline_redis::fake::Fake;
    /// use bowline_redis::{Frame, QueryError, Script};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), QueryError> {
    /// let take = Script::new("local v = redis.call('GET', KEYS[1]); redis.call('DEL', KEYS[1]); return v");
    /// let fake = Fake::new();
    /// fake.script(&take, |data, keys, _| {
    ///     let value = data.run([&b"GET"[..], &keys[0][..]]);
    ///     data.run([&b"DEL"[..], &keys[0][..]]);
    ///     value
    /// });
    /// let client = fake.client();
    /// client.set("token", "abc").await?;
    /// let token: Option<String> = client.query_eval(&take, &[b"token"], &[]).await?;
    /// assert_eq!(token.as_deref(), Some("abc"));
    /// assert!(fake.keys().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn script(
        &self,
        script: &Script,
        run: impl Fn(&mut Data<'_>, &[Bytes], &[Bytes]) -> Frame + Send + Sync + 'static,
    ) {
        self.world.stand_ins().scripts.insert(script.digest().to_owned(), Arc::new(run));
    }

    /// Runs a command of the data on database 0 at once, past all clients, faults and stand-ins: to prepare a test, or to look.
    pub fn run(&self, command: impl IntoIterator<Item: AsRef<[u8]>>) -> Frame {
        let now_ms = self.world.now_ms();
        self.world.store().data(0, now_ms, Protocol::Resp3).run(command)
    }

    /// Publishes a message on a channel and tells how many subscriptions get it, those of patterns included.
    pub fn publish(&self, channel: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> usize {
        let [channel, payload] = [channel.as_ref(), payload.as_ref()].map(Bytes::copy_from_slice);
        self.world.publish(topics::Kind::Channel, &channel, &payload)
    }

    /// The keys of database 0, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<Bytes> {
        let keys = self.run(["KEYS", "*"]).into_elements().unwrap_or_default();
        let mut keys: Vec<Bytes> = keys.iter().filter_map(Frame::as_bytes).cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// The commands that clients sent, oldest first, as far back as the newest [`FAKE_COMMANDS_MAX`]: all but those by which
    /// the driver introduces itself and looks whether the server is there (`HELLO`, `AUTH`, `SELECT`, `INFO`, `CLIENT`, `PING`).
    ///
    /// [`FAKE_COMMANDS_MAX`]: crate::limits::FAKE_COMMANDS_MAX
    #[must_use]
    pub fn commands(&self) -> Vec<Vec<Bytes>> {
        self.world.orders().seen.iter().cloned().collect()
    }

    /// Forgets what [`Fake::commands`] has seen.
    pub fn forget_commands(&self) {
        self.world.orders().seen.clear();
    }

    /// Number of connections that are open, dedicated ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.world.connections()
    }
}

/// The configuration with this server in place of those that it names.
fn leading_here(mut config: Config) -> Config {
    config.topology = Topology::Single(Address::Host(ADDRESS.to_owned()));
    ADDRESS.clone_into(&mut config.address);
    config
}

impl Dial for Fake {
    type Stream = DuplexStream;

    async fn dial(&self, _address: &Address, _limit: Duration) -> io::Result<DuplexStream> {
        if self.world.is_refusing() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(FAKE_PIPE_BYTES);
        task::spawn("fake-connection", Connection::new(self.world.clone(), far).run());
        Ok(near)
    }
}

#[cfg(test)]
#[path = "fake_tests.rs"]
mod tests;
