//! `bowline ca`, `bowline token` and `bowline sign-key`: making the files that prove who is who.
//!
//! Nothing is overwritten unless that was asked for, and what is secret is written so that only its owner can read it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Former, Request};
use bowline_identity::signature::{Keys, SigningKey};
use bowline_identity::token::{Holder, Token};

use crate::cli::signing::NewSignKeyFlags;
use crate::cli::tools::{CaCommand, Holder as Kind, IssueFlags, NewTokenFlags};
use crate::edge;
use crate::exit::Failure;

/// Where agents and gateways on the same machine dial a gateway.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Mode of a file with a secret.
const SECRET_MODE: u32 = 0o600;
/// Mode of a file without one.
const PUBLIC_MODE: u32 = 0o644;
/// Mode of a file that others may append to, too, if the umask lets them.
const SHARED_MODE: u32 = 0o666;

/// Runs `bowline ca` and returns what to print.
pub fn authority(command: CaCommand) -> Result<String, Failure> {
    match command {
        CaCommand::Init { dir, name, days } => init(&dir, &name, days),
        CaCommand::Issue(flags) => issue(flags),
    }
}

fn init(dir: &Path, name: &str, days: u32) -> Result<String, Failure> {
    let authority = Authority::create(name, days).map_err(usage)?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let files = Files::of(dir, "ca");
    files.must_be_new("a file that is there is never overwritten")?;
    files.create(authority.key().reveal(), authority.certificate())?;
    let Files { key, certificate } = files;
    Ok(format!(
        "wrote {} (secret: guard it well) and {} (give it to every gateway and agent)\n",
        key.display(),
        certificate.display()
    ))
}

fn issue(flags: IssueFlags) -> Result<String, Failure> {
    let IssueFlags { kind, name, san, days, renew, dir } = flags;
    let identity = match kind {
        Kind::Gateway => Identity::Gateway(name.parse().map_err(usage)?),
        Kind::Agent => Identity::Agent(name.parse().map_err(usage)?),
    };
    let files = Files::of(&dir, &name);
    let names = match kind {
        _ if renew => Some(former_names(&files.certificate, &identity)?),
        Kind::Gateway => Some(LOCAL_NAMES.map(str::to_owned).to_vec()),
        Kind::Agent => None,
    };
    let names = if san.is_empty() { names.unwrap_or_default() } else { san };
    if !renew {
        files.must_be_new("--renew replaces both")?;
    }
    let certificate = edge::read_text(&dir.join("ca.crt")).map_err(|failure| no_authority(&failure))?;
    let key = edge::read_text(&dir.join("ca.key")).map_err(|failure| no_authority(&failure))?;
    let authority = Authority::from_pem(&certificate, &key).map_err(usage)?;
    let issued = authority.issue(&Request { identity, names: names.clone(), days }).map_err(usage)?;
    match renew {
        true => files.replace(issued.key.reveal(), &issued.certificate)?,
        false => files.create(issued.key.reveal(), &issued.certificate)?,
    }
    let whose = if names.is_empty() { String::new() } else { format!(", for {}", names.join(", ")) };
    let Files { key, certificate } = files;
    Ok(format!("wrote {} (secret) and {}{whose}\n", key.display(), certificate.display()))
}

/// The host names and addresses of the certificate that is to be renewed, which must be that of `identity`.
fn former_names(certificate: &Path, identity: &Identity) -> Result<Vec<String>, Failure> {
    let text = edge::read_text(certificate)
        .map_err(|failure| Failure::Usage(format!("{failure}; without --renew a new one is issued")))?;
    let shown = certificate.display();
    let former = Former::from_pem(&text).map_err(|error| Failure::Usage(format!("{shown}: {error}")))?;
    match former.identity {
        Some(of) if of == *identity => Ok(former.names),
        Some(other) => {
            Err(Failure::Usage(format!("{shown} is the certificate of {other}, not of {identity}")))
        }
        None => Err(Failure::Usage(format!("{shown} is not the certificate of {identity}"))),
    }
}

/// Where a key and its certificate are.
struct Files {
    key: PathBuf,
    certificate: PathBuf,
}

impl Files {
    fn of(dir: &Path, name: &str) -> Self {
        Self { key: dir.join(format!("{name}.key")), certificate: dir.join(format!("{name}.crt")) }
    }

    /// Neither may be there: with one of them new and the other old they would be no pair.
    fn must_be_new(&self, advice: &str) -> Result<()> {
        for file in [&self.key, &self.certificate] {
            anyhow::ensure!(
                file.symlink_metadata().is_err(),
                "{} is there already ({advice})",
                file.display()
            );
        }
        Ok(())
    }

    fn create(&self, key: &str, certificate: &str) -> Result<()> {
        write_new(&self.key, key, SECRET_MODE)?;
        write_new(&self.certificate, certificate, PUBLIC_MODE)
    }

    /// Writes both beside the old ones first, so that what can go wrong has gone wrong before anything is replaced. Who
    /// reads between the two renames finds that they are no pair, and keeps what it has.
    fn replace(&self, key: &str, certificate: &str) -> Result<()> {
        let beside = Self { key: beside(&self.key), certificate: beside(&self.certificate) };
        for file in [&beside.key, &beside.certificate] {
            // Left over from one that was interrupted, or not there.
            drop(std::fs::remove_file(file));
        }
        beside.create(key, certificate)?;
        let pairs = [(&beside.key, &self.key), (&beside.certificate, &self.certificate)];
        for (new, old) in pairs {
            inherit(new, old)?;
        }
        for (new, old) in pairs {
            std::fs::rename(new, old).with_context(|| format!("cannot replace {}", old.display()))?;
        }
        Ok(())
    }
}

/// Gives a file the owner and the rights of the one that it is to replace, so that whoever could read that can read it.
fn inherit(new: &Path, old: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let Ok(former) = old.metadata() else { return Ok(()) };
    let own = new.metadata().with_context(|| format!("cannot look at {}", new.display()))?;
    if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
        chown(new, Some(former.uid()), Some(former.gid()))
            .with_context(|| format!("cannot give {} the owner of {}", new.display(), old.display()))?;
    }
    std::fs::set_permissions(new, former.permissions())
        .with_context(|| format!("cannot give {} the rights of {}", new.display(), old.display()))
}

/// A file in the same directory, from which one step leads to `file`.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
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
        Some(file) => append(file, &format!("\n{entry}"), SHARED_MODE)?,
        None => edge::say(&format!("# for the tokens_file of every gateway\n{entry}")),
    }
    Ok(printed)
}

/// Runs `bowline sign-key new` and returns what to print: the lines for the server, unless they went to a file.
pub fn new_signing_key(flags: &NewSignKeyFlags) -> Result<String, Failure> {
    let key = SigningKey::generate(flags.id.clone(), flags.algorithm.into());
    let entry = key.table_entry(&flags.namespace);
    if let Some(table) = flags.append.as_ref().filter(|table| table.exists()) {
        // A table that would be refused, because of a key of the same id perhaps, is not made worse.
        let before = edge::read_text(table)?;
        Keys::from_toml(&table.display().to_string(), &format!("{before}\n{}", *entry)).map_err(usage)?;
    }
    let file = flags.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.key", flags.id)));
    write_new(&file, &key.to_toml(), SECRET_MODE)?;
    edge::say(&format!("wrote {} (secret: for whoever signs, with `bowline sign --key`)", file.display()));
    match &flags.append {
        Some(table) => {
            // With hmac-sha256 the table has the secret as well.
            append(table, &format!("\n{}", *entry), SECRET_MODE)?;
            Ok(String::new())
        }
        None => Ok(entry.to_string()),
    }
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).with_context(|| {
        format!("cannot create {} (a file that is there is never overwritten)", path.display())
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Appends to a file, or begins one with this mode.
fn append(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .append(true)
        .create(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use bowline_identity::token::TokenTable;

    use super::*;
    use crate::cli::signing::Algorithm as SignAlgorithm;
    use crate::cli::signing::NewSignKeyFlags;
    use crate::cli::tools::TokenHolder;

    fn flags(kind: Kind, name: &str, dir: &Path) -> IssueFlags {
        IssueFlags {
            kind,
            name: name.to_owned(),
            san: Vec::new(),
            days: 5,
            renew: false,
            dir: dir.to_owned(),
        }
    }

    fn init(dir: &Path) -> Result<String, Failure> {
        authority(CaCommand::Init { dir: dir.to_owned(), name: "test".into(), days: 10 })
    }

    fn mode_of(file: &Path) -> u32 {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).expect("a file").permissions())
    }

    #[test]
    fn an_authority_is_created_once_and_issues() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        let issue = |kind, name: &str| authority(CaCommand::Issue(flags(kind, name, dir)));
        let error = issue(Kind::Agent, "edge-1").expect_err("no authority yet").to_string();
        assert!(error.contains("bowline ca init"), "{error}");
        init(dir).expect("created");
        let error = init(dir).expect_err("it is there already").to_string();
        assert!(error.contains("ca.key"), "{error}");
        issue(Kind::Agent, "edge-1").expect("issued");
        issue(Kind::Gateway, "gw-1").expect("issued");
        assert!(matches!(issue(Kind::Gateway, "GW"), Err(Failure::Usage(_))));
        assert_eq!(mode_of(&dir.join("gw-1.key")) & 0o077, 0, "a key is nobody else's business");
    }

    #[test]
    fn what_is_there_is_not_half_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        std::fs::write(dir.join("ca.crt"), "mine").expect("written");
        let error = init(dir).expect_err("ca.crt is there").to_string();
        assert!(error.contains("ca.crt is there already") && !dir.join("ca.key").exists(), "{error}");
        std::fs::remove_file(dir.join("ca.crt")).expect("removed");
        init(dir).expect("created");
        std::fs::write(dir.join("gw-1.crt"), "mine").expect("written");
        let issued = authority(CaCommand::Issue(flags(Kind::Gateway, "gw-1", dir)));
        let error = issued.expect_err("gw-1.crt is there").to_string();
        assert!(error.contains("--renew") && !dir.join("gw-1.key").exists(), "{error}");
    }

    #[test]
    fn a_certificate_is_renewed_with_its_key_and_keeps_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        init(dir).expect("created");
        let san = vec!["gw-1.example.com".to_owned(), "10.0.0.1".to_owned()];
        let first = IssueFlags { san, ..flags(Kind::Gateway, "gw-1", dir) };
        authority(CaCommand::Issue(first)).expect("issued");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a file");
        let before = [read("gw-1.key"), read("gw-1.crt")];
        std::fs::write(dir.join("gw-1.key.new"), "left over").expect("written");
        let group_reads = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(dir.join("gw-1.key"), group_reads).expect("ours");

        let renew = |kind, name: &str| {
            authority(CaCommand::Issue(IssueFlags { renew: true, ..flags(kind, name, dir) }))
        };
        let said = renew(Kind::Gateway, "gw-1").expect("renewed");
        assert!(said.contains("for gw-1.example.com, 10.0.0.1"), "{said}");
        let after = [read("gw-1.key"), read("gw-1.crt")];
        assert!(before[0] != after[0] && before[1] != after[1]);
        assert_eq!(mode_of(&dir.join("gw-1.key")) & 0o777, 0o640, "the rights are kept");
        assert_eq!(std::fs::read_dir(dir).expect("a folder").count(), 4, "nothing is left over");

        for (kind, name, part) in [
            (Kind::Gateway, "gw-2", "cannot read"),
            (Kind::Agent, "gw-1", "is the certificate of gateway gw-1, not of agent gw-1"),
            (Kind::Agent, "ca", "is not the certificate of agent ca"),
        ] {
            let error = renew(kind, name).expect_err("not renewed").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn tokens_are_appended_to_a_table_that_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens.toml");
        let secret_file = Some(folder.path().join("ops.token"));
        let new = |agent: Option<&str>, client: Option<&str>| NewTokenFlags {
            holder: TokenHolder {
                agent: agent.map(|agent| agent.parse().expect("a name")),
                client: client.map(str::to_owned),
            },
            append: Some(file.clone()),
            secret_file: secret_file.clone(),
        };
        let printed = NewTokenFlags { secret_file: None, ..new(Some("edge-1"), None) };
        let printed = new_token(&printed).expect("written");
        assert_eq!(new_token(&new(None, Some("ops"))).expect("written"), "");
        let table = TokenTable::from_file(&file).expect("a table");
        assert_eq!(table.agent(printed.trim()).expect("known").as_str(), "edge-1");
        let secret = std::fs::read_to_string(folder.path().join("ops.token")).expect("a file");
        assert_eq!(table.client(secret.trim()).as_deref(), Some("ops"));
        assert!(matches!(new_token(&new(None, Some("o p s"))), Err(Failure::Usage(_))));
    }

    #[test]
    fn signing_keys_are_appended_to_a_table_that_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, table) = (folder.path().join("a.key"), folder.path().join("keys.toml"));
        let new = |id: &str, algorithm, append: bool| NewSignKeyFlags {
            id: id.parse().expect("an id"),
            namespace: "orders".parse().expect("a namespace"),
            algorithm,
            file: Some(folder.path().join(format!("{id}.key"))),
            append: append.then(|| table.clone()),
        };
        let printed = new_signing_key(&new("a", SignAlgorithm::HmacSha256, false)).expect("written");
        assert_eq!(Keys::from_toml("printed", &printed).expect("keys").len(), 1);
        assert_eq!(mode_of(&file) & 0o777, 0o600);
        SigningKey::from_file(&file).expect("a key");
        let again = new_signing_key(&new("a", SignAlgorithm::Ed25519, true)).expect_err("there already");
        assert!(again.to_string().contains("a file that is there is never overwritten"), "{again}");
        assert!(!table.exists(), "nothing was done");
        for id in ["b", "c"] {
            assert_eq!(new_signing_key(&new(id, SignAlgorithm::HmacSha256, true)).expect("written"), "");
        }
        assert_eq!(mode_of(&table) & 0o777, 0o600);
        assert_eq!(Keys::from_file(&table).expect("keys").len(), 2);
        std::fs::remove_file(folder.path().join("b.key")).expect("removed");
        let twice = new_signing_key(&new("b", SignAlgorithm::Ed25519, true)).expect_err("the id is taken");
        assert!(twice.to_string().contains("an earlier key has the same id"), "{twice}");
        assert!(!folder.path().join("b.key").exists(), "nothing was done");
    }
}
