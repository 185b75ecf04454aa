//! What a store runs from.

use bowline_identity::tls::{Acceptor, ClientAuthentication};
use bowline_store::{Password, Settings};

use super::tls::{acceptor, credential, pem};
use super::{Edge, Port, secret};
use crate::config::{Problem, StoreConfig, rules};
use crate::reload::{Part, Reload};

/// Everything that a store needs to run. A clone shares what a reload changes.
#[derive(Debug, Clone)]
pub struct StorePlan {
    /// Where it listens.
    pub port: Port,
    /// How it is set up.
    pub settings: Settings,
    /// What should be said at the start.
    pub warnings: Vec<String>,
}

impl StorePlan {
    /// Judges `config` and reads the files that it names.
    ///
    /// # Errors
    /// Everything that must be mended.
    pub fn new(config: &StoreConfig, edge: &Edge<'_>) -> Result<Self, Vec<Problem>> {
        let password =
            secret("password_file", config.password_file.as_ref(), edge).map_err(|problem| vec![problem])?;
        let verdict = rules::store(config, password.is_some());
        if !verdict.problems.is_empty() {
            return Err(verdict.problems);
        }
        let acceptor = store_acceptor(config).map_err(|problem| vec![problem])?;
        let settings = Settings {
            password: password.map(|password| Password::new(password.reveal().as_bytes())),
            databases: config.databases,
            clients_max: config.clients,
            memory_max_bytes: config.memory_bytes,
            acceptor: acceptor.clone(),
            ..Settings::default()
        };
        let port = Port { name: "store".to_owned(), listen: config.listen, acceptor };
        Ok(Self { port, settings, warnings: verdict.warnings })
    }

    /// What SIGHUP reads again.
    #[must_use]
    pub fn reload(&self) -> Reload {
        Reload::new(vec![("tls", Part::Acceptor(self.port.acceptor.clone()))])
    }
}

fn store_acceptor(config: &StoreConfig) -> Result<Acceptor, Problem> {
    let Some(files) = &config.tls else { return Ok(Acceptor::Plain) };
    let authentication = match &files.ca {
        Some(ca) => ClientAuthentication::Required(pem(ca)),
        None => ClientAuthentication::None,
    };
    acceptor("tls", credential(&files.certificate, &files.key), authentication, &[])
}
