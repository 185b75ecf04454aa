//! Several gateways over one store that stops, vanishes, forgets, reconnects, sets its clock forward and fails over to a replica that
//! lags behind, while agents come, go and move and gateways are restarted. Then everything works, and the store has to hold the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bowline_model::{AgentId, ServiceName};
use bowline_rt::time;

use crate::fake::{Connection, Draw, FakeStore, Model, Mood};
use crate::limits::TTL;
use crate::{Registry, Settings};

const GATEWAYS: u64 = 3;
const AGENTS: u64 = 4;
const STEPS: usize = 150;

struct Chaos {
    draw: Draw,
    store: Arc<FakeStore>,
    gateways: Vec<Registry>,
    /// Truth: the services of each agent on each gateway.
    truth: BTreeMap<(u64, u64), BTreeSet<&'static str>>,
    /// The store forgot something and no connection broke since.
    forgot_silently: bool,
    /// The store lost claims: that of a gateway that was killed may land now, and it takes a while to see that it is dead.
    lost_claims: bool,
    /// What a replica has heard of.
    replica: Model,
}

fn start(store: &Arc<FakeStore>, number: u64) -> Registry {
    let gateway = format!("g{number}").parse().expect("a name");
    let settings = Settings::new(gateway, "z1".parse().expect("a name"), "h:1").expect("an address");
    Registry::over(settings, Arc::new(Connection(Arc::clone(store))))
}

fn agent(number: u64) -> AgentId {
    format!("a{number}").parse().expect("a name")
}

impl Chaos {
    async fn step(&mut self) {
        let gateway = self.draw.below(GATEWAYS);
        let registry = self.gateways[usize::try_from(gateway).expect("small")].clone();
        let number = self.draw.below(AGENTS);
        match self.draw.below(20) {
            0..6 => {
                let all = ["web", "db"];
                let services: BTreeSet<&str> = all.into_iter().filter(|_| self.draw.below(2) == 0).collect();
                let names: Vec<ServiceName> =
                    services.iter().map(|name| name.parse().expect("a name")).collect();
                registry.publish(&agent(number), &names).expect("room");
                self.truth.insert((gateway, number), services);
            }
            6..11 => {
                registry.withdraw(&agent(number));
                self.truth.remove(&(gateway, number));
            }
            11 => self.store.set_mood(Mood::Stopped),
            12 => self.store.set_mood(Mood::Gone),
            13 | 14 => self.store.set_mood(Mood::Well),
            15 => self.store.reconnect(),
            16 if self.draw.below(3) == 0 => {
                self.store.flush();
                self.forgot_silently = true;
            }
            17 if self.draw.below(2) == 0 => {
                // It is killed, not shut down.
                registry.publisher_for_tests().stop.send_replace(true);
                self.gateways[usize::try_from(gateway).expect("small")] = start(&self.store, gateway);
                self.truth.retain(|(holder, _), _| *holder != gateway);
            }
            18 => match self.draw.below(5) {
                0 => {
                    // Leases pass, which is as good as forgetting.
                    self.store.step_clock(40_000);
                    self.forgot_silently = true;
                }
                1 => {
                    self.store.fail_over(std::mem::take(&mut self.replica));
                    self.lost_claims = true;
                }
                _ => self.replica = self.store.snapshot(),
            },
            _ => time::sleep(Duration::from_millis(self.draw.below(2_500))).await,
        }
    }

    /// The fields that should be in a hash.
    fn expected(&self, wanted: impl Fn(u64, &BTreeSet<&str>) -> bool) -> Vec<String> {
        let listed = self.truth.iter().filter(|((_, agent), services)| wanted(*agent, services));
        listed.map(|((gateway, agent), _)| format!("g{gateway}/a{agent}")).collect()
    }

    fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |key: String, expected: Vec<String>| {
            let stored = self.store.fields(&key);
            if stored != expected {
                differences.push(format!("{key} holds {stored:?}, not {expected:?}"));
            }
        };
        for number in 0..AGENTS {
            compare(format!("bowline:{{agent:a{number}}}"), self.expected(|agent, _| agent == number));
        }
        for service in ["web", "db"] {
            let expected = self.expected(|_, services| services.contains(service));
            compare(format!("bowline:{{service:{service}}}"), expected);
        }
        compare("bowline:{gateways}".to_owned(), (0..GATEWAYS).map(|number| format!("g{number}")).collect());
        differences
    }

    /// What should be there and is not.
    fn is_missing_something(&self) -> bool {
        let missing = |key: String, expected: Vec<String>| {
            let stored = self.store.fields(&key);
            expected.iter().any(|field| !stored.contains(field))
        };
        (0..AGENTS).any(|number| {
            missing(format!("bowline:{{agent:a{number}}}"), self.expected(|agent, _| agent == number))
        })
    }
}

async fn run(seed: u64) {
    let store = FakeStore::start();
    let gateways = (0..GATEWAYS).map(|number| start(&store, number)).collect();
    let (truth, replica) = (BTreeMap::new(), Model::default());
    let mut chaos = Chaos {
        draw: Draw(seed),
        store,
        gateways,
        truth,
        forgot_silently: false,
        lost_claims: false,
        replica,
    };
    for _ in 0..STEPS {
        chaos.step().await;
    }
    chaos.store.set_mood(Mood::Well);
    // What was registered is there within a second, or within an audit if the store forgot it without a sign.
    time::sleep(match (chaos.forgot_silently, chaos.lost_claims) {
        (true, _) => TTL / 3 + Duration::from_secs(1),
        (false, true) => Duration::from_secs(5),
        (false, false) => Duration::from_secs(1),
    })
    .await;
    assert!(!chaos.is_missing_something(), "INV-REG-CONVERGE, seed {seed}: {:#?}", chaos.differences());
    // What a killed gateway left behind is gone after its lease.
    time::sleep(TTL + Duration::from_secs(5)).await;
    assert_eq!(chaos.differences(), Vec::<String>::new(), "INV-REG-CONVERGE and INV-REG-FORGET, seed {seed}");
    for gateway in &chaos.gateways {
        assert!(gateway.store_up() && gateway.pending() == 0 && !gateway.superseded(), "seed {seed}");
        gateway.publisher_for_tests().stop.send_replace(true);
    }
}

/// The steps come from the seed; the jitter of the registries does not.
#[tokio::test(start_paused = true)]
async fn after_any_chaos_the_store_holds_the_truth() {
    for seed in 0..SEEDS {
        run(seed).await;
    }
}

const SEEDS: u64 = 100;
