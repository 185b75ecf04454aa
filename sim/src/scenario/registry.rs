//! Two gateways, one agent, one store: crashes, stalls and partitions, then healing.
//!
//! - INV-REG-CONVERGE: after healing, the store names exactly the gateways that hold the agent, and a request through
//!   either gateway is served; what has converged stays so.
//! - INV-REG-ORDER: at no time does an entry in the store go back to something older.
//! - INV-DRV-OWN: at no time does an answer reach a request that it does not belong to.

use std::cell::RefCell;
use std::rc::Rc;

use bowline_model::Invariant;

use super::Scenario;
use crate::fault::{Plan, Subjects};
use crate::limits::FAULTS;
use crate::phases::{self, Checker, Violation};
use crate::probe::{self, Seen};
use crate::zone::{self, AGENT, Gateways};

pub const SCENARIO: Scenario = Scenario {
    name: "registry",
    about: "two gateways, one agent, one store: the registry converges after any faults (incident 1)",
    run,
};

const GATEWAYS: [&str; 2] = ["g1", "g2"];

const SUBJECTS: Subjects = Subjects {
    hosts: &["g1", "g2", "edge", "store"],
    links: &[("edge", "g1"), ("edge", "g2"), ("g1", "g2"), ("g1", "store"), ("g2", "store")],
};

struct RegistryChecker {
    gateways: Gateways,
    seen: Rc<RefCell<Seen>>,
}

impl Checker for RegistryChecker {
    fn converged(&self) -> Result<(), Violation> {
        judge(&self.truth(), &self.seen.borrow())
    }

    fn healed(&self) {
        self.seen.borrow_mut().forget();
    }

    fn safe(&self) -> Result<(), Violation> {
        let seen = self.seen.borrow();
        if let Some(detail) = &seen.foreign_answer {
            return Err(Violation::of(Invariant::DrvOwn, detail.clone()));
        }
        if let Some(detail) = &seen.went_back {
            return Err(Violation::of(Invariant::RegOrder, detail.clone()));
        }
        Ok(())
    }
}

/// Requests in a row after which a gateway counts as serving.
const SERVED_MIN: u64 = 3;

impl RegistryChecker {
    /// Which gateways hold the agent, as the store would write it.
    fn truth(&self) -> Vec<String> {
        let gateways = self.gateways.borrow();
        let holds = |gateway: &bowline_tunnel::Gateway| {
            gateway.status().agents.iter().any(|agent| agent.agent == AGENT)
        };
        gateways
            .iter()
            .filter(|(_, gateway)| holds(gateway))
            .map(|(name, _)| format!("{name}/{AGENT}"))
            .collect()
    }
}

/// Whether the copies equal the truth, and both gateways serve.
fn judge(truth: &[String], seen: &Seen) -> Result<(), Violation> {
    let missing = |detail: String| Err(Violation::of(Invariant::RegConverge, detail));
    if truth.is_empty() {
        return missing("no gateway holds the agent".to_owned());
    }
    match &seen.store {
        Some(snapshot) if snapshot.holders == truth => {}
        Some(snapshot) => {
            return missing(format!("held by {truth:?}, the store says {:?}", snapshot.holders));
        }
        None => return missing("the store cannot be read".to_owned()),
    }
    for gateway in GATEWAYS {
        let latest = seen.requests.get(gateway);
        if latest.is_none_or(|latest| latest.streak < SERVED_MIN) {
            let error = latest.and_then(|latest| latest.error.as_deref()).unwrap_or("not answered yet");
            return missing(format!("{gateway} does not serve: {error}"));
        }
    }
    Ok(())
}

fn run(seed: u64) -> Result<String, Violation> {
    let plan = Plan::draw(&SUBJECTS, FAULTS);
    let mut sim = phases::simulation(seed);
    let checker = RegistryChecker { gateways: Gateways::default(), seen: Rc::default() };
    zone::add_store(&mut sim);
    zone::add_web(&mut sim);
    for gateway in GATEWAYS {
        zone::add_gateway(&mut sim, gateway, &checker.gateways);
    }
    zone::add_agent(&mut sim, &GATEWAYS);
    probe::add_client(&mut sim, &GATEWAYS, &checker.seen);
    phases::run(&mut sim, &plan, &checker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Latest, Snapshot};

    fn seen(holders: &[&str], streak: u64) -> Seen {
        let latest = Latest { streak, error: None };
        let mut seen = Seen::default();
        seen.requests = GATEWAYS.into_iter().map(|gateway| (gateway, latest.clone())).collect();
        seen.store = Some(Snapshot { holders: holders.iter().map(ToString::to_string).collect() });
        seen
    }

    #[test]
    fn every_difference_between_copy_and_truth_is_caught() {
        let check = |truth: &[&str], seen: &Seen, expected: bool| {
            let truth: Vec<String> = truth.iter().map(ToString::to_string).collect();
            assert_eq!(judge(&truth, seen).is_ok(), expected, "{truth:?}, {seen:?}");
        };
        check(&["g1/edge"], &seen(&["g1/edge"], SERVED_MIN), true);
        check(&["g1/edge"], &seen(&[], SERVED_MIN), false);
        check(&["g1/edge"], &seen(&["g2/edge"], SERVED_MIN), false);
        check(&["g1/edge"], &seen(&["g1/edge", "g2/edge"], SERVED_MIN), false);
        check(&[], &seen(&[], SERVED_MIN), false);
        check(&["g1/edge"], &seen(&["g1/edge"], SERVED_MIN - 1), false);
        check(&["g1/edge"], &Seen::default(), false);
    }
}
