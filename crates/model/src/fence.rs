//! What orders two writes to one key (idea 3 of the design: *fenced*).
//!
//! An [`Epoch`] is an identity and has no order. Order between two incarnations of one writer comes from a [`Term`],
//! which the store itself hands out when an incarnation introduces itself; order within an incarnation comes from a
//! [`Generation`].

use std::fmt;
use std::str::FromStr;

/// 128-bit random identity of one incarnation of a process, a connection, or a store. Equality is all it offers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u128);

impl Epoch {
    /// An epoch from 128 random bits; `rt::random::epoch` draws them.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits, for the wire.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({:032x})", self.0)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 32 hexadecimal digits")]
pub struct EpochError;

impl FromStr for Epoch {
    type Err = EpochError;
    fn from_str(text: &str) -> Result<Self, EpochError> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits {
            return Err(EpochError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| EpochError)
    }
}

/// Order among the incarnations of one writer. The store hands a higher one to each incarnation that introduces
/// itself; it survives a store that lost its data because it never falls behind the store's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

/// Counts the decisions about one key within an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    ///
    /// # Panics
    /// After 2^64 decisions, which no process lives to make.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a process does not live for 2^64 decisions"))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a write carries. Whoever stores it refuses a lower one.
///
/// The derived order compares term, then generation; two fences of one term belong to one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// Order of the incarnation.
    pub term: Term,
    /// Order within the incarnation.
    pub generation: Generation,
    /// Identity of the incarnation.
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_back_what_it_prints() {
        let epoch = Epoch::from_bits(0x00ab);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("ab".parse::<Epoch>(), Err(EpochError));
        assert_eq!("+0000000000000000000000000000000".parse::<Epoch>(), Err(EpochError));
    }

    #[test]
    fn a_later_incarnation_outranks_every_generation_of_an_earlier_one() {
        let fence = |term, generation| Fence {
            term: Term(term),
            generation: Generation(generation),
            epoch: Epoch::from_bits(u128::from(term)),
        };
        assert!(fence(2, 0) > fence(1, u64::MAX));
        assert!(fence(2, 1) > fence(2, 0));
    }
}
