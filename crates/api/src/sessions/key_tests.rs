//! Texts of users as keys of the store.

use proptest::prelude::*;

use super::*;

fn namespace(text: &str) -> Namespace {
    text.parse().expect("a namespace")
}

#[test]
fn a_path_spells_a_key_and_the_store_has_one_form_of_it() {
    let check = |segment: &str, plain: &str, escaped: &str| {
        let key = SessionKey::from_path(segment).expect("a key");
        assert_eq!((key.plain().as_str(), key.escaped()), (plain, escaped), "{segment}");
        assert_eq!(SessionKey::from_entry(escaped), Some(key));
    };
    check("42", "42", "42");
    check("%34%32", "42", "42");
    check("a%2Fb", "a/b", "a%2Fb");
    check("a%2fb", "a/b", "a%2Fb");
    check("user:7@x", "user:7@x", "user%3A7%40x");
    check("a+b%20c", "a+b c", "a%2Bb%20c");
    check("%7Bx%7D", "{x}", "%7Bx%7D");
    check("%2E%2E%2Fadmin", "../admin", "..%2Fadmin");
    check("%25", "%", "%25");
    check("%C3%BC", "ü", "%C3%BC");
    check("...", "...", "...");
}

#[test]
fn what_is_no_key_says_why() {
    let check = |segment: &str, error| assert_eq!(SessionKey::from_path(segment), Err(error), "{segment:?}");
    check("", TextError::Length(256));
    check(&"k".repeat(257), TextError::Length(256));
    check("%", TextError::Escape);
    check("a%2", TextError::Escape);
    check("%zz", TextError::Escape);
    check("%+1", TextError::Escape);
    check(".", TextError::Dots);
    check("%2e%2E", TextError::Dots);
    check("a%00b", TextError::Characters);
    check("a%0Ab", TextError::Characters);
    check("%C2%85", TextError::Characters);
    check("%FF", TextError::Characters);
    assert!(SessionKey::from_path(&"%61".repeat(256)).is_ok());
    assert_eq!(Owner::new(""), Ok(None));
    assert_eq!(Owner::new(&"o".repeat(257)), Err(TextError::Length(256)));
    // An entry that this version did not write.
    for entry in ["%61", "a b", "a%2fb", "{x}", ""] {
        assert_eq!(SessionKey::from_entry(entry), None, "{entry:?}");
    }
}

#[test]
fn neither_key_nor_owner_is_shown() {
    let shown = format!("{:?} {:?}", SessionKey::new("secret"), Owner::new("alice"));
    assert!(!shown.contains("secret") && !shown.contains("alice"), "{shown}");
}

proptest! {
    #[test]
    fn no_key_leaves_its_tag_or_meets_another(
        one in "\\PC{1,40}",
        other in "\\PC{1,40}",
        spaces in ("[a-z.-]{1,8}", "[a-z.-]{1,8}"),
    ) {
        let keys = [SessionKey::new(&one), SessionKey::new(&other)];
        prop_assume!(keys.iter().all(Result::is_ok));
        let [one_key, other_key] = keys.map(|key| key.expect("it was looked at"));
        prop_assert_eq!(one_key.plain(), one.clone());
        let (here, there) = (namespace(&spaces.0), namespace(&spaces.1));
        let stored = store_key(&one_key.tag(&here));
        // What a cluster hashes is all between the first pair of braces.
        prop_assert_eq!(stored.matches('{').count() + stored.matches('}').count(), 2);
        prop_assert_eq!(stored.chars().last(), Some('}'));
        let same = one == other && spaces.0 == spaces.1;
        prop_assert_eq!(stored == store_key(&other_key.tag(&there)), same);
    }
}
