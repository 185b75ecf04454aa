//! Answers that are layouts, and those that are none.

use proptest::prelude::*;

use super::*;

fn array(elements: impl IntoIterator<Item = Frame>) -> Frame {
    Frame::Array(elements.into_iter().collect())
}

fn node(host: &str, port: i64) -> Frame {
    array([Frame::bulk(host.to_owned()), Frame::Integer(port), Frame::bulk("id"), array([])])
}

fn range(first: i64, last: i64, nodes: impl IntoIterator<Item = Frame>) -> Frame {
    array([Frame::Integer(first), Frame::Integer(last)].into_iter().chain(nodes))
}

fn info(epoch: u64) -> Frame {
    Frame::bulk(format!("cluster_state:ok\r\ncluster_size:3\r\ncluster_current_epoch:{epoch}\r\n"))
}

fn read(slots: Frame) -> Result<Layout, LayoutError> {
    Layout::read(slots, &info(6), "10.0.0.9:7000")
}

#[test]
fn an_answer_becomes_a_layout() {
    let slots = array([
        range(0, 99, [node("10.0.0.1", 7001), node("10.0.0.2", 7002)]),
        range(200, 200, [node("::1", 7003)]),
        range(300, 16383, [node("10.0.0.1", 7001), node("10.0.0.2", 7002)]),
        range(150, 151, [array([Frame::Null, Frame::Integer(7004)])]),
        range(160, 161, [node("?", 7005)]),
        range(170, 171, [node("", 7006), node("?", 7007)]),
    ]);
    let layout = read(slots).unwrap();
    let owner = |slot: usize| layout.slots[slot].map(|shard| &*layout.shards[usize::from(shard)].primary);
    assert_eq!((layout.epoch, layout.is_ok), (6, true));
    assert_eq!([owner(0), owner(99), owner(16383)], [Some("10.0.0.1:7001"); 3]);
    assert_eq!(layout.shards[0].replicas, ["10.0.0.2:7002"]);
    assert_eq!([owner(100), owner(160), owner(299)], [None; 3]);
    assert_eq!(owner(200), Some("[::1]:7003"));
    assert_eq!(owner(151), Some("10.0.0.9:7004"), "a host that is null is the one that was asked");
    assert_eq!(owner(170), Some("10.0.0.9:7006"), "and so is an empty one");
    assert_eq!(layout.served(), 100 + 1 + 16084 + 2 + 2);
    assert_eq!(layout.shards.len(), 4);
}

#[test]
fn an_answer_that_is_not_sound_is_refused_whole() {
    let check = |ranges: Vec<Frame>, expected: LayoutError| assert_eq!(read(array(ranges)), Err(expected));
    let h = || node("h", 1);
    check(vec![range(0, 5, [h()]), range(5, 6, [node("g", 1)])], LayoutError::Twice(Slot::new(5).unwrap()));
    check(vec![range(0, 16384, [h()])], LayoutError::Slots { first: 0, last: 16384 });
    check(vec![range(-1, 5, [h()])], LayoutError::Slots { first: -1, last: 5 });
    check(vec![range(5, 4, [h()])], LayoutError::Slots { first: 5, last: 4 });
    check(vec![range(i64::MIN, i64::MAX, [h()])], LayoutError::Slots { first: i64::MIN, last: i64::MAX });
    check(vec![range(0, 1, [node("h", 0)])], LayoutError::Address);
    check(vec![range(0, 1, [node("h", 65536)])], LayoutError::Address);
    check(vec![range(0, 1, [node("h h", 1)])], LayoutError::Address);
    check(vec![range(0, 1, [array([])])], LayoutError::Address);
    check(vec![range(0, 1, [])], LayoutError::Form("a range of slots has no node"));
    check(vec![array([])], LayoutError::Form("a range of slots lacks its numbers"));
    check(vec![Frame::Integer(1)], LayoutError::Form("a range of slots is no array"));
    assert_eq!(read(Frame::ok()), Err(LayoutError::Form("CLUSTER SLOTS is no array")));
    let many = (0..=CLUSTER_REPLICAS_MAX).map(|_| h());
    check(vec![range(0, 1, [h()].into_iter().chain(many))], LayoutError::TooMany);
    let many = (0..=CLUSTER_NODES_MAX as i64).map(|number| range(number, number, [node("h", number + 1)]));
    check(many.collect(), LayoutError::TooMany);
    let disabled = "ERR This instance has cluster support disabled";
    assert_eq!(
        read(Frame::error(disabled)).unwrap_err().to_string(),
        format!("the store answered: {disabled}")
    );
    for info in ["", "cluster_current_epoch:x", "cluster_current_epoch:-1"] {
        let layout = Layout::read(array([]), &Frame::bulk(info), "h:1");
        assert_eq!(layout, Err(LayoutError::Form("CLUSTER INFO tells no epoch")));
    }
    assert!(matches!(Layout::read(array([]), &Frame::error("NOPERM"), "h:1"), Err(LayoutError::Server(_))));
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Frame::Integer),
        (-2..20_000_i64).prop_map(Frame::Integer),
        "[a-z0-9.:?]{0,8}".prop_map(Frame::bulk),
        Just(Frame::Null),
        Just(Frame::error("ERR")),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| proptest::collection::vec(inner, 0..6).prop_map(Frame::Array))
}

proptest! {
    #[test]
    fn whatever_a_node_says_the_layout_is_consistent(frame in any_frame()) {
        if let Ok(layout) = read(frame) {
            prop_assert_eq!(layout.slots.len(), usize::from(SLOTS));
            prop_assert!(layout.slots.iter().flatten().all(|&shard| usize::from(shard) < layout.shards.len()));
        }
    }

    #[test]
    fn ranges_are_read_as_they_are_written(
        cuts in proptest::collection::btree_set(1_i64..16384, 0..40),
    ) {
        let mut bounds: Vec<i64> = cuts.into_iter().collect();
        bounds.insert(0, 0);
        bounds.push(16384);
        let ranges = bounds.windows(2).enumerate().map(|(index, pair)| {
            range(pair[0], pair[1] - 1, [node("h", index as i64 % 5 + 1)])
        });
        let layout = read(array(ranges)).unwrap();
        for (index, pair) in bounds.windows(2).enumerate() {
            for slot in pair[0]..pair[1] {
                let shard = layout.slots[slot as usize].unwrap();
                prop_assert_eq!(&layout.shards[usize::from(shard)].primary, &format!("h:{}", index % 5 + 1));
            }
        }
    }
}
