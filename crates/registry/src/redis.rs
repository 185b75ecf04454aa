//! The store behind the driver: carries the operations out with scripts.

use std::sync::Arc;
use std::time::Duration;

use bowline_model::{Epoch, Term};
use bowline_redis::{CallError, Client, Connection, Frame, Script};

use tokio::sync::watch;

use crate::backend::{
    Backend, BackendError, ClaimRequest, Claimed, Link, Listing, Pending, ReadRequest, Verdict, WriteRequest,
    Written,
};
use crate::clock::milliseconds;
use crate::limits::{NEIGHBOURS, SWEEP_MAX};

pub(crate) const CLAIM: &str = include_str!("scripts/claim.lua");
pub(crate) const WRITE: &str = include_str!("scripts/write.lua");
pub(crate) const READ: &str = include_str!("scripts/read.lua");

/// An answer that does not look like one of these scripts'.
#[derive(Debug, thiserror::Error)]
#[error("the store's answer to the script {script} has another form than expected")]
struct Malformed {
    script: &'static str,
}

/// The operations over a [`Client`].
pub(crate) struct RedisBackend {
    client: Client,
    claim: Script,
    write: Script,
    read: Script,
    link: watch::Receiver<Link>,
}

impl RedisBackend {
    /// Starts a task that lives as long as the client.
    pub(crate) fn start(client: Client, write_timeout: Duration, read_timeout: Duration) -> Arc<Self> {
        let mut connection = client.connection();
        let (sender, link) = watch::channel(link_of(&connection.borrow_and_update()));
        bowline_rt::task::spawn("registry-link", async move {
            while connection.changed().await.is_ok() {
                let now = link_of(&connection.borrow_and_update());
                if sender.send(now).is_err() {
                    return;
                }
            }
            // The client is gone. If nobody listens any more, that is the end of this too.
            let _ = sender.send(Link::Down);
        });
        Arc::new(Self {
            client,
            // Claiming twice with one epoch is as good as once.
            claim: Script::new(CLAIM).idempotent().deadline(write_timeout),
            // A write is sent once: sending it again is decided above, with a higher generation.
            write: Script::new(WRITE).deadline(write_timeout),
            read: Script::new(READ).idempotent().deadline(read_timeout),
            link,
        })
    }

    async fn run(&self, script: &Script, key: &str, arguments: &[&str]) -> Result<Frame, BackendError> {
        let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
        self.client.eval(script, &[key.as_bytes()], &arguments).await.map_err(BackendError::from)
    }
}

impl From<CallError> for BackendError {
    fn from(error: CallError) -> Self {
        Self { had_no_effect: error.had_no_effect(), source: Box::new(error) }
    }
}

fn link_of(connection: &Connection) -> Link {
    match connection {
        Connection::Up { epoch, .. } => Link::Up(*epoch),
        Connection::Down { .. } => Link::Down,
    }
}

impl Backend for RedisBackend {
    fn claim(&self, request: ClaimRequest) -> Pending<'_, Claimed> {
        Box::pin(async move {
            let reply = self.run(&self.claim, &request.key, &as_str(&claim_arguments(&request))).await?;
            parse_claim(&reply).ok_or_else(|| malformed("claim"))
        })
    }

    fn write(&self, request: WriteRequest) -> Pending<'_, Written> {
        Box::pin(async move {
            let reply = self.run(&self.write, &request.key, &as_str(&write_arguments(&request))).await?;
            parse_write(&reply).ok_or_else(|| malformed("write"))
        })
    }

    fn read(&self, request: ReadRequest) -> Pending<'_, Listing> {
        Box::pin(async move {
            let reply = self.run(&self.read, &request.key, &as_str(&read_arguments(&request))).await?;
            parse_read(&reply).ok_or_else(|| malformed("read"))
        })
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }
}

fn malformed(script: &'static str) -> BackendError {
    BackendError { had_no_effect: false, source: Box::new(Malformed { script }) }
}

fn as_str(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The arguments of `claim.lua`.
pub(crate) fn claim_arguments(request: &ClaimRequest) -> Vec<String> {
    vec![
        request.epoch.to_string(),
        request.replaces.unwrap_or_default().to_string(),
        milliseconds(request.lifetime).to_string(),
        request.seen.to_string(),
        request.not_after_unix_ms.to_string(),
    ]
}

/// The arguments of `write.lua`.
pub(crate) fn write_arguments(request: &WriteRequest) -> Vec<String> {
    vec![
        request.field.clone(),
        request.fence.term.to_string(),
        request.fence.epoch.to_string(),
        request.fence.generation.to_string(),
        milliseconds(request.lifetime).to_string(),
        request.payload.clone(),
        request.not_after_unix_ms.to_string(),
        NEIGHBOURS.to_string(),
    ]
}

/// The arguments of `read.lua`.
pub(crate) fn read_arguments(request: &ReadRequest) -> Vec<String> {
    let mut arguments = vec![request.entries_max.to_string(), SWEEP_MAX.to_string()];
    arguments.extend(request.field.clone());
    arguments
}

pub(crate) fn parse_claim(reply: &Frame) -> Option<Claimed> {
    let [term, owner, now] = texts(reply)?.try_into().ok()?;
    let owner: Epoch = owner.parse().ok()?;
    Some(Claimed { term: Term(term.parse().ok()?), owner, now_unix_ms: now.parse().ok()? })
}

pub(crate) fn parse_write(reply: &Frame) -> Option<Written> {
    let [verdict, now, before] = texts(reply)?.try_into().ok()?;
    let verdict = match verdict {
        "applied" => Verdict::Applied,
        "refused" => Verdict::Refused,
        "late" => Verdict::Late,
        _ => return None,
    };
    Some(Written { verdict, now_unix_ms: now.parse().ok()?, before: before.to_owned() })
}

pub(crate) fn parse_read(reply: &Frame) -> Option<Listing> {
    let texts = texts(reply)?;
    let (now, entries) = texts.split_first()?;
    if entries.len() % 2 != 0 {
        return None;
    }
    let entries = entries.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
    Some(Listing { now_unix_ms: now.parse().ok()?, entries })
}

/// The elements of an array of texts.
fn texts(reply: &Frame) -> Option<Vec<&str>> {
    let Frame::Array(elements) = reply else { return None };
    let text = |element| match element {
        &Frame::Bulk(ref bytes) | &Frame::Simple(ref bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    elements.iter().map(text).collect()
}
