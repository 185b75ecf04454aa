//! What is said on a control connection after the login, until its session ends.
//!
//! One task reads, decides and writes. It never waits for the agent to read: what has no room in the short queue of
//! messages is decided anew later (Dial), or is left out (a heartbeat); an agent that does not read for as many
//! heartbeats as it may miss is given up like a silent one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_proto::convert;
use bowline_proto::v1::{self, FromAgent, FromGateway, from_agent, from_gateway::Message};
use bowline_rt::ration::Ration;
use bowline_rt::time::{now, sleep, sleep_until, sleep_until_some};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tonic::{Status, Streaming};

use super::Stage;
use crate::directory::PublishError;
use crate::gateway::Inner;
use crate::limits;
use crate::session::{End, Session};
use crate::text::{explain, shorten};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the agent closed it")]
    Closed,
    #[error("the connection failed")]
    Failed(#[source] Box<Status>),
    #[error("a newer login of the agent took its place")]
    Superseded,
    #[error("the agent was silent for {0:?}")]
    Silent(Duration),
    #[error("the agent does not read what it is sent")]
    NotReading,
    #[error("the agent sent something that it may not: {0}")]
    Invalid(String),
    #[error("its services cannot be published")]
    Unpublished(#[source] PublishError),
    #[error("its token was revoked")]
    Revoked,
    #[error("this gateway stops")]
    Stopped,
}

/// Detaches its session when it drops, however that happens: after a panic as well nobody may be led to a session that
/// has no control connection.
struct Attached {
    gateway: Arc<Inner>,
    session: Arc<Session>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.gateway.agents.detach(&self.session);
    }
}

/// See the module's documentation.
pub(super) struct Conversation {
    attached: Attached,
    gateway: Arc<Inner>,
    session: Arc<Session>,
    /// What the agent proved itself by, if that was a token: it may be revoked.
    token: Option<String>,
    messages: Streaming<FromAgent>,
    replies: mpsc::Sender<Reply>,
    stage: watch::Sender<Stage>,
    heartbeat_at: Instant,
    heartbeats_without_room: u32,
    told_to_move: bool,
    /// Lines of the log about what this agent says: one that says it all the time must not fill it.
    news: Ration,
    _place: OwnedSemaphorePermit,
}

impl Conversation {
    pub fn new(
        gateway: Arc<Inner>,
        session: Arc<Session>,
        token: Option<String>,
        messages: Streaming<FromAgent>,
        replies: mpsc::Sender<Reply>,
        stage: watch::Sender<Stage>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let now = now();
        Self {
            attached: Attached { gateway: gateway.clone(), session: session.clone() },
            heartbeat_at: now + gateway.settings.heartbeat,
            gateway,
            session,
            token,
            messages,
            replies,
            stage,
            heartbeats_without_room: 0,
            told_to_move: false,
            news: Ration::new(limits::WARNINGS_MAX, limits::WARNING_PERIOD),
            _place: place,
        }
    }

    /// Runs until the session has ended, and cleans up after it.
    pub async fn run(mut self) {
        let ended = self.talk().await;
        drop(self.attached);
        let agent = &self.session.login.agent;
        match &ended {
            Ended::Silent(_) | Ended::NotReading | Ended::Invalid(_) | Ended::Unpublished(_) => {
                self.gateway.metrics.agents_lost.inc();
                tracing::warn!(%agent, reason = explain(&ended), "agent detached");
            }
            Ended::Failed(status) => {
                let error = shorten(status.message().to_owned());
                tracing::info!(%agent, reason = %ended, code = ?status.code(), error, "agent detached");
            }
            Ended::Revoked => tracing::warn!(%agent, reason = %ended, "agent detached"),
            Ended::Closed | Ended::Superseded | Ended::Stopped => {
                tracing::info!(%agent, reason = %ended, "agent detached");
            }
        }
        // The replies end first, so that the agent reads the last one, and then the connection goes.
        drop(self.replies);
        self.stage.send_replace(Stage::Over);
    }

    async fn talk(&mut self) -> Ended {
        let session = self.session.clone();
        let gateway = self.gateway.clone();
        let silence_max = gateway.settings.heartbeat * limits::HEARTBEATS_MISSED_MAX;
        let (mut draining, replies) = (gateway.draining.subscribe(), self.replies.clone());
        loop {
            self.dial();
            let pool_timeout = session.poll_timeout();
            let result = tokio::select! {
                biased;
                End::Superseded(epoch) = session.ended() => {
                    self.send(Message::Superseded(v1::Superseded { epoch: convert::epoch_bytes(epoch) }));
                    Err(Ended::Superseded)
                }
                () = gateway.stop.cancelled() => Err(Ended::Stopped),
                // Said once and only once, so it waits for room: nobody would ask the agent to move again.
                room = room_when(&mut draining, &replies), if !self.told_to_move => {
                    self.told_to_move = true;
                    let jitter_ms = gateway.settings.drain_jitter.as_millis();
                    let jitter_ms = u32::try_from(jitter_ms).unwrap_or(u32::MAX);
                    if let Some(room) = room {
                        room.send(Ok(FromGateway { message: Some(Message::Drain(v1::Drain { jitter_ms })) }));
                    }
                    Ok(())
                }
                () = sleep(silence_max.saturating_sub(session.silence())) => Err(Ended::Silent(silence_max)),
                () = sleep_until(self.heartbeat_at) => self.beat(),
                () = session.doubted() => {
                    self.send(Message::Heartbeat(v1::Heartbeat {}));
                    Ok(())
                }
                () = sleep_until_some(pool_timeout) => {
                    session.handle_timeout();
                    Ok(())
                }
                message = self.messages.message() => match message {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) => Err(Ended::Closed),
                    Err(status) => Err(Ended::Failed(Box::new(status))),
                },
                () = session.changed() => Ok(()),
            };
            if let Err(ended) = result {
                return ended;
            }
        }
    }

    /// Asks for the tunnels that are wanted, as far as there is room for the messages.
    fn dial(&mut self) {
        while let Ok(permit) = self.replies.try_reserve() {
            let tickets = self.session.issue_tickets(limits::DIAL_TICKETS_MAX);
            if tickets.is_empty() {
                return;
            }
            permit.send(Ok(FromGateway { message: Some(Message::Dial(v1::Dial { tickets })) }));
        }
    }

    fn beat(&mut self) -> Result<(), Ended> {
        self.heartbeat_at = now() + self.gateway.settings.heartbeat;
        if self.token.as_ref().is_some_and(|token| !self.is_good(token)) {
            return Err(Ended::Revoked);
        }
        if self.send(Message::Heartbeat(v1::Heartbeat {})) {
            self.heartbeats_without_room = 0;
            return Ok(());
        }
        self.heartbeats_without_room += 1;
        let given_up = self.heartbeats_without_room >= limits::HEARTBEATS_MISSED_MAX;
        if given_up { Err(Ended::NotReading) } else { Ok(()) }
    }

    fn is_good(&self, token: &str) -> bool {
        self.gateway.settings.agents.tokens.agent(token).as_ref() == Some(&self.session.login.agent)
    }

    /// Sends a message if there is room. A connection that has ended shows at the next read.
    fn send(&self, message: Message) -> bool {
        match self.replies.try_send(Ok(FromGateway { message: Some(message) })) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }

    fn hear(&mut self, message: FromAgent) -> Result<(), Ended> {
        self.session.heard();
        let agent = &self.session.login.agent;
        match message.message {
            Some(from_agent::Message::Heartbeat(_)) => {}
            Some(from_agent::Message::Services(services)) => {
                let services = convert::services(&services.services)
                    .map_err(|error| Ended::Invalid(shorten(error.to_string())))?;
                if let Some(suppressed) = self.news.admit() {
                    tracing::info!(%agent, services = services.len(), suppressed, "agent offers other services");
                }
                self.gateway.agents.offer(&self.session, services).map_err(Ended::Unpublished)?;
            }
            Some(from_agent::Message::DialFailed(failed)) => {
                let error = shorten(failed.error);
                if let Some(suppressed) = self.news.admit() {
                    let tunnels = failed.tickets.len();
                    tracing::warn!(%agent, tunnels, error, suppressed, "agent cannot dial tunnels");
                }
                self.session.dial_failed(&failed.tickets, error);
            }
            Some(from_agent::Message::Leaving(_)) => {
                tracing::info!(%agent, "agent is leaving");
                self.gateway.agents.detach(&self.session);
            }
            Some(from_agent::Message::Login(_)) => {
                return Err(Ended::Invalid("a second login".to_owned()));
            }
            // A message that this version does not know.
            None => {}
        }
        Ok(())
    }
}

type Reply = Result<FromGateway, Status>;

/// Room for a message once `flag` is up; `None` if the connection has ended, which shows at the next read. Cancel safe.
async fn room_when<'a>(
    flag: &mut watch::Receiver<bool>,
    replies: &'a mpsc::Sender<Reply>,
) -> Option<mpsc::Permit<'a, Reply>> {
    flag.wait_for(|up| *up).await.ok()?;
    replies.reserve().await.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_said_once_waits_for_room() {
        let (replies, mut agent) = mpsc::channel::<Reply>(1);
        let (drain, mut draining) = watch::channel(false);
        assert!(room_when(&mut draining, &replies).now_or_never().is_none(), "there is nothing to say");
        drain.send_replace(true);
        replies.try_send(Ok(FromGateway { message: None })).expect("there is room");
        assert!(room_when(&mut draining, &replies).now_or_never().is_none(), "there is no room");
        agent.recv().await.expect("a message").expect("no error");
        assert!(room_when(&mut draining, &replies).await.is_some());
        drop(agent);
        assert!(room_when(&mut draining, &replies).await.is_none(), "there is nobody to tell");
    }
}
