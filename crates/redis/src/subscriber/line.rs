//! One connection of a subscriber: moves bytes between a socket and a core, and wishes and events between the core and the roster.
//! All decisions are the core's.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bowline_rt::time::{now, sleep_until, suspended};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::core::{Event, SubscriberCore};
use super::roster::{Place, Roster, Wishes};
use crate::error::Death;
use crate::handshake::ServerInfo;
use crate::limits::{READS_PER_TURN_MAX, SUSPENSION_MIN};
use crate::topology::Address;

/// A timer that was armed, and for when.
type Timer = (Instant, Pin<Box<dyn Future<Output = ()> + Send>>);

/// How the life of a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Died(Death),
    /// Nothing is wanted of it any more.
    Unneeded,
}

/// See the module.
pub(crate) struct Line<S> {
    stream: S,
    core: SubscriberCore,
    roster: Arc<Roster>,
    place: Place,
    address: Address,
    timer: Option<Timer>,
    /// How long this machine had been suspended in all at the last look.
    suspended: Duration,
    needs_flush: bool,
    ready: Option<ServerInfo>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub fn new(stream: S, core: SubscriberCore, roster: Arc<Roster>, place: Place, address: Address) -> Self {
        Self {
            stream,
            core,
            roster,
            place,
            address,
            timer: None,
            suspended: suspended(),
            needs_flush: false,
            ready: None,
        }
    }

    /// What the core holds; for what it has to say after its death.
    pub const fn core(&mut self) -> &mut SubscriberCore {
        &mut self.core
    }

    /// Where it leads.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Runs until the server has been introduced.
    pub async fn handshake(&mut self) -> Result<ServerInfo, Death> {
        poll_fn(|context| {
            self.poll_turn(context);
            match (self.ready.take(), self.core.death()) {
                (Some(server), _) => Poll::Ready(Ok(server)),
                (None, Some(death)) => Poll::Ready(Err(death)),
                (None, None) => Poll::Pending,
            }
        })
        .await
    }

    /// Subscribes to everything that is wanted, and to what will be, until the end.
    pub async fn serve(&mut self) -> End {
        for (topic, is_wanted) in self.roster.all(&self.place) {
            self.core.wish(&topic, is_wanted, now());
        }
        poll_fn(|context| {
            while let Poll::Ready(wishes) = self.roster.poll_wishes(&self.place, context) {
                let Wishes::Changed(wishes) = wishes else { return Poll::Ready(End::Unneeded) };
                for (topic, is_wanted) in wishes {
                    self.core.wish(&topic, is_wanted, now());
                }
            }
            self.deliver();
            self.poll_turn(context);
            self.core.death().map_or(Poll::Pending, |death| Poll::Ready(End::Died(death)))
        })
        .await
    }

    /// Does all that can be done now.
    fn poll_turn(&mut self, context: &mut Context<'_>) {
        self.read(context);
        self.write(context);
        self.keep_time(context);
    }

    fn read(&mut self, context: &mut Context<'_>) {
        for _ in 0..READS_PER_TURN_MAX {
            if self.core.death().is_some() {
                return;
            }
            match poll_read_buf(Pin::new(&mut self.stream), context, self.core.read_buffer()) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.core.die(Death::Closed),
                Poll::Ready(Err(error)) => self.core.die(Death::Read(error.kind())),
                Poll::Ready(Ok(_)) => {
                    self.core.received(now());
                    self.deliver();
                }
            }
        }
        // There is more to read, after the others had their turn.
        context.waker().wake_by_ref();
    }

    fn write(&mut self, context: &mut Context<'_>) {
        if self.core.death().is_none()
            && let Poll::Ready(Err(kind)) = self.poll_write(context)
        {
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
            let suspended = suspended();
            if suspended.saturating_sub(self.suspended) >= SUSPENSION_MIN {
                self.suspended = suspended;
                self.core.woke_up(now());
            }
            self.core.handle_timeout(now());
            self.deliver();
            self.write(context);
        }
    }

    /// Ready when the core should be asked. A timer that is armed too early is left alone.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let wanted = self.core.poll_timeout();
        let timer = match &mut self.timer {
            Some((armed, timer)) if *armed <= wanted => timer,
            timer => &mut timer.insert((wanted, Box::pin(sleep_until(wanted)))).1,
        };
        ready!(timer.as_mut().poll(context));
        self.timer = None;
        Poll::Ready(())
    }

    fn deliver(&mut self) {
        let now = now();
        let (core, ready) = (&mut self.core, &mut self.ready);
        let events = std::iter::from_fn(|| {
            core.poll_event(now).map(|event| match event {
                Event::Ready(server) => {
                    *ready = Some(server.clone());
                    Event::Ready(server)
                }
                event => event,
            })
        });
        self.roster.tell(&self.place, &self.address, events);
    }
}
