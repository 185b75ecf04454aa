//! Plans: configurations that were found right, with their files read. A role runs from a plan and asks no more.

pub mod agent;
pub mod server;
pub mod store;
mod store_link;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use bowline_identity::tls::Acceptor;
use bowline_model::limits::NAME_BYTES_MAX;

use crate::config::value::Secret;
use crate::config::{Problem, ReadFile};

pub use agent::{AgentAdminPlan, AgentPlan};
pub use server::{ServerPlan, SessionsPlan, TcpPlan};
pub use store::StorePlan;
pub use store_link::StoreLink;
pub(crate) use tls::text_with_causes;

/// What a plan takes from the world beside the configuration.
#[derive(Clone)]
pub struct Edge<'a> {
    /// Reads files with passwords and tokens. (Certificates are read where they are used, again at each reload.)
    pub read: ReadFile<'a>,
    /// Name of this machine, from which names are made that are not configured.
    pub host_name: &'a str,
    /// A password or token from the environment, used if no file is named.
    pub secret: Option<Secret>,
}

impl fmt::Debug for Edge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("host_name", &self.host_name).finish_non_exhaustive()
    }
}

/// A port to listen on.
#[derive(Debug, Clone)]
pub struct Port {
    /// What it is for, in errors and logs: `http`, `agents`, …
    pub name: String,
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether and how it speaks TLS.
    pub acceptor: Acceptor,
}

impl Port {
    /// A port without TLS.
    pub fn plain(name: impl Into<String>, listen: SocketAddr) -> Self {
        Self { name: name.into(), listen, acceptor: Acceptor::Plain }
    }
}

/// The secret in the file that `key` names, or the one from the environment.
fn secret(key: &str, file: Option<&PathBuf>, edge: &Edge<'_>) -> Result<Option<Secret>, Problem> {
    let Some(path) = file else { return Ok(edge.secret.clone()) };
    let problem = |text: String| Problem::new(key, format!("{}: {text}", path.display()), "");
    let bytes = (edge.read)(path).map_err(|error| problem(format!("cannot read it: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| problem("it is not a text".to_owned()))?;
    match text.trim() {
        "" => Err(problem("it is empty".to_owned())),
        text => Ok(Some(Secret::new(text.to_owned()))),
    }
}

/// A name made of the host's: one DNS label, empty if nothing is left. `room`: bytes to leave for a suffix.
fn name_of_host(host_name: &str, room: usize) -> String {
    let first = host_name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let fitting = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '-' };
    let label: String = first.bytes().map(fitting).take(NAME_BYTES_MAX - room).collect();
    label.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_host_name() {
        let check = |host: &str, expected: &str| assert_eq!(name_of_host(host, 6), expected, "{host}");
        check("Box_1.example.com", "box-1");
        check("edge", "edge");
        check("", "");
        check("...", "");
        check("-x-", "x");
        check("bücher", "b--cher");
        assert_eq!(name_of_host(&"x".repeat(100), 6).len(), 57);
    }

    #[test]
    fn a_secret_comes_from_the_file_before_the_environment() {
        let read = |path: &std::path::Path| match path.to_str() {
            Some("good") => Ok(b" s3cret\n".to_vec()),
            Some("empty") => Ok(b"\n".to_vec()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        let edge = Edge { read: &read, host_name: "", secret: Some(Secret::new("other".into())) };
        let check = |file: Option<&str>| secret("key", file.map(PathBuf::from).as_ref(), &edge);
        assert_eq!(check(Some("good")), Ok(Some(Secret::new("s3cret".into()))));
        assert_eq!(check(None), Ok(Some(Secret::new("other".into()))));
        assert!(check(Some("empty")).is_err_and(|problem| problem.text.contains("empty")));
        assert!(check(Some("none")).is_err_and(|problem| problem.key == "key"));
    }
}
