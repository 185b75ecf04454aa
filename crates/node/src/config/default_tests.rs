//! The printed defaults: they read back, they name every key, and what they show as an example is accepted.

use serde::de::DeserializeOwned;

use super::text::UnknownKey;
use super::*;

/// The keys of the table `path` of `T`, as serde knows them; `None` if it is not a table.
fn keys<T: DeserializeOwned>(path: &str) -> Option<Vec<String>> {
    let header = match path {
        "" => String::new(),
        path if path.ends_with("[]") => format!("[[{}]]\n", path.trim_end_matches("[]")),
        path => format!("[{path}]\n"),
    };
    let error = toml::from_str::<T>(&format!("{header}no-such-key = 1\n")).err()?;
    let unknown = UnknownKey::of(error.message())?;
    (unknown.word == "no-such-key").then(|| unknown.known.iter().map(|&key| key.to_owned()).collect())
}

/// Every (table, key) of `T`.
fn every_key<T: DeserializeOwned>() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for key in keys::<T>("").expect("the role is a table") {
        let inner =
            [key.clone(), format!("{key}[]")].into_iter().find_map(|path| Some((keys::<T>(&path)?, path)));
        match inner {
            Some((inner_keys, path)) => {
                found.extend(inner_keys.into_iter().map(|inner| (path.clone(), inner)))
            }
            None => found.push((String::new(), key)),
        }
    }
    found
}

/// Every (table, key) that the text sets or shows behind a `#`.
fn documented(text: &str) -> Vec<(String, String)> {
    let mut table = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(|line| line.trim_start_matches('#')) {
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            table = format!("{name}[]");
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut table);
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            found.push((table.clone(), key.to_owned()));
        }
    }
    found
}

/// The text with every example in force.
fn with_examples(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn check<T: RoleConfig + PartialEq + fmt::Debug>() {
    let parsed =
        Loaded::<T>::parse(Path::new("default.toml"), T::DEFAULT_TEXT).expect("the default is valid");
    assert_eq!(parsed.config, T::default());
    let mut every = every_key::<T>();
    let mut written = documented(T::DEFAULT_TEXT);
    every.sort();
    written.sort();
    assert_eq!(written, every, "the printed default names exactly the keys of the struct");
    Loaded::<T>::parse(Path::new("examples.toml"), &with_examples(T::DEFAULT_TEXT))
        .expect("examples are valid");
}

#[test]
fn the_printed_defaults_are_the_defaults_and_name_every_key() {
    check::<ServerConfig>();
    check::<AgentConfig>();
    check::<StoreConfig>();
}

#[test]
fn flags_win_over_the_file_and_errors_say_where_a_value_came_from() {
    let mut loaded = Loaded::<ServerConfig>::parse(
        Path::new("/etc/bowline/gw.toml"),
        "tokens_file = 'tokens.toml'\n[http]\nlisten = '127.0.0.1:1'\n[admin]\nlisten = '0.0.0.0:2'\n",
    )
    .expect("valid");
    assert_eq!(loaded.config.tokens_file.as_deref(), Some(Path::new("/etc/bowline/tokens.toml")));
    let address = "0.0.0.0:3".parse().expect("an address");
    loaded.set("http.listen", "--http-listen", Some(address), |config| &mut config.http.listen);
    loaded.set("zone", "--zone", None, |config| &mut config.zone);
    let tcp =
        toml::from_str::<ServerConfig>("[[tcp]]\nlisten = '0.0.0.0:4'\nservice = 'x'\n").expect("valid").tcp;
    loaded.set("tcp", "--tcp", Some(tcp), |config| &mut config.tcp);
    let error = loaded.locate(rules::server(&loaded.config).problems);
    let places: Vec<_> = error.findings.iter().map(|finding| finding.place.as_deref()).collect();
    assert_eq!(places, [Some("--http-listen"), Some("/etc/bowline/gw.toml:5"), Some("--tcp")]);
}

#[test]
fn wrong_values_are_explained() {
    let check = |text: &str, expected: &str| {
        let error = Loaded::<ServerConfig>::parse(Path::new("gw.toml"), text).expect_err("wrong").to_string();
        assert_eq!(error, expected);
    };
    check(
        "[http]\nlisten = '7080'\n",
        "gw.toml:2: http.listen: `7080` is not an address to listen on; write IP:PORT, such as 127.0.0.1:7080 or [::]:7080",
    );
    check(
        "drain_grace = '30'\n",
        "gw.toml:1: drain_grace: `30` is not a duration; write a whole number and one of ms, s, m, h, d, such as 30s",
    );
    check(
        "[peers]\nadvertize = 'x'\n",
        "gw.toml:2: unknown key `advertize` in [peers]; did you mean `advertise`?",
    );
    check(
        "name = 'GW'\n",
        "gw.toml:1: name: gateway names have lower-case letters, digits and inner hyphens only; \"GW\" has 'G' at position 1",
    );
}
