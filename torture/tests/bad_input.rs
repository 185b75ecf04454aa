//! Bad input: a clear error for each, no panic, bounded memory.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_rt::net;
use bowline_torture::http;
use bowline_torture::limits::{ANSWER_MAX, SOON};
use bowline_torture::ports::free_address;
use bowline_torture::process::{Process, Signal, story};
use bowline_torture::program::bowline;
use bowline_torture::wait::{wait_out, wait_until};
use bowline_torture::zone::{Gateway, StoreKind, WEB, Zone, agent};
use tokio::io::AsyncWriteExt;

/// What a process may grow by under garbage: its buffers, which are bounded.
const GROWTH_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Result<Output> {
    Command::new(bowline()).args(arguments).output().context("cannot start bowline")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_and_neither_log_has_it() {
    story(async {
        const WRONG: &str = "bwl_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let folder = tempfile::tempdir()?;
        let tokens = folder.path().join("tokens.toml");
        let right = run(&["token", "new", "--agent", "edge-1", "--append", &tokens.to_string_lossy()])?;
        ensure!(right.status.success(), "{right:?}");
        fs::write(folder.path().join("right.token"), &right.stdout)?;
        fs::write(folder.path().join("wrong.token"), WRONG)?;

        let gateway = Gateway::start(folder.path(), "g1", None, "tokens_file = \"tokens.toml\"").await?;
        let start = |name: &str, token: &str| {
            let more = format!("token_file = \"{token}\"");
            agent(folder.path(), name, "web", &[gateway.agents], gateway.admin, &more)
        };
        let wrong = start("edge-1", "wrong.token")?;
        let refused =
            || async { gateway.process.log().contains("edge-1") && wrong.log().contains("refused") };
        wait_until("the agent is refused, and both say so", refused).await;
        assert_eq!(http::get(gateway.http, WEB, "/").await?.reason.as_deref(), Some("service_unknown"));
        // A token is bound to one agent: nobody else gets in with it.
        let other = start("edge-2", "right.token")?;
        wait_until("another agent is refused", || async { other.log().contains("refused") }).await;
        drop((wrong, other));
        let _agent = start("edge-1", "right.token")?;
        wait_until("the right one gets in", || async {
            http::get(gateway.http, WEB, "/").await.is_ok_and(|answer| answer.reason.is_none())
        })
        .await;
        let right = String::from_utf8(right.stdout)?;
        let log = gateway.process.log();
        assert!(!log.contains(WRONG) && !log.contains(right.trim()), "a secret is in the log");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_by_name() {
    story(async {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().to_string_lossy().into_owned();
        for arguments in [
            &["ca", "init", "--dir", &directory][..],
            &["ca", "issue", "gateway", "g1", "--dir", &directory],
            &["ca", "issue", "agent", "edge-1", "--dir", &directory],
        ] {
            let output = run(arguments)?;
            ensure!(output.status.success(), "{arguments:?}: {output:?}");
        }
        issue_expired(folder.path())?;
        let gateway = Gateway::start_with_tls(folder.path(), "g1").await?;
        let start = |certificate: &str| {
            let tls = format!(
                "[tls]\nca = \"ca.crt\"\ncertificate = \"{certificate}.crt\"\nkey = \"{certificate}.key\"\n"
            );
            agent(folder.path(), "edge-1", "web", &[gateway.agents], gateway.admin, &tls)
        };
        let expired = start("expired")?;
        wait_until("the gateway says that the certificate has expired", || async {
            gateway.process.log().to_lowercase().contains("expired")
        })
        .await;
        assert_eq!(http::get(gateway.http, WEB, "/").await?.reason.as_deref(), Some("service_unknown"));
        drop(expired);
        let _agent = start("edge-1")?;
        wait_until("a valid one gets in", || async {
            http::get(gateway.http, WEB, "/").await.is_ok_and(|answer| answer.reason.is_none())
        })
        .await;
        Ok(())
    })
    .await;
}

/// A certificate of the same authority for the same agent, which has expired.
fn issue_expired(folder: &std::path::Path) -> Result<()> {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType};
    let authority = fs::read_to_string(folder.join("ca.crt"))?;
    let key = KeyPair::from_pem(&fs::read_to_string(folder.join("ca.key"))?)?;
    let issuer = Issuer::from_ca_cert_pem(&authority, &key)?;
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = vec![SanType::URI("bowline://agent/edge-1".try_into()?)];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters.not_before = time::macros::datetime!(2020-01-01 0:00 UTC);
    parameters.not_after = time::macros::datetime!(2020-02-01 0:00 UTC);
    let own = KeyPair::generate()?;
    let certificate = parameters.signed_by(&own, &issuer)?;
    fs::write(folder.join("expired.crt"), certificate.pem())?;
    fs::write(folder.join("expired.key"), own.serialize_pem())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stands_still_costs_a_bounded_time_and_a_clear_answer() {
    story(async {
        /// The bound of opening a stream, with some time for the machine.
        const OPEN_MAX: Duration = Duration::from_secs(20 + 10);
        /// How long a gateway keeps an unused stream, and some more.
        const KEPT_STREAMS_MAX: Duration = Duration::from_secs(4 + 1);
        let zone = Zone::start(StoreKind::Bowline).await?;
        // A stream that a gateway keeps open for the next request would wait for its response, which may take longer.
        wait_out(KEPT_STREAMS_MAX).await;
        zone.agent.signal(Signal::Stop)?;
        let gateway = &zone.gateways[1];
        let answer = http::get_within(OPEN_MAX, gateway.http, WEB, "/").await?;
        ensure!((502..=504).contains(&answer.status) && answer.reason.is_some(), "{answer:?}");
        zone.agent.signal(Signal::Continue)?;
        http::wait_for_ok(gateway.http, WEB, "/").await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_changes_nothing() {
    story(async {
        let mut zone = Zone::start(StoreKind::Bowline).await?;
        let gateway = &zone.gateways[0];
        let before = [gateway.process.resident_bytes()?, zone.store.resident_bytes()?];
        let noise: Vec<u8> =
            (0..64 * 1024_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let samples: [&[u8]; 9] = [
        &noise,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"BWLT1\xff\xff\xff\xff",
        b"BWLT1\0\0\0\x02\x0a\xff",
        b"BWLH1\xff\xff\xff\xff",
        b"BWLH1\0\0\0\x02\x0a\xff",
        b"GET / HTTP/1.1\r\nHost: web.svc.bowline\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"*1000000000\r\n$1000000000\r\n",
    ];
        let ports = [gateway.http, gateway.agents, gateway.peers, gateway.admin, zone.store_address];
        let sends =
            ports.iter().flat_map(|&port| samples.iter().map(move |sample| send_and_leave(port, sample)));
        for send in sends {
            send.await?;
        }
        for (process, before) in [&gateway.process, &zone.store].into_iter().zip(before) {
            let grown = process.resident_bytes()?.saturating_sub(before);
            ensure!(grown < GROWTH_BYTES_MAX, "grew by {grown} bytes");
            ensure!(!process.log().contains("panicked"), "{}", process.log());
        }
        for gateway in &mut zone.gateways {
            http::wait_for_ok(gateway.http, WEB, "/").await;
            ensure!(gateway.process.exited().is_none());
        }
        Ok(())
    })
    .await;
}

/// Sends bytes, closes the sending half, and leaves.
async fn send_and_leave(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut stream = net::connect(address, ANSWER_MAX).await.with_context(|| format!("{address}"))?;
    // The peer may refuse in the middle of what we send.
    drop(stream.write_all(bytes).await);
    drop(stream.shutdown().await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_headers_are_refused() {
    story(async {
        let zone = Zone::start(StoreKind::Bowline).await?;
        for address in [zone.gateways[0].http, zone.gateways[0].admin] {
            let head =
                format!("GET / HTTP/1.1\r\nHost: {WEB}\r\nX-Long: {}\r\n\r\n", "x".repeat(1024 * 1024));
            let (answer, closed) = http::raw(address, head.as_bytes()).await?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            ensure!(closed, "the connection stays open");
            ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        http::wait_for_ok(zone.gateways[0].http, WEB, "/").await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_do_not_keep_others_out() {
    story(async {
        const CLIENTS: usize = 300;
        let zone = Zone::start(StoreKind::Bowline).await?;
        let gateway = &zone.gateways[0];
        let mut slow = Vec::new();
        for address in [gateway.http, gateway.agents, gateway.peers] {
            for _ in 0..CLIENTS / 3 {
                let mut stream = net::connect(address, ANSWER_MAX).await?;
                stream.write_all(b"G").await?;
                slow.push(stream);
            }
        }
        assert_eq!(http::get(gateway.http, WEB, "/").await?.status, 200);
        let other = zone.start_other_agent("edge-2", "late", 0)?;
        http::wait_for_ok(zone.gateways[1].http, "late.svc.bowline", "/").await;
        drop((slow, other));
        Ok(())
    })
    .await;
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let taken = Taken::new()?;
    let address = taken.address().to_string();
    let rest: Vec<String> = (0..3).map(|_| free_address().to_string()).collect();
    for arguments in [
        vec!["store", "--listen", &address],
        vec![
            "server",
            "--http-listen",
            &address,
            "--agents-listen",
            &rest[0],
            "--peers-listen",
            &rest[1],
            "--admin-listen",
            &rest[2],
        ],
    ] {
        let output = run(&arguments)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && text.contains(&address), "{arguments:?}: {output:?}");
    }
    Ok(())
}

/// A port that somebody else listens on.
struct Taken(std::net::TcpListener);

impl Taken {
    #[expect(clippy::disallowed_methods, reason = "nobody is to be served on it")]
    fn new() -> Result<Self> {
        Ok(Self(std::net::TcpListener::bind(free_address())?))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it listens")
    }
}

#[test]
fn a_broken_configuration_is_explained_with_its_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let check = |text: &str, expected: &[&str]| {
        let path = folder.path().join("gw.toml");
        fs::write(&path, text)?;
        let output = run(&["server", "--config", &path.to_string_lossy()])?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{text}: {output:?}");
        for word in expected {
            ensure!(error.contains(word), "{text}: {error:?} does not say {word:?}");
        }
        Ok(())
    };
    check("name = \"g1\"\n[htpp]\nlisten = \"127.0.0.1:1\"\n", &["gw.toml:2", "htpp", "http"])?;
    check("[http]\nlisten = \"here\"\n", &["gw.toml:2", "here"])?;
    check("[http\n", &["gw.toml:1"])?;
    check("[http]\nlisten = \"0.0.0.0:7080\"\n", &["gw.toml:2", "TLS"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_prints_a_line_that_works_and_stops_on_ctrl_c() {
    story(async {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(bowline());
        command.args([
            "dev",
            "--http-port",
            "0",
            "--admin-port",
            "0",
            "--agents-port",
            "0",
            "--peers-port",
            "0",
        ]);
        let mut dev = Process::start(folder.path(), "dev", &mut command)?;
        wait_until("the curl line", || async { dev.log().contains("curl ") }).await;
        let log = dev.log();
        let line = log
            .lines()
            .find(|line| line.trim_start().starts_with("curl "))
            .context("no line begins with curl")?;
        // What a person pastes: `curl -H 'Host: …' http://address/`.
        let host = line.split("Host: ").nth(1).and_then(|rest| rest.split('\'').next()).context("no Host")?;
        let address =
            line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).context("no URL")?;
        let answer = http::get(address.trim().parse()?, host, "/").await?;
        assert_eq!(answer.status, 200, "{line}: {answer:?}");
        ensure!(log.to_lowercase().contains("development"), "it does not say what it is for: {log}");
        dev.signal(Signal::Interrupt)?;
        let status = dev.wait(SOON).await;
        ensure!(status.success(), "ended with {status}");
        Ok(())
    })
    .await;
}
