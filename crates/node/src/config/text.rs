//! TOML text: parsing it, and finding the line of a key.

use std::fmt::Write as _;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::suggest::nearest;
use super::{ConfigError, Finding, Problem};
use crate::limits::CONFIG_BYTES_MAX;

/// The text of a configuration file and its name.
#[derive(Debug)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A text, and the name by which errors call it.
    #[must_use]
    pub fn new(name: String, text: String) -> Self {
        Self { name, text }
    }

    /// Reads the text into `T`.
    ///
    /// # Errors
    /// One finding with `file:line`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        if self.text.len() > CONFIG_BYTES_MAX {
            // Who read it may have stopped there, so that its true size is not known.
            let text = format!("the file has more than {CONFIG_BYTES_MAX} bytes");
            let problem = Problem::new("", text, "check that this is the right file");
            return Err(ConfigError { findings: vec![Finding { place: Some(self.name.clone()), problem }] });
        }
        toml::from_str(&self.text).map_err(|error| self.explain(&error))
    }

    /// `file:line` of `key`, or of the nearest table around it, or the file alone.
    #[must_use]
    pub fn place_of(&self, key: &str) -> String {
        let places = places(&self.text);
        let mut wanted = key;
        loop {
            if let Some(place) = places.iter().find(|place| place.path == wanted) {
                return format!("{}:{}", self.name, self.line(place.key.start));
            }
            let Some(end) = wanted.rfind(['.', '[']) else { return self.name.clone() };
            wanted = &wanted[..end];
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let place = Some(format!("{}:{}", self.name, self.line(span.start)));
        let key = path_at(&self.text, &span);
        let problem = match UnknownKey::of(error.message()) {
            Some(unknown) => unknown.problem(&key),
            None => Problem::new(key, error.message().trim().replace('\n', "; "), ""),
        };
        ConfigError { findings: vec![Finding { place, problem }] }
    }
}

/// What serde says of a key that a struct does not have.
///
/// serde offers the list of known keys only inside its message, whose form it keeps stable; a test pins it here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownKey<'a> {
    pub word: &'a str,
    pub known: Vec<&'a str>,
}

impl<'a> UnknownKey<'a> {
    pub(crate) fn of(message: &'a str) -> Option<Self> {
        let rest = message.strip_prefix("unknown field `")?;
        let (word, rest) = rest.split_once('`')?;
        let known = rest.split('`').skip(1).step_by(2).collect();
        Some(Self { word, known })
    }

    fn problem(&self, path: &str) -> Problem {
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        let mut text = format!("unknown key `{}`", self.word);
        if !table.is_empty() {
            write!(text, " in [{table}]").expect("a String grows");
        }
        let advice = match nearest(self.word, self.known.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known here: {}", self.known.join(", ")),
        };
        Problem::new("", text, advice)
    }
}

/// Where a key and its value stand.
struct Place {
    path: String,
    key: Range<usize>,
    value: Range<usize>,
}

/// Every key of the text, outer tables before inner ones; nothing if the text is not TOML.
fn places(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        walk_table(table.get_ref(), "", &mut places);
    }
    places
}

fn walk_table(table: &DeTable<'_>, prefix: &str, places: &mut Vec<Place>) {
    for (key, value) in table {
        let dot = if prefix.is_empty() { "" } else { "." };
        let path = format!("{prefix}{dot}{}", key.get_ref());
        walk_value(value.get_ref(), &path, key.span(), value.span(), places);
    }
}

/// Recursion is bounded: the parser refuses deep nesting.
fn walk_value(
    value: &DeValue<'_>,
    path: &str,
    key_span: Range<usize>,
    value_span: Range<usize>,
    places: &mut Vec<Place>,
) {
    places.push(Place { path: path.to_owned(), key: key_span, value: value_span });
    match value {
        DeValue::Table(table) => walk_table(table, path, places),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let inner = format!("{path}[{index}]");
                walk_value(item.get_ref(), &inner, item.span(), item.span(), places);
            }
        }
        _ => {}
    }
}

/// The innermost key whose name or value holds `span`; empty if there is none.
fn path_at(text: &str, span: &Range<usize>) -> String {
    let holds = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
    let places = places(text);
    let holding = places.into_iter().rfind(|place| holds(&place.key) || holds(&place.value));
    holding.map(|place| place.path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        #[expect(dead_code, reason = "only parsed")]
        port: Option<u16>,
        #[serde(default)]
        #[expect(dead_code, reason = "only parsed")]
        inner: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only parsed")]
        listen: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only parsed")]
        tls: bool,
    }

    fn check(text: &str, expected: &str) {
        let source = Source::new("f.toml".into(), text.into());
        let error = source.parse::<Outer>().expect_err("the text is wrong");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_error_says_where_and_what_to_do() {
        check("port = 1\nprot = 2\n", "f.toml:2: unknown key `prot`; did you mean `port`?");
        check("zzz = 2\n", "f.toml:1: unknown key `zzz`; known here: port, inner");
        check(
            "\n[[inner]]\nlisten = 'a'\n[[inner]]\nlisten = 'b'\nlts = true\n",
            "f.toml:6: unknown key `lts` in [inner[1]]; did you mean `tls`?",
        );
        check("port = 'x'\n", "f.toml:1: port: invalid type: string \"x\", expected u16");
        check("port = 70000\n", "f.toml:1: port: invalid value: integer `70000`, expected u16");
        check("# c\n[[inner]]\ntls = true\n", "f.toml:2: inner[0]: missing field `listen`");
        let huge = format!("#{}", "x".repeat(CONFIG_BYTES_MAX));
        check(&huge, "f.toml: the file has more than 1048576 bytes; check that this is the right file");
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let source = Source::new("f.toml".into(), "port = 1\nport == 2\n".into());
        let text = source.parse::<Outer>().expect_err("not TOML").to_string();
        assert!(text.starts_with("f.toml:2: "), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn a_key_has_a_place_and_a_missing_one_has_that_of_its_table() {
        let source = Source::new("f.toml".into(), "port = 1\n\n[[inner]]\nlisten = 'a'\n".into());
        assert_eq!(source.place_of("port"), "f.toml:1");
        assert_eq!(source.place_of("inner[0].listen"), "f.toml:4");
        assert_eq!(source.place_of("inner[0].tls"), "f.toml:3");
        assert_eq!(source.place_of("other.key"), "f.toml");
    }
}
