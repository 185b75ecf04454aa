//! How commands are divided among slots.

use super::*;

/// The parts: their keys and the text of their commands.
fn divided(command: &Command, is_divided: bool) -> Vec<(Vec<usize>, String)> {
    let parts = divide(command, is_divided, ReadFrom::Primary).unwrap().into_iter();
    let text = |command: &Command| {
        let words: Vec<_> = command.arguments().map(String::from_utf8_lossy).collect();
        words.join(" ")
    };
    parts.map(|part| (part.keys, text(&part.command))).collect()
}

fn part(keys: &[usize], command: &str) -> (Vec<usize>, String) {
    (keys.to_vec(), command.to_owned())
}

#[test]
fn each_slot_has_its_keys_in_their_order() {
    let keys = ["{a}1", "{b}1", "{a}2", "c", "{a}1"];
    for name in ["MGET", "EXISTS", "TOUCH", "DEL", "UNLINK"] {
        let expected = [
            part(&[0, 2, 4], &format!("{name} {{a}}1 {{a}}2 {{a}}1")),
            part(&[1], &format!("{name} {{b}}1")),
            part(&[3], &format!("{name} c")),
        ];
        assert_eq!(divided(&Command::new(&name.to_lowercase()).args(keys), true), expected);
        let whole = [part(&[0, 1, 2, 3, 4], &format!("{name} {}", keys.join(" ")))];
        assert_eq!(divided(&Command::new(name).args(keys), false), whole, "one server");
    }
    let set = Command::new("MSET").args(["{a}1", "v", "b", "w", "{a}1", "x"]);
    assert_eq!(divided(&set, true), [part(&[0, 2], "MSET {a}1 v {a}1 x"), part(&[1], "MSET b w")]);
}

#[test]
fn what_holds_of_the_whole_holds_of_each_part() {
    let unlink = |change: fn(Command) -> Command| {
        let command = change(Command::new("UNLINK").args(["a", "b"]));
        let parts = divide(&command, true, ReadFrom::Any).unwrap();
        parts
            .iter()
            .map(|Part { command, .. }| (command.is_idempotent(), command.read_from_or(ReadFrom::Primary)))
            .collect::<Vec<_>>()
    };
    assert_eq!(unlink(|command| command), [(false, ReadFrom::Any); 2]);
    assert_eq!(unlink(Command::idempotent), [(true, ReadFrom::Any); 2]);
    let from = |command: Command| command.read_from(ReadFrom::PreferReplica);
    assert_eq!(unlink(from), [(false, ReadFrom::PreferReplica); 2]);
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let check = |command: Command, expected: &str| {
        let error = divide(&command, true, ReadFrom::Primary).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    let which = "only MGET, EXISTS, TOUCH, DEL, UNLINK and MSET can be divided among slots";
    for name in ["MSETNX", "SINTER", "GET", "PING", ""] {
        check(Command::new(name).args(["a", "b"]), which);
    }
    check(Command::new("MGET"), "it names no key");
    check(Command::new("MSET").args(["a", "1", "b"]), "each key of MSET needs a value");
}
