//! What an agent runs from.

use bowline_agent::{Service, Services, Settings};
use bowline_identity::tls::{ALPN_HTTP1, Acceptor, ClientAuthentication, Connector};
use bowline_identity::token::{Token, TokenTable};
use bowline_model::AgentId;

use super::tls::{acceptor, connector, credential, token_table};
use super::{Edge, Port, name_of_host, secret};
use crate::config::agent::AgentAdminConfig;
use crate::config::{AgentConfig, Problem, rules};
use crate::reload::{Part, Reload};

/// Everything that an agent needs to run. A clone shares what a reload changes.
#[derive(Debug, Clone)]
pub struct AgentPlan {
    /// What the agent is told.
    pub settings: Settings,
    /// Health, readiness and metrics, if they are to be had.
    pub admin: Option<AgentAdminPlan>,
    /// What should be said at the start.
    pub warnings: Vec<String>,
    /// Reads the memory of this process, for the metrics.
    pub memory: Option<bowline_api::ProcessProbe>,
}

/// The admin port of an agent.
#[derive(Debug, Clone)]
pub struct AgentAdminPlan {
    /// Where it listens.
    pub port: Port,
    /// Client tokens that it asks for, if it does.
    pub tokens: Option<TokenTable>,
}

impl From<Settings> for AgentPlan {
    /// An agent without an admin port.
    fn from(settings: Settings) -> Self {
        Self { settings, admin: None, warnings: Vec::new(), memory: None }
    }
}

impl AgentPlan {
    /// Judges `config` and reads the files that it names.
    ///
    /// # Errors
    /// Everything that must be mended.
    pub fn new(config: &AgentConfig, edge: &Edge<'_>) -> Result<Self, Vec<Problem>> {
        let token = token(config, edge).map_err(|problem| vec![problem])?;
        let verdict = rules::agent(config, token.is_some());
        if !verdict.problems.is_empty() {
            return Err(verdict.problems);
        }
        let settings = settings(config, token, edge).map_err(|problem| vec![problem])?;
        let admin = admin(&config.admin).map_err(|problem| vec![problem])?;
        Ok(Self { settings, admin, warnings: verdict.warnings, memory: None })
    }

    /// What SIGHUP reads again, beside the services.
    #[must_use]
    pub fn reload(&self) -> Reload {
        let mut parts = vec![("tls", Part::Connector(self.settings.connector.clone()))];
        if let Some(admin) = &self.admin {
            parts.push(("admin", Part::Acceptor(admin.port.acceptor.clone())));
            parts.extend(
                admin.tokens.iter().map(|tokens| ("admin.tokens_file", Part::Tokens(tokens.clone()))),
            );
        }
        Reload::new(parts)
    }
}

/// The services of `config`, for the start and for a reload.
///
/// # Errors
/// What must be mended.
pub fn services(config: &AgentConfig) -> Result<Services, Problem> {
    let service = |service: &crate::config::agent::ServiceConfig| Service {
        name: service.name.clone(),
        address: service.address.clone(),
    };
    Services::new(config.service.iter().map(service))
        .map_err(|error| Problem::new("service", error.to_string(), ""))
}

fn settings(config: &AgentConfig, token: Option<Token>, edge: &Edge<'_>) -> Result<Settings, Problem> {
    let connector = match &config.tls {
        Some(files) => connector("tls", files)?,
        None => Connector::Plain,
    };
    let mut settings = Settings::new(name(config, edge)?, config.join.clone(), services(config)?, connector);
    settings.connections = config.connections;
    settings.credential = token;
    settings.limits.drain_grace = config.drain_grace.0;
    settings.limits.tunnels_max = config.limits.tunnels;
    Ok(settings)
}

/// As a gateway's: TLS as soon as there is a certificate, a client token as soon as there is a table. (Off loopback the
/// rules want both.)
fn admin(config: &AgentAdminConfig) -> Result<Option<AgentAdminPlan>, Problem> {
    let Some(listen) = config.listen else { return Ok(None) };
    let acceptor = match config.certificate.as_ref().zip(config.key.as_ref()) {
        Some((certificate, key)) => {
            let credential = credential(certificate, key);
            acceptor("admin.certificate", credential, ClientAuthentication::None, &[ALPN_HTTP1])?
        }
        None => Acceptor::Plain,
    };
    let tokens =
        config.tokens_file.as_ref().map(|file| token_table("admin.tokens_file", file)).transpose()?;
    Ok(Some(AgentAdminPlan { port: Port { name: "admin".to_owned(), listen, acceptor }, tokens }))
}

fn name(config: &AgentConfig, edge: &Edge<'_>) -> Result<AgentId, Problem> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    name_of_host(edge.host_name, 0).parse().map_err(|_| {
        Problem::new("name", "no name is given, and this machine has none either", "set it (--name)")
    })
}

fn token(config: &AgentConfig, edge: &Edge<'_>) -> Result<Option<Token>, Problem> {
    let Some(text) = secret("token_file", config.token_file.as_ref(), edge)? else { return Ok(None) };
    let origin = match &config.token_file {
        Some(path) => path.display().to_string(),
        None => "BOWLINE_TOKEN".to_owned(),
    };
    let token = text.reveal().parse().map_err(|error| {
        Problem::new("token_file", format!("{origin}: {error}"), "`bowline token new --agent NAME` makes one")
    })?;
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::text::Source;

    fn plan(text: &str, token: &str) -> Result<AgentPlan, Vec<Problem>> {
        let config = Source::new("agent.toml".into(), text.into()).parse().expect("valid");
        let read = move |_: &Path| Ok(token.as_bytes().to_vec());
        AgentPlan::new(&config, &Edge { read: &read, host_name: "edge_7.lan", secret: None })
    }

    #[test]
    fn an_agent_takes_its_name_from_the_machine_and_its_token_from_a_file() {
        let secret = Token::generate();
        let text =
            "token_file = 't'\ndrain_grace = '1s'\n[[service]]\nname = 'web'\naddress = 'localhost:80'\n";
        let plan = plan(text, &format!("{}\n", secret.reveal())).expect("a plan");
        assert_eq!(plan.settings.agent.as_str(), "edge-7");
        assert_eq!(plan.settings.limits.drain_grace.as_secs(), 1);
        assert_eq!(plan.settings.services.address(&"web".parse().expect("a name")), Some("localhost:80"));
        assert!(plan.settings.credential.is_some() && plan.warnings.is_empty());
        assert!(!format!("{plan:?}").contains(secret.reveal()));
    }

    #[test]
    fn the_admin_port_asks_for_the_tokens_that_it_is_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens.toml");
        let holder = bowline_identity::token::Holder::client("ops").expect("a name");
        std::fs::write(&file, Token::generate().table_entry(&holder)).expect("written");
        let open = "[admin]\nlisten = '127.0.0.1:0'\n";
        assert!(plan(open, "").expect("a plan").admin.expect("an admin port").tokens.is_none());
        let text = format!("{open}tokens_file = '{}'\n[limits]\ntunnels = 7\n", file.display());
        let plan = plan(&text, "").expect("a plan");
        assert!(plan.admin.expect("an admin port").tokens.is_some_and(|tokens| tokens.len() == 1));
        assert_eq!(plan.settings.limits.tunnels_max, 7);
    }

    #[test]
    fn a_file_that_is_no_token_is_named_and_not_shown() {
        let problems = plan("token_file = 't'\n", "hunter2").expect_err("not a token");
        assert_eq!(problems[0].key, "token_file");
        assert!(!problems[0].text.contains("hunter2"), "{problems:?}");
    }
}
