//! Sessions in the store: one script for each step, each about keys of one hash slot.
//!
//! A script that consumes the nonce of a request does so in the same atomic step as its work, and before it (INV-SESS-AUTH).
//! Nothing that changes a session is ever sent twice from here: whether it happened is told to the caller, who decides
//! (INV-DRV-ONCE). No script is carried out later than its caller has waited, by the store's clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bowline_identity::signature::{Namespace, Verified};
use bowline_redis::{CallError, Client, Frame, Script, ServerError};
use bowline_rt::ration::Ration;
use bowline_rt::time::{now, timeout, unix_time};
use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::clock::{StoreClock, milliseconds};
use super::conditions::{Conditions, is_version};
use super::key::{Owner, SessionKey, store_key};
use super::limits::{
    CLOCK_TOLERANCE, ENTRY_PERIOD, LOG_LINES, LOG_PERIOD, NONCE_MARGIN, SENDING_BYTES_MAX, STEP_MIN,
    VALUE_BYTES_MAX,
};
use super::marks::Marks;

/// Why a step brought no answer of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The nonce is used.
    Replayed,
    /// It was signed before the store remembered nonces.
    Unremembered,
    /// The signature expired before the step began.
    Expired,
    /// The step was not taken, and never will be.
    NotExecuted(&'static str),
    /// The step may have been taken.
    OutcomeUnknown(&'static str),
    /// The store holds something in the place of a session that this service did not write. Nothing was changed.
    Unreadable,
}

/// Who asks, until when, and the nonce that the first step consumes.
#[derive(Debug)]
pub(super) struct Caller {
    pub namespace: Namespace,
    /// `None` only where nobody has to sign.
    nonce: Option<Nonce>,
    /// Whether a step has taken the nonce along. Steps beside each other come after that.
    has_stepped: AtomicBool,
    /// All steps end before this.
    deadline: Instant,
}

/// What makes a signed request different from a replay of it.
#[derive(Debug)]
struct Nonce {
    key: String,
    nonce: String,
    remember_ms: u64,
    /// Who consumes it.
    consumer: String,
    /// When the request was signed, by its signer's clock.
    created: Duration,
    /// When the signature expires, by this host's wall clock.
    expires: Duration,
}

/// A session that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub version: String,
    pub content: Content,
    pub owner: Option<Owner>,
    /// Of its entry among the owner's.
    pub token: String,
    pub times: Times,
    /// Bytes of the value, also where that was not asked for.
    pub bytes: u64,
    /// Whether it is time to enter it among its owner's again.
    pub entry_is_due: bool,
}

/// What a session holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub value: Bytes,
    pub content_type: String,
}

/// How long a session lives, in milliseconds; instants are those of the store's clock since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub idle_ms: u64,
    pub sliding: bool,
    pub absolute_unix_ms: u64,
    pub expires_unix_ms: u64,
}

/// When something ends at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In so many milliseconds.
    In(u64),
    /// At this instant of the store's clock.
    At(u64),
}

impl End {
    /// As scripts take it.
    pub fn argument(self) -> String {
        match self {
            Self::In(milliseconds) => format!("+{milliseconds}"),
            Self::At(unix_ms) => unix_ms.to_string(),
        }
    }
}

/// What a read is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// Versions of which the session must be one.
    pub matches: &'a str,
    /// Whether a sliding session lives on.
    pub extend: bool,
    /// Whether the value is wanted.
    pub value: bool,
}

impl Look<'static> {
    /// Without the value, and without a trace.
    pub const GLANCE: Self = Self { matches: "", extend: false, value: false };
}

/// What a read found.
#[derive(Debug)]
pub(super) enum Found {
    Session(Box<Session>),
    Absent,
    Unmet,
}

/// A session as it is to be.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub version: &'a str,
    pub content: &'a Content,
    pub owner: Option<&'a Owner>,
    pub token: &'a str,
    pub idle_ms: u64,
    pub sliding: bool,
    pub absolute: End,
    /// When it ends unless it is used; `None` after its idle time.
    pub expires_unix_ms: Option<u64>,
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Wrote {
    Written {
        created: bool,
        absolute_unix_ms: u64,
        expires_unix_ms: u64,
        owner_before: Option<Owner>,
        token_before: String,
    },
    Unmet,
}

/// What became of a removal.
#[derive(Debug)]
pub(super) enum Erased {
    Gone { owner: Option<Owner>, token: String },
    Absent,
    Unmet,
}

impl Caller {
    /// `store_deadline`: of all steps together.
    pub fn new(verified: &Verified, store_deadline: Duration) -> Self {
        let left = verified.remember_until.saturating_sub(unix_time());
        let nonce = Nonce {
            key: verified.key.to_string(),
            nonce: verified.nonce.clone(),
            remember_ms: milliseconds(left + NONCE_MARGIN),
            consumer: format!("{:032x}", bowline_rt::random::bits128()),
            created: verified.created,
            expires: verified.expires,
        };
        Self { nonce: Some(nonce), ..Self::unsigned(verified.namespace.clone(), store_deadline) }
    }

    /// Who asks without a signature, where nobody has to sign.
    pub fn unsigned(namespace: Namespace, store_deadline: Duration) -> Self {
        Self { namespace, nonce: None, has_stepped: AtomicBool::new(false), deadline: now() + store_deadline }
    }
}

/// The sessions of all namespaces.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) client: Client,
    clock: StoreClock,
    /// `None` if it is known otherwise since when the store remembers nonces.
    pub(super) marks: Option<Marks>,
    pub(super) scripts: Scripts,
    pub(super) ration: Ration,
    /// Bytes of values that may be sent now.
    pub(super) sending: Semaphore,
}

#[derive(Debug)]
pub(super) struct Scripts {
    read: Script,
    write: Script,
    erase: Script,
    pub(super) enter: Script,
    pub(super) list: Script,
    pub(super) forget: Script,
    admit: Script,
    pub(super) mark: Script,
}

macro_rules! script {
    ($($name:literal),+) => {
        Script::new(concat!(include_str!("scripts/time.lua"), $(include_str!(concat!("scripts/", $name, ".lua"))),+))
    };
}

impl Scripts {
    fn new() -> Self {
        Self {
            // Twice is as good as once: a nonce knows who consumed it. With `room` also where the store is full.
            read: script!("room", "prelude", "session", "read").idempotent(),
            write: script!("prelude", "session", "write"),
            erase: script!("room", "prelude", "session", "erase"),
            enter: script!("prelude", "enter").idempotent(),
            list: script!("room", "prelude", "list").idempotent(),
            forget: script!("prelude", "forget").idempotent(),
            admit: script!("room", "prelude", "admit").idempotent(),
            // Not sent again by the driver: what it is to write is of the time when it is sent.
            mark: script!("mark"),
        }
    }
}

impl Store {
    /// `marks`: if the store itself is to say since when it remembers nonces.
    pub fn new(client: Client, marks: Option<Marks>) -> Self {
        Self {
            client,
            clock: StoreClock::default(),
            marks,
            scripts: Scripts::new(),
            ration: Ration::new(LOG_LINES, LOG_PERIOD),
            sending: Semaphore::new(SENDING_BYTES_MAX),
        }
    }

    /// Reads a session.
    pub async fn read(&self, caller: &Caller, key: &SessionKey, look: Look<'_>) -> Result<Found, Failure> {
        let tag = key.tag(&caller.namespace);
        let [extend, value] = [look.extend, look.value].map(|yes| if yes { "1" } else { "0" });
        let period = milliseconds(ENTRY_PERIOD).to_string();
        let arguments = [look.matches, extend, value, &period].map(str::as_bytes);
        let reply = self.run(&self.scripts.read, caller, &tag, &arguments).await?;
        match reply.word() {
            "found" => Ok(Found::Session(Box::new(reply.session().ok_or_else(|| self.unreadable())?))),
            "absent" => Ok(Found::Absent),
            "unmet" => Ok(Found::Unmet),
            "unreadable" => Err(self.unreadable()),
            _ => Err(MALFORMED),
        }
    }

    /// Writes a session.
    pub async fn write(
        &self,
        caller: &Caller,
        key: &SessionKey,
        conditions: &Conditions,
        draft: &Draft<'_>,
    ) -> Result<Wrote, Failure> {
        let tag = key.tag(&caller.namespace);
        let (idle, absolute) = (draft.idle_ms.to_string(), draft.absolute.argument());
        let expires = draft.expires_unix_ms.map(|unix_ms| unix_ms.to_string()).unwrap_or_default();
        let arguments = [
            conditions.matches.as_bytes(),
            conditions.none_matches.as_bytes(),
            draft.version.as_bytes(),
            &draft.content.value,
            draft.content.content_type.as_bytes(),
            draft.owner.map_or("", Owner::escaped).as_bytes(),
            draft.token.as_bytes(),
            idle.as_bytes(),
            if draft.sliding { b"1" } else { b"0" },
            absolute.as_bytes(),
            expires.as_bytes(),
        ];
        let _turn = self.turn(caller, draft.content.value.len()).await?;
        let reply = self.run(&self.scripts.write, caller, &tag, &arguments).await?;
        let created = match reply.word() {
            "unmet" => return Ok(Wrote::Unmet),
            word => word == "created",
        };
        let written = || {
            Some(Wrote::Written {
                created,
                absolute_unix_ms: reply.number(2)?,
                expires_unix_ms: reply.number(3)?,
                owner_before: owner_of_the_past(reply.text(4)?),
                token_before: reply.text(5)?.to_owned(),
            })
        };
        written().ok_or(MALFORMED)
    }

    /// Removes a session.
    pub async fn erase(
        &self,
        caller: &Caller,
        key: &SessionKey,
        conditions: &Conditions,
    ) -> Result<Erased, Failure> {
        let tag = key.tag(&caller.namespace);
        let arguments = [conditions.matches.as_bytes(), conditions.none_matches.as_bytes()];
        let reply = self.run(&self.scripts.erase, caller, &tag, &arguments).await?;
        match (reply.word(), reply.text(2), reply.text(3)) {
            ("erased", Some(owner), Some(token)) => {
                Ok(Erased::Gone { owner: owner_of_the_past(owner), token: token.to_owned() })
            }
            ("absent", ..) => Ok(Erased::Absent),
            ("unmet", ..) => Ok(Erased::Unmet),
            _ => Err(MALFORMED),
        }
    }

    /// Consumes the nonce of a request that is about no single session.
    pub async fn admit(&self, caller: &Caller) -> Result<(), Failure> {
        let Some(Nonce { key, nonce, .. }) = &caller.nonce else { return Ok(()) };
        let tag = format!("session-nonce:{key}:{nonce}");
        self.run(&self.scripts.admit, caller, &tag, &[]).await.map(drop)
    }

    /// Room for a value among those that are on their way to the store; first come, first served.
    async fn turn(&self, caller: &Caller, value_bytes: usize) -> Result<SemaphorePermit<'_>, Failure> {
        const { assert!(VALUE_BYTES_MAX <= SENDING_BYTES_MAX && SENDING_BYTES_MAX <= u32::MAX as usize) }
        let bytes = value_bytes.min(SENDING_BYTES_MAX) as u32;
        let left = caller.deadline.saturating_duration_since(now());
        let turn = timeout(left, self.sending.acquire_many(bytes)).await;
        let turn = turn.map_err(|_| Failure::NotExecuted("the store was too slow"))?;
        Ok(turn.expect("the semaphore is never closed"))
    }

    /// Runs a script about the key with `tag`. The first one of a request takes the nonce along.
    pub(super) async fn run(
        &self,
        script: &Script,
        caller: &Caller,
        tag: &str,
        arguments: &[&[u8]],
    ) -> Result<Reply, Failure> {
        let is_first = !caller.has_stepped.swap(true, Ordering::Relaxed);
        let nonce = caller.nonce.as_ref().filter(|_| is_first);
        // The body may have taken its time. What is not begun by now could also outlive the nonce of a copy of it.
        if nonce.is_some_and(|nonce| unix_time() >= nonce.expires) {
            return Err(Failure::Expired);
        }
        let key = store_key(tag);
        let nonce = nonce.map(|Nonce { key: signer, nonce, .. }| format!("{key}:nonce:{signer}:{nonce}"));
        let keys: Vec<&str> =
            [Some(&key), nonce.as_ref()].into_iter().flatten().map(String::as_str).collect();
        let mut reply = self.attempt(script, caller, &keys, arguments).await?;
        if reply.word() == "late" {
            // Nothing was done. The clock of the store was not known or is not where it was; the answer said where it is.
            reply = self.attempt(script, caller, &keys, arguments).await?;
        }
        match reply.word() {
            "late" => Err(Failure::NotExecuted("the store was too slow")),
            "replayed" => Err(Failure::Replayed),
            "unremembered" | "unmarked" => Err(Failure::Unremembered),
            _ => Ok(reply),
        }
    }

    async fn attempt(
        &self,
        script: &Script,
        caller: &Caller,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Reply, Failure> {
        let asked_at = now();
        if caller.deadline.saturating_duration_since(asked_at) < STEP_MIN {
            return Err(Failure::NotExecuted("the request took too long"));
        }
        // While the store's clock is not known every time is too late, and the answer says what it is.
        let not_after = self.clock.at_most(caller.deadline + CLOCK_TOLERANCE).unwrap_or(0).to_string();
        let (remember, consumer) = match &caller.nonce {
            Some(nonce) => (nonce.remember_ms.to_string(), nonce.consumer.as_str()),
            None => Default::default(),
        };
        let mut all = vec![not_after.as_bytes(), remember.as_bytes(), consumer.as_bytes()];
        all.extend_from_slice(arguments);
        let reply = self.evaluate(script, caller, keys, &all).await.map_err(|error| self.failure(&error))?;
        let reply = reply.ok_or(MALFORMED)?;
        self.clock.learn(asked_at, reply.number(1).ok_or(MALFORMED)?);
        Ok(reply)
    }

    /// Whoever consumes a nonce asks since when they are remembered.
    async fn evaluate(
        &self,
        script: &Script,
        caller: &Caller,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Option<Reply>, CallError> {
        let evaluate = async |mark: Option<&str>, about_mark: &[String]| {
            let left = caller.deadline.saturating_duration_since(now());
            let keys: Vec<&[u8]> = keys.iter().copied().chain(mark).map(str::as_bytes).collect();
            let about_mark = about_mark.iter().map(String::as_bytes);
            let arguments: Vec<&[u8]> = arguments.iter().copied().chain(about_mark).collect();
            self.client.eval(&script.clone().deadline(left), &keys, &arguments).await.map(Reply::of)
        };
        let [key, _] = keys else { return evaluate(None, &[]).await };
        let (Some(marks), Some(nonce)) = (&self.marks, &caller.nonce) else {
            return evaluate(None, &[]).await;
        };
        let with = async |mark: &str| {
            // Not after the answer, which may go with all that the store has.
            marks.sending(nonce.created);
            let latest = milliseconds(marks.latest(unix_time())).to_string();
            let created = nonce.created.as_secs().to_string();
            evaluate(Some(mark), &[latest, created]).await
        };
        let mut mark = marks.beside(key);
        let mut outcome = with(&mark).await;
        if outcome.as_ref().is_err_and(|error| marks.has_to_be_beside(&mark, error)) {
            mark = marks.beside(key);
            outcome = with(&mark).await;
        }
        if matches!(&outcome, Ok(Some(reply)) if reply.word() == "unmarked") {
            marks.is_missing(&mark);
            self.mark_one(marks, &mark, caller.deadline.saturating_duration_since(now())).await;
            outcome = with(&mark).await;
        }
        if let Ok(Some(reply)) = &outcome {
            match reply.word() {
                "late" | "unmarked" => {}
                word => {
                    marks.is_there(&mark);
                    if word == "unremembered" {
                        self.look_at(reply.number(2).unwrap_or_default());
                    }
                }
            }
        }
        outcome
    }

    /// Says that a session cannot be read, to the log too.
    fn unreadable(&self) -> Failure {
        if let Some(left_out) = self.ration.admit() {
            tracing::warn!(left_out, "the store holds a session that is not as this service writes it");
        }
        Failure::Unreadable
    }

    fn failure(&self, error: &CallError) -> Failure {
        if let Some(left_out) = self.ration.admit() {
            tracing::warn!(error = shown(error), left_out, "the store did not serve a session request");
        }
        match error {
            CallError::Server(error) if error.code == "WRONGTYPE" => {
                // Every script looks at its keys before it changes anything.
                Failure::NotExecuted("a key of this service holds something else in the store")
            }
            CallError::Server(error) if is_forbidden(error) => {
                Failure::NotExecuted("the store does not permit it")
            }
            CallError::Server(error) if error.code == "OOM" => Failure::NotExecuted("the store is full"),
            CallError::Server(_) if error.had_no_effect() => Failure::NotExecuted("the store refuses work"),
            CallError::Server(_) => Failure::OutcomeUnknown("the store answered with an error"),
            _ if error.had_no_effect() => Failure::NotExecuted("the store cannot be reached"),
            _ => Failure::OutcomeUnknown("the store did not answer"),
        }
    }
}

/// Whose a session was that is not there any more. What is no owner has no list either.
fn owner_of_the_past(escaped: &str) -> Option<Owner> {
    Owner::from_store(escaped).ok().flatten()
}

/// Whether the store refused to run a script at all, for want of a right or a key. One that was stopped in the middle by such a refusal
/// may have done something, and its error says that it is of a script.
fn is_forbidden(error: &ServerError) -> bool {
    ["NOPERM", "NOAUTH"].contains(&error.code.as_str())
        && !["in script", "script:"].iter().any(|within| error.message.contains(within))
}

/// Whether a right or a key is what is wanting, also for a command within a script: Redis says so in other words in each version.
fn lacks_a_right(error: &ServerError) -> bool {
    let texts = ["NOPERM", "ACL failure in script", "The user executing the script can't"];
    texts.iter().any(|text| error.message.contains(text))
}

/// An error as the log may have it. The text of a server may repeat what it was sent.
pub(super) fn shown(error: &CallError) -> String {
    match error {
        CallError::Server(error) if lacks_a_right(error) => {
            "the store answered NOPERM: its user lacks a right or a key, see docs/operations.md".to_owned()
        }
        CallError::Server(error) => format!("the store answered {}", error.code),
        error => error.to_string(),
    }
}

/// The store's answer has another form than the scripts give it: it is not known what ran.
const MALFORMED: Failure = Failure::OutcomeUnknown("the store gave a strange answer");

/// The answer of a script: a word, the store's time, and what belongs to the word.
#[derive(Debug)]
pub(super) struct Reply(Vec<Bytes>);

impl Reply {
    fn of(frame: Frame) -> Option<Self> {
        let Frame::Array(elements) = frame else { return None };
        let bytes = |element| match element {
            Frame::Bulk(bytes) | Frame::Simple(bytes) => Some(bytes),
            _ => None,
        };
        elements.into_iter().map(bytes).collect::<Option<Vec<_>>>().map(Self)
    }

    pub fn word(&self) -> &str {
        self.text(0).unwrap_or_default()
    }

    pub fn text(&self, index: usize) -> Option<&str> {
        self.0.get(index).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub fn number(&self, index: usize) -> Option<u64> {
        self.text(index)?.parse().ok()
    }

    /// What follows the element at `index`, in pairs.
    pub fn pairs_after(&self, index: usize) -> impl Iterator<Item = Option<(&str, &str)>> {
        let texts = (index + 1..self.0.len()).step_by(2);
        texts.map(|index| Some((self.text(index)?, self.text(index + 1)?)))
    }

    /// `None` if it is not as this service writes it.
    fn session(&self) -> Option<Session> {
        let content_type = Some(self.text(4)?).filter(|text| HeaderValue::from_str(text).is_ok())?;
        let token = Some(self.text(6)?).filter(|token| token.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        Some(Session {
            version: Some(self.text(2)?).filter(|version| is_version(version))?.to_owned(),
            content: Content { value: self.0.get(3)?.clone(), content_type: content_type.to_owned() },
            owner: Owner::from_store(self.text(5)?).ok()?,
            token: token.to_owned(),
            times: Times {
                idle_ms: self.number(7)?,
                sliding: self.text(8)? == "1",
                absolute_unix_ms: self.number(9)?,
                expires_unix_ms: self.number(10)?,
            },
            bytes: self.number(11)?,
            entry_is_due: self.text(12)? == "1",
        })
    }
}
