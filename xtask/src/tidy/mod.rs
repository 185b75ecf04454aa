//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! [`rules`] looks at one source file at a time, [`dependencies`] at the manifests, [`lengths`] holds a list of
//! exceptions that may only shrink. Every rule is a pure function from text to findings, and each is tested with a sample
//! that breaks it: a rule that has never caught anything proves nothing.

mod dependencies;
mod lengths;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::root;
use source::Source;

/// A place where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the top of the repository.
    pub path: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do instead.
    pub message: String,
}

impl Finding {
    /// A finding in `line`, counted from 0.
    fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: line + 1, message: message.into() }
    }

    fn of_file(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, message: message.into() }
    }
}

/// Folders that hold no text of ours.
const SKIPPED_FOLDERS: [&str; 6] =
    ["target", ".git", "corpus", "artifacts", "node_modules", "proptest-regressions"];

/// Kinds of files that are read.
const TEXT_SUFFIXES: [&str; 9] = ["rs", "toml", "md", "proto", "sh", "yml", "yaml", "conf", "run"];

/// Checks the whole tree.
///
/// # Errors
/// A rule is broken; what and where has been printed.
pub fn run() -> Result<()> {
    let files = read_tree(root())?;
    let findings = check(&files)?;
    for Finding { path, line, message } in &findings {
        println!("{path}:{line}: {message}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings in {} files", findings.len(), files.len());
    }
    println!("tidy: {} files are in order", files.len());
    Ok(())
}

/// A file of the tree: its path from the top, and its text.
type File = (String, String);

fn check(files: &[File]) -> Result<Vec<Finding>> {
    let text_of = |wanted: &str| files.iter().find(|(path, _)| path == wanted).map(|(_, text)| text.as_str());
    let invariants = text_of("crates/model/src/invariant.rs").context("the list of invariants is missing")?;
    let invariants: BTreeSet<&str> = rules::invariant_names(invariants).collect();
    let exceptions = lengths::Exceptions::parse(text_of(lengths::EXCEPTIONS).unwrap_or_default())?;

    let mut findings = Vec::new();
    let mut sources = Vec::new();
    for (path, text) in files {
        findings.extend(rules::text(path, text));
        if path.ends_with(".rs") {
            let source = Source::new(path, text);
            findings.extend(rules::source(&source, &invariants));
            sources.push(source);
        }
        if path.ends_with("Cargo.toml") {
            findings.extend(dependencies::manifest(path, text)?);
        }
    }
    findings.extend(lengths::check(&sources, &exceptions));
    findings.sort();
    Ok(findings)
}

fn read_tree(top: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if !SKIPPED_FOLDERS.contains(&name.as_ref()) {
                    folders.push(path);
                }
                continue;
            }
            let suffix = name.rsplit('.').next().unwrap_or_default();
            if TEXT_SUFFIXES.contains(&suffix) {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let path = path.strip_prefix(top).expect("the walk started there");
                files.push((path.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_check_puts_the_rules_together() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files = [
            file("crates/model/src/invariant.rs", "//! Names.\nconst A: &str = \"INV-REG-ORDER\";\n"),
            file("crates/a/src/lib.rs", "//! A.\n// INV-REG-ORDER and INV-NO-SUCH\nfn a() { todo!() }\n"),
        ];
        let findings = check(&files).expect("the list of invariants is there");
        let lines: Vec<_> = findings.iter().map(|finding| (finding.path.as_str(), finding.line)).collect();
        assert_eq!(lines, [("crates/a/src/lib.rs", 2), ("crates/a/src/lib.rs", 3)]);
    }
}
