//! The callers: each asks one thing after the other; a third of all calls are given up after 0 to 2 ms, the others have
//! deadlines, and each end is told to the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline_redis::{Client, Command};
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{self, now, timeout};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, Question};
use super::values::{COUNTERS, KEYS, LISTS, counter_key, list_key, value_key};
use crate::limits::{LATENESS_MAX, LOOK_PERIOD, SOON};

/// Callers that share one client.
pub const CALLERS: u64 = 64;
/// Longest patience of a caller who gives up.
const CANCEL_MAX: Duration = Duration::from_millis(2);
/// Deadlines of the others.
const DEADLINES_MS: [u64; 3] = [20, 100, 400];
/// A runtime that is late itself cannot be told from a driver that is. Waking up this late at worst counts as on time.
const LAG_PERIOD: Duration = Duration::from_millis(10);

/// A running load.
#[derive(Debug)]
pub struct Load {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    callers: Vec<JoinHandle<()>>,
    lag: JoinHandle<()>,
    lag_us: Arc<AtomicU64>,
}

impl Load {
    /// Starts the callers.
    #[must_use]
    pub fn start(client: &Client, ledger: &Arc<Ledger>, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let callers = (0..CALLERS)
            .map(|number| {
                let caller = Caller {
                    client: client.clone(),
                    ledger: ledger.clone(),
                    random: StdRng::seed_from_u64(seed.wrapping_mul(CALLERS) + number),
                    next_echo: number << 32,
                };
                task::spawn("caller", caller.run(stop.clone()))
            })
            .collect();
        let lag_us = Arc::new(AtomicU64::new(0));
        let lag = task::spawn("lag", measure_lag(lag_us.clone()));
        Self { ledger: ledger.clone(), stop, callers, lag, lag_us }
    }

    /// Ends the load. Every caller must end by itself: none may hang.
    ///
    /// # Panics
    /// If a caller hangs.
    pub async fn finish(self) {
        self.stop.cancel();
        for caller in self.callers {
            timeout(SOON, caller).await.expect("no call hangs").expect("no caller panics");
        }
        self.lag.abort();
        let lag = Duration::from_micros(self.lag_us.load(Ordering::Relaxed));
        let lateness = self.ledger.lateness();
        if lateness > LATENESS_MAX + lag {
            self.ledger.violated(format!(
                "a call ended {lateness:.0?} after its deadline, and the runtime was late by {lag:.0?} at most"
            ));
        }
    }
}

/// Measures how late this runtime wakes up at worst.
async fn measure_lag(lag_us: Arc<AtomicU64>) {
    loop {
        let asleep = now();
        time::sleep(LAG_PERIOD).await;
        let lag = asleep.elapsed().saturating_sub(LAG_PERIOD);
        lag_us.fetch_max(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Waits until this many more calls were answered; how long that took.
///
/// # Panics
/// After a long time.
pub async fn wait_for_answers(ledger: &Ledger, count: u64) -> Duration {
    let started = now();
    let target = ledger.answered() + count;
    while ledger.answered() < target {
        assert!(started.elapsed() < SOON, "no {count} answers within {SOON:?}");
        time::sleep(LOOK_PERIOD / 10).await;
    }
    started.elapsed()
}

struct Caller {
    client: Client,
    ledger: Arc<Ledger>,
    random: StdRng,
    next_echo: u64,
}

impl Caller {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.ask().await;
        }
    }

    async fn ask(&mut self) {
        let question = self.question();
        let command = self.command(question);
        if self.random.random_range(0..3) == 0 {
            let patience = self.random.random_range(0..=CANCEL_MAX.as_micros());
            let patience = Duration::from_micros(u64::try_from(patience).unwrap_or_default());
            let outcome = timeout(patience, self.client.call(command.deadline(SOON))).await;
            return self.ledger.ended(question, outcome.ok().as_ref());
        }
        let deadline = DEADLINES_MS[self.random.random_range(0..DEADLINES_MS.len())];
        let deadline = Duration::from_millis(deadline);
        let started = now();
        let outcome = self.client.call(command.deadline(deadline)).await;
        self.ledger.late(started.elapsed().saturating_sub(deadline));
        self.ledger.ended(question, Some(&outcome));
        if outcome.is_err() {
            // Whoever is refused at once would otherwise keep the processor from those who could heal.
            time::sleep(CANCEL_MAX).await;
        }
    }

    fn question(&mut self) -> Question {
        let random = &mut self.random;
        match random.random_range(0..10) {
            0..4 => Question::Get(random.random_range(0..KEYS)),
            4 => Question::Set(random.random_range(0..KEYS)),
            5 => Question::List(random.random_range(0..LISTS)),
            6 | 7 => {
                self.next_echo += 1;
                Question::Echo(self.next_echo)
            }
            _ => Question::Increment(random.random_range(0..COUNTERS)),
        }
    }

    fn command(&self, question: Question) -> Command {
        match question {
            Question::Get(key) => Command::new("GET").arg(value_key(key)),
            Question::Set(key) => Command::new("SET").arg(value_key(key)).arg(self.ledger.values().of(key)),
            Question::List(list) => Command::new("LRANGE").arg(list_key(list)).args(["0", "-1"]),
            Question::Echo(number) => Command::new("ECHO").number(number),
            Question::Increment(counter) => Command::new("INCR").arg(counter_key(counter)),
        }
    }
}
