//! The agents that are attached to this gateway.
//!
//! One lock orders everything that happens to an agent: who is attached, what it offers, and what the registry is told
//! of it. A session that ends late can therefore not withdraw what its successor has published: it withdraws only while
//! it still is the agent's session, and the registry hears of both in the order in which they happened. (The lost
//! registration of incident 1 was this very race, with I/O outside the lock; here nothing under the lock waits.)

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_model::{AgentId, Epoch, ServiceName};
use bowline_rt::net::who;
use tokio::sync::Notify;

use crate::directory::{Directory, PublishError};
use crate::limits;
use crate::pool::PoolSettings;
use crate::session::{End, Login, Session, lock};
use crate::settings::Settings;

/// Why an agent may not attach.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The gateway is full.
    #[error("this gateway is at its limit of {0} agents")]
    TooMany(usize),
    /// The same incarnation of the agent has attached again since.
    #[error("a newer login of this incarnation of the agent has been here already")]
    Stale,
    /// The registry is full.
    #[error("the agent cannot be published")]
    Unpublished(#[source] PublishError),
}

/// See the module's documentation.
pub struct Agents {
    table: Mutex<Table>,
    directory: Arc<dyn Directory>,
    agents_max: usize,
    pool: PoolSettings,
    heartbeat: Duration,
    doubt_after: Duration,
    /// Told when an agent has gone.
    pub gone: Notify,
}

#[derive(Default)]
struct Table {
    by_agent: BTreeMap<AgentId, Arc<Session>>,
    by_serial: BTreeMap<u64, Arc<Session>>,
    by_service: BTreeMap<ServiceName, BTreeMap<u64, Arc<Session>>>,
    /// How many are attached from where.
    by_address: BTreeMap<IpAddr, usize>,
    serial: u64,
}

/// Whether a login replaces the session that is attached. Another incarnation always does: the agent's process has
/// restarted, and the old connection is half-open. Within one incarnation the generation decides, so that a login
/// that was delayed on the way does not push out its successor.
fn supersedes(new: (Epoch, u64), old: (Epoch, u64)) -> bool {
    new.0 != old.0 || new.1 >= old.1
}

impl Agents {
    pub fn new(directory: Arc<dyn Directory>, settings: &Settings) -> Self {
        Self {
            table: Mutex::default(),
            directory,
            agents_max: settings.agents_max,
            pool: settings.pool.clone(),
            heartbeat: settings.heartbeat,
            doubt_after: settings.doubt_after,
            gone: Notify::new(),
        }
    }

    /// Attaches an agent and publishes it. An older session of the same agent is told to end and is out of every path
    /// from this moment; nobody waits for it. Answers the new session and whether there was an old one.
    pub fn attach(&self, login: Login) -> Result<(Arc<Session>, bool), AttachError> {
        let mut table = lock(&self.table);
        let old = table.by_agent.get(&login.agent).cloned();
        match &old {
            Some(old)
                if !supersedes((login.epoch, login.generation), (old.login.epoch, old.login.generation)) =>
            {
                return Err(AttachError::Stale);
            }
            None if table.by_agent.len() >= self.agents_max => {
                return Err(AttachError::TooMany(self.agents_max));
            }
            Some(_) | None => {}
        }
        if let Some(old) = &old {
            table.remove(old);
            old.end(End::Superseded(login.epoch));
        }
        table.serial += 1;
        let session = Arc::new(Session::new(table.serial, login, self.pool.clone(), self.doubt_after));
        table.insert(&session);
        let published = self.directory.publish(&session.login.agent, &session.services());
        if published.is_err() {
            table.remove(&session);
        }
        drop(table);
        if let Some(old) = &old {
            old.close();
        }
        published.map_err(AttachError::Unpublished)?;
        Ok((session, old.is_some()))
    }

    /// The agent offers another list of services now. Nothing happens if the session is no longer the agent's.
    pub fn offer(&self, session: &Arc<Session>, services: Vec<ServiceName>) -> Result<(), PublishError> {
        let mut table = lock(&self.table);
        if !table.is_current(session) {
            return Ok(());
        }
        table.unlist(session);
        session.set_services(services.into());
        table.list(session);
        self.directory.publish(&session.login.agent, &session.services())
    }

    /// The session ends, or its agent is leaving: no stream is opened on it any more. Doing it twice does no harm.
    pub fn detach(&self, session: &Arc<Session>) {
        let mut table = lock(&self.table);
        if table.is_current(session) {
            table.remove(session);
            self.directory.withdraw(&session.login.agent);
        }
        drop(table);
        session.close();
        self.gone.notify_waiters();
    }

    /// The session with this serial, if it is still attached.
    pub fn session(&self, serial: u64) -> Option<Arc<Session>> {
        lock(&self.table).by_serial.get(&serial).cloned()
    }

    /// Sessions that offer `service`, of `agent` only if one is named. Of very many, some at random. The best one comes
    /// first: an agent that gives signs of life (others may be hanging), then one with an idle tunnel, then the one with
    /// the fewest streams.
    pub fn offering(&self, service: &ServiceName, agent: Option<&AgentId>) -> Vec<Arc<Session>> {
        let mut chosen: Vec<Arc<Session>> = {
            let table = lock(&self.table);
            match agent {
                Some(agent) => {
                    table.by_agent.get(agent).filter(|it| it.offers(service)).cloned().into_iter().collect()
                }
                None => table.some_offering(service),
            }
        };
        chosen.sort_by_cached_key(|session| {
            let counts = session.counts();
            let late = session.is_mute() || session.silence() > self.heartbeat * 2;
            (late, counts.idle == 0, counts.waiting, counts.busy, bowline_rt::random::bits64())
        });
        chosen
    }

    /// Everybody, by name.
    pub fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.table).by_agent.values().cloned().collect()
    }

    /// Whether an agent is attached from this address.
    pub fn any_from(&self, address: IpAddr) -> bool {
        lock(&self.table).by_address.contains_key(&who(address))
    }

    /// How many are attached.
    pub fn len(&self) -> usize {
        lock(&self.table).by_agent.len()
    }
}

impl Table {
    fn is_current(&self, session: &Arc<Session>) -> bool {
        self.by_serial.contains_key(&session.serial)
    }

    /// At most [`limits::LOCAL_AGENTS_ASKED_MAX`] sessions that offer `service`, from a random one on.
    fn some_offering(&self, service: &ServiceName) -> Vec<Arc<Session>> {
        let Some(sessions) = self.by_service.get(service) else { return Vec::new() };
        let (first, last) = (sessions.keys().next(), sessions.keys().next_back());
        let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
        let start = first + bowline_rt::random::below(last - first + 1);
        let around = sessions.range(start..).chain(sessions.range(..start));
        around.take(limits::LOCAL_AGENTS_ASKED_MAX).map(|(_, session)| session.clone()).collect()
    }

    fn insert(&mut self, session: &Arc<Session>) {
        self.by_agent.insert(session.login.agent.clone(), session.clone());
        self.by_serial.insert(session.serial, session.clone());
        *self.by_address.entry(who(session.login.remote.ip())).or_default() += 1;
        self.list(session);
        assert_eq!(self.by_agent.len(), self.by_serial.len(), "one session per agent");
    }

    fn remove(&mut self, session: &Arc<Session>) {
        self.unlist(session);
        self.by_agent.remove(&session.login.agent);
        self.by_serial.remove(&session.serial);
        if let Entry::Occupied(mut from) = self.by_address.entry(who(session.login.remote.ip())) {
            *from.get_mut() -= 1;
            if *from.get() == 0 {
                from.remove();
            }
        }
        assert_eq!(self.by_agent.len(), self.by_serial.len(), "one session per agent");
    }

    fn list(&mut self, session: &Arc<Session>) {
        for service in session.services().iter() {
            let sessions = self.by_service.entry(service.clone()).or_default();
            sessions.insert(session.serial, session.clone());
        }
    }

    fn unlist(&mut self, session: &Arc<Session>) {
        for service in session.services().iter() {
            if let Some(sessions) = self.by_service.get_mut(service) {
                sessions.remove(&session.serial);
                if sessions.is_empty() {
                    self.by_service.remove(service);
                }
            }
        }
    }
}
