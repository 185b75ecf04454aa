//! `If-Match` and `If-None-Match` (RFC 9110, 13.1), and what scripts make of them.

use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use super::limits::TAGS_MAX;
use super::problem::{Code, Problem};

/// Hexadecimal digits of a version.
const VERSION_DIGITS: usize = 32;

/// The conditions of a request, each as scripts take it: nothing, `*`, or versions with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The session has to be in one of these versions.
    pub matches: String,
    /// The session must not be in one of these versions.
    pub none_matches: String,
}

/// What may stand around an entity tag.
const BLANKS: [char; 2] = [' ', '\t'];
/// What may stand between two of them, if there is a comma.
const COMMAS: [char; 3] = [' ', '\t', ','];

/// Stands for tags of which none is ours: it is in no version.
const NO_VERSION: &str = "-";

impl Conditions {
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        // Several lines are one list (RFC 9110, 5.3).
        let text = |name: HeaderName| {
            let lines = headers.get_all(name).iter().map(|line| line.to_str().map_err(|_| malformed()));
            let lines = lines.collect::<Result<Vec<_>, _>>()?;
            Ok::<_, Problem>((!lines.is_empty()).then(|| lines.join(",")))
        };
        // A weak tag is none of ours, so that it cannot match strongly; weakly it is compared without its mark.
        let matches = text(IF_MATCH)?.map(|text| versions(&text, false)).transpose()?;
        let none_matches = text(IF_NONE_MATCH)?.map(|text| versions(&text, true)).transpose()?;
        Ok(Self { matches: matches.unwrap_or_default(), none_matches: none_matches.unwrap_or_default() })
    }

    /// Whether `If-None-Match` names this version.
    pub fn excludes(&self, version: &str) -> bool {
        self.none_matches == "*" || self.none_matches.split(',').any(|known| known == version)
    }
}

fn malformed() -> Problem {
    let text = format!(
        "If-Match and If-None-Match are * or at most {TAGS_MAX} entity tags in quotation marks with commas between"
    );
    Problem::new(Code::ConditionInvalid, text)
}

fn versions(text: &str, weakly: bool) -> Result<String, Problem> {
    if text.trim_matches(BLANKS) == "*" {
        return Ok("*".to_owned());
    }
    let mut versions = Vec::new();
    // Elements of a list may be empty (RFC 9110, 5.6.1).
    let mut rest = text.trim_start_matches(COMMAS);
    for _ in 0..TAGS_MAX {
        let (weak, opaque, behind) = tag(rest).ok_or_else(malformed)?;
        if is_version(opaque) && (weakly || !weak) {
            versions.push(opaque);
        }
        let behind = behind.trim_start_matches(BLANKS);
        rest = behind.trim_start_matches(COMMAS);
        if rest.is_empty() {
            return Ok(if versions.is_empty() { NO_VERSION.to_owned() } else { versions.join(",") });
        }
        if !behind.starts_with(',') {
            break;
        }
    }
    Err(malformed())
}

/// The entity tag at the beginning of a text: whether it is weak, what is in its quotation marks, and what is behind them. It
/// may hold commas, and no spaces (RFC 9110, 8.8.3).
fn tag(text: &str) -> Option<(bool, &str, &str)> {
    let (weak, quoted) = text.strip_prefix("W/").map_or((false, text), |quoted| (true, quoted));
    let (opaque, behind) = quoted.strip_prefix('"')?.split_once('"')?;
    opaque.bytes().all(|byte| byte.is_ascii_graphic()).then_some((weak, opaque, behind))
}

/// Whether it is written as versions are.
pub(super) fn is_version(text: &str) -> bool {
    text.len() == VERSION_DIGITS
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A version that no session ever had.
pub(super) fn new_version() -> String {
    format!("{:032x}", bowline_rt::random::bits128())
}

/// A version as an entity tag.
pub(super) fn entity_tag(version: &str) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00112233445566778899aabbccddeeff";
    const TWO: &str = "ffeeddccbbaa99887766554433221100";

    fn of(name: HeaderName, value: &str) -> Result<Conditions, Problem> {
        Conditions::of(&HeaderMap::from_iter([(name, value.parse().expect("a value"))]))
    }

    #[test]
    fn tags_become_versions() {
        let check = |value: &str, strong: &str, weak: &str| {
            assert_eq!(of(IF_MATCH, value).expect("well formed").matches, strong, "{value}");
            assert_eq!(of(IF_NONE_MATCH, value).expect("well formed").none_matches, weak, "{value}");
        };
        check("*", "*", "*");
        check(&format!("\"{ONE}\""), ONE, ONE);
        check(&format!("\"{ONE}\" ,\t\"{TWO}\""), &format!("{ONE},{TWO}"), &format!("{ONE},{TWO}"));
        check(&format!("W/\"{ONE}\""), "-", ONE);
        check("\"\"", "-", "-");
        check("\"another-server's\"", "-", "-");
        check(&format!("\"a,b\", \"{ONE}\""), ONE, ONE);
        // A version that is only a part of another tag is none.
        check(&format!("\"x,{ONE},y\""), "-", "-");
        check(&format!("\",\"{}", ",\"\"".repeat(TAGS_MAX - 1)), "-", "-");
        check(&format!(", ,\"{ONE}\",,W/\"{TWO}\" ,"), ONE, &format!("{ONE},{TWO}"));
        check(&format!("\"{}\"", ONE.to_uppercase()), "-", "-");
        assert_eq!(Conditions::of(&HeaderMap::new()).expect("none"), Conditions::default());
    }

    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        for version in [ONE, TWO] {
            headers.append(IF_NONE_MATCH, entity_tag(version).parse().expect("a value"));
        }
        let conditions = Conditions::of(&headers).expect("well formed");
        assert!(conditions.excludes(ONE) && conditions.excludes(TWO));
        headers.append(IF_NONE_MATCH, "*".parse().expect("a value"));
        assert!(Conditions::of(&headers).is_err(), "* stands alone");
    }

    #[test]
    fn malformed_conditions_are_refused() {
        let many = vec!["\"a\""; TAGS_MAX + 1].join(",");
        let values = [
            "",
            ",",
            ", ,",
            ONE,
            "\"a",
            "a\"",
            "\"a\" \"b\"",
            "\"a\"\"b\"",
            "\"a b\"",
            "*, \"a\"",
            "\"a\", *",
            "**",
            "w/\"a\"",
            "W/ \"a\"",
            "W/a",
            &many,
        ];
        for value in values {
            assert_eq!(of(IF_MATCH, value).expect_err("malformed").code, Code::ConditionInvalid, "{value}");
        }
    }

    #[test]
    fn versions_differ_and_exclude() {
        assert!(is_version(&new_version()) && new_version() != new_version());
        let conditions = of(IF_NONE_MATCH, &format!("{}, \"x\"", entity_tag(ONE))).expect("well formed");
        assert!(conditions.excludes(ONE) && !conditions.excludes(TWO));
        assert!(!Conditions::default().excludes(ONE));
    }
}
