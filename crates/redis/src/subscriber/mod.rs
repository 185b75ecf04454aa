//! Subscriptions: a connection of its own, and a stream of what is published for each topic.
//!
//! From the inside out:
//! - `topic`: what can be subscribed to, and what servers say about it.
//! - `core`: the life of one connection as a state machine without I/O; `silence` is its clock.
//! - `mailbox`: what waits for one subscriber. `roster`: who wants what, and from where.
//! - `line`: moves the bytes. `nodes`: where to connect to. `feed`: one connection after the other.
//! - [`Subscriber`] and [`Subscription`]: what callers hold.
//!
//! What a subscriber may rely on: between [`Item::Established`] and the next [`Item::Gap`] or [`Item::Lagged`], every message comes
//! that the server has sent, in its order, and once. Whatever else happens is an item in its place in the stream. (What Redis
//! itself loses is not known to anybody: it forgets what it publishes.)

mod core;
mod feed;
mod line;
mod mailbox;
mod metrics;
mod nodes;
mod roster;
mod silence;
mod topic;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bowline_rt::task::{self, JoinHandle};
use futures_util::Stream;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

pub use self::mailbox::{Gap, Item};
pub use self::metrics::SubscriberMetrics;
pub use self::topic::{Kind, Message, Topic};

use self::feed::Feed;
use self::mailbox::Mailbox;
use self::nodes::{Nodes, Targets};
use self::roster::Roster;
use crate::cluster::Open;
use crate::config::{Config, Settings};
use crate::connect::{Connect, Dial, Target};
use crate::dial::ToSentinels;
use crate::error::ServerError;
use crate::limits::{SUBSCRIPTIONS_MAX, TOPIC_BYTES_MAX};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::reconnect::Connection;
use crate::topology::{Address, Topology};

/// A connection for subscriptions, which all clones and all its subscriptions share. It is made anew for ever, and everything is
/// subscribed to again; it ends with the last clone and the last subscription.
///
/// In a cluster the messages of ordinary channels come to every node, so it is connected to one of those that the configuration
/// names. While it is, it asks that one for the others, over a second connection: they are tried too when it is gone. For
/// shard channels it holds further connections, to the nodes that the first one names.
///
/// Name several nodes: until one of those that are named could be reached, no others are known.
///
/// A living connection keeps the login with which it was made; the next one takes the credentials that hold then.
#[derive(Clone)]
pub struct Subscriber {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    settings: Settings,
    metrics: SubscriberMetrics,
    roster: Arc<Roster>,
    connection: watch::Receiver<Connection>,
    feed: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.feed.abort();
    }
}

/// Why there is no subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The subscriber has as many as it may have.
    #[error("the subscriber has {SUBSCRIPTIONS_MAX} subscriptions and may have no more")]
    TooMany,
    /// The name or pattern is too long.
    #[error("the name has {bytes} bytes, the limit is {TOPIC_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl Subscriber {
    /// Starts to connect in the background.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let (dial, to_sentinels) = (config.connector.clone(), config.sentinel_connector.clone());
        Self::start_with(config, dial, to_sentinels)
    }

    pub(crate) fn start_with(config: Config, dial: impl Dial, to_sentinels: impl Dial) -> Self {
        let (address, settings) = (config.address.clone(), config.settings);
        let metrics = SubscriberMetrics::default();
        let roster = Arc::new(Roster::new(metrics.clone()));
        let (sender, connection) = watch::channel(Connection::Down { error: None });
        let targets = match &config.topology {
            Topology::Single(address) => Targets::One(Target::Fixed(address.clone())),
            Topology::Sentinel { sentinels, service } => {
                let credentials = config.sentinel_credentials.clone();
                let dial = Arc::new(ToSentinels(to_sentinels));
                Targets::One(Target::watched(service.clone(), sentinels, credentials, dial))
            }
            Topology::Cluster { seeds } => {
                Targets::Cluster(Arc::new(Nodes::new(seeds.clone(), opener(&config, &dial))))
            }
        };
        let feed = Feed { config, dial, targets, roster: roster.clone(), metrics: metrics.clone() };
        let feed = task::spawn("subscriber-connection", feed.run(sender));
        Self { shared: Arc::new(Shared { address, settings, metrics, roster, connection, feed }) }
    }

    /// Subscribes to a topic. Whether and when the server has confirmed that is the first item of the subscription. Several
    /// subscriptions to one topic are one at the server.
    ///
    /// # Errors
    /// [`SubscribeError`]: one of the bounds of this driver.
    pub fn subscribe(&self, topic: Topic) -> Result<Subscription, SubscribeError> {
        let bytes = topic.name().len();
        if bytes > TOPIC_BYTES_MAX {
            return Err(SubscribeError::TooLong { bytes });
        }
        let mailbox = self.shared.roster.add(&topic, &self.shared.settings);
        let mailbox = mailbox.ok_or(SubscribeError::TooMany)?;
        Ok(Subscription { topic, mailbox, shared: self.shared.clone() })
    }

    /// Whether there is a connection, now and from now on.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.clone()
    }

    /// The counters of this subscriber.
    #[must_use]
    pub fn metrics(&self) -> &SubscriberMetrics {
        &self.shared.metrics
    }

    /// Adds the counters of this subscriber to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Where the server is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }
}

/// Makes the connections over which the layout of a cluster is asked for.
fn opener(config: &Config, dial: &impl Dial) -> Open {
    let config = Config { settings: config.settings.bounded(), ..config.clone() };
    let (dial, metrics) = (dial.clone(), Metrics::new());
    Arc::new(move |address, kind| {
        let target = Target::Fixed(Address::Host(address.to_owned()));
        let (config, dial, metrics) = (config.clone(), dial.clone(), metrics.clone());
        let connect = Connect { config, dial, target, role: kind.role(), metrics, pushes: None };
        Node::start(connect.without_cache())
    })
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// A subscription to one topic: a stream of [`Item`]s without an end. Dropping it unsubscribes.
///
/// It must be read: what waits is bounded ([`Settings::subscription_messages_max`], [`Settings::subscription_bytes_max`]), and what
/// comes when it is full is thrown away and counted ([`Item::Lagged`]). Nobody else is held up by it.
pub struct Subscription {
    topic: Topic,
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
}

impl Subscription {
    /// What is subscribed to.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Waits for the next item. Cancel safe: nothing is lost.
    pub async fn next(&mut self) -> Item {
        poll_fn(|context| self.mailbox.poll_next(context)).await
    }

    /// Waits until the server has confirmed the subscription, and takes what is said before that. It is meant for a fresh
    /// subscription, before the first message. Without a connection it waits for one: give it a time-out.
    ///
    /// # Errors
    /// The server's refusal. The subscription is dropped.
    pub async fn established(self) -> Result<Self, ServerError> {
        loop {
            match poll_fn(|context| self.mailbox.poll_next_but_message(context)).await {
                Some(Item::Established) | None => return Ok(self),
                Some(Item::Refused(error)) => return Err(error),
                Some(_) => {}
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.mailbox.poll_next(context).map(Some)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.roster.remove(&self.topic, &self.mailbox);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;
