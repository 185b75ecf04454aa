//! From gateway to gateway.

use std::time::Duration;

use bowline_rt::net::Listener;
use bowline_rt::time::now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::agent::{Login, Manner, log_in};
use crate::zone::{BOUND, Zone, ask, echo, soon, start, until};

/// A port that accepts and never answers.
async fn dead() -> (std::net::SocketAddr, Listener) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

#[tokio::test]
async fn a_stream_goes_through_another_gateway() {
    let zone = Zone::default();
    let near = start(&zone, "near", |_| {}).await;
    let far = start(&zone, "far", |_| {}).await;
    let seen = log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    far.settled("a", 2, 0).await;
    let stream = near.open("web").await.unwrap();
    far.settled("a", 2, 1).await;
    assert_eq!((near.gateway.status().streams, far.gateway.status().streams), (1, 0));
    let text = "long ".repeat(200_000);
    assert!(echo(stream, &text).await == format!("a:{text}"));
    far.settled("a", 2, 0).await;
    let open = seen.lock().unwrap().opens[0].clone();
    assert_eq!((open.request_id.as_str(), open.client.as_str()), ("test-1", "192.0.2.1:99"));
    until("the hop to end", || far.metric("streams") == 0).await;
    assert_eq!(far.metric("hops_served_total{result=\"ok\"}"), 1);
}

#[tokio::test]
async fn a_dead_holder_costs_a_hedge_and_is_suspected_afterwards() {
    let zone = Zone::default();
    let (address, _listener) = dead().await;
    let near = start(&zone, "near", |_| {}).await;
    let far = start(&zone, "far", |_| {}).await;
    log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    for index in 0..3 {
        let gateway = format!("dead{index}");
        zone.pretend(&gateway, "a", "web", address);
    }
    // A port on which nobody listens at all.
    let (closed, listener) = dead().await;
    drop(listener);
    zone.pretend("closed", "a", "web", closed);
    for _ in 0..8 {
        assert_eq!(echo(near.open("web").await.unwrap(), "x").await, "a:x");
    }
    assert!(zone.suspected().iter().all(|gateway| gateway == "closed"), "{:?}", zone.suspected());
}

#[tokio::test]
async fn a_holder_that_hangs_costs_one_hedge_and_is_then_asked_last() {
    let zone = Zone::default();
    let hedge = Duration::from_millis(300);
    let near = start(&zone, "near", |settings| settings.route.hedge_after = hedge).await;
    let far = start(&zone, "far", |_| {}).await;
    log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    far.settled("a", 2, 0).await;
    let (address, listener) = dead().await;
    zone.pretend("hangs", "a", "web", address);
    let mut held = Vec::new();
    let first = soon("the dead one to be asked", async {
        loop {
            let began = now();
            assert_eq!(echo(near.open("web").await.unwrap(), "x").await, "a:x");
            if now() - began >= hedge {
                return held.push(listener.accept().await.unwrap());
            }
        }
    });
    first.await;
    for _ in 0..10 {
        assert_eq!(echo(near.open("web").await.unwrap(), "x").await, "a:x");
    }
    let asked_again = bowline_rt::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(asked_again.is_err(), "it is asked last, which nobody had to be");
}

#[tokio::test]
async fn a_request_whose_only_holder_hangs_finds_the_agent_where_it_has_gone() {
    let zone = Zone::default();
    let near = start(&zone, "near", |_| {}).await;
    let (address, hangs) = dead().await;
    zone.pretend("hangs", "a", "web", address);
    let began = now();
    let (stream, _hop) = tokio::join!(near.open("web"), async {
        let hop = hangs.accept().await.unwrap();
        log_in(near.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
        hop
    });
    assert_eq!(echo(stream.unwrap(), "x").await, "a:x");
    assert!(now() - began < Duration::from_secs(5), "long before the hop is given up");
}

#[tokio::test]
async fn of_two_that_are_ready_one_wins_and_the_other_keeps_its_tunnel() {
    let zone = Zone::default();
    // Both are asked at once.
    let near = start(&zone, "near", |settings| settings.route.hedge_after = Duration::ZERO).await;
    let first = start(&zone, "first", |_| {}).await;
    let second = start(&zone, "second", |_| {}).await;
    let login = Login::new("a", &["web"]);
    let seen = [
        log_in(first.agents, login.clone()).await.unwrap().serve(Manner::Echo),
        log_in(second.agents, login).await.unwrap().serve(Manner::Echo),
    ];
    first.settled("a", 2, 0).await;
    second.settled("a", 2, 0).await;
    for round in 1..=10 {
        assert_eq!(echo(near.open("web").await.unwrap(), "x").await, "a:x");
        let opens: usize = seen.iter().map(|seen| seen.lock().unwrap().opens.len()).sum();
        assert_eq!(opens, round, "exactly one of them opens");
    }
    for (gateway, seen) in [(&first, &seen[0]), (&second, &seen[1])] {
        gateway.settled("a", 2, 0).await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen.tunnels, 2 + seen.opens.len(), "tunnels are used up by streams only");
    }
}

#[tokio::test]
async fn a_wrong_entry_is_refused_at_once_suspected_and_never_passed_on() {
    let zone = Zone::default();
    let near =
        start(&zone, "near", |settings| settings.route.open_timeout = Duration::from_millis(300)).await;
    let empty = start(&zone, "empty", |_| {}).await;
    let far = start(&zone, "far", |_| {}).await;
    zone.pretend("empty", "a", "web", empty.peers);
    let began = now();
    let (reason, detail) = near.refusal("web").await;
    assert_eq!(reason, "agent_unreachable");
    assert!(detail.starts_with("gateway empty: no agent for it is attached here"), "{detail}");
    assert!(now() - began >= Duration::from_millis(300), "something may still come");
    assert!(zone.suspected().contains(&"empty".to_owned()));
    assert_eq!(empty.metric("hops_served_total{result=\"service_unknown\"}"), zone.lookups() as u64);
    // It comes while somebody looks for it.
    let lookups = zone.lookups();
    let (stream, ()) = tokio::join!(soon("open", near.gateway.open(ask("web"))), async {
        until("the first look", || zone.lookups() > lookups).await;
        log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    });
    assert_eq!(echo(stream.unwrap(), "x").await, "a:x");
}

#[tokio::test]
async fn a_slow_local_agent_does_not_keep_a_request_from_another_gateway() {
    let zone = Zone::default();
    let near = start(&zone, "near", |_| {}).await;
    let far = start(&zone, "far", |_| {}).await;
    let _slow = log_in(near.agents, Login::new("slow", &["web"])).await.unwrap();
    log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    far.settled("a", 2, 0).await;
    assert_eq!(echo(near.open("web").await.unwrap(), "x").await, "a:x");
    assert_eq!(near.metric("requests_waiting"), 0);
}

#[tokio::test]
async fn a_service_that_refuses_behind_another_gateway_is_told_apart() {
    let zone = Zone::default();
    let near = start(&zone, "near", |_| {}).await;
    let far = start(&zone, "far", |_| {}).await;
    log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Refuse);
    let (reason, detail) = near.refusal("web").await;
    assert_eq!((reason, detail.as_str()), ("service_refused", "gateway far: nothing listens"));
}

#[tokio::test]
async fn everybody_says_how_they_are_and_the_dead_are_named() {
    let zone = Zone::default();
    let near = start(&zone, "near", |_| {}).await;
    let far = start(&zone, "far", |_| {}).await;
    log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    let (closed, listener) = dead().await;
    drop(listener);
    zone.pretend("gone", "a", "web", closed);
    let reports = soon("the reports", near.gateway.status_of_all()).await;
    let names: Vec<&str> = reports.iter().map(|report| report.gateway.as_str()).collect();
    assert_eq!(names, ["far", "gone", "near"]);
    assert_eq!(reports[0].status.as_ref().unwrap().agents[0].agent, "a");
    let error = reports[1].status.as_ref().unwrap_err();
    assert!(error.contains("cannot be reached"), "{error}");
    assert_eq!(reports[2].status.as_ref().unwrap().zone, "test");
}

#[tokio::test]
async fn a_reserved_tunnel_goes_back_when_the_asker_goes_away() {
    use bowline_proto::frame::{self, HOP_PREAMBLE};
    use bowline_proto::v1::{HopOpen, HopReply, HopRequest, hop_request::Request};
    let zone = Zone::default();
    let far = start(&zone, "far", |_| {}).await;
    let mut agent = log_in(far.agents, Login::new("a", &["web"])).await.unwrap();
    let hop = || async {
        let mut hop = bowline_rt::net::connect(far.peers, BOUND).await.unwrap();
        let open = HopOpen {
            service: "web".into(),
            request_id: "r".into(),
            from: "near".into(),
            ..HopOpen::default()
        };
        let mut bytes = HOP_PREAMBLE.to_vec();
        frame::append(&mut bytes, &HopRequest { request: Some(Request::Open(open)) });
        hop.write_all(&bytes).await.unwrap();
        hop
    };
    // One that waits and leaves: no waiter stays behind.
    let waiting = hop().await;
    until("a waiter", || far.metric("requests_waiting") == 1).await;
    drop(waiting);
    until("no waiter", || far.metric("requests_waiting") == 0).await;
    // One that has a tunnel and leaves before its commit: the tunnel is idle again.
    let connector = agent.login.connector.clone();
    let mut tunnels = Vec::new();
    for ticket in agent.tickets().await {
        tunnels.push(crate::agent::dial(far.agents, &connector, ticket).await);
    }
    until("idle tunnels", || far.tunnels("a").is_some_and(|(idle, _)| idle >= 2)).await;
    let mut ready = hop().await;
    let reply = soon("the reply", frame::read::<HopReply>(&mut ready, 1_024)).await.unwrap();
    assert_eq!(reply.reason, 0);
    until("a reserved tunnel", || far.tunnels("a").is_some_and(|(_, busy)| busy == 1)).await;
    drop(ready);
    until("it is given back", || far.tunnels("a").is_some_and(|(idle, busy)| idle >= 2 && busy == 0)).await;
    // What is no hop at all is closed.
    let mut garbage = bowline_rt::net::connect(far.peers, BOUND).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let ended = soon("the end", garbage.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
}
