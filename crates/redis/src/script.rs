//! A Lua script with its digest.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::body::bulk_bytes_max;
use crate::command::Command;

/// A script that runs in the server. It is named by its digest and sent in full only to a server that does not know it.
#[derive(Debug, Clone)]
pub struct Script {
    source: Arc<str>,
    digest: String,
    idempotent: bool,
    deadline: Option<Duration>,
}

impl Script {
    /// A script with this source.
    #[must_use]
    pub fn new(source: &str) -> Self {
        // The server names scripts by SHA-1; nothing here relies on it as a signature.
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes());
        let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { source: source.into(), digest, idempotent: false, deadline: None }
    }

    /// Declares that running the script twice with the same arguments is as good as once.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Limits the time of a call, as [`Command::deadline`] does.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The SHA-1 of the source in hexadecimal digits, as the server names the script.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub(crate) fn by_digest(&self, keys: &[&[u8]], arguments: &[&[u8]]) -> Command {
        self.command("EVALSHA", &self.digest, keys, arguments)
    }

    pub(crate) fn by_source(&self, keys: &[&[u8]], arguments: &[&[u8]]) -> Command {
        self.command("EVAL", &self.source, keys, arguments)
    }

    fn command(&self, name: &str, script: &str, keys: &[&[u8]], arguments: &[&[u8]]) -> Command {
        // Exact within a few bytes for each: a value among them may be large.
        let lengths = [keys, arguments].into_iter().flatten().map(|argument| argument.len());
        let lengths = lengths.chain([script.len(), size_of::<usize>()]);
        let command = Command::new(name).with_room(lengths.map(bulk_bytes_max).sum());
        let mut command = command.arg(script).number(keys.len()).args(keys).args(arguments);
        if self.idempotent {
            command = command.idempotent();
        }
        match self.deadline {
            Some(deadline) => command.deadline(deadline),
            None => command,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_redis() {
        assert_eq!(Script::new("return 1").digest(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
