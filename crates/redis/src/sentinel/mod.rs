//! Who the primary is, by what sentinels say.
//!
//! - `answer`: what they say. `search`: whom to ask and which answer to believe. `roster`: which of them there are. All without
//!   I/O.
//! - `conversation`: a connection to one of them. `watch`: the task that listens to one for as long as the client lives.
//! - `replicas`: from whom to read beside the primary, learnt in the same searches.
//!
//! A search is made before each connection, whenever a sentinel tells of a failover (`+switch-master`), and every few seconds
//! whatever they tell. All searches come to one belief, which only moves to a newer failover; a connection that leads to another
//! server than the believed one dies at once ([`Death::Replaced`]) instead of waiting for errors of the old primary. What is
//! believed is only where to look: that the server there is a primary, the introduction of the connection demands.
//!
//! Sentinels may lie, be silent or be cut off; all that comes of it is time. Every answer and every wait is bounded.

mod answer;
mod conversation;
mod replicas;
mod roster;
mod search;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_rt::task::{self, JoinHandle};

use self::answer::{Answer, AskError};
use self::conversation::Conversation;
use self::replicas::Replicas;
use self::roster::Roster;
use self::search::{Found, Search};
use crate::cluster::{Open, Place, ReadFrom};
use crate::credentials::Credentials;
use crate::error::Death;

pub(crate) use self::conversation::{DialSentinel, Dialled, Wire};
pub(crate) use self::search::SearchError;

/// The sentinels of one service. Dropping it ends the listening.
pub(crate) struct Sentinels {
    shared: Arc<Shared>,
    watch: JoinHandle<()>,
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Sentinels {
    /// Begins to listen to one of `seeds`. `open` makes connections to replicas, where they are read from.
    pub fn start(
        service: String,
        seeds: &[String],
        credentials: Credentials,
        dial: Arc<dyn DialSentinel>,
        open: Option<Open>,
    ) -> Self {
        let state = State { roster: Roster::new(seeds), newest: None, told_by: None, replicas_error: None };
        let (state, primary) = (Mutex::new(state), tokio::sync::watch::Sender::new(None));
        let replicas = open.map(Replicas::new);
        let shared = Arc::new(Shared { service, credentials, dial, state, primary, replicas });
        Self { watch: task::spawn("sentinels", watch::run(shared.clone())), shared }
    }

    /// The name of the service.
    pub fn service(&self) -> &str {
        &self.shared.service
    }

    /// Searches the primary: `host:port`.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn primary(&self) -> Result<String, SearchError> {
        self.shared.search(None).await
    }

    /// The replica to read from, one that is connected; `None` if that is the primary.
    pub fn replica(&self, read_from: ReadFrom) -> Option<Arc<Place>> {
        self.shared.replicas.as_ref()?.pick(read_from)
    }

    /// No primary could be connected to at `address`. Who told so is asked last from now on.
    pub fn failed(&self, address: &str) {
        let mut state = self.shared.lock();
        if self.shared.primary.borrow().as_deref() == Some(address)
            && let Some(sentinel) = state.told_by.take()
        {
            state.roster.misled(&sentinel);
        }
    }

    /// Ends when another server than that at `address` is known to be the primary. Cancel safe.
    pub async fn left(&self, address: &str) -> Death {
        let mut primary = self.shared.primary.subscribe();
        let is_other =
            |primary: &Option<String>| primary.as_deref().is_some_and(|primary| primary != address);
        match primary.wait_for(is_other).await {
            Ok(_) => Death::Replaced,
            // Not while this lives: it holds the sender.
            Err(_) => Death::Stopped,
        }
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels").field("service", &self.shared.service).finish_non_exhaustive()
    }
}

struct Shared {
    service: String,
    credentials: Credentials,
    dial: Arc<dyn DialSentinel>,
    state: Mutex<State>,
    /// What is believed.
    primary: tokio::sync::watch::Sender<Option<String>>,
    replicas: Option<Replicas>,
}

struct State {
    roster: Roster,
    /// The newest failover that was heard of.
    newest: Option<u64>,
    /// The sentinel to which the belief is due.
    told_by: Option<String>,
    /// Why the newest answer told no replicas, although they were asked for.
    replicas_error: Option<AskError>,
}

impl Shared {
    /// Searches among all sentinels, `first` before the others.
    async fn search(&self, first: Option<&str>) -> Result<String, SearchError> {
        let mut search = {
            let state = self.lock();
            let mut order = state.roster.order().to_vec();
            if let Some(place) = order.iter().position(|sentinel| Some(sentinel.as_str()) == first) {
                order[..=place].rotate_right(1);
            }
            Search::new(&order, state.newest)
        };
        let found = loop {
            let Some(sentinel) = search.next() else { break search.finish()? };
            let answer = self.ask(&sentinel).await;
            if let Err(error) = &answer {
                tracing::debug!(sentinel, %error, "a sentinel was of no use");
            }
            if let Some(found) = search.take(sentinel, answer) {
                break found;
            }
        };
        Ok(self.believe(found))
    }

    /// Each sentinel in its turn, wherever it stands in the order. Nobody in particular where they do not number failovers: what
    /// one says that was cut off could not be told from the truth then.
    fn in_turn(&self, turn: usize) -> Option<String> {
        let state = self.lock();
        state.newest?;
        let mut sentinels: Vec<&String> = state.roster.order().iter().collect();
        sentinels.sort();
        sentinels.get(turn.checked_rem(sentinels.len())?).map(|&sentinel| sentinel.clone())
    }

    async fn ask(&self, sentinel: &str) -> Result<Answer, AskError> {
        let mut conversation = Conversation::open(&*self.dial, sentinel, &self.credentials).await?;
        let wants_replicas = self.replicas.as_ref().is_some_and(Replicas::are_wanted);
        conversation.ask_about(&self.service, wants_replicas).await
    }

    /// Ends when somebody begins to read from replicas. Cancel safe.
    async fn replicas_wished_for(&self) {
        match &self.replicas {
            Some(replicas) => replicas.wished_for().await,
            None => std::future::pending().await,
        }
    }

    /// Takes what a search has found, if no other search has found something newer meanwhile; returns what is believed then.
    fn believe(&self, found: Found) -> String {
        let mut state = self.lock();
        let Found { sentinel, answer, overrules } = found;
        state.roster.answered(&sentinel, &answer.others);
        let is_older = answer.config_epoch.zip(state.newest).is_some_and(|(epoch, newest)| epoch < newest);
        let believed = self.primary.borrow().clone();
        if let Some(believed) = believed.as_ref().filter(|_| is_older && !overrules) {
            return believed.clone();
        }
        state.newest = answer.config_epoch.or(state.newest);
        let is_other = believed.as_ref() != Some(&answer.primary);
        self.believe_replicas(&mut state, &answer, is_other, &sentinel);
        if is_other {
            tracing::info!(
                service = self.service,
                primary = answer.primary,
                sentinel,
                "the sentinels name a primary"
            );
            self.primary.send_replace(Some(answer.primary.clone()));
        }
        state.told_by = Some(sentinel);
        answer.primary
    }

    /// Takes what was told of replicas together with the primary. If nothing was, those of the former primary are not read from.
    fn believe_replicas(&self, state: &mut State, answer: &Answer, is_other: bool, sentinel: &str) {
        let Some(replicas) = &self.replicas else { return };
        let told = match &answer.replicas {
            Some(Ok(told)) => {
                state.replicas_error = None;
                told.as_slice()
            }
            Some(Err(error)) if state.replicas_error.as_ref() != Some(error) => {
                tracing::warn!(service = self.service, sentinel, %error, "a sentinel does not tell the replicas");
                state.replicas_error = Some(error.clone());
                &[]
            }
            Some(Err(_)) | None => &[],
        };
        let is_told = matches!(answer.replicas, Some(Ok(_)));
        let told: Vec<_> = told.iter().filter(|&replica| *replica != answer.primary).cloned().collect();
        if (is_told || is_other) && replicas.replace(&told) {
            tracing::info!(
                service = self.service,
                replicas = told.join(","),
                sentinel,
                "replicas to read from"
            );
        }
    }

    /// Nothing that is done under the lock leaves it half done, so a panic elsewhere in a task does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
