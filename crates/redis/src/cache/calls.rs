//! Calls that may be answered from the cache.

use std::sync::Arc;
use std::time::Duration;

use bowline_resp::Frame;
use bowline_rt::time::now;

use super::{Cache, CacheSettings, Read, is_cacheable};
use crate::batch::{Batch, answers};
use crate::client::Client;
use crate::command::Command;
use crate::error::{CallError, NotSent};
use crate::request::Request as _;
use crate::trace::traced;

/// Ends a read whose call was dropped.
struct Begun<'a> {
    cache: &'a Arc<Cache>,
    read: Option<Read>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(read) = &self.read {
            self.cache.give_up(read);
        }
    }
}

impl Client {
    /// Runs a command that reads one key, or answers it from what was read before, if the key has not changed since: see
    /// [`Config::client_side_cache`](crate::Config::client_side_cache), which has to have switched it on. An answer that is
    /// kept may be older than the value by the time that an invalidation takes to come; while the connection is silently
    /// broken, by [`Settings::probe_interval`](crate::Settings::probe_interval) and
    /// [`Settings::silence_max`](crate::Settings::silence_max) together.
    ///
    /// Where the server does not track keys (RESP2, no right to `CLIENT TRACKING`), each call asks it, and
    /// `bowline_redis_cache_untracked_total` counts them. So does a call in a cluster while its slot is on the way to another node.
    ///
    /// # Errors
    /// [`CallError`]; [`NotSent::Refused`] for a command whose answer depends on anything but one key, and if the cache is off.
    pub async fn call_cached(&self, command: Command) -> Result<Frame, CallError> {
        let cache =
            self.cache().ok_or(refused("the configuration does not switch the client-side cache on"))?;
        let key = cacheable_key(&command)?.to_vec();
        let encoded = command.encoded();
        if let Some(frame) = cache.look_up(&key, encoded, now()) {
            cache.metrics.hits.inc();
            return Ok(frame);
        }
        cache.metrics.misses.inc();
        let mut begun = Begun { cache, read: Some(cache.begin(&key, encoded)) };
        // What is left of the key's life is counted from before the server was asked.
        let asked_at = now();
        let deadline = command.deadline_or(self.settings().call_deadline);
        let tracking = Command::caching().routed_by(&key);
        let life = Command::new("PTTL").arg(&key);
        let batch = Batch::new().command(tracking).command(command).command(life).deadline(deadline);
        batch.check_size(self.settings().in_flight_bytes_max as usize)?;
        let (frame, was_asked_for) = traced!(&"cached", self.run_tracked(&batch))?;
        let mut answers = answers(frame).into_iter();
        let (tracked, value, life) = (answers.next(), answers.next(), answers.next());
        let value = value.expect("a batch of three has three answers")?;
        let (Some(Ok(_)), Some(Ok(life)), false) = (tracked, life, was_asked_for) else {
            cache.metrics.untracked.inc();
            return Ok(value);
        };
        // A key without an end has -1, one that is not there -2.
        let life = life.as_integer().and_then(|life| u64::try_from(life).ok()).map(Duration::from_millis);
        if let Some(read) = begun.read.take() {
            cache.keep(read, &value, life, asked_at);
        }
        Ok(value)
    }
}

fn refused(why: &'static str) -> NotSent {
    NotSent::Refused { command: "a cached call", why }
}

/// The one key that the answer depends on.
fn cacheable_key(command: &Command) -> Result<&[u8], NotSent> {
    if !is_cacheable(command.name()) {
        return Err(refused("the answer of this command does not depend on one key alone"));
    }
    let keys = command.keys().map_err(NotSent::from)?;
    match <[&[u8]; 1]>::try_from(keys) {
        Ok([key]) => Ok(key),
        Err(_) => Err(refused("it names more than one key; make a call for each")),
    }
}

impl crate::Config {
    /// Lets [`Client::call_cached`] keep answers on this side: the server then tells when their keys change
    /// (`CLIENT TRACKING`; Redis 6 and later, Valkey).
    #[must_use]
    pub const fn client_side_cache(mut self, settings: CacheSettings) -> Self {
        self.cache = Some(settings);
        self
    }
}
