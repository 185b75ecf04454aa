//! JSON Merge Patch (RFC 7396). What a patch does not touch stays byte for byte, so that no number loses a digit.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::limits::PATCH_DEPTH_MAX;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MergeError {
    #[error("the patch is not JSON")]
    Patch,
    #[error("the objects of the patch lie in more than {PATCH_DEPTH_MAX} others")]
    Depth,
    #[error("the value of the session is not JSON")]
    Target,
}

/// Applies `patch` to `target`.
pub(super) fn merge(target: &[u8], patch: &[u8]) -> Result<String, MergeError> {
    let target: &RawValue = serde_json::from_slice(target).map_err(|_| MergeError::Target)?;
    let patch: &RawValue = serde_json::from_slice(patch).map_err(|_| MergeError::Patch)?;
    merged(Some(target.get()), patch.get(), PATCH_DEPTH_MAX)
}

fn merged(target: Option<&str>, patch: &str, depth: usize) -> Result<String, MergeError> {
    if !is_object(patch) {
        return Ok(patch.to_owned());
    }
    let inner = depth.checked_sub(1).ok_or(MergeError::Depth)?;
    let target = target.filter(|target| is_object(target)).map(members).transpose();
    let target = target.map_err(|_| MergeError::Target)?.unwrap_or_default();
    let mut result: BTreeMap<String, Cow<'_, str>> =
        target.into_iter().map(|(name, value)| (name, Cow::Borrowed(value.get()))).collect();
    for (name, value) in members(patch).map_err(|_| MergeError::Patch)? {
        if value.get() == "null" {
            result.remove(&name);
        } else {
            let value = merged(result.get(&name).map(Cow::as_ref), value.get(), inner)?;
            result.insert(name, Cow::Owned(value));
        }
    }
    Ok(object(&result))
}

fn is_object(json: &str) -> bool {
    json.starts_with('{')
}

/// The members of an object; of those with one name the last counts.
fn members(object: &str) -> Result<BTreeMap<String, &RawValue>, serde_json::Error> {
    serde_json::from_str(object)
}

fn object(members: &BTreeMap<String, Cow<'_, str>>) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name).expect("a text becomes JSON"));
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, patch: &str, expected: &str) {
        let text = merge(target.as_bytes(), patch.as_bytes()).expect("merged");
        assert_eq!(text, expected, "{target} {patch}");
    }

    /// Appendix A of RFC 7396.
    #[test]
    fn the_examples_of_the_rfc() {
        check(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"a":null}"#, "{}");
        check(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        check(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#);
        check(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        check(r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        check(r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#);
        check(r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#);
        check(r#"{"a":"foo"}"#, "null", "null");
        check(r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
        check(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#);
        check("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#);
        check("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is() {
        let large = r#"{"n":123456789012345678901234567890,"f":1.10,"o":{ "x" : 1e400 }}"#;
        check(
            large,
            r#" {"b": 2} "#,
            r#"{"b":2,"f":1.10,"n":123456789012345678901234567890,"o":{ "x" : 1e400 }}"#,
        );
        check(r#"{"a\"b":1}"#, r#"{"\u00e4":2}"#, "{\"a\\\"b\":1,\"ä\":2}");
        check(r#"{"a":1,"a":2}"#, r#"{"b":3,"b":4}"#, r#"{"a":2,"b":4}"#);
    }

    #[test]
    fn what_cannot_be_merged_is_an_error() {
        let check = |target: &str, patch: &str, expected| {
            assert_eq!(merge(target.as_bytes(), patch.as_bytes()), Err(expected), "{target} {patch}");
        };
        check("{}", "{", MergeError::Patch);
        check("{}", "", MergeError::Patch);
        check("{}", "{} {}", MergeError::Patch);
        check("{}", "\u{feff}{}", MergeError::Patch);
        check("text", "{}", MergeError::Target);
        let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(merge(b"{}", deep(PATCH_DEPTH_MAX).as_bytes()).is_ok());
        check("{}", &deep(PATCH_DEPTH_MAX + 1), MergeError::Depth);
        // Lists are never looked into: deep ones cost nothing.
        let lists = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(merge(lists.as_bytes(), b"{}").is_ok() && merge(b"{}", lists.as_bytes()).is_ok());
    }
}
