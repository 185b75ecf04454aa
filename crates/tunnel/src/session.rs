//! One agent's session at this gateway: its identity, its pool of tunnels, and the way to reserve one of them.
//!
//! The pool is a core behind a mutex that is never held across an await. Whoever changes it calls
//! [`Session::settle`], which carries out what the pool decided and wakes the control connection, which alone sends
//! Dial messages and runs the pool's timer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline_identity::tls;
use bowline_model::{AgentId, Epoch, Reason, ServiceName};
use bowline_proto::convert;
use bowline_proto::frame::{self, FrameError};
use bowline_proto::v1::{Open, Opened};
use bowline_rt::time::{Elapsed, now, timeout};
use tokio::sync::{Notify, oneshot, watch};

use crate::limits;
use crate::pool::{Aged, Counts, Failure, Output, Pool, PoolSettings, Secret, Serial, Ticket, TicketRefused};
use crate::route::Refusal;
use crate::slot::{Slot, Watched};
use crate::text::{explain, shorten};

/// Why a session is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A newer login of the same agent has taken its place.
    Superseded(Epoch),
}

/// What the agent said when it logged in, and from where.
#[derive(Debug, Clone)]
pub struct Login {
    pub agent: AgentId,
    pub epoch: Epoch,
    pub generation: u64,
    pub services: Vec<ServiceName>,
    pub version: String,
    pub remote: std::net::SocketAddr,
    /// It proved who it is by a certificate; then its tunnels have to do so too.
    pub by_certificate: bool,
}

type Waiter = oneshot::Sender<Result<Reserved, Failure>>;

/// See the module's documentation.
pub struct Session {
    /// Names the session within this gateway; part of its tickets.
    pub serial: u64,
    pub login: Login,
    pub connected_at: Instant,
    services: Mutex<Arc<[ServiceName]>>,
    pool: Mutex<Pool<Arc<Slot>, Waiter>>,
    /// Wakes the control connection: tickets may be wanted, or the pool's timer has moved.
    changed: Notify,
    end: watch::Sender<Option<End>>,
    dial_error: Mutex<String>,
    signs: Mutex<Signs>,
    /// Wakes the control connection: the agent is to give a sign of life.
    doubted: Notify,
    doubt_after: Duration,
}

/// Signs of life of the agent.
struct Signs {
    heard_at: Instant,
    /// Since when one is waited for.
    doubted_at: Option<Instant>,
}

impl Session {
    pub fn new(serial: u64, login: Login, pool: PoolSettings, doubt_after: Duration) -> Self {
        Self {
            serial,
            connected_at: now(),
            services: Mutex::new(login.services.clone().into()),
            login,
            pool: Mutex::new(Pool::new(pool)),
            changed: Notify::new(),
            end: watch::Sender::new(None),
            dial_error: Mutex::new(String::new()),
            signs: Mutex::new(Signs { heard_at: now(), doubted_at: None }),
            doubted: Notify::new(),
            doubt_after,
        }
    }

    /// The services that the agent offers now.
    pub fn services(&self) -> Arc<[ServiceName]> {
        lock(&self.services).clone()
    }

    pub fn offers(&self, service: &ServiceName) -> bool {
        lock(&self.services).contains(service)
    }

    pub fn set_services(&self, services: Arc<[ServiceName]>) {
        *lock(&self.services) = services;
    }

    pub fn counts(&self) -> Counts {
        lock(&self.pool).counts()
    }

    /// The agent said something on the control connection.
    pub fn heard(&self) {
        *lock(&self.signs) = Signs { heard_at: now(), doubted_at: None };
    }

    /// How long the agent has been silent.
    pub fn silence(&self) -> Duration {
        now().saturating_duration_since(lock(&self.signs).heard_at)
    }

    /// The agent may be hanging: asks it for a sign of life, unless that has been done.
    fn doubt(&self) {
        let mut signs = lock(&self.signs);
        if signs.doubted_at.is_none() {
            signs.doubted_at = Some(now());
            self.doubted.notify_one();
        }
    }

    /// Waits until the agent is doubted. Cancel safe.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Whether the agent was asked for a sign of life and has given none in time.
    pub fn is_mute(&self) -> bool {
        let doubted_at = lock(&self.signs).doubted_at;
        doubted_at.is_some_and(|at| now().saturating_duration_since(at) >= self.doubt_after)
    }

    /// Tells the control connection to end.
    pub fn end(&self, end: End) {
        self.end.send_replace(Some(end));
    }

    /// Waits for [`Session::end`]. Cancel safe.
    pub async fn ended(&self) -> End {
        let mut receiver = self.end.subscribe();
        let seen = receiver.wait_for(Option::is_some).await.expect("the sender lives in self");
        seen.expect("it was just seen to be some")
    }

    /// Waits until the pool has changed since the last wait. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        lock(&self.pool).poll_timeout()
    }

    pub fn handle_timeout(self: &Arc<Self>) {
        lock(&self.pool).handle_timeout(now());
        self.carry_out();
    }

    /// Issues at most `most` of the tickets that are wanted.
    pub fn issue_tickets(&self, most: usize) -> Vec<Vec<u8>> {
        let mut pool = lock(&self.pool);
        let now = now();
        let wanted = pool.wanted(now).min(most);
        let issue = |_| {
            let secret = Secret::from_random(bowline_rt::random::fill);
            pool.issue(now, secret.clone());
            Ticket { session: self.serial, secret }.to_bytes()
        };
        (0..wanted).map(issue).collect()
    }

    /// Takes in a tunnel that showed a ticket of this session.
    pub fn arrive(self: &Arc<Self>, secret: &Secret, stream: tls::Stream) -> Result<(), TicketRefused> {
        let slot = Arc::new(Slot::new(stream));
        let placed = {
            let mut pool = lock(&self.pool);
            let now = now();
            pool.redeem(now, secret)?;
            // Up to a tenth earlier, so that tunnels that came together do not go together.
            let age_max = pool.settings().age_max;
            let retires_at = now + age_max - bowline_rt::random::jitter(age_max / 10);
            pool.arrived(now, Aged { tunnel: slot.clone(), retires_at })
        };
        self.watch(placed, slot);
        self.settle();
        Ok(())
    }

    /// The agent could not dial. Tickets of another session, or that are none, are passed over.
    pub fn dial_failed(self: &Arc<Self>, tickets: &[Vec<u8>], error: String) {
        *lock(&self.dial_error) = error;
        let tickets = tickets.iter().filter_map(|ticket| Ticket::from_bytes(ticket));
        let own: Vec<Secret> =
            tickets.filter(|ticket| ticket.session == self.serial).map(|ticket| ticket.secret).collect();
        lock(&self.pool).dial_failed(now(), &own, bowline_rt::random::bits64());
        self.settle();
    }

    /// Hands out no tunnels any more; streams that run go on.
    pub fn close(self: &Arc<Self>) {
        lock(&self.pool).close();
        self.settle();
    }

    /// Reserves a tunnel, waiting for one for at most `limit`. Cancel safe: a tunnel that comes too late stays.
    pub async fn reserve(self: &Arc<Self>, limit: Duration) -> Result<Reserved, Refusal> {
        if self.is_mute() {
            return Err(self.no_sign_of_life());
        }
        let mut waiting = match self.reserve_now() {
            Ok(Now::Reserved(reserved)) => return Ok(reserved),
            Ok(Now::Waiting(waiting)) => waiting,
            Err(failure) => return Err(self.refusal(failure)),
        };
        match timeout(limit, &mut waiting.answer).await {
            Ok(Ok(Ok(reserved))) => Ok(reserved),
            Ok(Ok(Err(failure))) => Err(self.refusal(failure)),
            Ok(Err(_)) => Err(self.refusal(Failure::Closed)),
            Err(elapsed) => Err(self.no_tunnel(elapsed)),
        }
    }

    fn reserve_now(self: &Arc<Self>) -> Result<Now, Failure> {
        let reserved = loop {
            let mut pool = lock(&self.pool);
            let Some(aged) = pool.take() else {
                let (sender, answer) = oneshot::channel();
                let waited = pool.wait(now(), sender).map_err(|(_, failure)| failure);
                drop(pool);
                self.changed.notify_one();
                let serial = waited?;
                return Ok(Now::Waiting(Waiting { session: self.clone(), serial, answer }));
            };
            drop(pool);
            // A tunnel that died this moment has no stream any more: take the next one.
            if let Some(reserved) = Reserved::claim(self, &aged) {
                break reserved;
            }
        };
        self.changed.notify_one();
        Ok(Now::Reserved(reserved))
    }

    fn no_sign_of_life(&self) -> Refusal {
        let detail = format!("agent {} gives no sign of life", self.login.agent);
        Refusal::new(Reason::AgentUnreachable, detail)
    }

    fn no_tunnel(&self, elapsed: Elapsed) -> Refusal {
        let agent = &self.login.agent;
        let (busy, most) = {
            let pool = lock(&self.pool);
            (pool.counts().busy, pool.settings().tunnels_max)
        };
        if busy >= most {
            Refusal::new(Reason::Overloaded, format!("all {most} tunnels of agent {agent} are busy"))
        } else {
            Refusal::new(Reason::TunnelTimeout, format!("agent {agent} opened no tunnel: {elapsed}"))
        }
    }

    fn refusal(&self, failure: Failure) -> Refusal {
        let agent = &self.login.agent;
        match failure {
            Failure::Closed => {
                Refusal::new(Reason::AgentUnreachable, format!("the session of agent {agent} ended"))
            }
            Failure::Full => {
                let detail = format!("too many requests wait for a tunnel of agent {agent}");
                Refusal::new(Reason::Overloaded, detail)
            }
            Failure::DialFailed => {
                let error = lock(&self.dial_error).clone();
                let detail = format!("agent {agent} could not dial a tunnel: {error}");
                Refusal::new(Reason::AgentUnreachable, detail)
            }
        }
    }

    fn give_back(self: &Arc<Self>, stream: tls::Stream, retires_at: Instant) {
        let slot = Arc::new(Slot::new(stream));
        let placed = lock(&self.pool).give_back(now(), Aged { tunnel: slot.clone(), retires_at });
        self.watch(placed, slot);
        self.settle();
    }

    /// Watches an idle tunnel, so that one that dies is noticed and replaced before anybody needs it.
    fn watch(self: &Arc<Self>, placed: Option<Serial>, slot: Arc<Slot>) {
        let Some(serial) = placed else { return };
        let session = Arc::downgrade(self);
        bowline_rt::task::spawn("idle tunnel", async move {
            if slot.watch().await == Watched::Dead
                && let Some(session) = session.upgrade()
            {
                tracing::debug!(agent = %session.login.agent, "an idle tunnel ended");
                lock(&session.pool).remove(serial);
                session.settle();
            }
        });
    }

    /// Carries out what the pool decided, and wakes the control connection.
    fn settle(self: &Arc<Self>) {
        self.carry_out();
        self.changed.notify_one();
    }

    /// The outputs are taken out under the lock and acted on outside it, because acting may come back to the pool.
    fn carry_out(self: &Arc<Self>) {
        loop {
            let Some(output) = lock(&self.pool).poll_output() else { return };
            match output {
                Output::Close(slot) => drop(slot.take()),
                Output::Fail(waiter, failure) => {
                    // Whoever has stopped waiting needs no answer.
                    let _ = waiter.send(Err(failure));
                }
                Output::Serve(waiter, aged) => {
                    if let Some(reserved) = Reserved::claim(self, &aged) {
                        // Should the waiter have gone, the reservation drops and gives the tunnel back.
                        let _ = waiter.send(Ok(reserved));
                    } else {
                        let _ = waiter.send(Err(Failure::DialFailed));
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("serial", &self.serial)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

enum Now {
    Reserved(Reserved),
    Waiting(Waiting),
}

/// A place in the queue; dropping it leaves the queue.
struct Waiting {
    session: Arc<Session>,
    serial: Serial,
    answer: oneshot::Receiver<Result<Reserved, Failure>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.session.pool).cancel(self.serial);
    }
}

/// A tunnel that is counted as busy. Dropping it says that the tunnel is gone.
#[derive(Debug)]
pub struct Lease(Arc<Session>);

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.0.pool).finished();
        self.0.changed.notify_one();
    }
}

/// A tunnel that is held for one stream. Dropping it lays the tunnel back into the pool.
pub struct Reserved {
    session: Arc<Session>,
    /// `None` once it has been used or given back.
    tunnel: Option<Aged<tls::Stream>>,
}

impl Reserved {
    /// Takes the stream out of a slot that the pool has counted as busy; `None` if it has just died.
    fn claim(session: &Arc<Session>, aged: &Aged<Arc<Slot>>) -> Option<Self> {
        let Some(stream) = aged.tunnel.take() else {
            drop(Lease(session.clone()));
            return None;
        };
        let tunnel = Some(Aged { tunnel: stream, retires_at: aged.retires_at });
        Some(Self { session: session.clone(), tunnel })
    }

    /// The agent at the other end.
    pub fn agent(&self) -> &AgentId {
        &self.session.login.agent
    }

    /// Opens the stream, within `limit`, and sooner if the agent gives no sign of life. A tunnel that turns out to be
    /// dead is replaced by another one: nothing of the client's has been sent yet. Not cancel safe for the tunnel: it
    /// is gone.
    pub async fn open(mut self, open: &Open, limit: Duration) -> Result<(tls::Stream, Lease), Refusal> {
        let deadline = now() + limit;
        let agent = self.session.login.agent.clone();
        for _ in 0..=limits::DEAD_TUNNELS_MAX {
            let mut stream = self.tunnel.take().expect("it is filled before each turn").tunnel;
            let lease = Lease(self.session.clone());
            match self.answer(deadline, exchange(&mut stream, open)).await? {
                Ok(Opened { reason: 0, .. }) => return Ok((stream, lease)),
                Ok(Opened { reason, detail }) => {
                    let reason = convert::reason(reason).unwrap_or(Reason::AgentUnreachable);
                    return Err(Refusal::new(reason, shorten(detail)));
                }
                Err(error) => {
                    tracing::debug!(%agent, error = explain(&error), "a pooled tunnel was dead");
                }
            }
            drop((stream, lease));
            let session = self.session.clone();
            let mut next = session.reserve(deadline.saturating_duration_since(now())).await?;
            self.tunnel = next.tunnel.take();
        }
        let detail = format!("{} tunnels of agent {agent} in a row were dead", limits::DEAD_TUNNELS_MAX + 1);
        Err(Refusal::new(Reason::AgentUnreachable, detail))
    }

    /// Waits for the agent's answer until `deadline`. An agent that hangs does not answer on its control connection
    /// either; then there is no need to wait so long.
    async fn answer<T>(&self, deadline: Instant, exchange: impl Future<Output = T>) -> Result<T, Refusal> {
        let mut exchange = std::pin::pin!(exchange);
        let (session, agent) = (&self.session, &self.session.login.agent);
        loop {
            let wait = deadline.saturating_duration_since(now()).min(session.doubt_after);
            let elapsed = match timeout(wait, exchange.as_mut()).await {
                Ok(answer) => return Ok(answer),
                Err(elapsed) => elapsed,
            };
            if session.is_mute() {
                return Err(session.no_sign_of_life());
            }
            if now() >= deadline {
                let detail = format!("agent {agent} did not say whether it reached the service: {elapsed}");
                return Err(Refusal::new(Reason::TunnelTimeout, detail));
            }
            session.doubt();
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(Aged { tunnel, retires_at }) = self.tunnel.take() {
            self.session.give_back(tunnel, retires_at);
        }
    }
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserved").field("agent", &self.session.login.agent).finish_non_exhaustive()
    }
}

async fn exchange(stream: &mut tls::Stream, open: &Open) -> Result<Opened, FrameError> {
    frame::write(stream, open).await?;
    frame::read(stream, limits::ANSWER_BYTES_MAX).await
}

/// A panic elsewhere must not take the session with it: the cores keep their invariants between calls.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
