//! The driver: a client of any server that speaks RESP (the embedded store, Redis ≥ 5, Valkey), built so that an answer cannot
//! reach the wrong caller.
//!
//! # Quick start
//! ```no_run
//! use bowline_redis::{Client, Command, Config};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Returns at once and connects in the background. Clones share the connection.
//! let client = Client::start(Config::from_url("redis://127.0.0.1:6379")?);
//!
//! client.set("greeting", "hello").await?;
//! let greeting: Option<String> = client.get("greeting").await?;
//!
//! // Any command; the type says what its answer becomes.
//! let scores: Vec<(String, f64)> =
//!     client.query(Command::new("ZRANGE").args(["scores", "0", "-1", "WITHSCORES"])).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A handful of commands have methods ([`Client::get`], [`Client::set`], [`Client::incr`], …); every other is a [`Command`] for
//! [`Client::query`], or for [`Client::call`], which brings the answer as it came ([`Frame`]). What an answer can be converted
//! to says [`FromReply`]. More is in the `examples` folder.
//!
//! # How a call ends
//! The type says what is known about the command, because that decides whether it may be sent again ([`CallError`]):
//!
//! | outcome | meaning | again? |
//! |---|---|---|
//! | `Ok` | the server's answer | |
//! | [`NotSent`] | not executed, and never will be: refused here, no connection, no room | always; after [`NotSent::Refused`], [`NotSent::TooLarge`] and [`NotSent::Route`] it fares no better |
//! | [`Unknown`] | may have been executed, may be executed yet: the deadline passed or the connection was lost | only what may run twice |
//! | [`ServerError`] | the server's error. [`CallError::had_no_effect`] tells those by which it declined to run it now | as it says |
//! | [`ConversionError`] | answered, with something else than was asked for; only through `query` ([`QueryError`]) | |
//!
//! ```
//! use bowline_redis::{CallError, Client, Command};
//!
//! async fn count_visit(client: &Client) -> Result<(), CallError> {
//!     match client.call(Command::new("INCR").arg("visits")).await {
//!         Ok(_) => Ok(()),
//!         Err(error) if error.had_no_effect() => Err(error), // it was surely not counted: try again
//!         Err(CallError::Unknown(_)) => Ok(()),               // perhaps counted: once more could be one too many
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! # Deadlines
//! Every call ends in time: [`Settings::call_deadline`] (1 s) or [`Command::deadline`] bounds everything from waiting for a
//! connection and for room in it to the answer. A command that blocks (on a [`Dedicated`] connection) has that on top of the
//! time for which it asks to wait.
//!
//! # Cancel safety
//! A call may be dropped at any time: that never shifts the answers of others (INV-DRV-CANCEL). Its command may then have been
//! executed or not. Dropped calls of a [`Dedicated`] connection make that connection unusable ([`NotSent::GivenUp`]).
//!
//! # Idempotence
//! The driver sends a command again by itself if no byte of it was handed to the socket; and, when the connection was lost, if it
//! is idempotent: commands that only read are, others are when the caller says so ([`Command::idempotent`],
//! [`Script::idempotent`]). It never sends a part of a batch or a transaction again.
//!
//! # Which server
//! The URL says so ([`Config::from_url`], where its forms are listed): one server, also by a socket in the file system; the
//! primary that sentinels name, followed through failovers; a cluster, whose redirects are followed ([`Topology`],
//! [`Slot`]). Of the latter two the replicas may be read from ([`ReadFrom`]); keys all over a cluster are for
//! [`Client::over_slots`]. `rediss://` is TLS, with a certificate of one's own where the server wants one
//! ([`Config::from_url_with_tls`], [`tls`]). Credentials may change while connected ([`CredentialProvider`], and for files
//! [`CredentialFiles`] with [`Config::from_url_without_password`]).
//!
//! # Which connection
//! - The shared one, for nearly everything: concurrent callers share its writes and reads (pipelining needs nothing).
//!   [`Batch`]: commands in order and in one call. [`Transaction`]: and with nothing between them. [`Script`]: Lua.
//! - [`Dedicated`], of which there are as many as one makes: for commands that block, and for `WATCH`.
//! - A [`Subscriber`]'s, for all its subscriptions: they are made again after a reconnect, and a gap is told ([`subscriber`]).
//! - None at all: [`Client::call_cached`] answers from what was read before, as long as the server does not say that it has
//!   changed.
//!
//! # What is refused, and why
//! What would change the connection for everybody behind it is not sent ([`NotSent::Refused`] says why):
//! - Nowhere: `SUBSCRIBE` and its kin, whose replies are not answers (there is [`Subscriber`]); `AUTH`, `HELLO`, `RESET`, `QUIT`,
//!   `MONITOR`, `SYNC`, `PSYNC`, `REPLCONF`, `CLIENT REPLY`, `CLIENT TRACKING`, `CLIENT CACHING`, `SCRIPT DEBUG`; and `MULTI`, `EXEC`,
//!   `DISCARD`, for which there is [`Transaction`], on a [`Dedicated`] connection too.
//! - Not on the shared connection, but on a dedicated one: `SELECT`, `ASKING`, `READONLY`, `READWRITE`, `WATCH`, `UNWATCH`, and
//!   commands that block. (A transaction may hold the last of these, which do not block there.)
//!
//! The URL names user and database.
//!
//! # A lost connection
//! is made anew for ever, with growing pauses of random length. A server that owes an answer and is silent for
//! [`Settings::silence_max`] (2 s) counts as lost. The new connection first ends the old one at the server (`CLIENT KILL ID`),
//! so that nothing of it runs later: [`Predecessor`] tells whether that worked. [`Client::connection`] tells the state.
//!
//! # Settings, limits, metrics, logs
//! [`Settings`] holds times and bounds, [`limits`] explains each. Everything is bounded: requests in flight by count and bytes,
//! callers that wait, replies ([`NotSent::Full`], [`NotSent::Overloaded`]). [`Client::metrics`] are the counters;
//! [`Client::register_metrics`] names them `bowline_redis_…`, [`Metrics::register_under`] as you like. Each call is a `tracing`
//! span `redis_call` at level debug with the fields `command` (the name), `epoch`, `resends`, `outcome`; no argument and no answer
//! is ever logged.
//!
//! # Features
//! `fake`: a server in memory for the tests of users.
//!
//! # Inside
//! From the inside out:
//! - [`epoch`]: the life of one connection as a state machine without I/O. It keeps INV-DRV-OWN, INV-DRV-CANCEL, INV-DRV-ONCE.
//! - `handshake`: how it introduces itself. `table`: what is known about commands.
//! - `intake`: where callers put requests in and, in `slots`, find their answers; keeps INV-DRV-BOUND. `link`: moves the bytes.
//! - `topology`, `url`, `credentials`: where to and as whom. `sentinel`: who the primary is.
//! - `connect`: how one comes about. `reconnect`: one connection after the other, for ever. `node`: one server.
//! - `watched`: a primary and its replicas.
//! - `keys`: which arguments of a command are keys. `cluster`: many servers that share the keys.
//! - [`Client`]: what callers hold. [`Dedicated`]: a connection that one caller has to itself.
//! - [`subscriber`]: connections for subscriptions.
//! - `reply`, `query`, `shortcuts`: answers as types. `trace`: calls as spans.
//!
//! Which design rule is kept where, and by which test it is shown, is in `docs/driver.md`.
//!
//! This crate does not know what is stored.

pub mod limits;

mod batch;
mod body;
mod cache;
mod call;
mod client;
mod cluster;
mod command;
mod config;
mod connect;
mod credential_files;
mod credentials;
mod dedicated;
mod dial;
pub mod epoch;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod handshake;
mod intake;
mod keys;
mod link;
mod metrics;
mod node;
mod query;
mod reconnect;
mod renewal;
mod reply;
mod request;
mod script;
mod sentinel;
mod shortcuts;
mod slots;
mod spread;
pub mod subscriber;
mod table;
mod target;
mod topology;
mod trace;
mod url;
mod watched;

pub use bowline_resp::{Frame, Protocol};

/// What [`Config::from_url_with_tls`] takes: whom to trust, and which certificate to show to a server that asks for one. The
/// example `tls` uses all of it.
pub mod tls {
    pub use bowline_identity::tls::{ClientSettings, Connector, Credential, Pem, TlsConnector, TlsError};
}

pub use batch::{Answers, Batch, Transaction};
pub use cache::CacheSettings;
pub use client::Client;
pub use cluster::{OnSlot, ReadFrom, RouteError, SLOTS, Slot};
pub use command::Command;
pub use config::{Config, Settings};
pub use credential_files::CredentialFiles;
pub use credentials::{CredentialError, CredentialProvider, Credentials, Login, LoginFuture, Secret};
pub use dedicated::Dedicated;
pub use error::{CallError, Death, NotSent, ServerError, Unknown};
pub use handshake::{Predecessor, ServerInfo, Tracking};
pub use metrics::{CacheMetrics, Metrics};
pub use reconnect::Connection;
pub use reply::{ConversionError, FromReply, QueryError, convert};
pub use script::Script;
pub use shortcuts::SetOptions;
pub use subscriber::{Subscriber, Subscription, Topic};
pub use topology::{Address, Topology};
pub use url::ConfigError;
