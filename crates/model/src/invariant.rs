//! The promises by name. The same name stands in assertions, in the simulator's checkers and in metrics.

use std::fmt;

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// A promise that must hold in every run; `incidents.md` tells where each comes from.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Invariant { $($(#[$doc])* $name,)* }

        impl Invariant {
            /// The name, as documents and metrics write it.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Self::$name => $code,)* } }
        }
    };
}

invariants! {
    /// When local truth is quiet and the store answers, the store equals the truth within one write round trip.
    RegConverge = "INV-REG-CONVERGE";
    /// For one key no older decision is applied after a newer one.
    RegOrder = "INV-REG-ORDER";
    /// Registering never waits for I/O, and a slow store never delays another key.
    RegNoBlock = "INV-REG-NOBLOCK";
    /// What a dead gateway published is gone after its TTL by the store's clock; nobody else removes a live entry.
    RegForget = "INV-REG-FORGET";
    /// An entry that the store lost is back within seconds, and counted.
    RegRepair = "INV-REG-REPAIR";
    /// A reply reaches only the request that caused it.
    DrvOwn = "INV-DRV-OWN";
    /// Dropping or timing out a request never shifts the replies of others.
    DrvCancel = "INV-DRV-CANCEL";
    /// Every request ends exactly once, and an error says whether it may have been executed.
    DrvOnce = "INV-DRV-ONCE";
    /// Memory and queueing are bounded under a stopped server.
    DrvBound = "INV-DRV-BOUND";
    /// A session request that is unsigned, stale, replayed or altered is refused, and nothing is read.
    SessAuth = "INV-SESS-AUTH";
    /// A script replicates as its effects inside one transaction; applying the stream needs no script and no clock.
    ReplEffect = "INV-REPL-EFFECT";
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
