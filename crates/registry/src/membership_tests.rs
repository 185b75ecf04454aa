//! Who may write as a gateway when processes share a name, and when the store loses claims or sets its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bowline_model::{Epoch, Term};
use bowline_rt::time;

use crate::Target;
use crate::backend::{Backend, ClaimRequest};
use crate::fake::{Connection, FakeStore, Model};
use crate::layout::Record;
use crate::limits::CLAIM_TTL;
use crate::tests::{agent, quiet, registry, web, within};

#[tokio::test(start_paused = true)]
async fn of_two_processes_with_one_name_the_newer_wins_and_the_older_stops() {
    let store = FakeStore::start();
    let older = registry(&store, "g1");
    older.publish(&agent(1), &web()).expect("room");
    quiet(&older).await;
    let newer = registry(&store, "g1");
    newer.publish(&agent(1), &web()).expect("room");
    newer.publish(&agent(2), &web()).expect("room");
    quiet(&newer).await;
    within(Duration::from_secs(31), "the older one finds out", || older.superseded()).await;
    assert!(!older.store_up() && newer.store_up() && !newer.superseded());
    let writes = older.publisher_for_tests().counters().writes;
    older.publish(&agent(3), &web()).expect("room");
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(older.publisher_for_tests().counters().writes, writes, "a superseded gateway writes nothing");
    assert_eq!(store.fields("bowline:{service:web}"), ["g1/a1", "g1/a2"]);
    let third = registry(&store, "g2");
    let holders = third.lookup(&Target::Agent(agent(1))).await.expect("the store answers");
    assert_eq!(holders[0].epoch, newer.epoch());
    older.shut_down(Duration::from_secs(5)).await;
    assert_eq!(store.fields("bowline:{service:web}"), ["g1/a1", "g1/a2"], "it takes nothing with it");
}

/// A predecessor died with its claim on the way; the claim lands after its successor's.
#[test]
fn a_claim_that_lands_late_takes_nothing() {
    let mut model = Model::default();
    let claim = |epoch, replaces, not_after_unix_ms| ClaimRequest {
        key: "c".to_owned(),
        epoch: Epoch::from_bits(epoch),
        replaces,
        lifetime: Duration::from_secs(60),
        seen: Term(0),
        not_after_unix_ms,
    };
    let first = model.claim(&claim(1, None, u64::MAX), 1_000);
    let late = claim(2, Some(first.term), u64::MAX);
    let third = model.claim(&claim(3, Some(first.term), u64::MAX), 1_001);
    assert_eq!((third.owner, third.term > first.term), (Epoch::from_bits(3), true));
    assert_eq!(model.claim(&late, 1_002).owner, Epoch::from_bits(3));
    let too_late = model.claim(&claim(2, Some(third.term), 1_002), 1_003);
    assert_eq!(too_late.term, Term(0));
    assert_eq!(model.claim(&claim(3, None, u64::MAX), 1_004).term, third.term);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_gateway_takes_its_entries_over() {
    let store = FakeStore::start();
    let former = registry(&store, "g1");
    former.publish(&agent(1), &web()).expect("room");
    quiet(&former).await;
    former.publisher_for_tests().stop.send_replace(true);
    let latter = registry(&store, "g1");
    latter.publish(&agent(1), &[]).expect("room");
    quiet(&latter).await;
    let holders = latter.lookup(&Target::Agent(agent(1))).await.expect("the store answers");
    assert_eq!(holders[0].epoch, latter.epoch());
    assert_eq!(latter.publisher_for_tests().counters().drift.total(), 0, "a predecessor's entry is no drift");
}

#[tokio::test(start_paused = true)]
async fn an_older_claim_of_a_replica_that_took_over_supersedes_nobody() {
    let store = FakeStore::start();
    let former = registry(&store, "g1");
    former.publish(&agent(1), &web()).expect("room");
    quiet(&former).await;
    let replica = store.snapshot();
    former.publisher_for_tests().stop.send_replace(true);
    let latter = registry(&store, "g1");
    latter.publish(&agent(1), &web()).expect("room");
    quiet(&latter).await;
    store.fail_over(replica);
    time::sleep(Duration::from_secs(1)).await;
    assert!(latter.store_up() && !latter.superseded() && latter.pending() == 0);
    let other = registry(&store, "g2");
    let holders = other.lookup(&Target::Agent(agent(1))).await.expect("the store answers");
    assert_eq!(holders[0].epoch, latter.epoch(), "INV-REG-REPAIR");
}

/// A predecessor died with its claim on the way; the store loses its data, and then the claim arrives.
#[tokio::test(start_paused = true)]
async fn a_claim_of_the_dead_supersedes_nobody() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &web()).expect("room");
    quiet(&registry).await;
    store.flush();
    let late = ClaimRequest {
        key: "bowline:{gateway:g1}".to_owned(),
        epoch: Epoch::from_bits(1),
        replaces: None,
        lifetime: CLAIM_TTL,
        seen: Term(0),
        not_after_unix_ms: u64::MAX,
    };
    let claimed = Connection(Arc::clone(&store)).claim(late).await.expect("the store answers");
    assert_eq!(claimed.owner, Epoch::from_bits(1));
    store.reconnect();
    time::sleep(Duration::from_secs(5)).await;
    assert!(registry.store_up() && !registry.superseded() && registry.pending() == 0);
    assert_eq!(store.fields("bowline:{service:web}"), ["g1/a1"], "INV-REG-REPAIR");
}

/// An entry of an earlier term would not be fenced against those who had the name in between.
#[tokio::test(start_paused = true)]
async fn entries_are_written_again_with_a_new_term() {
    let store = FakeStore::start();
    let registry = registry(&store, "g1");
    registry.publish(&agent(1), &web()).expect("room");
    quiet(&registry).await;
    let values = || store.snapshot().hashes.into_values().flat_map(BTreeMap::into_values);
    let terms =
        || values().map(|value| Record::parse(&value).expect("a record").term).collect::<BTreeSet<_>>();
    let before = terms();
    store.forget_claims();
    store.reconnect();
    time::sleep(Duration::from_secs(1)).await;
    let after = terms();
    assert!(before.len() == 1 && after.len() == 1 && before < after, "{before:?} {after:?}");
}

/// Claims and writes carry the latest moment at which the store may take them, from an estimate of its clock.
#[tokio::test(start_paused = true)]
async fn a_store_whose_clock_is_set_locks_nobody_out() {
    const HOUR_MS: i64 = 3_600_000;
    for step_ms in [HOUR_MS, -HOUR_MS, 400 * 24 * HOUR_MS, 3_000, -3_000] {
        let store = FakeStore::start();
        let registry = registry(&store, "g1");
        registry.publish(&agent(1), &web()).expect("room");
        quiet(&registry).await;
        time::sleep(Duration::from_secs(3)).await;
        store.step_clock(step_ms);
        registry.publish(&agent(2), &web()).expect("room");
        let is_there = || store.fields("bowline:{agent:a2}") == ["g1/a2"];
        within(Duration::from_millis(200), "INV-REG-CONVERGE", is_there).await;
        let all = || store.fields("bowline:{service:web}") == ["g1/a1", "g1/a2"];
        within(Duration::from_secs(11), "INV-REG-REPAIR", all).await;
        registry.withdraw(&agent(1));
        time::sleep(Duration::from_secs(60)).await;
        assert_eq!(store.fields("bowline:{service:web}"), ["g1/a2"], "{step_ms}");
        assert!(registry.store_up() && registry.pending() == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn shutting_down_does_not_wait_for_a_store_that_lists_a_successor() {
    let store = FakeStore::start();
    let older = registry(&store, "g1");
    older.publish(&agent(1), &web()).expect("room");
    quiet(&older).await;
    let newer = registry(&store, "g1");
    newer.publish(&agent(1), &web()).expect("room");
    quiet(&newer).await;
    let start = time::now();
    older.shut_down(Duration::from_secs(10)).await;
    assert!(time::now() - start < Duration::from_secs(1), "{:?}", time::now() - start);
    assert_eq!(store.fields("bowline:{service:web}"), ["g1/a1"], "it takes nothing with it");
}
