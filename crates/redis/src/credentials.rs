//! As whom a client introduces itself, and how that may change while it runs.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bowline_rt::time::timeout;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::limits::CREDENTIALS_TIMEOUT;

/// A text that no log, error or `Debug` shows. It is wiped from memory when dropped; copies that were on their way to a server
/// are not.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the wire.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A user and its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `None` for the user `default`, which is also that of servers without users.
    pub user: Option<String>,
    /// The password, or what stands for it, such as a token.
    pub password: Secret,
}

impl Login {
    /// The password of the user `default`.
    #[must_use]
    pub fn password(password: impl Into<String>) -> Self {
        Self { user: None, password: Secret::new(password) }
    }

    /// A user and its password.
    #[must_use]
    pub fn user(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: Some(user.into()), password: Secret::new(password) }
    }
}

/// Where a client gets its login from.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The server asks for none.
    #[default]
    None,
    /// Always the same.
    Fixed(Login),
    /// Asked anew for each connection.
    Provider(Arc<dyn CredentialProvider>),
}

/// What [`CredentialProvider::login`] returns.
pub type LoginFuture<'a> = Pin<Box<dyn Future<Output = Result<Login, CredentialError>> + Send + 'a>>;

/// Gives out credentials that change: passwords that are rotated, tokens that expire.
pub trait CredentialProvider: Send + Sync + 'static {
    /// The credentials that hold now. It is asked before each connection is made, and may be dropped when it takes longer than
    /// [`CREDENTIALS_TIMEOUT`].
    fn login(&self) -> LoginFuture<'_>;

    /// A number that changes whenever the credentials do. Then those connections that live say the new ones too (`AUTH`,
    /// in line with the requests, so that none of these is lost or doubled). Without it the credentials of a connection stay as
    /// they were when it began.
    fn version(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// Why there are no credentials. Its text goes into logs and errors: it must not hold any.
#[derive(Debug, thiserror::Error)]
#[error("no credentials for the store: {0}")]
pub struct CredentialError(Box<dyn Error + Send + Sync>);

impl CredentialError {
    /// For a cause.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl Credentials {
    /// Those that hold now.
    pub(crate) async fn ask(&self) -> Result<Self, CredentialError> {
        match self {
            Self::Provider(provider) => match timeout(CREDENTIALS_TIMEOUT, provider.login()).await {
                Ok(login) => login.map(Self::Fixed),
                Err(elapsed) => Err(CredentialError::new(elapsed)),
            },
            fixed => Ok(fixed.clone()),
        }
    }

    /// A number that changes with them, if they tell.
    pub(crate) fn version(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Self::Provider(provider) => provider.version(),
            Self::None | Self::Fixed(_) => None,
        }
    }
}

impl From<Option<Login>> for Credentials {
    fn from(login: Option<Login>) -> Self {
        login.map_or(Self::None, Self::Fixed)
    }
}

/// Without anything of a provider, which may hold secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Fixed(login) => f.debug_tuple("Fixed").field(login).finish(),
            Self::Provider(_) => f.write_str("Provider"),
        }
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
