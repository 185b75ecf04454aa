//! A proxy for TCP that goes wrong on purpose, for each direction of its own.
//!
//! It delays, cuts bytes into pieces, stalls in mid-frame and delivers late, falls silent for good while new connections work,
//! and ends connections at any byte. What is random comes from a seed; what it did is printed when a story fails.
//!
//! Why not toxiproxy: it closes every connection that a `timeout` toxic had touched when the toxic goes, so a blip that
//! heals cannot be played with it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bowline_rt::net::{self, Listener, TcpStream, reset_on_close};
use bowline_rt::{task, time};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::limits::{ANSWER_MAX, PROXY_HISTORY_MAX, PROXY_READ_BYTES};
use crate::process;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In an orderly way.
    Fin,
    /// With a reset.
    Reset,
}

/// What goes wrong in one direction, until it is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Everything comes this much later, in order.
    Delay(Duration),
    /// Everything comes in pieces of 1 to this many bytes.
    Fragment(usize),
    /// Nothing comes any more, from a random byte on. All of it comes when the fault is healed, even if by then the other end
    /// has gone: bytes that the client had sent still reach the server.
    Stall,
    /// As [`Fault::Stall`], for the connections with a number below this one, from 0. Newer ones work.
    StallOld(u64),
    /// Half-open: the connections that there are take bytes and are silent for good, whatever is healed. New ones work.
    Hold,
    /// Every connection ends after a number of bytes that is drawn below this one.
    Cut(usize, End),
}

/// The faults of both directions.
#[derive(Debug, Clone, Copy, Default)]
struct Plan {
    requests: Option<Fault>,
    replies: Option<Fault>,
}

impl Plan {
    fn of(self, direction: Direction) -> Option<Fault> {
        match direction {
            Direction::Requests => self.requests,
            Direction::Replies => self.replies,
        }
    }
}

/// See the module. Dropping it ends all connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    upstream: SocketAddr,
    plan: watch::Sender<Plan>,
    /// Connections so far.
    accepted: AtomicU64,
    /// Connections that ended by a cut.
    cuts: AtomicU64,
    /// Connections with a lower number are silent for good.
    held_before: [AtomicU64; 2],
    started: Instant,
    history: Mutex<Vec<String>>,
    stop: CancellationToken,
}

impl Proxy {
    /// A proxy in front of `upstream`, which does nothing wrong yet.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(upstream: SocketAddr, seed: u64) -> Result<Self> {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.context("cannot listen")?;
        let address = listener.local_addr().context("a listener has an address")?;
        let shared = Arc::new(Shared {
            seed,
            upstream,
            plan: watch::Sender::new(Plan::default()),
            accepted: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            held_before: [AtomicU64::new(0), AtomicU64::new(0)],
            started: time::now(),
            history: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let accepting = shared.clone();
        task::spawn("proxy", async move {
            let stop = accepting.stop.clone();
            stop.run_until_cancelled(accept(listener, accepting)).await;
        });
        Ok(Self { address, shared })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a fault; it takes the place of another one of that direction.
    pub fn inject(&self, direction: Direction, fault: Fault) {
        self.shared.note(&format!("{direction:?}: {fault:?}"));
        if fault == Fault::Hold {
            let next = self.shared.accepted.load(Ordering::SeqCst);
            self.shared.held_before[direction as usize].store(next, Ordering::SeqCst);
            return;
        }
        self.shared.plan.send_modify(|plan| match direction {
            Direction::Requests => plan.requests = Some(fault),
            Direction::Replies => plan.replies = Some(fault),
        });
    }

    /// Ends the faults of both directions; what is half-open stays so.
    pub fn heal(&self) {
        self.shared.note("healed");
        self.shared.plan.send_replace(Plan::default());
    }

    /// Connections so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that ended by a cut so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        process::tell(self.shared.to_string());
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What it did, for people.
impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = self.accepted.load(Ordering::SeqCst);
        write!(f, "---- proxy: seed {}, {accepted} connections ----\n{}", self.seed, history.join("\n"))
    }
}

impl Shared {
    fn note(&self, what: &str) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == PROXY_HISTORY_MAX {
            history.remove(0);
        }
        history.push(format!("{:>9.3} s {what}", self.started.elapsed().as_secs_f64()));
    }

    fn is_held(&self, number: u64, direction: Direction) -> bool {
        number < self.held_before[direction as usize].load(Ordering::SeqCst)
    }
}

async fn accept(listener: Listener, shared: Arc<Shared>) {
    loop {
        // A client that has gone before it was accepted is no matter of the proxy.
        let Ok((client, _)) = listener.accept().await else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        task::spawn("proxied", async move {
            let stop = shared.stop.clone();
            stop.run_until_cancelled(connection(client, number, shared)).await;
        });
    }
}

/// One connection, until both ends have gone or it is cut.
async fn connection(client: TcpStream, number: u64, shared: Arc<Shared>) {
    let Ok(server) = net::connect(shared.upstream, ANSWER_MAX).await else {
        return shared.note(&format!("connection {number}: nobody at the other end"));
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut requests = Pump::new(number, Direction::Requests, (from_client, to_server), &shared);
    let mut replies = Pump::new(number, Direction::Replies, (from_server, to_client), &shared);
    let Err(end) = tokio::try_join!(requests.run(), replies.run()) else { return };
    shared.cuts.fetch_add(1, Ordering::SeqCst);
    match end {
        End::Reset => {
            reset_on_close(requests.from.as_ref());
            reset_on_close(replies.from.as_ref());
            // Their drop would say goodbye first.
            requests.to.forget();
            replies.to.forget();
        }
        // What comes from the client is read on: bytes that nobody read would make a reset of it.
        End::Fin => {
            drop((replies.from, requests.to));
            if replies.to.shutdown().await.is_ok() {
                let mut ignored = vec![0; PROXY_READ_BYTES];
                while requests.from.read(&mut ignored).await.is_ok_and(|count| count > 0) {}
            }
        }
    }
}

/// One direction of one connection.
struct Pump {
    number: u64,
    direction: Direction,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: Arc<Shared>,
    plan: watch::Receiver<Plan>,
    random: StdRng,
    /// Bytes until the cut, while one is planned.
    left: Option<usize>,
    passed_bytes: u64,
}

impl Pump {
    fn new(
        number: u64,
        direction: Direction,
        (from, to): (OwnedReadHalf, OwnedWriteHalf),
        shared: &Arc<Shared>,
    ) -> Self {
        let random = StdRng::seed_from_u64(shared.seed ^ (number * 2 + direction as u64) << 32);
        let plan = shared.plan.subscribe();
        let shared = shared.clone();
        Self { number, direction, from, to, shared, plan, random, left: None, passed_bytes: 0 }
    }

    /// Passes bytes on until there are no more, or the connection is cut.
    async fn run(&mut self) -> Result<(), End> {
        let mut buffer = vec![0; PROXY_READ_BYTES];
        while let Ok(count @ 1..) = self.from.read(&mut buffer).await {
            self.pass(&buffer[..count]).await?;
        }
        // Who is half-open does not hear of the end either. The other end may have gone before.
        if !self.shared.is_held(self.number, self.direction) {
            drop(self.to.shutdown().await);
        }
        Ok(())
    }

    async fn pass(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() && !self.shared.is_held(self.number, self.direction) {
            let fault = self.plan.borrow_and_update().of(self.direction);
            if !matches!(fault, Some(Fault::Cut(..))) {
                self.left = None;
            }
            let count = match fault {
                None | Some(Fault::Hold) => bytes.len(),
                Some(Fault::Delay(delay)) => {
                    time::sleep(delay).await;
                    bytes.len()
                }
                Some(Fault::Fragment(most)) => self.random.random_range(1..=most).min(bytes.len()),
                Some(Fault::StallOld(newest)) if self.number >= newest => bytes.len(),
                Some(Fault::Stall | Fault::StallOld(_)) => self.random.random_range(0..bytes.len()),
                Some(Fault::Cut(within, _)) => self.until_cut(within, bytes.len()),
            };
            self.write(&bytes[..count]).await;
            bytes = &bytes[count..];
            if !bytes.is_empty() && matches!(fault, Some(Fault::Stall | Fault::StallOld(_))) {
                let direction = self.direction;
                drop(self.plan.wait_for(|plan| plan.of(direction) != fault).await);
            }
            if let Some(Fault::Cut(_, end)) = fault.filter(|_| self.left == Some(0)) {
                let Self { number, direction, passed_bytes, .. } = self;
                self.shared.note(&format!("connection {number}, {direction:?}: cut at byte {passed_bytes}"));
                return Err(end);
            }
        }
        Ok(())
    }

    /// How many of `count` bytes still pass.
    fn until_cut(&mut self, within: usize, count: usize) -> usize {
        let random = &mut self.random;
        let left = self.left.get_or_insert_with(|| random.random_range(0..within));
        let passing = count.min(*left);
        *left -= passing;
        passing
    }

    /// What the other end does not take, because it has gone, is lost, as it is on a real network.
    async fn write(&mut self, bytes: &[u8]) {
        self.passed_bytes += bytes.len() as u64;
        drop(self.to.write_all(bytes).await);
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
