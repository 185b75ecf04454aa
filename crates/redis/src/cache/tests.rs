//! Tests of the cache without a server; `tests/cache.rs` has those with one.

use bowline_rt::time::now;

use super::*;

fn cache(settings: CacheSettings) -> Cache {
    Cache::new(settings, CacheMetrics::default())
}

fn push(what: Frame) -> Vec<Frame> {
    vec![Frame::bulk("invalidate"), what]
}

fn changed(key: &'static str) -> Vec<Frame> {
    push(Frame::Array(vec![Frame::bulk(key)]))
}

const EPOCH: Epoch = Epoch::from_bits(1);

/// Reads `key` as a call does, with `meanwhile` between the question and its answer. Whether the answer is kept.
fn is_kept(cache: &Cache, key: &str, meanwhile: impl FnOnce(&Cache)) -> bool {
    let read = cache.begin(key.as_bytes(), b"GET");
    meanwhile(cache);
    cache.keep(read, &Frame::bulk("value"), None, now());
    let found = cache.look_up(key.as_bytes(), b"GET", now());
    assert!(found.is_none() || found == Some(Frame::bulk("value")));
    found.is_some()
}

#[test]
fn an_answer_is_kept_until_its_key_changes() {
    let cache = cache(CacheSettings::default());
    assert!(is_kept(&cache, "a", |_| {}) && is_kept(&cache, "b", |_| {}));
    assert_eq!(cache.look_up(b"a", b"STRLEN", now()), None, "another command");
    cache.push(EPOCH, changed("a"));
    assert!(cache.look_up(b"a", b"GET", now()).is_none() && cache.look_up(b"b", b"GET", now()).is_some());
    cache.push(EPOCH, push(Frame::Null));
    assert_eq!(cache.look_up(b"b", b"GET", now()), None);
    assert_eq!(cache.metrics.invalidated.get(), 2);
    assert_eq!(cache.lock().bytes, 0);
}

#[test]
fn an_answer_that_a_change_has_overtaken_is_not_kept() {
    let check = |meanwhile: fn(&Cache), expected: bool| {
        let cache = cache(CacheSettings::default());
        assert_eq!(is_kept(&cache, "a", meanwhile), expected);
        assert!(cache.lock().reads.is_empty());
        assert!(is_kept(&cache, "a", |_| {}), "the next one is");
    };
    check(|cache| cache.push(EPOCH, changed("a")), false);
    check(|cache| cache.push(EPOCH, changed("b")), true);
    check(|cache| cache.push(EPOCH, push(Frame::Null)), false);
    check(|cache| cache.died(EPOCH), false);
    // What is not understood may mean anything.
    check(|cache| cache.push(EPOCH, push(Frame::Integer(1))), false);
    check(|cache| cache.push(EPOCH, vec![Frame::bulk("message"), Frame::bulk("a"), Frame::bulk("b")]), true);
}

#[test]
fn of_two_reads_that_overlap_each_is_judged_by_itself() {
    let cache = cache(CacheSettings::default());
    let before = cache.begin(b"a", b"GET");
    cache.push(EPOCH, changed("a"));
    let after = cache.begin(b"a", b"GET");
    cache.keep(after, &Frame::bulk("new"), None, now());
    cache.keep(before, &Frame::bulk("old"), None, now());
    assert_eq!(cache.look_up(b"a", b"GET", now()), Some(Frame::bulk("new")));
    let given_up = cache.begin(b"a", b"GET");
    cache.give_up(&given_up);
    assert!(cache.lock().reads.is_empty());
}

#[test]
fn a_connection_that_dies_empties_the_cache() {
    let cache = cache(CacheSettings::default());
    assert!(is_kept(&cache, "a", |_| {}));
    cache.died(EPOCH);
    assert_eq!(cache.look_up(b"a", b"GET", now()), None);
}

#[test]
fn no_answer_outlives_its_key_or_the_longest_life() {
    let settings = CacheSettings { ttl_max: Duration::from_secs(10), ..CacheSettings::default() };
    for (lives_for, until) in [(None, 10), (Some(Duration::from_secs(3)), 3), (Some(Duration::MAX), 10)] {
        let (cache, start) = (cache(settings), now());
        cache.keep(cache.begin(b"a", b"GET"), &Frame::Null, lives_for, start);
        let at = |seconds| cache.look_up(b"a", b"GET", start + Duration::from_secs(seconds));
        assert_eq!((at(until - 1), at(until)), (Some(Frame::Null), None));
    }
}

#[test]
fn what_was_used_least_lately_makes_room() {
    let cache = cache(CacheSettings { entries_max: 2, ..CacheSettings::default() });
    assert!(is_kept(&cache, "a", |_| {}) && is_kept(&cache, "b", |_| {}));
    assert!(cache.look_up(b"a", b"GET", now()).is_some());
    assert!(is_kept(&cache, "c", |_| {}));
    let kept = ["a", "b", "c"].map(|key| cache.look_up(key.as_bytes(), b"GET", now()).is_some());
    assert_eq!(kept, [true, false, true]);
    assert_eq!((cache.metrics.evicted.get(), cache.metrics.entries.get()), (1, 2));
}

#[test]
fn bytes_are_bounded_and_counted_back() {
    let cache = cache(CacheSettings { bytes_max: 4096, ..CacheSettings::default() });
    cache.keep(cache.begin(b"large", b"GET"), &Frame::bulk(vec![0; 1000]), None, now());
    assert_eq!(cache.look_up(b"large", b"GET", now()), None, "it would take more than its share");
    for number in 0..100_u32 {
        let key = number.to_string();
        cache.keep(cache.begin(key.as_bytes(), b"GET"), &Frame::bulk(vec![0; 300]), None, now());
        // The same again takes the place of the first.
        cache.keep(cache.begin(key.as_bytes(), b"GET"), &Frame::bulk(vec![0; 300]), None, now());
        let state = cache.lock();
        assert!(state.bytes <= 4096 && state.entries <= 12, "{} bytes", state.bytes);
    }
    cache.push(EPOCH, push(Frame::Null));
    let state = cache.lock();
    assert_eq!((state.bytes, state.entries), (0, 0));
}

#[test]
fn answers_that_depend_on_the_clock_or_on_chance_are_not_cacheable() {
    for name in ["GET", "hgetall", "Zrange"] {
        assert!(is_cacheable(name.as_bytes()));
    }
    for name in ["TTL", "SRANDMEMBER", "HSCAN", "SET", "EVAL_RO", "RANDOMKEY", "INFO"] {
        assert!(!is_cacheable(name.as_bytes()));
    }
}
