//! Bowline's core, one for each connection: the design.

use std::time::{Duration, Instant};

use bowline_model::Epoch;
use bowline_redis::epoch::{Bereaved, EpochCore, Event, Fate, Pending};
use bowline_redis::{Command, Config, Death};
use bytes::BytesMut;

use crate::draw::Draw;
use crate::explore::Run;
use crate::mixed_replies::checker::{End, Key};
use crate::mixed_replies::world::{DEADLINE, Driver, Faults, SILENCE_MAX, run};

/// The design under everything.
pub(super) fn design(seed: u64) -> Run {
    let faults = Faults { cuts: true, cancels: true, stalls: true, errors: true, lists: true, pushes: true };
    run(seed, faults, Design::new)
}

/// What the shell of the driver does, without sockets and tasks.
struct Design {
    config: Config,
    core: Option<EpochCore<Key>>,
    /// The core of the former connection, as a task that has not noticed its end would hold it.
    former: Option<EpochCore<Key>>,
    connections: u128,
    is_ready: bool,
}

impl Design {
    fn new(draw: &mut Draw) -> Self {
        let mut config = Config::from_url("redis://h").expect("a URL");
        config.settings.fence = draw.once_in(2);
        config.settings.silence_max = Duration::from_millis(SILENCE_MAX);
        config.settings.probe_interval = Duration::from_millis(2 * SILENCE_MAX);
        Self { config, core: None, former: None, connections: 0, is_ready: false }
    }

    fn bury(&mut self) -> Vec<(Key, End)> {
        let Some(mut core) = self.core.take() else { return Vec::new() };
        self.is_ready = false;
        let ends = core.bury().into_iter().map(|Bereaved { caller: key, fate, .. }| match fate {
            Fate::NotSent => (key, End::NotSent),
            Fate::Unknown => (key, End::Unknown),
        });
        let ends = ends.collect();
        self.former = Some(core);
        ends
    }
}

impl Driver for Design {
    fn connect(&mut self, now: Instant) {
        self.connections += 1;
        self.core = Some(EpochCore::new(Epoch::from_bits(self.connections), &self.config, now));
    }

    fn is_ready(&self) -> bool {
        self.is_ready
    }

    fn is_down(&self) -> bool {
        self.core.is_none()
    }

    fn ask(&mut self, batch: &[Key], now: Instant) {
        let mut bytes = BytesMut::new();
        let deadline = now + Duration::from_millis(DEADLINE);
        let requests = batch.iter().map(|key| {
            let command = Command::new("EVAL").number(*key);
            Pending::encode(&command, *key, deadline, &mut bytes).expect("the command is harmless")
        });
        let mut requests = requests.collect();
        self.core.as_mut().expect("it is ready").append(&mut bytes, &mut requests, now);
    }

    /// Whoever gives up drops the receiver of the answer; the core does not hear of it.
    fn cancel(&mut self, _: Key) {}

    fn send(&mut self, count: usize) -> Vec<u8> {
        let Some(core) = &mut self.core else { return Vec::new() };
        let count = count.min(core.outgoing().len());
        let bytes = core.outgoing()[..count].to_vec();
        core.handed_over(count);
        bytes
    }

    fn receive(&mut self, bytes: &[u8], now: Instant) {
        let core = self.core.as_mut().expect("it is not down");
        core.read_buffer().extend_from_slice(bytes);
        core.received(now);
    }

    fn work(&mut self, now: Instant) -> Vec<(Key, End)> {
        let Some(core) = &mut self.core else { return Vec::new() };
        let mut ends = Vec::new();
        loop {
            while let Some(event) = core.poll_event(now) {
                match event {
                    Event::Answer { caller: Some(key), frame, .. } => ends.push((key, End::Answered(frame))),
                    Event::Answer { caller: None, .. } | Event::Push(_) => {}
                    Event::Expired(key) => ends.push((key, End::Unknown)),
                    Event::Ready(_) => self.is_ready = true,
                }
            }
            if core.death().is_some() || core.poll_timeout().is_none_or(|at| at > now) {
                break;
            }
            core.handle_timeout(now);
        }
        if core.death().is_some() {
            ends.extend(self.bury());
        }
        ends
    }

    fn cut(&mut self) -> Vec<(Key, End)> {
        if let Some(core) = &mut self.core {
            core.die(Death::Closed);
        }
        self.bury()
    }

    fn late(&mut self, bytes: &[u8], now: Instant) -> Option<Key> {
        let core = self.former.as_mut()?;
        core.read_buffer().extend_from_slice(bytes);
        core.received(now);
        match core.poll_event(now) {
            Some(Event::Answer { caller, .. }) => caller,
            Some(Event::Expired(key)) => Some(key),
            Some(Event::Ready(_) | Event::Push(_)) | None => None,
        }
    }
}
