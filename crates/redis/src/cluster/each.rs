//! Commands that concern nodes and not keys: the number of keys, scripts, what is configured.

use std::time::Instant;

use bowline_resp::Frame;
use bowline_rt::task;

use tracing::Instrument as _;

use crate::client::{Client, Servers};
use crate::cluster::error::RouteError;
use crate::cluster::router::Way;
use crate::command::Command;
use crate::dedicated::deadline;
use crate::error::{CallError, Death, NotSent, Unknown};
use crate::trace::{self, Name};

/// What came of a command on one node.
pub type OnNode = (String, Result<Frame, CallError>);

impl Client {
    /// Runs a command on every primary of a cluster at the same time: `DBSIZE`, `FLUSHALL`, `SCRIPT LOAD`, `KEYS`. The result
    /// tells for each node, by its address, what came of it. With a single server it is that one's.
    ///
    /// The nodes are those that are known to serve slots when the call begins. A slot that moves meanwhile may be met twice, or
    /// not at all.
    ///
    /// # Errors
    /// [`NotSent`] in [`CallError`]: no primary is known.
    pub async fn on_all_primaries(&self, command: Command) -> Result<Vec<OnNode>, CallError> {
        let Servers::Cluster(cluster) = self.servers() else {
            return Ok(vec![(self.address().to_owned(), self.call(command).await)]);
        };
        let places = cluster.primaries(deadline(&command, self.settings())).await?;
        let calls = places.into_iter().map(|place| {
            let (client, command, address) = (self.clone(), command.clone(), place.address().to_owned());
            let call = async move { client.run_on(command, Way::to(place), None).await };
            (address, task::spawn("cluster-call", call))
        });
        let calls: Vec<_> = calls.collect();
        let mut outcomes = Vec::with_capacity(calls.len());
        for (address, call) in calls {
            // A runtime that ends takes its tasks with it.
            let outcome = call.await.unwrap_or(Err(Unknown::Lost(Death::Stopped).into()));
            outcomes.push((address, outcome));
        }
        Ok(outcomes)
    }

    /// Runs a command on the node of a cluster at `address`, a primary or a replica, and follows no redirect.
    ///
    /// # Errors
    /// As [`Client::call`]; [`RouteError::UnknownNode`] if the cluster has no such node.
    pub async fn call_on(&self, address: &str, command: Command) -> Result<Frame, CallError> {
        match self.servers() {
            Servers::Cluster(cluster) => {
                let place = cluster.place(address, deadline(&command, self.settings())).await?;
                self.run_on(command, Way::to(place), None).await
            }
            _ if self.address() == address => self.call(command).await,
            _ => Err(NotSent::from(RouteError::UnknownNode { address: address.to_owned() }).into()),
        }
    }

    /// The addresses of the primaries, `host:port` each, once any are known.
    ///
    /// # Errors
    /// [`NotSent`] in [`CallError`]: none became known within the usual deadline.
    pub async fn primaries(&self) -> Result<Vec<String>, CallError> {
        match self.servers() {
            Servers::Cluster(cluster) => {
                let deadline = deadline(&Command::new("CLUSTER"), self.settings());
                let places = cluster.primaries(deadline).await?;
                Ok(places.iter().map(|place| place.address().to_owned()).collect())
            }
            _ => Ok(vec![self.address().to_owned()]),
        }
    }

    /// A call that goes this way and began at `started`, if that is known.
    pub(super) async fn run_on(
        &self,
        command: Command,
        way: Way,
        started: Option<Instant>,
    ) -> Result<Frame, CallError> {
        let span = trace::span(&Name(&command));
        let call = self.run_command(command, None::<fn() -> Command>, way, started, None);
        let outcome = call.instrument(span.clone()).await;
        trace::end(&span, &outcome);
        self.metrics().count_call(&outcome);
        outcome
    }
}
