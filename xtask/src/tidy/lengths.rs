//! How long files and functions may be, with a ratchet.
//!
//! When a file passes 600 lines or a function 70, a concept is missing: find it and name it. What is longer stands in a
//! list with its length. The list may only shrink: an entry that is no longer needed, or allows more than there is, is
//! itself a finding.

use anyhow::{Context, Result};

use super::Finding;
use super::source::Source;

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 600;
/// Longest function, in lines, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Where the exceptions are.
pub const EXCEPTIONS: &str = "xtask/tidy-exceptions.toml";

/// What is allowed to be longer.
#[derive(Debug, Default)]
pub struct Exceptions(Vec<Exception>);

#[derive(Debug, PartialEq, Eq)]
struct Exception {
    path: String,
    /// `None` for the file itself.
    function: Option<String>,
    lines: usize,
}

impl Exceptions {
    /// Reads the list.
    ///
    /// # Errors
    /// It is not what it should be.
    pub fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context(EXCEPTIONS)?;
        let entries = table.get("exception").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let entries = entries.iter().map(Exception::parse).collect::<Option<Vec<_>>>();
        Ok(Self(
            entries
                .with_context(|| format!("{EXCEPTIONS}: an exception has path, function (or not), lines"))?,
        ))
    }
}

impl Exception {
    fn parse(value: &toml::Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let lines = value.get("lines")?.as_integer()?;
        Some(Self { path: text("path")?, function: text("function"), lines: usize::try_from(lines).ok()? })
    }
}

/// Something with a length: a file, or a function in it.
struct Measured<'a> {
    path: &'a str,
    /// Name and first line of the function.
    function: Option<(String, usize)>,
    lines: usize,
}

impl Measured<'_> {
    fn lines_max(&self) -> usize {
        if self.function.is_some() { FUNCTION_LINES_MAX } else { FILE_LINES_MAX }
    }

    fn is(&self, exception: &Exception) -> bool {
        let function = self.function.as_ref().map(|(name, _)| name);
        self.path == exception.path && function == exception.function.as_ref()
    }

    fn finding(&self, message: String) -> Finding {
        match &self.function {
            Some((name, line)) => Finding::at(self.path, *line, format!("{name}: {message}")),
            None => Finding::of_file(self.path, message),
        }
    }
}

/// Measures all sources.
pub fn check(sources: &[Source], exceptions: &Exceptions) -> Vec<Finding> {
    let measured: Vec<Measured<'_>> = sources.iter().flat_map(measure).collect();
    let mut findings = Vec::new();
    for thing in &measured {
        let exception = exceptions.0.iter().find(|exception| thing.is(exception));
        let (lines, lines_max) = (thing.lines, thing.lines_max());
        match exception {
            None if lines > lines_max => findings.push(thing.finding(format!(
                "{lines} lines, over {lines_max}: a concept is missing; find it and name it"
            ))),
            Some(exception) if lines > exception.lines => findings.push(
                thing.finding(format!("{lines} lines, and its exception is {}: it grew", exception.lines)),
            ),
            Some(exception) if lines < exception.lines => findings.push(thing.finding(format!(
                "{lines} lines: lower its exception of {} in {EXCEPTIONS}, or strike it out",
                exception.lines
            ))),
            _ => {}
        }
    }
    let unused = exceptions.0.iter().filter(|exception| {
        let thing = measured.iter().find(|thing| thing.is(exception));
        thing.is_none_or(|thing| thing.lines <= thing.lines_max())
    });
    findings.extend(unused.map(|exception| {
        Finding::of_file(
            EXCEPTIONS,
            format!("the exception for {} is not needed: strike it out", exception.path),
        )
    }));
    findings
}

fn measure(source: &Source) -> Vec<Measured<'_>> {
    let functions = source.functions().into_iter().map(|function| Measured {
        path: &source.path,
        lines: function.lines.len(),
        function: Some((function.name, function.lines.start)),
    });
    [Measured { path: &source.path, function: None, lines: source.text.len() }]
        .into_iter()
        .chain(functions)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "a();\n".repeat(lines - 2))
    }

    fn check(text: &str, exceptions: &str, findings: usize) {
        let exceptions = Exceptions::parse(exceptions).expect("the sample is well formed");
        let found = super::check(&[Source::new("a.rs", text)], &exceptions);
        assert_eq!(found.len(), findings, "{found:?}");
    }

    #[test]
    fn lengths_are_held() {
        check(&function(70), "", 0);
        check(&function(71), "", 1);
        check(&"//! a\n".repeat(600), "", 0);
        check(&"//! a\n".repeat(601), "", 1);
    }

    #[test]
    fn exceptions_only_shrink() {
        let exception =
            |lines: usize| format!("[[exception]]\npath = \"a.rs\"\nfunction = \"long\"\nlines = {lines}\n");
        check(&function(80), &exception(80), 0);
        check(&function(81), &exception(80), 1);
        check(&function(79), &exception(80), 1);
        check("", &exception(80), 1);
        assert!(Exceptions::parse("[[exception]]\nfunction = \"a\"").is_err());
    }
}
