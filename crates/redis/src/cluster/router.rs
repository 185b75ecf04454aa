//! Brings each request to the node that it belongs to, and to the next one if that refuses it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bowline_resp::Frame;
use bowline_rt::random;
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{now, sleep, timeout};
use tokio::sync::{Notify, watch};

use crate::cache::Cache;
use crate::cluster::ReadFrom;
use crate::cluster::course::{Course, Refusal, Target};
use crate::cluster::directory::{Directory, Routes};
use crate::cluster::error::RouteError;
use crate::cluster::key::Slot;
use crate::cluster::place::{Kind, Open, Place};
use crate::cluster::refresh::Refresh;
use crate::cluster::routed::Routed;
use crate::config::Settings;
use crate::error::NotSent;
use crate::limits::{CLUSTER_ASK_PATIENCE, REPLICA_SHARE};
use crate::metrics::Metrics;
use crate::node::{Sent, Waiting};
use crate::reconnect::Connection;
use crate::request::Request;

/// A cluster, and the connections to its nodes. They end with this value.
pub(crate) struct Cluster {
    name: String,
    settings: Settings,
    metrics: Metrics,
    directory: Arc<Directory>,
    routes: watch::Receiver<Arc<Routes>>,
    doubt: Arc<Notify>,
    connection: watch::Receiver<Connection>,
    waiting: Waiting,
    refresh: JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.refresh.abort();
    }
}

/// The way of one call through a cluster.
#[derive(Debug, Default)]
pub(crate) struct Way {
    course: Course,
    target: Target,
    /// Who was asked last. As long as it is held, its connection lives, and with it the answer.
    asked: Option<(Arc<Place>, Kind)>,
    /// The call is about this node and follows no redirect.
    pinned: Option<Arc<Place>>,
    /// A replica has failed the call already.
    primary_only: bool,
}

impl Way {
    /// The way of a call that is about one node.
    pub fn to(place: Arc<Place>) -> Self {
        Self { pinned: Some(place), ..Self::default() }
    }

    /// Whether it leads to a node to which the slot is on its way.
    pub const fn is_asking(&self) -> bool {
        matches!(self.target, Target::Asking(_))
    }

    /// It leads to a replica of a primary that has no slots.
    pub fn leads_to(&mut self, replica: Option<Arc<Place>>) {
        self.asked = replica.map(|place| (place, Kind::Replica));
    }

    /// The replica that was asked last, if it was one.
    pub fn replica(&self) -> Option<&Arc<Place>> {
        self.asked.as_ref().filter(|(_, kind)| *kind == Kind::Replica).map(|(place, _)| place)
    }

    /// Whether a replica has failed the call already.
    pub const fn is_for_primary(&self) -> bool {
        self.primary_only
    }

    /// The connection was lost, or the replica did not answer.
    pub fn lost(&mut self) {
        self.target = Target::Owner;
        self.primary_only |= matches!(self.asked, Some((_, Kind::Replica)));
    }
}

impl Cluster {
    /// Starts to ask the nodes at `seeds` for the layout. What `cache` keeps is only good while its slots stay where they are.
    pub fn start(
        (name, seeds): (String, Vec<String>),
        settings: Settings,
        metrics: Metrics,
        open: Open,
        cache: Option<Arc<Cache>>,
    ) -> Self {
        let directory = Arc::new(Directory::new(open, cache));
        let doubt = Arc::new(Notify::new());
        let (sender, connection) = watch::channel(Connection::Down { error: None });
        let refresh = Refresh {
            directory: directory.clone(),
            seeds,
            doubt: doubt.clone(),
            connection: sender,
            metrics: metrics.clone(),
        };
        Self {
            name,
            settings,
            metrics,
            routes: directory.routes(),
            directory,
            doubt,
            connection,
            waiting: Waiting::default(),
            refresh: task::spawn("cluster-refresh", refresh.run()),
        }
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the layout is known, now and from now on.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.clone()
    }

    /// Puts a request, which was checked, into the connection that it belongs to. As [`Node::send`](crate::node::Node::send)
    /// otherwise.
    pub async fn send(
        &self,
        request: &impl Routed,
        started: Instant,
        deadline: Instant,
        way: &mut Way,
    ) -> Result<Sent, NotSent> {
        let (slot, read_from) = match &way.pinned {
            Some(_) => (None, ReadFrom::Primary),
            None => (request.slot()?, request.reads_from(self.settings.read_from)),
        };
        loop {
            let read_from = if way.primary_only { ReadFrom::Primary } else { read_from };
            let Some((place, kind)) = self.find(slot, read_from, way)? else {
                self.wait_for_owner(slot, request.size_bytes(), started, deadline).await?;
                continue;
            };
            way.asked = Some((place.clone(), kind));
            let leads_there = |routes: &Routes| match (&way.pinned, &way.target, slot) {
                (Some(_), ..) | (_, Target::Owner, None) => true,
                (_, Target::Owner | Target::Node(_), slot) => {
                    let owner = routes.place(slot, ReadFrom::Primary);
                    owner.is_some_and(|(owner, _)| Arc::ptr_eq(&owner, &place))
                }
                (_, Target::Asking(_), _) => true,
            };
            let waited = match &way.target {
                Target::Asking(_) => {
                    let request = request.asking();
                    let putting = self.put(&request, &place, kind, started, deadline, leads_there);
                    // The map need not know the node: if that cannot be reached, the owner has to say again where to ask.
                    timeout(CLUSTER_ASK_PATIENCE, putting).await.unwrap_or(Ok(None))
                }
                _ => self.put(request, &place, kind, started, deadline, leads_there).await,
            };
            match waited? {
                Some(sent) => return Ok(sent),
                None => way.lost(),
            }
        }
    }

    /// Looks at an answer. `None` if the node has refused the request and it goes on to another.
    pub async fn judge(
        &self,
        request: &impl Routed,
        answer: Frame,
        deadline: Instant,
        way: &mut Way,
    ) -> Option<Frame> {
        let answer = match (&way.target, answer) {
            (Target::Asking(_), Frame::Array(answers)) => {
                request.without_asking(answers).expect("every command of a batch is answered")
            }
            (_, answer) => answer,
        };
        let Some((place, kind)) = way.asked.clone().filter(|_| way.pinned.is_none()) else {
            return Some(answer);
        };
        let Some(refusal) = request.refusal(&answer, place.address()) else {
            way.target = Target::Owner;
            return Some(answer);
        };
        self.metrics.count_refusal(refusal.label());
        way.primary_only |= kind == Kind::Replica;
        if let Refusal::Moved { slot, to: Some(to) } = &refusal {
            self.directory.moved(*slot, to);
        }
        if refusal.casts_doubt() {
            self.doubt();
        }
        let Some((target, pause_max)) = way.course.after(refusal) else { return Some(answer) };
        way.target = target;
        if !pause_max.is_zero() {
            let pause = random::jitter(pause_max);
            if now() + pause >= deadline {
                return Some(answer);
            }
            sleep(pause).await;
            // Timers are late: an attempt that begins with nobody waiting would make an unknown outcome of a refusal.
            if now() >= deadline {
                return Some(answer);
            }
        }
        None
    }

    /// The connection that a request was on was lost.
    pub fn lost(&self, way: &mut Way) {
        way.lost();
        self.doubt();
    }

    /// Something says that the map may be wrong.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// The primaries, once any are known.
    pub async fn primaries(&self, deadline: Instant) -> Result<Vec<Arc<Place>>, NotSent> {
        let started = now();
        loop {
            let routes = self.routes.borrow().clone();
            if routes.is_known() {
                return Ok(routes.shards().map(|shard| shard.primary.clone()).collect());
            }
            self.wait_for_owner(None, 0, started, deadline).await?;
        }
    }

    /// The node at `address`, which must be on the map.
    pub async fn place(&self, address: &str, deadline: Instant) -> Result<Arc<Place>, NotSent> {
        self.primaries(deadline).await?;
        let routes = self.routes.borrow().clone();
        let mut places =
            routes.shards().flat_map(|shard| [&shard.primary].into_iter().chain(&shard.replicas));
        let place = places.find(|place| place.address() == address).cloned();
        place.ok_or_else(|| RouteError::UnknownNode { address: address.to_owned() }.into())
    }

    /// The primary of `slot`.
    pub async fn owner(&self, slot: Slot, deadline: Instant) -> Result<Arc<Place>, NotSent> {
        let started = now();
        loop {
            let owner = self.routes.borrow().place(Some(slot), ReadFrom::Primary);
            match owner {
                Some((owner, _)) => return Ok(owner),
                None => self.wait_for_owner(Some(slot), 0, started, deadline).await?,
            }
        }
    }

    /// Where the call goes now; `None` if nobody is known.
    fn find(
        &self,
        slot: Option<Slot>,
        read_from: ReadFrom,
        way: &Way,
    ) -> Result<Option<(Arc<Place>, Kind)>, RouteError> {
        if let Some(place) = &way.pinned {
            return Ok(Some((place.clone(), Kind::Primary)));
        }
        match &way.target {
            Target::Owner => Ok(self.routes.borrow().place(slot, read_from)),
            Target::Node(address) | Target::Asking(address) => match self.directory.place(address) {
                Some(place) => Ok(Some((place, Kind::Primary))),
                None => Err(RouteError::TooManyNodes),
            },
        }
    }

    /// Puts a request into a connection of `place`; `None` if it had to wait for that and it leads elsewhere now.
    async fn put(
        &self,
        request: &impl Request,
        place: &Place,
        kind: Kind,
        started: Instant,
        deadline: Instant,
        leads_there: impl Fn(&Routes) -> bool,
    ) -> Result<Option<Sent>, NotSent> {
        let node = place.node(kind);
        let patience = if kind == Kind::Replica { patience_with_replica(deadline) } else { deadline };
        if let Some(sent) = node.try_send(request, patience).await {
            return Ok(Some(sent));
        }
        if kind == Kind::Replica {
            // Nobody waits for a replica: there is the primary.
            return Ok(None);
        }
        if !place.is_up(kind) {
            self.doubt();
        }
        let mut routes = self.directory.routes();
        let mut sending = pin!(node.send(request, started, deadline));
        loop {
            if !leads_there(&routes.borrow_and_update()) {
                return Ok(None);
            }
            tokio::select! {
                biased;
                sent = &mut sending => return sent.map(Some),
                changed = routes.changed() => changed.map_err(|_| NotSent::Stopped)?,
            }
        }
    }

    /// Waits until the map is another one.
    async fn wait_for_owner(
        &self,
        slot: Option<Slot>,
        size_bytes: usize,
        started: Instant,
        deadline: Instant,
    ) -> Result<(), NotSent> {
        let _waiting = self.waiting.enter(size_bytes, &self.settings)?;
        let mut routes = self.directory.routes();
        let is_known = |routes: &Arc<Routes>| routes.place(slot, ReadFrom::Primary).is_some();
        self.doubt();
        let limit = deadline.saturating_duration_since(now());
        match timeout(limit, routes.wait_for(is_known)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(NotSent::Stopped),
            Err(_) => {
                let waited = now().saturating_duration_since(started);
                Err(match (slot, &*self.connection.borrow()) {
                    (Some(slot), Connection::Up { .. }) => RouteError::NoOwner { slot, waited },
                    (_, Connection::Down { error }) => {
                        RouteError::NoLayout { waited, last_error: error.clone() }
                    }
                    (None, Connection::Up { .. }) => RouteError::NoLayout { waited, last_error: None },
                }
                .into())
            }
        }
    }
}

/// Until when a replica may answer: the primary needs time too, where it does not.
pub(crate) fn patience_with_replica(deadline: Instant) -> Instant {
    let now = now();
    now + deadline.saturating_duration_since(now) / REPLICA_SHARE
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
