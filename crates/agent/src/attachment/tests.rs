//! Tables and properties of the core: what it does is written down as one line of words per script.

use proptest::prelude::*;

use super::*;

const EPOCH: Epoch = Epoch::from_bits(1);
const OTHER: Epoch = Epoch::from_bits(2);

/// A core on a clock of its own. Targets are called A, B, … in the order in which they are first dialled, so that what is
/// written down does not depend on the seed.
struct Bench {
    core: Attachment,
    now: Instant,
    names: Vec<usize>,
    lines: Vec<String>,
}

impl Bench {
    fn new(targets: usize, wanted: usize, seed: u64) -> Self {
        let core = Attachment::new(EPOCH, targets, wanted, Limits::default(), seed);
        let mut bench = Self { core, now: bowline_rt::time::now(), names: Vec::new(), lines: Vec::new() };
        bench.handle(Input::Tick);
        bench
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input);
        while let Some(output) = self.core.poll_output() {
            let line = match output {
                Output::Dial { session, target } => format!("dial {session} {}", self.name(target)),
                Output::Leave { session } => format!("leave {session}"),
                Output::Close { session } => format!("close {session}"),
                Output::Tell(Notice::Attached { target, gateway }) => {
                    format!("attached {} {gateway}", self.name(target))
                }
                Output::Tell(Notice::Moving { target, .. }) => format!("moving {}", self.name(target)),
                Output::Tell(Notice::Lost { target, failures, .. }) => {
                    format!("lost {} {failures}", self.name(target))
                }
                Output::Tell(Notice::Refused { target, .. }) => format!("refused {}", self.name(target)),
                Output::Tell(Notice::IdTaken { target, .. }) => format!("taken {}", self.name(target)),
                Output::Tell(Notice::SameGateway { target, gateway, .. }) => {
                    format!("same {} {gateway}", self.name(target))
                }
            };
            self.lines.push(line);
        }
    }

    fn name(&mut self, target: usize) -> char {
        let index = self.names.iter().position(|known| *known == target).unwrap_or_else(|| {
            self.names.push(target);
            self.names.len() - 1
        });
        char::from(b'A' + u8::try_from(index).expect("few targets"))
    }

    /// One word of a script: see the tests.
    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        let session = || Generation(words[1].parse().expect("a generation"));
        let input = match words[0] {
            "welcome" => Input::Welcome { session: session(), gateway: words[2].parse().expect("a name") },
            "drain" => Input::Drain { session: session(), jitter: Duration::from_secs(1) },
            "superseded" => {
                Input::Superseded { session: session(), by: if words[2] == "own" { EPOCH } else { OTHER } }
            }
            "refused" => Input::Refused { session: session(), reason: "bad token".into() },
            "lost" => Input::Lost { session: session(), error: "reset".into() },
            "quiet" => Input::Quiet { session: session() },
            "stop" => Input::Stop,
            "next" => {
                self.now = self.core.poll_timeout().expect("a timer is set");
                Input::Tick
            }
            "wait" => {
                self.wait(Duration::from_secs(words[1].parse().expect("seconds")));
                Input::Tick
            }
            "idle" => {
                assert_eq!(self.core.poll_timeout(), None);
                return;
            }
            _ => panic!("unknown step {step}"),
        };
        self.handle(input);
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(timeout) = self.core.poll_timeout().filter(|timeout| *timeout <= end) {
            assert!(timeout > self.now, "a timer that is due was not dealt with");
            self.now = timeout;
            self.handle(Input::Tick);
        }
        self.now = end;
    }
}

/// Runs `script` with `targets` of which `wanted` are wanted, under many seeds, and compares what was to be done.
fn check(targets: usize, wanted: usize, script: &str, expected: &str) {
    for seed in 0..20 {
        let mut bench = Bench::new(targets, wanted, seed);
        for step in script.split(';').map(str::trim).filter(|step| !step.is_empty()) {
            bench.step(step);
        }
        assert_eq!(bench.lines.join("; "), expected, "seed {seed}, script {script}");
    }
}

#[test]
fn it_attaches_to_as_many_as_wanted() {
    check(1, 1, "welcome 1 g1; idle", "dial 1 A; attached A g1");
    check(3, 1, "welcome 1 g1; idle", "dial 1 A; attached A g1");
    check(3, 2, "welcome 1 g1; welcome 2 g2; idle", "dial 1 A; dial 2 B; attached A g1; attached B g2");
    check(2, 5, "welcome 2 g2; idle", "dial 1 A; dial 2 B; attached B g2");
}

#[test]
fn a_dead_gateway_is_replaced_at_once_by_another() {
    check(
        2,
        1,
        "welcome 1 g1; wait 60; lost 1; welcome 2 g2; wait 600; idle",
        "dial 1 A; attached A g1; lost A 1; dial 2 B; attached B g2",
    );
    // Nobody is left: the one whose back-off ends first.
    check(1, 1, "lost 1; next; lost 2; next", "dial 1 A; lost A 1; dial 2 A; lost A 2; dial 3 A");
}

#[test]
fn a_target_that_has_not_failed_comes_first() {
    check(
        3,
        1,
        "lost 1; welcome 2 g2; wait 60; lost 2",
        "dial 1 A; lost A 1; dial 2 B; attached B g2; lost B 1; dial 3 C",
    );
}

#[test]
fn when_the_last_gateway_is_lost_one_that_failed_before_is_tried_at_once() {
    for seed in 0..100 {
        let mut bench = Bench::new(2, 2, seed);
        bench.step("welcome 1 g1");
        // The other one is down for long, and just as it is back the first one dies.
        for session in 2..20 {
            bench.step(&format!("lost {session}"));
            bench.step("next");
        }
        bench.step("lost 20");
        let dialled = bench.lines.len();
        bench.step("lost 1");
        let lost_at = bench.now;
        while !bench.lines[dialled..].iter().any(|line| line == "dial 21 B" || line == "dial 22 B") {
            bench.step("next");
        }
        assert!(bench.now - lost_at <= Limits::default().backoff_min, "seed {seed}");
    }
}

#[test]
fn failures_are_forgotten_after_a_stable_session() {
    check(
        1,
        1,
        "lost 1; next; lost 2; next; welcome 3 g1; lost 3; next; welcome 4 g1; wait 25; lost 4",
        "dial 1 A; lost A 1; dial 2 A; lost A 2; dial 3 A; attached A g1; lost A 3; dial 4 A; attached A g1; lost A 1",
    );
}

#[test]
fn a_draining_gateway_is_left_after_the_next_one_is_there() {
    check(
        2,
        1,
        "welcome 1 g1; drain 1; next; welcome 2 g2; quiet 1; idle",
        "dial 1 A; attached A g1; moving A; dial 2 B; attached B g2; leave 1; close 1",
    );
    // Its streams do not end: the grace does.
    check(
        2,
        1,
        "welcome 1 g1; drain 1; next; welcome 2 g2; next; idle",
        "dial 1 A; attached A g1; moving A; dial 2 B; attached B g2; leave 1; close 1",
    );
    // It ends first: no reason to complain.
    check(
        2,
        1,
        "welcome 1 g1; drain 1; next; welcome 2 g2; lost 1; idle",
        "dial 1 A; attached A g1; moving A; dial 2 B; attached B g2; leave 1",
    );
}

#[test]
fn a_draining_gateway_is_better_than_none() {
    // The other one is down; the draining one is kept until it ends, and is tried again itself.
    check(
        2,
        1,
        "welcome 1 g1; drain 1; next; lost 2; next; lost 3",
        "dial 1 A; attached A g1; moving A; dial 2 B; lost B 1; dial 3 B; lost B 2",
    );
    check(
        1,
        1,
        "welcome 1 g1; drain 1; next; next; welcome 2 g9; quiet 1; idle",
        "dial 1 A; attached A g1; moving A; dial 2 A; attached A g9; leave 1; close 1",
    );
    // The same gateway again: the newer session is the one that counts there.
    check(
        1,
        1,
        "welcome 1 g1; drain 1; next; next; welcome 2 g1; idle",
        "dial 1 A; attached A g1; moving A; dial 2 A; close 1; attached A g1",
    );
}

#[test]
fn of_two_gateways_one_is_enough_to_leave_a_draining_one_if_there_is_no_third() {
    check(
        2,
        2,
        "welcome 1 g1; welcome 2 g2; drain 1; next; quiet 1",
        "dial 1 A; dial 2 B; attached A g1; attached B g2; moving A; leave 1; close 1",
    );
    check(
        3,
        2,
        "welcome 1 g1; welcome 2 g2; drain 1; next; welcome 3 g3; quiet 1; idle",
        "dial 1 A; dial 2 B; attached A g1; attached B g2; moving A; dial 3 C; attached C g3; leave 1; close 1",
    );
}

#[test]
fn two_addresses_of_one_gateway_count_as_one() {
    check(
        2,
        2,
        "welcome 1 g1; welcome 2 g1; superseded 1 own; wait 10",
        "dial 1 A; dial 2 B; attached A g1; close 1; same A g1; attached B g1",
    );
    // The newer one was first: the older one's login is refused as superseded by ourselves.
    check(2, 2, "welcome 2 g1; superseded 1 own; wait 10", "dial 1 A; dial 2 B; attached B g1");
}

#[test]
fn another_process_with_our_id_makes_us_wait() {
    check(
        1,
        1,
        "welcome 1 g1; superseded 1 other; wait 29; wait 32",
        "dial 1 A; attached A g1; taken A; dial 2 A",
    );
    let mut bench = Bench::new(2, 1, 1);
    bench.step("superseded 1 other");
    assert!(bench.core.poll_timeout().is_some_and(|at| at >= bench.now + Limits::default().id_taken_hold));
    let errors: Vec<_> = bench.core.view().into_iter().filter_map(|view| view.last_error).collect();
    assert!(errors[0].contains(&OTHER.to_string()), "{errors:?}");
}

#[test]
fn a_refused_login_is_tried_again_slowly_and_others_at_once() {
    check(2, 1, "refused 1; refused 2", "dial 1 A; refused A; dial 2 B; refused B");
    let mut bench = Bench::new(1, 1, 1);
    for session in 1..12 {
        bench.step(&format!("refused {session}"));
        let wait = bench.core.poll_timeout().expect("it keeps trying") - bench.now;
        assert!(wait <= Duration::from_secs(30) && wait >= Duration::from_millis(500), "{wait:?}");
        assert!(session < 6 || wait >= Duration::from_secs(15), "{wait:?}");
        bench.step("next");
    }
}

#[test]
fn a_stop_leaves_everybody_and_dials_nobody() {
    check(2, 1, "stop; wait 100; idle", "dial 1 A; close 1");
    check(
        3,
        2,
        "welcome 1 g1; stop; quiet 1; wait 100; idle",
        "dial 1 A; dial 2 B; attached A g1; close 2; leave 1; close 1",
    );
    check(
        1,
        1,
        "welcome 1 g1; drain 1; next; stop; wait 9; wait 1; idle",
        "dial 1 A; attached A g1; moving A; leave 1; close 1",
    );
    check(1, 1, "welcome 1 g1; stop; lost 1; idle", "dial 1 A; attached A g1; leave 1");
}

#[test]
fn late_words_about_a_session_that_is_gone_change_nothing() {
    check(
        2,
        1,
        "lost 1; welcome 1 g1; drain 1; superseded 1 other; refused 1; quiet 1; lost 1; welcome 7 g1; welcome 2 g2; idle",
        "dial 1 A; lost A 1; dial 2 B; attached B g2",
    );
}

#[test]
fn the_view_tells_how_each_target_stands() {
    let mut bench = Bench::new(2, 1, 3);
    bench.step("lost 1");
    bench.step("welcome 2 g2");
    let (first, second) = (bench.names[0], bench.names[1]);
    let view = bench.core.view();
    let lost = TargetView { state: State::Detached, gateway: None, last_error: Some("reset".into()) };
    assert_eq!(view[first], lost);
    let gateway = Some("g2".parse().expect("a name"));
    assert_eq!(view[second], TargetView { state: State::Attached, gateway, last_error: None });
}

#[test]
fn the_first_choice_is_spread_over_the_list() {
    let mut chosen = [0; 4];
    for seed in 0..400 {
        let bench = Bench::new(4, 1, seed);
        chosen[bench.names[0]] += 1;
    }
    assert!(chosen.iter().all(|count| *count > 60), "{chosen:?}");
}

/// What a world may do to the core in a property test.
#[derive(Debug, Clone)]
enum Event {
    /// Of the sessions that are there the one with this index (modulo their number).
    Session(usize, SessionEvent),
    Wait(u64),
    Stop,
}

#[derive(Debug, Clone)]
enum SessionEvent {
    Welcome(u8),
    Drain(u64),
    Superseded(bool),
    Refused,
    Lost,
    Quiet,
}

fn event() -> impl Strategy<Value = Event> {
    let session_event = prop_oneof![
        6 => (0..4_u8).prop_map(SessionEvent::Welcome),
        2 => (0..100_000_u64).prop_map(SessionEvent::Drain),
        1 => any::<bool>().prop_map(SessionEvent::Superseded),
        1 => Just(SessionEvent::Refused),
        3 => Just(SessionEvent::Lost),
        2 => Just(SessionEvent::Quiet),
    ];
    prop_oneof![
        20 => (any::<usize>(), session_event).prop_map(|(index, event)| Event::Session(index, event)),
        10 => (0..40_000_u64).prop_map(Event::Wait),
        1 => Just(Event::Stop),
    ]
}

/// What a shell may count on, kept by following the outputs alone.
#[derive(Default)]
struct Model {
    /// Sessions that were begun and have not ended: the target, whether welcomed, whether told to move or left.
    open: BTreeMap<Generation, (usize, bool, bool)>,
    last: Generation,
    stopped: bool,
}

impl Model {
    fn follow(&mut self, output: &Output, wanted: usize) -> Result<(), TestCaseError> {
        match output {
            Output::Dial { session, target } => {
                prop_assert!(!self.stopped, "a dial after the stop");
                prop_assert!(*session > self.last, "generations only grow");
                self.last = *session;
                let kept = self.open.values().filter(|(_, _, going)| !going);
                prop_assert!(kept.clone().all(|(known, ..)| known != target), "two sessions at one target");
                prop_assert!(kept.count() < wanted, "more sessions than wanted");
                self.open.insert(*session, (*target, false, false));
            }
            Output::Leave { session } => {
                let left = self.open.get_mut(session);
                prop_assert!(left.is_some(), "left without having been there");
                left.expect("just checked").2 = true;
                let others = self.open.values().any(|(_, welcomed, going)| *welcomed && !going);
                prop_assert!(self.stopped || others, "left before another one was there");
            }
            Output::Close { session } => {
                prop_assert!(self.open.remove(session).is_some(), "closed twice");
            }
            Output::Tell(_) => {}
        }
        Ok(())
    }
}

fn input_for(session: Generation, event: &SessionEvent) -> Input {
    match event {
        SessionEvent::Welcome(gateway) => {
            Input::Welcome { session, gateway: format!("g{gateway}").parse().expect("a name") }
        }
        SessionEvent::Drain(jitter_ms) => Input::Drain { session, jitter: Duration::from_millis(*jitter_ms) },
        SessionEvent::Superseded(own) => Input::Superseded { session, by: if *own { EPOCH } else { OTHER } },
        SessionEvent::Refused => Input::Refused { session, reason: String::new() },
        SessionEvent::Lost => Input::Lost { session, error: String::new() },
        SessionEvent::Quiet => Input::Quiet { session },
    }
}

proptest! {
    #[test]
    fn its_promises_hold_in_any_world(
        targets in 1_usize..5,
        wanted in 1_usize..4,
        seed: u64,
        events in prop::collection::vec(event(), 0..80),
    ) {
        let mut core = Attachment::new(EPOCH, targets, wanted, Limits::default(), seed);
        let mut now = bowline_rt::time::now();
        let mut model = Model::default();
        let wanted = wanted.min(targets);
        for event in std::iter::once(Event::Wait(0)).chain(events) {
            let input = match event {
                Event::Stop => { model.stopped = true; Input::Stop }
                Event::Wait(wait_ms) => { now += Duration::from_millis(wait_ms); Input::Tick }
                Event::Session(index, event) => {
                    let Some(session) = model.open.keys().nth(index % model.open.len().max(1)).copied() else { continue };
                    let entry = model.open.get_mut(&session).expect("it is there");
                    match event {
                        // A gateway speaks in order: first the welcome, then the rest.
                        SessionEvent::Welcome(_) if !entry.1 => entry.1 = true,
                        SessionEvent::Drain(_) if entry.1 => entry.2 = true,
                        SessionEvent::Superseded(_) | SessionEvent::Refused | SessionEvent::Lost => {
                            model.open.remove(&session);
                        }
                        SessionEvent::Quiet => {}
                        SessionEvent::Welcome(_) | SessionEvent::Drain(_) => continue,
                    }
                    input_for(session, &event)
                }
            };
            core.handle(now, input);
            while let Some(output) = core.poll_output() {
                model.follow(&output, wanted)?;
            }
            prop_assert!(core.poll_timeout().is_none_or(|at| at > now), "a timer that is due was not dealt with");
            prop_assert!(core.poll_timeout().is_none_or(|at| at <= now + Duration::from_secs(60)), "a wait too long");
            // Never stuck: with too few sessions a timer is set.
            let kept = model.open.values().filter(|(_, _, going)| !going).count();
            prop_assert!(model.stopped || kept >= wanted || core.poll_timeout().is_some(), "nothing will ever happen");
            prop_assert!(core.is_over() == (model.stopped && model.open.is_empty()));
        }
    }
}
