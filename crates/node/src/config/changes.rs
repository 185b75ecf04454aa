//! What changed between two configurations, by key. Values are not shown: one may be a secret.

use serde::Serialize;
use toml::{Table, Value};

/// The keys whose values differ, as dotted paths; a list counts as one value.
///
/// # Errors
/// A configuration cannot be written as TOML: it holds a path that is not UTF-8.
pub fn changed_keys<T: Serialize>(before: &T, after: &T) -> Result<Vec<String>, toml::ser::Error> {
    let mut keys = Vec::new();
    compare("", &Table::try_from(before)?, &Table::try_from(after)?, &mut keys);
    Ok(keys)
}

fn compare(path: &str, before: &Table, after: &Table, keys: &mut Vec<String>) {
    let only_after = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(only_after) {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (before.get(key), after.get(key)) {
            (one, other) if one == other => {}
            (Some(Value::Table(before)), Some(Value::Table(after))) => compare(&inner, before, after, keys),
            _ => keys.push(inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AgentConfig, ServerConfig, StoreConfig};

    fn check(before: &str, after: &str, expected: &[&str]) {
        let read = |text: &str| toml::from_str::<ServerConfig>(text).expect("a configuration");
        let keys = changed_keys(&read(before), &read(after)).expect("TOML");
        assert_eq!(keys, expected, "{before}\n{after}");
    }

    #[test]
    fn keys_are_named_and_values_are_not() {
        check("", "", &[]);
        check("", "zone = 'default'\n", &[]);
        check("", "drain_grace = '1s'\n[http]\nconnect = false\n", &["drain_grace", "http.connect"]);
        check("", "[store]\nurl = 'redis://:hunter2@h'\n", &["store.url"]);
        check("[store]\nurl = 'redis://a'\n", "[store]\nurl = 'redis://b'\n", &["store.url"]);
        let tls = "[tls]\ncertificate = 'c'\nkey = 'k'\n";
        check("", tls, &["tls"]);
        check(tls, &format!("{tls}ca = 'a'\n"), &["tls.ca"]);
        let tcp = "[[tcp]]\nlisten = '127.0.0.1:1'\nservice = 'a'\n";
        check(tcp, &tcp.replace('1', "2"), &["tcp"]);
        check("[http.routes]\n'a.b' = 'web'\n", "[http.routes]\n'a.b' = 'db'\n", &["http.routes.a.b"]);
    }

    #[test]
    fn every_role_can_be_compared() {
        let mut agent = AgentConfig::default();
        agent.join.clear();
        let agents = changed_keys(&AgentConfig::default(), &agent).expect("TOML");
        assert_eq!(agents, ["join"]);
        let stores = changed_keys(&StoreConfig::default(), &StoreConfig::default()).expect("TOML");
        assert!(stores.is_empty());
    }
}
