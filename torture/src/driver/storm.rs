//! Faults one after the other under full load: something goes wrong for a while, is healed, and then calls must succeed again
//! within [`RECOVERY_MAX`]. At the end the checker settles everything exactly.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::tls::{ClientSettings, Connector, Pem};
use bowline_redis::{Client, Command, Config, Metrics, Protocol, Settings};
use bowline_rt::time::now;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::ledger::Ledger;
use super::load::{Load, wait_for_answers};
use crate::limits::{RECOVERY_MAX, SOON};
use crate::peers;
use crate::ports::free_address;
use crate::process::{Process, Signal};
use crate::proxy::{Direction, End, Fault, Proxy};
use crate::wait::{wait_out, wait_within};

/// Answers that show that all is well again.
const GOOD_ANSWERS: u64 = 100;
/// Reasons for a connection's end that none of these faults can cause: bytes are never altered, lost in between, or doubled.
const NEVER: [&str; 5] = ["protocol", "unsolicited", "shape", "fence", "handshake"];
/// All others.
const REASONS: [&str; 4] = ["closed", "read", "write", "silent"];

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Bytes come one by one, in pieces of 1 to 7, or late.
    Fragments,
    /// Connections end at random bytes, in an orderly way or not.
    Cuts,
    /// Bytes are withheld in mid-frame and come late, perhaps after the connection was given up.
    Stalls,
    /// Requests are withheld in mid-frame until they were given up, while new connections work and are used; then they come after all.
    Overtaken,
    /// Connections are silent for good, and new ones work.
    HalfOpen,
    /// The server stands still (SIGSTOP) and goes on (SIGCONT).
    Standstill,
}

/// All of them.
pub const FAMILIES: [Family; 6] = [
    Family::Fragments,
    Family::Cuts,
    Family::Stalls,
    Family::Overtaken,
    Family::HalfOpen,
    Family::Standstill,
];

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// What goes wrong.
    pub family: Family,
    /// From which everything random is drawn.
    pub seed: u64,
    /// How long.
    pub duration: Duration,
    /// Those of the client.
    pub settings: Settings,
    /// What the server speaks: with RESP2 it does not know `HELLO`.
    pub protocol: Protocol,
    /// What the proxy sees.
    pub transport: Transport,
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Plain,
    /// TLS over TCP.
    Tls,
}

/// Settings under which a silent server is noticed soon, so that a short test sees it often.
#[must_use]
pub fn impatient() -> Settings {
    Settings {
        silence_max: Duration::from_millis(600),
        probe_interval: Duration::from_millis(300),
        handshake_timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(500),
        ..Settings::default()
    }
}

/// A server, a proxy before it, and a client of that.
#[derive(Debug)]
pub struct Arena {
    /// redis-server.
    pub server: Process,
    /// Before it.
    pub proxy: Proxy,
    /// Goes through the proxy.
    pub client: Client,
    /// The checker.
    pub ledger: Arc<Ledger>,
    /// Where the server itself is.
    pub address: SocketAddr,
    /// Leads there.
    direct: Client,
    /// Dropped last: the server's folder.
    _directory: TempDir,
}

/// The server's certificate, in its folder.
const CERTIFICATE: &str = "server.crt";
/// Its key.
const KEY: &str = "server.key";

/// Issues a certificate to a server on loopback, and returns how clients connect who trust it.
fn certify(folder: &Path) -> Result<Connector> {
    let authority = Authority::create("torture", 1).context("no authority")?;
    let names = vec!["127.0.0.1".to_owned()];
    let identity = Identity::Gateway("redis".parse()?);
    let issued = authority.issue(&Request { identity, names, days: 1 }).context("no certificate")?;
    fs::write(folder.join(CERTIFICATE), &issued.certificate).context("cannot write a certificate")?;
    fs::write(folder.join(KEY), issued.key.reveal()).context("cannot write a key")?;
    let authority = Pem::Text { name: "torture".to_owned(), text: Arc::from(authority.certificate()) };
    let settings = ClientSettings { authority, credential: None, server_name: None, alpn: Vec::new() };
    Connector::tls(settings).context("cannot trust the authority")
}

/// The arguments of a redis-server that speaks no other dialect.
#[must_use]
pub const fn arguments(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Resp2 => &["--rename-command", "HELLO", ""],
        Protocol::Resp3 => &[],
    }
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// Faults.
    pub rounds: usize,
    /// The longest time from healing to a hundred answers.
    pub recovery: Duration,
    /// Connections that came up.
    pub connections: u64,
    /// Connections that ended, by reason.
    pub deaths: Vec<(&'static str, u64)>,
    /// What the checker counted.
    pub calls: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, recovery, connections, deaths, calls } = self;
        write!(
            f,
            "{rounds} faults, recovered in {recovery:.0?} at worst; {connections} connections, {deaths:?}; {calls}"
        )
    }
}

impl Arena {
    /// Starts everything, and fills the server.
    ///
    /// # Errors
    /// redis-server is not installed, or does not work.
    pub async fn start(seed: u64, settings: Settings, protocol: Protocol) -> Result<Self> {
        Self::start_over(Transport::Plain, seed, settings, protocol).await
    }

    /// Starts everything, and fills the server. What goes through the proxy is carried by `transport`.
    ///
    /// # Errors
    /// redis-server is not installed, or does not work.
    pub async fn start_over(
        transport: Transport,
        seed: u64,
        settings: Settings,
        protocol: Protocol,
    ) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot create a folder")?;
        let address = free_address();
        let (upstream, connector) = match transport {
            Transport::Plain => (address, Connector::Plain),
            Transport::Tls => (free_address(), certify(directory.path())?),
        };
        let port = upstream.port().to_string();
        let mut all = arguments(protocol).to_vec();
        if transport == Transport::Tls {
            all.extend(["--tls-port", &port, "--tls-auth-clients", "no"]);
            all.extend([
                "--tls-cert-file",
                CERTIFICATE,
                "--tls-key-file",
                KEY,
                "--tls-ca-cert-file",
                CERTIFICATE,
            ]);
        }
        let server = peers::redis_with(directory.path(), address, &all).await?;
        let direct = Client::start(Config::from_url(&format!("redis://{address}"))?);
        let ledger = Arc::new(Ledger::default());
        ledger.values().fill(&direct).await?;
        let proxy = Proxy::start(upstream, seed).await?;
        let scheme = if connector.is_tls() { "rediss" } else { "redis" };
        let url = format!("{scheme}://{}", proxy.address());
        let mut config = Config::from_url_with_tls(&url, &connector)?;
        config.settings = settings;
        let client = Client::start(config);
        Ok(Self { server, proxy, client, ledger, address, direct, _directory: directory })
    }

    /// Ends the client, waits until nothing of it can reach the server any more, and settles.
    ///
    /// # Errors
    /// What the checker found, and a connection that ended for a reason for which there was none.
    pub async fn settle(self, rounds: usize, recovery: Duration) -> Result<Report> {
        let metrics = self.client.metrics().clone();
        drop(self.client);
        drop(self.proxy);
        wait_until_alone(&self.direct).await;
        self.ledger.settle(|_| &self.direct).await?;
        let deaths = demand_deaths(&metrics)?;
        let connections = metrics.connected.get();
        Ok(Report { rounds, recovery, connections, deaths, calls: self.ledger.to_string() })
    }
}

impl Arena {
    /// Ends the client in an orderly way, waits until nothing can reach the server any more, and demands that `key` is `value`.
    ///
    /// # Errors
    /// It is not.
    pub async fn settle_to(self, key: &str, value: &str) -> Result<()> {
        drop(self.client);
        wait_until_alone(&self.direct).await;
        let stored = self.direct.call(Command::new("GET").arg(key).deadline(SOON)).await?;
        ensure!(stored.as_text() == Some(value), "{key} is {stored:?} and should be {value}");
        Ok(())
    }
}

/// Why connections ended, and how many each.
///
/// # Errors
/// One ended for a reason that no fault can cause.
pub fn demand_deaths(metrics: &Metrics) -> Result<Vec<(&'static str, u64)>> {
    let deaths = REASONS.iter().chain(&NEVER).map(|&reason| (reason, metrics.deaths(reason)));
    let deaths: Vec<_> = deaths.filter(|(_, count)| *count > 0).collect();
    if let Some((reason, _)) = deaths.iter().find(|(reason, _)| NEVER.contains(reason)) {
        bail!("a connection ended by {reason}, and no bytes were altered: {deaths:?}");
    }
    Ok(deaths)
}

/// Waits until the server has no other client than `direct`: nothing is on its way to it any more.
///
/// # Panics
/// After a long time.
pub async fn wait_until_alone(direct: &Client) {
    wait_within(SOON, "the server has no other clients", || async {
        let clients = direct.call(Command::new("CLIENT").arg("LIST").deadline(SOON)).await.ok()?;
        (clients.as_text()?.lines().count() == 1).then_some(())
    })
    .await;
}

impl Family {
    /// Something goes wrong for a while, and is healed. Returns within what time calls must succeed again,
    /// if a client gives up a silent server after `silence_max`.
    ///
    /// # Errors
    /// The server is gone.
    pub async fn strike(
        self,
        proxy: &Proxy,
        server: &Process,
        silence_max: Duration,
        random: &mut StdRng,
    ) -> Result<Duration> {
        let direction = if random.random() { Direction::Requests } else { Direction::Replies };
        let mut wait = Duration::from_millis(random.random_range(100..500));
        match self {
            Family::Fragments => {
                let delay = Duration::from_millis(random.random_range(1..30));
                let faults = [Fault::Fragment(1), Fault::Fragment(7), Fault::Delay(delay)];
                proxy.inject(direction, faults[random.random_range(0..faults.len())]);
                if random.random() {
                    proxy.inject(Direction::Replies, Fault::Fragment(7));
                }
            }
            Family::Cuts => {
                let end = if random.random() { End::Fin } else { End::Reset };
                let within = [100, 2_000, 100_000][random.random_range(0..3)];
                proxy.inject(direction, Fault::Cut(within, end));
            }
            Family::Stalls => {
                let old = Fault::StallOld(proxy.accepted());
                proxy.inject(direction, if random.random() { Fault::Stall } else { old });
                if random.random() {
                    wait += silence_max + silence_max / 2;
                }
            }
            Family::Overtaken => {
                proxy.inject(Direction::Requests, Fault::StallOld(proxy.accepted()));
                wait += silence_max + silence_max / 2;
            }
            Family::HalfOpen => {
                proxy.inject(direction, Fault::Hold);
                if random.random() {
                    proxy.inject(Direction::Replies, Fault::Hold);
                }
                // The driver is to heal this one.
                return Ok(silence_max + RECOVERY_MAX);
            }
            Family::Standstill => {
                server.signal(Signal::Stop)?;
                if random.random_range(0..3) == 0 {
                    wait += silence_max * 2;
                }
                wait_out(wait).await;
                server.signal(Signal::Continue)?;
                return Ok(RECOVERY_MAX);
            }
        }
        wait_out(wait).await;
        proxy.heal();
        Ok(RECOVERY_MAX)
    }
}

impl Storm {
    /// Runs it.
    ///
    /// # Errors
    /// A promise was broken.
    pub async fn run(self) -> Result<Report> {
        let arena = Arena::start_over(self.transport, self.seed, self.settings, self.protocol).await?;
        let load = Load::start(&arena.client, &arena.ledger, self.seed);
        let mut random = StdRng::seed_from_u64(self.seed);
        wait_for_answers(&arena.ledger, GOOD_ANSWERS).await;
        let started = now();
        let (mut rounds, mut worst) = (0, Duration::ZERO);
        while rounds == 0 || started.elapsed() < self.duration {
            let bound = self
                .family
                .strike(&arena.proxy, &arena.server, self.settings.silence_max, &mut random)
                .await?;
            let recovery = wait_for_answers(&arena.ledger, GOOD_ANSWERS).await;
            let bound = bound + load.lag();
            ensure!(recovery <= bound, "recovered in {recovery:?}, bound {bound:?}, in round {rounds}");
            worst = worst.max(recovery);
            rounds += 1;
            wait_out(Duration::from_millis(random.random_range(0..100))).await;
        }
        load.finish().await;
        if self.family == Family::Cuts {
            let (connected, cuts) = (arena.client.metrics().connected.get(), arena.proxy.cuts());
            ensure!(connected <= cuts + 1, "{connected} connections for {cuts} cuts");
        }
        arena.settle(rounds, worst).await
    }
}
