//! The gate of the driver, for seconds: 64 callers on one connection to a real redis-server, a third of all calls given up, through
//! each kind of fault. For minutes: `cargo xtask incident 2 --live SECONDS`.

use std::process::Command as Program;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_redis::{CallError, Client, Command, Config, Connection, Frame, Protocol, Settings};
use bowline_rt::time::now;
use bowline_torture::driver::sleeper::READY;
use bowline_torture::driver::storm::{Arena, Family, Storm, Transport, arguments, impatient};
use bowline_torture::driver::values::{LISTS, Values, list, list_key, value_key};
use bowline_torture::limits::{RECOVERY_MAX, SOON};
use bowline_torture::peers;
use bowline_torture::ports::free_address;
use bowline_torture::process::{Process, Signal, story};
use bowline_torture::proxy::{Direction, Fault};
use bowline_torture::wait::{wait_out, wait_until};

/// How long each kind of fault goes on.
const DURATION: Duration = Duration::from_secs(5);

#[expect(clippy::print_stdout, reason = "figures, for who asks for them with --nocapture")]
async fn check(family: Family, fence: bool) {
    story(async {
        for (seed, protocol) in [(1, Protocol::Resp3), (2, Protocol::Resp2)] {
            let settings = Settings { fence, ..impatient() };
            let storm = Storm {
                family,
                seed,
                duration: DURATION / 2,
                settings,
                protocol,
                transport: Transport::Plain,
            };
            println!(
                "{family:?}, seed {seed}: {}",
                storm.run().await.with_context(|| format!("seed {seed}"))?
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_in_pieces_and_late() {
    check(Family::Fragments, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_at_any_byte() {
    check(Family::Cuts, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalls_in_mid_frame_and_bytes_that_come_late() {
    check(Family::Stalls, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_under_traffic() {
    check(Family::HalfOpen, false).await;
}

/// The reaction that failed in incident 2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_and_continued() {
    check(Family::Standstill, false).await;
}

/// The same on one thread.
#[tokio::test]
async fn a_server_that_is_stopped_and_continued_on_one_thread() {
    check(Family::Standstill, true).await;
}

/// Nobody asks anything: the probe finds it. By the defaults that is within 5 s + 2 s; here within less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_that_is_idle() {
    story(async {
        let settings = impatient();
        let arena = Arena::start(1, settings, Protocol::Resp3).await?;
        arena.client.call(Command::new("PING")).await?;
        let mut connection = arena.client.connection();
        let up = connection.borrow_and_update().clone();
        arena.proxy.inject(Direction::Replies, Fault::Hold);
        let started = now();
        let is_another = |state: &Connection| matches!(state, Connection::Up { .. }) && *state != up;
        bowline_rt::time::timeout(SOON, connection.wait_for(is_another))
            .await
            .context("it is given up")??;
        let bound = settings.probe_interval + settings.silence_max + RECOVERY_MAX;
        ensure!(started.elapsed() <= bound, "{:?}, bound {bound:?}", started.elapsed());
        arena.client.call(Command::new("PING")).await?;
        Ok(())
    })
    .await;
}

/// What the old connection had sent and the server had not read comes late, when the new one has long been in use. The new one
/// has made sure that it runs no more (CLIENT KILL), and so the newer write stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_write_does_not_run_after_a_new_one() {
    story(async {
        for seed in 1..=10 {
            let arena = Arena::start(seed, impatient(), Protocol::Resp3).await?;
            arena.client.call(Command::new("PING")).await?;
            let old = arena.proxy.accepted();
            let set =
                |value: &str| arena.client.call(Command::new("SET").arg("order").arg(value).deadline(SOON));
            arena.proxy.inject(Direction::Requests, Fault::StallOld(old));
            let outcome = set("old").await;
            ensure!(matches!(outcome, Err(CallError::Unknown(_))), "{outcome:?}");
            set("new").await.context("new connections work")?;
            ensure!(arena.proxy.accepted() > old, "another connection");
            arena.proxy.heal();
            arena.settle_to("order", "new").await?;
        }
        Ok(())
    })
    .await;
}

/// In incident 2 the stopped host was the client's. It must not blame the server: the connection survives, nothing is answered
/// wrongly, and nothing runs twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_stopped_and_continued() {
    story(async {
        let directory = tempfile::tempdir()?;
        let address = free_address();
        let _server = peers::redis(directory.path(), address).await?;
        let mut program = Program::new(env!("CARGO_BIN_EXE_driver-torture"));
        program.args(["load", "--url", &format!("redis://{address}"), "--seconds", "8"]);
        let mut client = Process::start(directory.path(), "client", &mut program)?;
        wait_until("the load runs", || std::future::ready(client.log().contains(READY))).await;
        for _ in 0..3 {
            wait_out(Duration::from_millis(300)).await;
            client.signal(Signal::Stop)?;
            wait_out(impatient().silence_max * 2).await;
            client.signal(Signal::Continue)?;
        }
        let status = client.wait(SOON).await;
        ensure!(status.success(), "the client says {status}");
        let log = client.log();
        let report: serde_json::Value = serde_json::from_str(log.lines().last().context("a report")?)?;
        ensure!(report["connections"] == 1 && report["silent"] == 0, "it blamed the server: {report}");
        Ok(())
    })
    .await;
}

/// driver.md 2.1, the content test: must be 0 of 8, one at a time and between GETs, in RESP3 and in RESP2 (a server that does not
/// know HELLO).
#[tokio::test]
async fn lists_that_read_like_messages() {
    story(async {
        check_content(Protocol::Resp3).await?;
        check_content(Protocol::Resp2).await?;
        Ok(())
    })
    .await;
}

async fn check_content(protocol: Protocol) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let address = free_address();
    let _server = peers::redis_with(directory.path(), address, arguments(protocol)).await?;
    let client = Client::start(Config::from_url(&format!("redis://{address}"))?);
    let values = Values::default();
    values.fill(&client).await?;
    let state = client.connection().borrow().clone();
    let Connection::Up { server, .. } = state else { anyhow::bail!("it is up") };
    ensure!(server.protocol == protocol, "{:?}", server.protocol);

    let range = |number: usize| client.call(Command::new("LRANGE").arg(list_key(number)).args(["0", "-1"]));
    let get = |key: usize| client.call(Command::new("GET").arg(value_key(key)));
    let is_value = |answer: &Frame, key: usize| answer.as_bytes() == Some(values.of(key));
    let mut wrong = 0;
    for number in 0..LISTS {
        wrong += usize::from(range(number).await? != list(number));
        wrong += usize::from(!is_value(&get(number).await?, number));
        let (first, between, other, last) =
            tokio::try_join!(get(10), range(number), range((number + 1) % LISTS), get(11))?;
        let right = [is_value(&first, 10), between == list(number), is_value(&last, 11)];
        wrong += usize::from(right.contains(&false) || other != list((number + 1) % LISTS));
    }
    ensure!(wrong == 0, "{wrong} wrong");
    ensure!(client.metrics().connected.get() == 1, "and the connection is the first one");
    Ok(())
}
