//! Opens a stream to a service: the shell around [`crate::route`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bowline_identity::tls;
use bowline_model::{AgentId, GatewayId, Reason, RequestId, ServiceName};
use bowline_proto::v1::{HopOpen, Open};
use bowline_registry::limits::HOLDERS_MAX;
use bowline_rt::time::{now, sleep_until_some};
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::directory::{Directory, Holder, LookupError, Target};
use crate::gateway::{Gateway, Inner};
use crate::hop::client::{self, HopError};
use crate::limits;
use crate::route::{AskId, Candidate, Input, Output, Refusal, Route};
use crate::session::{Lease, Reserved};
use crate::stream::{OpenStream, Place, Stream, User};
use crate::text::explain;

/// What an entry wants.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// The service.
    pub service: ServiceName,
    /// The agent, if it must be this one.
    pub agent: Option<AgentId>,
    /// Follows the request through all gateways, the agent and the logs.
    pub request_id: RequestId,
    /// Who asked the entry.
    pub client: Option<SocketAddr>,
}

/// A stream could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct OpenError {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub detail: String,
}

impl Gateway {
    /// Opens a stream to the service, through an agent that is attached here or through another gateway, within the
    /// time that the settings give. Dropping the future gives up, and what was reserved goes back.
    ///
    /// # Errors
    /// With the reason that tells most: see [`Reason`].
    pub async fn open(&self, request: OpenRequest) -> Result<Box<dyn Stream>, OpenError> {
        let inner = &self.inner;
        let started = now();
        let result = self.open_counted(&request).await;
        inner.metrics.opened(result.as_ref().map(|_| ()).map_err(|refusal| refusal.reason));
        let OpenRequest { service, request_id, .. } = &request;
        match result {
            Ok((stream, way)) => {
                inner.metrics.open_took(way == Way::Local, (now() - started).as_secs_f64());
                tracing::debug!(%request_id, %service, ?way, took = ?(now() - started), "stream opened");
                Ok(Box::new(stream))
            }
            Err(Refusal { reason, detail }) => {
                tracing::debug!(%request_id, %service, reason = reason.code(), detail, "no stream could be opened");
                Err(OpenError { reason, detail })
            }
        }
    }

    async fn open_counted(&self, request: &OpenRequest) -> Result<(OpenStream, Way), Refusal> {
        let inner = &self.inner;
        if inner.stop.is_cancelled() {
            return Err(Refusal::new(Reason::Draining, "the gateway has stopped"));
        }
        let Some(place) = inner.places.take(User::Entry) else {
            return Err(Refusal::new(Reason::Overloaded, "the gateway is at its limit of streams"));
        };
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => Err(Refusal::new(Reason::Draining, "the gateway stops")),
            result = Journey::new(inner, request).run(place) => result,
        }
    }
}

/// Which way a stream took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Local,
    Hop,
}

/// What a candidate holds for the route.
enum Hold {
    Local(Reserved),
    Hop(client::Held, GatewayId),
}

/// A stream that is open.
enum Opened {
    Local(tls::Stream, Lease),
    Hop(tls::Stream),
}

enum Event {
    Looked(Result<Arc<[Holder]>, Refusal>),
    Asked(AskId, Result<Hold, Refusal>),
    Committed(AskId, Result<Opened, Refusal>),
}

/// One open under way. Everything it has started is dropped with it.
struct Journey<'a> {
    gateway: &'a Arc<Inner>,
    request: &'a OpenRequest,
    target: Target,
    route: Route,
    running: FuturesUnordered<Abortable<BoxFuture<'a, Event>>>,
    aborts: BTreeMap<AskId, AbortHandle>,
    /// Gateways that have not answered yet, and since when they have been asked.
    unanswered: BTreeMap<AskId, (GatewayId, Instant)>,
    holds: BTreeMap<AskId, Hold>,
    opened: Option<Opened>,
}

impl<'a> Journey<'a> {
    fn new(gateway: &'a Arc<Inner>, request: &'a OpenRequest) -> Self {
        let target = Target::Service(request.service.clone());
        let route = Route::new(gateway.settings.route.clone(), now(), bowline_rt::random::bits64());
        Self {
            gateway,
            request,
            target,
            route,
            running: FuturesUnordered::new(),
            aborts: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            holds: BTreeMap::new(),
            opened: None,
        }
    }

    async fn run(mut self, place: Place) -> Result<(OpenStream, Way), Refusal> {
        loop {
            while let Some(output) = self.route.poll_output() {
                match output {
                    Output::Begin => self.begin(),
                    Output::Lookup => self.look_up(),
                    Output::Ask(ask, candidate) => self.ask(ask, candidate),
                    Output::Commit(ask) => self.commit(ask),
                    Output::Abandon(ask) => self.abandon(ask),
                    Output::Done(_) => {
                        let opened = self.opened.take().expect("the route is done because it was opened");
                        let metrics = self.gateway.metrics.clone();
                        return Ok(match opened {
                            Opened::Local(stream, lease) => {
                                (OpenStream::new(stream, Some(lease), place, metrics), Way::Local)
                            }
                            Opened::Hop(stream) => (OpenStream::new(stream, None, place, metrics), Way::Hop),
                        });
                    }
                    Output::Fail(refusal) => return Err(refusal),
                }
            }
            let timer: Option<Instant> = self.route.poll_timeout();
            tokio::select! {
                biased;
                Some(event) = self.running.next(), if !self.running.is_empty() => {
                    // Aborted: nobody is interested any more.
                    if let Ok(event) = event {
                        self.handle(event);
                    }
                }
                () = sleep_until_some(timer) => self.route.handle_timeout(now()),
            }
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Asked(ask, _) = &event {
            self.unanswered.remove(ask);
        }
        let input = match event {
            Event::Looked(Ok(holders)) => Input::Found(self.candidates(&holders)),
            Event::Looked(Err(refusal)) => Input::NotFound(refusal),
            Event::Asked(ask, Ok(hold)) => {
                self.holds.insert(ask, hold);
                Input::Ready(ask)
            }
            Event::Asked(ask, Err(refusal)) => Input::Refused(ask, refusal),
            Event::Committed(ask, Ok(opened)) => {
                self.opened = Some(opened);
                Input::Opened(ask)
            }
            Event::Committed(ask, Err(refusal)) => Input::Broken(ask, refusal),
        };
        self.route.handle(now(), input);
    }

    fn begin(&mut self) {
        let sessions = self.gateway.agents.offering(&self.request.service, self.request.agent.as_ref());
        let agents = sessions.iter().map(|session| session.login.agent.clone()).collect();
        self.route.handle(now(), Input::Begin(agents));
    }

    fn look_up(&mut self) {
        let (directory, target, request) =
            (self.gateway.directory.clone(), self.target.clone(), self.request);
        let lookup = async move {
            let found = look_up(&*directory, &target, request.agent.as_ref()).await;
            Event::Looked(found.map_err(|error| lookup_refusal(&error)))
        };
        self.spawn(None, Box::pin(lookup));
    }

    /// The other gateways among the holders, each once, in random order, those that are suspected last.
    fn candidates(&self, holders: &[Holder]) -> Vec<Candidate> {
        let own = &self.gateway.settings;
        let superseded = self.gateway.directory.superseded();
        let is_other =
            |holder: &&Holder| holder.gateway != own.gateway || superseded && holder.epoch != own.epoch;
        let mut holders: Vec<&Holder> = holders
            .iter()
            .filter(is_other)
            .filter(|holder| self.request.agent.as_ref().is_none_or(|agent| holder.agent == *agent))
            .collect();
        // A gateway that came back elsewhere may still be listed at its old address too: its last incarnation counts.
        holders.sort_by_key(|holder| holder.term);
        let address_of = |holder: &Holder| (holder.gateway.clone(), holder.peer_address.clone());
        let others: BTreeMap<_, _> = holders.into_iter().map(address_of).collect();
        let mut others: Vec<_> = others.into_iter().collect();
        others.sort_by_cached_key(|(gateway, _)| {
            (self.gateway.is_suspected(gateway), bowline_rt::random::bits64())
        });
        others.truncate(limits::HOLDERS_ASKED_MAX);
        others.into_iter().map(|(gateway, address)| Candidate::Remote { gateway, address }).collect()
    }

    fn ask(&mut self, ask: AskId, candidate: Candidate) {
        let gateway = self.gateway.clone();
        match candidate {
            Candidate::Local(agent) => {
                let service = self.request.service.clone();
                self.spawn(
                    Some(ask),
                    Box::pin(async move { Event::Asked(ask, ask_local(&gateway, &service, &agent).await) }),
                );
            }
            Candidate::Remote { gateway: other, address } => {
                self.unanswered.insert(ask, (other.clone(), now()));
                let (target, open) = (self.target.clone(), self.hop_open());
                self.spawn(
                    Some(ask),
                    Box::pin(async move {
                        let held = ask_remote(&gateway, &target, &other, &address, open).await;
                        Event::Asked(ask, held.map(|held| Hold::Hop(held, other)))
                    }),
                );
            }
        }
    }

    fn commit(&mut self, ask: AskId) {
        let hold = self.holds.remove(&ask).expect("only who is ready is committed");
        let gateway = self.gateway.clone();
        let open = Open {
            service: self.request.service.to_string(),
            request_id: self.request.request_id.to_string(),
            client: self.client(),
        };
        let commit = async move {
            let limit = gateway.settings.opened_timeout;
            let opened = match hold {
                Hold::Local(reserved) => {
                    reserved.open(&open, limit).await.map(|(stream, lease)| Opened::Local(stream, lease))
                }
                Hold::Hop(held, other) => match held.commit(limit + limits::HOP_SLACK).await {
                    Ok(stream) => Ok(Opened::Hop(stream)),
                    Err(error) => {
                        if let HopError::Unreachable(_) = &error {
                            gateway.suspect(&other);
                        }
                        Err(error.into_refusal(&other))
                    }
                },
            };
            Event::Committed(ask, opened)
        };
        self.spawn(Some(ask), Box::pin(commit));
    }

    fn abandon(&mut self, ask: AskId) {
        self.holds.remove(&ask);
        // One that hangs is never waited for long enough to fail, so it shows only here: ask it last for a while.
        if let Some((other, since)) = self.unanswered.remove(&ask)
            && now() - since >= self.gateway.settings.route.hedge_after
        {
            self.gateway.suspect(&other);
        }
        if let Some(abort) = self.aborts.remove(&ask) {
            abort.abort();
        }
    }

    fn spawn(&mut self, ask: Option<AskId>, future: BoxFuture<'a, Event>) {
        let (abort, registration) = AbortHandle::new_pair();
        if let Some(ask) = ask {
            self.aborts.insert(ask, abort);
        }
        self.running.push(Abortable::new(future, registration));
    }

    fn hop_open(&self) -> HopOpen {
        HopOpen {
            service: self.request.service.to_string(),
            agent: self.request.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
            request_id: self.request.request_id.to_string(),
            client: self.client(),
            from: self.gateway.settings.gateway.to_string(),
        }
    }

    fn client(&self) -> String {
        self.request.client.map(|client| client.to_string()).unwrap_or_default()
    }
}

/// The holders of the service. One agent is looked for among them, so that one which is there and does not offer the
/// service is known at once not to; only where it may be missing from a list that was cut is it looked up by itself.
async fn look_up(
    directory: &dyn Directory,
    service: &Target,
    agent: Option<&AgentId>,
) -> Result<Arc<[Holder]>, LookupError> {
    let holders = directory.lookup(service).await?;
    match agent {
        Some(agent)
            if holders.len() >= HOLDERS_MAX && !holders.iter().any(|holder| holder.agent == *agent) =>
        {
            directory.lookup(&Target::Agent(agent.clone())).await
        }
        _ => Ok(holders),
    }
}

fn lookup_refusal(error: &LookupError) -> Refusal {
    let reason = match error {
        LookupError::Store(_) | LookupError::StoreDown | LookupError::Forgetful => Reason::StoreUnavailable,
        LookupError::Overloaded => Reason::Overloaded,
    };
    Refusal::new(reason, explain(error))
}

async fn ask_local(gateway: &Inner, service: &ServiceName, agent: &AgentId) -> Result<Hold, Refusal> {
    let sessions = gateway.agents.offering(service, Some(agent));
    let Some(session) = sessions.first() else {
        return Err(Refusal::new(Reason::AgentUnreachable, format!("agent {agent} has just left")));
    };
    session.reserve(gateway.settings.tunnel_timeout).await.map(Hold::Local)
}

async fn ask_remote(
    gateway: &Inner,
    target: &Target,
    other: &GatewayId,
    address: &str,
    open: HopOpen,
) -> Result<client::Held, Refusal> {
    let started = now();
    let limit = gateway.settings.tunnel_timeout + limits::HOP_SLACK;
    let result = client::ask(&gateway.settings.connector, other, address, open, limit).await;
    match &result {
        Ok(_) => {
            gateway.metrics.hop_seconds.observe((now() - started).as_secs_f64());
            gateway.trust(other);
        }
        Err(HopError::Unreachable(problem)) => {
            tracing::debug!(gateway = %other, problem, "another gateway cannot be reached");
            gateway.suspect(other);
            gateway.directory.suspect(target, other);
        }
        Err(HopError::Refused(refusal)) => {
            gateway.trust(other);
            // It does not hold what the registry says it holds. That it has no tunnel to spare says no such thing.
            if refusal.reason == Reason::ServiceUnknown {
                gateway.directory.suspect(target, other);
            }
        }
    }
    result.map_err(|error| error.into_refusal(other))
}
