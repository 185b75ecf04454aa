//! Warns of a store that evicts keys. Nonces are keys with a time to live: one that is evicted before is one that a copied
//! request may use again. Sessions go the same way.

use std::collections::{BTreeMap, BTreeSet};

use bowline_redis::{Client, Command, Connection};

/// Looks at each new connection what the store does when its memory is full, for as long as it is polled.
pub(super) async fn watch(client: Client) {
    let mut connection = client.connection();
    let mut told = Told::default();
    // An error means that the client is gone.
    while connection.wait_for(|connection| matches!(connection, Connection::Up { .. })).await.is_ok() {
        for (address, news) in told.learn(look(&client).await) {
            match news {
                News::Evicts(policy) => tracing::warn!(
                    %address,
                    "the store evicts keys (maxmemory-policy {policy}): it may forget nonces, and then a copy of a request is \
                     let in; set noeviction"
                ),
                News::Unreadable(error) => tracing::warn!(
                    %address,
                    %error,
                    "cannot see whether the store evicts keys, which would let it forget nonces: let its user run INFO, and see \
                     that maxmemory-policy is noeviction"
                ),
            }
        }
        if connection.changed().await.is_err() {
            return;
        }
    }
}

/// What was seen: of each server the policy by which it evicts keys, if it does, or why that cannot be seen.
type Seen = Vec<(String, Result<Option<String>, String>)>;

async fn look(client: &Client) -> Seen {
    let answers = match client.on_all_primaries(Command::new("INFO").arg("memory")).await {
        Ok(answers) => answers,
        Err(error) => return vec![(client.address().to_owned(), Err(error.to_string()))],
    };
    let of_server = answers.into_iter().map(|(address, answer)| {
        let text =
            answer.map(|frame| frame.as_bytes().map(|text| String::from_utf8_lossy(text).into_owned()));
        let policy = match text {
            Ok(Some(text)) => Ok(evicting(&text)),
            Ok(None) => Err("the answer is no text".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        (address, policy)
    });
    of_server.collect()
}

/// What an operator was told. A look that fails takes nothing of it back: connections come and go.
#[derive(Debug, Default)]
struct Told {
    /// The policy by which a server evicts keys.
    evicting: BTreeMap<String, String>,
    /// The servers whose policy could not be seen.
    unreadable: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    Evicts(String),
    Unreadable(String),
}

impl Told {
    /// What is to be told now. Of servers that are gone nothing is kept, unless none could be asked.
    fn learn(&mut self, seen: Seen) -> Vec<(String, News)> {
        if seen.iter().any(|(_, policy)| policy.is_ok()) {
            let is_there = |address: &String| seen.iter().any(|(seen, _)| seen == address);
            self.evicting.retain(|address, _| is_there(address));
            self.unreadable.retain(is_there);
        }
        seen.into_iter()
            .filter_map(|(address, policy)| Some((address.clone(), self.note(address, policy)?)))
            .collect()
    }

    fn note(&mut self, address: String, policy: Result<Option<String>, String>) -> Option<News> {
        match policy {
            Ok(Some(policy)) => {
                let before = self.evicting.insert(address, policy.clone());
                (before.as_ref() != Some(&policy)).then_some(News::Evicts(policy))
            }
            Ok(None) => {
                self.evicting.remove(&address);
                None
            }
            Err(error) => self.unreadable.insert(address).then_some(News::Unreadable(error)),
        }
    }
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
    fn each_thing_is_told_once_however_often_connections_fail() {
        let mut told = Told::default();
        let mut learn = |policy: Result<Option<&str>, &str>| {
            let policy = policy.map(|policy| policy.map(str::to_owned)).map_err(str::to_owned);
            told.learn(vec![("a:1".to_owned(), policy)]).pop().map(|(_, news)| news)
        };
        let evicts = |policy: &str| Some(News::Evicts(policy.to_owned()));
        assert_eq!(learn(Ok(None)), None);
        assert_eq!(learn(Ok(Some("allkeys-lru"))), evicts("allkeys-lru"));
        assert_eq!(learn(Err("NOPERM")), Some(News::Unreadable("NOPERM".to_owned())));
        for _ in 0..2 {
            assert_eq!(learn(Ok(Some("allkeys-lru"))), None);
            assert_eq!(learn(Err("the connection was lost")), None);
        }
        assert_eq!(learn(Ok(Some("volatile-ttl"))), evicts("volatile-ttl"));
        assert_eq!(learn(Ok(None)), None);
        assert_eq!(learn(Ok(Some("volatile-ttl"))), evicts("volatile-ttl"), "it was set right meanwhile");
    }

    #[test]
    fn nothing_is_kept_of_servers_that_are_gone() {
        let mut told = Told::default();
        let seen = |address: &str, policy: Result<Option<&str>, &str>| {
            (address.to_owned(), policy.map(|policy| policy.map(str::to_owned)).map_err(str::to_owned))
        };
        told.learn(vec![seen("a:1", Ok(Some("allkeys-lru"))), seen("b:1", Err("NOPERM"))]);
        told.learn(vec![seen("cluster", Err("nobody answers"))]);
        assert_eq!((told.evicting.len(), told.unreadable.len()), (1, 2), "nobody said that they are gone");
        told.learn(vec![seen("c:1", Ok(None))]);
        assert!(told.evicting.is_empty() && told.unreadable.is_empty());
    }

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
