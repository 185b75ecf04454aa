//! Subscribers behind the proxy: numbers are published without a pause, and every subscription gets those of its channels, in order.
//! What is missing is missing where a gap was announced, nothing comes twice, and nothing of another channel.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bowline_redis::subscriber::{Item, Kind, Message};
use bowline_redis::{Client, Command, Config, Protocol, Settings, Subscription, Topic};
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{self, now};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::storm::{Arena, Family};
use crate::lag::Lag;
use crate::limits::{LOOK_PERIOD, RECOVERY_MAX, SOON, VIOLATIONS_MAX};

/// Channels to which is published, of each kind.
const CHANNELS: usize = 4;
/// How often a message repeats its name, by its number: a fault is to hit small and large ones.
const REPEATS: [usize; 4] = [1, 2, 20, 200];
/// Pause between two messages of one channel.
const PAUSE: Duration = Duration::from_micros(500);
/// Messages to each subscription that show that all is well again.
const GOOD_MESSAGES: u64 = 10;

/// One run.
#[derive(Debug, Clone)]
pub struct Audience {
    /// What goes wrong, in turn.
    pub families: Vec<Family>,
    /// From which everything random is drawn.
    pub seed: u64,
    /// How long; each family has its turn at least once.
    pub duration: Duration,
    /// Those of the client.
    pub settings: Settings,
    /// What the server speaks.
    pub protocol: Protocol,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// Faults.
    pub rounds: usize,
    /// The longest time from healing until every subscription had ten messages.
    pub recovery: Duration,
    /// Messages that came.
    pub messages: u64,
    /// Gaps that were announced.
    pub gaps: u64,
    /// Gaps in which something was missing.
    pub holes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, recovery, messages, gaps, holes } = self;
        write!(
            f,
            "{rounds} faults, recovered in {recovery:.0?} at worst; {messages} messages, {gaps} gaps, {holes} with something missing"
        )
    }
}

/// What is seen by all listeners.
#[derive(Debug, Default)]
struct Seen {
    messages: Vec<AtomicU64>,
    gaps: AtomicU64,
    holes: AtomicU64,
    violations: Mutex<Vec<String>>,
}

impl Audience {
    /// Runs it.
    ///
    /// # Errors
    /// A promise was broken.
    pub async fn run(self) -> Result<Report> {
        let arena = Arena::start(self.seed, self.settings, self.protocol).await?;
        let subscriber = arena.client.subscriber();
        let topics = topics();
        let seen = Arc::new(Seen {
            messages: topics.iter().map(|_| AtomicU64::new(0)).collect(),
            ..Seen::default()
        });
        let mut listeners = Vec::new();
        for (number, topic) in topics.into_iter().enumerate() {
            let subscription = subscriber.subscribe(topic)?;
            let listener = Listener { subscription, number, seen: seen.clone(), channels: HashMap::new() };
            listeners.push(task::spawn("listener", listener.listen()));
        }
        let stop = CancellationToken::new();
        let publishers = start_publishers(&arena, &stop)?;
        let lag = Lag::start();
        wait_for_messages(&seen).await?;
        let mut random = StdRng::seed_from_u64(self.seed);
        let (started, mut rounds, mut worst) = (now(), 0, Duration::ZERO);
        let Settings { silence_max, probe_interval, handshake_timeout, .. } = self.settings;
        while rounds < self.families.len() || started.elapsed() < self.duration {
            let family = self.families[rounds % self.families.len()];
            family.strike(&arena.proxy, &arena.server, silence_max, &mut random).await?;
            let recovery = wait_for_messages(&seen).await?;
            // Who only listens notices a silent server when it is asked; another try may be under way then.
            let bound = probe_interval + silence_max + handshake_timeout + RECOVERY_MAX + lag.worst();
            ensure!(recovery <= bound, "recovered from {family:?} in {recovery:.1?}, bound {bound:.1?}");
            (rounds, worst) = (rounds + 1, worst.max(recovery));
        }
        stop.cancel();
        for publisher in publishers {
            publisher.await??;
        }
        for listener in listeners {
            ensure!(!listener.is_finished(), "a listener has ended");
            listener.abort();
        }
        let violations = seen.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if !violations.is_empty() {
            bail!("{} violations:\n{}", violations.len(), violations.join("\n"));
        }
        let messages = seen.messages.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let [gaps, holes] = [&seen.gaps, &seen.holes].map(|count| count.load(Ordering::Relaxed));
        Ok(Report { rounds, recovery: worst, messages, gaps, holes })
    }
}

/// Channels, patterns that overlap them, and shard channels of the same names.
fn topics() -> Vec<Topic> {
    let channels = (0..CHANNELS).map(|number| Topic::channel(channel(number)));
    let shards = (0..CHANNELS).map(|number| Topic::shard(channel(number)));
    let patterns = ["channel:*", "*:1"].map(Topic::pattern);
    channels.chain(shards).chain(patterns).collect()
}

fn channel(number: usize) -> String {
    format!("channel:{number}")
}

/// What is published; shard channels of the same name have other messages.
fn payload(kind: &str, channel: &str, number: u64) -> String {
    let repeats = REPEATS[usize::try_from(number).unwrap_or_default() % REPEATS.len()];
    format!("{kind} {channel} {number};").repeat(repeats)
}

/// The number in what was published there, if it is that.
fn number_of(kind: &str, message: &Message) -> Option<u64> {
    let (channel, text) =
        (std::str::from_utf8(&message.channel).ok()?, std::str::from_utf8(&message.payload).ok()?);
    let number = text.split(';').next()?.rsplit(' ').next()?.parse().ok()?;
    (payload(kind, channel, number) == text).then_some(number)
}

fn start_publishers(arena: &Arena, stop: &CancellationToken) -> Result<Vec<JoinHandle<Result<()>>>> {
    let of = |kind: &'static str| (0..CHANNELS).map(move |number| (kind, channel(number)));
    let all = of("PUBLISH").chain(of("SPUBLISH"));
    let mut config = Config::from_url(&format!("redis://{}", arena.address))?;
    // The server may stand still, and every message is to be sent once.
    config.settings.silence_max = SOON;
    let client = Client::start(config);
    let publishers = all.map(|(kind, channel)| {
        task::spawn("publisher", publish(client.clone(), kind, channel, stop.clone()))
    });
    Ok(publishers.collect())
}

async fn publish(client: Client, kind: &'static str, channel: String, stop: CancellationToken) -> Result<()> {
    let mut number = 0;
    while !stop.is_cancelled() {
        let command = Command::new(kind).args([&channel, &payload(kind, &channel, number)]).deadline(SOON);
        client.call(command).await.context("cannot publish")?;
        number += 1;
        time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Waits until every subscription has got some more messages; how long that took.
async fn wait_for_messages(seen: &Seen) -> Result<Duration> {
    let count = || seen.messages.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let (started, before) = (now(), count());
    while before.iter().zip(count()).any(|(before, now)| now < before + GOOD_MESSAGES) {
        ensure!(started.elapsed() < SOON, "a subscription has no messages: {before:?}, then {:?}", count());
        time::sleep(LOOK_PERIOD / 10).await;
    }
    Ok(started.elapsed())
}

/// One who reads a subscription.
struct Listener {
    subscription: Subscription,
    number: usize,
    seen: Arc<Seen>,
    /// The last number of each channel, and whether a gap was announced since.
    channels: HashMap<String, (u64, bool)>,
}

impl Listener {
    async fn listen(mut self) {
        loop {
            let item = self.subscription.next().await;
            if let Err(what) = self.take(&item) {
                let mut violations = self.seen.violations.lock().unwrap_or_else(PoisonError::into_inner);
                if violations.len() < VIOLATIONS_MAX {
                    violations.push(format!("{:?}: {what}", self.subscription.topic()));
                }
            }
        }
    }

    fn take(&mut self, item: &Item) -> Result<(), String> {
        match item {
            Item::Established => Ok(()),
            Item::Message(message) => self.check(message),
            Item::Gap(_) => {
                self.seen.gaps.fetch_add(1, Ordering::Relaxed);
                self.channels.values_mut().for_each(|(_, has_gap)| *has_gap = true);
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn check(&mut self, message: &Message) -> Result<(), String> {
        let topic = self.subscription.topic();
        let kind = if topic.kind() == Kind::Shard { "SPUBLISH" } else { "PUBLISH" };
        let channel = String::from_utf8_lossy(&message.channel).into_owned();
        let is_own = match topic.kind() {
            Kind::Pattern => {
                message.pattern.as_ref() == Some(topic.name())
                    && (topic.name()[..] == *b"channel:*" || channel == "channel:1")
            }
            Kind::Channel | Kind::Shard => {
                message.pattern.is_none() && topic.name()[..] == *channel.as_bytes()
            }
        };
        let Some(number) = number_of(kind, message).filter(|_| is_own) else {
            let shown: String = format!("{message:?}").chars().take(200).collect();
            return Err(format!("somebody else's message came: {shown}"));
        };
        self.seen.messages[self.number].fetch_add(1, Ordering::Relaxed);
        let Some((last, has_gap)) = self.channels.insert(channel.clone(), (number, false)) else {
            return Ok(());
        };
        let is_next = number == last + 1;
        if has_gap && number > last {
            self.seen.holes.fetch_add(u64::from(!is_next), Ordering::Relaxed);
            return Ok(());
        }
        match is_next {
            true => Ok(()),
            false => Err(format!("{channel}: {number} came after {last}, gap {has_gap}")),
        }
    }
}
