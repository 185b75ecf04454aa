//! From the files that a configuration names to acceptors, connectors, token tables and signing keys.

use std::path::Path;

use bowline_identity::signature::Keys;
use bowline_identity::tls::{
    Acceptor, ClientAuthentication, ClientSettings, Connector, Credential, Pem, ServerSettings, TlsError,
};
use bowline_identity::token::TokenTable;

use crate::config::Problem;
use crate::config::tls::{ClientTlsFiles, TlsFiles};

/// The authority in `path`.
pub(super) fn pem(path: &Path) -> Pem {
    Pem::File(path.to_owned())
}

/// A certificate and its key.
pub(super) fn credential(certificate: &Path, key: &Path) -> Credential {
    Credential { certificate: pem(certificate), key: pem(key) }
}

/// An acceptor that shows `credential`. `section`: what a problem is reported for.
pub(super) fn acceptor(
    section: &str,
    credential: Credential,
    client_authentication: ClientAuthentication,
    alpn: &[&[u8]],
) -> Result<Acceptor, Problem> {
    let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let settings = ServerSettings { credential, client_authentication, alpn };
    Acceptor::tls(settings).map_err(|error| problem(section, &error))
}

/// A connector that trusts the authority in `files` and shows its certificate, if there is one.
pub(super) fn connector(section: &str, files: &ClientTlsFiles) -> Result<Connector, Problem> {
    let credential = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => Some(credential(certificate, key)),
        _ => None,
    };
    let settings =
        ClientSettings { authority: pem(&files.ca), credential, server_name: None, alpn: Vec::new() };
    Connector::tls(settings).map_err(|error| problem(section, &error))
}

/// A gateway as a client of other gateways: its own certificate, its own authority.
pub(super) fn as_client(files: &TlsFiles) -> Option<ClientTlsFiles> {
    let ca = files.ca.clone()?;
    Some(ClientTlsFiles { ca, certificate: Some(files.certificate.clone()), key: Some(files.key.clone()) })
}

/// The tokens in `file`, which `key` names; at least one.
pub(super) fn token_table(key: &str, file: &Path) -> Result<TokenTable, Problem> {
    let table =
        TokenTable::from_file(file).map_err(|error| Problem::new(key, text_with_causes(&error), ""))?;
    if table.is_empty() {
        let advice = "add one with `bowline token new`";
        return Err(Problem::new(key, format!("{} has no token", file.display()), advice));
    }
    Ok(table)
}

/// The signing keys in `file`, which `key` names; at least one.
pub(super) fn signing_keys(key: &str, file: &Path) -> Result<Keys, Problem> {
    let keys = Keys::from_file(file).map_err(|error| Problem::new(key, text_with_causes(&error), ""))?;
    if keys.is_empty() {
        let advice = "add one with `bowline sign-key new`";
        return Err(Problem::new(key, format!("{} has no key", file.display()), advice));
    }
    Ok(keys)
}

fn problem(section: &str, error: &TlsError) -> Problem {
    Problem::new(section, text_with_causes(error), "")
}

/// An error and its causes on one line.
pub(crate) fn text_with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
