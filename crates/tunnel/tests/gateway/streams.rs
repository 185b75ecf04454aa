//! Streams through one gateway.

use std::time::Duration;

use bowline_proto::v1::{self, from_agent::Message as Say};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::agent::{Login, Manner, dial, log_in};
use crate::zone::{Zone, ask, echo, soon, start, until};

#[tokio::test]
async fn a_stream_goes_through_and_a_new_tunnel_takes_the_place_of_the_used_one() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let seen = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    rig.settled("a", 2, 0).await;
    let stream = rig.open("web").await.unwrap();
    rig.settled("a", 2, 1).await;
    assert_eq!(rig.gateway.status().streams, 1);
    assert_eq!(echo(stream, "hello").await, "a:hello");
    rig.settled("a", 2, 0).await;
    assert_eq!(rig.gateway.status().streams, 0);
    let open = seen.lock().unwrap().opens[0].clone();
    assert_eq!((open.service.as_str(), open.request_id.as_str()), ("web", "test-1"));
    assert_eq!(open.client, "192.0.2.1:99");
    assert_eq!(zone.lookups(), 0, "a local tunnel needs no registry");
    assert_eq!(rig.metric("bytes_to_services_total"), 5);
    assert_eq!(rig.metric("bytes_from_services_total"), 7);
    assert_eq!(rig.metric("opens_total{result=\"ok\"}"), 1);
}

#[tokio::test]
async fn many_streams_at_once_each_get_their_own_bytes() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    let mut tasks = bowline_rt::task::JoinSet::new();
    for index in 0..100 {
        let gateway = rig.gateway.clone();
        tasks.spawn(async move {
            let stream = soon("open", gateway.open(ask("web"))).await.unwrap();
            let text = format!("{index}-").repeat(10_000);
            let answer = echo(stream, &text).await;
            assert!(answer == format!("a:{text}"));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    until("no busy tunnel", || rig.tunnels("a").is_some_and(|(_, busy)| busy == 0)).await;
}

#[tokio::test]
async fn what_cannot_work_is_told_at_once_and_by_its_name() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| settings.streams_max = 1).await;
    log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Refuse);
    assert_eq!(rig.refusal("db").await.0, "service_unknown");
    let (reason, detail) = rig.refusal("web").await;
    assert_eq!((reason, detail.as_str()), ("service_refused", "nothing listens"));
    zone.fall_silent();
    tokio::select! {
        biased;
        _ = rig.gateway.open(ask("elsewhere")) => panic!("the store is silent"),
        refused = async {
            until("the only place to be taken", || rig.metric("streams_opening") == 1).await;
            assert_eq!((rig.metric("streams"), rig.gateway.status().streams), (0, 0), "nothing runs yet");
            rig.refusal("web").await
        } => assert_eq!(refused.0, "overloaded"),
    }
}

#[tokio::test]
async fn a_silent_store_and_a_named_agent_that_offers_something_else() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| settings.route.open_timeout = Duration::from_millis(100)).await;
    log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    let mut request = ask("db");
    request.agent = Some("a".parse().unwrap());
    let refused = soon("open", rig.gateway.open(request.clone())).await.err().unwrap();
    assert_eq!(refused.reason.code(), "service_unknown");
    request.service = "web".parse().unwrap();
    let stream = soon("open", rig.gateway.open(request)).await.unwrap();
    assert_eq!(echo(stream, "x").await, "a:x");
    zone.fall_silent();
    assert_eq!(rig.refusal("db").await.0, "store_unavailable");
    assert_eq!(echo(rig.open("web").await.unwrap(), "x").await, "a:x");
}

#[tokio::test]
async fn an_agent_that_opens_no_tunnel_costs_the_time_out_and_no_more() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| settings.tunnel_timeout = Duration::from_millis(60)).await;
    let _idle = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let (reason, detail) = rig.refusal("web").await;
    assert_eq!(reason, "tunnel_timeout");
    assert!(detail.contains("agent a opened no tunnel"), "{detail}");
    assert_eq!(rig.metric("requests_waiting"), 0);
}

#[tokio::test]
async fn an_agent_whose_tunnels_are_all_busy_is_overloaded() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| {
        settings.tunnel_timeout = Duration::from_millis(60);
        settings.pool.tunnels_max = 3;
    })
    .await;
    log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(rig.open("web").await.unwrap());
    }
    let (reason, detail) = rig.refusal("web").await;
    assert_eq!((reason, detail.as_str()), ("overloaded", "all 3 tunnels of agent a are busy"));
    streams.pop();
    assert_eq!(echo(rig.open("web").await.unwrap(), "x").await, "a:x");
}

#[tokio::test]
async fn an_agent_that_does_not_answer_an_open_costs_the_time_out() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| settings.opened_timeout = Duration::from_millis(60)).await;
    log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Hang);
    assert_eq!(rig.refusal("web").await.0, "tunnel_timeout");
    until("the tunnel to be given up", || rig.tunnels("a").is_some_and(|(_, busy)| busy == 0)).await;
}

#[tokio::test]
async fn a_service_that_is_slow_behind_a_live_agent_has_its_time() {
    let zone = Zone::default();
    let opened_timeout = Duration::from_millis(400);
    let rig = start(&zone, "g1", |settings| {
        settings.opened_timeout = opened_timeout;
        settings.doubt_after = Duration::from_millis(100);
    })
    .await;
    log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Hang);
    let began = bowline_rt::time::now();
    let (reason, detail) = rig.refusal("web").await;
    assert_eq!(reason, "tunnel_timeout", "{detail}");
    assert!(bowline_rt::time::now() - began >= opened_timeout);
}

#[tokio::test]
async fn an_agent_that_freezes_with_idle_tunnels_is_left_for_others_at_once() {
    let zone = Zone::default();
    let quick = |settings: &mut bowline_tunnel::Settings| {
        settings.doubt_after = Duration::from_millis(50);
        settings.opened_timeout = crate::zone::BOUND;
    };
    let near = start(&zone, "near", quick).await;
    let far = start(&zone, "far", quick).await;
    log_in(far.agents, Login::new("alive", &["web"])).await.unwrap().serve(Manner::Echo);
    let mut frozen = log_in(near.agents, Login::new("frozen", &["web"])).await.unwrap();
    let connector = frozen.login.connector.clone();
    let mut tunnels = Vec::new();
    for ticket in frozen.tickets().await {
        tunnels.push(dial(near.agents, &connector, ticket).await);
    }
    near.settled("frozen", 2, 0).await;
    let began = bowline_rt::time::now();
    assert_eq!(echo(near.open("web").await.unwrap(), "x").await, "alive:x");
    assert!(bowline_rt::time::now() - began < Duration::from_secs(5));
    // From now on it comes last.
    log_in(near.agents, Login::new("fresh", &["web"])).await.unwrap().serve(Manner::Echo);
    near.settled("fresh", 2, 0).await;
    for _ in 0..10 {
        assert_eq!(echo(near.open("web").await.unwrap(), "x").await, "fresh:x");
    }
    // A sign of life is enough to be trusted again.
    frozen.tell(Say::Heartbeat(v1::Heartbeat {})).await;
    let mut request = ask("web");
    request.agent = Some("frozen".parse().unwrap());
    let (stream, ()) = tokio::join!(soon("open", near.gateway.open(request)), async {
        let tunnel = &mut tunnels[0];
        bowline_proto::frame::read::<v1::Open>(tunnel, 1_024).await.unwrap();
        bowline_proto::frame::write(tunnel, &v1::Opened::default()).await.unwrap();
    });
    stream.unwrap();
}

#[tokio::test]
async fn an_agent_that_cannot_dial_is_believed() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| settings.route.open_timeout = Duration::from_millis(80)).await;
    let mut agent = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let mut tickets = agent.tickets().await;
    let (refusal, ()) = tokio::join!(rig.refusal("web"), async {
        until("a waiter", || rig.metric("requests_waiting") == 1).await;
        // That somebody waits has raised the number of spare tunnels.
        tickets.extend(agent.tickets().await);
        let failed = v1::DialFailed { tickets, error: "no\nroute".to_owned() };
        agent.tell(Say::DialFailed(failed)).await;
    });
    assert_eq!(refusal.0, "agent_unreachable");
    assert!(refusal.1.contains("no route"), "{}", refusal.1);
}

#[tokio::test]
async fn dead_idle_tunnels_are_noticed_and_replaced() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let mut agent = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let connector = agent.login.connector.clone();
    let tickets = agent.tickets().await;
    let closed = dial(rig.agents, &connector, tickets[0].clone()).await;
    let mut talkative = dial(rig.agents, &connector, tickets[1].clone()).await;
    rig.settled("a", 2, 0).await;
    drop(closed);
    assert_eq!(agent.tickets().await.len(), 1, "a new tunnel is asked for");
    rig.settled("a", 1, 0).await;
    talkative.write_all(b"out of turn").await.unwrap();
    assert_eq!(agent.tickets().await.len(), 1);
    rig.settled("a", 0, 0).await;
}

#[tokio::test]
async fn a_tunnel_that_dies_at_the_open_is_replaced_by_another() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let seen = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::FirstDies);
    rig.settled("a", 2, 0).await;
    assert_eq!(echo(rig.open("web").await.unwrap(), "x").await, "a:x");
    assert!(!seen.lock().unwrap().opens.is_empty());
    rig.settled("a", 2, 0).await;
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open_and_a_cut_is_no_end() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let mut agent = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let connector = agent.login.connector.clone();
    let mut tunnels = Vec::new();
    for ticket in agent.tickets().await {
        tunnels.push(dial(rig.agents, &connector, ticket).await);
    }
    rig.settled("a", 2, 0).await;
    for graceful in [true, false] {
        let mut tunnel = tunnels.pop().unwrap();
        let (stream, ()) = tokio::join!(rig.open("web"), async {
            bowline_proto::frame::read::<v1::Open>(&mut tunnel, 1_024).await.unwrap();
            let opened = v1::Opened { reason: 0, detail: String::new() };
            bowline_proto::frame::write(&mut tunnel, &opened).await.unwrap();
        });
        let mut stream = stream.unwrap();
        if graceful {
            stream.shutdown().await.unwrap();
            assert_eq!(soon("the end", tunnel.read(&mut [0; 1])).await.unwrap(), 0);
            tunnel.write_all(b"late").await.unwrap();
            let mut answer = [0; 4];
            soon("the answer", stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(&answer, b"late");
        } else {
            drop(stream);
            assert!(soon("the reset", tunnel.read(&mut [0; 1])).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_nobody_else() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    let mut stalled = rig.open("web").await.unwrap();
    let chunk = vec![b'x'; 1 << 20];
    // Written until nothing moves any more: the buffers of the kernels are full.
    let mut written = 0_usize;
    while let Ok(result) = bowline_rt::time::timeout(Duration::from_millis(300), stalled.write(&chunk)).await
    {
        written += result.unwrap();
        assert!(written < 1 << 30, "somebody buffers without a bound");
    }
    for _ in 0..10 {
        let text = "y".repeat(100_000);
        assert!(echo(rig.open("web").await.unwrap(), &text).await == format!("a:{text}"));
    }
}

#[tokio::test]
async fn nothing_is_left_of_agents_and_streams_that_have_gone() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut settled = 0;
    for epoch in 1..=40 {
        log_in(rig.agents, Login { epoch, ..Login::new("a", &["web"]) }).await.unwrap().serve(Manner::Echo);
        assert_eq!(echo(rig.open("web").await.unwrap(), "x").await, "a:x");
        if epoch == 4 {
            until("the first ones to be gone", || {
                rig.tunnels("a") == Some((3, 0)) || rig.tunnels("a") == Some((2, 0))
            })
            .await;
            settled = tasks() + 4;
        }
    }
    until("the tasks of the others to end", || tasks() <= settled).await;
    assert_eq!(rig.metric("agents_superseded_total"), 39);
}
