//! Answers about several sessions: those of an owner, and those whose keys are asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::answers::Share;
use super::conditions::entity_tag;
use super::index::Index;
use super::instant::rfc3339;
use super::key::{Owner, SessionKey};
use super::limits::{BULK_KEYS_MAX, BULK_VALUES_BYTES_MAX, PAGE_MAX, PARALLEL_MAX};
use super::problem::{Code, Problem, before_the_change};
use super::query::{cursor, written};
use super::store::{Caller, Failure, Found, Look, Session};
use super::{Sessions, Settings};
use crate::routes::json_text;

/// What a listing says of a session.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    key: String,
    etag: String,
    content_type: String,
    bytes: u64,
    owner: Option<String>,
    ttl: String,
    sliding: bool,
    expires: String,
    absolute: String,
}

/// A page of a listing.
#[derive(Debug, Serialize)]
pub(super) struct ListedPage {
    sessions: Vec<Listed>,
    /// The cursor of the next page; `None` after the last.
    next: Option<String>,
}

/// What a bulk read asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    keys: Vec<String>,
}

/// The answer to a bulk read, in the order of the keys.
#[derive(Debug, Serialize)]
struct Answered {
    results: Vec<Answer>,
}

/// What became of one key.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Answer {
    /// The session, with its value in base64.
    Found {
        #[serde(flatten)]
        session: Listed,
        value_base64: String,
    },
    /// There is none.
    Absent { key: String },
    /// The store did not say; ask again.
    NotExecuted { key: String },
    /// The store holds something that is no session of this service.
    Unreadable { key: String },
    /// The answer is large enough without it, or others hold the memory; ask again for this one.
    LeftOut { key: String },
}

fn listed(key: &SessionKey, session: &Session) -> Listed {
    Listed {
        key: key.plain(),
        etag: entity_tag(&session.version),
        content_type: session.content.content_type.clone(),
        bytes: session.bytes,
        owner: session.owner.as_ref().map(Owner::plain),
        ttl: written(session.times.idle_ms),
        sliding: session.times.sliding,
        expires: rfc3339(session.times.expires_unix_ms),
        absolute: rfc3339(session.times.absolute_unix_ms),
    }
}

impl Sessions {
    /// The sessions of an owner, without their values.
    pub(super) async fn list(
        &self,
        caller: &Caller,
        owner: &Owner,
        after: Option<String>,
        limit: Option<usize>,
    ) -> Result<ListedPage, Problem> {
        let index = Index { store: self.store(), metrics: self.metrics() };
        let page = index.page(caller, owner, &after.unwrap_or_default(), limit.unwrap_or(PAGE_MAX)).await;
        let page = page.map_err(before_the_change)?;
        let sessions = page.sessions.iter().map(|(key, session)| listed(key, session)).collect();
        Ok(ListedPage { sessions, next: page.next.as_deref().map(cursor) })
    }

    /// Several sessions with their values, as JSON.
    pub(super) async fn read_many(
        &self,
        caller: &Caller,
        body: &[u8],
        extend: bool,
    ) -> Result<Bytes, Problem> {
        let keys = keys(body)?;
        let Settings { value_bytes_max, store_deadline, .. } = *self.settings();
        // One value finds room in any case, so that whoever asks again for what was left out comes to an end.
        let share = self.answers().share(&caller.namespace, in_base64(value_bytes_max), store_deadline).await;
        let mut share =
            share.ok_or(Failure::NotExecuted("too many answers wait to be read by their callers"))?;
        self.store().admit(caller).await.map_err(before_the_change)?;
        let look = Look { matches: "", extend, value: true };
        let index = Index { store: self.store(), metrics: self.metrics() };
        let reads = keys.into_iter().map(async |key| {
            let found = index.read(caller, &key, look).await;
            (key, found)
        });
        let mut reads = stream::iter(reads).buffered(PARALLEL_MAX);
        let (mut results, mut bytes) = (Vec::new(), 0);
        while let Some((key, found)) = reads.next().await {
            results.push(answer(&key, found, &mut bytes, &mut share)?);
        }
        Ok(share.holds(json_text(&Answered { results })))
    }
}

/// Characters that so many bytes become.
fn in_base64(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// `bytes`: of the values so far.
fn answer(
    key: &SessionKey,
    found: Result<Found, Failure>,
    bytes: &mut usize,
    share: &mut Share,
) -> Result<Answer, Problem> {
    let plain = key.plain();
    match found {
        Ok(Found::Session(session)) => {
            let value = &session.content.value;
            if *bytes + value.len() > BULK_VALUES_BYTES_MAX || !share.take(in_base64(value.len())) {
                return Ok(Answer::LeftOut { key: plain });
            }
            *bytes += value.len();
            let value_base64 = BASE64.encode(value);
            Ok(Answer::Found { session: listed(key, &session), value_base64 })
        }
        Ok(Found::Absent | Found::Unmet) => Ok(Answer::Absent { key: plain }),
        Err(failure @ (Failure::Replayed | Failure::Unremembered | Failure::Expired)) => Err(failure.into()),
        Err(Failure::Unreadable) => Ok(Answer::Unreadable { key: plain }),
        Err(Failure::NotExecuted(_) | Failure::OutcomeUnknown(_)) => Ok(Answer::NotExecuted { key: plain }),
    }
}

/// What is JSON may be a list all the same, which is read as the members of an object in their order.
fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}

fn keys(body: &[u8]) -> Result<Vec<SessionKey>, Problem> {
    let invalid = |text: String| Problem::new(Code::BodyInvalid, text);
    let form = "the body is JSON such as {\"keys\": [\"one\", \"two\"]}";
    // The parser's own message may quote a key.
    let asked = serde_json::from_slice(body).ok().filter(|_| is_object(body));
    let Asked { keys } = asked.ok_or_else(|| invalid(form.to_owned()))?;
    if !(1..=BULK_KEYS_MAX).contains(&keys.len()) {
        return Err(invalid(format!("from 1 to {BULK_KEYS_MAX} keys can be read at once")));
    }
    let parse = |(index, key): (usize, &String)| {
        SessionKey::new(key).map_err(|error| invalid(format!("keys[{index}]: {error}")))
    };
    keys.iter().enumerate().map(parse).collect()
}
