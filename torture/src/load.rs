//! A load generator that remembers when each request was answered, and how.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowline_rt::{task, time};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::http::{self, Connection};
use crate::limits::{LOAD_ANSWER_MAX, LOAD_PAUSE};

/// A running load: workers, each of which sends one request after the other over a connection that it keeps.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    workers: task::JoinSet<Vec<Outcome>>,
}

/// What became of one request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// When it was sent.
    pub sent: Instant,
    /// When its answer was complete, or it failed.
    pub ended: Instant,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// All outcomes of a load, in the order in which they ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// One for each request.
    pub outcomes: Vec<Outcome>,
}

impl Load {
    /// Starts `workers` workers that GET `/` of `host` from `address`.
    #[must_use]
    pub fn start(address: SocketAddr, host: &str, workers: usize) -> Self {
        let stop = CancellationToken::new();
        let mut set = task::JoinSet::new();
        for _ in 0..workers {
            set.spawn(work(address, host.to_owned(), stop.clone()));
        }
        Self { stop, workers: set }
    }

    /// Ends the load and reports.
    ///
    /// # Panics
    /// If a worker panicked.
    pub async fn finish(self) -> Report {
        self.stop.cancel();
        let mut outcomes = self.workers.join_all().await.concat();
        outcomes.sort_by_key(|outcome| outcome.ended);
        Report { outcomes }
    }
}

async fn work(address: SocketAddr, host: String, stop: CancellationToken) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut connection = None;
    while !stop.is_cancelled() {
        let sent = time::now();
        let answered = time::timeout(LOAD_ANSWER_MAX, request(&mut connection, address, &host)).await;
        let result = answered.unwrap_or_else(|elapsed| Err(elapsed.into()));
        if result.is_err() {
            connection = None;
        }
        outcomes.push(Outcome { sent, ended: time::now(), error: result.err().map(|e| format!("{e:#}")) });
        time::sleep(LOAD_PAUSE).await;
    }
    outcomes
}

async fn request(kept: &mut Option<Connection>, address: SocketAddr, host: &str) -> Result<()> {
    // A kept connection that the gateway closed while idle is no failure, so it is not used.
    let mut connection = match kept.take().filter(|connection| !connection.is_closed()) {
        Some(connection) => connection,
        None => http::connect(address).await?,
    };
    let answer = http::exchange(&mut connection, host, "GET", "/", Bytes::new()).await?;
    let reason = answer.reason.unwrap_or_default();
    ensure!(answer.status == 200, "status {} {reason}", answer.status);
    *kept = Some(connection);
    Ok(())
}

impl Report {
    /// How many requests were served.
    #[must_use]
    pub fn served(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.error.is_none()).count()
    }

    /// The failures, newest last.
    #[must_use]
    pub fn failures(&self) -> Vec<&Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.error.is_some()).collect()
    }

    /// Fails unless at least one request was served and none failed.
    ///
    /// # Errors
    /// The first failure.
    pub fn demand_no_failure(&self) -> Result<()> {
        ensure!(self.served() > 0, "no request was served");
        let failures = self.failures();
        let first = failures.first().map(|outcome| outcome.error.as_deref().unwrap_or_default());
        ensure!(
            failures.is_empty(),
            "{} of {} requests failed: {first:?}",
            failures.len(),
            self.outcomes.len()
        );
        Ok(())
    }

    /// Fails unless everything that was *sent* later than `limit` after `event` was served, and something was. Returns how
    /// long after `event` the last failure was sent.
    ///
    /// # Errors
    /// The latest failure.
    pub fn demand_recovery(&self, event: Instant, limit: Duration) -> Result<Duration> {
        let late = event + limit;
        let served_late = self.outcomes.iter().any(|outcome| outcome.sent > late && outcome.error.is_none());
        ensure!(served_late, "nothing was served later than {limit:?} after the event");
        let failures = self.failures();
        let last = failures.iter().max_by_key(|outcome| outcome.sent);
        let Some(last) = last.filter(|outcome| outcome.sent > event) else { return Ok(Duration::ZERO) };
        let after = last.sent.duration_since(event);
        let error = last.error.as_deref().context("a failure has an error")?;
        ensure!(after <= limit, "a request that was sent {after:?} after the event still failed: {error}");
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(start: Instant, outcomes: &[(u64, bool)]) -> Report {
        let outcome = |&(ms, served): &(u64, bool)| {
            let sent = start + Duration::from_millis(ms);
            Outcome { sent, ended: sent, error: (!served).then(|| "refused".to_owned()) }
        };
        Report { outcomes: outcomes.iter().map(outcome).collect() }
    }

    #[test]
    fn recovery_is_judged_by_the_last_failure() {
        let start = time::now();
        let limit = Duration::from_millis(100);
        let check = |outcomes: &[(u64, bool)], expected: Option<u64>| {
            let after = report(start, outcomes).demand_recovery(start, limit).ok();
            assert_eq!(after, expected.map(Duration::from_millis), "{outcomes:?}");
        };
        check(&[(1, true), (200, true)], Some(0));
        check(&[(1, false), (50, false), (60, true), (101, true)], Some(50));
        check(&[(1, false), (150, false), (200, true)], None);
        check(&[(1, true), (50, true)], None);
        assert!(report(start, &[(1, true)]).demand_no_failure().is_ok());
        assert!(report(start, &[(1, true), (2, false)]).demand_no_failure().is_err());
        assert!(report(start, &[]).demand_no_failure().is_err());
    }
}
