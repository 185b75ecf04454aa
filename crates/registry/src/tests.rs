//! The registry as its users see it, over a store in memory, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use bowline_model::{AgentId, ServiceName};
use bowline_rt::time;

use crate::fake::{Connection, FakeStore, Mood};
use crate::limits::TTL;
use crate::{LookupError, PublishError, Registry, Settings, Target};

pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

pub(crate) fn registry(store: &Arc<FakeStore>, gateway: &str) -> Registry {
    let settings =
        Settings::new(name(gateway), name("z1"), &format!("{gateway}.example:7003")).expect("an address");
    Registry::over(settings, Arc::new(Connection(Arc::clone(store))))
}

pub(crate) fn agent(number: usize) -> AgentId {
    name(&format!("a{number}"))
}

pub(crate) fn web() -> [ServiceName; 1] {
    [name("web")]
}

/// Waits until `holds`, at most for `limit`; returns how long that took.
pub(crate) async fn within(limit: Duration, what: &str, holds: impl Fn() -> bool) -> Duration {
    let start = time::now();
    while !holds() {
        assert!(time::now() - start < limit, "not within {limit:?}: {what}");
        time::sleep(Duration::from_millis(1)).await;
    }
    time::now() - start
}

pub(crate) async fn quiet(registry: &Registry) {
    within(Duration::from_secs(1), "everything is written", || registry.pending() == 0).await;
}

async fn gateways_of(registry: &Registry, target: &Target) -> Vec<String> {
    let holders = registry.lookup(target).await.expect("the store answers");
    holders.iter().map(|holder| holder.gateway.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_one_gateway_publishes_another_finds() {
    let store = FakeStore::start();
    let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
    one.publish(&agent(1), &web()).expect("room");
    quiet(&one).await;
    let holders = two.lookup(&Target::Service(name("web"))).await.expect("the store answers");
    assert_eq!(holders.len(), 1);
    assert_eq!((holders[0].agent.as_str(), holders[0].peer_address.as_str()), ("a1", "g1.example:7003"));
    assert_eq!((holders[0].zone.as_str(), holders[0].epoch), ("z1", one.epoch()));
    assert_eq!(gateways_of(&two, &Target::Agent(agent(1))).await, ["g1"]);
    quiet(&two).await;
    let gateways = two.gateways().await.expect("the store answers");
    assert_eq!(gateways.iter().map(|entry| entry.gateway.as_str()).collect::<Vec<_>>(), ["g1", "g2"]);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_lingers_and_a_flap_costs_no_write() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &web()).expect("room");
    quiet(&registry).await;
    let writes = store.writes();
    for _ in 0..50 {
        registry.withdraw(&agent(1));
        time::sleep(Duration::from_millis(20)).await;
        registry.publish(&agent(1), &web()).expect("room");
    }
    assert_eq!(store.writes(), writes);
    registry.withdraw(&agent(1));
    let gone =
        within(Duration::from_secs(4), "it is withdrawn", || store.fields("bowline:{agent:a1}").is_empty())
            .await;
    assert!(gone >= Duration::from_secs(3), "the linger is 3 s, not {gone:?}");
    assert!(store.fields("bowline:{service:web}").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_list_of_services_replaces_the_old_one() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &[name("web"), name("db")]).expect("room");
    quiet(&registry).await;
    registry.publish(&agent(1), &[name("db"), name("mail")]).expect("room");
    time::sleep(Duration::from_secs(4)).await;
    assert!(store.fields("bowline:{service:web}").is_empty());
    assert_eq!(store.fields("bowline:{service:db}"), ["g1/a1"]);
    assert_eq!(store.fields("bowline:{service:mail}"), ["g1/a1"]);
}

#[tokio::test(start_paused = true)]
async fn entries_live_as_long_as_their_gateway_and_a_lease_longer() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &web()).expect("room");
    for _ in 0..120 {
        time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.fields("bowline:{agent:a1}"), ["g1/a1"]);
    }
    // It dies without a word.
    registry.publisher_for_tests().stop.send_replace(true);
    let limit = Duration::from_secs(31);
    let gone = within(limit, "INV-REG-FORGET", || store.fields("bowline:{agent:a1}").is_empty()).await;
    assert!(gone > Duration::from_secs(15), "it was renewed to the end: {gone:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_published_while_the_store_is_gone_is_there_within_a_second_of_its_return() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(0), &web()).expect("room");
    quiet(&registry).await;
    store.set_mood(Mood::Gone);
    time::sleep(Duration::from_secs(60)).await;
    for number in 1..500 {
        registry.publish(&agent(number), &web()).expect("room");
    }
    registry.withdraw(&agent(0));
    time::sleep(Duration::from_secs(60)).await;
    assert!(!registry.store_up());
    store.flush();
    store.set_mood(Mood::Well);
    within(Duration::from_secs(1), "INV-REG-CONVERGE", || {
        (1..500).all(|number| store.fields(&format!("bowline:{{agent:a{number}}}")).len() == 1)
    })
    .await;
    assert!(store.fields("bowline:{agent:a0}").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_store_delays_nobody_and_its_late_writes_do_no_harm() {
    let store = FakeStore::start();
    let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
    one.publish(&agent(1), &web()).expect("room");
    quiet(&one).await;
    let target = Target::Agent(agent(1));
    assert_eq!(gateways_of(&two, &target).await, ["g1"]);
    store.set_mood(Mood::Stopped);
    for number in 2..50 {
        one.publish(&agent(number), &web()).expect("room");
    }
    for _ in 0..100 {
        time::sleep(Duration::from_millis(100)).await;
        let asked = time::now();
        assert_eq!(gateways_of(&two, &target).await, ["g1"]);
        assert_eq!(time::now(), asked, "a known route is served without waiting");
    }
    store.set_mood(Mood::Well);
    within(Duration::from_secs(1), "INV-REG-CONVERGE", || {
        (1..50).all(|number| store.fields(&format!("bowline:{{agent:a{number}}}")).len() == 1)
    })
    .await;
}

/// However long others have asked for it in vain, and whenever the store comes back between two of their questions.
#[tokio::test(start_paused = true)]
async fn what_is_registered_while_the_store_is_stopped_is_found_within_a_second_by_those_who_kept_asking() {
    let target = Target::Agent(agent(7));
    for stopped_ms in (9_000..12_000).step_by(130) {
        let store = FakeStore::start();
        let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
        quiet(&one).await;
        let asking = {
            let (two, target) = (two.clone(), target.clone());
            bowline_rt::task::spawn("asking", async move {
                while two.lookup(&target).await.map_or(true, |holders| holders.is_empty()) {
                    time::sleep(Duration::from_millis(10)).await;
                }
                time::now()
            })
        };
        time::sleep(Duration::from_millis(3_000)).await;
        store.set_mood(Mood::Stopped);
        one.publish(&agent(7), &[]).expect("room");
        time::sleep(Duration::from_millis(stopped_ms)).await;
        store.set_mood(Mood::Well);
        let back = time::now();
        let took = asking.await.expect("no panic") - back;
        assert!(took < Duration::from_secs(1), "INV-REG-CONVERGE: {took:?} after {stopped_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_changes_of_an_outage_are_written_within_a_second() {
    let store = FakeStore::start_with_latency(Duration::from_millis(20));
    let registry = registry(&store, "g1");
    for number in 0..5_000 {
        registry.publish(&agent(number), &[]).expect("room");
    }
    quiet(&registry).await;
    store.set_mood(Mood::Gone);
    time::sleep(Duration::from_secs(10)).await;
    for number in 0..5_000 {
        registry.withdraw(&agent(number));
        registry.publish(&agent(number + 5_000), &[]).expect("room");
    }
    time::sleep(Duration::from_secs(10)).await;
    store.set_mood(Mood::Well);
    let has = |number| !store.fields(&format!("bowline:{{agent:a{number}}}")).is_empty();
    let took = within(Duration::from_secs(1), "INV-REG-CONVERGE", || registry.pending() == 0).await;
    assert!((0..10_000).all(|number| has(number) == (number >= 5_000)), "after {took:?}");
}

/// The last change waits for the write that is on its way and then takes one of its own.
#[tokio::test(start_paused = true)]
async fn a_change_is_in_the_store_one_write_later() {
    let latency = Duration::from_millis(40);
    let store = FakeStore::start_with_latency(latency);
    let registry = registry(&store, "g1");
    quiet(&registry).await;
    for before_ms in [0, 1, 20, 39, 41, 300] {
        let number = before_ms + 1;
        registry.publish(&agent(number), &[]).expect("room");
        time::sleep(Duration::from_millis(u64::try_from(before_ms).expect("small"))).await;
        registry.publish(&agent(number), &web()).expect("room");
        let field = format!("g1/a{number}");
        let is_there = || store.fields("bowline:{service:web}").contains(&field);
        within(latency + Duration::from_millis(5), "INV-REG-CONVERGE", is_there).await;
        within(latency + Duration::from_millis(5), "it is acknowledged", || registry.pending() == 0).await;
    }
}

/// Nobody looks the agent up: its other gateway's renewals are all that touches the hash.
#[tokio::test(start_paused = true)]
async fn what_a_dead_gateway_left_is_removed_although_nobody_reads_it() {
    let store = FakeStore::start();
    let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
    for registry in [&one, &two] {
        registry.publish(&agent(1), &web()).expect("room");
        quiet(registry).await;
    }
    one.publisher_for_tests().stop.send_replace(true);
    time::sleep(TTL + TTL / 3 + Duration::from_secs(1)).await;
    for key in ["bowline:{agent:a1}", "bowline:{service:web}"] {
        assert_eq!(store.all_fields(key), ["g2/a1"], "INV-REG-FORGET");
    }
    assert_eq!(store.all_fields("bowline:{gateways}"), ["g2"], "INV-REG-FORGET");
}

/// Agents with new names come and go: the tombstones of removals go as well, although nobody reads them.
#[tokio::test(start_paused = true)]
async fn the_tombstones_of_many_removals_do_not_gather() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    for number in 0..400 {
        registry.publish(&agent(number), &web()).expect("room");
        time::sleep(Duration::from_millis(500)).await;
        registry.withdraw(&agent(number));
    }
    let fields = store.all_fields("bowline:{service:web}").len();
    assert!(fields <= 100, "INV-REG-FORGET: {fields}");
}

#[tokio::test(start_paused = true)]
async fn a_flushed_store_is_repaired_by_the_audit_and_counted() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &web()).expect("room");
    time::sleep(Duration::from_secs(3)).await;
    store.flush();
    within(Duration::from_secs(11), "INV-REG-REPAIR", || {
        !store.fields("bowline:{agent:a1}").is_empty()
            && !store.fields("bowline:{service:web}").is_empty()
            && !store.fields("bowline:{gateways}").is_empty()
    })
    .await;
    quiet(&registry).await;
    assert_eq!(registry.publisher_for_tests().counters().drift.missing, 3);
}

#[tokio::test(start_paused = true)]
async fn routes_survive_a_flushed_store() {
    let store = FakeStore::start();
    let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
    one.publish(&agent(1), &web()).expect("room");
    quiet(&one).await;
    let target = Target::Service(name("web"));
    for tenth in 0..300 {
        if tenth == 50 {
            store.flush();
        }
        assert_eq!(gateways_of(&two, &target).await, ["g1"]);
        time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_writes_is_not_believed_that_nobody_is_there() {
    let store = FakeStore::start();
    let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
    one.publish(&agent(1), &web()).expect("room");
    quiet(&one).await;
    let (known, unheard_of) = (Target::Service(name("web")), Target::Service(name("db")));
    quiet(&two).await;
    assert!(two.store_up() && gateways_of(&two, &unheard_of).await.is_empty());
    store.set_mood(Mood::TakesNoWrites);
    for second in 0..300 {
        assert_eq!(gateways_of(&two, &known).await, ["g1"], "after {second} s");
        time::sleep(Duration::from_secs(1)).await;
        assert!(second < 11 || !two.store_up(), "it is not up after {second} s");
    }
    assert!(store.fields("bowline:{service:web}").is_empty(), "all leases have passed");
    assert!(matches!(two.lookup(&Target::Agent(agent(9))).await, Err(LookupError::Forgetful)));
    assert!(matches!(two.gateways().await, Err(LookupError::Forgetful)));
    store.set_mood(Mood::Well);
    time::sleep(Duration::from_secs(1)).await;
    assert!(two.store_up() && gateways_of(&two, &unheard_of).await.is_empty());
    assert_eq!(gateways_of(&two, &known).await, ["g1"]);
}

#[tokio::test(start_paused = true)]
async fn a_known_route_outlives_a_store_that_takes_no_writes_whenever_it_is_asked_for_next() {
    for second in [18, 22, 24, 26, 28, 32] {
        let store = FakeStore::start();
        let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
        one.publish(&agent(1), &web()).expect("room");
        quiet(&one).await;
        let target = Target::Service(name("web"));
        assert_eq!(gateways_of(&two, &target).await, ["g1"]);
        time::sleep(Duration::from_secs(10)).await;
        store.set_mood(Mood::TakesNoWrites);
        time::sleep(Duration::from_secs(second)).await;
        assert_eq!(gateways_of(&two, &target).await, ["g1"], "after {second} s");
        assert_eq!(gateways_of(&two, &target).await, ["g1"], "and again");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_left_is_forgotten_once_a_hop_has_failed() {
    let store = FakeStore::start();
    let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
    one.publish(&agent(1), &web()).expect("room");
    quiet(&one).await;
    let target = Target::Agent(agent(1));
    assert_eq!(gateways_of(&two, &target).await, ["g1"]);
    one.withdraw(&agent(1));
    time::sleep(Duration::from_secs(4)).await;
    assert_eq!(gateways_of(&two, &target).await, ["g1"], "old, and read again in the background");
    two.suspect(&target, &name("g1"));
    time::sleep(Duration::from_millis(300)).await;
    two.suspect(&target, &name("g1"));
    time::sleep(Duration::from_millis(10)).await;
    assert!(gateways_of(&two, &target).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_restarts_empty_is_repaired_at_once() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &web()).expect("room");
    time::sleep(Duration::from_secs(3)).await;
    store.flush();
    store.reconnect();
    within(Duration::from_millis(300), "INV-REG-REPAIR", || !store.fields("bowline:{agent:a1}").is_empty())
        .await;
    assert!(registry.publisher_for_tests().counters().drift.missing >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_hangs_delays_no_other() {
    let store = FakeStore::start();
    store.hang("bowline:{agent:a1}");
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &[]).expect("room");
    time::sleep(Duration::from_secs(5)).await;
    for number in 2..20 {
        registry.publish(&agent(number), &[]).expect("room");
        let key = format!("bowline:{{agent:a{number}}}");
        within(Duration::from_millis(25), "INV-REG-NOBLOCK", || !store.fields(&key).is_empty()).await;
    }
    assert_eq!(registry.pending(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_lookups_of_an_absent_agent_cost_a_few_reads() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    quiet(&registry).await;
    let before = store.reads();
    let target = Target::Agent(agent(404));
    for _ in 0..100 {
        let asks = (0..100).map(|_| registry.lookup(&target));
        for answer in futures_util::future::join_all(asks).await {
            assert!(answer.expect("the store answers").is_empty());
        }
        time::sleep(Duration::from_millis(100)).await;
    }
    let reads = store.reads() - before;
    assert!((15..=20).contains(&reads), "at most every 500 ms for 10 s: {reads}");
}

#[tokio::test(start_paused = true)]
async fn a_route_is_read_every_two_seconds_under_load_and_sooner_if_suspect() {
    let store = FakeStore::start();
    let (one, two) = (registry(&store, "g1"), registry(&store, "g2"));
    one.publish(&agent(1), &web()).expect("room");
    quiet(&one).await;
    quiet(&two).await;
    let target = Target::Agent(agent(1));
    let before = store.reads();
    for _ in 0..500 {
        assert_eq!(gateways_of(&two, &target).await, ["g1"]);
        time::sleep(Duration::from_millis(10)).await;
    }
    assert!((2..=3).contains(&(store.reads() - before)), "{}", store.reads() - before);
    let before = store.reads();
    two.suspect(&target, &name("g1"));
    time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gateways_of(&two, &target).await, ["g1"]);
    time::sleep(Duration::from_millis(10)).await;
    assert_eq!(store.reads() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_store_a_lookup_fails_in_time_and_then_at_once() {
    let store = FakeStore::start();
    store.set_mood(Mood::Stopped);
    let registry = registry(&store, "g1");
    let target = Target::Agent(agent(1));
    let start = time::now();
    assert!(matches!(registry.lookup(&target).await, Err(LookupError::Store(_))));
    assert!(time::now() - start <= Duration::from_secs(2));
    assert!(matches!(registry.lookup(&target).await, Err(LookupError::StoreDown)));
}

#[tokio::test(start_paused = true)]
async fn shutting_down_withdraws_everything_without_linger() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    for number in 0..300 {
        registry.publish(&agent(number), &web()).expect("room");
    }
    quiet(&registry).await;
    let start = time::now();
    registry.shut_down(Duration::from_secs(5)).await;
    assert!(time::now() - start < Duration::from_millis(500));
    for key in ["bowline:{service:web}", "bowline:{agent:a7}", "bowline:{gateways}"] {
        assert!(store.fields(key).is_empty(), "{key}");
    }
    assert_eq!(registry.publish(&agent(1), &[]), Err(PublishError::ShutDown));
}

#[tokio::test(start_paused = true)]
async fn shutting_down_without_a_store_takes_its_limit_and_no_longer() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    quiet(&registry).await;
    store.set_mood(Mood::Gone);
    let start = time::now();
    registry.shut_down(Duration::from_secs(2)).await;
    let took = time::now() - start;
    assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2_010), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn limits_are_errors_and_leave_no_half_published_agent() {
    let store = FakeStore::start();
    let mut settings = Settings::new(name("g1"), name("z1"), "h:1").expect("an address");
    settings.entries_max = 4;
    let registry = Registry::over(settings, Arc::new(Connection(Arc::clone(&store))));
    registry.publish(&agent(1), &web()).expect("the gateway, the agent, its service: three entries");
    let error = registry.publish(&agent(2), &web()).expect_err("the fifth entry");
    assert_eq!(error.to_string(), "agent a2 cannot be published");
    quiet(&registry).await;
    assert!(store.fields("bowline:{agent:a2}").is_empty());
    let many: Vec<ServiceName> = (0..257).map(|number| name(&format!("s{number}"))).collect();
    let error = registry.publish(&agent(1), &many).expect_err("one too many");
    assert_eq!(error.to_string(), "agent a1 offers 257 services, the limit is 256");
    assert_eq!(store.fields("bowline:{service:web}"), ["g1/a1"], "the earlier list stays");
}

#[tokio::test(start_paused = true)]
async fn the_figures_have_their_names() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &web()).expect("room");
    quiet(&registry).await;
    registry.lookup(&Target::Agent(agent(1))).await.expect("the store answers");
    let mut figures = prometheus_client::registry::Registry::default();
    registry.register_metrics(&mut figures);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &figures).expect("memory");
    for line in [
        "bowline_drift_repaired_total{kind=\"registry\"} 0",
        "bowline_registry_writes_total{outcome=\"applied\"} 3",
        "bowline_registry_lookups_total{result=\"read\"} 1",
        "bowline_registry_pending 0",
        "bowline_registry_store_up 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}
