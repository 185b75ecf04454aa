//! The gRPC service: who may log in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bowline_identity::Identity;
use bowline_model::AgentId;
use bowline_proto::convert;
use bowline_proto::v1::control_server::Control;
use bowline_proto::v1::{self, FromAgent, FromGateway, from_agent, from_gateway};
use bowline_rt::time::timeout;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::conversation::Conversation;
use super::{Caller, Stage};
use crate::agents::AttachError;
use crate::gateway::Inner;
use crate::limits;
use crate::session::Login;
use crate::text::{explain, shorten};

/// The service of one connection.
pub(crate) struct Attach {
    gateway: Arc<Inner>,
    caller: Caller,
    stage: watch::Sender<Stage>,
    /// One connection carries one session.
    used: AtomicBool,
}

impl Attach {
    pub fn new(gateway: Arc<Inner>, caller: Caller, stage: watch::Sender<Stage>) -> Self {
        Self { gateway, caller, stage, used: AtomicBool::new(false) }
    }

    async fn log_in(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Replies>, Status> {
        if self.gateway.is_draining() {
            return Err(Status::unavailable("this gateway is draining; attach to another one"));
        }
        let bearer = bearer(&request)?;
        let mut messages = request.into_inner();
        let first = timeout(self.gateway.settings.login_timeout, messages.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no login came in time"))??;
        let Some(FromAgent { message: Some(from_agent::Message::Login(login)) }) = first else {
            return Err(Status::invalid_argument("the first message has to be a login"));
        };
        let login = self.read_login(login)?;
        let token = self.authenticate(&login.agent, bearer)?;
        let conversations = self.gateway.conversations.clone();
        let place = conversations
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("this gateway is at its limit of control connections"))?;

        let gateway = &self.gateway;
        let (session, superseded) = gateway.agents.attach(login).map_err(|error| {
            tracing::warn!(remote = %self.caller.remote, error = explain(&error), "an agent may not attach");
            match error {
                AttachError::TooMany(_) | AttachError::Unpublished(_) => {
                    Status::resource_exhausted(error.to_string())
                }
                AttachError::Stale => Status::aborted(error.to_string()),
            }
        })?;
        if superseded {
            gateway.metrics.superseded.inc();
        }
        tracing::info!(
            agent = %session.login.agent,
            remote = %session.login.remote,
            version = session.login.version,
            epoch = %session.login.epoch,
            services = session.login.services.len(),
            superseded,
            "agent attached"
        );
        self.stage.send_replace(Stage::Attached);
        let (sender, receiver) = mpsc::channel(limits::OUTBOUND_MESSAGES_MAX);
        let welcome = from_gateway::Message::Welcome(v1::Welcome {
            gateway: gateway.settings.gateway.to_string(),
            epoch: convert::epoch_bytes(gateway.settings.epoch),
            version: gateway.settings.version.clone(),
            heartbeat_ms: u32::try_from(gateway.settings.heartbeat.as_millis()).unwrap_or(u32::MAX),
        });
        sender.try_send(Ok(FromGateway { message: Some(welcome) })).expect("a new channel has room");
        let stage = self.stage.clone();
        let conversation = Conversation::new(gateway.clone(), session, token, messages, sender, stage, place);
        bowline_rt::task::spawn("agent session", conversation.run());
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    fn read_login(&self, login: v1::Login) -> Result<Login, Status> {
        let invalid = |error: &dyn std::error::Error| Status::invalid_argument(shorten(error.to_string()));
        Ok(Login {
            agent: login.agent.parse().map_err(|error: bowline_model::NameError| invalid(&error))?,
            epoch: convert::epoch(&login.epoch).map_err(|error| invalid(&error))?,
            generation: login.generation,
            services: convert::services(&login.services).map_err(|error| invalid(&error))?,
            version: shorten(login.version),
            remote: self.caller.remote,
            by_certificate: self.caller.identity.is_some(),
        })
    }

    /// Whether the caller is the agent it says it is; answers the token that this rests on, if it does. The certificate
    /// decides if there is one; a token of another agent is never outweighed by anything.
    fn authenticate(&self, agent: &AgentId, bearer: Option<String>) -> Result<Option<String>, Status> {
        let settings = &self.gateway.settings.agents;
        let problem = match (&self.caller.identity, bearer) {
            (Some(Identity::Agent(id)), _) if id == agent => return Ok(None),
            (Some(identity), _) => format!("its certificate is that of {identity}"),
            (None, Some(_)) if settings.anyone && settings.tokens.is_empty() => return Ok(None),
            (None, Some(presented)) => match settings.tokens.agent(&presented) {
                Some(id) if id == *agent => return Ok(Some(presented)),
                Some(id) => format!("its token is that of agent {id}"),
                None => "its token is not known".to_owned(),
            },
            (None, None) if settings.anyone => return Ok(None),
            (None, None) => "it showed neither a certificate nor a token".to_owned(),
        };
        self.gateway.metrics.authentication_failures.inc();
        if let Some(suppressed) = self.gateway.refusals.admit() {
            tracing::warn!(%agent, remote = %self.caller.remote, problem, suppressed, "an agent is refused");
        }
        // The agent learns that it is refused, not whose the credential is.
        Err(Status::unauthenticated("this credential is not one of this agent"))
    }
}

/// The token of the request, if any.
fn bearer<T>(request: &Request<T>) -> Result<Option<String>, Status> {
    let Some(value) = request.metadata().get("authorization") else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
    token
        .map(|token| Some(token.to_owned()))
        .ok_or_else(|| Status::unauthenticated("the authorization is not a bearer token"))
}

pub(crate) type Replies = ReceiverStream<Result<FromGateway, Status>>;

#[tonic::async_trait]
impl Control for Attach {
    type AttachStream = Replies;

    async fn attach(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Replies>, Status> {
        if self.used.swap(true, Ordering::Relaxed) {
            return Err(Status::resource_exhausted("a connection carries one session"));
        }
        let result = self.log_in(request).await;
        if result.is_err() {
            self.stage.send_replace(Stage::Over);
        }
        result
    }
}
