//! Names of agents, gateways, services and zones: one DNS label each, so that any of them can stand in a host name,
//! a store key, a certificate and a metric label without escaping.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES_MAX;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no characters.
    #[error("{kind} names must not be empty")]
    Empty {
        /// What was being named.
        kind: &'static str,
    },
    /// The text is longer than a DNS label.
    #[error("{kind} names have at most {NAME_BYTES_MAX} characters, this one has {length}")]
    TooLong {
        /// What was being named.
        kind: &'static str,
        /// Length of the refused text, in bytes.
        length: usize,
    },
    /// The text holds a character that a DNS label cannot hold at that place.
    #[error(
        "{kind} names have lower-case letters, digits and inner hyphens only; {text:?} has {character:?} at position {position}"
    )]
    Character {
        /// What was being named.
        kind: &'static str,
        /// The refused text.
        text: String,
        /// The first character that does not fit.
        character: char,
        /// Its position, counted in characters from 1.
        position: usize,
    },
}

/// Checks that `text` is one lower-case DNS label.
fn check_label(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { kind, length: text.len() });
    }
    let last = text.len() - 1;
    for (index, character) in text.chars().enumerate() {
        let inner = index != 0 && index != last;
        let fits =
            character.is_ascii_lowercase() || character.is_ascii_digit() || (character == '-' && inner);
        if !fits {
            return Err(NameError::Character { kind, text: text.to_owned(), character, position: index + 1 });
        }
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check_label($kind, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

name!(
    /// The identity of an agent; its credential is bound to it.
    AgentId,
    "agent"
);
name!(
    /// The identity of a gateway. It outlives the process: a restarted gateway keeps its name and gets a new epoch.
    GatewayId,
    "gateway"
);
name!(
    /// What a request asks for. Several agents may offer the same service.
    ServiceName,
    "service"
);
name!(
    /// A place with its own store and gateways.
    ZoneName,
    "zone"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), &str>) {
        let got = text.parse::<ServiceName>().map(|name| assert_eq!(name.as_str(), text));
        assert_eq!(got.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_name_is_one_dns_label() {
        check("web", Ok(()));
        check("a-1", Ok(()));
        check(&"x".repeat(63), Ok(()));
        check("", Err("service names must not be empty"));
        check(&"x".repeat(64), Err("service names have at most 63 characters, this one has 64"));
        check(
            "Web",
            Err(
                "service names have lower-case letters, digits and inner hyphens only; \"Web\" has 'W' at position 1",
            ),
        );
        check(
            "-a",
            Err(
                "service names have lower-case letters, digits and inner hyphens only; \"-a\" has '-' at position 1",
            ),
        );
        check(
            "a-",
            Err(
                "service names have lower-case letters, digits and inner hyphens only; \"a-\" has '-' at position 2",
            ),
        );
        check(
            "a.b",
            Err(
                "service names have lower-case letters, digits and inner hyphens only; \"a.b\" has '.' at position 2",
            ),
        );
        check(
            "ä",
            Err(
                "service names have lower-case letters, digits and inner hyphens only; \"ä\" has 'ä' at position 1",
            ),
        );
    }
}
