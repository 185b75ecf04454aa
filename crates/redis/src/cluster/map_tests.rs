//! The orders that keep the old from replacing the new.

use proptest::prelude::*;

use super::*;

/// A layout in which all slots belong to `primary`.
fn layout(epoch: u64, primary: &str) -> Layout {
    let shards = vec![Shard { primary: primary.to_owned(), replicas: Vec::new() }];
    Layout { epoch, is_ok: true, shards, slots: vec![Some(0); usize::from(SLOTS)] }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn refresh(map: &mut Map, answers: Vec<Layout>) -> Taken {
    let round = map.begin_round();
    map.take(round, answers)
}

#[test]
fn an_older_layout_never_replaces_a_newer_one() {
    let mut map = Map::new();
    assert_eq!(map.owner(slot(0)), None);
    assert_eq!(refresh(&mut map, vec![layout(5, "a:1")]), Taken::Changed);
    assert_eq!(refresh(&mut map, vec![layout(5, "a:1")]), Taken::Same);
    assert_eq!(refresh(&mut map, vec![layout(4, "b:1"), layout(3, "b:1")]), Taken::Stale);
    assert_eq!(map.owner(slot(0)), Some("a:1"));
    assert_eq!(refresh(&mut map, vec![layout(4, "b:1"), layout(6, "c:1"), layout(5, "a:1")]), Taken::Changed);
    assert_eq!(map.owner(slot(16383)), Some("c:1"));
    assert_eq!(refresh(&mut map, vec![]), Taken::Stale);
}

#[test]
fn of_equal_epochs_the_sounder_and_fuller_and_more_common_view_wins() {
    let mut map = Map::new();
    let mut down = layout(5, "down:1");
    down.is_ok = false;
    let mut partial = layout(5, "partial:1");
    partial.slots[7] = None;
    refresh(&mut map, vec![down, layout(5, "b:1"), partial, layout(5, "a:1"), layout(5, "a:1")]);
    // Slots are compared by shard; give the odd one another layout to tell them apart.
    assert!(matches!(map.owner(slot(7)), Some("a:1" | "b:1")));
    let mut odd = layout(5, "x:1");
    odd.shards.push(Shard { primary: "y:1".to_owned(), replicas: Vec::new() });
    odd.slots[9] = Some(1);
    let even = layout(5, "a:1");
    refresh(&mut map, vec![even.clone(), even, odd]);
    assert_eq!(map.owner(slot(9)), Some("a:1"));
}

#[test]
fn a_redirect_holds_at_once_and_until_an_answer_that_was_asked_for_later() {
    let mut map = Map::new();
    refresh(&mut map, vec![layout(5, "a:1")]);
    let round = map.begin_round();
    assert!(map.moved(slot(3), "b:1"));
    assert!(!map.moved(slot(3), "b:1"), "no news");
    assert_eq!(map.owner(slot(3)), Some("b:1"));
    assert_eq!(map.owner(slot(4)), Some("a:1"));
    map.take(round, vec![layout(6, "a:1")]);
    assert_eq!(map.owner(slot(3)), Some("b:1"), "the answer was asked for before the redirect");
    assert_eq!(refresh(&mut map, vec![layout(6, "a:1")]), Taken::Changed);
    assert_eq!(map.owner(slot(3)), Some("a:1"));
}

#[test]
fn a_cluster_built_anew_is_believed_in_the_end() {
    let mut map = Map::new();
    refresh(&mut map, vec![layout(50, "a:1")]);
    for _ in 1..CLUSTER_REBIRTH_ROUNDS {
        assert_eq!(refresh(&mut map, vec![layout(1, "b:1")]), Taken::Stale);
    }
    let mut down = layout(1, "b:1");
    down.is_ok = false;
    assert_eq!(refresh(&mut map, vec![down]), Taken::Stale, "a part that is cut off does not count");
    for _ in 1..CLUSTER_REBIRTH_ROUNDS {
        assert_eq!(refresh(&mut map, vec![layout(1, "b:1")]), Taken::Stale);
    }
    assert_eq!(refresh(&mut map, vec![layout(1, "b:1")]), Taken::Changed);
    assert_eq!(map.owner(slot(0)), Some("b:1"));
}

#[test]
fn redirects_to_ever_new_nodes_are_bounded() {
    let mut map = Map::new();
    refresh(&mut map, vec![layout(5, "a:1")]);
    for number in 0..2 * CLUSTER_NODES_MAX {
        map.moved(slot(number as u16), &format!("h{number}:1"));
    }
    assert_eq!(map.shards().len(), CLUSTER_NODES_MAX);
    assert_eq!(map.owner(slot(2000)), Some("a:1"));
}

#[derive(Debug, Clone)]
enum Step {
    Moved(u16, u8),
    Begin,
    Take(usize, Vec<(u64, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u16, 0..4_u8).prop_map(|(slot, node)| Step::Moved(slot, node)),
        Just(Step::Begin),
        (0..3_usize, proptest::collection::vec((0..5_u64, 0..4_u8), 0..3))
            .prop_map(|(round, answers)| Step::Take(round, answers)),
    ]
}

proptest! {
    /// Whatever comes in whatever order: the epoch only grows (there are too few rounds for a rebirth), every slot has an owner
    /// once one was known, and a redirect is undone only by an answer that was asked for after it.
    #[test]
    fn the_orders_hold(steps in proptest::collection::vec(step(), 0..CLUSTER_REBIRTH_ROUNDS as usize)) {
        let mut map = Map::new();
        let mut rounds = vec![map.begin_round()];
        let mut newest: BTreeMap<u16, (String, Round)> = BTreeMap::new();
        for step in steps {
            let epoch = map.epoch;
            match step {
                Step::Moved(number, node) => {
                    let to = format!("{node}:1");
                    let is_news = map.owner(slot(number)) != Some(&to);
                    prop_assert_eq!(map.moved(slot(number), &to), is_news);
                    newest.insert(number, (to, *rounds.last().unwrap()));
                }
                Step::Begin => rounds.push(map.begin_round()),
                Step::Take(back, answers) => {
                    let round = rounds[rounds.len().saturating_sub(1 + back)];
                    let answers = answers.iter().map(|&(epoch, node)| layout(epoch, &format!("{node}:1")));
                    if map.take(round, answers.collect()) != Taken::Stale {
                        newest.retain(|_, (_, learnt_in)| *learnt_in >= round);
                    }
                }
            }
            prop_assert!(map.epoch >= epoch);
            for (number, (to, _)) in &newest {
                prop_assert_eq!(map.owner(slot(*number)), Some(&**to));
            }
            prop_assert!(map.slots().iter().flatten().all(|&shard| usize::from(shard) < map.shards().len()));
        }
    }
}
