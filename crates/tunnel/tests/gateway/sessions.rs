//! Logging in, being superseded, dying, leaving.

use std::time::Duration;

use bowline_identity::token::{Holder, Token, TokenTable};
use bowline_model::Epoch;
use bowline_proto::v1::{self, from_agent::Message as Say, from_gateway::Message as Hear};
use tonic::Code;

use crate::agent::{Login, Manner, log_in};
use crate::zone::{Zone, echo, name, start, until};

#[tokio::test]
async fn an_agent_attaches_is_published_and_leaves() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let mut agent = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    assert!(zone.holds("g1", "a"));
    assert_eq!(agent.tickets().await.len(), 2);
    let services = vec!["db".to_owned(), "db".to_owned()];
    agent.tell(Say::Services(v1::Services { services })).await;
    until("the new services", || rig.gateway.status().agents[0].services == ["db"]).await;
    agent.tell(Say::Leaving(v1::Leaving {})).await;
    until("the withdrawal", || !zone.holds("g1", "a")).await;
    assert_eq!(rig.refusal("db").await.0, "service_unknown");
}

#[tokio::test]
async fn only_an_agent_with_its_own_credential_is_let_in() {
    let (token, other) = (Token::generate(), Token::generate());
    let text = token.table_entry(&Holder::Agent(name("a"))) + &other.table_entry(&Holder::Agent(name("b")));
    let tokens = TokenTable::from_toml("test", &text).unwrap();
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| {
        settings.agents.anyone = false;
        settings.agents.tokens = tokens;
    })
    .await;
    let with = |token: Option<&str>| Login { token: token.map(str::to_owned), ..Login::new("a", &["web"]) };
    for wrong in [None, Some("nonsense"), Some(other.reveal())] {
        let refused = log_in(rig.agents, with(wrong)).await.err().unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated, "{wrong:?}");
    }
    assert!(!zone.holds("g1", "a"));
    assert_eq!(rig.metric("authentication_failures_total"), 3);
    log_in(rig.agents, with(Some(token.reveal()))).await.unwrap();
    assert!(zone.holds("g1", "a"));
}

#[tokio::test]
async fn an_agent_whose_token_is_revoked_is_detached() {
    let (kept, revoked) = (Token::generate(), Token::generate());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens.toml");
    let of_kept = kept.table_entry(&Holder::Agent(name("a")));
    std::fs::write(&file, of_kept.clone() + &revoked.table_entry(&Holder::Agent(name("b")))).unwrap();
    let tokens = TokenTable::from_file(&file).unwrap();
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| {
        settings.agents.anyone = false;
        settings.agents.tokens = tokens.clone();
        settings.heartbeat = Duration::from_millis(100);
    })
    .await;
    for (agent, token) in [("a", &kept), ("b", &revoked)] {
        let login = Login { token: Some(token.reveal().to_owned()), ..Login::new(agent, &["web"]) };
        log_in(rig.agents, login).await.unwrap().serve(Manner::Echo);
    }
    assert!(zone.holds("g1", "b"));
    std::fs::write(&file, of_kept).unwrap();
    tokens.reload().unwrap();
    until("the other one to be detached", || !zone.holds("g1", "b")).await;
    assert!(zone.holds("g1", "a"));
}

#[tokio::test]
async fn a_malformed_login_is_told_what_is_wrong_with_it() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let refused = log_in(rig.agents, Login::new("Not_a_name", &[])).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("lower-case"), "{}", refused.message());
    let refused = log_in(rig.agents, Login::new("a", &["no good"])).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_new_incarnation_takes_over_from_a_half_open_one_at_once() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    // The old one is there and reads nothing.
    let mut old = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let new = Login { epoch: 2, ..Login::new("a", &["web"]) };
    log_in(rig.agents, new).await.unwrap().serve(Manner::Echo);
    assert_eq!(echo(rig.open("web").await.unwrap(), "x").await, "a:x");
    let epoch = Epoch::from_bits(2).bits().to_be_bytes().to_vec();
    assert_eq!(old.next_news().await.unwrap(), Hear::Superseded(v1::Superseded { epoch }));
    assert_eq!(old.next_news().await.unwrap_err().code(), Code::Ok);
    assert!(zone.holds("g1", "a"), "the late end of the old session withdraws nothing");
    assert_eq!(rig.metric("agents_superseded_total"), 1);
    // Within an incarnation a login that was late on its way does not win.
    let stale = Login { epoch: 3, generation: 4, ..Login::new("a", &["web"]) };
    let _current = log_in(rig.agents, Login { generation: 5, ..stale.clone() }).await.unwrap();
    assert_eq!(log_in(rig.agents, stale).await.err().unwrap().code(), Code::Aborted);
}

#[tokio::test]
async fn a_silent_agent_is_given_up_and_withdrawn() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| settings.heartbeat = Duration::from_millis(20)).await;
    let _silent = log_in(rig.agents, Login::new("silent", &["web"])).await.unwrap();
    log_in(rig.agents, Login::new("alive", &["web"])).await.unwrap().serve(Manner::Echo);
    until("the silent one to be given up", || !zone.holds("g1", "silent")).await;
    assert!(zone.holds("g1", "alive"));
    assert_eq!(rig.metric("agents_lost_total"), 1);
}

#[tokio::test]
async fn a_lost_control_connection_withdraws_and_closes_idle_tunnels_but_no_stream() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let mut agent = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let mut tunnels = Vec::new();
    for ticket in agent.tickets().await {
        tunnels.push(crate::agent::dial(rig.agents, &agent.login.connector, ticket).await);
    }
    rig.settled("a", 2, 0).await;
    let opening = tokio::join!(rig.open("web"), async {
        let tunnel = &mut tunnels[1];
        bowline_proto::frame::read::<v1::Open>(tunnel, 1_024).await.unwrap();
        bowline_proto::frame::write(tunnel, &v1::Opened { reason: 0, detail: String::new() }).await.unwrap();
    });
    let mut stream = opening.0.unwrap();
    drop(agent);
    until("the withdrawal", || !zone.holds("g1", "a")).await;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let idle = crate::zone::soon("the end of the idle tunnel", tunnels[0].read(&mut [0; 1])).await;
    assert_eq!(idle.unwrap(), 0);
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(tunnels[1].read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_full_gateway_says_so() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| settings.agents_max = 1).await;
    let _first = log_in(rig.agents, Login::new("a", &[])).await.unwrap();
    let refused = log_in(rig.agents, Login::new("b", &[])).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}
