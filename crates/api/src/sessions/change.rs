//! Writing a session: as a whole, or what is named of it.
//!
//! A whole write is one step in the store, and one more before it that enters the session among its owner's, if it has one. A
//! change reads the session, and then does the same if it is still in the version that was read; otherwise it starts again, a
//! bounded number of times. Either way the last step is the only one that changes the session, and it is never taken twice.

use std::time::Duration;

use bytes::Bytes;

use super::clock::milliseconds;
use super::conditions::{Conditions, new_version};
use super::index::{Entering, Index};
use super::key::{Owner, SessionKey};
use super::limits::CHANGE_ATTEMPTS;
use super::merge::{MergeError, merge};
use super::problem::{Code, Problem, before_the_change};
use super::query::Parameters;
use super::store::{Caller, Content, Draft, End, Found, Look, Session, Times, Wrote};
use super::{Sessions, Settings};

/// A session as its headers show it.
#[derive(Debug)]
pub(super) struct State {
    pub version: String,
    pub owner: Option<Owner>,
    pub times: Times,
}

/// What a change does to the value.
#[derive(Debug)]
pub(super) enum Edit {
    /// Nothing.
    None,
    /// Puts another in its place.
    Replace(Content),
    /// Applies a merge patch.
    Merge(Bytes),
}

/// A draft before the store has seen it.
struct Plan {
    content: Content,
    owner: Option<Owner>,
    idle: u64,
    sliding: bool,
    absolute: End,
    expires_unix_ms: Option<u64>,
    /// Of the session's entry, which is still right; it is seen to that it is there.
    token: Option<String>,
}

impl Sessions {
    /// Puts a session in the place of what is there. Says whether nothing was.
    pub(super) async fn put(
        &self,
        caller: &Caller,
        key: &SessionKey,
        content: Content,
        parameters: Parameters,
        conditions: &Conditions,
    ) -> Result<(State, bool), Problem> {
        if parameters.keep != Some(true) {
            let plan = self.fresh(content, parameters);
            return self.write(caller, key, plan, conditions).await?.ok_or_else(Problem::unmet);
        }
        let edit = Edit::Replace(content.clone());
        for _ in 0..CHANGE_ATTEMPTS {
            if let Some(state) = self.change(caller, key, &edit, &parameters, conditions).await? {
                return Ok((state, false));
            }
            // There is nothing to keep, and no version that `If-Match` could name.
            if !conditions.matches.is_empty() {
                return Err(Problem::unmet());
            }
            let create = Conditions { none_matches: "*".to_owned(), ..Conditions::default() };
            let plan = self.fresh(content.clone(), parameters.clone());
            if let Some(written) = self.write(caller, key, plan, &create).await? {
                return Ok(written);
            }
            // Another one made it meanwhile. Whether the condition holds for that one is seen when it is read.
        }
        Err(too_busy())
    }

    /// Changes what is named; `None` if there is no session.
    pub(super) async fn change(
        &self,
        caller: &Caller,
        key: &SessionKey,
        edit: &Edit,
        parameters: &Parameters,
        conditions: &Conditions,
    ) -> Result<Option<State>, Problem> {
        for _ in 0..CHANGE_ATTEMPTS {
            let look = Look {
                matches: &conditions.matches,
                extend: false,
                value: !matches!(edit, Edit::Replace(_)),
            };
            let session = match self.store().read(caller, key, look).await.map_err(before_the_change)? {
                Found::Session(session) => session,
                Found::Absent => return Ok(None),
                Found::Unmet => return Err(Problem::unmet()),
            };
            if conditions.excludes(&session.version) {
                return Err(Problem::unmet());
            }
            let same = Conditions { matches: session.version.clone(), ..Conditions::default() };
            let plan = self.changed(*session, edit, parameters)?;
            if let Some((state, _)) = self.write(caller, key, plan, &same).await? {
                return Ok(Some(state));
            }
        }
        Err(too_busy())
    }

    /// What a new session is.
    fn fresh(&self, content: Content, parameters: Parameters) -> Plan {
        let settings = self.settings();
        Plan {
            content,
            owner: parameters.owner.flatten(),
            idle: milliseconds(parameters.ttl.unwrap_or(settings.ttl)),
            sliding: parameters.sliding.unwrap_or(true),
            absolute: End::In(milliseconds(parameters.absolute.unwrap_or(settings.lifetime_max))),
            expires_unix_ms: None,
            token: None,
        }
    }

    /// What a session becomes.
    fn changed(&self, session: Session, edit: &Edit, parameters: &Parameters) -> Result<Plan, Problem> {
        let Session { content, owner, token, times, .. } = session;
        let sliding = parameters.sliding.unwrap_or(times.sliding);
        let now_owner = parameters.owner.clone().unwrap_or_else(|| owner.clone());
        let same_entry = now_owner == owner && parameters.absolute.is_none();
        let lives_anew = sliding || parameters.ttl.is_some();
        Ok(Plan {
            content: edited(content, edit, self.settings())?,
            idle: parameters.ttl.map_or(times.idle_ms, milliseconds),
            sliding,
            absolute: parameters.absolute.map_or(End::At(times.absolute_unix_ms), in_time),
            expires_unix_ms: (!lives_anew).then_some(times.expires_unix_ms),
            token: same_entry.then_some(token),
            owner: now_owner,
        })
    }

    /// Writes a plan and says whether nothing was there; `None` if the conditions do not hold.
    async fn write(
        &self,
        caller: &Caller,
        key: &SessionKey,
        plan: Plan,
        conditions: &Conditions,
    ) -> Result<Option<(State, bool)>, Problem> {
        let index = Index { store: self.store(), metrics: self.metrics() };
        let version = new_version();
        let (token, entering) = match plan.token {
            Some(token) => (token, Entering::Again),
            None if plan.owner.is_some() => (version.clone(), Entering::New),
            None => (String::new(), Entering::New),
        };
        if let Some(owner) = &plan.owner {
            index.enter(caller, owner, key, &token, plan.absolute, entering).await?;
        }
        let draft = Draft {
            version: &version,
            content: &plan.content,
            owner: plan.owner.as_ref(),
            token: &token,
            idle_ms: plan.idle,
            sliding: plan.sliding,
            absolute: plan.absolute,
            expires_unix_ms: plan.expires_unix_ms,
        };
        let wrote = self.store().write(caller, key, conditions, &draft).await?;
        let Wrote::Written { created, absolute_unix_ms, expires_unix_ms, owner_before, token_before } = wrote
        else {
            return Ok(None);
        };
        if let Some(before) = owner_before.filter(|before| Some(before) != plan.owner.as_ref()) {
            index.forget(caller, &before, key, &token_before).await;
        }
        let times = Times { idle_ms: plan.idle, sliding: plan.sliding, absolute_unix_ms, expires_unix_ms };
        Ok(Some((State { version, owner: plan.owner, times }, created)))
    }
}

fn in_time(duration: Duration) -> End {
    End::In(milliseconds(duration))
}

fn too_busy() -> Problem {
    let text = format!("others changed the session {CHANGE_ATTEMPTS} times meanwhile; nothing was changed");
    Problem::new(Code::Conflict, text)
}

fn edited(content: Content, edit: &Edit, settings: &Settings) -> Result<Content, Problem> {
    let patch = match edit {
        Edit::None => return Ok(content),
        Edit::Replace(content) => return Ok(content.clone()),
        Edit::Merge(patch) => patch,
    };
    if !is_json(&content.content_type) {
        let text = "the value of the session is not JSON by its content type: put another in its place";
        return Err(Problem::new(Code::NotJson, text));
    }
    let value = merge(&content.value, patch).map_err(|error| {
        let code = if error == MergeError::Target { Code::NotJson } else { Code::BodyInvalid };
        Problem::new(code, error.to_string())
    })?;
    if value.len() > settings.value_bytes_max {
        return Err(too_large(settings.value_bytes_max));
    }
    Ok(Content { value: value.into(), ..content })
}

/// A value beyond the bound.
pub(super) fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("a value of at most {bytes_max} bytes is accepted"))
}

/// Whether a content type is JSON's, or of a format that is JSON (RFC 6839).
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}
