//! Logins, fail-over, drains, goodbyes.

use std::time::Duration;

use bowline_agent::State;
use bowline_identity::token::Token;
use bowline_proto::convert;
use bowline_proto::v1::{Drain, Leaving, Superseded, from_agent, from_gateway};
use tokio::io::AsyncReadExt;
use tonic::Status;

use crate::fake::{Gateway, echo, ping, services, settings, start, within};

#[tokio::test]
async fn a_login_says_who_it_is() {
    let mut gateway = Gateway::start();
    let mut settings = settings(&[&gateway], services(&[("web", echo().await), ("db", echo().await)]));
    let token = Token::generate();
    settings.credential = Some(token.clone());
    let agent = start(settings);
    let attach = gateway.welcome("g1").await;
    assert_eq!(attach.authorization, Some(format!("Bearer {}", token.reveal())));
    assert_eq!(attach.login.agent, "edge");
    assert_eq!(attach.login.services, ["db", "web"]);
    assert_eq!(attach.login.generation, 1);
    assert_eq!(convert::epoch(&attach.login.epoch), Ok(agent.handle.epoch()));
    let view = agent.until(&gateway.address, "attached", |view| view.state == State::Attached).await;
    assert_eq!(view.gateway.expect("welcomed").as_str(), "g1");
    assert!(agent.handle.is_ready());
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn a_refused_login_is_shown_with_the_reason() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[])));
    gateway.attach().await.fail(Status::unauthenticated("this token is for another agent")).await;
    let view = agent.until(&gateway.address, "refused", |view| view.last_error.is_some()).await;
    assert_eq!(view.last_error.expect("just seen"), "this token is for another agent");
    assert!(!agent.handle.is_ready());
    agent.stop().await;
}

#[tokio::test]
async fn when_a_gateway_dies_another_one_is_attached() {
    let mut gateways = [Gateway::start(), Gateway::start()];
    let agent = start(settings(&[&gateways[0], &gateways[1]], services(&[("web", echo().await)])));
    let addresses = [gateways[0].address.clone(), gateways[1].address.clone()];
    let first = first_attached(&agent, &mut gateways).await;
    let [zeroth, oneth] = gateways;
    let (dead, mut alive) = if first == 0 { (zeroth, oneth) } else { (oneth, zeroth) };
    drop(dead);
    let attach = alive.welcome("alive").await;
    agent.until_state(&addresses[1 - first], State::Attached).await;
    let view = agent.until(&addresses[first], "a loss", |view| view.last_error.is_some()).await;
    assert_eq!(view.state, State::Detached);
    let (opened, mut stream) = alive.open(&attach, "web").await;
    assert_eq!(opened.reason, 0);
    ping(&mut stream, b"back").await;
    drop((stream, attach));
    agent.stop().await;
}

/// Welcomes the agent at whichever gateway it chose, and says which.
async fn first_attached(agent: &crate::fake::Running, gateways: &mut [Gateway; 2]) -> usize {
    let [zeroth, oneth] = gateways;
    let first = tokio::select! {
        attach = zeroth.attach() => { attach.welcome("g0").await; keep(attach); 0 }
        attach = oneth.attach() => { attach.welcome("g1").await; keep(attach); 1 }
    };
    agent.until_state(&gateways[first].address, State::Attached).await;
    first
}

/// Keeps a control connection open for the rest of the test: its runtime ends it.
fn keep(attach: crate::fake::Attach) {
    bowline_rt::task::spawn("keep", async move {
        let mut attach = attach;
        while attach.receive().await.is_some() {}
    });
}

#[tokio::test]
async fn a_silent_gateway_is_given_up_and_heartbeats_keep_it() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[])));
    let silent = gateway.attach().await;
    silent.welcome_with_heartbeat("g1", 50).await;
    let view = agent.until(&gateway.address, "a loss", |view| view.last_error.is_some()).await;
    assert_eq!(view.last_error.expect("just seen"), "the gateway sent nothing for 150ms");

    let mut speaking = gateway.attach().await;
    // Its patience is 1.2 s, so that a busy machine does not look like a silent gateway.
    speaking.welcome_with_heartbeat("g1", 400).await;
    // One period more than it has patience for; every word counts.
    for _ in 0..4 {
        speaking.receive_heartbeat().await;
        speaking.dial(&[]).await;
    }
    assert!(agent.handle.is_ready());
    agent.stop().await;
}

#[tokio::test]
async fn a_gateway_that_asks_for_a_sign_of_life_gets_it_at_once() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[])));
    let mut attach = gateway.attach().await;
    // Of its own accord it says nothing for a minute, longer than this test may take.
    attach.welcome_with_heartbeat("g1", 60_000).await;
    attach.send(from_gateway::Message::Heartbeat(bowline_proto::v1::Heartbeat {})).await;
    attach.receive_heartbeat().await;
    agent.stop().await;
}

#[tokio::test]
async fn a_drain_moves_the_agent_before_it_leaves() {
    let mut gateways = [Gateway::start(), Gateway::start()];
    let agent = start(settings(&[&gateways[0], &gateways[1]], services(&[("web", echo().await)])));
    let [zeroth, oneth] = &mut gateways;
    let (mut old, old_gateway, new_gateway) = tokio::select! {
        attach = zeroth.attach() => (attach, zeroth, oneth),
        attach = oneth.attach() => (attach, oneth, zeroth),
    };
    old.welcome("old").await;
    let (_, mut stream) = old_gateway.open(&old, "web").await;
    old.send(from_gateway::Message::Drain(Drain { jitter_ms: 1 })).await;
    let new = new_gateway.attach().await;
    // The new one has not answered: the old one still is in service.
    agent.until_state(&old_gateway.address, State::Draining).await;
    ping(&mut stream, b"during").await;
    new.welcome("new").await;
    assert_eq!(old.receive().await, Some(from_agent::Message::Leaving(Leaving {})));
    agent.until_state(&old_gateway.address, State::Leaving).await;
    ping(&mut stream, b"after").await;
    drop(stream);
    assert_eq!(old.receive().await, None, "the control connection ends with the last stream");
    drop(old);
    agent.until_state(&old_gateway.address, State::Detached).await;
    agent.until_state(&new_gateway.address, State::Attached).await;
    agent.stop().await;
}

#[tokio::test]
async fn another_process_with_its_id_is_named_and_not_fought() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[])));
    let attach = gateway.welcome("g1").await;
    agent.until_state(&gateway.address, State::Attached).await;
    attach.send(from_gateway::Message::Superseded(Superseded { epoch: vec![0xab; 16] })).await;
    let view = agent.until(&gateway.address, "the news", |view| view.last_error.is_some()).await;
    assert!(view.last_error.expect("just seen").contains(&"ab".repeat(16)));
    assert_eq!(view.state, State::Detached);
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn two_addresses_of_one_gateway_end_as_one_session() {
    let (mut first, mut second) = (Gateway::start(), Gateway::start());
    let mut settings = settings(&[&first, &second], services(&[]));
    settings.connections = 2;
    let agent = start(settings);
    let older = first.welcome("same").await;
    agent.until_state(&first.address, State::Attached).await;
    let _newer = second.welcome("same").await;
    agent.until_state(&second.address, State::Attached).await;
    agent.until_state(&first.address, State::Detached).await;
    drop(older);
    agent.stop().await;
}

#[tokio::test]
async fn a_stop_says_goodbye_and_serves_what_runs() {
    let mut gateway = Gateway::start();
    let agent = start(settings(&[&gateway], services(&[("web", echo().await)])));
    let mut attach = gateway.welcome("g1").await;
    let (_, mut stream) = gateway.open(&attach, "web").await;
    attach.dial(&[b"idle"]).await;
    let idle = gateway.tunnel().await;
    agent.shutdown.cancel();
    assert_eq!(attach.receive().await, Some(from_agent::Message::Leaving(Leaving {})));
    attach.dial(&[b"late"]).await;
    let Some(from_agent::Message::DialFailed(failed)) = attach.receive().await else { panic!("no answer") };
    assert_eq!((failed.tickets, failed.error.as_str()), (vec![b"late".to_vec()], "the agent is leaving"));
    // A stream that was on its way is still served.
    let (opened, late) = idle.open("web").await;
    assert_eq!(opened.reason, 0);
    drop(late);
    ping(&mut stream, b"still served").await;
    assert!(!agent.task.is_finished());
    drop(stream);
    assert_eq!(attach.receive().await, None);
    drop(attach);
    agent.stop().await;
}

#[tokio::test]
async fn a_stop_cuts_what_runs_longer_than_the_grace() {
    let mut gateway = Gateway::start();
    let mut settings = settings(&[&gateway], services(&[("web", echo().await)]));
    settings.limits.drain_grace = Duration::from_millis(50);
    let agent = start(settings);
    let attach = gateway.welcome("g1").await;
    let (_, mut stream) = gateway.open(&attach, "web").await;
    ping(&mut stream, b"open").await;
    let tunnels = agent.handle.tunnels();
    agent.stop().await;
    let end = within("a cut", stream.read(&mut [0; 1])).await;
    assert_eq!(end.expect_err("a cut is no end").kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(tunnels.borrow().total(), 0);
    drop(attach);
}
