//! Rules that look at one file at a time.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;

/// Words that may not stand in code, and why.
const BANNED: [(&str, &str); 8] = [
    ("#[allow", "use #[expect(lint, reason = \"…\")]: it tells when it is no longer needed"),
    ("#![allow", "use #![expect(lint, reason = \"…\")]: it tells when it is no longer needed"),
    ("#[ignore", "a test that does not run is not a test; delete it or make it run"),
    ("todo!(", "finish it or leave it out"),
    ("unimplemented!(", "finish it or leave it out"),
    ("dbg!(", "left over from debugging"),
    ("thread::sleep", "blocks a thread, and makes tests slow and flaky; wait on a predicate with a bound"),
    ("tokio::spawn(", "use bowline_rt::task::spawn: the simulator must see every task"),
];

/// Files that may use a banned word: the one place that wraps it. The list may only shrink.
const WRAPPERS: [(&str, &str); 1] = [("crates/rt/src/task.rs", "tokio::spawn(")];

/// Names of functions whose work is to wait for a predicate, within a bound.
const WAITERS: [&str; 3] = ["wait", "until", "eventually"];

/// Rules for Rust sources. `invariants` are the names that exist.
pub fn source(source: &Source, invariants: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = banned(source);
    findings.extend(documented(source));
    findings.extend(seam(source));
    findings.extend(limits(source));
    findings.extend(sleeping_tests(source));
    findings.extend(unknown_invariants(source, invariants));
    findings
}

/// Rules for every text file.
pub fn text(path: &str, text: &str) -> Vec<Finding> {
    // Written in halves, so that this file does not find itself.
    let folders =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| folders.iter().any(|folder| has_path(line, folder)))
        .map(|(number, _)| Finding::at(path, number, "an absolute path of somebody's machine"))
        .collect()
}

/// Whether a path in the line begins with `folder`; in a URL it stands after the host instead.
fn has_path(line: &str, folder: &str) -> bool {
    let goes_on = |start: usize| line[..start].ends_with(|c: char| c.is_alphanumeric() || "/.-}".contains(c));
    line.match_indices(folder).any(|(start, _)| !goes_on(start))
}

/// The names of invariants, `INV-AREA-NAME`, in a text.
pub fn invariant_names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("INV-").filter_map(|(start, _)| {
        let name = &text[start..];
        let end = name.find(|c: char| !c.is_ascii_uppercase() && c != '-').unwrap_or(name.len());
        let name = name[..end].trim_end_matches('-');
        (name.matches('-').count() == 2).then_some(name)
    })
}

fn banned(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, code) in source.code.iter().enumerate() {
        for (word, instead) in BANNED {
            let wrapped = WRAPPERS.contains(&(source.path.as_str(), word));
            if code.contains(word) && !wrapped {
                findings.push(Finding::at(&source.path, number, format!("{word}: {instead}")));
            }
        }
    }
    findings
}

fn documented(source: &Source) -> Option<Finding> {
    let first = source.text.first().map_or("", String::as_str);
    (!first.starts_with("//!")).then(|| {
        Finding::of_file(&source.path, "does not begin with //!: what it is, why, what it does not do")
    })
}

fn seam(source: &Source) -> Vec<Finding> {
    if source.path.starts_with("crates/rt/") {
        return Vec::new();
    }
    let lines = source.uncommented.iter().enumerate().zip(&source.code);
    lines
        .filter(|((_, line), code)| code.contains("cfg") && line.contains(concat!("feature = \"", "sim\"")))
        .map(|((number, _), _)| {
            Finding::at(&source.path, number, "only bowline-rt knows whether it is simulated")
        })
        .collect()
}

fn limits(source: &Source) -> Vec<Finding> {
    let product = source.path.starts_with("crates/");
    if !product || source.path.ends_with("/limits.rs") {
        return Vec::new();
    }
    let lines = source.code.iter().enumerate();
    lines
        .filter(|(number, code)| declares_public_limit(code) && !source.is_test(*number))
        .map(|(number, _)| Finding::at(&source.path, number, "a limit: it belongs in limits.rs of its crate"))
        .collect()
}

/// Whether the line declares a constant `…_MAX` that others can see. A private one may stay beside its only use.
fn declares_public_limit(code: &str) -> bool {
    let Some((before, after)) = code.split_once("const ") else { return false };
    let name = after.split(':').next().unwrap_or_default().trim();
    before.trim_start().starts_with("pub") && name.ends_with("_MAX")
}

fn sleeping_tests(source: &Source) -> Vec<Finding> {
    let functions = source.functions();
    let mut findings = Vec::new();
    for (number, code) in source.code.iter().enumerate() {
        if !source.is_test(number) || !calls_sleep(code) {
            continue;
        }
        // The innermost function is the one that starts last.
        let function = functions.iter().rfind(|function| function.lines.contains(&number));
        let waits =
            function.is_some_and(|function| WAITERS.iter().any(|name| function.name.starts_with(name)));
        let paused = source.code.iter().any(|code| code.contains("start_paused = true"));
        if !waits && !paused {
            findings.push(Finding::at(
                &source.path,
                number,
                "a sleep in a test: pause the clock (start_paused = true) or wait on a predicate with a bound",
            ));
        }
    }
    findings
}

fn calls_sleep(code: &str) -> bool {
    let continues_a_word = |start: usize| code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices("sleep(").any(|(start, _)| !continues_a_word(start))
}

fn unknown_invariants(source: &Source, invariants: &BTreeSet<&str>) -> Vec<Finding> {
    if source.path.starts_with("xtask/") {
        return Vec::new(); // samples that break this very rule
    }
    let lines = source.text.iter().enumerate();
    lines
        .flat_map(|(number, line)| invariant_names(line).map(move |name| (number, name)))
        .filter(|(_, name)| !invariants.contains(name))
        .map(|(number, name)| {
            Finding::at(&source.path, number, format!("{name} is not an invariant of bowline_model"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines (from 1; 0 for the whole file) in which `sample` breaks a rule.
    fn check(path: &str, sample: &str, lines: &[usize]) {
        let invariants = BTreeSet::from(["INV-REG-ORDER"]);
        let findings = source(&Source::new(path, sample), &invariants);
        let found: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(found, lines, "{findings:?}");
    }

    #[test]
    fn a_good_file_passes() {
        check("crates/a/src/lib.rs", "//! A file.\n\n/// One.\npub fn one() -> u8 { 1 }\n", &[]);
    }

    #[test]
    fn banned_words_are_found_in_code_only() {
        for word in ["#[allow(dead_code)]", "#![allow(x)]", "#[ignore]", "todo!()", "std::thread::sleep(d)"] {
            check("crates/a/src/lib.rs", &format!("//! A.\nfn a() {{\n{word}\n}}"), &[3]);
        }
        check("crates/a/src/lib.rs", "//! A.\n// todo!() dbg!()\nfn a() { b(\"todo!()\") }", &[]);
        check("crates/rt/src/task.rs", "//! A.\nfn a() { tokio::spawn(d) }", &[]);
    }

    #[test]
    fn every_file_says_what_it_is() {
        check("crates/a/src/lib.rs", "fn a() {}", &[0]);
        check("crates/a/src/lib.rs", "", &[0]);
    }

    #[test]
    fn only_the_seam_knows_the_simulation() {
        let sample = concat!("//! A.\n#[cfg(feature = \"", "sim\")]\nfn a() {}");
        check("crates/tunnel/src/lib.rs", sample, &[2]);
        check("crates/rt/src/lib.rs", sample, &[]);
    }

    #[test]
    fn limits_have_a_place() {
        check("crates/a/src/lib.rs", "//! A.\npub const ROWS_MAX: u32 = 1;\nconst B_MAX: u8 = 1;", &[2]);
        check("crates/a/src/limits.rs", "//! A.\npub const ROWS_MAX: u32 = 1;", &[]);
    }

    #[test]
    fn tests_do_not_sleep() {
        let sample = |attribute: &str, name: &str| {
            format!(
                "//! A.\n#[cfg(test)]\nmod tests {{\n    {attribute}\n    async fn {name}() {{\n        \
                     time::sleep(d).await;\n    }}\n}}"
            )
        };
        check("crates/a/src/lib.rs", &sample("#[tokio::test]", "a"), &[6]);
        check("crates/a/src/lib.rs", &sample("#[tokio::test(start_paused = true)]", "a"), &[]);
        check("crates/a/src/lib.rs", &sample("", "wait_until"), &[]);
        check("crates/a/src/lib.rs", "//! A.\nasync fn a() { time::sleep(d).await }", &[]);
    }

    #[test]
    fn invariants_exist() {
        check("crates/a/src/lib.rs", "//! INV-REG-ORDER holds, INV-REG-LOST, INV-… and INV- do not", &[1]);
    }

    #[test]
    fn paths_of_a_machine_are_found_in_any_text() {
        let sample = concat!("a = 1\nb = \"/ho", "me/me\"\n");
        let lines: Vec<usize> = text("a.toml", sample).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2]);
    }
}
