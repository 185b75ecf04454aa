//! Warns of a store that evicts keys. Nonces are keys with a time to live: one that is evicted before is one that a copied
//! request may use again. Sessions go the same way.

use std::collections::BTreeSet;

use bowline_redis::{Client, Command, Connection};

/// Looks at each new connection what the store does when its memory is full, for as long as it is polled.
pub(super) async fn watch(client: Client) {
    let mut connection = client.connection();
    let mut told = BTreeSet::new();
    // An error means that the client is gone.
    while connection.wait_for(|connection| matches!(connection, Connection::Up { .. })).await.is_ok() {
        let found = look(&client).await;
        for (address, policy) in found.difference(&told) {
            tracing::warn!(
                %address,
                "the store evicts keys (maxmemory-policy {policy}): it may forget nonces, and then a copy of a request is let \
                 in; set noeviction"
            );
        }
        told = found;
        if connection.changed().await.is_err() {
            return;
        }
    }
}

/// The servers that evict keys, and by which policy.
async fn look(client: &Client) -> BTreeSet<(String, String)> {
    let info = Command::new("INFO").arg("memory");
    let answers = client.on_all_primaries(info).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the store does not tell what it does when its memory is full");
        Vec::new()
    });
    let of_node = answers.into_iter().filter_map(|(address, answer)| match answer {
        Ok(frame) => Some((address, evicting(&String::from_utf8_lossy(frame.as_bytes()?))?)),
        Err(error) => {
            tracing::debug!(%address, %error, "the store does not tell what it does when its memory is full");
            None
        }
    });
    of_node.collect()
}

/// The policy by which a server evicts, out of its `INFO memory`. Without a limit it never does, whatever its policy.
fn evicting(info: &str) -> Option<String> {
    let field = |name: &str| {
        let lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        lines.into_iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    };
    let policy = field("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    (field("maxmemory") != Some("0")).then(|| policy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_evicts_by_its_policy_once_it_has_a_limit() {
        let check = |maxmemory: &str, policy: &str, expected: Option<&str>| {
            let info = format!(
                "# Memory\r\nused_memory:1\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:1K\r\nmaxmemory_policy:{policy}\r\n"
            );
            assert_eq!(evicting(&info).as_deref(), expected, "{info}");
        };
        check("100", "allkeys-lru", Some("allkeys-lru"));
        check("100", "volatile-ttl", Some("volatile-ttl"));
        check("100", "noeviction", None);
        check("0", "allkeys-lru", None);
        assert_eq!(evicting("maxmemory_policy:allkeys-lfu\r\n").as_deref(), Some("allkeys-lfu"));
        assert_eq!(evicting("maxmemory:100\r\n"), None);
        assert_eq!(evicting(""), None);
    }
}
