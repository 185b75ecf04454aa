//! Reading certificates and tokens again while a role runs.

use bowline_identity::tls::{Acceptor, Connector};
use bowline_identity::token::TokenTable;

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
}

/// Everything of a role that can be read again. Running connections are not touched; new ones use what was read last.
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
        self.parts.iter().filter_map(|(name, part)| Some(format!("{name}: {}", part.reload()?))).collect()
    }
}

impl Part {
    /// What went wrong.
    fn reload(&self) -> Option<String> {
        match self {
            Self::Acceptor(acceptor) => acceptor.reload().err().map(|error| text_with_causes(&error)),
            Self::Connector(connector) => connector.reload().err().map(|error| text_with_causes(&error)),
            Self::Tokens(tokens) => tokens.reload().err().map(|error| text_with_causes(&error)),
        }
    }
}
