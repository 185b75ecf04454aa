//! Tables of what a route does, and a property test of its invariants.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn agent(name: &str) -> AgentId {
    name.parse().expect("a name")
}

fn holder(name: &str) -> Candidate {
    Candidate::Remote { gateway: name.parse().expect("a name"), address: format!("{name}:1") }
}

fn refusal(reason: Reason) -> Refusal {
    Refusal::new(reason, "test")
}

fn show(output: &Output) -> String {
    match output {
        Output::Begin => "begin".into(),
        Output::Lookup => "lookup".into(),
        Output::Ask(ask, Candidate::Local(agent)) => format!("ask {ask} local {agent}"),
        Output::Ask(ask, Candidate::Remote { gateway, .. }) => format!("ask {ask} {gateway}"),
        Output::Commit(ask) => format!("commit {ask}"),
        Output::Abandon(ask) => format!("abandon {ask}"),
        Output::Done(ask) => format!("done {ask}"),
        Output::Fail(refusal) => format!("fail {}", refusal.reason.code()),
    }
}

/// What happens next in a table: an input, or only time.
enum Event {
    In(Input),
    Time,
}
use Event::{In, Time};

fn begin(agents: &[&str]) -> Event {
    In(Input::Begin(agents.iter().map(|name| agent(name)).collect()))
}

fn found(holders: &[&str]) -> Event {
    In(Input::Found(holders.iter().map(|name| holder(name)).collect()))
}

/// Feeds the events, each at its millisecond, and compares what comes out after each.
fn check(table: Vec<(u64, Event, &str)>) {
    let start = bowline_rt::time::now();
    let mut route = Route::new(RouteSettings::default(), start, 7);
    assert_eq!(route.poll_output(), Some(Output::Begin));
    for (line, (at_ms, event, expected)) in table.into_iter().enumerate() {
        let now = start + Duration::from_millis(at_ms);
        match event {
            In(input) => route.handle(now, input),
            Time => {
                assert!(route.poll_timeout().is_none_or(|at| at <= now), "line {line}: nothing is due yet");
                route.handle_timeout(now);
            }
        }
        let outputs: Vec<String> = std::iter::from_fn(|| route.poll_output()).map(|o| show(&o)).collect();
        assert_eq!(outputs.join(", "), expected, "line {line}");
    }
}

#[test]
fn a_local_tunnel_needs_no_registry() {
    check(vec![
        (0, begin(&["a"]), "ask 1 local a"),
        (0, In(Input::Ready(1)), "commit 1"),
        (9, In(Input::Opened(1)), "done 1"),
        (10, In(Input::Ready(1)), ""),
        (30_000, Time, ""),
    ]);
}

#[test]
fn a_slow_local_agent_is_hedged_by_other_holders() {
    check(vec![
        (0, begin(&["a", "b"]), "ask 1 local a"),
        (50, Time, "ask 2 local b"),
        (100, Time, "lookup"),
        (103, found(&["g2", "g3"]), "ask 3 g2"),
        (113, Time, "ask 4 g3"),
        (114, In(Input::Ready(4)), "abandon 1, abandon 2, abandon 3, commit 4"),
        (114, In(Input::Ready(3)), ""),
        (115, In(Input::Opened(4)), "done 4"),
    ]);
}

#[test]
fn a_dead_holder_costs_one_hedge_and_a_refusal_costs_nothing() {
    check(vec![
        (0, begin(&[]), "lookup"),
        (1, found(&["dead", "empty", "g3"]), "ask 1 dead"),
        (11, Time, "ask 2 empty"),
        (12, In(Input::Refused(2, refusal(Reason::AgentUnreachable))), "ask 3 g3"),
        (13, In(Input::Ready(3)), "abandon 1, commit 3"),
        (14, In(Input::Opened(3)), "done 3"),
    ]);
}

#[test]
fn nobody_offers_it() {
    check(vec![(0, begin(&[]), "lookup"), (1, found(&[]), "fail service_unknown"), (2, Time, "")]);
}

#[test]
fn the_store_is_silent() {
    check(vec![
        (0, begin(&[]), "lookup"),
        (1, In(Input::NotFound(refusal(Reason::StoreUnavailable))), "fail store_unavailable"),
    ]);
    check(vec![(0, begin(&[]), "lookup"), (20_000, Time, "fail store_unavailable")]);
}

#[test]
fn a_stale_registry_is_asked_again_until_the_bound() {
    check(vec![
        (0, begin(&[]), "lookup"),
        (1, found(&["g2"]), "ask 1 g2"),
        (2, In(Input::Refused(1, refusal(Reason::ServiceUnknown))), ""),
        (60, Time, "begin"),
        (60, begin(&[]), "lookup"),
        (61, found(&[]), ""),
        (200, Time, "begin"),
        (200, begin(&["a"]), "ask 2 local a"),
        (201, In(Input::Ready(2)), "commit 2"),
        (202, In(Input::Opened(2)), "done 2"),
    ]);
    check(vec![
        (0, begin(&["a"]), "ask 1 local a"),
        (2, In(Input::Refused(1, refusal(Reason::AgentUnreachable))), "lookup"),
        (2, found(&[]), ""),
        (20_000, Time, "fail agent_unreachable"),
    ]);
}

#[test]
fn what_an_agent_itself_says_is_final_once_nobody_is_left() {
    check(vec![
        (0, begin(&["a"]), "ask 1 local a"),
        (0, In(Input::Ready(1)), "commit 1"),
        (1, In(Input::Broken(1, refusal(Reason::ServiceRefused))), "lookup"),
        (2, found(&["g2"]), "ask 2 g2"),
        (3, In(Input::Refused(2, refusal(Reason::AgentUnreachable))), "fail service_refused"),
    ]);
}

#[test]
fn a_winner_that_breaks_hands_the_turn_to_those_it_beat() {
    check(vec![
        (0, begin(&[]), "lookup"),
        (0, found(&["g2", "g3"]), "ask 1 g2"),
        (10, Time, "ask 2 g3"),
        (11, In(Input::Ready(2)), "abandon 1, commit 2"),
        (12, In(Input::Broken(2, refusal(Reason::AgentUnreachable))), "ask 3 g2"),
        (13, In(Input::Ready(3)), "commit 3"),
        (14, In(Input::Opened(3)), "done 3"),
    ]);
}

#[test]
fn overload_and_a_silent_agent_are_told_at_once() {
    for (reason, code) in
        [(Reason::Overloaded, "fail overloaded"), (Reason::TunnelTimeout, "fail tunnel_timeout")]
    {
        check(vec![
            (0, begin(&["a"]), "ask 1 local a"),
            (1, In(Input::Refused(1, refusal(reason))), "lookup"),
            (2, found(&[]), code),
        ]);
    }
}

#[test]
fn the_bound_holds_whatever_hangs() {
    check(vec![
        (0, begin(&["a"]), "ask 1 local a"),
        (50, Time, "lookup"),
        (20_000, Time, "abandon 1, fail agent_unreachable"),
    ]);
    check(vec![
        (0, begin(&["a"]), "ask 1 local a"),
        (1, In(Input::Ready(1)), "commit 1"),
        (20_000, Time, "abandon 1, fail agent_unreachable"),
    ]);
    check(vec![(20_000, Time, "fail service_unknown")]);
}

#[test]
fn while_a_holder_hangs_an_agent_that_has_moved_is_found() {
    check(vec![
        (0, begin(&[]), "lookup"),
        (1, found(&["hangs"]), "ask 1 hangs"),
        (11, Time, ""),
        (1_011, Time, "begin"),
        (1_011, begin(&[]), "lookup"),
        (1_012, found(&["hangs"]), ""),
        (2_012, Time, "begin"),
        (2_012, begin(&[]), "lookup"),
        (2_013, found(&["g2", "hangs"]), "ask 2 g2"),
        (2_014, In(Input::Refused(2, refusal(Reason::ServiceUnknown))), ""),
        (3_014, Time, "begin"),
        (3_014, begin(&["a"]), "ask 3 local a"),
        (3_015, In(Input::Ready(3)), "abandon 1, commit 3"),
        (3_016, In(Input::Opened(3)), "done 3"),
    ]);
    // Who hangs answers in the middle of a look.
    check(vec![
        (0, begin(&["a"]), "ask 1 local a"),
        (50, Time, "lookup"),
        (51, found(&[]), ""),
        (1_051, Time, "begin"),
        (1_051, In(Input::Ready(1)), "commit 1"),
        (1_051, begin(&["a"]), ""),
        (1_052, In(Input::Broken(1, refusal(Reason::ServiceRefused))), "lookup"),
        (1_053, found(&[]), "fail service_refused"),
    ]);
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(Reason::ALL)
}

type Answer = (u8, u64, Reason);

/// A world that answers each ask at random, late, or never, and checks what the route does.
struct World<A> {
    route: Route,
    now: Instant,
    answers: A,
    locals: usize,
    holders: usize,
    open: BTreeMap<AskId, Candidate>,
    committed: Option<AskId>,
    over: bool,
}

impl<A: Iterator<Item = Answer>> World<A> {
    fn answer(&mut self) -> Answer {
        self.answers.next().expect("a cycle")
    }

    fn perform(&mut self, output: &Output) {
        assert!(!self.over, "silent after the end");
        match *output {
            Output::Begin => {
                let names = (0..self.locals).map(|index| agent(&format!("a{index}"))).collect();
                self.route.handle(self.now, Input::Begin(names));
            }
            Output::Lookup => {
                let holders = (0..self.holders).map(|index| holder(&format!("g{index}"))).collect();
                match self.answer() {
                    (0, _, reason) => self.route.handle(self.now, Input::NotFound(refusal(reason))),
                    (1, ..) => {}
                    _ => self.route.handle(self.now, Input::Found(holders)),
                }
            }
            Output::Ask(ask, ref candidate) => {
                assert!(ask <= limits::ASKS_MAX as u64);
                assert_eq!(self.committed, None, "nobody is asked while one is committed");
                assert!(
                    self.open.values().all(|asked| asked != candidate),
                    "nobody is asked twice at a time"
                );
                assert_eq!(self.open.insert(ask, candidate.clone()), None, "an ask is new");
            }
            Output::Commit(ask) => {
                assert!(self.open.contains_key(&ask));
                assert_eq!(self.committed.replace(ask), None);
            }
            Output::Abandon(ask) => assert!(self.open.remove(&ask).is_some(), "an ask is abandoned once"),
            Output::Done(ask) => {
                assert_eq!(self.committed, Some(ask));
                assert!(self.open.keys().eq([&ask]), "the losers are abandoned");
                self.over = true;
            }
            Output::Fail(_) => {
                assert!(self.open.is_empty(), "everybody is abandoned");
                self.over = true;
            }
        }
    }

    /// Time passes, and somebody may say something.
    fn go_on(&mut self) {
        let (kind, wait_ms, reason) = self.answer();
        self.now += Duration::from_millis(wait_ms);
        match (self.committed, self.open.keys().next().copied(), kind) {
            (Some(ask), _, 0) => {
                self.committed = None;
                self.open.remove(&ask);
                self.route.handle(self.now, Input::Broken(ask, refusal(reason)));
            }
            (Some(ask), _, 1) => self.route.handle(self.now, Input::Opened(ask)),
            (None, Some(ask), 0) => self.route.handle(self.now, Input::Ready(ask)),
            (None, Some(ask), 1 | 2) => {
                self.open.remove(&ask);
                self.route.handle(self.now, Input::Refused(ask, refusal(reason)));
            }
            _ => {}
        }
        match self.route.poll_timeout() {
            Some(at) if at <= self.now => self.route.handle_timeout(self.now),
            Some(at) if kind == 5 => {
                self.now = at;
                self.route.handle_timeout(self.now);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn a_route_ends_once_and_commits_one_at_a_time(
        answers in prop::collection::vec((0_u8..6, 1_u64..400, reason()), 1..120),
        locals in 0_usize..4,
        holders in 0_usize..6,
        random in any::<u64>(),
    ) {
        let start = bowline_rt::time::now();
        let mut world = World {
            route: Route::new(RouteSettings::default(), start, random),
            now: start,
            answers: answers.into_iter().cycle(),
            locals,
            holders,
            open: BTreeMap::new(),
            committed: None,
            over: false,
        };
        while !world.over {
            while let Some(output) = world.route.poll_output() {
                world.perform(&output);
            }
            world.go_on();
            prop_assert!(world.now <= start + Duration::from_secs(21), "it ends by its deadline");
        }
        prop_assert_eq!(world.route.poll_output(), None);
        prop_assert_eq!(world.route.poll_timeout(), None);
    }
}
