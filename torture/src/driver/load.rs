//! The callers: each asks one thing after the other; a third of all calls are given up after 0 to 2 ms, the others have
//! deadlines, and each end is told to the ledger. Most share one connection; a few have one of their own each, and block on it.

use std::sync::Arc;
use std::time::Duration;

use bowline_redis::{Answers, Batch, CallError, Client, Command, Dedicated, Frame, Transaction};
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{self, now, timeout};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, Question};
use super::values::{COUNTERS, KEYS, LISTS, PATIENT_COUNTERS, counter_key, list_key, partner, value_key};
use crate::lag::Lag;
use crate::limits::{LATENESS_MAX, LOOK_PERIOD, SOON};

/// Callers that share one connection.
pub const CALLERS: u64 = 64;
/// Of these, callers who only count and never give up.
const PATIENT_CALLERS: u64 = 8;
/// Callers with connections of their own.
const LONERS: u64 = 4;
/// Calls for which a loner uses one connection, at most.
const CALLS_MAX: usize = 20;
/// For how long a command asks to block.
const BLOCK_SECONDS: &str = "0.05";
/// Longest patience of a caller who gives up, in microseconds.
const CANCEL_MAX_US: u64 = 2_000;
/// Deadlines of the others.
const DEADLINES_MS: [u64; 3] = [20, 100, 400];

/// A running load.
#[derive(Debug)]
pub struct Load {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    callers: Vec<JoinHandle<()>>,
    lag: Lag,
}

impl Load {
    /// Starts the callers.
    #[must_use]
    pub fn start(client: &Client, ledger: &Arc<Ledger>, seed: u64) -> Self {
        Self::start_with(client, ledger, seed, LONERS)
    }

    /// Starts only those who share a connection: to a cluster no other connection leads to all keys.
    #[must_use]
    pub fn start_sharing(client: &Client, ledger: &Arc<Ledger>, seed: u64) -> Self {
        Self::start_with(client, ledger, seed, 0)
    }

    fn start_with(client: &Client, ledger: &Arc<Ledger>, seed: u64, loners: u64) -> Self {
        let stop = CancellationToken::new();
        let callers = (0..CALLERS + loners)
            .map(|number| {
                let caller = Caller {
                    client: client.clone(),
                    ledger: ledger.clone(),
                    random: StdRng::seed_from_u64(seed.wrapping_mul(CALLERS + LONERS) + number),
                    next_echo: number << 32,
                };
                let stop = stop.clone();
                task::spawn("caller", async move {
                    match number {
                        0..PATIENT_CALLERS => caller.count(stop, number).await,
                        PATIENT_CALLERS..CALLERS => caller.share(stop).await,
                        _ => caller.be_alone(stop).await,
                    }
                })
            })
            .collect();
        Self { ledger: ledger.clone(), stop, callers, lag: Lag::start() }
    }

    /// How late the runtime was at worst so far.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.lag.worst()
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
        let lag = self.lag.worst();
        let lateness = self.ledger.lateness();
        if lateness > LATENESS_MAX + lag {
            self.ledger.violated(format!(
                "a call ended {lateness:.0?} after its deadline, and the runtime was late by {lag:.0?} at most"
            ));
        }
    }
}

/// Waits until this many more calls on the shared connection were answered; how long that took.
///
/// # Panics
/// After a long time.
pub async fn wait_for_answers(ledger: &Ledger, count: u64) -> Duration {
    let started = now();
    let target = ledger.answered_shared() + count;
    while ledger.answered_shared() < target {
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

/// By which way a caller asks.
enum Way<'a> {
    Shared(&'a Client),
    Own(&'a mut Dedicated),
}

impl Caller {
    async fn count(self, stop: CancellationToken, number: u64) {
        let counter = COUNTERS - 1 - usize::try_from(number).unwrap_or_default() % PATIENT_COUNTERS;
        let question = Question::Increment(counter);
        while !stop.is_cancelled() {
            let outcome = self.answer(Way::Shared(&self.client), question, SOON).await;
            self.ledger.ended(question, Some(&outcome));
        }
    }

    async fn share(mut self, stop: CancellationToken) {
        let client = self.client.clone();
        while !stop.is_cancelled() {
            let question = self.question(false);
            if self.ask(Way::Shared(&client), question).await {
                self.ledger.note_shared();
            }
        }
    }

    /// Makes a connection, uses it until a call fails, and makes another.
    async fn be_alone(mut self, stop: CancellationToken) {
        let client = self.client.clone();
        while !stop.is_cancelled() {
            let Ok(mut own) = client.dedicated().await else {
                time::sleep(Duration::from_micros(CANCEL_MAX_US)).await;
                continue;
            };
            for _ in 0..self.random.random_range(1..CALLS_MAX) {
                let question = self.question(true);
                if !self.ask(Way::Own(&mut own), question).await {
                    break;
                }
            }
        }
    }

    /// Whether there was an answer.
    async fn ask(&mut self, way: Way<'_>, question: Question) -> bool {
        let gives_up = self.random.random_range(0..3) == 0;
        if gives_up {
            let patience = Duration::from_micros(self.random.random_range(0..=CANCEL_MAX_US));
            let outcome = timeout(patience, self.answer(way, question, SOON)).await.ok();
            self.ledger.ended(question, outcome.as_ref());
            return outcome.is_some_and(|outcome| outcome.is_ok());
        }
        let deadline = DEADLINES_MS[self.random.random_range(0..DEADLINES_MS.len())];
        let deadline = Duration::from_millis(deadline);
        let started = now();
        let outcome = self.answer(way, question, deadline).await;
        self.ledger.late(started.elapsed().saturating_sub(deadline + question.blocks_for()));
        self.ledger.ended(question, Some(&outcome));
        if outcome.is_err() {
            // Whoever is refused at once would otherwise keep the processor from those who could heal.
            time::sleep(Duration::from_micros(CANCEL_MAX_US)).await;
        }
        outcome.is_ok()
    }

    fn question(&mut self, is_alone: bool) -> Question {
        let random = &mut self.random;
        match random.random_range(0..12) {
            0..4 => Question::Get(random.random_range(0..KEYS)),
            4 => Question::Set(random.random_range(0..KEYS)),
            5 => Question::List(random.random_range(0..LISTS)),
            6 | 7 => {
                self.next_echo += 1;
                Question::Echo(self.next_echo)
            }
            8 if is_alone => Question::Block,
            8 => Question::Batch(random.random_range(0..KEYS)),
            9 => Question::Transaction(random.random_range(0..COUNTERS - PATIENT_COUNTERS)),
            _ => Question::Increment(random.random_range(0..COUNTERS - PATIENT_COUNTERS)),
        }
    }

    /// Asks, and makes one frame of several answers.
    async fn answer(&self, way: Way<'_>, question: Question, deadline: Duration) -> Result<Frame, CallError> {
        let get = |key: usize| Command::new("GET").arg(value_key(key));
        let increment = |counter: usize| Command::new("INCR").arg(counter_key(counter));
        let command = match question {
            Question::Get(key) => get(key),
            Question::Set(key) => Command::new("SET").arg(value_key(key)).arg(self.ledger.values().of(key)),
            Question::List(list) => Command::new("LRANGE").arg(list_key(list)).args(["0", "-1"]),
            Question::Echo(number) => Command::new("ECHO").number(number),
            Question::Increment(counter) => increment(counter),
            Question::Block => Command::new("BLPOP").args(["nothing", BLOCK_SECONDS]),
            Question::Batch(key) => {
                // The one in the middle is an error: a value is no list.
                let wrong = Command::new("LRANGE").arg(value_key(key)).args(["0", "-1"]);
                let batch = Batch::new().command(get(key)).command(wrong).command(get(partner(key)));
                let batch = batch.deadline(deadline);
                return match way {
                    Way::Shared(client) => client.batch(batch).await,
                    Way::Own(own) => own.batch(batch).await,
                }
                .map(whole);
            }
            Question::Transaction(counter) => {
                let transaction = Transaction::new().command(increment(counter)).command(get(counter));
                let transaction = transaction.deadline(deadline);
                return match way {
                    Way::Shared(client) => client.transaction(transaction).await.map(whole),
                    Way::Own(own) => own.transaction(transaction).await.map(|o| o.map_or(Frame::Null, whole)),
                };
            }
        };
        let command = command.deadline(deadline);
        match way {
            Way::Shared(client) => client.call(command).await,
            Way::Own(own) => own.call(command).await,
        }
    }
}

fn whole(answers: Answers) -> Frame {
    let frames = answers.into_iter().map(|answer| answer.unwrap_or_else(|error| Frame::error(error.message)));
    Frame::Array(frames.collect())
}
