//! Reading certificates, tokens, keys and passwords again while a role runs, and how long what was read is valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_identity::signature::Keys;
use bowline_identity::tls::{Acceptor, Connector, Validity};
use bowline_identity::token::TokenTable;
use bowline_redis::CredentialFiles;

use crate::plan::text_with_causes;

/// Something that was read from files.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// A port's certificate and authority.
    Acceptor(Acceptor),
    /// The certificate and authority of what dials.
    Connector(Connector),
    /// A token table.
    Tokens(TokenTable),
    /// Keys that sign requests.
    Keys(Keys),
    /// The password of the store. It is looked at every few seconds anyhow.
    Password(Arc<CredentialFiles>),
}

/// Everything of a role that can be read again. Running connections are not touched,
/// but for those to the store, which log in anew with another password; new ones use what was read last.
#[derive(Debug, Clone)]
pub struct Reload {
    parts: Vec<(&'static str, Part)>,
}

impl Reload {
    pub(crate) fn new(parts: Vec<(&'static str, Part)>) -> Self {
        Self { parts }
    }

    /// Reads all files again and returns what went wrong. What cannot be read stays as it was.
    #[must_use]
    pub fn run(&self) -> Vec<String> {
        self.parts.iter().filter_map(|(name, part)| Some(format!("{name}: {}", part.reload(name)?))).collect()
    }

    /// How long the files that are in use are valid, each once. Parts that use different contents of a file, because one
    /// of them could not be read again, count with that which ends first.
    pub(crate) fn validities(&self) -> Vec<Validity> {
        let mut by_file = BTreeMap::<String, Validity>::new();
        for validity in self.parts.iter().flat_map(|(_, part)| part.validities()) {
            let known = by_file.entry(validity.file.clone()).or_insert_with(|| validity.clone());
            if validity.not_after < known.not_after {
                *known = validity;
            }
        }
        by_file.into_values().collect()
    }
}

impl Part {
    /// What went wrong. `name`: what it is for.
    fn reload(&self, name: &str) -> Option<String> {
        match self {
            Self::Acceptor(acceptor) => acceptor.reload().err().map(|error| text_with_causes(&error)),
            Self::Connector(connector) => connector.reload().err().map(|error| text_with_causes(&error)),
            Self::Tokens(tokens) => {
                let before = tokens.len();
                let problem = tokens.reload().err().map(|error| text_with_causes(&error));
                tracing::info!(name, before, now = tokens.len(), "tokens in force");
                problem
            }
            Self::Keys(keys) => {
                let before = keys.len();
                let problem = keys.reload().err().map(|error| text_with_causes(&error));
                tracing::info!(name, before, now = keys.len(), "signing keys in force");
                problem
            }
            Self::Password(files) => match files.refresh() {
                Ok(changed) => {
                    tracing::info!(name, changed, "password in force");
                    None
                }
                Err(error) => Some(error.to_string()),
            },
        }
    }

    fn validities(&self) -> Vec<Validity> {
        match self {
            Self::Acceptor(acceptor) => acceptor.validities(),
            Self::Connector(connector) => connector.validities(),
            Self::Tokens(_) | Self::Keys(_) | Self::Password(_) => Vec::new(),
        }
    }
}
