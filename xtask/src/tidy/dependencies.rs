//! Which crate may know which: the arrows point down only.

use anyhow::{Context, Result};

use super::Finding;

/// The crates, from the bottom up, each with the crates of the workspace that it may depend on.
///
/// A new arrow is a decision about the architecture: change ARCHITECTURE.md in the same commit.
const MAY_KNOW: [(&str, &[&str]); 16] = [
    ("model", &[]),
    ("resp", &["model"]),
    ("converge", &["model"]),
    ("keyspace", &["model", "resp"]),
    ("rt", &["model"]),
    ("identity", &["model", "rt"]),
    ("proto", &["model"]),
    // The key space only behind the feature `fake`.
    ("redis", &["model", "resp", "keyspace", "rt", "identity"]),
    ("store", &["model", "resp", "keyspace", "rt", "identity"]),
    ("registry", &["model", "converge", "rt", "redis"]),
    ("tunnel", &["model", "rt", "identity", "proto", "registry"]),
    ("agent", &["model", "rt", "identity", "proto"]),
    ("entry", &["model", "rt", "identity", "tunnel"]),
    ("api", &["model", "rt", "identity", "redis", "registry", "tunnel"]),
    (
        "node",
        &[
            "model", "rt", "identity", "redis", "store", "registry", "tunnel", "agent", "entry", "api",
            "proto",
        ],
    ),
    ("bowline", &["model", "rt", "identity", "node"]),
];

/// Programs for tests and measurements; they may know every crate, and no crate may know them.
const TOOLS: [&str; 8] =
    ["xtask", "incidents", "torture", "sim", "bench", "bench-driver", "bench-sessions", "fuzz"];

/// Kinds of dependencies that end up in the product.
const PRODUCT_TABLES: [&str; 2] = ["dependencies", "build-dependencies"];

/// A feature with which nothing that serves anybody may be built, and the manifests that name it: who has it, and the benchmark
/// that needs it.
const UNGUARDED: (&str, [&str; 2]) = ("unguarded", ["crates/api/Cargo.toml", "bench/sessions/Cargo.toml"]);

/// Checks one manifest.
///
/// # Errors
/// It is not TOML.
pub fn manifest(path: &str, text: &str) -> Result<Vec<Finding>> {
    let table: toml::Table = text.parse().with_context(|| path.to_owned())?;
    let mut findings = Vec::new();
    let (feature, manifests) = UNGUARDED;
    if let Some(line) = text.lines().position(|line| line.contains(feature))
        && !manifests.contains(&path)
    {
        findings.push(Finding::at(
            path,
            line,
            format!("{feature} leaves out what guards the session service"),
        ));
    }
    let Some(package) = table.get("package").and_then(toml::Value::as_table) else {
        return Ok(findings); // the root of the main workspace
    };
    if table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool)
        != Some(true)
    {
        findings.push(Finding::of_file(path, "lacks [lints] workspace = true"));
    }
    let name = package.get("name").and_then(toml::Value::as_str).unwrap_or_default();
    let name = name.strip_prefix("bowline-").unwrap_or(name);
    if TOOLS.contains(&name) {
        return Ok(findings);
    }
    let Some((_, may_know)) = MAY_KNOW.iter().find(|(known, _)| *known == name) else {
        let message =
            format!("the crate {name} has no level yet: say in xtask's dependencies.rs what it may know");
        findings.push(Finding::at(path, line_of(text, &["name"]), message));
        return Ok(findings);
    };
    findings.extend(arrows(path, text, &table, name, may_know));
    Ok(findings)
}

fn arrows(path: &str, text: &str, manifest: &toml::Table, name: &str, may_know: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
        let entries = manifest.get(table).and_then(toml::Value::as_table);
        for (dependency, value) in entries.into_iter().flatten() {
            let mut complain = |message: String| {
                findings.push(Finding::at(path, line_of(text, &[dependency]), message));
            };
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                complain(format!("{dependency}: name version and features in the root Cargo.toml only"));
            }
            let Some(other) = dependency.strip_prefix("bowline-") else { continue };
            let allowed = if PRODUCT_TABLES.contains(&table) {
                may_know.contains(&other)
            } else {
                // Tests may know what is at most as high.
                level(other) <= level(name)
            };
            if !allowed {
                complain(format!("{name} must not know {other}: arrows point down only"));
            }
        }
    }
    findings
}

/// How high a crate stands; what is no crate of the product stands above them all.
fn level(name: &str) -> usize {
    MAY_KNOW.iter().position(|(known, _)| *known == name).unwrap_or(usize::MAX)
}

/// The line, from 0, that starts with one of the words.
fn line_of(text: &str, words: &[&str]) -> usize {
    text.lines().position(|line| words.iter().any(|word| line.starts_with(word))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, tables: &str, lines: &[usize]) {
        let text = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{tables}");
        let findings = manifest("Cargo.toml", &text).expect("the sample is TOML");
        let found: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(found, lines, "{findings:?}");
    }

    #[test]
    fn arrows_point_down_only() {
        check("bowline-registry", "[dependencies]\nbowline-redis.workspace = true\n", &[]);
        check(
            "bowline-redis",
            "[dependencies]\nbytes.workspace = true\nbowline-registry.workspace = true\n",
            &[7],
        );
        check("bowline-store", "[dependencies]\nbowline-redis.workspace = true\n", &[6]);
        check("bowline-agent", "[build-dependencies]\nbowline-tunnel.workspace = true\n", &[6]);
        check("bowline-tunnel", "[dependencies]\nbowline-torture.workspace = true\n", &[6]);
        check("bowline-torture", "[dependencies]\nbowline-node.workspace = true\n", &[]);
    }

    #[test]
    fn tests_may_know_what_is_no_higher() {
        check("bowline-registry", "[dev-dependencies]\nbowline-store.workspace = true\n", &[]);
        check("bowline-registry", "[dev-dependencies]\nbowline-node.workspace = true\n", &[6]);
    }

    #[test]
    fn versions_are_named_once() {
        check("bowline-store", "[dependencies]\nbytes = \"1\"\n", &[6]);
        check("bowline-store", "[dependencies]\nbytes = { workspace = true, optional = true }\n", &[]);
    }

    #[test]
    fn the_product_has_its_guard() {
        check(
            "bowline-node",
            "[dependencies]\nbowline-api = { workspace = true, features = [\"unguarded\"] }\n",
            &[6],
        );
        let root =
            "[workspace.dependencies]\nbowline-api = { path = \"crates/api\", features = [\"unguarded\"] }\n";
        assert_eq!(manifest("Cargo.toml", root).expect("the sample is TOML").len(), 1);
    }

    #[test]
    fn a_new_crate_needs_a_level() {
        check("bowline-surprise", "", &[2]);
    }

    #[test]
    fn lints_are_inherited() {
        let findings =
            manifest("Cargo.toml", "[package]\nname = \"bowline-sim\"\n").expect("the sample is TOML");
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn the_table_itself_points_down() {
        for (position, (name, may_know)) in MAY_KNOW.iter().enumerate() {
            for other in *may_know {
                assert!(level(other) < position, "{name} may know {other}, which is no lower");
            }
        }
    }
}
