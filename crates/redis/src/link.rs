//! One connection: moves bytes between a socket, the core of an epoch, and the callers. All decisions are the core's.
//!
//! One task drives reading, writing and time in one poll loop, so that a peer that does not read can never keep us from
//! reading. Before it takes what callers put in, it lets other tasks run once if there is reason to believe that more is
//! coming; one write then carries many requests. Answers are delivered in portions: while the callers of one portion make
//! their next requests, and while the server works on these, the next portion is delivered.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bowline_model::Epoch;
use bowline_resp::Frame;
use bowline_rt::task::workers;
use bowline_rt::time::{now, sleep_until, suspended};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use crate::epoch::{Bereaved, EpochCore, Event};
use crate::error::Death;
use crate::handshake::ServerInfo;
use crate::intake::{Caller, Deliveries, Delivery, Intake};
use crate::limits::{
    ANSWERS_PER_TURN_ALONE_MAX, ANSWERS_PER_TURN_MAX, ANSWERS_PER_TURN_MIN, READS_PER_TURN_MAX,
    SUSPENSION_MIN, TURNS_PER_ROUND,
};
use crate::metrics::Metrics;
use crate::request::Pending;

/// A timer that was armed, and for when.
type Timer = (Instant, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Who is told what a server sends unasked.
pub(crate) trait Pushes: Send + Sync {
    /// A push of the connection `epoch`. Called in the order of the wire: after the answers that came before it were delivered,
    /// and before those behind it. It must not wait.
    fn push(&self, epoch: Epoch, elements: Vec<Frame>);

    /// The connection `epoch` has ended; nothing more comes of it. Called before its callers learn of the end.
    fn died(&self, epoch: Epoch);
}

/// A connection and everything that belongs to it. Dropping it ends the epoch: nobody who waits is left without an answer.
pub(crate) struct Link<S> {
    stream: S,
    core: EpochCore<Caller>,
    intake: Arc<Intake>,
    metrics: Metrics,
    pushes: Option<Arc<dyn Pushes>>,
    /// What of the queue's length was added to the metric.
    counted_in_flight: i64,
    /// How long this machine had been suspended in all at the last look.
    suspended: Duration,
    timer: Option<Timer>,
    /// Something was written since the last flush.
    needs_flush: bool,
    /// Other tasks were given their turn since requests began to wait.
    has_yielded: bool,
    /// Answers that were read may be left to deliver.
    has_answers: bool,
    /// Most that are delivered in one portion.
    portion_max: usize,
    /// What was taken out of the intake; empty between turns, only its memory is kept.
    taken: (BytesMut, Vec<Pending<Caller>>),
    /// What callers are told; empty between turns, too.
    deliveries: Deliveries,
    ready: Option<ServerInfo>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub fn new(
        stream: S,
        core: EpochCore<Caller>,
        intake: Arc<Intake>,
        metrics: Metrics,
        pushes: Option<Arc<dyn Pushes>>,
    ) -> Self {
        Self {
            stream,
            core,
            intake,
            metrics,
            pushes,
            counted_in_flight: 0,
            suspended: suspended(),
            timer: None,
            needs_flush: false,
            has_yielded: false,
            has_answers: false,
            portion_max: if workers() == 1 { ANSWERS_PER_TURN_ALONE_MAX } else { ANSWERS_PER_TURN_MAX },
            taken: (BytesMut::new(), Vec::new()),
            deliveries: Deliveries::default(),
            ready: None,
        }
    }

    /// Runs until the server has been introduced.
    pub async fn handshake(&mut self) -> Result<ServerInfo, Death> {
        poll_fn(|context| {
            let turn = self.poll_turn(context);
            match self.ready.take() {
                Some(server) => Poll::Ready(Ok(server)),
                None => turn.map(Err),
            }
        })
        .await
    }

    /// Runs until the connection dies.
    pub async fn serve(&mut self) -> Death {
        poll_fn(|context| self.poll_turn(context)).await
    }

    /// What the core holds; for what it has to say after its death.
    pub fn core(&mut self) -> &mut EpochCore<Caller> {
        &mut self.core
    }

    /// Does all that can be done now. Ready only with the death of the epoch.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Death> {
        self.take_requests(context);
        self.write(context);
        self.read(context);
        self.keep_time(context);
        self.count_in_flight(self.core.owed());
        match self.core.death() {
            Some(death) => Poll::Ready(death),
            None => Poll::Pending,
        }
    }

    fn take_requests(&mut self, context: &Context<'_>) {
        let Poll::Ready(waiting) = self.intake.poll_waiting(context) else { return };
        let more_is_likely = waiting > 1 || self.core.owed() > 0;
        if more_is_likely && !self.has_yielded {
            self.has_yielded = true;
            context.waker().wake_by_ref();
            return;
        }
        self.has_yielded = false;
        let (bytes, requests) = &mut self.taken;
        self.intake.take(context, bytes, requests);
        self.core.append(bytes, requests, now());
    }

    fn read(&mut self, context: &mut Context<'_>) {
        if self.has_answers {
            self.deliver(context);
        }
        let mut reads = 0;
        // The end of the stream must not be seen before all that came before it was delivered.
        while !self.has_answers && self.core.death().is_none() {
            if reads == READS_PER_TURN_MAX {
                // There is more to read, after the others had their turn.
                context.waker().wake_by_ref();
                break;
            }
            reads += 1;
            let read = poll_read_buf(Pin::new(&mut self.stream), context, self.core.read_buffer());
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.core.die(Death::Closed),
                Poll::Ready(Err(error)) => self.core.die(Death::Read(error.kind())),
                Poll::Ready(Ok(count)) => {
                    self.metrics.read_bytes.inc_by(count as u64);
                    self.core.received(now());
                    self.deliver(context);
                }
            }
        }
        // The introduction answers what it reads.
        self.write(context);
    }

    fn write(&mut self, context: &mut Context<'_>) {
        if self.core.death().is_some() {
            return;
        }
        if let Poll::Ready(Err(kind)) = self.poll_write(context) {
            self.core.die(Death::Write(kind));
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), std::io::ErrorKind>> {
        while !self.core.outgoing().is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, self.core.outgoing()));
            match written {
                Ok(0) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero)),
                Ok(count) => {
                    self.needs_flush = true;
                    self.metrics.written_bytes.inc_by(count as u64);
                    self.core.handed_over(count);
                }
                Err(error) => return Poll::Ready(Err(error.kind())),
            }
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(context)).map_err(|error| error.kind())?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn keep_time(&mut self, context: &mut Context<'_>) {
        while self.core.death().is_none() && self.poll_timer(context).is_ready() {
            self.look_for_a_suspension();
            self.core.handle_timeout(now());
            self.deliver(context);
            self.write(context);
        }
    }

    /// The timers run on a clock that stands still while the machine is suspended: another one tells how long that was.
    fn look_for_a_suspension(&mut self) {
        let suspended = suspended();
        let slept = suspended.saturating_sub(self.suspended);
        if slept >= SUSPENSION_MIN {
            tracing::info!(epoch = %self.core.id(), ?slept, "this machine was suspended; the store is asked whether it is still there");
            self.suspended = suspended;
            self.core.woke_up(now());
        }
    }

    /// Metrics are shared by the connections of a client, so each adds what it has more or less than before.
    fn count_in_flight(&mut self, owed: usize) {
        let owed = i64::try_from(owed).unwrap_or(i64::MAX);
        if owed != self.counted_in_flight {
            self.metrics.in_flight.inc_by(owed - self.counted_in_flight);
            self.counted_in_flight = owed;
        }
    }

    /// Ready when the core should be asked. A timer that is armed too early is left alone: re-arming it with every answer
    /// would cost more than waking up once for nothing.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(wanted) = self.core.poll_timeout() else { return Poll::Pending };
        let timer = match &mut self.timer {
            Some((armed, timer)) if *armed <= wanted => timer,
            timer => &mut timer.insert((wanted, Box::pin(sleep_until(wanted)))).1,
        };
        ready!(timer.as_mut().poll(context));
        self.timer = None;
        Poll::Ready(())
    }

    /// Brings what came out of the core to whom it belongs, up to a portion of answers. If more is left, or if several callers
    /// were told and are likely to come back, they have their turn first.
    fn deliver(&mut self, context: &Context<'_>) {
        let now = now();
        let portion = (self.core.owed() / TURNS_PER_ROUND).clamp(ANSWERS_PER_TURN_MIN, self.portion_max);
        self.has_answers = false;
        while let Some(event) = self.core.poll_event(now) {
            match event {
                Event::Answer { caller, frame, size_bytes } => {
                    self.deliveries.free(size_bytes);
                    if let Some(caller) = caller {
                        self.deliveries.tell(caller, Delivery::Answer(frame));
                    }
                }
                Event::Expired(caller) => self.deliveries.tell(caller, Delivery::Expired),
                Event::Ready(server) => self.ready = Some(server),
                Event::Push(elements) => self.push(elements),
            }
            if self.deliveries.len() >= portion {
                self.has_answers = true;
                break;
            }
        }
        let told = self.tell();
        if self.has_answers || told > 1 {
            self.has_yielded = true;
            context.waker().wake_by_ref();
        }
    }

    /// Answers that came before a push were delivered before it.
    fn push(&mut self, elements: Vec<Frame>) {
        self.tell();
        if let Some(pushes) = &self.pushes {
            pushes.push(self.core.id(), elements);
        }
    }

    fn tell(&mut self) -> usize {
        if self.deliveries.is_empty() { 0 } else { self.intake.deliver(&mut self.deliveries) }
    }
}

impl<S> Drop for Link<S> {
    fn drop(&mut self) {
        let death = self.core.death().unwrap_or(Death::Stopped);
        self.intake.close(death);
        self.metrics.in_flight.dec_by(self.counted_in_flight);
        if let Some(pushes) = &self.pushes {
            pushes.died(self.core.id());
        }
        for Bereaved { caller, fate, deadline } in self.core.bury() {
            self.deliveries.tell(caller, Delivery::Lost { fate, death, deadline });
        }
        self.intake.deliver(&mut self.deliveries);
    }
}
