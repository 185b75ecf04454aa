//! How a gateway reaches a store outside of its process, and as whom.

use std::path::Path;
use std::sync::Arc;

use bowline_identity::tls::Connector;
use bowline_redis::{Config, ConfigError, CredentialFiles, Credentials, Login};

use super::Edge;
use super::tls::connector;
use crate::config::tls::ClientTlsFiles;
use crate::config::value::Secret;
use crate::config::{Problem, ServerConfig};
use crate::reload::Part;

/// A store outside of this process. A clone shares what a reload changes.
#[derive(Debug, Clone)]
pub struct StoreLink {
    /// Where it is, and how to log in.
    pub config: Config,
    connector: Connector,
    /// The password, if it stands in a file.
    password: Option<Arc<CredentialFiles>>,
}

impl StoreLink {
    /// A store that is reached without TLS.
    #[must_use]
    pub fn plain(config: Config) -> Self {
        Self { config, connector: Connector::Plain, password: None }
    }

    /// The store that `[store]` names, if it names one.
    pub(super) fn new(config: &ServerConfig, edge: &Edge<'_>) -> Result<Option<Self>, Problem> {
        let store = &config.store;
        let Some(url) = &store.url else { return Ok(None) };
        let connector = match &store.ca {
            Some(ca) => connector("store.ca", &store_files(config, ca))?,
            None => Connector::Plain,
        };
        let (parsed, password) = match (&store.password_file, &edge.secret) {
            (None, None) => (Config::from_url_with_tls(url.reveal(), &connector), None),
            (Some(file), _) => {
                let (parsed, user) = without_password(url, &connector)?;
                let files = CredentialFiles::open(user, file.clone());
                let files = files.map_err(|error| Problem::new(PASSWORD_FILE, error.to_string(), ""))?;
                let files = Arc::new(files);
                (Ok(parsed.credentials(Credentials::Provider(files.clone()))), Some(files))
            }
            (None, Some(password)) => {
                let (parsed, user) = without_password(url, &connector)?;
                let login = Login { user, password: bowline_redis::Secret::new(password.reveal()) };
                (Ok(parsed.credentials(Credentials::Fixed(login))), None)
            }
        };
        let parsed = parsed.map_err(|error| problem(url, error))?;
        if parsed.client_name().is_some() {
            let text = "a gateway names its connections itself: bowline-NAME and bowline-sessions-NAME";
            return Err(Problem::new("store.url", text, "remove client_name"));
        }
        Ok(Some(Self { config: parsed, connector, password }))
    }

    /// What SIGHUP reads again.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, Part)> {
        let password = self.password.clone().map(|files| (PASSWORD_FILE, Part::Password(files)));
        std::iter::once(("store", Part::Connector(self.connector.clone()))).chain(password)
    }
}

/// The key of the file with the password.
const PASSWORD_FILE: &str = "store.password_file";

/// Reads a URL whose password stands elsewhere, and the user in it.
fn without_password(url: &Secret, connector: &Connector) -> Result<(Config, Option<String>), Problem> {
    Config::from_url_without_password(url.reveal(), connector).map_err(|error| problem(url, error))
}

/// What to do about a URL that is not one. It repeats nothing of it, because all of it may be a password.
fn problem(url: &Secret, error: ConfigError) -> Problem {
    let scheme = url.reveal().split_once("://").map_or("", |(scheme, _)| scheme);
    if error == ConfigError::TlsSettings {
        let text = "for TLS it must be known whom to trust";
        return Problem::new(
            "store.url",
            text,
            "name the authority of its certificate in store.ca (--store-ca)",
        );
    }
    let advice = match error {
        // Other kinds of URL name several hosts.
        ConfigError::Address if scheme.contains(['-', '+']) => "",
        ConfigError::Scheme | ConfigError::Address => {
            "write redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], or rediss:// for TLS"
        }
        ConfigError::Credentials => {
            "write USER:PASSWORD@ in front of the host, or USER@ there and the password in store.password_file (or \
             BOWLINE_STORE_PASSWORD)"
        }
        _ => "",
    };
    Problem::new("store.url", error.to_string(), advice)
}

/// What a gateway shows to a store that asks for a certificate: that of `[store]`, else its own, if the store is of the
/// authority that signed it. A stranger's store would refuse it.
fn store_files(config: &ServerConfig, ca: &Path) -> ClientTlsFiles {
    let of_store = config.store.certificate.as_ref().zip(config.store.key.as_ref());
    let own = config.tls.as_ref().filter(|files| files.ca.as_deref() == Some(ca));
    let own = own.map(|files| (&files.certificate, &files.key));
    let (certificate, key) = of_store.or(own).unzip();
    ClientTlsFiles { ca: ca.to_owned(), certificate: certificate.cloned(), key: key.cloned() }
}

#[cfg(test)]
#[path = "store_link_tests.rs"]
mod tests;
