//! Tunnels and the streams on them.

use std::time::Duration;

use bowline_agent::State;
use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::tls::{
    ALPN_CONTROL, ALPN_TUNNEL, Acceptor, ClientAuthentication, ClientSettings, Connector, Credential, Pem,
    ServerSettings,
};
use bowline_model::Reason;
use bowline_proto::v1::{DialFailed, Services, from_agent};
use bowline_rt::net::{Listener, reset_on_close};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fake::{Gateway, echo, loopback, ping, services, settings, start, within};

#[tokio::test]
async fn a_stream_reaches_its_service_and_half_closes() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("web", echo().await)])));
    let attach = gateway.welcome("g1").await;
    let (opened, mut stream) = gateway.open(&attach, "web").await;
    assert_eq!(opened.reason, 0, "{}", opened.detail);
    ping(&mut stream, b"hello").await;
    let mut tunnels = agent.handle.tunnels();
    assert_eq!(tunnels.borrow().busy, 1);

    stream.write_all(b"last words").await.expect("open");
    stream.shutdown().await.expect("open");
    let mut rest = Vec::new();
    within("the other end", stream.read_to_end(&mut rest)).await.expect("an orderly end");
    assert_eq!(rest, b"last words");
    within("the tunnel's end", tunnels.wait_for(|counts| counts.total() == 0)).await.expect("the agent runs");
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn large_amounts_pass_unaltered_both_ways_at_once() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("web", echo().await)])));
    let attach = gateway.welcome("g1").await;
    let (_, stream) = gateway.open(&attach, "web").await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|index| u8::try_from(index % 253).expect("small")).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = Vec::new();
    let send = async {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    };
    let both = async { tokio::try_join!(send, reader.read_to_end(&mut received)) };
    within("all bytes", both).await.expect("no failure");
    assert!(sent == received);
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_says_why() {
    let closed = Listener::bind(loopback()).await.expect("a free port").local_addr().expect("bound");
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("down", closed)])));
    let attach = gateway.welcome("g1").await;
    for (service, reason, detail) in [
        ("down", Reason::ServiceRefused, closed.to_string()),
        ("other", Reason::ServiceUnknown, "agent edge does not offer other".into()),
        ("Not a Name", Reason::ServiceUnknown, "service names have".into()),
    ] {
        let (opened, mut stream) = gateway.open(&attach, service).await;
        assert_eq!(opened.reason, reason.wire(), "{service}: {}", opened.detail);
        assert!(opened.detail.contains(&detail), "{}", opened.detail);
        let end = within("the end", stream.read(&mut [0; 1])).await;
        assert_eq!(end.expect("an orderly end"), 0);
    }
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_in_time() {
    // The queue of a listener that never accepts: full after a few connections, further ones get no answer.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(loopback()).expect("a free port");
    let listener = socket.listen(1).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    while let Ok(stream) = bowline_rt::net::connect(address, Duration::from_millis(200)).await {
        waiting.push(stream);
    }
    let mut gateway = Gateway::start();
    let mut settings = settings(&[&gateway], services(&[("slow", address)]));
    settings.limits.service_connect_timeout = Duration::from_millis(50);
    let agent = start(settings);
    let attach = gateway.welcome("g1").await;
    let (opened, _) = gateway.open(&attach, "slow").await;
    assert_eq!(opened.reason, Reason::ServiceTimeout.wire(), "{}", opened.detail);
    drop(attach);
    agent.stop().await;
}

async fn is_reset(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let end = within("a reset", stream.read(&mut [0; 1])).await;
    end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let listener = Listener::bind(loopback()).await.expect("a free port");
    let mut gateway = Gateway::start();
    let services = services(&[("web", listener.local_addr().expect("bound"))]);
    let agent = start(settings(&[&gateway], services));
    let attach = gateway.welcome("g1").await;
    for service_breaks in [true, false] {
        let (_, mut stream) = gateway.open(&attach, "web").await;
        let (mut service, _) = within("the agent", listener.accept()).await.expect("a connection");
        talk(&mut stream, &mut service).await;
        let other_is_reset = if service_breaks {
            reset_on_close(&service);
            drop(service);
            is_reset(&mut stream).await
        } else {
            reset_on_close(stream.tcp());
            drop(stream);
            is_reset(&mut service).await
        };
        assert!(other_is_reset, "service breaks: {service_breaks}");
    }
    drop(attach);
    agent.stop().await;
}

/// A word from one to the other and back.
async fn talk(
    one: &mut (impl AsyncRead + AsyncWrite + Unpin),
    other: &mut (impl AsyncRead + AsyncWrite + Unpin),
) {
    let mut four = [0; 4];
    one.write_all(b"ping").await.expect("open");
    within("a ping", other.read_exact(&mut four)).await.expect("open");
    other.write_all(b"pong").await.expect("open");
    within("a pong", one.read_exact(&mut four)).await.expect("open");
}

#[tokio::test]
async fn over_tls_a_stream_half_closes_and_a_cut_is_not_an_end() {
    let listener = Listener::bind(loopback()).await.expect("a free port");
    let (acceptor, connector) = tls();
    let mut gateway = Gateway::start_with(acceptor);
    let mut settings = settings(&[&gateway], services(&[("web", listener.local_addr().expect("bound"))]));
    settings.connector = connector;
    let agent = start(settings);
    let attach = gateway.welcome("g1").await;

    let (opened, mut stream) = gateway.open(&attach, "web").await;
    assert_eq!(opened.reason, 0, "{}", opened.detail);
    assert!(matches!(stream.peer(), Some(Identity::Agent(agent)) if agent.as_str() == "edge"));
    let (mut service, _) = within("the agent", listener.accept()).await.expect("a connection");
    talk(&mut stream, &mut service).await;
    stream.shutdown().await.expect("open");
    assert_eq!(within("the client's end", service.read(&mut [0; 1])).await.expect("an orderly end"), 0);
    service.write_all(b"answer").await.expect("still open");
    service.shutdown().await.expect("still open");
    let mut rest = Vec::new();
    within("the service's end", stream.read_to_end(&mut rest)).await.expect("an orderly end");
    assert_eq!(rest, b"answer");

    let (_, mut stream) = gateway.open(&attach, "web").await;
    let (mut service, _) = within("the agent", listener.accept()).await.expect("a connection");
    talk(&mut stream, &mut service).await;
    reset_on_close(&service);
    drop(service);
    within("a cut", stream.read(&mut [0; 1])).await.expect_err("a cut is no end");
    drop((stream, attach));
    agent.stop().await;
}

/// Both sides of mutual TLS between a gateway on loopback and the agent `edge`.
fn tls() -> (Acceptor, Connector) {
    let authority = Authority::create("test", 1).expect("an authority");
    let pem = |name: &str, text: &str| Pem::Text { name: name.into(), text: text.into() };
    let issue = |identity, names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        let issued = authority.issue(&Request { identity, names, days: 1 }).expect("a certificate");
        Credential {
            certificate: pem("certificate", &issued.certificate),
            key: pem("key", issued.key.reveal()),
        }
    };
    let ca = pem("authority", authority.certificate());
    let name = "g1".parse().expect("a name");
    let acceptor = Acceptor::tls(ServerSettings {
        credential: issue(Identity::Gateway(name), &["127.0.0.1"]),
        client_authentication: ClientAuthentication::Required(ca.clone()),
        alpn: vec![ALPN_CONTROL.to_vec(), ALPN_TUNNEL.to_vec()],
    });
    let name = "edge".parse().expect("a name");
    let connector = Connector::tls(ClientSettings {
        authority: ca,
        credential: Some(issue(Identity::Agent(name), &[])),
        server_name: None,
        alpn: Vec::new(),
    });
    (acceptor.expect("valid settings"), connector.expect("valid settings"))
}

#[tokio::test]
async fn tunnels_over_the_limit_are_refused_in_one_message() {
    let mut gateway = Gateway::start();
    let mut settings = settings(&[&gateway], services(&[]));
    settings.limits.tunnels_max = 2;
    let agent = start(settings);
    let mut attach = gateway.welcome("g1").await;
    attach.dial(&[b"1", b"2", b"3", b"4", b"5"]).await;
    let (first, _second) = (gateway.tunnel().await, gateway.tunnel().await);
    let error = "the agent is at its limit of tunnels".to_owned();
    let tickets = ["3", "4", "5"].map(|ticket| ticket.as_bytes().to_vec()).to_vec();
    let failed = from_agent::Message::DialFailed(DialFailed { tickets, error });
    assert_eq!(attach.receive().await, Some(failed));
    // The gateway closes one: there is room again.
    drop(first);
    let mut counts = agent.handle.tunnels();
    within("room", counts.wait_for(|counts| counts.total() == 1)).await.expect("the agent runs");
    attach.dial(&[b"6"]).await;
    assert_eq!(gateway.tunnel().await.ticket, b"6");
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_without_its_control_connection_and_idle_tunnels_do_not() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("web", echo().await)])));
    let attach = gateway.welcome("g1").await;
    let (_, mut stream) = gateway.open(&attach, "web").await;
    attach.dial(&[b"idle"]).await;
    let idle = gateway.tunnel().await;
    attach.fail(tonic::Status::unavailable("on purpose")).await;
    idle.closed().await;
    let attach = gateway.welcome("g1").await;
    assert_eq!(attach.login.generation, 2);
    ping(&mut stream, b"still here").await;
    agent.until_state(&gateway.address, State::Attached).await;
    drop((stream, attach));
    agent.stop().await;
}

#[tokio::test]
async fn many_streams_at_once_leave_nothing_behind() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("web", echo().await)])));
    let attach = gateway.welcome("g1").await;
    for _ in 0..4 {
        attach.dial(&[b"ticket".as_slice(); 100]).await;
        let mut streams = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let tunnel = gateway.tunnel().await;
            streams.spawn(async move {
                let (opened, mut stream) = tunnel.open("web").await;
                assert_eq!(opened.reason, 0);
                ping(&mut stream, &[7; 1000]).await;
            });
        }
        while let Some(ended) = streams.join_next().await {
            ended.expect("no panic");
        }
    }
    let mut counts = agent.handle.tunnels();
    within("the last tunnel's end", counts.wait_for(|counts| counts.total() == 0))
        .await
        .expect("the agent runs");
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn services_can_be_replaced_while_it_runs() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("old", echo().await)])));
    let mut attach = gateway.welcome("g1").await;
    assert_eq!(attach.login.services, ["old"]);
    let (_, mut running) = gateway.open(&attach, "old").await;
    agent.handle.replace_services(services(&[("new", echo().await), ("more", loopback_one())]));
    let replaced = from_agent::Message::Services(Services { services: vec!["more".into(), "new".into()] });
    assert_eq!(attach.receive().await, Some(replaced));
    let (opened, _) = gateway.open(&attach, "old").await;
    assert_eq!(opened.reason, Reason::ServiceUnknown.wire());
    let (opened, mut stream) = gateway.open(&attach, "new").await;
    assert_eq!(opened.reason, 0);
    ping(&mut stream, b"new").await;
    ping(&mut running, b"old goes on").await;
    drop((stream, running, attach));
    agent.stop().await;
}

fn loopback_one() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 1))
}

#[tokio::test]
async fn garbage_on_a_tunnel_costs_that_tunnel_only() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("web", echo().await)])));
    let attach = gateway.welcome("g1").await;
    attach.dial(&[b"bad", b"cut"]).await;
    let (mut bad, mut cut) = (gateway.tunnel().await, gateway.tunnel().await);
    bad.stream.write_all(&[0xff; 64]).await.expect("open");
    bad.closed().await;
    cut.stream.write_all(&[0, 0, 0, 9, 1]).await.expect("open");
    cut.stream.shutdown().await.expect("open");
    cut.closed().await;
    let (opened, mut stream) = gateway.open(&attach, "web").await;
    assert_eq!(opened.reason, 0);
    ping(&mut stream, b"fine").await;
    drop((stream, attach));
    agent.stop().await;
}

#[tokio::test]
async fn a_tunnel_that_its_gateway_does_not_take_is_reported_and_one_of_a_lost_session_is_not() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("web", echo().await)])));
    let mut attach = gateway.welcome("g1").await;
    attach.dial(&[b"unknown to whoever gets it"]).await;
    drop(gateway.tunnel().await);
    let Some(from_agent::Message::DialFailed(DialFailed { tickets, error })) = attach.receive().await else {
        panic!("not reported")
    };
    assert_eq!(tickets, [b"unknown to whoever gets it".to_vec()]);
    assert!(error.contains("another gateway"), "{error}");
    // The end of the session explains the end of its tunnels.
    attach.dial(&[b"good"]).await;
    let tunnel = gateway.tunnel().await;
    drop((tunnel, attach));
    let mut attach = gateway.welcome("g1").await;
    let mut counts = agent.handle.tunnels();
    within("the end of the tunnel", counts.wait_for(|counts| counts.total() == 0)).await.expect("it runs");
    attach.dial(&[&[7; 300]]).await;
    let Some(from_agent::Message::DialFailed(failed)) = attach.receive().await else {
        panic!("not reported")
    };
    assert_eq!(failed.error, "a ticket is too long", "the first thing this session has to say");
    drop(attach);
    agent.stop().await;
}
