//! Which looked-up routes may be used, and when to read them again: the decisions of the lookup path, without I/O.
//!
//! - A fresh route is used without a question.
//! - An older one is used while it is read again in the background, as long as no lease of the entry can have passed twice.
//! - A still older one is used only if the store does not answer, for an hour.
//! - A target without holders is read again after a pause, so that an absent agent under load costs the store two reads a
//!   second. Between two reads the answer is "nobody". The pause does not grow: whoever registers is found within it, however
//!   long others have asked in vain.
//! - "Nobody" right after somebody is not believed at once, unless a hop was tried in vain: it is also what a store says that
//!   has just lost its data, and its gateways will have told it again before the doubt is over.
//!
//! False presence costs one attempt at a hop; false absence costs the request. So an old answer is better than none.
//! The number of routes is bounded: they live in two generations, and when the young one is full the old one is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::layout::{Holder, Target};
use crate::limits::{ABSENT_PAUSE, ROUTE_FRESH, ROUTE_STALE_MAX, SUSPECT_PAUSE};

/// Holders of one target, shared by everybody who asks.
pub(crate) type Holders = Arc<[Holder]>;

/// What to do about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Use this.
    Serve(Holders),
    /// Use this, and have it read again meanwhile.
    ServeAndRead(Holders),
    /// Wait for a read; should it fail, use this, if there is something.
    Read { fallback: Option<Holders> },
    /// The store failed a moment ago and nothing is known.
    Unavailable,
}

/// What is known about a target.
#[derive(Debug, Clone)]
struct Route {
    /// The newest answer of the store, and when it came.
    known: Option<(Holders, Instant)>,
    /// Before this time it is not read again.
    read_again_at: Instant,
    /// The last read failed.
    failed: bool,
    /// Somebody followed it in vain since it was read.
    suspect: bool,
}

impl Route {
    fn holders(&self, now: Instant, age_max: Duration) -> Option<&Holders> {
        let (holders, read_at) = self.known.as_ref()?;
        (now.saturating_duration_since(*read_at) < age_max).then_some(holders)
    }
}

/// The remembered routes.
#[derive(Debug)]
pub(crate) struct Routes {
    young: BTreeMap<Target, Route>,
    old: BTreeMap<Target, Route>,
    routes_max: usize,
    /// Age up to which a route is used while it is read again.
    usable: Duration,
    /// Age up to which a route is used although the store says "nobody" now: gateways audit their entries this often.
    doubt: Duration,
}

impl Routes {
    /// At most `routes_max` routes. Entries in the store have a lease of `ttl`.
    pub(crate) fn new(routes_max: usize, ttl: Duration) -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new(), routes_max, usable: ttl, doubt: ttl / 3 }
    }

    /// Decides about a question that is asked now.
    pub(crate) fn ask(&mut self, now: Instant, target: &Target) -> Advice {
        let usable = self.usable;
        let Some(route) = self.route(target) else { return Advice::Read { fallback: None } };
        let may_read = route.read_again_at <= now;
        match route.holders(now, ROUTE_STALE_MAX) {
            // "Nobody" is never used beyond its pause: somebody may have come meanwhile.
            Some(nobody) if nobody.is_empty() && !route.failed => {
                if may_read {
                    Advice::Read { fallback: None }
                } else {
                    Advice::Serve(nobody.clone())
                }
            }
            Some(holders) if !holders.is_empty() => {
                let holders = holders.clone();
                match (may_read, route.failed || route.holders(now, usable).is_some()) {
                    (false, _) => Advice::Serve(holders),
                    (true, true) => Advice::ServeAndRead(holders),
                    (true, false) => Advice::Read { fallback: Some(holders) },
                }
            }
            _ if may_read => Advice::Read { fallback: None },
            _ => Advice::Unavailable,
        }
    }

    /// Takes the answer of the store. Returns what to tell those who waited for it.
    pub(crate) fn learn(&mut self, now: Instant, target: &Target, holders: Holders) -> Holders {
        let doubt = self.doubt;
        if holders.is_empty()
            && let Some(route) = self.route(target)
            && let Some(former) =
                route.holders(now, doubt).filter(|former| !former.is_empty() && !route.suspect).cloned()
        {
            route.read_again_at = now + ABSENT_PAUSE;
            return former;
        }
        let pause = if holders.is_empty() { ABSENT_PAUSE } else { ROUTE_FRESH };
        let known = Some((holders.clone(), now));
        self.insert(target, Route { known, read_again_at: now + pause, failed: false, suspect: false });
        holders
    }

    /// The store did not answer: what was known stays known.
    pub(crate) fn learn_failure(&mut self, now: Instant, target: &Target) {
        let former = self.route(target);
        let suspect = former.as_ref().is_some_and(|route| route.suspect);
        let known = former.and_then(|route| route.known.clone());
        self.insert(target, Route { known, read_again_at: now + ABSENT_PAUSE, failed: true, suspect });
    }

    /// Somebody followed the route in vain. Returns whether to read it again now; if not, the next question will soon.
    pub(crate) fn suspect(&mut self, now: Instant, target: &Target) -> bool {
        let Some(route) = self.route(target) else { return false };
        let Some((holders, read_at)) = &route.known else { return false };
        if holders.is_empty() {
            return false;
        }
        route.suspect = true;
        if route.failed {
            return false;
        }
        route.read_again_at = route.read_again_at.min(*read_at + SUSPECT_PAUSE);
        route.read_again_at <= now
    }

    /// How many routes are remembered.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The route to a target, which thereby counts as used.
    fn route(&mut self, target: &Target) -> Option<&mut Route> {
        if let Some(route) = self.old.remove(target) {
            self.insert(target, route);
        }
        self.young.get_mut(target)
    }

    fn insert(&mut self, target: &Target, route: Route) {
        self.old.remove(target);
        if self.young.len() >= self.routes_max.div_ceil(2) && !self.young.contains_key(target) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(target.clone(), route);
        assert!(self.len() <= self.routes_max + 1, "two generations of half the limit each");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const TTL: Duration = Duration::from_secs(30);

    fn target(number: usize) -> Target {
        Target::Agent(format!("a{number}").parse().expect("a name"))
    }

    fn holders(gateway: &str) -> Holders {
        let holder = Holder {
            gateway: gateway.parse().expect("a name"),
            epoch: bowline_model::Epoch::from_bits(1),
            term: bowline_model::Term(1),
            agent: "a0".parse().expect("a name"),
            peer_address: "h:1".to_owned(),
            zone: "z1".parse().expect("a name"),
        };
        [holder].into()
    }

    fn routes() -> (Routes, Instant) {
        (Routes::new(8, TTL), bowline_rt::time::now())
    }

    #[test]
    fn an_answer_ages_from_fresh_to_usable_to_last_resort_to_nothing() {
        let (mut routes, start) = routes();
        let (target, known) = (target(0), holders("g1"));
        assert_eq!(routes.ask(start, &target), Advice::Read { fallback: None });
        routes.learn(start, &target, known.clone());
        let mut check =
            |age: Duration, expected: Advice| assert_eq!(routes.ask(start + age, &target), expected);
        check(ROUTE_FRESH - MILLISECOND, Advice::Serve(known.clone()));
        check(ROUTE_FRESH, Advice::ServeAndRead(known.clone()));
        check(TTL - MILLISECOND, Advice::ServeAndRead(known.clone()));
        check(TTL, Advice::Read { fallback: Some(known.clone()) });
        check(ROUTE_STALE_MAX - MILLISECOND, Advice::Read { fallback: Some(known) });
        check(ROUTE_STALE_MAX, Advice::Read { fallback: None });
    }

    #[test]
    fn while_the_store_is_silent_an_old_route_is_served_without_waiting() {
        let (mut routes, start) = routes();
        let (target, known) = (target(0), holders("g1"));
        routes.learn(start, &target, known.clone());
        let later = start + TTL * 2;
        routes.learn_failure(later, &target);
        assert_eq!(routes.ask(later, &target), Advice::Serve(known.clone()));
        assert_eq!(routes.ask(later + ABSENT_PAUSE, &target), Advice::ServeAndRead(known));
        assert_eq!(routes.ask(start + ROUTE_STALE_MAX, &target), Advice::Read { fallback: None });
    }

    #[test]
    fn without_an_answer_ever_a_failing_store_is_left_alone_for_a_moment() {
        let (mut routes, start) = routes();
        routes.learn_failure(start, &target(0));
        assert_eq!(routes.ask(start, &target(0)), Advice::Unavailable);
        assert_eq!(routes.ask(start + ABSENT_PAUSE, &target(0)), Advice::Read { fallback: None });
    }

    #[test]
    fn an_absent_agent_under_load_costs_at_most_two_reads_a_second() {
        let (mut routes, start) = routes();
        let target = target(0);
        let mut reads = 0;
        for elapsed in 0..20_000 {
            let now = start + MILLISECOND * elapsed;
            if let Advice::Read { .. } = routes.ask(now, &target) {
                reads += 1;
                routes.learn(now, &target, Holders::default());
            }
        }
        assert_eq!(reads, 40, "every 500 ms for 20 s");
    }

    #[test]
    fn a_suspect_route_is_read_again_soon_and_served_meanwhile() {
        let (mut routes, start) = routes();
        let (target, known) = (target(0), holders("g1"));
        assert!(!routes.suspect(start, &target), "nothing is known");
        routes.learn(start, &target, known.clone());
        assert!(!routes.suspect(start, &target), "it was read just now");
        assert_eq!(routes.ask(start, &target), Advice::Serve(known.clone()));
        assert_eq!(routes.ask(start + SUSPECT_PAUSE, &target), Advice::ServeAndRead(known));
        assert!(routes.suspect(start + SUSPECT_PAUSE, &target));
    }

    #[test]
    fn nobody_right_after_somebody_is_believed_only_after_a_vain_hop_or_a_while() {
        let (mut routes, start) = routes();
        let (target, known, nobody) = (target(0), holders("g1"), Holders::default());
        routes.learn(start, &target, known.clone());
        let flushed = start + ROUTE_FRESH;
        assert_eq!(routes.learn(flushed, &target, nobody.clone()), known, "the store may have lost its data");
        assert_eq!(routes.ask(flushed, &target), Advice::Serve(known.clone()));
        assert_eq!(routes.ask(flushed + ABSENT_PAUSE, &target), Advice::ServeAndRead(known.clone()));
        assert_eq!(
            routes.learn(start + TTL / 3, &target, nobody.clone()),
            nobody,
            "by then it would be repaired"
        );
        routes.learn(start, &target, known);
        routes.suspect(start, &target);
        assert_eq!(routes.learn(flushed, &target, nobody.clone()), nobody, "a hop has confirmed it");
    }

    #[test]
    fn routes_are_bounded_and_used_ones_stay() {
        let (mut routes, start) = routes();
        let hot = target(0);
        routes.learn(start, &hot, holders("g1"));
        for number in 1..1_000 {
            routes.learn(start, &target(number), Holders::default());
            assert!(matches!(routes.ask(start, &hot), Advice::Serve(_)), "it is used all the time");
            assert!(routes.len() <= 9, "{}", routes.len());
        }
    }
}
