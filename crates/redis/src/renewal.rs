//! Keeps a living connection logged in with the newest credentials.
//!
//! `AUTH` goes through the queue of the connection as any request does, so requests before it run as the old user and those
//! behind it as the new one, and none is lost. A server that refuses it leaves the connection logged in as it was; it is
//! asked again after a pause, for ever: the server may learn of the new password later than we do.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bowline_resp::Frame;
use bowline_rt::time::sleep;
use tokio::sync::watch;

use crate::command::Command;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::handshake::without_secret;
use crate::intake::{Delivery, Intake};
use crate::limits::CREDENTIALS_PAUSE;
use crate::metrics::Metrics;
use crate::reconnect::Pause;
use crate::request::Limit;

/// Does so for as long as it is polled. `version` has seen what the connection began with. Cancel safe: what was begun is either
/// sent whole or not at all.
pub(crate) async fn renew(
    config: &Config,
    mut version: Option<watch::Receiver<u64>>,
    intake: &Arc<Intake>,
    metrics: &Metrics,
) -> Infallible {
    loop {
        changed(&mut version).await;
        let mut pause = Pause::new(CREDENTIALS_PAUSE);
        let mut is_first = true;
        while let Err(problem) = log_in(config, intake).await {
            metrics.logins_refused.inc();
            if std::mem::take(&mut is_first) {
                let epoch = intake.epoch();
                tracing::warn!(%epoch, problem, "a connection to the store keeps its old login for now");
            }
            tokio::select! {
                () = sleep(pause.next()) => {}
                () = changed(&mut version) => {}
            }
        }
    }
}

/// Ends when there are other credentials than when `version` was looked at last. Cancel safe.
pub(crate) async fn changed(version: &mut Option<watch::Receiver<u64>>) {
    let is_news = match version {
        Some(version) => version.changed().await.is_ok(),
        None => false,
    };
    // A provider that never tells, or is gone, has no news.
    if !is_news {
        pending::<()>().await;
    }
}

async fn log_in(config: &Config, intake: &Arc<Intake>) -> Result<(), String> {
    let credentials = config.credentials.ask().await.map_err(|error| error.to_string())?;
    let Credentials::Fixed(login) = credentials else { return Ok(()) };
    let auth = Command::auth(&login);
    // Whether the connection dies is not decided here.
    let Ok(room) = intake.room(&auth).await else { pending().await };
    let limit = Limit::In(config.settings.handshake_timeout);
    let Ok(answer) = intake.commit(room, &auth, limit) else { pending().await };
    match answer.await {
        Delivery::Answer(Frame::Error(text)) => Err(without_secret(&text, Some(&login))),
        Delivery::Answer(_) => Ok(()),
        Delivery::Expired => Err("no answer to AUTH in time".to_owned()),
        Delivery::Lost { .. } => pending().await,
    }
}
