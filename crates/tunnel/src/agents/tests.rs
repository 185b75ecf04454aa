//! Who is attached, what it offers, and what the registry heard: examples, and a model under random histories.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::directory::{GatewayEntry, Holder, LookupError, Target};

/// Notes what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Told for Notes {
    fn told(&self, agent: &AgentId, services: Option<usize>) -> Result<(), PublishError> {
        let (note, result) = match services {
            Some(services @ 0..3) => (format!("+{agent} {services}"), Ok(())),
            Some(services) => (format!("+{agent} {services}"), Err(PublishError::ShutDown)),
            None => (format!("-{agent}"), Ok(())),
        };
        lock(&self.0).push(note);
        result
    }
}

/// A registry that only listens.
trait Told: Send + Sync + 'static {
    /// Hears of an agent: what it offers, or that it is gone.
    fn told(&self, agent: &AgentId, services: Option<usize>) -> Result<(), PublishError>;
}

impl<T: Told> Directory for T {
    fn publish(&self, agent: &AgentId, services: &[ServiceName]) -> Result<(), PublishError> {
        self.told(agent, Some(services.len()))
    }
    fn withdraw(&self, agent: &AgentId) {
        self.told(agent, None).expect("a withdrawal cannot fail");
    }
    fn lookup<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<Arc<[Holder]>, LookupError>> {
        Box::pin(async { Ok(Arc::from([])) })
    }
    fn suspect(&self, _: &Target, _: &bowline_model::GatewayId) {}
    fn gateways(&self) -> BoxFuture<'_, Result<Vec<GatewayEntry>, LookupError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn pending(&self) -> usize {
        0
    }
    fn store_up(&self) -> bool {
        true
    }
    fn shut_down(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn agents(notes: Arc<dyn Directory>, agents_max: usize) -> Agents {
    let name = |text: &str| text.parse().expect("a name");
    let zone = "z".parse().expect("a name");
    let settings = Settings { agents_max, ..Settings::new(name("g"), Epoch::from_bits(1), zone) };
    Agents::new(notes, &settings)
}

fn login(agent: &str, epoch: u128, generation: u64, services: &[&str]) -> Login {
    Login {
        agent: agent.parse().expect("a name"),
        epoch: Epoch::from_bits(epoch),
        generation,
        services: services.iter().map(|name| name.parse().expect("a name")).collect(),
        version: "test".into(),
        remote: ([127, 0, 0, 1], 1).into(),
        by_certificate: false,
    }
}

fn names(sessions: &[Arc<Session>]) -> Vec<(String, u64)> {
    sessions.iter().map(|session| (session.login.agent.to_string(), session.serial)).collect()
}

#[tokio::test]
async fn a_new_login_takes_over_at_once_and_the_late_end_of_the_old_one_changes_nothing() {
    let notes = Arc::new(Notes::default());
    let agents = agents(notes.clone(), 2);
    let web = "web".parse().expect("a name");
    let (old, superseded) = agents.attach(login("a", 1, 5, &["web"])).expect("room");
    assert!(!superseded);
    let (new, superseded) = agents.attach(login("a", 2, 0, &["web", "db"])).expect("room");
    assert!(superseded);
    assert_eq!(old.ended().await, End::Superseded(Epoch::from_bits(2)));
    assert_eq!(names(&agents.offering(&web, None)), [("a".into(), 2)]);
    let from = new.login.remote.ip();
    assert!(agents.any_from(from) && !agents.any_from(std::net::Ipv4Addr::new(192, 0, 2, 9).into()));
    agents.detach(&old);
    assert!(agents.any_from(from));
    agents.offer(&old, Vec::new()).expect("nothing happens");
    assert_eq!(agents.len(), 1);
    assert!(agents.session(old.serial).is_none());
    agents.offer(&new, vec!["db".parse().expect("a name")]).expect("room");
    assert!(agents.offering(&web, None).is_empty());
    agents.detach(&new);
    agents.detach(&new);
    assert!(!agents.any_from(from));
    assert_eq!(*lock(&notes.0), ["+a 1", "+a 2", "+a 1", "-a"]);
}

#[tokio::test]
async fn within_one_incarnation_the_generation_decides_and_the_table_is_bounded() {
    let agents = agents(Arc::new(Notes::default()), 1);
    agents.attach(login("a", 1, 5, &[])).expect("room");
    assert!(matches!(agents.attach(login("a", 1, 4, &[])), Err(AttachError::Stale)));
    agents.attach(login("a", 1, 6, &[])).expect("newer");
    assert!(matches!(agents.attach(login("b", 1, 0, &[])), Err(AttachError::TooMany(1))));
}

#[tokio::test]
async fn an_agent_that_cannot_be_published_is_not_attached() {
    let agents = agents(Arc::new(Notes::default()), 9);
    let refused = agents.attach(login("a", 1, 0, &["x", "y", "z"]));
    assert!(matches!(refused, Err(AttachError::Unpublished(_))));
    assert_eq!(agents.len(), 0);
    assert!(agents.offering(&"x".parse().expect("a name"), None).is_empty());
}

#[tokio::test]
async fn a_named_agent_is_the_only_one_that_is_offered() {
    let agents = agents(Arc::new(Notes::default()), 100);
    for index in 0..20 {
        agents.attach(login(&format!("a{index}"), 1, 0, &["web"])).expect("room");
    }
    let web = "web".parse().expect("a name");
    assert_eq!(agents.offering(&web, None).len(), limits::LOCAL_AGENTS_ASKED_MAX);
    let seven: AgentId = "a7".parse().expect("a name");
    assert_eq!(names(&agents.offering(&web, Some(&seven))), [("a7".into(), 8)]);
    assert!(agents.offering(&"db".parse().expect("a name"), Some(&seven)).is_empty());
}
#[derive(Debug, Clone)]
enum Step {
    Attach { agent: usize, epoch: u128, generation: u64, services: u8 },
    Offer { session: usize, services: u8 },
    Detach { session: usize },
}

const AGENTS: [&str; 3] = ["a", "b", "c"];
const SERVICES: [&str; 3] = ["x", "y", "z"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, 0..3_u128, 0..3_u64, 0..8_u8).prop_map(|(agent, epoch, generation, services)| {
            Step::Attach { agent, epoch, generation, services }
        }),
        2 => (any::<usize>(), 0..8_u8).prop_map(|(session, services)| Step::Offer { session, services }),
        2 => any::<usize>().prop_map(|session| Step::Detach { session }),
    ]
}

/// The services whose bits are set.
fn chosen(services: u8) -> Vec<&'static str> {
    (0..3).filter(|bit| services & (1 << bit) != 0).map(|bit| SERVICES[bit]).collect()
}

/// What should be: for each attached agent the serial of its session, its login's place in time, and what it offers.
type Model = BTreeMap<&'static str, (u64, (u128, u64), BTreeSet<&'static str>)>;

fn check(agents: &Agents, heard: &Heard, model: &Model) {
    let expected: BTreeMap<String, usize> =
        model.iter().map(|(agent, (.., services))| ((*agent).to_owned(), services.len())).collect();
    assert_eq!(*lock(&heard.0), expected, "the registry knows who is attached, and nobody else");
    for service in SERVICES {
        let offering = names(&agents.offering(&service.parse().expect("a name"), None));
        let offering: BTreeSet<u64> = offering.into_iter().map(|(_, serial)| serial).collect();
        let offers = |(serial, _, services): &(u64, (u128, u64), BTreeSet<&str>)| {
            services.contains(service).then_some(*serial)
        };
        assert_eq!(offering, model.values().filter_map(offers).collect());
    }
    assert_eq!(agents.len(), model.len());
}

/// Keeps what it was told last.
#[derive(Default)]
struct Heard(Mutex<BTreeMap<String, usize>>);

impl Told for Heard {
    fn told(&self, agent: &AgentId, services: Option<usize>) -> Result<(), PublishError> {
        match services {
            Some(services) => drop(lock(&self.0).insert(agent.to_string(), services)),
            None => {
                assert!(lock(&self.0).remove(agent.as_str()).is_some(), "only what is there is withdrawn")
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_registry_hears_what_is_true_in_the_order_in_which_it_became_true(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let heard = Arc::new(Heard::default());
        let agents = agents(heard.clone(), 100);
        let mut model = Model::new();
        let mut sessions: Vec<Arc<Session>> = Vec::new();
        for step in steps {
            match step {
                Step::Attach { agent, epoch, generation, services } => {
                    let agent = AGENTS[agent];
                    let stale = model.get(agent).is_some_and(|(_, old, _)| old.0 == epoch && generation < old.1);
                    match agents.attach(login(agent, epoch, generation, &chosen(services))) {
                        Ok((session, superseded)) => {
                            prop_assert!(!stale);
                            let services = chosen(services).into_iter().collect();
                            let old = model.insert(agent, (session.serial, (epoch, generation), services));
                            prop_assert_eq!(old.is_some(), superseded);
                            sessions.push(session);
                        }
                        Err(_) => prop_assert!(stale),
                    }
                }
                Step::Offer { session, services } if !sessions.is_empty() => {
                    let session = &sessions[session % sessions.len()];
                    let list = chosen(services).iter().map(|name| name.parse().expect("a name")).collect();
                    agents.offer(session, list).expect("room");
                    if let Some(current) = model.get_mut(session.login.agent.as_str())
                        && current.0 == session.serial
                    {
                        current.2 = chosen(services).into_iter().collect();
                    }
                }
                Step::Detach { session } if !sessions.is_empty() => {
                    let session = &sessions[session % sessions.len()];
                    agents.detach(session);
                    let agent = session.login.agent.as_str();
                    if model.get(agent).is_some_and(|current| current.0 == session.serial) {
                        model.remove(agent);
                    }
                }
                Step::Offer { .. } | Step::Detach { .. } => {}
            }
            check(&agents, &heard, &model);
        }
    }
}
