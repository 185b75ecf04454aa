//! The file of keys, as TOML: one `[[key]]` each. Errors name the line and never repeat a value, which may be a secret.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Deserializer};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use toml::Spanned;
use toml::value::Datetime;
use zeroize::Zeroizing;

use super::encoding;
use super::keys::{Algorithm, Key, Material, Table};
use super::words::KeyId;
use crate::limits::{FILE_BYTES_MAX, HMAC_SECRET_BYTES_MAX, HMAC_SECRET_BYTES_MIN, SIGNING_KEYS_MAX};

/// Bytes of a public key of Ed25519.
const PUBLIC_KEY_BYTES: usize = 32;
/// What stands before them in a SubjectPublicKeyInfo (RFC 8410).
const PUBLIC_KEY_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a file of keys was refused. Texts never repeat a value of the file, but the id of a key that was
/// known before.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
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
    /// The file had keys, and has none any more.
    #[error("{} has no key any more; write one, or restart without this file", .file.display())]
    Emptied {
        /// Which file.
        file: PathBuf,
    },
    /// A key has another namespace than before. A copy of a request that was signed with it would be let in there once more.
    #[error("{}: the key {id} has another namespace than before; give a key of another namespace another id", .file.display())]
    Moved {
        /// Which file.
        file: PathBuf,
        /// Which key.
        id: KeyId,
    },
    /// Too many keys.
    #[error("{origin} has more than {SIGNING_KEYS_MAX} keys")]
    TooMany {
        /// File or other origin of the text.
        origin: String,
    },
    /// A key is wrong.
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

/// A text that is wiped from memory when dropped.
pub(super) struct Hidden(pub Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    key: Vec<Spanned<RawKey>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: Spanned<String>,
    algorithm: Spanned<String>,
    namespace: Spanned<String>,
    secret: Option<Spanned<Hidden>>,
    public_key: Option<Spanned<String>>,
    not_before: Option<Spanned<toml::Value>>,
    not_after: Option<Spanned<toml::Value>>,
    #[serde(rename = "description")]
    _description: Option<String>,
}

/// Where in the text something is wrong, and what.
type Wrong = (usize, String);

pub(super) fn parse_file(file: &Path) -> Result<Table, KeysError> {
    let text = read(file)?;
    parse(&file.display().to_string(), &text)
}

/// Reads a file with secrets, if it is not absurdly large.
pub(super) fn read(file: &Path) -> Result<Zeroizing<String>, KeysError> {
    let unreadable = |source| KeysError::Read { file: file.to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(KeysError::TooLarge { file: file.to_owned() });
    }
    Ok(text)
}

pub(super) fn parse(origin: &str, text: &str) -> Result<Table, KeysError> {
    let document: Document = document(origin, text)?;
    if document.key.len() > SIGNING_KEYS_MAX {
        return Err(KeysError::TooMany { origin: origin.to_owned() });
    }
    let mut table = Table::with_capacity(document.key.len());
    for raw in document.key {
        let start = raw.span().start;
        let raw = raw.into_inner();
        let id_at = raw.id.span().start;
        let key = key(&raw, start).map_err(|wrong| entry(origin, text, wrong))?;
        if table.contains_key(key.id.as_str()) {
            return Err(entry(origin, text, (id_at, "an earlier key has the same id".to_owned())));
        }
        table.insert(key.id.shared(), Arc::new(key));
    }
    Ok(table)
}

/// Reads a TOML document with secrets.
pub(super) fn document<T: for<'de> Deserialize<'de>>(origin: &str, text: &str) -> Result<T, KeysError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        // The parser's message may quote a value of the wrong kind, and the value may be a secret in the wrong place.
        let message = error.message();
        let quotes = ["invalid type", "invalid value", "unknown variant"];
        let shown = match quotes.iter().any(|start| message.contains(start)) {
            true => "a value is of the wrong kind",
            false => message.lines().next().unwrap_or_default(),
        };
        entry(origin, text, (offset, shown.to_owned()))
    })
}

/// An error about the line of an offset.
pub(super) fn entry(origin: &str, text: &str, (offset, problem): Wrong) -> KeysError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    KeysError::Entry { origin: origin.to_owned(), line, problem }
}

fn key(raw: &RawKey, start: usize) -> Result<Key, Wrong> {
    fn at<T, E: ToString>(value: &Spanned<impl Sized>, result: Result<T, E>) -> Result<T, Wrong> {
        result.map_err(|problem| (value.span().start, problem.to_string()))
    }
    let id: KeyId = at(&raw.id, raw.id.get_ref().parse())?;
    let namespace = at(&raw.namespace, raw.namespace.get_ref().parse())?;
    let algorithm: Algorithm = at(&raw.algorithm, raw.algorithm.get_ref().parse())?;
    let material = match (algorithm, &raw.secret, &raw.public_key) {
        (Algorithm::HmacSha256, Some(text), None) => {
            let secret = at(text, secret(&text.get_ref().0))?;
            Material::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
        }
        (Algorithm::Ed25519, None, Some(text)) => Material::Ed25519(at(text, public_key(text.get_ref()))?),
        (Algorithm::HmacSha256, ..) => {
            let problem = "a key of hmac-sha256 has secret = \"<base64>\", and no public_key";
            return Err((start, problem.to_owned()));
        }
        (Algorithm::Ed25519, ..) => {
            let problem = "a key of ed25519 has public_key = \"<base64>\", and no secret";
            return Err((start, problem.to_owned()));
        }
    };
    let not_before = raw.not_before.as_ref().map(|value| at(value, instant(value.get_ref()))).transpose()?;
    let not_after = raw.not_after.as_ref().map(|value| at(value, instant(value.get_ref()))).transpose()?;
    if let (Some(value), Some(end)) = (&raw.not_after, not_after)
        && not_before.is_some_and(|start| end <= start)
    {
        return at(value, Err("not_after is before not_before: the key would never be valid"));
    }
    Ok(Key { id, namespace, material, not_before, not_after })
}

/// The secret of a key of HMAC.
pub(super) fn secret(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = Zeroizing::new(encoding::decode(text.trim()).ok_or("a secret is base64, with its padding")?);
    if (HMAC_SECRET_BYTES_MIN..=HMAC_SECRET_BYTES_MAX).contains(&bytes.len()) {
        return Ok(bytes);
    }
    Err(format!(
        "a secret has {HMAC_SECRET_BYTES_MIN} to {HMAC_SECRET_BYTES_MAX} bytes, and this one {}: \
         `bowline sign-key new` makes one",
        bytes.len()
    ))
}

/// A public key as PEM, as the base64 of that, or as the base64 of its 32 bytes.
fn public_key(text: &str) -> Result<ParsedPublicKey, String> {
    let wrong =
        "a public key of ed25519 is 32 bytes as base64, or PEM that begins with -----BEGIN PUBLIC KEY-----";
    if text.contains("PRIVATE KEY") {
        return Err("public_key is a private key; consider it leaked, and make a new one".to_owned());
    }
    let der = if text.contains("-----BEGIN") {
        SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong)?.as_ref().to_vec()
    } else {
        encoding::decode(text.trim()).ok_or(wrong)?
    };
    let bytes = der.strip_prefix(&PUBLIC_KEY_PREFIX).unwrap_or(&der);
    if bytes.len() != PUBLIC_KEY_BYTES {
        return Err(wrong.to_owned());
    }
    ParsedPublicKey::new(&ED25519, bytes)
        .map_err(|_| "public_key is no point of the curve of ed25519".to_owned())
}

/// An instant as TOML's own kind of date, or as text.
fn instant(value: &toml::Value) -> Result<Duration, &'static str> {
    let wrong = "a date is such as 2026-12-31T23:59:59Z";
    let instant = match value {
        toml::Value::Datetime(instant) => *instant,
        toml::Value::String(text) => text.parse::<Datetime>().map_err(|_| wrong)?,
        _ => return Err(wrong),
    };
    unix(&instant).ok_or(wrong)
}

fn unix(instant: &Datetime) -> Option<Duration> {
    let (date, time, offset) = (instant.date?, instant.time?, instant.offset?);
    let date =
        Date::from_calendar_date(i32::from(date.year), Month::try_from(date.month).ok()?, date.day).ok()?;
    let time = Time::from_hms(time.hour, time.minute, time.second.unwrap_or(0)).ok()?;
    let minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => minutes,
    };
    let offset = UtcOffset::from_whole_seconds(i32::from(minutes) * 60).ok()?;
    let instant: OffsetDateTime = PrimitiveDateTime::new(date, time).assume_offset(offset);
    u64::try_from(instant.unix_timestamp()).ok().map(Duration::from_secs)
}

#[cfg(test)]
#[path = "key_file_tests.rs"]
mod tests;
