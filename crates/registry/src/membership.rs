//! Who may write as this gateway.
//!
//! A gateway that starts takes its name from whomever had it: a predecessor that still lives somewhere loses it. After
//! that it only ever keeps it. Whoever then finds a newer claim of another process that is at work is superseded and stops for
//! good: two processes with one name would otherwise take it from each other for ever. An older claim supersedes nobody: it
//! comes from a replica that took over before it had heard of ours.
//!
//! A dead process must not supersede a living one. A predecessor may have died with its own claim still on the way to the store.
//! Taking names the claim that is taken, so that such a claim takes nothing from us. It can still land in a store that has lost
//! our claim; but its process then never writes the entry that says "this gateway lives" with the term of that claim, which
//! every other does at once.

use std::sync::Arc;
use std::time::Duration;

use bowline_model::{Epoch, Term};
use bowline_rt::time::Instant;
use bowline_rt::{random, time};
use tokio::sync::watch;

use crate::backend::{BackendError, ClaimRequest, Claimed, Link, ReadRequest};
use crate::clock::milliseconds;
use crate::layout::{EntryKey, Record, claim_key};
use crate::limits::{CLAIM_RETRY, CLAIM_TTL, LATE_SLACK};
use crate::publisher::{Publisher, stopped};

/// Whether this gateway may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is no connection to the store, or it has not answered the claim yet.
    Waiting,
    /// It may.
    Admitted,
    /// A newer process has its name. Final.
    Superseded,
}

/// A newer claim of a process that has not shown yet that it lives.
struct Challenge {
    owner: Epoch,
    /// When it was first seen.
    since: Instant,
}

/// Why a wait ended.
enum Event {
    LinkChanged,
    ClaimDue,
    Stopped,
}

/// Claims the gateway's name whenever the store is there, until the registry is shut down or superseded.
pub(crate) async fn run(publisher: Arc<Publisher>) {
    let mut link = publisher.backend.link();
    let mut stop = publisher.stop.subscribe();
    // The highest term that this gateway has had. Once it has one, it takes the name from older claims only.
    let mut own_term = None;
    let mut challenge: Option<Challenge> = None;
    loop {
        // A connection that came instead of another may lead to a store that lost its data: everything is asked anew.
        let up = matches!(*link.borrow_and_update(), Link::Up(_));
        publisher.leave();
        set_standing(&publisher, Standing::Waiting);
        let (mut pause, mut told, mut replaces) = (Duration::ZERO, false, None);
        loop {
            match wait(&publisher, &mut link, &mut stop, up.then_some(pause)).await {
                Event::LinkChanged => break,
                Event::Stopped => return,
                Event::ClaimDue => {}
            }
            match claim(&publisher, replaces.take()).await {
                Ok(claimed) if claimed.term == Term(0) => pause = random::jitter(CLAIM_RETRY),
                Ok(claimed) if claimed.owner == publisher.settings.epoch => {
                    own_term = own_term.max(Some(claimed.term));
                    challenge = None;
                    let was_out = *publisher.standing.borrow() != Standing::Admitted;
                    publisher.admit(claimed.term, was_out);
                    set_standing(&publisher, Standing::Admitted);
                    pause = publisher.settings.ttl;
                }
                Ok(claimed) if own_term.is_none_or(|own| claimed.term < own) => {
                    (replaces, pause) = (Some(claimed.term), Duration::ZERO);
                }
                Ok(claimed) => {
                    publisher.leave();
                    set_standing(&publisher, Standing::Waiting);
                    let former = challenge.take().filter(|former| former.owner == claimed.owner);
                    let since = former.map_or_else(time::now, |former| former.since);
                    match is_at_work(&publisher, claimed).await {
                        Ok(true) => return set_standing(&publisher, Standing::Superseded),
                        Ok(false) if time::now() >= since + patience(&publisher) => {
                            (replaces, pause) = (Some(claimed.term), Duration::ZERO);
                        }
                        Ok(false) => {
                            challenge = Some(Challenge { owner: claimed.owner, since });
                            pause = random::jitter(CLAIM_RETRY);
                        }
                        Err(_) => pause = random::jitter(CLAIM_RETRY),
                    }
                }
                Err(error) => {
                    let gateway = &publisher.settings.gateway;
                    // Once a connection; every further attempt would say the same.
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%gateway, %error, "cannot claim this gateway's name; will go on trying");
                    }
                    pause = random::jitter(CLAIM_RETRY);
                }
            }
        }
    }
}

/// Whether the process that claimed has said since then that this gateway lives, and not taken it back.
async fn is_at_work(publisher: &Publisher, claimed: Claimed) -> Result<bool, BackendError> {
    let field = EntryKey::Gateway.field(&publisher.settings.gateway);
    let request = ReadRequest { key: EntryKey::Gateway.store_key(), field: Some(field), entries_max: 1 };
    let listing = publisher.backend.read(request).await?;
    let record = listing.entries.first().and_then(|(_, value)| Record::parse(value));
    Ok(record.is_some_and(|record| (record.epoch, record.term) == (claimed.owner, claimed.term)))
}

/// How long a process may take from its claim to its first entry: one write that times out, and one that does not.
fn patience(publisher: &Publisher) -> Duration {
    publisher.settings.write_timeout * 2 + LATE_SLACK
}

/// Waits until the claim is due: after `pause`, or a little after a write was refused.
async fn wait(
    publisher: &Publisher,
    link: &mut watch::Receiver<Link>,
    stop: &mut watch::Receiver<bool>,
    pause: Option<Duration>,
) -> Event {
    let deadline = pause.map(|pause| time::now() + pause);
    tokio::select! {
        biased;
        () = stopped(stop) => Event::Stopped,
        changed = link.changed() => if changed.is_ok() { Event::LinkChanged } else { Event::Stopped },
        () = publisher.refused.notified() => {
            // Should the store go on refusing, this is not to become a loop without pauses.
            time::sleep(random::jitter(CLAIM_RETRY)).await;
            Event::ClaimDue
        }
        () = time::sleep_until_some(deadline) => Event::ClaimDue,
    }
}

/// Claims the gateway's name, from the claim with the term `replaces` if somebody else has it.
async fn claim(publisher: &Publisher, replaces: Option<Term>) -> Result<Claimed, BackendError> {
    let settings = &publisher.settings;
    let asked_at = time::now();
    let last_moment = milliseconds(settings.write_timeout + LATE_SLACK);
    let request = ClaimRequest {
        key: claim_key(&settings.gateway),
        epoch: settings.epoch,
        replaces,
        lifetime: CLAIM_TTL,
        seen: publisher.seen_term(),
        not_after_unix_ms: publisher.clock.at_most(asked_at).saturating_add(last_moment),
    };
    let claimed = publisher.backend.claim(request).await?;
    publisher.clock.learn(asked_at, claimed.now_unix_ms);
    Ok(claimed)
}

fn set_standing(publisher: &Publisher, standing: Standing) {
    let changed = publisher.standing.send_if_modified(|old| std::mem::replace(old, standing) != standing);
    let gateway = &publisher.settings.gateway;
    match standing {
        _ if !changed => {}
        Standing::Waiting => tracing::warn!(%gateway, "the registry waits for the store"),
        Standing::Admitted => tracing::info!(%gateway, "the registry is in step with the store"),
        Standing::Superseded => {
            tracing::error!(%gateway, "another process runs with this gateway's name: this one publishes nothing any more");
        }
    }
}
