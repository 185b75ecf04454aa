//! Whatever is signed is let in; whatever is changed by one byte is refused; whatever is garbled does no harm.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::base::{SIGNATURE, SIGNATURE_INPUT};
use super::components::CONTENT_DIGEST;
use super::verify_tests::{Sample, key, options};
use super::{Algorithm, Keys, SigningKey};

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::HmacSha256), Just(Algorithm::Ed25519)]
}

prop_compose! {
    fn sample()(
        method in "GET|PUT|PATCH|POST|DELETE|[A-Z]{1,8}",
        authority in "[a-z0-9.-]{1,12}(:[0-9]{1,5})?|\\[::1\\]:80",
        path in "(/[!-~&&[^?#]]{0,8}){1,4}",
        query in proptest::option::of("[!-~&&[^#]]{0,12}"),
        headers in proptest::collection::vec((0..NAMES.len(), "[!-~]([ -~\t]{0,12}[!-~])?"), 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) -> Sample {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(NAMES[name]), HeaderValue::from_str(&value).unwrap());
        }
        Sample { method, authority, path, query, headers: map, body }
    }
}

const NAMES: [&str; 6] =
    ["content-type", "content-encoding", "if-match", "if-none-match", "bowline-a", "bowline-b-c"];

/// Something of a request that is covered.
#[derive(Debug, Clone)]
enum Place {
    Method,
    Authority,
    Path,
    Query,
    Body,
    Header(HeaderName),
}

fn places(sample: &Sample) -> Vec<Place> {
    let mut places = vec![Place::Method, Place::Authority, Place::Path, Place::Query, Place::Body];
    places.extend(sample.headers.keys().cloned().map(Place::Header));
    places
}

/// Changes one byte; `None` if there is none, or if no reader of HTTP would let the result through.
fn change(sample: &Sample, place: &Place, at: prop::sample::Index, flip: u8) -> Option<Sample> {
    let mut changed = sample.clone();
    let flipped = |bytes: &[u8]| -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let at = if bytes.is_empty() { return None } else { at.index(bytes.len()) };
        bytes[at] ^= flip;
        Some(bytes)
    };
    let text = |text: &str| String::from_utf8(flipped(text.as_bytes())?).ok();
    match place {
        Place::Method => changed.method = text(&sample.method)?,
        Place::Authority => {
            changed.authority = text(&sample.authority)?;
            if changed.authority.eq_ignore_ascii_case(&sample.authority) {
                return None;
            }
        }
        Place::Path => changed.path = text(&sample.path)?,
        Place::Query => changed.query = Some(text(sample.query.as_deref()?)?),
        Place::Body => changed.body = flipped(&sample.body)?,
        Place::Header(name) => {
            let value = HeaderValue::from_bytes(&flipped(sample.headers[name].as_bytes())?).ok()?;
            changed.headers.insert(name.clone(), value);
        }
    }
    Some(changed)
}

proptest! {
    #[test]
    fn one_changed_byte_is_refused(
        sample in sample(),
        algorithm in algorithm(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let (key, keys) = key(algorithm);
        let signed = sample.signed(&key, &options());
        prop_assert!(signed.check(&keys).is_ok(), "{:?}", signed.check(&keys).err());
        for place in places(&signed) {
            if let Some(changed) = change(&signed, &place, at, flip) {
                prop_assert!(changed.check(&keys).is_err(), "{place:?} was changed");
            }
        }
        for name in signed.headers.keys() {
            let mut less = signed.clone();
            less.headers.remove(name);
            prop_assert!(less.check(&keys).is_err(), "{name} was removed");
            let mut more = signed.clone();
            more.headers.append(name.clone(), signed.headers[name].clone());
            prop_assert!(more.check(&keys).is_err(), "{name} came twice");
        }
    }

    #[test]
    fn garbled_headers_are_refused_without_a_panic(
        input in "(bowline=|\\(|\\)|\"@method\"|\"date\"|;|created=|keyid=|\"|:|,| |[0-9]{1,4}|\\\\|é){0,20}",
        signature in "(bowline=|:|AAAA|=|;|,){0,8}",
        digest in "(sha-256=|sha-512=|:|AAAA|=|;|,|\\(|\\)){0,8}",
    ) {
        let (_, keys) = key(Algorithm::HmacSha256);
        let mut sample = Sample::put();
        for (name, text) in [(SIGNATURE_INPUT, input), (SIGNATURE, signature), (CONTENT_DIGEST, digest)] {
            sample.headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        }
        prop_assert!(sample.check(&keys).is_err());
    }
}

/// The headers of a signature, cut at every place, and without each of their bytes.
#[test]
fn cut_headers_are_refused() {
    let (key, keys) = key(Algorithm::Ed25519);
    let signed = Sample::put().signed(&key, &options());
    for name in [SIGNATURE_INPUT, SIGNATURE, CONTENT_DIGEST] {
        let text = signed.headers[&name].to_str().unwrap().to_owned();
        for at in 0..text.len() {
            let without = format!("{}{}", &text[..at], &text[at + 1..]);
            for garbled in [&text[..at], &text[at + 1..], &without] {
                let mut sample = signed.clone();
                sample.headers.insert(name.clone(), HeaderValue::from_str(garbled).unwrap());
                assert!(sample.check(&keys).is_err(), "{name}: {garbled}");
            }
        }
    }
}

/// No other key will do, be it of the same id.
#[test]
fn another_key_is_another_key() {
    let (one, _) = key(Algorithm::Ed25519);
    let (_, keys) = key(Algorithm::Ed25519);
    assert!(Sample::get().signed(&one, &options()).check(&keys).is_err());
    let nobody = Keys::from_toml("keys.toml", "").unwrap();
    assert!(Sample::get().signed(&one, &options()).check(&nobody).is_err());
    let nonces: Vec<String> = (0..2).map(|_| nonce(&one)).collect();
    assert_ne!(nonces[0], nonces[1]);
}

fn nonce(key: &SigningKey) -> String {
    let options = super::SignOptions { nonce: None, ..options() };
    let table = key.table_entry(&"n".parse().unwrap());
    let keys = Keys::from_toml("keys.toml", &table).unwrap();
    let verified = Sample::get().signed(key, &options).check(&keys).unwrap();
    assert!(verified.expires - verified.created == Duration::from_secs(60));
    verified.nonce
}
