//! What is wanted, by whom, and from which node: shared by subscribers and the connections of a subscriber.
//!
//! Connections are told only that something has changed about a topic, and then look what is wanted of them now. Everything is
//! wanted of the first connection, but for shard channels which the server says are elsewhere (`MOVED`): these are wanted of a
//! connection to that node ([`Place`]), until it is lost. Then the first one is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::core::Event;
use super::mailbox::{Gap, Mailbox};
use super::metrics::SubscriberMetrics;
use super::topic::{Kind, Topic};
use crate::config::Settings;
use crate::error::{Death, ServerError};
use crate::limits::{SHARD_MOVES_MAX, SHARD_NODES_MAX, SUBSCRIPTIONS_MAX};
use crate::topology::Address;

/// The node of which a topic is wanted: `None` is the one that the subscriber was given, `Some` the address of another.
pub(crate) type Place = Option<Arc<str>>;

/// A topic, and whether it is wanted.
pub(crate) type Wish = (Topic, bool);

/// See the module.
#[derive(Debug)]
pub(crate) struct Roster {
    state: Mutex<State>,
    metrics: SubscriberMetrics,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<Topic, Listed>,
    places: BTreeMap<Place, AtPlace>,
    /// Places that nobody has connected to yet.
    new_places: Vec<Arc<str>>,
    hub: Option<Waker>,
    mailboxes: usize,
}

/// A topic that is wanted.
#[derive(Debug)]
struct Listed {
    place: Place,
    is_established: bool,
    last_error: Option<ServerError>,
    moves: u32,
    mailboxes: Vec<Arc<Mailbox>>,
}

/// What the connection to one place has to look at.
#[derive(Debug, Default)]
struct AtPlace {
    changed: BTreeSet<Topic>,
    /// Topics that are wanted there.
    topics: usize,
    waker: Option<Waker>,
}

impl AtPlace {
    fn change(&mut self, topic: Topic) {
        self.changed.insert(topic);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What a connection finds when it looks at the roster.
#[derive(Debug)]
pub(crate) enum Wishes {
    Changed(Vec<Wish>),
    /// Nothing is wanted there any more.
    Over,
}

impl Roster {
    pub fn new(metrics: SubscriberMetrics) -> Self {
        let places = BTreeMap::from([(None, AtPlace::default())]);
        Self { state: Mutex::new(State { places, ..State::default() }), metrics }
    }

    /// A subscription to `topic`; `None` if there are too many.
    pub fn add(&self, topic: &Topic, settings: &Settings) -> Option<Arc<Mailbox>> {
        let mut state = self.lock();
        if state.mailboxes >= SUBSCRIPTIONS_MAX {
            return None;
        }
        state.mailboxes += 1;
        self.metrics.subscriptions.inc();
        let mailbox = Arc::new(Mailbox::new(settings));
        match state.topics.get_mut(topic) {
            Some(listed) => {
                if listed.is_established {
                    mailbox.established();
                }
                if let Some(error) = &listed.last_error {
                    mailbox.refused(error.clone());
                }
                listed.mailboxes.push(mailbox.clone());
            }
            None => {
                let mailboxes = vec![mailbox.clone()];
                let listed =
                    Listed { place: None, is_established: false, last_error: None, moves: 0, mailboxes };
                state.topics.insert(topic.clone(), listed);
                let home = state.places.entry(None).or_default();
                home.topics += 1;
                home.change(topic.clone());
            }
        }
        Some(mailbox)
    }

    /// Ends a subscription.
    pub fn remove(&self, topic: &Topic, mailbox: &Arc<Mailbox>) {
        let mut state = self.lock();
        let Some(listed) = state.topics.get_mut(topic) else { return };
        listed.mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
        let is_last = listed.mailboxes.is_empty();
        state.mailboxes -= 1;
        self.metrics.subscriptions.dec();
        if is_last && let Some(listed) = state.topics.remove(topic) {
            state.leave(&listed.place, topic);
        }
    }

    /// Everything that is wanted of a fresh connection to `place`.
    pub fn all(&self, place: &Place) -> Vec<Wish> {
        let mut state = self.lock();
        if let Some(at) = state.places.get_mut(place) {
            at.changed.clear();
        }
        let wanted = state.topics.iter().filter(|(_, listed)| listed.place == *place);
        wanted.map(|(topic, _)| (topic.clone(), true)).collect()
    }

    /// What has changed about `place` since the last look.
    pub fn poll_wishes(&self, place: &Place, context: &Context<'_>) -> Poll<Wishes> {
        let state = &mut *self.lock();
        let at = state.places.entry(place.clone()).or_default();
        if place.is_some() && at.topics == 0 {
            state.places.remove(place);
            return Poll::Ready(Wishes::Over);
        }
        if at.changed.is_empty() {
            at.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let changed = std::mem::take(&mut at.changed).into_iter();
        let is_wanted = |topic: &Topic| state.topics.get(topic).is_some_and(|listed| listed.place == *place);
        Poll::Ready(Wishes::Changed(
            changed
                .map(|topic| {
                    let is_wanted = is_wanted(&topic);
                    (topic, is_wanted)
                })
                .collect(),
        ))
    }

    /// An address to which a new connection is wanted.
    pub fn poll_new_place(&self, context: &Context<'_>) -> Poll<Arc<str>> {
        let mut state = self.lock();
        match state.new_places.pop() {
            Some(address) => Poll::Ready(address),
            None => {
                state.hub = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Tells subscribers what came from the connection to `place`, which leads to `address`.
    pub fn tell(&self, place: &Place, address: &Address, events: impl Iterator<Item = Event>) {
        let mut state = self.lock();
        for event in events {
            state.tell(place, address, event, &self.metrics);
        }
    }

    /// The connection to `place` is lost, or could not be made. Everything is asked of the first one again.
    pub fn lost(&self, place: &Place, death: Death) {
        let state = &mut *self.lock();
        let mut strays = Vec::new();
        for (topic, listed) in state.topics.iter_mut().filter(|(_, listed)| listed.place == *place) {
            listed.gap(Gap::Lost(death), &self.metrics);
            if place.is_some() {
                listed.place = None;
                strays.push(topic.clone());
            }
        }
        if place.is_some() {
            state.places.remove(place);
            let home = state.places.entry(None).or_default();
            for topic in strays {
                home.topics += 1;
                home.change(topic);
            }
        }
    }

    /// Nothing that is done under the lock leaves it half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, place: &Place, address: &Address, event: Event, metrics: &SubscriberMetrics) {
        let (Event::Established(topic)
        | Event::Message(topic, _)
        | Event::Lost(topic)
        | Event::Refused(topic, _)) = &event
        else {
            return;
        };
        // It may have been dropped, or moved, while this was on its way.
        let Some(listed) = self.topics.get_mut(topic).filter(|listed| listed.place == *place) else { return };
        match event {
            Event::Ready(_) => {}
            Event::Message(_, message) if listed.is_established => {
                for mailbox in &listed.mailboxes {
                    metrics.messages.inc();
                    if !mailbox.message(&message) {
                        metrics.lagged.inc();
                    }
                }
            }
            Event::Message(..) => {}
            Event::Established(_) => {
                if !std::mem::replace(&mut listed.is_established, true) {
                    listed.mailboxes.iter().for_each(|mailbox| mailbox.established());
                }
                listed.last_error = None;
                listed.moves = 0;
            }
            Event::Lost(_) => listed.gap(Gap::Unsubscribed, metrics),
            Event::Refused(topic, error) => {
                if !self.follow(&topic, address, &error) {
                    self.refuse(&topic, error, metrics);
                }
            }
        }
    }

    fn refuse(&mut self, topic: &Topic, error: ServerError, metrics: &SubscriberMetrics) {
        metrics.refused.inc();
        let Some(listed) = self.topics.get_mut(topic) else { return };
        listed.moves = 0;
        if listed.last_error.as_ref() != Some(&error) {
            listed.mailboxes.iter().for_each(|mailbox| mailbox.refused(error.clone()));
            listed.last_error = Some(error);
        }
    }

    /// Lets a shard channel be wanted of the node that the server names, if it names one and there is room.
    fn follow(&mut self, topic: &Topic, address: &Address, error: &ServerError) -> bool {
        let Some(target) = moved_to(topic, address, error) else { return false };
        let Some(listed) = self.topics.get_mut(topic) else { return false };
        let leads_nowhere = *address == Address::Host(target.clone());
        let target: Place = Some(target.into());
        let is_new = !self.places.contains_key(&target);
        let is_full = is_new && self.places.len() > SHARD_NODES_MAX;
        if listed.moves >= SHARD_MOVES_MAX || leads_nowhere || is_full {
            return false;
        }
        listed.moves += 1;
        let before = std::mem::replace(&mut listed.place, target.clone());
        self.leave(&before, topic);
        let at = self.places.entry(target.clone()).or_default();
        at.topics += 1;
        at.change(topic.clone());
        if let Some(address) = target.filter(|_| is_new) {
            self.new_places.push(address);
            if let Some(hub) = self.hub.take() {
                hub.wake();
            }
        }
        true
    }

    /// A topic is not wanted of `place` any more.
    fn leave(&mut self, place: &Place, topic: &Topic) {
        if let Some(at) = self.places.get_mut(place) {
            at.topics -= 1;
            at.change(topic.clone());
        }
    }
}

impl Listed {
    fn gap(&mut self, gap: Gap, metrics: &SubscriberMetrics) {
        if std::mem::take(&mut self.is_established) {
            metrics.gaps.inc();
            self.mailboxes.iter().for_each(|mailbox| mailbox.gap(gap));
        }
    }
}

/// Where a shard channel is: `MOVED <slot> <host>:<port>`. Without a host it is the one that was asked.
fn moved_to(topic: &Topic, address: &Address, error: &ServerError) -> Option<String> {
    if topic.kind() != Kind::Shard || error.code != "MOVED" {
        return None;
    }
    let target = error.message.split(' ').nth(2)?;
    let (host, port) = target.rsplit_once(':')?;
    let host = match host {
        "" => match address {
            Address::Host(address) => address.rsplit_once(':').map(|(host, _)| host)?,
            Address::Unix(_) => return None,
        },
        host => host,
    };
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    Some(if is_bare_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}
