//! Shutting down.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use bowline_proto::frame;
use bowline_proto::v1::{Open, Opened, from_gateway::Message};

use crate::agent::{Login, Manner, dial, log_in};
use crate::zone::{BOUND, Zone, soon, start, until};

#[tokio::test]
async fn a_drain_moves_agents_lets_streams_end_and_then_stops() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let seen = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    let mut stream = rig.open("web").await.unwrap();
    let gateway = rig.gateway.clone();
    let drain = bowline_rt::task::spawn("drain", async move { gateway.drain(BOUND).await });
    until("the agent to leave", || !zone.holds("g1", "a")).await;
    assert_eq!(seen.lock().unwrap().drains, 1);
    let refused = log_in(rig.agents, Login::new("b", &[])).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(rig.gateway.status().draining);
    // The stream that runs is not touched.
    stream.write_all(b"still").await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 7];
    soon("the answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"a:still");
    assert!(!drain.is_finished());
    drop(stream);
    soon("the end of the drain", drain).await.unwrap();
    assert_eq!(rig.refusal("web").await.0, "draining");
}

#[tokio::test]
async fn the_grace_time_bounds_a_drain_and_a_stubborn_agent_is_served_until_then() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    // This one ignores the request to move.
    let mut stubborn = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let gateway = rig.gateway.clone();
    let drain =
        bowline_rt::task::spawn("drain", async move { gateway.drain(Duration::from_millis(1_500)).await });
    // The request to move and the first tickets come in any order.
    let (mut tickets, mut told) = (Vec::new(), false);
    while tickets.is_empty() || !told {
        match stubborn.next().await.unwrap() {
            Message::Dial(dial) => tickets = dial.tickets,
            message => told |= matches!(message, Message::Drain(_)),
        }
    }
    assert!(zone.holds("g1", "a"), "a draining path is better than none");
    let connector = stubborn.login.connector.clone();
    let mut tunnel = dial(rig.agents, &connector, tickets[0].clone()).await;
    let (opened, ()) = tokio::join!(rig.open("web"), async {
        frame::read::<Open>(&mut tunnel, 1_024).await.unwrap();
        frame::write(&mut tunnel, &Opened::default()).await.unwrap();
    });
    let _stream = opened.unwrap();
    soon("the end of the drain", drain).await.unwrap();
    assert!(!zone.holds("g1", "a"));
    assert!(stubborn.next_news().await.is_err());
    assert!(bowline_rt::net::connect(rig.agents, BOUND).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn an_agent_that_stays_without_a_stream_is_not_waited_for() {
    let zone = Zone::default();
    let move_soon = |settings: &mut bowline_tunnel::Settings| {
        settings.drain_jitter = Duration::from_millis(10);
        settings.move_time = Duration::from_millis(40);
    };
    let rig = start(&zone, "g1", move_soon).await;
    let _stubborn = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    soon("the end of the drain", rig.gateway.drain(BOUND)).await;
    assert!(!zone.holds("g1", "a"));
}

#[tokio::test]
async fn a_stream_for_another_gateway_that_a_drain_cuts_does_not_look_whole() {
    let zone = Zone::default();
    let near = start(&zone, "near", |_| {}).await;
    let far = start(&zone, "far", |_| {}).await;
    log_in(far.agents, Login::new("a", &["web"])).await.unwrap().serve(Manner::Echo);
    let mut stream = near.open("web").await.unwrap();
    stream.write_all(b"half").await.unwrap();
    let mut answer = [0; 6];
    soon("the answer", stream.read_exact(&mut answer)).await.unwrap();
    soon("the drain", far.gateway.drain(Duration::from_millis(10))).await;
    let end = soon("the end", stream.read(&mut answer)).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
