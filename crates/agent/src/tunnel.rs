//! Tunnels: each is dialled with a ticket, waits for one stream, joins it to a local service, and is gone.
//!
//! A tunnel that waits has no time-out of its own: the gateway, which uses tunnels, also closes them. An agent that closed
//! idle ones by its own clock would race with the gateway's first bytes. A dead gateway shows by TCP keep-alive.
//!
//! A tunnel that its gateway ends at once while the session goes on was not taken: most likely a load balancer led it to
//! another gateway, which does not know its ticket. The gateway that waits for it cannot see that, so it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bowline_identity::tls::Stream;
use bowline_model::{GatewayId, Reason, ServiceName};
use bowline_proto::frame;
use bowline_proto::v1::{DialFailed, Open, Opened, TunnelHello};
use bowline_rt::net::{self, TcpStream};
use bowline_rt::relay::{Leg, relay_with};
use bowline_rt::time::{now, timeout};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    DETAIL_BYTES_MAX, DIALS_AT_ONCE_MAX, FAILED_PENDING_MAX, FAILED_PER_MESSAGE_MAX, FRAME_WRITE_TIMEOUT,
    LEAVING_SETTLE, OPEN_BYTES_MAX, SESSION_END_SHOWS_WITHIN, TICKET_BYTES_MAX, TICKETS_PER_MESSAGE_MAX,
    TUNNEL_WELCOME_AFTER, TURN_TIMEOUT,
};
use crate::shared::Shared;
use crate::tally::{Counted, Tally, TunnelState};
use crate::text;

/// The tunnels of one session.
#[derive(Debug)]
pub struct Tunnels {
    /// The gateway as the join list calls it; TLS checks its certificate against this.
    address: String,
    /// The address that answered the control connection.
    peer: SocketAddr,
    gateway: GatewayId,
    /// A permit for each tunnel that may be on its way. Each session has its own: a gateway that hangs holds up no other.
    dials: Semaphore,
    tally: Tally,
    failures: Failures,
    /// That tunnels are not taken is logged once.
    told_not_taken: AtomicBool,
    /// Ends the tunnels that carry no stream.
    pub idle_end: CancellationToken,
}

/// Tunnels that will not come, added up until the session tells the gateway: a thousand failures are one message.
#[derive(Debug, Default)]
struct Failures {
    pending: Mutex<Option<DialFailed>>,
    news: Notify,
}

impl Tunnels {
    pub fn new(address: String, peer: SocketAddr, gateway: GatewayId) -> Self {
        Self {
            address,
            peer,
            gateway,
            dials: Semaphore::new(DIALS_AT_ONCE_MAX),
            tally: Tally::default(),
            failures: Failures::default(),
            told_not_taken: AtomicBool::new(false),
            idle_end: CancellationToken::new(),
        }
    }

    /// Dials a tunnel for each ticket, in the background, as far as there is room.
    pub fn dial(self: &Arc<Self>, shared: &Arc<Shared>, mut tickets: Vec<Vec<u8>>) {
        let too_many = tickets.split_off(tickets.len().min(TICKETS_PER_MESSAGE_MAX));
        self.fail(shared, too_many, "too many tickets in one message");
        for ticket in tickets {
            if ticket.len() > TICKET_BYTES_MAX {
                self.fail(shared, vec![ticket], "a ticket is too long");
                continue;
            }
            let Ok(place) = shared.places.clone().try_acquire_owned() else {
                self.fail(shared, vec![ticket], "the agent is at its limit of tunnels");
                continue;
            };
            let counted = Counted::new(&self.tally, &shared.tally, &shared.metrics);
            let tunnel = Tunnel { of: self.clone(), shared: shared.clone(), counted, _place: place };
            bowline_rt::task::spawn("tunnel", shared.tasks.track_future(tunnel.run(ticket)));
        }
    }

    /// Answers tickets that no tunnel will be dialled for.
    pub fn refuse(&self, tickets: Vec<Vec<u8>>) {
        self.failures.add(tickets, "the agent is leaving");
    }

    /// Waits for failures to tell the gateway of. Cancel safe.
    pub async fn failed(&self) -> DialFailed {
        loop {
            if let Some(failed) = self.failures.take() {
                return failed;
            }
            self.failures.news.notified().await;
        }
    }

    /// After the goodbye: lets streams come that were on their way, ends what is idle then, and waits for the rest.
    pub async fn settle(&self) {
        // A gateway that reads the goodbye closes its idle tunnels itself, and the wait ends early.
        let _ = timeout(LEAVING_SETTLE, self.tally.empty()).await;
        self.idle_end.cancel();
        self.tally.empty().await;
    }

    fn fail(&self, shared: &Shared, tickets: Vec<Vec<u8>>, error: &str) {
        shared.metrics.dial_failures(tickets.len());
        self.failures.add(tickets, error);
    }
}

impl Failures {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<DialFailed>> {
        // A list and a text are whole at any time.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut tickets: Vec<Vec<u8>>, error: &str) {
        if tickets.is_empty() {
            return;
        }
        // No gateway of ours hands such tickets out; repeating them would only cost.
        tickets.retain(|ticket| ticket.len() <= TICKET_BYTES_MAX);
        let mut pending = self.lock();
        let failed = pending.get_or_insert_default();
        tickets.truncate(FAILED_PENDING_MAX.saturating_sub(failed.tickets.len()));
        failed.tickets.append(&mut tickets);
        failed.error = text::cut(error, DETAIL_BYTES_MAX);
        drop(pending);
        self.news.notify_one();
    }

    /// As much of what is pending as one message may hold.
    fn take(&self) -> Option<DialFailed> {
        let mut pending = self.lock();
        let mut failed = pending.take()?;
        let rest = failed.tickets.split_off(failed.tickets.len().min(FAILED_PER_MESSAGE_MAX));
        if !rest.is_empty() {
            *pending = Some(DialFailed { tickets: rest, error: failed.error.clone() });
        }
        Some(failed)
    }
}

/// One tunnel.
struct Tunnel {
    of: Arc<Tunnels>,
    shared: Arc<Shared>,
    counted: Counted,
    _place: OwnedSemaphorePermit,
}

/// Why a stream could not be opened.
struct Refusal {
    reason: Reason,
    detail: String,
}

impl Tunnel {
    async fn run(mut self, ticket: Vec<u8>) {
        let dialled = tokio::select! {
            biased;
            () = self.of.idle_end.cancelled() => return,
            dialled = self.dial(&ticket) => dialled,
        };
        let mut stream = match dialled {
            Ok(stream) => stream,
            Err(error) => return self.of.fail(&self.shared, vec![ticket], &text::chain(&error)),
        };
        self.counted.advance(TunnelState::Idle);
        let idle_since = now();
        let open = tokio::select! {
            // A stream that has begun is served even if the session is over.
            biased;
            open = frame::read::<Open>(&mut stream, OPEN_BYTES_MAX) => open,
            () = self.of.idle_end.cancelled() => return,
        };
        match open {
            Ok(open) => {
                self.counted.advance(TunnelState::Busy);
                self.serve(stream, &open).await;
            }
            // The gateway had no use for it any more, or is gone.
            Err(frame::FrameError::Io(error)) => {
                tracing::debug!(gateway = %self.of.gateway, %error, "an idle tunnel ended");
                if now() - idle_since < TUNNEL_WELCOME_AFTER {
                    self.was_not_taken(ticket).await;
                }
            }
            Err(error) => {
                tracing::warn!(gateway = %self.of.gateway, error = text::chain(&error), "a gateway broke the protocol of tunnels");
            }
        }
    }

    /// Tells the gateway, unless the session turns out to be over.
    async fn was_not_taken(self, ticket: Vec<u8>) {
        let Self { of, shared, counted, _place } = self;
        drop((counted, _place));
        if timeout(SESSION_END_SHOWS_WITHIN, of.idle_end.cancelled()).await.is_ok() {
            return;
        }
        let error = "a tunnel was ended as soon as it was made: it may have reached another gateway, through a load balancer";
        of.fail(&shared, vec![ticket], error);
        if !of.told_not_taken.swap(true, Ordering::Relaxed) {
            tracing::warn!(gateway = %of.gateway, address = of.address, peer = %of.peer, "{error}");
        }
    }

    /// Waits for its turn, at most as long as the ticket is good for, and dials.
    async fn dial(&self, ticket: &[u8]) -> std::io::Result<Stream> {
        let too_late = |elapsed| std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed);
        let turn = timeout(TURN_TIMEOUT, self.of.dials.acquire()).await.map_err(too_late)?;
        let _turn = turn.map_err(std::io::Error::other)?;
        let limit = self.shared.limits.dial_timeout;
        let dialled = timeout(limit, async {
            let tcp = net::connect(self.of.peer, limit).await?;
            let mut stream = self.shared.connector.wrap(tcp, &self.of.address, limit).await?;
            let mut hello = frame::TUNNEL_PREAMBLE.to_vec();
            frame::append(&mut hello, &TunnelHello { ticket: ticket.to_vec() });
            stream.write_all(&hello).await?;
            stream.flush().await?;
            Ok(stream)
        });
        dialled.await.map_err(too_late)?
    }

    /// Serves the one stream of this tunnel.
    async fn serve(&self, mut tunnel: Stream, open: &Open) {
        let request_id = text::cut(&open.request_id, bowline_model::limits::REQUEST_ID_BYTES_MAX);
        let name = text::cut(&open.service, bowline_model::limits::NAME_BYTES_MAX);
        let connected = self.connect(&open.service).await;
        let answer = match &connected {
            Ok(_) => Opened::default(),
            Err(refusal) => Opened { reason: refusal.reason.wire(), detail: refusal.detail.clone() },
        };
        let answered = timeout(FRAME_WRITE_TIMEOUT, frame::write(&mut tunnel, &answer)).await;
        match connected {
            Ok(service) if matches!(answered, Ok(Ok(()))) => {
                self.shared.metrics.stream("opened");
                tracing::debug!(request_id, service = name, gateway = %self.of.gateway, "a stream is open");
                self.relay(tunnel, service, &request_id, &name).await;
            }
            Ok(_) => tracing::debug!(
                request_id,
                service = name,
                "the gateway gave a stream up while it was opened"
            ),
            Err(Refusal { reason, detail }) => {
                self.shared.metrics.stream(reason.code());
                tracing::info!(
                    request_id,
                    service = name,
                    reason = reason.code(),
                    detail,
                    "a stream was refused"
                );
                // The answer is out; how the connection ends does not matter any more.
                let _ = timeout(FRAME_WRITE_TIMEOUT, tunnel.shutdown()).await;
            }
        }
    }

    async fn connect(&self, name: &str) -> Result<TcpStream, Refusal> {
        let unknown = |detail| Refusal { reason: Reason::ServiceUnknown, detail };
        let name: ServiceName = name.parse().map_err(|error: bowline_model::NameError| {
            unknown(text::cut(&error.to_string(), DETAIL_BYTES_MAX))
        })?;
        let address = self.shared.services.borrow().address(&name).map(str::to_owned);
        let address =
            address.ok_or_else(|| unknown(format!("agent {} does not offer {name}", self.shared.agent)))?;
        let connected = net::connect_host(&address, self.shared.limits.service_connect_timeout).await;
        connected.map_err(|error| {
            let timed_out = error.kind() == std::io::ErrorKind::TimedOut;
            let reason = if timed_out { Reason::ServiceTimeout } else { Reason::ServiceRefused };
            Refusal { reason, detail: text::cut(&format!("{address}: {error}"), DETAIL_BYTES_MAX) }
        })
    }

    async fn relay(&self, mut tunnel: Stream, mut service: TcpStream, request_id: &str, name: &str) {
        let to_service = self.shared.metrics.stream_bytes("to_service");
        let from_service = self.shared.metrics.stream_bytes("from_service");
        let observe = |leg, bytes| match leg {
            Leg::A => drop(to_service.inc_by(bytes)),
            Leg::B => drop(from_service.inc_by(bytes)),
        };
        let ended = tokio::select! {
            biased;
            ended = relay_with(&mut tunnel, &mut service, observe) => Some(ended),
            () = self.shared.cut.cancelled() => None,
        };
        let is_cut = |leg| ended.as_ref().is_none_or(|ended| ended.is_cut(leg));
        // Under TLS an end that was not announced is already known as a cut.
        if is_cut(Leg::A) && !tunnel.is_tls() {
            net::reset_on_close(tunnel.tcp());
        }
        if is_cut(Leg::B) {
            net::reset_on_close(&service);
        }
        match ended {
            None => tracing::info!(request_id, service = name, "a stream was cut because the agent stops"),
            Some(ended) => {
                let error = ended.result.as_ref().err().map(|error| text::chain(error));
                tracing::debug!(
                    request_id,
                    service = name,
                    bytes_to_service = ended.a_to_b,
                    bytes_from_service = ended.b_to_a,
                    error,
                    "a stream ended"
                );
            }
        }
    }
}
