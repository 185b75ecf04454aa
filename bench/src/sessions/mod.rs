//! The session service beside itself without signatures: what their check, the digests of bodies and the nonces cost.
//!
//! Both run in processes of their own over one redis-server. The load signs its requests before the clock runs, so that only
//! checking is measured.

mod load;
mod subject;

use anyhow::Result;
use bowline_identity::signature::Algorithm;
use bowline_torture::peers;
use bowline_torture::ports::free_address;

use crate::Effort;
use crate::report::{Better, Report};
use load::Request;
use subject::Subject;

/// Measures signed and unsigned requests, round by round.
///
/// # Errors
/// A program is missing, or a request failed.
pub async fn measure(effort: Effort) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let store = free_address();
    let _redis = peers::redis(folder.path(), store).await?;
    let unsigned = Subject::unsigned(folder.path(), store).await?;
    load::fill(&unsigned).await?;
    let mut signed = Vec::new();
    for algorithm in [Algorithm::HmacSha256, Algorithm::Ed25519] {
        let subject = Subject::signed(folder.path(), store, algorithm).await?;
        load::wait_until_let_in(&subject).await;
        signed.push((algorithm, subject));
    }
    let mut report = Report::new("sessions");
    for _ in 0..effort.rounds() {
        for request in [Request::Get, Request::Put] {
            for (algorithm, signed) in &signed {
                let figure = format!("{}, {}", request.title(), algorithm.as_str());
                // Unsigned requests are measured beside each, so that both come from neighbours in time.
                for subject in [signed, &unsigned] {
                    sample(&mut report, &figure, subject, request, effort.session_requests()).await?;
                }
            }
        }
    }
    Ok(report)
}

async fn sample(
    report: &mut Report,
    figure: &str,
    subject: &Subject,
    request: Request,
    count: usize,
) -> Result<()> {
    let before = subject.cpu()?;
    let figures = load::run(subject, request, count).await?;
    let cpu = subject.cpu()? - before;
    let mut add = |what: &str, unit, better, sample| {
        report.add(&format!("{figure}{what}"), unit, better, subject.name, sample);
    };
    add("", "requests/s", Better::Higher, figures.rate);
    add(", p50", "ms", Better::Lower, figures.p50.as_secs_f64() * 1_000.0);
    add(", p99", "ms", Better::Lower, figures.p99.as_secs_f64() * 1_000.0);
    add(", service's CPU", "µs per request", Better::Lower, cpu.as_secs_f64() * 1e6 / count as f64);
    Ok(())
}
