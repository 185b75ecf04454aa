//! `bowline ca` and `bowline token`: making the files that prove who is who.
//!
//! Nothing is ever overwritten, and what is secret is written so that only its owner can read it.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::token::{Holder, Token};

use crate::cli::tools::{CaCommand, Holder as Kind, NewTokenFlags};
use crate::edge;
use crate::exit::Failure;

/// Where agents and gateways on the same machine dial a gateway.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Mode of a file with a secret.
const SECRET_MODE: u32 = 0o600;
/// Mode of a file without one.
const PUBLIC_MODE: u32 = 0o644;

/// Runs `bowline ca` and returns what to print.
pub fn authority(command: CaCommand) -> Result<String, Failure> {
    match command {
        CaCommand::Init { dir, name, days } => {
            let authority = Authority::create(&name, days).map_err(usage)?;
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            let written = [
                write_new(&dir.join("ca.key"), authority.key().reveal(), SECRET_MODE)?,
                write_new(&dir.join("ca.crt"), authority.certificate(), PUBLIC_MODE)?,
            ];
            let [key, certificate] = written;
            Ok(format!(
                "wrote {key} (secret: guard it well) and {certificate} (give it to every gateway and agent)\n"
            ))
        }
        CaCommand::Issue { kind, name, san, days, dir } => issue(kind, &name, san, days, &dir),
    }
}

fn issue(kind: Kind, name: &str, san: Vec<String>, days: u32, dir: &Path) -> Result<String, Failure> {
    let identity = match kind {
        Kind::Gateway => Identity::Gateway(name.parse().map_err(usage)?),
        Kind::Agent => Identity::Agent(name.parse().map_err(usage)?),
    };
    let names = match kind {
        Kind::Gateway if san.is_empty() => LOCAL_NAMES.map(str::to_owned).to_vec(),
        _ => san,
    };
    let certificate = edge::read_text(&dir.join("ca.crt")).map_err(|failure| no_authority(&failure))?;
    let key = edge::read_text(&dir.join("ca.key")).map_err(|failure| no_authority(&failure))?;
    let authority = Authority::from_pem(&certificate, &key).map_err(usage)?;
    let issued = authority.issue(&Request { identity, names: names.clone(), days }).map_err(usage)?;
    let written = [
        write_new(&dir.join(format!("{name}.key")), issued.key.reveal(), SECRET_MODE)?,
        write_new(&dir.join(format!("{name}.crt")), &issued.certificate, PUBLIC_MODE)?,
    ];
    let whose = if names.is_empty() { String::new() } else { format!(", for {}", names.join(", ")) };
    let [key, certificate] = written;
    Ok(format!("wrote {key} (secret) and {certificate}{whose}\n"))
}

fn no_authority(failure: &Failure) -> Failure {
    Failure::Usage(format!("{failure}; create an authority with `bowline ca init`, or name its --dir"))
}

fn usage(error: impl std::error::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// Runs `bowline token new` and returns what to print: the token, unless it went to a file.
pub fn new_token(flags: &NewTokenFlags) -> Result<String, Failure> {
    let holder = match (&flags.holder.agent, &flags.holder.client) {
        (Some(agent), _) => Holder::Agent(agent.clone()),
        (None, Some(client)) => Holder::client(client).map_err(Failure::Usage)?,
        (None, None) => unreachable!("clap requires one of both"),
    };
    let token = Token::generate();
    let entry = token.table_entry(&holder);
    let secret = format!("{}\n", token.reveal());
    // The file first: a token that is lost must not stay in the table.
    let printed = match &flags.secret_file {
        Some(file) => {
            write_new(file, &secret, SECRET_MODE)?;
            String::new()
        }
        None => secret,
    };
    match &flags.append {
        Some(file) => append(file, &format!("\n{entry}"))?,
        None => edge::say(&format!("# for the tokens_file of every gateway\n{entry}")),
    }
    Ok(printed)
}

/// Writes a file that must not exist yet and returns its name.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).with_context(|| {
        format!("cannot create {} (a file that is there is never overwritten)", path.display())
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}

fn append(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use bowline_identity::token::TokenTable;

    use super::*;
    use crate::cli::tools::TokenHolder;

    #[test]
    fn an_authority_is_created_once_and_issues() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().to_owned();
        let init = || CaCommand::Init { dir: dir.clone(), name: "test".into(), days: 10 };
        let issue = |kind, name: &str| {
            let (name, dir) = (name.to_owned(), dir.clone());
            authority(CaCommand::Issue { kind, name, san: Vec::new(), days: 5, dir })
        };
        let error = issue(Kind::Agent, "edge-1").expect_err("no authority yet").to_string();
        assert!(error.contains("bowline ca init"), "{error}");
        authority(init()).expect("created");
        let error = authority(init()).expect_err("it is there already").to_string();
        assert!(error.contains("ca.key"), "{error}");
        issue(Kind::Agent, "edge-1").expect("issued");
        issue(Kind::Gateway, "gw-1").expect("issued");
        assert!(matches!(issue(Kind::Gateway, "GW"), Err(Failure::Usage(_))));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(dir.join("gw-1.key")).expect("a file").permissions(),
        );
        assert_eq!(mode & 0o077, 0, "a key is nobody else's business");
    }

    #[test]
    fn tokens_are_appended_to_a_table_that_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens.toml");
        let secret_file = Some(folder.path().join("ops.token"));
        let flags = |agent: Option<&str>, client: Option<&str>| NewTokenFlags {
            holder: TokenHolder {
                agent: agent.map(|agent| agent.parse().expect("a name")),
                client: client.map(str::to_owned),
            },
            append: Some(file.clone()),
            secret_file: secret_file.clone(),
        };
        let printed = NewTokenFlags { secret_file: None, ..flags(Some("edge-1"), None) };
        let printed = new_token(&printed).expect("written");
        assert_eq!(new_token(&flags(None, Some("ops"))).expect("written"), "");
        let table = TokenTable::from_file(&file).expect("a table");
        assert_eq!(table.agent(printed.trim()).expect("known").as_str(), "edge-1");
        let secret = std::fs::read_to_string(folder.path().join("ops.token")).expect("a file");
        assert_eq!(table.client(secret.trim()).as_deref(), Some("ops"));
        assert!(matches!(new_token(&flags(None, Some("o p s"))), Err(Failure::Usage(_))));
    }
}
