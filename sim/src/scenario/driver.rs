//! Two applications on the driver and one store: crashes, stalls and partitions, with a third of all calls cancelled
//! (incident 2).
//!
//! - INV-DRV-OWN and INV-DRV-CANCEL: every value names the key that it was asked for.
//! - INV-DRV-ONCE: increments are counted: what was acknowledged ≤ counter ≤ what was acknowledged or may have been executed.
//! - INV-DRV-BOUND: every call ends at its deadline.
//!
//! A store that crashes loses its data, and with it the lower bound; so only every other seed lets it crash.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bowline_model::Invariant;
use bowline_redis::{Batch, CallError, Client, Command, Config, Frame, Transaction};
use bowline_rt::time::{now, sleep, timeout};
use bowline_rt::{random, task};
use turmoil::Sim;

use super::Scenario;
use crate::fault::{Plan, Subjects};
use crate::limits::FAULTS;
use crate::phases::{self, Checker, Violation};
use crate::zone::{self, STORE};

pub const SCENARIO: Scenario = Scenario {
    name: "driver",
    about: "two applications on the driver, one store: no answer reaches another's call (incident 2)",
    run,
};

const APPS: [&str; 2] = ["app1", "app2"];
const LINKS: &[(&str, &str)] = &[("app1", "store"), ("app2", "store")];
const STORE_STAYS: Subjects = Subjects { hosts: &APPS, links: LINKS };
const STORE_CRASHES: Subjects = Subjects { hosts: &["app1", "app2", "store"], links: LINKS };

/// Callers of each application.
const CALLERS: usize = 6;
const KEYS: u64 = 40;
const VALUE_BYTES_MAX: u64 = 3_000;
const DEADLINE: Duration = Duration::from_millis(400);
/// A call may end so much after its deadline: the simulation cuts time into ticks, and hosts take turns.
const SLACK: Duration = Duration::from_millis(20);
/// Those that are cancelled are so within this time.
const CANCELLED_WITHIN: Duration = Duration::from_millis(8);
const PAUSE_MAX: Duration = Duration::from_millis(60);
/// Calls of one application in a row that went well, after which it counts as served.
const SERVED_MIN: u64 = 20;

/// What one application knows of its own counter. It outlives a crash of its host, as a ledger elsewhere would.
#[derive(Debug, Default)]
struct Ledger {
    /// Increments that were acknowledged.
    acknowledged: u64,
    /// Increments that are under way, or whose fate is not known.
    possible: u64,
    /// Calls in a row that were answered.
    streak: u64,
}

#[derive(Default)]
struct Seen {
    ledgers: [Ledger; APPS.len()],
    violation: Option<Violation>,
}

impl Seen {
    fn violated(&mut self, invariant: Invariant, detail: String) {
        self.violation.get_or_insert(Violation::of(invariant, detail));
    }
}

struct DriverChecker(Rc<RefCell<Seen>>);

impl Checker for DriverChecker {
    fn converged(&self) -> Result<(), Violation> {
        let seen = self.0.borrow();
        match seen.ledgers.iter().position(|ledger| ledger.streak < SERVED_MIN) {
            Some(app) => Err(Violation::of(Invariant::DrvBound, format!("{} is not served", APPS[app]))),
            None => Ok(()),
        }
    }

    fn healed(&self) {
        self.0.borrow_mut().ledgers.iter_mut().for_each(|ledger| ledger.streak = 0);
    }

    fn safe(&self) -> Result<(), Violation> {
        self.0.borrow().violation.clone().map_or(Ok(()), Err)
    }
}

fn run(seed: u64) -> Result<String, Violation> {
    let store_stays = seed.is_multiple_of(2);
    let plan = Plan::draw(if store_stays { &STORE_STAYS } else { &STORE_CRASHES }, FAULTS);
    let mut sim = phases::simulation(seed);
    let seen = Rc::new(RefCell::new(Seen::default()));
    zone::add_store(&mut sim);
    for app in 0..APPS.len() {
        add_app(&mut sim, app, store_stays, &seen);
    }
    phases::run(&mut sim, &plan, &DriverChecker(seen))
}

fn add_app(sim: &mut Sim<'static>, app: usize, store_stays: bool, seen: &Rc<RefCell<Seen>>) {
    let seen = seen.clone();
    sim.host(APPS[app], move || {
        let seen = seen.clone();
        async move {
            let mut config = Config::from_url(&format!("redis://{}:{}", STORE.0, STORE.1))?;
            config.settings.call_deadline = DEADLINE;
            config.settings.fence = random::below(2) == 0;
            let client = Client::start(config);
            for _ in 0..CALLERS {
                let caller = Caller { client: client.clone(), app, store_stays, seen: seen.clone() };
                task::spawn_local("caller", caller.call_for_ever());
            }
            std::future::pending().await
        }
    });
}

/// One of the tasks of an application.
struct Caller {
    client: Client,
    app: usize,
    store_stays: bool,
    seen: Rc<RefCell<Seen>>,
}

impl Caller {
    async fn call_for_ever(self) {
        loop {
            let started = now();
            // Only those that are not cancelled say something about the streak and the deadline.
            let is_cancelled = random::below(3) == 0;
            if is_cancelled {
                drop(timeout(random::jitter(CANCELLED_WITHIN), self.call()).await);
            } else {
                let outcome = self.call().await;
                self.note(&outcome, now() - started);
            }
            sleep(random::jitter(PAUSE_MAX)).await;
        }
    }

    async fn call(&self) -> Result<(), CallError> {
        let (key, other) = (random::below(KEYS), random::below(KEYS));
        match random::below(6) {
            0 => self.client.call(set(key)).await.map(drop),
            1 => self.client.call(get(key)).await.map(|frame| self.judge(key, &frame)),
            2 => self.increment(self.client.call(self.counter())).await.map(drop),
            3 => self.read_counter().await,
            4 => {
                let batch = Batch::new().command(get(key)).command(self.counter()).command(get(other));
                let answers = self.increment(self.client.batch(batch)).await?;
                self.judge_all([key, other], [&answers[0], &answers[2]]);
                Ok(())
            }
            _ => {
                let transaction =
                    Transaction::new().command(self.counter()).command(get(key)).command(get(other));
                let answers = self.increment(self.client.transaction(transaction)).await?;
                self.judge_all([key, other], [&answers[1], &answers[2]]);
                Ok(())
            }
        }
    }

    fn counter(&self) -> Command {
        Command::new("INCR").arg(format!("counter:{}", APPS[self.app]))
    }

    /// Enters a call that increments the counter into the ledger.
    async fn increment<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let ledger = |change: fn(&mut Ledger)| change(&mut self.seen.borrow_mut().ledgers[self.app]);
        ledger(|ledger| ledger.possible += 1);
        let outcome = call.await;
        match &outcome {
            Ok(_) => ledger(|ledger| {
                ledger.possible -= 1;
                ledger.acknowledged += 1;
            }),
            Err(error) if error.had_no_effect() => ledger(|ledger| ledger.possible -= 1),
            Err(_) => {}
        }
        outcome
    }

    async fn read_counter(&self) -> Result<(), CallError> {
        let acknowledged = self.seen.borrow().ledgers[self.app].acknowledged;
        let read = Command::new("GET").arg(format!("counter:{}", APPS[self.app]));
        let frame = self.client.call(read).await?;
        let counter = frame.as_text().map_or(0, |text| text.parse().unwrap_or(u64::MAX));
        let seen = &mut *self.seen.borrow_mut();
        let Ledger { acknowledged: by_now, possible, .. } = seen.ledgers[self.app];
        let least = if self.store_stays { acknowledged } else { 0 };
        if !(least..=by_now + possible).contains(&counter) {
            let detail = format!(
                "{}: {acknowledged} to {by_now} increments were acknowledged and {possible} are possible, \
                 the counter is {counter}",
                APPS[self.app]
            );
            seen.violated(Invariant::DrvOnce, detail);
        }
        Ok(())
    }

    fn judge_all<E>(&self, keys: [u64; 2], answers: [&Result<Frame, E>; 2]) {
        for (key, answer) in keys.into_iter().zip(answers) {
            if let Ok(frame) = answer {
                self.judge(key, frame);
            }
        }
    }

    /// A value names its key; nothing else may come.
    fn judge(&self, key: u64, frame: &Frame) {
        if !names(frame, key) {
            let detail = format!("{} asked for key {key} and got {frame:.100?}", APPS[self.app]);
            self.seen.borrow_mut().violated(Invariant::DrvOwn, detail);
        }
    }

    fn note(&self, outcome: &Result<(), CallError>, took: Duration) {
        tracing::debug!(app = APPS[self.app], ?outcome, ?took, "called");
        let seen = &mut *self.seen.borrow_mut();
        let ledger = &mut seen.ledgers[self.app];
        ledger.streak = if outcome.is_ok() { ledger.streak + 1 } else { 0 };
        if took > DEADLINE + SLACK {
            seen.violated(Invariant::DrvBound, format!("a call of {} took {took:?}", APPS[self.app]));
        }
    }
}

fn names(frame: &Frame, key: u64) -> bool {
    frame.is_null() || frame.as_text().is_some_and(|text| text.trim_end_matches('x') == format!("{key}:"))
}

fn get(key: u64) -> Command {
    Command::new("GET").arg(format!("key:{key}"))
}

fn set(key: u64) -> Command {
    let filler = usize::try_from(random::below(VALUE_BYTES_MAX)).expect("it is small");
    Command::new("SET").arg(format!("key:{key}")).arg(format!("{key}:{}", "x".repeat(filler)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_right_if_it_names_the_key() {
        let check =
            |text: &str, expected: bool| assert_eq!(names(&Frame::bulk(text.to_owned()), 5), expected);
        check("5:", true);
        check("5:xxx", true);
        check("50:xxx", false);
        check("6:xxx", false);
        check("OK", false);
        assert!(names(&Frame::Null, 5) && !names(&Frame::Integer(5), 5));
    }
}
