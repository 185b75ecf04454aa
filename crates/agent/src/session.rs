//! The life of one session: attach, obey the gateway, prove to be alive, leave when told to.
//!
//! A session reports to the core ([`crate::attachment`]) and decides nothing about other sessions. Its tunnels outlive it
//! as far as they carry a stream. A session that was left ends the control connection in order, so that the goodbye
//! arrives, and is then over.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bowline_model::{GatewayId, Generation};
use bowline_proto::v1::{self, from_agent, from_gateway};
use bowline_proto::{convert, v1::Dial};
use bowline_rt::time::{now, sleep_until};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::attachment::Input;
use crate::control::ControlError;
use crate::limits::{HEARTBEAT_PERIOD, HEARTBEATS_MISSED_MAX};
use crate::shared::Shared;
use crate::text;
use crate::tunnel::Tunnels;

/// How the supervisor speaks to a session.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// Say goodbye, and end when no stream runs any more.
    pub leave: CancellationToken,
    /// End now.
    pub close: CancellationToken,
}

/// One session, before it runs.
#[derive(Debug)]
pub struct Session {
    pub name: Generation,
    pub address: String,
    pub orders: Orders,
    pub events: mpsc::Sender<Input>,
    pub shared: Arc<Shared>,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the gateway sent nothing for {0:?}")]
    Silent(Duration),
    #[error("the gateway speaks another language")]
    Language(#[source] convert::Invalid),
    #[error("superseded")]
    Superseded(bowline_model::Epoch),
    #[error("closed by order")]
    Closed,
    #[error("left, and no stream runs")]
    Quiet,
}

impl Session {
    /// Runs to the end. The result is what to tell the core; nothing if it gave the order itself.
    pub async fn run(self) -> Option<Input> {
        let session = self.name;
        let over = tokio::select! {
            biased;
            () = self.orders.close.cancelled() => Over::Closed,
            Err(over) = self.live() => over,
        };
        match over {
            Over::Closed => None,
            Over::Quiet => Some(Input::Quiet { session }),
            Over::Superseded(by) => Some(Input::Superseded { session, by }),
            Over::Control(error @ ControlError::Refused(_)) => {
                Some(Input::Refused { session, reason: text::chain(&error) })
            }
            over => Some(Input::Lost { session, error: text::chain(&over) }),
        }
    }

    async fn live(&self) -> Result<std::convert::Infallible, Over> {
        let mut services = self.shared.services.subscribe();
        let login = v1::Login {
            agent: self.shared.agent.to_string(),
            epoch: convert::epoch_bytes(self.shared.epoch),
            services: services.borrow_and_update().wire(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.name.0,
        };
        let (mut control, welcome) = self.shared.dialler.attach(&self.address, login).await?;
        let gateway: GatewayId =
            welcome.gateway.parse().map_err(|error| Over::Language(convert::Invalid::Name(error)))?;
        let tunnels = Arc::new(Tunnels::new(self.address.clone(), control.peer, gateway.clone()));
        // Whichever way this session ends, idle tunnels end with it.
        let _idle_tunnels = tunnels.idle_end.clone().drop_guard();
        self.report(Input::Welcome { session: self.name, gateway }).await?;

        let period = Duration::from_millis(u64::from(welcome.heartbeat_ms))
            .clamp(*HEARTBEAT_PERIOD.start(), *HEARTBEAT_PERIOD.end());
        let patience = period * HEARTBEATS_MISSED_MAX;
        let (mut last_heard, mut next_beat) = (now(), now() + period);
        let mut left = false;
        let mut settled = pin!(tunnels.settle());
        loop {
            tokio::select! {
                biased;
                () = self.orders.leave.cancelled(), if !left => {
                    left = true;
                    control.outbound.send(from_agent::Message::Leaving(v1::Leaving {}))?;
                }
                () = sleep_until(next_beat) => {
                    next_beat = now() + period;
                    control.outbound.heartbeat()?;
                }
                message = control.inbound.next() => {
                    last_heard = now();
                    match message? {
                        // After the goodbye the gateway has no use for more tunnels; it may not have read it yet.
                        from_gateway::Message::Dial(Dial { tickets }) if left => tunnels.refuse(tickets),
                        from_gateway::Message::Dial(Dial { tickets }) => tunnels.dial(&self.shared, tickets),
                        // A gateway that doubts this agent asks by a heartbeat out of turn, so each is answered at once.
                        from_gateway::Message::Heartbeat(_) => {
                            next_beat = now() + period;
                            control.outbound.heartbeat()?;
                        }
                        message => self.obey(message).await?,
                    }
                }
                () = sleep_until(last_heard + patience) => return Err(Over::Silent(patience)),
                // The sender lives as long as this session's `shared`.
                _ = services.changed(), if !left => {
                    let services = services.borrow_and_update().wire();
                    control.outbound.send(from_agent::Message::Services(v1::Services { services }))?;
                }
                failed = tunnels.failed() => control.outbound.send(from_agent::Message::DialFailed(failed))?,
                () = settled.as_mut(), if left => {
                    control.finish().await;
                    return Err(Over::Quiet);
                }
            }
        }
    }

    /// Does what a message asks for that concerns the session as a whole.
    async fn obey(&self, message: from_gateway::Message) -> Result<(), Over> {
        match message {
            from_gateway::Message::Drain(v1::Drain { jitter_ms }) => {
                let jitter = Duration::from_millis(u64::from(jitter_ms));
                self.report(Input::Drain { session: self.name, jitter }).await
            }
            from_gateway::Message::Superseded(v1::Superseded { epoch }) => {
                Err(Over::Superseded(convert::epoch(&epoch).map_err(Over::Language)?))
            }
            // A second welcome says nothing new; the others are dealt with where they arrive.
            from_gateway::Message::Heartbeat(_)
            | from_gateway::Message::Welcome(_)
            | from_gateway::Message::Dial(_) => Ok(()),
        }
    }

    async fn report(&self, input: Input) -> Result<(), Over> {
        // Without a supervisor there is nobody to work for.
        self.events.send(input).await.map_err(|_| Over::Closed)
    }
}
