//! Running the roles: configuration from flags and files, the log, signals, and what is printed.

use std::path::Path;

use anyhow::Context as _;
use bowline_identity::token::Token;
use bowline_node::config::value::Secret;
use bowline_node::config::{
    AgentConfig, Loaded, Problem, RoleConfig, ServerConfig, StoreConfig, changed_keys,
};
use bowline_node::dev::{Dev, DevError, DevPlan};
use bowline_node::plan::{AgentPlan, Edge, ServerPlan, StorePlan};
use bowline_node::reload::Reload;
use bowline_node::server::Server;
use bowline_node::store::Store;
use tokio_util::sync::CancellationToken;

use crate::cli::roles::{AgentFlags, DevFlags, ServerFlags, StoreFlags};
use crate::cli::{LogFlags, Origins};
use crate::edge;
use crate::exit::Failure;
use crate::log;
use crate::signal::Signals;

/// Holds the password of the store, for those who use it and for the store itself.
const STORE_PASSWORD: &str = "BOWLINE_STORE_PASSWORD";
/// Holds the token of an agent, or of a client.
const TOKEN: &str = "BOWLINE_TOKEN";

/// The plan of a gateway.
pub fn server_plan(loaded: &Loaded<ServerConfig>) -> Result<ServerPlan, Failure> {
    planned(loaded, STORE_PASSWORD, ServerPlan::new)
}

/// The plan of an agent.
pub fn agent_plan(loaded: &Loaded<AgentConfig>) -> Result<AgentPlan, Failure> {
    planned(loaded, TOKEN, AgentPlan::new)
}

/// The plan of a store.
pub fn store_plan(loaded: &Loaded<StoreConfig>) -> Result<StorePlan, Failure> {
    planned(loaded, STORE_PASSWORD, StorePlan::new)
}

/// Makes a plan with the files and the environment of this process; `variable` may hold the secret.
fn planned<C: RoleConfig, P>(
    loaded: &Loaded<C>,
    variable: &str,
    plan: impl FnOnce(&C, &Edge<'_>) -> Result<P, Vec<Problem>>,
) -> Result<P, Failure> {
    let host_name = edge::host_name();
    let secret: Option<Secret> = edge::secret_variable(variable);
    let edge = Edge { read: &edge::read, host_name: &host_name, secret };
    plan(&loaded.config, &edge).map_err(|problems| loaded.locate(problems).into())
}

/// Runs a gateway.
pub async fn server(flags: &ServerFlags, log: &LogFlags, origins: &Origins) -> Result<(), Failure> {
    let loaded = flags.load(log, origins)?;
    start_log(&loaded)?;
    let mut plan = server_plan(&loaded)?;
    plan.memory = Some(edge::resident_memory);
    warn(&plan.warnings);
    let files = plan.reload();
    let (flags, log, origins) = (flags.clone(), log.clone(), origins.clone());
    let shutdown = prepare(move || {
        reload(&files, "tokens, certificates, signing keys and the store's password are read again");
        match flags.load(&log, &origins) {
            Ok(now) => name_restarts(changed_keys(&loaded.config, &now.config)),
            Err(failure) => tracing::error!("the configuration cannot be read again: {failure}"),
        }
    })?;
    let server = Server::start(plan).await.map_err(anyhow::Error::new)?;
    server.run(shutdown).await.map_err(anyhow::Error::new)?;
    Ok(())
}

/// Runs an agent.
pub async fn agent(flags: &AgentFlags, log: &LogFlags, origins: &Origins) -> Result<(), Failure> {
    let loaded = flags.load(log, origins)?;
    start_log(&loaded)?;
    let mut plan = agent_plan(&loaded)?;
    plan.memory = Some(edge::resident_memory);
    warn(&plan.warnings);
    let files = plan.reload();
    let credential = plan.settings.credential.clone();
    let (agent, handle) = bowline_node::agent::start(plan).await.map_err(anyhow::Error::new)?;
    let (flags, log, origins) = (flags.clone(), log.clone(), origins.clone());
    let shutdown = prepare(move || {
        reload(&files, "certificates are read again");
        let now = flags.load(&log, &origins).and_then(|now| Ok((agent_plan(&now)?, now)));
        match now {
            Ok((plan, now)) => {
                handle.replace_services(plan.settings.services);
                tracing::info!("services are read again");
                let token = has_changed(credential.as_ref(), plan.settings.credential.as_ref());
                name_restarts(agent_restarts(&loaded.config, &now.config, token));
            }
            Err(failure) => tracing::error!("the services stay as they were: {failure}"),
        }
    })?;
    agent.run(shutdown).await;
    Ok(())
}

fn has_changed(before: Option<&Token>, now: Option<&Token>) -> bool {
    before.map(Token::reveal) != now.map(Token::reveal)
}

/// The changed keys of an agent that a reload leaves as they are. `token`: the text in the file has changed.
fn agent_restarts(
    running: &AgentConfig,
    now: &AgentConfig,
    token: bool,
) -> Result<Vec<String>, toml::ser::Error> {
    let mut keys = changed_keys(running, now)?;
    keys.retain(|key| key != "service");
    let file = "token_file".to_owned();
    if token && !keys.contains(&file) {
        keys.push(file);
    }
    Ok(keys)
}

/// Runs a store.
pub async fn store(flags: &StoreFlags, log: &LogFlags, origins: &Origins) -> Result<(), Failure> {
    let loaded = flags.load(log, origins)?;
    start_log(&loaded)?;
    let plan = store_plan(&loaded)?;
    warn(&plan.warnings);
    let files = plan.reload();
    let (flags, log, origins) = (flags.clone(), log.clone(), origins.clone());
    let shutdown = prepare(move || {
        reload(&files, "certificates are read again");
        match flags.load(&log, &origins) {
            Ok(now) => name_restarts(changed_keys(&loaded.config, &now.config)),
            Err(failure) => tracing::error!("the configuration cannot be read again: {failure}"),
        }
    })?;
    let store = Store::start(&plan).await.map_err(anyhow::Error::new)?;
    tracing::info!(address = %store.address(), "the store serves");
    store.run(shutdown).await.map_err(anyhow::Error::new)?;
    Ok(())
}

/// Runs the development set-up.
pub async fn dev(flags: &DevFlags) -> Result<(), Failure> {
    let base = flags.port_base;
    let plan = DevPlan {
        http: flags.http_port.unwrap_or(base),
        sessions: flags.sessions_port.unwrap_or(base + 5),
        admin: flags.admin_port.unwrap_or(base + 10),
        agents: flags.agents_port.unwrap_or(base + 20),
        peers: flags.peers_port.unwrap_or(base + 21),
        memory: Some(edge::resident_memory),
    };
    edge::raise_open_files();
    let shutdown = CancellationToken::new();
    let signals = Signals::take().context("cannot start")?;
    bowline_rt::task::spawn("signals", signals.watch_to_stop(shutdown.clone()));
    let dev = Dev::start(&plan).await.map_err(dev_failure)?;
    edge::print(&dev_addresses(&dev))?;
    // It is gone when this function ends.
    let key = dev_key(&dev)?;
    let ready = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        ready = dev.ready() => Some(ready),
    };
    match ready {
        Some(Ok(())) => edge::print(&dev_example(&dev, key.path()))?,
        Some(Err(error)) => {
            shutdown.cancel();
            dev.run(shutdown).await.map_err(dev_failure)?;
            return Err(dev_failure(error));
        }
        None => {}
    }
    dev.run(shutdown).await.map_err(dev_failure)?;
    edge::print("stopped\n")
}

fn dev_failure(error: DevError) -> Failure {
    let text = error.to_string();
    match text.contains("address in use") {
        true => anyhow::anyhow!("{text}, for instance with --port-base 9000").into(),
        false => anyhow::Error::new(error).into(),
    }
}

fn dev_addresses(dev: &Dev) -> String {
    let addresses = dev.addresses();
    let mut text = format!(
        "Bowline for development only: no TLS, no tokens, loopback only, and nothing is kept.\n\n\
         \x20 http      http://{}/   requests for SERVICE.svc.bowline\n\
         \x20 admin     http://{}/v1/status   also /metrics, /healthz, /readyz\n",
        addresses.http, addresses.admin
    );
    if let Some(sessions) = addresses.sessions {
        text.push_str(&format!(
            "  sessions  http://{sessions}/v1/openapi.json   signed requests to /v1/user-sessions\n"
        ));
    }
    text.push_str(&format!(
        "  agents    {}   bowline agent --join ...\n  peers     {}   other gateways\n\n",
        addresses.agents, addresses.peers
    ));
    text
}

/// The key for the session service, in a file that only this user can read.
fn dev_key(dev: &Dev) -> Result<tempfile::NamedTempFile, Failure> {
    use std::io::Write as _;
    let file = tempfile::Builder::new().prefix("bowline-dev-").suffix(".key").tempfile();
    let mut file = file.context("cannot create a file for the signing key")?;
    file.write_all(dev.signing_key().to_toml().as_bytes()).context("cannot write the signing key")?;
    Ok(file)
}

fn dev_example(dev: &Dev, key: &Path) -> String {
    let mut text = format!(
        "A demo service runs behind an agent. Ask it through the gateway:\n\n\
         \x20 curl -H 'Host: {}' http://{}/\n\n",
        Dev::host(),
        dev.addresses().http
    );
    if let Some(sessions) = dev.addresses().sessions {
        let sign = format!("bowline sign --key {}", key.display());
        let url = format!("http://{sessions}/v1/user-sessions/42");
        text.push_str(&format!(
            "The session service takes signed requests. Write a session, and read it:\n\n\
             \x20 {sign} -X PUT --data hello {url} | curl -i --config -\n\
             \x20 {sign} {url} | curl -i --config -\n\n"
        ));
    }
    text.push_str("Ctrl-C stops everything.\n");
    text
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Reads the files of a running role again; `done` is what to say if all went well.
fn reload(files: &Reload, done: &str) {
    let problems = files.run();
    for problem in &problems {
        tracing::error!("cannot read again, the old one stays in use: {problem}");
    }
    if problems.is_empty() {
        tracing::info!("{done}");
    }
}

/// Says which changes of a configuration have to wait.
fn name_restarts(keys: Result<Vec<String>, toml::ser::Error>) {
    match keys {
        Ok(keys) if keys.is_empty() => {}
        Ok(keys) => {
            let keys = keys.join(", ");
            tracing::warn!(keys, "changed in the configuration, and not in force before a restart");
        }
        Err(error) => tracing::warn!(%error, "cannot tell which keys of the configuration have changed"),
    }
}

/// Starts the log as the configuration says.
fn start_log<C: RoleConfig>(loaded: &Loaded<C>) -> Result<(), Failure> {
    Ok(log::start(loaded.config.log()).map_err(|problem| loaded.locate(vec![problem]))?)
}

/// Makes the process ready for a role: the limit of open files, and the signals, which cancel the token.
fn prepare(reload: impl Fn() + Send + Sync + 'static) -> Result<CancellationToken, Failure> {
    edge::raise_open_files();
    let shutdown = CancellationToken::new();
    let signals = Signals::take().context("cannot start")?;
    bowline_rt::task::spawn("signals", signals.watch(shutdown.clone(), reload));
    Ok(shutdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_names_what_a_reload_leaves_as_it_is() {
        let running = AgentConfig::default();
        let read = |text: &str| toml::from_str::<AgentConfig>(text).expect("a configuration");
        let check = |text: &str, token: bool, expected: &[&str]| {
            let keys = agent_restarts(&running, &read(text), token).expect("TOML");
            assert_eq!(keys, expected, "{text}");
        };
        check("", false, &[]);
        check("[[service]]\nname = 'web'\naddress = 'h:1'\n", false, &[]);
        check("join = ['h:1']\n[log]\nlevel = 'debug'\n", false, &["join", "log.level"]);
        check("", true, &["token_file"]);
        check("token_file = 't'\n", true, &["token_file"]);
        let (one, other) = (Token::generate(), Token::generate());
        assert!(!has_changed(Some(&one), Some(&one)) && !has_changed(None, None));
        assert!(has_changed(Some(&one), Some(&other)) && has_changed(None, Some(&other)));
    }
}
