//! A stream through gateway and agent, beside the direct connection and beside `rathole` doing the same job.
//!
//! Plain is compared with plain, TLS with rathole's Noise. Every subject is a set of addresses that reach the same two
//! services of this process: a source and sink of bytes, and a small HTTP responder.

mod load;
mod service;
mod subject;

use std::time::Duration;

use anyhow::{Result, bail};

use crate::Effort;
use crate::http::Figures;
use crate::limits::HTTP_CONNECTIONS;
use crate::report::{Better, OURS, Report};
use load::Direction;
use service::Services;
use subject::{Security, Subject};

/// Streams at a time of the two throughput figures.
const STREAMS: [usize; 2] = [1, 8];

/// Measures all subjects, round by round.
///
/// # Errors
/// A program is missing or does not become ready.
pub async fn measure(effort: Effort) -> Result<Report> {
    let services = Services::start().await?;
    let direct = Subject::direct(&services);
    let mut report = Report::new("tunnel");
    let mut pairs = Vec::new();
    for security in [Security::Plain, Security::Encrypted] {
        let ours = Subject::bowline(&services, security).await?;
        let theirs = Subject::rathole(&services, security).await?;
        pairs.push((security, ours, theirs));
    }
    for _ in 0..effort.rounds() {
        for (security, ours, theirs) in &pairs {
            // The direct connection is measured beside each, so that both ratios come from neighbours in time.
            let subjects = [Some(&direct), Some(ours), theirs.as_ref()];
            for subject in subjects.into_iter().flatten() {
                measure_subject(&mut report, *security, subject, &services, effort.span()).await?;
            }
        }
    }
    Ok(report)
}

async fn measure_subject(
    report: &mut Report,
    security: Security,
    subject: &Subject,
    services: &Services,
    span: Duration,
) -> Result<()> {
    let security = security.name();
    for streams in STREAMS {
        for direction in [Direction::Down, Direction::Up] {
            let bytes = load::throughput(subject.bulk, services, streams, direction, span).await?;
            let figure = format!(
                "{security}, {streams} stream{} {}",
                if streams == 1 { "" } else { "s" },
                direction.name()
            );
            report.add(&figure, "MB/s", Better::Higher, subject.name, bytes / 1e6);
        }
    }
    let http = load::http(subject.http, HTTP_CONNECTIONS, span).await?;
    add_http(report, &format!("{security}, http"), subject, http)?;
    // rathole and the direct connection know nothing of HTTP, so this is the same job; ours goes by the entry for TCP.
    let raw = match subject.http_as_tcp {
        Some(address) => load::http(address, HTTP_CONNECTIONS, span).await?,
        None => http,
    };
    add_http(report, &format!("{security}, http as raw tcp"), subject, raw)
}

fn add_http(
    report: &mut Report,
    figure: &str,
    subject: &Subject,
    (figures, errors): (Figures, u64),
) -> Result<()> {
    let mut add = |what: &str, unit, better, sample| {
        report.add(&format!("{figure}, {what}"), unit, better, subject.name, sample);
    };
    add("requests", "requests/s", Better::Higher, figures.rate);
    add("p50", "ms", Better::Lower, figures.p50.as_secs_f64() * 1_000.0);
    add("p99", "ms", Better::Lower, figures.p99.as_secs_f64() * 1_000.0);
    if subject.name == OURS && errors > 0 {
        bail!("{errors} HTTP requests through {OURS} failed");
    }
    Ok(())
}
