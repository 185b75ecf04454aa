//! Commands that choose at random.

use std::collections::BTreeMap;

use super::*;

#[test]
fn random_fields_are_different_ones() {
    let mut bench = Bench::new();
    for number in 0..300 {
        bench.run(&format!("HSET h f{number} v"));
    }
    for count in [0, 1, 60, 100, 200, 299, 300, 1_000] {
        let answer = bench.run(&format!("HRANDFIELD h {count}"));
        let fields: std::collections::BTreeSet<&str> =
            answer.trim_matches(['[', ']']).split(' ').filter(|field| !field.is_empty()).collect();
        assert_eq!(fields.len(), count.min(300), "{count}");
    }
    assert_eq!(bench.run("HRANDFIELD h -500").split(' ').count(), 500);
    assert_eq!(bench.run("HRANDFIELD h -150000 WITHVALUES").split(' ').count(), 300_000);
    let refused = bench.run("HRANDFIELD h -100000000");
    assert_eq!(refused, "-ERR value is out of range, the reply would have more than 268435456 bytes");
    assert_eq!(bench.run("HRANDFIELD nothing -100000000"), "[]");
    assert_eq!(bench.run("HRANDFIELD h -9223372036854775807 WITHVALUES"), "-ERR value is out of range");
    for _ in 0..2 {
        assert!(bench.run("HRANDFIELD h -9223372036854775808").contains("must between"));
    }
}

/// The table keeps its segments when it has shrunk: few of them have items then.
#[test]
fn random_choices_are_fair_after_a_table_has_shrunk() {
    let mut bench = Bench::new();
    for number in 0..50_000 {
        bench.run(&format!("SET key{number} v"));
        bench.run(&format!("HSET h key{number} v"));
    }
    for number in 3..50_000 {
        bench.run(&format!("DEL key{number}"));
        bench.run(&format!("HDEL h key{number}"));
    }
    bench.run("MOVE h 1");
    let mut drawn: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..600 {
        *drawn.entry(bench.run("RANDOMKEY")).or_default() += 1;
    }
    bench.database = 1;
    for _ in 0..600 {
        *drawn.entry(bench.run("HRANDFIELD h")).or_default() += 1;
    }
    assert_eq!(drawn.len(), 3);
    assert!(drawn.values().all(|&times| times > 250), "{drawn:?}");
}

#[test]
fn a_living_key_is_found_among_many_that_have_expired() {
    let mut bench = Bench::new();
    for number in 0..20_000 {
        bench.run(&format!("SET key{number} v PX 10"));
    }
    bench.run("SET living v");
    bench.now_ms += 20;
    assert_eq!(bench.run("RANDOMKEY"), "living");
}
