//! What a call does after which refusal.

use super::*;

fn read(text: &str) -> Option<Refusal> {
    Refusal::read(text.as_bytes(), "10.0.0.9:7000")
}

#[test]
fn refusals_are_read_and_nothing_else_is() {
    let slot = Slot::new(3999).unwrap();
    let moved = |to: Option<&str>| Some(Refusal::Moved { slot, to: to.map(str::to_owned) });
    let ask = |to: Option<&str>| Some(Refusal::Ask { to: to.map(str::to_owned) });
    assert_eq!(read("MOVED 3999 127.0.0.1:6381"), moved(Some("127.0.0.1:6381")));
    assert_eq!(read("MOVED 3999 node-1.local:6381"), moved(Some("node-1.local:6381")));
    assert_eq!(read("MOVED 3999 ::1:6381"), moved(Some("[::1]:6381")));
    assert_eq!(read("MOVED 3999 :6381"), moved(Some("10.0.0.9:6381")));
    assert_eq!(read("MOVED 3999 ?:6381"), moved(None));
    assert_eq!(read("ASK 3999 127.0.0.1:6381"), ask(Some("127.0.0.1:6381")));
    assert_eq!(read("ASK 3999 ?:0"), ask(None));
    for text in ["TRYAGAIN Multiple keys", "CLUSTERDOWN x", "LOADING x", "MASTERDOWN x", "TRYAGAIN"] {
        assert_eq!(read(text), Some(Refusal::NotNow), "{text}");
    }
    assert_eq!(read("READONLY You can't"), Some(Refusal::Demoted));
    for text in [
        "ERR x",
        "MOVEDX 1 h:1",
        "MOVED",
        "MOVED 1",
        "MOVED 16384 h:1",
        "MOVED -1 h:1",
        "MOVED +1 h:1",
        "MOVED  1 h:1",
        "MOVED 1 h",
        "MOVED 1 h:0",
        "MOVED 1 a\tb:1",
        "ASK x h:1",
        "",
    ] {
        assert_eq!(read(text), None, "{text:?}");
    }
    assert_eq!(Refusal::read(b"MOVED 1 \xff:1", "h:1"), None);
}

#[test]
fn the_first_redirects_are_followed_at_once_and_further_ones_after_pauses_and_not_for_ever() {
    let mut course = Course::default();
    let moved = || read("MOVED 1 h:1").unwrap();
    for _ in 0..REDIRECTS_AT_ONCE_MAX {
        assert_eq!(course.after(moved()), Some((Target::Node("h:1".into()), Duration::ZERO)));
    }
    let mut last = Duration::ZERO;
    for _ in REDIRECTS_AT_ONCE_MAX..REDIRECTS_MAX {
        let (target, pause_max) = course.after(moved()).unwrap();
        assert_eq!(target, Target::Owner);
        assert!(pause_max >= last && pause_max <= CLUSTER_PAUSE_MAX && pause_max > Duration::ZERO);
        last = pause_max;
    }
    assert_eq!(course.after(moved()), None);
}

#[test]
fn what_cannot_be_done_now_waits_and_a_late_ask_is_followed_all_the_same() {
    let mut course = Course::default();
    assert_eq!(course.after(Refusal::NotNow), Some((Target::Owner, CLUSTER_PAUSE_MIN)));
    assert_eq!(course.after(Refusal::Demoted), Some((Target::Owner, CLUSTER_PAUSE_MIN * 2)));
    assert_eq!(course.after(read("MOVED 1 ?:1").unwrap()), Some((Target::Owner, CLUSTER_PAUSE_MIN * 4)));
    let (target, _) = course.after(read("ASK 1 h:1").unwrap()).unwrap();
    assert_eq!(target, Target::Asking("h:1".into()));
}
