//! How entries look in the store: keys, fields and values.
//!
//! Every key has a hash tag and every script touches one key, so that a cluster works. A field names its only writer and
//! nothing else. A value is one line of text:
//!
//! ```text
//! 1 <term> <epoch> <generation> <expires, unix ms by the store's clock> <peer address> <zone> <extra>
//! ```
//!
//! with `-` in place of the last three in the tombstone of a removal. `<extra>` is free for later versions, today `-`.

use std::fmt;
use std::sync::Arc;

use bowline_model::{AgentId, Epoch, GatewayId, Generation, ServiceName, Term, ZoneName};

/// What stands in a value in place of the content, once the entry is removed.
pub(crate) const TOMBSTONE: &str = "-";

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// One agent.
    Agent(AgentId),
    /// Any agent that offers a service.
    Service(ServiceName),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "agent {agent}"),
            Self::Service(service) => write!(f, "service {service}"),
        }
    }
}

/// Somebody who can reach a target: a gateway, and the agent behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The gateway that holds the agent's control connection.
    pub gateway: GatewayId,
    /// The incarnation of the gateway that said so.
    pub epoch: Epoch,
    /// Orders the incarnations of one gateway: the highest is the living one.
    pub term: Term,
    /// The agent.
    pub agent: AgentId,
    /// Where the gateway listens for other gateways.
    pub peer_address: String,
    /// The gateway's zone.
    pub zone: ZoneName,
}

/// A live gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayEntry {
    /// Its name.
    pub gateway: GatewayId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// Where it listens for other gateways.
    pub peer_address: String,
    /// Its zone.
    pub zone: ZoneName,
}

/// What this gateway writes: one entry of one hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKey {
    /// "This gateway lives."
    Gateway,
    /// "This agent is reachable here."
    Agent(AgentId),
    /// "This agent offers this service, and is reachable here."
    Service(ServiceName, AgentId),
}

impl EntryKey {
    /// The hash that holds the entry.
    pub(crate) fn store_key(&self) -> String {
        match self {
            Self::Gateway => gateways_key().to_owned(),
            Self::Agent(agent) => format!("bowline:{{agent:{agent}}}"),
            Self::Service(service, _) => format!("bowline:{{service:{service}}}"),
        }
    }

    /// The field of the entry.
    pub(crate) fn field(&self, gateway: &GatewayId) -> String {
        match self {
            Self::Gateway => gateway.to_string(),
            Self::Agent(agent) | Self::Service(_, agent) => format!("{gateway}/{agent}"),
        }
    }
}

/// The hash of all gateways.
pub(crate) const fn gateways_key() -> &'static str {
    "bowline:{gateways}"
}

/// The claim to a gateway's name.
pub(crate) fn claim_key(gateway: &GatewayId) -> String {
    format!("bowline:{{gateway:{gateway}}}")
}

/// The hash that lists the holders of a target.
pub(crate) fn target_key(target: &Target) -> String {
    match target {
        Target::Agent(agent) => format!("bowline:{{agent:{agent}}}"),
        Target::Service(service) => format!("bowline:{{service:{service}}}"),
    }
}

/// The part of a value that says something about the gateway. It is the same for all entries of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content(pub(crate) Arc<str>);

impl Content {
    pub(crate) fn new(peer_address: &str, zone: &ZoneName) -> Self {
        Self(format!("{peer_address} {zone} {TOMBSTONE}").into())
    }
}

/// A value, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) term: Term,
    pub(crate) epoch: Epoch,
    pub(crate) generation: Generation,
    /// `None` in a tombstone.
    pub(crate) content: Option<Content>,
}

impl Record {
    /// Reads a value; `None` if this version cannot.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(6, ' ');
        if words.next()? != "1" {
            return None;
        }
        let term = Term(words.next()?.parse().ok()?);
        let epoch = words.next()?.parse().ok()?;
        let generation = Generation(words.next()?.parse().ok()?);
        words.next()?.parse::<u64>().ok()?;
        let content = words.next()?;
        let content = (content != TOMBSTONE).then(|| Content(content.into()));
        Some(Self { term, epoch, generation, content })
    }

    /// The peer address and the zone of a live record.
    fn address_and_zone(&self) -> Option<(String, ZoneName)> {
        let mut words = self.content.as_ref()?.0.split(' ');
        let address = words.next().filter(|address| !address.is_empty())?.to_owned();
        Some((address, words.next()?.parse().ok()?))
    }
}

/// Reads one field and value of a target's hash; `None` if this version cannot.
pub(crate) fn parse_holder(field: &str, value: &str) -> Option<Holder> {
    let (gateway, agent) = field.split_once('/')?;
    let record = Record::parse(value)?;
    let (peer_address, zone) = record.address_and_zone()?;
    Some(Holder {
        gateway: gateway.parse().ok()?,
        epoch: record.epoch,
        term: record.term,
        agent: agent.parse().ok()?,
        peer_address,
        zone,
    })
}

/// Reads one field and value of the hash of gateways; `None` if this version cannot.
pub(crate) fn parse_gateway(field: &str, value: &str) -> Option<GatewayEntry> {
    let record = Record::parse(value)?;
    let (peer_address, zone) = record.address_and_zone()?;
    Some(GatewayEntry { gateway: field.parse().ok()?, epoch: record.epoch, peer_address, zone })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &str = "000000000000000000000000000000ab";

    #[test]
    fn a_record_reads_back() {
        let text = format!("1 5 {EPOCH} 7 1700000000000 10.0.0.1:7003 z1 -");
        let record = Record::parse(&text).expect("a record");
        assert_eq!((record.term, record.generation), (Term(5), Generation(7)));
        assert_eq!(record.content, Some(Content::new("10.0.0.1:7003", &"z1".parse().expect("a name"))));
        let holder = parse_holder("g1/a1", &text).expect("a holder");
        assert_eq!(holder.peer_address, "10.0.0.1:7003");
        assert_eq!(
            (holder.gateway.as_str(), holder.agent.as_str(), holder.zone.as_str()),
            ("g1", "a1", "z1")
        );
        assert_eq!(parse_gateway("g1", &text).expect("an entry").zone.as_str(), "z1");
    }

    #[test]
    fn what_this_version_cannot_read_is_left_alone() {
        let tombstone = format!("1 5 {EPOCH} 7 1700000000000 -");
        assert_eq!(Record::parse(&tombstone).expect("a record").content, None);
        assert_eq!(parse_holder("g1/a1", &tombstone), None);
        let later = format!("2 5 {EPOCH} 7 1700000000000 a:1 z1 -");
        for text in ["", "1", "1 x", &later, "1 5 ab 7 1 a:1 z1 -", &format!("1 5 {EPOCH} 7 soon a:1 z1 -")] {
            assert_eq!(Record::parse(text), None, "{text}");
        }
        let short = format!("1 5 {EPOCH} 7 1700000000000 a:1");
        assert_eq!(parse_holder("g1/a1", &short), None);
        let good = format!("1 5 {EPOCH} 7 1700000000000 a:1 z1 - and more");
        assert!(parse_holder("g1/a1", &good).is_some());
        assert_eq!(parse_holder("g1", &good), None);
        assert_eq!(parse_holder("G!/a1", &good), None);
    }

    #[test]
    fn entries_of_one_agent_or_service_share_a_hash() {
        let (agent, gateway): (AgentId, GatewayId) =
            ("a1".parse().expect("a name"), "g1".parse().expect("a name"));
        let service = EntryKey::Service("web".parse().expect("a name"), agent.clone());
        assert_eq!(service.store_key(), target_key(&Target::Service("web".parse().expect("a name"))));
        assert_eq!(service.store_key(), "bowline:{service:web}");
        assert_eq!(service.field(&gateway), "g1/a1");
        assert_eq!(EntryKey::Agent(agent).store_key(), "bowline:{agent:a1}");
        assert_eq!(EntryKey::Gateway.field(&gateway), "g1");
    }
}
