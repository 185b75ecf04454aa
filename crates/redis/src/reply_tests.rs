//! Each type out of both dialects, and what no type takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use bytes::Bytes;

use super::*;

fn check<T: FromReply + PartialEq + Debug>(frame: Frame, expected: T) {
    let shown = format!("{frame:?}");
    assert_eq!(T::from_reply(frame), Ok(expected), "{shown}");
}

fn refused<T: FromReply + Debug>(frame: Frame, message: &str) {
    let shown = format!("{frame:?}");
    assert_eq!(T::from_reply(frame).unwrap_err().to_string(), message, "{shown}");
}

fn text(text: &str) -> Frame {
    Frame::bulk(text.to_owned())
}

fn list(frames: impl IntoIterator<Item = Frame>) -> Frame {
    Frame::Array(frames.into_iter().collect())
}

#[test]
fn strings_are_taken_without_a_copy() {
    let bytes = Bytes::from(vec![0xff, 0, 1]);
    let taken = Bytes::from_reply(Frame::Bulk(bytes.clone())).unwrap();
    assert_eq!(taken.as_ptr(), bytes.as_ptr());
    check(Frame::Bulk(bytes.clone()), bytes.to_vec());
    check(Frame::ok(), "OK".to_owned());
    check(Frame::Verbatim { format: *b"txt", text: "a".into() }, "a".to_owned());
    refused::<String>(Frame::Bulk(bytes), "expected UTF-8 text, the answer is a bulk string of another form");
    refused::<Bytes>(list([]), "expected a string, the answer is an array");
}

/// What RESP3 has a type for, RESP2 writes as a text or a number.
#[test]
fn both_dialects_give_the_same_value() {
    for frame in [Frame::Double(3.0), text("3"), Frame::Integer(3)] {
        check(frame.clone(), 3.0_f64);
        check(frame.clone(), 3_u8);
        check(frame.clone(), "3".to_owned());
        check(frame, Bytes::from("3"));
    }
    for frame in [Frame::Boolean(true), Frame::Integer(1)] {
        check(frame.clone(), true);
        check(frame.clone(), 1_i32);
        check(frame, "1".to_owned());
    }
    let digits = "170141183460469231731687303715884105727";
    for frame in [Frame::BigNumber(digits.into()), text(digits)] {
        check(frame.clone(), i128::MAX);
        check(frame, digits.to_owned());
    }
    for frame in [list([text("a"), text("b")]), Frame::Set(vec![text("a"), text("b")])] {
        check(frame.clone(), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        check(frame.clone(), ["a".to_owned(), "b".to_owned()]);
        check(frame, ("a".to_owned(), "b".to_owned()));
    }
    for frame in [
        Frame::Map(vec![(text("a"), text("1")), (text("b"), text("2"))]),
        list([text("a"), text("1"), text("b"), text("2")]),
        list([list([text("a"), Frame::Double(1.0)]), list([text("b"), Frame::Double(2.0)])]),
    ] {
        let pairs = [("a".to_owned(), 1_u64), ("b".to_owned(), 2)];
        check(frame.clone(), pairs.to_vec());
        check(frame.clone(), BTreeMap::from(pairs.clone()));
        check(frame, HashMap::from(pairs));
    }
    for frame in [Frame::Map(vec![(text("a"), text("1"))]), list([text("a"), text("1")])] {
        check(frame.clone(), ["a".to_owned(), "1".to_owned()]);
        check(frame, ("a".to_owned(), 1_i8));
    }
}

#[test]
fn numbers_are_checked_against_their_range() {
    check(Frame::Integer(-128), i8::MIN);
    check(text("18446744073709551615"), u64::MAX);
    check(text("-inf"), f64::NEG_INFINITY);
    check(Frame::Integer(1 << 53), 9_007_199_254_740_992.0_f64);
    refused::<i8>(Frame::Integer(128), "the answer is an integer outside of the range of i8");
    refused::<u64>(Frame::Integer(-1), "the answer is an integer outside of the range of u64");
    refused::<u32>(text("4294967296"), "the answer is a bulk string outside of the range of u32");
    refused::<bool>(Frame::Integer(2), "the answer is an integer outside of the range of bool");
    refused::<f64>(Frame::Integer((1 << 53) + 1), "the answer is an integer outside of the range of f64");
    refused::<f32>(Frame::Double(1e300), "the answer is a double outside of the range of f32");
    let whole = "expected a whole number (u16), the answer is a double of another form";
    for number in [1.5, f64::NAN, f64::INFINITY, 1e19, -1e300] {
        refused::<u16>(Frame::Double(number), whole);
    }
    refused::<u16>(text(" 1"), "expected a whole number (u16), the answer is a bulk string of another form");
    refused::<f64>(text(""), "expected a number, the answer is a bulk string of another form");
}

#[test]
fn nothing_is_an_option() {
    check::<Option<String>>(Frame::Null, None);
    check::<Option<Vec<String>>>(Frame::NullArray, None);
    check(text("a"), Some("a".to_owned()));
    check(list([text("a"), Frame::Null]), vec![Some("a".to_owned()), None]);
    refused::<String>(Frame::Null, "expected a string, the answer is null");
    refused::<Vec<String>>(Frame::Null, "expected an array, the answer is null");
    refused::<bool>(Frame::Null, "expected a boolean, the answer is null");
}

#[test]
fn a_status_is_done_only_if_it_is_ok() {
    check(Frame::ok(), ());
    check(Frame::Null, None::<()>);
    refused::<()>(
        Frame::Simple("QUEUED".into()),
        "expected the status OK, the answer is a simple string of another form",
    );
    refused::<()>(Frame::Integer(1), "expected the status OK, the answer is an integer");
}

#[test]
fn aggregates_are_nested_and_counted() {
    check(list([text("0"), list([text("a"), text("b")])]), (0_u64, vec!["a".to_owned(), "b".to_owned()]));
    check(list([]), Vec::<(String, f64)>::new());
    check(list([Frame::Integer(1), Frame::Integer(255)]), vec![1_u8, 255]);
    refused::<(i64, i64)>(list([Frame::Integer(1)]), "expected 2 elements, the answer has 1");
    refused::<[i64; 3]>(list([Frame::Integer(1)]), "expected 3 elements, the answer has 1");
    refused::<BTreeMap<String, i64>>(list([text("a")]), "expected pairs, the answer has 1 elements");
    refused::<BTreeMap<String, i64>>(text("a"), "expected pairs, the answer is a bulk string");
}

#[test]
fn an_error_within_an_answer_is_the_servers() {
    let error = ServerError { code: "WRONGTYPE".to_owned(), message: "WRONGTYPE no".to_owned() };
    let answers = || vec![Ok(Frame::Integer(1)), Err(error.clone())];
    let expected = QueryError::Call(error.clone().into());
    assert_eq!(convert::<(i64, i64)>(answers()), Err(expected.clone()));
    assert_eq!(convert::<Vec<Option<i64>>>(answers()), Err(expected));
    let each = convert::<Vec<Result<i64, ServerError>>>(answers());
    assert_eq!(each, Ok(vec![Ok(1), Err(error)]));
    let wrong = convert::<(String, Result<bool, ServerError>)>(vec![Ok(list([])), Ok(Frame::Boolean(true))]);
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "cannot convert the answer of the store: expected a string, the answer is an array"
    );
}

/// Answers are the users' data.
#[test]
fn no_error_shows_what_came() {
    const SECRET: &str = "hunter2";
    let frames = [text(SECRET), Frame::Simple(SECRET.into()), list([text(SECRET)]), Frame::Map(vec![])];
    for frame in frames {
        let errors = [
            i64::from_reply(frame.clone()).err(),
            f64::from_reply(frame.clone()).err(),
            bool::from_reply(frame.clone()).err(),
            <()>::from_reply(frame.clone()).err(),
            <(i64, i64)>::from_reply(frame.clone()).err(),
            Vec::<(i64, i64)>::from_reply(frame).err(),
        ];
        for error in errors.into_iter().flatten() {
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        }
    }
}
