//! What the core of the agent is told, what it wants done, and what it shows.

use std::time::Duration;

use bowline_model::{Epoch, GatewayId, Generation};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed: [`super::Attachment::poll_timeout`] is due.
    Tick,
    /// The gateway took the login.
    Welcome {
        /// The session.
        session: Generation,
        /// Who the gateway is.
        gateway: GatewayId,
    },
    /// The gateway asks the agent to move within a random part of `jitter`.
    Drain {
        /// The session.
        session: Generation,
        /// Bound of the wait.
        jitter: Duration,
    },
    /// The gateway gave the place of this session to another one.
    Superseded {
        /// The session, which is over.
        session: Generation,
        /// The incarnation that took over.
        by: Epoch,
    },
    /// The gateway refused the login.
    Refused {
        /// The session, which is over.
        session: Generation,
        /// The gateway's words.
        reason: String,
    },
    /// The session could not be made, or broke off.
    Lost {
        /// The session, which is over.
        session: Generation,
        /// Why.
        error: String,
    },
    /// A session that was left has no streams any more.
    Quiet {
        /// The session, which is over.
        session: Generation,
    },
    /// Leave everybody.
    Stop,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Begin a session.
    Dial {
        /// Its name, and the generation to log in with.
        session: Generation,
        /// Index of the target in the join list.
        target: usize,
    },
    /// Say [`Leaving`](bowline_proto::v1::Leaving), take no new streams, and report [`Input::Quiet`].
    Leave {
        /// The session.
        session: Generation,
    },
    /// End the session now; nothing more is to be reported of it. Streams that run go on.
    Close {
        /// The session.
        session: Generation,
    },
    /// Something an operator should know.
    Tell(Notice),
}

/// What an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Attached.
    Attached {
        /// Index of the target.
        target: usize,
        /// The gateway there.
        gateway: GatewayId,
    },
    /// A gateway is shutting down; another one is looked for after `after`.
    Moving {
        /// Index of the target.
        target: usize,
        /// The gateway there.
        gateway: GatewayId,
        /// The jitter that was drawn.
        after: Duration,
    },
    /// A session could not be made, or broke off.
    Lost {
        /// Index of the target.
        target: usize,
        /// Why.
        error: String,
        /// Failures in a row, this one included.
        failures: u32,
        /// This target is left alone for so long.
        retry_after: Duration,
    },
    /// A login was refused.
    Refused {
        /// Index of the target.
        target: usize,
        /// The gateway's words.
        reason: String,
        /// This target is left alone for so long.
        retry_after: Duration,
    },
    /// Another process logged in with this agent's id.
    IdTaken {
        /// Index of the target.
        target: usize,
        /// The other process.
        by: Epoch,
        /// Nobody is dialled for so long.
        retry_after: Duration,
    },
    /// Two targets lead to one gateway.
    SameGateway {
        /// Index of the target that is left alone.
        target: usize,
        /// The gateway.
        gateway: GatewayId,
        /// For so long.
        retry_after: Duration,
    },
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing is under way.
    Detached,
    /// Said goodbye; what runs goes on.
    Leaving,
    /// Being connected.
    Dialling,
    /// Told to move; works until another gateway is attached.
    Draining,
    /// Works.
    Attached,
}

/// What the agent knows of one entry of its join list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// How the best session of this target stands.
    pub state: State,
    /// The gateway that answered there last.
    pub gateway: Option<GatewayId>,
    /// Why the last session ended or could not be made; `None` after a success.
    pub last_error: Option<String>,
}
