//! Answers about several sessions: those of an owner, and those whose keys are asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use serde::{Deserialize, Serialize};

use super::Sessions;
use super::budget::Share;
use super::conditions::entity_tag;
use super::index::Index;
use super::instant::rfc3339;
use super::key::{Owner, SessionKey};
use super::limits::{BULK_KEYS_MAX, BULK_VALUES_BYTES_MAX, LISTED_BYTES_MAX, PAGE_MAX, PARALLEL_MAX};
use super::problem::{Code, Problem, before_the_change};
use super::query::{cursor, written};
use super::store::{Caller, Failure, Found, Look, Session};
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
    /// The sessions of an owner, without their values, as JSON.
    pub(super) async fn list(
        &self,
        caller: &Caller,
        owner: &Owner,
        after: Option<String>,
        limit: Option<usize>,
    ) -> Result<Bytes, Problem> {
        let limit = limit.unwrap_or(PAGE_MAX);
        let share = self.share(caller, limit * LISTED_BYTES_MAX).await?;
        let index = Index { store: self.store(), metrics: self.metrics() };
        let page = index.page(caller, owner, &after.unwrap_or_default(), limit).await;
        let page = page.map_err(before_the_change)?;
        let sessions = page.sessions.iter().map(|(key, session)| listed(key, session)).collect();
        let page = ListedPage { sessions, next: page.next.as_deref().map(cursor) };
        Ok(share.holds(json_text(&page)))
    }

    /// Several sessions with their values, as JSON.
    pub(super) async fn read_many(
        &self,
        caller: &Caller,
        body: &[u8],
        extend: bool,
    ) -> Result<Bytes, Problem> {
        let keys = keys(body)?;
        // One value finds room in any case, so that whoever asks again for what was left out comes to an end.
        let of_value = in_base64(self.settings().value_bytes_max);
        let without_values = keys.len() * LISTED_BYTES_MAX;
        let share = self.share(caller, without_values + of_value).await?;
        self.store().admit(caller).await.map_err(before_the_change)?;
        let look = Look { matches: "", extend, value: true };
        let index = Index { store: self.store(), metrics: self.metrics() };
        let read = async |key: SessionKey| {
            let found = index.read(caller, &key, look).await;
            (key, found)
        };
        let mut results = Results { share, of_value, bytes: without_values, values: 0, texts: Vec::new() };
        let (mut keys, mut reads) = (keys.into_iter().peekable(), FuturesOrdered::new());
        loop {
            // What is fetched is paid for before.
            while reads.len() < PARALLEL_MAX && keys.peek().is_some() && results.have_room(reads.len() + 1, 0)
            {
                reads.extend(keys.next().map(&read));
            }
            match reads.next().await {
                Some((key, found)) => results.add(&key, found, reads.len())?,
                None => match keys.next() {
                    Some(key) => results.leave_out(&key),
                    None => return Ok(results.into_text()),
                },
            }
        }
    }

    /// Memory for an answer.
    async fn share(&self, caller: &Caller, bytes: usize) -> Result<Share, Problem> {
        let share = self.answers().share(&caller.namespace, bytes, self.settings().store_deadline).await;
        share.ok_or_else(|| Problem::not_executed("too many answers wait to be read by their callers"))
    }
}

/// The results of a bulk read so far.
struct Results {
    share: Share,
    /// The most that a value takes in the answer.
    of_value: usize,
    /// What the results so far take, and what can be said of the other keys without their values.
    bytes: usize,
    /// Bytes of the values so far.
    values: usize,
    /// As they stand in the answer. They become one text only at the end: one that grows has twice the room that it needs.
    texts: Vec<Vec<u8>>,
}

impl Results {
    /// Whether there is room for so many values more, and so many bytes.
    fn have_room(&mut self, values: usize, bytes: usize) -> bool {
        let missing = (self.bytes + values * self.of_value + bytes).saturating_sub(self.share.bytes());
        missing == 0 || self.share.grow_now(missing)
    }

    /// `others`: reads that are on their way.
    fn add(&mut self, key: &SessionKey, found: Result<Found, Failure>, others: usize) -> Result<(), Problem> {
        match found {
            Ok(Found::Session(session)) => {
                let value = &session.content.value;
                let bytes = in_base64(value.len());
                if self.values + value.len() > BULK_VALUES_BYTES_MAX || !self.have_room(others, bytes) {
                    self.leave_out(key);
                    return Ok(());
                }
                self.values += value.len();
                let value_base64 = BASE64.encode(value);
                self.push(&Answer::Found { session: listed(key, &session), value_base64 });
            }
            Ok(Found::Absent | Found::Unmet) => self.push(&Answer::Absent { key: key.plain() }),
            Err(failure @ (Failure::Replayed | Failure::Unremembered | Failure::Expired)) => {
                return Err(failure.into());
            }
            Err(Failure::Unreadable) => self.push(&Answer::Unreadable { key: key.plain() }),
            Err(Failure::NotExecuted(_) | Failure::OutcomeUnknown(_)) => {
                self.push(&Answer::NotExecuted { key: key.plain() });
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, key: &SessionKey) {
        self.push(&Answer::LeftOut { key: key.plain() });
    }

    fn push(&mut self, answer: &Answer) {
        let text = serde_json::to_vec(answer).expect("plain data becomes JSON");
        self.bytes = (self.bytes + text.len()).saturating_sub(LISTED_BYTES_MAX);
        self.texts.push(text);
    }

    /// One result to a line.
    fn into_text(self) -> Bytes {
        let [begin, between, end]: [&[u8]; 3] = [b"{\"results\": [\n", b",\n", b"\n]}\n"];
        let bytes: usize = self.texts.iter().map(|text| text.len() + between.len()).sum();
        let mut whole = Vec::with_capacity(begin.len() + bytes + end.len());
        whole.extend_from_slice(begin);
        for (number, text) in self.texts.into_iter().enumerate() {
            whole.extend_from_slice(if number > 0 { between } else { b"" });
            whole.extend_from_slice(&text);
        }
        whole.extend_from_slice(end);
        self.share.holds(whole)
    }
}

/// Characters that so many bytes become.
fn in_base64(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
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
