//! What is measured: ways from a client to the services.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use bowline_torture::http;
use bowline_torture::ports::free_address;
use bowline_torture::process::Process;
use tempfile::TempDir;

use super::service::Services;
use crate::program;
use crate::report::OURS;

/// What protects the bytes between the two halves of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Nothing.
    Plain,
    /// Bowline: TLS 1.3 with certificates on both sides. rathole: Noise.
    Encrypted,
}

impl Security {
    /// The word in the figure's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Encrypted => "encrypted",
        }
    }
}

/// A way to the services.
#[derive(Debug)]
pub struct Subject {
    /// Under which its samples are reported.
    pub name: &'static str,
    /// Reaches the source and sink.
    pub bulk: SocketAddr,
    /// Reaches the responder.
    pub http: SocketAddr,
    /// Reaches it too, without looking at HTTP, where `http` does.
    pub http_as_tcp: Option<SocketAddr>,
    _processes: Vec<Process>,
    _folder: Option<TempDir>,
}

const HOST: &str = "web.svc.bowline";

impl Subject {
    /// No tunnel at all.
    pub fn direct(services: &Services) -> Self {
        Self {
            name: "direct",
            bulk: services.bulk,
            http: services.http,
            http_as_tcp: None,
            _processes: Vec::new(),
            _folder: None,
        }
    }

    /// A gateway with its own store, and an agent.
    ///
    /// # Errors
    /// It does not start.
    pub async fn bowline(services: &Services, security: Security) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let program = program::bowline()?;
        let [http, agents, peers, admin, bulk, web] = [(); 6].map(|()| free_address());
        let (gateway_tls, agent_tls) = certificates(&program, path, security)?;
        let gateway = format!(
            "name = \"g1\"\n[http]\nlisten = \"{http}\"\n[agents]\nlisten = \"{agents}\"\n[peers]\nlisten = \"{peers}\"\n\
             [admin]\nlisten = \"{admin}\"\n[[tcp]]\nlisten = \"{bulk}\"\nservice = \"bulk\"\n\
             [[tcp]]\nlisten = \"{web}\"\nservice = \"web\"\n{gateway_tls}"
        );
        let agent = format!(
            "name = \"a1\"\njoin = [\"{agents}\"]\n[[service]]\nname = \"bulk\"\naddress = \"{}\"\n\
             [[service]]\nname = \"web\"\naddress = \"{}\"\n{agent_tls}",
            services.bulk, services.http
        );
        let mut processes = Vec::new();
        for (role, configuration) in [("server", gateway), ("agent", agent)] {
            let file = path.join(format!("{role}.toml"));
            fs::write(&file, configuration)?;
            let mut command = program::with_many_files(&program);
            processes.push(Process::start(path, role, command.arg(role).arg("--config").arg(&file))?);
        }
        http::wait_for_ok(http, HOST, "/").await;
        Ok(Self {
            name: OURS,
            bulk,
            http,
            http_as_tcp: Some(web),
            _processes: processes,
            _folder: Some(folder),
        })
    }

    /// rathole's server and client; `None` where it is not installed.
    ///
    /// # Errors
    /// It does not start.
    pub async fn rathole(services: &Services, security: Security) -> Result<Option<Self>> {
        let Some(program) = program::rathole() else {
            eprintln!(
                "rathole is not installed, so nothing is measured beside it; cargo xtask bench installs it"
            );
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let [control, bulk, http] = [(); 3].map(|()| free_address());
        let (server_noise, client_noise) = noise(&program, security)?;
        let server = format!(
            "[server]\nbind_addr = \"{control}\"\ndefault_token = \"bench\"\n{server_noise}\n\
             [server.services.bulk]\nbind_addr = \"{bulk}\"\n[server.services.web]\nbind_addr = \"{http}\"\n"
        );
        let client = format!(
            "[client]\nremote_addr = \"{control}\"\ndefault_token = \"bench\"\n{client_noise}\n\
             [client.services.bulk]\nlocal_addr = \"{}\"\n[client.services.web]\nlocal_addr = \"{}\"\n",
            services.bulk, services.http
        );
        let mut processes = Vec::new();
        for (role, configuration) in [("server", server), ("client", client)] {
            let file = path.join(format!("{role}.toml"));
            fs::write(&file, configuration)?;
            let mut command = program::with_many_files(&program);
            processes.push(Process::start(path, role, command.arg(format!("--{role}")).arg(&file))?);
        }
        http::wait_for_ok(http, HOST, "/").await;
        let name = "rathole";
        Ok(Some(Self { name, bulk, http, http_as_tcp: None, _processes: processes, _folder: Some(folder) }))
    }
}

/// The `[tls]` sections of gateway and agent, after making the files that they name.
fn certificates(bowline: &Path, folder: &Path, security: Security) -> Result<(String, String)> {
    if security == Security::Plain {
        return Ok((String::new(), String::new()));
    }
    let directory = folder.to_string_lossy();
    program::run(bowline, &["ca", "init", "--dir", &directory])?;
    program::run(bowline, &["ca", "issue", "gateway", "g1", "--dir", &directory])?;
    program::run(bowline, &["ca", "issue", "agent", "a1", "--dir", &directory])?;
    let section =
        |name: &str| format!("[tls]\nca = \"ca.crt\"\ncertificate = \"{name}.crt\"\nkey = \"{name}.key\"\n");
    Ok((section("g1"), section("a1")))
}

/// The `transport` sections of rathole's server and client.
fn noise(rathole: &Path, security: Security) -> Result<(String, String)> {
    if security == Security::Plain {
        return Ok((String::new(), String::new()));
    }
    // Prints "Private Key:\n<key>\n\nPublic Key:\n<key>".
    let output = Command::new(rathole).arg("--genkey").output().context("cannot start rathole")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let key = |title: &str| {
        let after = text.split(title).nth(1)?;
        after.split_whitespace().next().map(str::to_owned)
    };
    let (private, public) =
        key("Private Key:").zip(key("Public Key:")).with_context(|| format!("no keys: {text}"))?;
    let section = |half: &str, line: String| {
        format!("[{half}.transport]\ntype = \"noise\"\n[{half}.transport.noise]\n{line}\n")
    };
    Ok((
        section("server", format!("local_private_key = \"{private}\"")),
        section("client", format!("remote_public_key = \"{public}\"")),
    ))
}
