//! Counts tunnels by state: for a session, which is over when its streams are, and for the whole agent.

use tokio::sync::watch;

use crate::metrics::Metrics;

/// How many tunnels there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelCounts {
    /// On their way to the gateway.
    pub dialling: usize,
    /// Waiting for a stream.
    pub idle: usize,
    /// Carrying a stream, or connecting it to its service.
    pub busy: usize,
}

impl TunnelCounts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.dialling + self.idle + self.busy
    }

    fn of(&mut self, state: TunnelState) -> &mut usize {
        match state {
            TunnelState::Dialling => &mut self.dialling,
            TunnelState::Idle => &mut self.idle,
            TunnelState::Busy => &mut self.busy,
        }
    }
}

/// Where a tunnel stands. It only ever goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TunnelState {
    Dialling,
    Idle,
    Busy,
}

impl TunnelState {
    pub const ALL: [Self; 3] = [Self::Dialling, Self::Idle, Self::Busy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Dialling => "dialling",
            Self::Idle => "idle",
            Self::Busy => "busy",
        }
    }
}

/// Counts that can be waited on. A clone counts into the same place.
#[derive(Debug, Clone, Default)]
pub struct Tally(watch::Sender<TunnelCounts>);

impl Tally {
    pub fn subscribe(&self) -> watch::Receiver<TunnelCounts> {
        self.0.subscribe()
    }

    /// Waits until no tunnel is left.
    pub async fn empty(&self) {
        let mut counts = self.0.subscribe();
        counts.wait_for(|counts| counts.total() == 0).await.expect("this tally is the sender");
    }
}

/// One tunnel in the counts of its session and of the agent, until it is dropped.
#[derive(Debug)]
pub struct Counted {
    session: Tally,
    agent: Tally,
    metrics: Metrics,
    state: TunnelState,
}

impl Counted {
    /// Counts a tunnel that is about to be dialled.
    pub fn new(session: &Tally, agent: &Tally, metrics: &Metrics) -> Self {
        let state = TunnelState::Dialling;
        let counted =
            Self { session: session.clone(), agent: agent.clone(), metrics: metrics.clone(), state };
        counted.change(|counts| *counts.of(state) += 1);
        counted.metrics.tunnels(state).inc();
        counted
    }

    /// Takes note that the tunnel went on.
    pub fn advance(&mut self, to: TunnelState) {
        assert!(to > self.state, "a tunnel only goes forward");
        let from = std::mem::replace(&mut self.state, to);
        self.change(|counts| {
            *counts.of(from) -= 1;
            *counts.of(to) += 1;
        });
        self.metrics.tunnels(from).dec();
        self.metrics.tunnels(to).inc();
    }

    fn change(&self, change: impl Fn(&mut TunnelCounts)) {
        // The agent first: who waits for a session to be empty may look at the agent then.
        self.agent.0.send_modify(&change);
        self.session.0.send_modify(&change);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.change(|counts| *counts.of(self.state) -= 1);
        self.metrics.tunnels(self.state).dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tunnel_is_counted_in_one_state_until_it_is_gone() {
        let (session, agent, metrics) = (Tally::default(), Tally::default(), Metrics::default());
        session.empty().await;
        let counts = agent.subscribe();
        let mut tunnel = Counted::new(&session, &agent, &metrics);
        assert_eq!(*counts.borrow(), TunnelCounts { dialling: 1, idle: 0, busy: 0 });
        tunnel.advance(TunnelState::Idle);
        let other = Counted::new(&session, &agent, &metrics);
        tunnel.advance(TunnelState::Busy);
        assert_eq!(*counts.borrow(), TunnelCounts { dialling: 1, idle: 0, busy: 1 });
        assert_eq!(metrics.tunnels(TunnelState::Busy).get(), 1);
        drop((tunnel, other));
        session.empty().await;
        assert_eq!(counts.borrow().total(), 0);
        assert!(TunnelState::ALL.iter().all(|state| metrics.tunnels(*state).get() == 0));
    }
}
