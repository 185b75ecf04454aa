//! The handle that callers use.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bowline_resp::Frame;
use bowline_rt::time::now;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::batch::{Answers, Batch, Transaction, answers};
use crate::cache::Cache;
use crate::call::Call;
use crate::cluster::{Cluster, Kind, Open, RouteError, Routed, Slot, Way};
use crate::command::Command;
use crate::config::{Config, Settings};
use crate::connect::{Connect, Dial, Target};
use crate::dedicated::{Dedicated, deadline_from};
use crate::dial::ToSentinels;
use crate::epoch::Fate;
use crate::error::{CallError, NotSent, ServerError, Unknown};
use crate::handshake::Role;
use crate::intake::Delivery;
use crate::limits::RESENDS_MAX;
use crate::link::Pushes;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::reconnect::Connection;
use crate::request::{Request as _, after};
use crate::script::Script;
use crate::sentinel::Sentinels;
use crate::subscriber::Subscriber;
use crate::topology::{Address, Topology};
use crate::trace::{self, traced};
use crate::watched::{self, Watched};

/// A client of one server, over one connection that all clones share, or of a cluster, with one such connection to each of its
/// nodes. Where sentinels name the server there is also one to each of its replicas, once commands read from these
/// ([`ReadFrom`](crate::ReadFrom)). Requests of concurrent callers travel together without waiting for each other's answers. Connections are made anew for
/// ever; they end with the last clone.
///
/// In a cluster a command goes to the node that serves its keys, which must all be in one slot; so must those of a [`Batch`] or a
/// [`Transaction`]. Redirects are followed within the call's deadline. [`Client::over_slots`] divides a command among slots.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline_redis::{Client, Command, Config, ReadFrom};
///
/// let client = Client::start(Config::from_url("redis-cluster://10.0.0.1:7000,10.0.0.2:7000")?);
/// client.call(Command::new("SET").args(["{user:7}:name", "Ada"])).await?;
/// let name = Command::new("GET").arg("{user:7}:name").read_from(ReadFrom::PreferReplica);
/// let name = client.call(name).await?;
/// for (node, size) in client.on_all_primaries(Command::new("DBSIZE")).await? {
///     println!("{node}: {:?}", size?.as_integer());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    metrics: Metrics,
    servers: Servers,
    cache: Option<Arc<Cache>>,
    /// Makes a subscriber of the same servers.
    subscribe: Box<dyn Fn() -> Subscriber + Send + Sync>,
}

/// Who is behind a client.
pub(crate) enum Servers {
    One(Node),
    /// A primary with replicas.
    Watched(Watched),
    Cluster(Cluster),
}

impl Servers {
    /// The one that takes everything, or the cluster.
    pub const fn primary(&self) -> Result<&Node, &Cluster> {
        match self {
            Self::One(node) => Ok(node),
            Self::Watched(watched) => Ok(watched.primary()),
            Self::Cluster(cluster) => Err(cluster),
        }
    }
}

/// Whether an attempt is the end of a call.
enum Attempt {
    /// The server has answered.
    Answered(Frame),
    /// It may be made again.
    Again,
}

/// What the attempts of one call have in common.
#[derive(Default)]
struct Attempts {
    resends: u32,
    /// Once an attempt was lost, no later one can make it unsent (INV-DRV-ONCE).
    lost: Option<Unknown>,
    /// Through a cluster, or to a replica.
    way: Way,
    /// The last attempt went to a node to which the slot is on its way.
    was_asked_for: bool,
}

impl Attempts {
    /// What `error` of a later attempt says about the whole call.
    fn in_spite_of_the_lost(&self, error: CallError) -> CallError {
        match self.lost {
            Some(lost) if error.had_no_effect() => lost.into(),
            _ => error,
        }
    }
}

impl Client {
    /// Starts to connect in the background.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let (dial, to_sentinels) = (config.connector.clone(), config.sentinel_connector.clone());
        Self::start_with(config, dial, to_sentinels)
    }

    pub(crate) fn start_with(mut config: Config, dial: impl Dial, to_sentinels: impl Dial) -> Self {
        config.settings = config.settings.bounded();
        let (settings, metrics) = (config.settings, Metrics::new());
        let cache = config.cache.map(|settings| Arc::new(Cache::new(settings, metrics.cache.clone())));
        let subscribe = {
            let (config, dial, to_sentinels) = (config.clone(), dial.clone(), to_sentinels.clone());
            Box::new(move || Subscriber::start_with(config.clone(), dial.clone(), to_sentinels.clone()))
        };
        let connect = {
            let (config, metrics) = (config.clone(), metrics.clone());
            let pushes = cache.clone().map(|cache| cache as Arc<dyn Pushes>);
            move |target, role| Connect {
                config: config.clone(),
                dial: dial.clone(),
                target,
                role,
                metrics: metrics.clone(),
                pushes: pushes.clone(),
            }
        };
        let servers = match config.topology {
            Topology::Single(address) => {
                Servers::One(Node::start(connect(Target::Fixed(address), Role::Primary)))
            }
            Topology::Sentinel { sentinels, service } => {
                let (dial, credentials) = (Arc::new(ToSentinels(to_sentinels)), config.sentinel_credentials);
                let open = {
                    let connect = connect.clone();
                    // Cached calls are about the primary.
                    Arc::new(move |address: &str, _| {
                        let target = Target::Fixed(Address::Host(address.to_owned()));
                        Node::start(connect(target, Role::Follower).without_cache())
                    })
                };
                let sentinels = Sentinels::start(service, &sentinels, credentials, dial, Some(open));
                let sentinels = Arc::new(sentinels);
                let primary = Node::start(connect(Target::Sentinel(sentinels.clone()), Role::Primary));
                Servers::Watched(Watched::new(primary, sentinels, settings.read_from))
            }
            Topology::Cluster { seeds } => {
                let open: Open = Arc::new(move |address, kind| {
                    Node::start(connect(Target::Fixed(Address::Host(address.to_owned())), kind.role()))
                });
                Servers::Cluster(Cluster::start(
                    (config.address, seeds),
                    settings,
                    metrics.clone(),
                    open,
                    cache.clone(),
                ))
            }
        };
        Self { shared: Arc::new(Shared { settings, metrics, servers, cache, subscribe }) }
    }

    /// Runs a command and waits for its answer, within the command's deadline or else that of the settings. If there is no
    /// connection, it waits for one. What was surely not sent is sent again on the next connection; what may have been
    /// executed only if the command is idempotent, and only if the connection was lost: where the server sent what it must
    /// not, the answer to this command may be the cause.
    ///
    /// Byte strings in the answer are slices of a read buffer: copy what is kept for long.
    ///
    /// Cancel safe in this sense: a dropped call never disturbs another one (INV-DRV-CANCEL), and its command may or may not
    /// be executed.
    ///
    /// # Errors
    /// [`CallError`], which says what is known about the command.
    pub fn call(&self, command: Command) -> impl Future<Output = Result<Frame, CallError>> + Send {
        Call::new(self, command, None::<fn() -> Command>)
    }

    /// Runs a script: by its digest, and in full on a server that does not know it, within one deadline.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn eval<'a>(
        &'a self,
        script: &'a Script,
        keys: &'a [&'a [u8]],
        arguments: &'a [&'a [u8]],
    ) -> impl Future<Output = Result<Frame, CallError>> + Send + 'a {
        let in_full = move || script.by_source(keys, arguments);
        Call::new(self, script.by_digest(keys, arguments), Some(in_full))
    }

    /// Runs several commands one behind the other, on one connection and within one deadline. See [`Batch`].
    ///
    /// # Errors
    /// As [`Client::call`], for the batch as a whole; the server's errors are among the answers.
    pub async fn batch(&self, batch: Batch) -> Result<Answers, CallError> {
        batch.check(self.bytes_max(), Command::check_shared)?;
        let outcome = traced!(&"batch", self.run(&batch));
        self.shared.metrics.count_call(&outcome);
        outcome.map(answers)
    }

    /// Runs commands as a transaction. See [`Transaction`]; for one that depends on keys that are watched,
    /// [`Dedicated::transaction`].
    ///
    /// # Errors
    /// As [`Client::call`], for the transaction as a whole; the errors of commands that ran are among the answers.
    pub async fn transaction(&self, transaction: Transaction) -> Result<Answers, CallError> {
        transaction.check_shared(self.bytes_max())?;
        let outcome = traced!(&"transaction", self.run(&transaction));
        self.shared.metrics.count_call(&outcome);
        let outcome = transaction.outcome(outcome?)?;
        // Nobody can watch on a shared connection, so nothing can be in the way.
        outcome.ok_or_else(|| Unknown::Torn.into())
    }

    /// A connection of one's own: for commands that block, and for transactions that depend on watched keys. It is made for
    /// this call, within the usual deadline, and closed when the value is dropped.
    ///
    /// # Errors
    /// [`NotSent`](crate::NotSent) in [`CallError`]: the server cannot be reached, or
    /// [`Settings::dedicated_max`] are in use.
    pub async fn dedicated(&self) -> Result<Dedicated, CallError> {
        match self.shared.servers.primary() {
            Ok(node) => Ok(node.dedicated(self.shared.settings.call_deadline).await?),
            Err(_) => Err(NotSent::from(RouteError::NoKey).into()),
        }
    }

    /// As [`Client::dedicated`], to the node of a cluster that serves `key` now. It follows no redirect: when the slot of the key
    /// moves, commands fail with `MOVED`, and it is time for another connection.
    ///
    /// # Errors
    /// As [`Client::dedicated`].
    pub async fn dedicated_for(&self, key: &[u8]) -> Result<Dedicated, CallError> {
        match self.shared.servers.primary() {
            Ok(node) => Ok(node.dedicated(self.shared.settings.call_deadline).await?),
            Err(cluster) => {
                let deadline = now() + self.shared.settings.call_deadline;
                let owner = cluster.owner(Slot::of(key), deadline).await?;
                let limit = deadline.saturating_duration_since(now());
                Ok(owner.node(Kind::Primary).dedicated(limit).await?)
            }
        }
    }

    /// Starts a connection for subscriptions to the same servers. It is independent of this client.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn subscriber(&self) -> Subscriber {
        (self.shared.subscribe)()
    }

    /// Whether there is a connection, now and from now on. Of a cluster: whether its nodes tell how its slots are laid out; the
    /// identity of the connection changes whenever other nodes are primaries than before.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        match self.shared.servers.primary() {
            Ok(node) => node.connection(),
            Err(cluster) => cluster.connection(),
        }
    }

    /// The counters of this client.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Adds the counters of this client to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Where the server is: `host:port`, `unix:path`, or the name of the service that the sentinels watch; of a cluster, the
    /// nodes by which it was named.
    #[must_use]
    pub fn address(&self) -> &str {
        match self.shared.servers.primary() {
            Ok(node) => node.name(),
            Err(cluster) => cluster.name(),
        }
    }

    pub(crate) fn cache(&self) -> Option<&Arc<Cache>> {
        self.shared.cache.as_ref()
    }

    pub(crate) fn servers(&self) -> &Servers {
        &self.shared.servers
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.shared.settings.in_flight_bytes_max as usize
    }

    /// Runs a command; in place of one that names a script which the server does not know, what `in_full` makes. The
    /// call began at `started`, if that is known. If the command was sent already, `first` says what became of it.
    pub(crate) async fn run_command(
        &self,
        mut command: Command,
        mut in_full: Option<impl FnOnce() -> Command>,
        way: Way,
        started: Option<Instant>,
        mut first: Option<Delivery>,
    ) -> Result<Frame, CallError> {
        command.check_shared(self.bytes_max())?;
        let limit = command.deadline_or(self.shared.settings.call_deadline);
        let started = started.unwrap_or_else(|| match &first {
            Some(Delivery::Lost { deadline, .. }) => deadline.checked_sub(limit).unwrap_or(*deadline),
            _ => now(),
        });
        let deadline = after(started, limit);
        let mut attempts = Attempts { way, ..Attempts::default() };
        loop {
            let attempt = match first.take() {
                Some(delivery) => self.settle(&command, delivery, deadline, &mut attempts).await,
                None => self.attempt(&command, started, deadline, &mut attempts).await,
            };
            let Attempt::Answered(frame) = attempt? else { continue };
            let Frame::Error(text) = frame else { return Ok(frame) };
            let error = ServerError::new(&text);
            match in_full.take().filter(|_| error.code == "NOSCRIPT") {
                Some(in_full) => command = in_full(),
                None => return Err(attempts.in_spite_of_the_lost(error.into())),
            }
            command.check_shared(self.bytes_max())?;
        }
    }

    /// Runs a request that has several answers.
    async fn run(&self, request: &impl Routed) -> Result<Frame, CallError> {
        self.run_tracked(request).await.map(|(frame, _)| frame)
    }

    /// As [`Client::run`], for a batch that need not be checked. Also tells whether the answer is that of a node to which the slot
    /// is on its way: `ASKING` comes between commands that belong together.
    pub(crate) async fn run_tracked(&self, request: &impl Routed) -> Result<(Frame, bool), CallError> {
        let started = now();
        let deadline = deadline_from(started, request, &self.shared.settings);
        let mut attempts = Attempts::default();
        loop {
            if let Attempt::Answered(frame) = self.attempt(request, started, deadline, &mut attempts).await? {
                return match attempts.lost {
                    // What was refused now may have had its effect before.
                    Some(lost) if has_refusal(&frame) => Err(lost.into()),
                    _ => Ok((frame, attempts.was_asked_for)),
                };
            }
        }
    }

    /// Sends a request, which was checked, and waits for what becomes of it.
    async fn attempt(
        &self,
        request: &impl Routed,
        started: Instant,
        deadline: Instant,
        attempts: &mut Attempts,
    ) -> Result<Attempt, CallError> {
        let sent = match &self.shared.servers {
            Servers::One(node) => node.send(request, started, deadline).await,
            Servers::Watched(watched) => watched.send(request, started, deadline, &mut attempts.way).await,
            Servers::Cluster(cluster) => cluster.send(request, started, deadline, &mut attempts.way).await,
        };
        attempts.was_asked_for = attempts.way.is_asking();
        let sent = sent.map_err(|error| attempts.in_spite_of_the_lost(error.into()))?;
        trace::sent(sent.epoch, attempts.resends);
        let delivery = sent.answer.await;
        self.settle(request, delivery, deadline, attempts).await
    }

    /// Judges what became of an attempt.
    async fn settle(
        &self,
        request: &impl Routed,
        delivery: Delivery,
        deadline: Instant,
        attempts: &mut Attempts,
    ) -> Result<Attempt, CallError> {
        match delivery {
            Delivery::Answer(frame) => {
                let way = &mut attempts.way;
                let judged = match &self.shared.servers {
                    Servers::One(_) => Some(frame),
                    Servers::Watched(_) => watched::judge(request, frame, way, &self.shared.metrics),
                    // In a cluster an answer may lead on.
                    Servers::Cluster(cluster) => cluster.judge(request, frame, deadline, way).await,
                };
                return Ok(judged.map_or(Attempt::Again, Attempt::Answered));
            }
            Delivery::Expired => {
                if let Servers::Cluster(cluster) = &self.shared.servers {
                    cluster.doubt();
                }
                if attempts.way.replica().is_none() || now() >= deadline {
                    return Err(Unknown::Deadline.into());
                }
                // A replica had a part of the time; what it was asked only reads.
                attempts.lost = Some(Unknown::Deadline);
            }
            // Ends with the deadline, because the next attempt has to wait for another connection.
            Delivery::Lost { fate: Fate::NotSent, .. } => {}
            Delivery::Lost { fate: Fate::Unknown, death, .. }
                if request.is_idempotent() && death.spares_a_repeat() && attempts.resends < RESENDS_MAX =>
            {
                attempts.resends += 1;
                attempts.lost = Some(Unknown::Lost(death));
            }
            Delivery::Lost { fate: Fate::Unknown, death, .. } => return Err(Unknown::Lost(death).into()),
        }
        match &self.shared.servers {
            Servers::One(_) => {}
            Servers::Watched(_) => attempts.way.lost(),
            Servers::Cluster(cluster) => cluster.lost(&mut attempts.way),
        }
        self.shared.metrics.resent.inc();
        Ok(Attempt::Again)
    }
}

/// Whether a command of a batch was refused.
fn has_refusal(answers: &Frame) -> bool {
    let Frame::Array(answers) = answers else { return false };
    answers.iter().any(|answer| matches!(answer, Frame::Error(text) if ServerError::new(text).is_refusal()))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "client_login_tests.rs"]
mod login_tests;

#[cfg(test)]
#[path = "client_together_tests.rs"]
mod together_tests;
