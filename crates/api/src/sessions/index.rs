//! The sessions of an owner: a copy of what the sessions themselves say, kept so that they can be listed.
//!
//! - A session is entered before it is written, and removed from the list after it is gone: an entry too many costs a
//!   look at the session, one too few would hide it. So after an acknowledged write its owner's list has it.
//! - Nothing is believed of an entry: whoever lists looks at each session, and removes what is wrong, unless it was
//!   written a moment ago and its session may be on its way.
//! - Two writes may enter the same session, and the later entry be overtaken by the earlier write. Whoever then removes the
//!   session of the later one must not take the entry away: it is marked as shared, and stays until both have ended.
//! - A list has a bound. What outlived its session is swept with the writes of its neighbours, and in full when a list
//!   is full.
//! - A list can be lost without its sessions, as when only its node of a cluster loses data. So every write of a session enters
//!   it, also one that changes neither owner nor end, and so does a read that lengthens its life, now and then.
//! - An entry says how long its session can live at most. It never says less than before, for the write that would
//!   shorten the session may fail.

use futures_util::{StreamExt as _, stream};

use super::clock::milliseconds;
use super::key::{Owner, SessionKey};
use super::limits::{ENTRY_GRACE, ENTRY_PATIENCE, NEIGHBOURS, OWNER_SESSIONS_MAX, PAGE_MAX, PARALLEL_MAX};
use super::metrics::Metrics;
use super::problem::{Code, Problem, before_the_change};
use super::store::{Caller, End, Failure, Found, Look, Session, Store};
use bowline_rt::time::timeout;

/// An entry of an owner.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: SessionKey,
    /// Names the write that made it.
    token: String,
}

/// How a session is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entering {
    /// The write that follows will give it this token.
    New,
    /// It has the token: there should be an entry already.
    Again,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entered {
    Yes,
    Full,
}

/// A part of an owner's list.
#[derive(Debug)]
pub(super) struct Page {
    pub sessions: Vec<(SessionKey, Session)>,
    /// The entry after which the next page begins, if there is one.
    pub next: Option<String>,
}

/// Lists of sessions by owner.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub store: &'a Store,
    pub metrics: &'a Metrics,
}

impl Index<'_> {
    /// Reads a session. A read that lengthens lives also sees to it that its owner's list has it, if that is due; it does not
    /// wait long for that, and answers the same if it fails.
    pub async fn read(&self, caller: &Caller, key: &SessionKey, look: Look<'_>) -> Result<Found, Failure> {
        let found = self.store.read(caller, key, look).await?;
        if let Found::Session(session) = &found
            && let (Some(owner), true) = (&session.owner, session.entry_is_due)
        {
            let end = End::At(session.times.absolute_unix_ms);
            let entered = self.entered(caller, owner, key, &session.token, end, Entering::Again);
            match timeout(ENTRY_PATIENCE, entered).await {
                Ok(Ok(Entered::Yes)) => {}
                other => tracing::debug!(?other, "a read could not enter its session among its owner's"),
            }
        }
        Ok(found)
    }

    /// Enters a session that is about to be written.
    pub async fn enter(
        &self,
        caller: &Caller,
        owner: &Owner,
        key: &SessionKey,
        token: &str,
        end: End,
        entering: Entering,
    ) -> Result<(), Problem> {
        for may_sweep in [true, false] {
            let entered = self.entered(caller, owner, key, token, end, entering).await;
            match entered.map_err(before_the_change)? {
                Entered::Yes => return Ok(()),
                Entered::Full if may_sweep => self.sweep(caller, owner).await?,
                Entered::Full => {}
            }
        }
        let text = format!("an owner has at most {OWNER_SESSIONS_MAX} sessions; remove one first");
        Err(Problem::new(Code::OwnerFull, text))
    }

    async fn entered(
        &self,
        caller: &Caller,
        owner: &Owner,
        key: &SessionKey,
        token: &str,
        end: End,
        entering: Entering,
    ) -> Result<Entered, Failure> {
        let [most, neighbours] = [OWNER_SESSIONS_MAX, NEIGHBOURS].map(|number| number.to_string());
        let (end, grace) = (end.argument(), milliseconds(ENTRY_GRACE).to_string());
        let again = if entering == Entering::Again { "1" } else { "0" };
        let arguments = [key.escaped(), token, &end, &most, &grace, &neighbours, again].map(str::as_bytes);
        let tag = owner.tag(&caller.namespace);
        let reply = self.store.run(&self.store.scripts.enter, caller, &tag, &arguments).await?;
        match reply.word() {
            "full" => return Ok(Entered::Full),
            "restored" => self.metrics.entry_restored(),
            _ => {}
        }
        Ok(Entered::Yes)
    }

    /// Looks at every entry of a full list.
    async fn sweep(&self, caller: &Caller, owner: &Owner) -> Result<(), Problem> {
        let mut after = String::new();
        for _ in 0..=OWNER_SESSIONS_MAX / PAGE_MAX {
            match self.page(caller, owner, &after, PAGE_MAX).await.map_err(before_the_change)?.next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Lists sessions whose entries come after `after`, each as it is at this moment.
    pub async fn page(
        &self,
        caller: &Caller,
        owner: &Owner,
        after: &str,
        limit: usize,
    ) -> Result<Page, Failure> {
        let most = limit.to_string();
        let arguments = [after.as_bytes(), most.as_bytes()];
        let tag = owner.tag(&caller.namespace);
        let reply = self.store.run(&self.store.scripts.list, caller, &tag, &arguments).await?;
        let (mut entries, mut last) = (Vec::new(), None);
        for pair in reply.pairs_after(2) {
            let (name, token) = pair.ok_or(Failure::NotExecuted("the store gave a strange answer"))?;
            last = Some(name.to_owned());
            // What a later version wrote is left alone.
            entries.extend(SessionKey::from_entry(name).map(|key| Entry { key, token: token.to_owned() }));
        }
        let next = last.filter(|_| reply.text(2) == Some("1"));
        let looks = entries.into_iter().map(|entry| self.look(caller, owner, entry));
        let mut looks = stream::iter(looks).buffered(PARALLEL_MAX);
        let mut sessions = Vec::new();
        while let Some(look) = looks.next().await {
            sessions.extend(look?);
        }
        Ok(Page { sessions, next })
    }

    /// The session of an entry, if it is there and of this owner; otherwise the entry goes.
    async fn look(
        &self,
        caller: &Caller,
        owner: &Owner,
        entry: Entry,
    ) -> Result<Option<(SessionKey, Session)>, Failure> {
        let found = self.store.read(caller, &entry.key, Look::GLANCE).await?;
        if let Found::Session(session) = found
            && session.owner.as_ref() == Some(owner)
        {
            return Ok(Some((entry.key, *session)));
        }
        let grace = milliseconds(ENTRY_GRACE);
        if self.forgotten(caller, owner, &entry.key, &entry.token, grace).await? {
            self.metrics.entry_removed();
        }
        Ok(None)
    }

    /// Removes the entry of a session that is gone, or has another owner. That it stays does not matter.
    pub async fn forget(&self, caller: &Caller, owner: &Owner, key: &SessionKey, token: &str) {
        if let Err(failure) = self.forgotten(caller, owner, key, token, 0).await {
            tracing::debug!(?failure, "an entry of an owner outlives its session until it is looked at");
        }
    }

    async fn forgotten(
        &self,
        caller: &Caller,
        owner: &Owner,
        key: &SessionKey,
        token: &str,
        grace_ms: u64,
    ) -> Result<bool, Failure> {
        let [grace, shared] = [grace_ms, milliseconds(ENTRY_GRACE)].map(|grace| grace.to_string());
        let arguments = [key.escaped(), token, &grace, &shared].map(str::as_bytes);
        let tag = owner.tag(&caller.namespace);
        let reply = self.store.run(&self.store.scripts.forget, caller, &tag, &arguments).await?;
        Ok(reply.word() == "forgotten")
    }
}
