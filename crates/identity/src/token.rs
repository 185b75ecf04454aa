//! Bearer tokens: 256 random bits for the holder, their SHA-256 in the table of whoever checks them.
//!
//! A token has so many random bits that a plain hash is enough: there is nothing to guess from a stolen table. Each
//! is bound to one agent id or one named client, so that a token for one is of no use to another.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use bowline_model::AgentId;
use serde::Deserialize;
use toml::Spanned;
use zeroize::Zeroizing;

use crate::limits::{CLIENT_NAME_BYTES_MAX, FILE_BYTES_MAX, TOKEN_TEXT_BYTES_MAX, TOKENS_MAX};

/// What every token begins with, so that scanners for leaked secrets can find one.
const PREFIX: &str = "bwl_";
/// Random bytes of a token, and bytes of its hash.
const HASH_BYTES: usize = 32;
/// Bytes of a hash that the table is indexed by.
const INDEX_BYTES: usize = 8;

/// A secret that proves who one is. It prints as hidden and is wiped from memory when dropped.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

/// A text is not a token. What it was is not said: it may be a secret all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a token: expected {PREFIX} followed by 64 hexadecimal digits")]
pub struct TokenFormatError;

impl Token {
    /// Draws a new token.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; HASH_BYTES]);
        bowline_rt::random::fill(&mut *bytes);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * HASH_BYTES));
        text.push_str(PREFIX);
        push_hex(&mut text, &*bytes);
        Self(text)
    }

    /// The token itself, for the one place that hands it over.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The lines of a token table that let this token in as `holder`. They hold no secret.
    #[must_use]
    pub fn table_entry(&self, holder: &Holder) -> String {
        let mut hash = String::with_capacity(2 * HASH_BYTES);
        push_hex(&mut hash, &hash_of(self.reveal()));
        let (kind, key, name) = match holder {
            Holder::Agent(id) => ("agent", "agent", id.as_str()),
            Holder::Client(name) => ("client", "name", name.as_str()),
        };
        format!("[[token]]\nkind = \"{kind}\"\n{key} = \"{name}\"\nsha256 = \"{hash}\"\n")
    }
}

impl FromStr for Token {
    type Err = TokenFormatError;
    fn from_str(text: &str) -> Result<Self, TokenFormatError> {
        let digits = text.strip_prefix(PREFIX).ok_or(TokenFormatError)?;
        let fits = digits.len() == 2 * HASH_BYTES && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| Self(Zeroizing::new(text.to_owned()))).ok_or(TokenFormatError)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Whom a token lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This agent and no other.
    Agent(AgentId),
    /// A user of the entries, by a name for the logs.
    Client(String),
}

impl Holder {
    /// A client's holder.
    ///
    /// # Errors
    /// What is wrong with the name: letters, digits, `.`, `_` and `-` only, and not too many.
    pub fn client(name: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=CLIENT_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain);
        fits.then(|| Self::Client(name.to_owned())).ok_or_else(|| {
            format!("the name of a client is 1 to {CLIENT_NAME_BYTES_MAX} letters, digits, '.', '_' or '-'")
        })
    }
}

/// Why a token table was refused. Texts never repeat a value of the table: people paste tokens in the wrong place.
#[derive(Debug, thiserror::Error)]
pub enum TokenTableError {
    /// The file cannot be read.
    #[error("cannot read {}", .file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", .file.display())]
    TooLarge {
        /// Which file.
        file: PathBuf,
    },
    /// The file had tokens, and has none any more.
    #[error("{} has no token any more; write one, or restart without this file", .file.display())]
    Emptied {
        /// Which file.
        file: PathBuf,
    },
    /// Too many entries.
    #[error("the token table has more than {TOKENS_MAX} entries")]
    TooMany,
    /// An entry is wrong.
    #[error("{origin}, line {line}: {problem}")]
    Entry {
        /// File or other origin of the text.
        origin: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// Who may come in with which token. A clone shares what a reload changes.
#[derive(Debug, Clone, Default)]
pub struct TokenTable {
    file: Option<Arc<PathBuf>>,
    entries: Arc<ArcSwap<Entries>>,
}

/// By the first bytes of the hash. How long that takes tells an attacker something about the hash of his own guess,
/// which he knows already and cannot steer; the rest of the hash is compared in constant time.
type Entries = BTreeMap<[u8; INDEX_BYTES], Vec<Entry>>;

#[derive(Debug)]
struct Entry {
    hash: [u8; HASH_BYTES],
    holder: Holder,
}

impl TokenTable {
    /// Reads a table from TOML; errors call it `origin`.
    ///
    /// # Errors
    /// [`TokenTableError::Entry`] with the line, or [`TokenTableError::TooMany`].
    pub fn from_toml(origin: &str, text: &str) -> Result<Self, TokenTableError> {
        let entries = Arc::new(ArcSwap::from_pointee(parse(origin, text)?));
        Ok(Self { file: None, entries })
    }

    /// Reads a table from a file, which [`TokenTable::reload`] reads again.
    ///
    /// # Errors
    /// All of [`TokenTableError`].
    pub fn from_file(file: &Path) -> Result<Self, TokenTableError> {
        let entries = Arc::new(ArcSwap::from_pointee(parse_file(file)?));
        Ok(Self { file: Some(Arc::new(file.to_owned())), entries })
    }

    /// Reads the file again, if the table came from one. On an error the table stays as it was. A file without tokens is
    /// an error unless there were none before: more likely than not it is just being written, and it would shut everybody
    /// out.
    ///
    /// # Errors
    /// All of [`TokenTableError`].
    pub fn reload(&self) -> Result<(), TokenTableError> {
        let Some(file) = &self.file else { return Ok(()) };
        let entries = parse_file(file)?;
        if entries.is_empty() && !self.is_empty() {
            return Err(TokenTableError::Emptied { file: file.to_path_buf() });
        }
        self.entries.store(Arc::new(entries));
        Ok(())
    }

    /// The agent that `presented` proves to be.
    #[must_use]
    pub fn agent(&self, presented: &str) -> Option<AgentId> {
        match self.holder(presented)? {
            Holder::Agent(id) => Some(id),
            Holder::Client(_) => None,
        }
    }

    /// The name of the client that `presented` proves to be.
    #[must_use]
    pub fn client(&self, presented: &str) -> Option<String> {
        match self.holder(presented)? {
            Holder::Client(name) => Some(name),
            Holder::Agent(_) => None,
        }
    }

    /// Whether a reload of `other` changes this table too.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// Whether nobody can come in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.load().is_empty()
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load().values().map(Vec::len).sum()
    }

    fn holder(&self, presented: &str) -> Option<Holder> {
        if presented.len() > TOKEN_TEXT_BYTES_MAX {
            return None;
        }
        let hash = hash_of(presented);
        let entries = self.entries.load();
        let candidates = entries.get(&index_of(&hash))?;
        let found = candidates.iter().find(|entry| verify_slices_are_equal(&entry.hash, &hash).is_ok())?;
        Some(found.holder.clone())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    token: Vec<Spanned<RawEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    kind: Kind,
    agent: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    sha256: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Agent,
    Client,
}

fn parse_file(file: &Path) -> Result<Entries, TokenTableError> {
    let unreadable = |source| TokenTableError::Read { file: file.to_owned(), source };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(TokenTableError::TooLarge { file: file.to_owned() });
    }
    parse(&file.display().to_string(), &text)
}

fn parse(origin: &str, text: &str) -> Result<Entries, TokenTableError> {
    let problem_at = |offset: usize, problem: String| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        TokenTableError::Entry { origin: origin.to_owned(), line, problem }
    };
    let document: Document = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        // The parser's message may quote a value, and the value may be a token in the wrong place.
        let message = error.message();
        let shown = if message.contains(PREFIX) { "a value is of the wrong kind" } else { message };
        problem_at(offset, shown.to_owned())
    })?;
    if document.token.len() > TOKENS_MAX {
        return Err(TokenTableError::TooMany);
    }
    let mut entries = Entries::new();
    for raw in document.token {
        let start = raw.span().start;
        let raw = raw.into_inner();
        let hash_at = raw.sha256.span().start;
        let hash = hash_from_hex(raw.sha256.get_ref()).map_err(|problem| problem_at(hash_at, problem))?;
        let holder =
            holder(&raw).map_err(|(offset, problem)| problem_at(offset.unwrap_or(start), problem))?;
        let same_index = entries.entry(index_of(&hash)).or_default();
        if same_index.iter().any(|entry| entry.hash == hash) {
            return Err(problem_at(hash_at, "an earlier entry has the same sha256".to_owned()));
        }
        same_index.push(Entry { hash, holder });
    }
    Ok(entries)
}

/// Whom an entry lets in, or where and what is wrong.
fn holder(raw: &RawEntry) -> Result<Holder, (Option<usize>, String)> {
    let wrong = |value: &Spanned<String>, problem: String| (Some(value.span().start), problem);
    match (&raw.kind, &raw.agent, &raw.name) {
        (Kind::Agent, Some(agent), None) => match agent.get_ref().parse() {
            Ok(id) => Ok(Holder::Agent(id)),
            Err(_) if agent.get_ref().contains(PREFIX) => {
                Err(wrong(agent, "agent is the id of an agent, not a token".to_owned()))
            }
            Err(error) => Err(wrong(agent, error.to_string())),
        },
        (Kind::Client, None, Some(name)) => {
            Holder::client(name.get_ref()).map_err(|problem| wrong(name, problem))
        }
        (Kind::Agent, _, Some(name)) => Err(wrong(name, "an entry of kind agent has no name".to_owned())),
        (Kind::Client, Some(agent), _) => {
            Err(wrong(agent, "an entry of kind client has no agent".to_owned()))
        }
        (Kind::Agent, None, None) => Err((None, "an entry of kind agent needs agent = \"<id>\"".to_owned())),
        (Kind::Client, None, None) => {
            Err((None, "an entry of kind client needs name = \"<name>\"".to_owned()))
        }
    }
}

fn hash_of(token: &str) -> [u8; HASH_BYTES] {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn index_of(hash: &[u8; HASH_BYTES]) -> [u8; INDEX_BYTES] {
    *hash.first_chunk().expect("the index is a part of the hash")
}

fn hash_from_hex(text: &str) -> Result<[u8; HASH_BYTES], String> {
    if text.starts_with(PREFIX) {
        return Err(
            "sha256 is the hash of a token, not the token itself; consider that token leaked".to_owned()
        );
    }
    let wrong = || format!("sha256 is {} hexadecimal digits", 2 * HASH_BYTES);
    if text.len() != 2 * HASH_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut hash = [0; HASH_BYTES];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str) -> Holder {
        Holder::Agent(id.parse().unwrap())
    }

    #[test]
    fn a_token_lets_in_its_holder_and_nobody_else() {
        let (edge, ops, stranger) = (Token::generate(), Token::generate(), Token::generate());
        let text = edge.table_entry(&agent("edge-1")) + &ops.table_entry(&Holder::client("ops").unwrap());
        let table = TokenTable::from_toml("test", &text).unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(table.agent(edge.reveal()).unwrap().as_str(), "edge-1");
        assert_eq!(table.client(ops.reveal()).as_deref(), Some("ops"));
        assert_eq!(table.client(edge.reveal()), None);
        assert_eq!(table.agent(ops.reveal()), None);
        assert_eq!(table.agent(stranger.reveal()), None);
        assert_eq!(table.agent(""), None);
        assert_eq!(table.agent(&"x".repeat(10_000)), None);
        assert!(!text.contains(edge.reveal()));
    }

    #[test]
    fn a_token_reads_back_and_never_shows() {
        let token = Token::generate();
        assert_eq!(token.reveal().len(), 68);
        assert_eq!(token.reveal().parse::<Token>().unwrap().reveal(), token.reveal());
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        for bad in
            ["", "bwl_", "bwl_12", &format!("{}0", token.reveal()), &token.reveal().replace("bwl", "abc")]
        {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }

    fn check_refused(text: &str, expected: &str) {
        let error = TokenTable::from_toml("tokens.toml", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("bwl_"), "a token shows: {error}");
    }

    #[test]
    fn a_wrong_table_is_refused_with_the_line() {
        let hash = "ab".repeat(32);
        let entry = |line: &str| format!("[[token]]\n{line}\nsha256 = \"{hash}\"\n");
        let good = entry("kind = \"agent\"\nagent = \"a\"");
        check_refused("[[token]\n", "tokens.toml, line 1: ");
        check_refused(&entry("kind = \"agent\"\nagnet = \"a\""), "line 3: unknown field `agnet`");
        check_refused(&entry("kind = \"robot\""), "line 2: unknown variant `robot`");
        check_refused(&entry("kind = \"bwl_0123\""), "line 2: a value is of the wrong kind");
        check_refused(&entry("kind = \"agent\""), "line 1: an entry of kind agent needs agent");
        check_refused(&entry("kind = \"client\""), "line 1: an entry of kind client needs name");
        check_refused(
            &entry("kind = \"client\"\nagent = \"a\""),
            "line 3: an entry of kind client has no agent",
        );
        check_refused(&entry("kind = \"agent\"\nagent = \"A\""), "line 3: agent names have lower-case");
        check_refused(
            &entry("kind = \"agent\"\nagent = \"bwl_12\""),
            "line 3: agent is the id of an agent, not a token",
        );
        check_refused(&entry("kind = \"client\"\nname = \"a b\""), "line 3: the name of a client");
        check_refused(&(good.clone() + &good), "line 8: an earlier entry has the same sha256");
        check_refused(
            "[[token]]\nkind = \"agent\"\nagent = \"a\"\nsha256 = \"12\"\n",
            "line 4: sha256 is 64",
        );
        check_refused(
            "[[token]]\nkind = \"agent\"\nagent = \"a\"\nsha256 = \"bwl_12\"\n",
            "line 4: sha256 is the hash of a token, not the token itself",
        );
        check_refused("[tokens]\n", "unknown field `tokens`");
    }

    #[test]
    fn an_agent_may_have_two_tokens_while_they_are_rotated() {
        let (old, new) = (Token::generate(), Token::generate());
        let text = old.table_entry(&agent("a")) + &new.table_entry(&agent("a"));
        let table = TokenTable::from_toml("test", &text).unwrap();
        assert_eq!(table.agent(old.reveal()), table.agent(new.reveal()));
    }

    #[test]
    fn a_reload_replaces_the_table_unless_the_file_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens.toml");
        let (old, new) = (Token::generate(), Token::generate());
        std::fs::write(&file, old.table_entry(&agent("a"))).unwrap();
        let table = TokenTable::from_file(&file).unwrap();
        let shared = table.clone();
        std::fs::write(&file, "[[token]]").unwrap();
        assert!(table.reload().is_err());
        for nothing in ["", "# no token\n"] {
            std::fs::write(&file, nothing).unwrap();
            assert!(matches!(table.reload(), Err(TokenTableError::Emptied { .. })), "{nothing:?}");
        }
        assert!(shared.agent(old.reveal()).is_some());
        std::fs::write(&file, new.table_entry(&agent("a"))).unwrap();
        table.reload().unwrap();
        assert!(shared.agent(old.reveal()).is_none() && shared.agent(new.reveal()).is_some());
        assert!(TokenTable::default().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_table_is_too_odd_and_no_token_shows(text in "(\\[\\[token\\]\\]|kind|agent|name|sha256|=|\"|\n| |bwl_[0-9a-f]{64}|é){0,12}") {
            if let Err(error) = TokenTable::from_toml("test", &text) {
                assert!(!error.to_string().contains("bwl_"), "{error}");
            }
        }
    }
}
