//! From the wire's loose values to the model's strict ones.

use bowline_model::{Epoch, Reason, ServiceName, limits::SERVICES_PER_AGENT_MAX};

/// A value on the wire is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// An epoch has another length than 16 bytes.
    #[error("an epoch has 16 bytes, this one has {0}")]
    Epoch(usize),
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] bowline_model::NameError),
    /// More services than an agent may offer.
    #[error("an agent offers at most {SERVICES_PER_AGENT_MAX} services, this one offers {0}")]
    Services(usize),
}

/// Reads an epoch.
///
/// # Errors
/// [`Invalid::Epoch`].
pub fn epoch(bytes: &[u8]) -> Result<Epoch, Invalid> {
    let bytes = bytes.try_into().map_err(|_| Invalid::Epoch(bytes.len()))?;
    Ok(Epoch::from_bits(u128::from_be_bytes(bytes)))
}

/// Writes an epoch.
#[must_use]
pub fn epoch_bytes(epoch: Epoch) -> Vec<u8> {
    epoch.bits().to_be_bytes().to_vec()
}

/// Reads the list of services of an agent, sorted and without doubles.
///
/// # Errors
/// [`Invalid::Name`] or [`Invalid::Services`].
pub fn services(names: &[String]) -> Result<Vec<ServiceName>, Invalid> {
    if names.len() > SERVICES_PER_AGENT_MAX {
        return Err(Invalid::Services(names.len()));
    }
    let mut services = names.iter().map(|name| name.parse()).collect::<Result<Vec<ServiceName>, _>>()?;
    services.sort();
    services.dedup();
    Ok(services)
}

/// Reads a reason: `None` for success; a number that this version does not know counts as "unreachable".
#[must_use]
pub fn reason(number: u32) -> Option<Reason> {
    match number {
        0 => None,
        number => Some(Reason::from_wire(number).unwrap_or(Reason::AgentUnreachable)),
    }
}
