//! Garbage, silence and forged tickets on the agent port.

use std::time::Duration;

use bowline_proto::frame::{self, TUNNEL_PREAMBLE};
use bowline_proto::v1::TunnelHello;
use bowline_rt::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::agent::{Login, dial, log_in};
use crate::zone::{BOUND, Zone, soon, start, until};

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    bowline_rt::net::connect(address, BOUND).await.unwrap()
}

/// The gateway closes the connection: in an orderly way, or by a reset if it left bytes unread.
async fn closes(mut stream: impl AsyncReadExt + Unpin) {
    let mut bytes = Vec::new();
    let _ = soon("the connection to be closed", stream.read_to_end(&mut bytes)).await;
}

#[tokio::test]
async fn garbage_is_closed_and_counted() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\x16\x03\x01\x02\x00\x01", b"PRI * nonsense"] {
        let mut stream = connect(rig.agents).await;
        stream.write_all(garbage).await.unwrap();
        closes(stream).await;
    }
    let mut huge = connect(rig.agents).await;
    huge.write_all(&[TUNNEL_PREAMBLE.as_slice(), &[0xff; 4]].concat()).await.unwrap();
    closes(huge).await;
    until("all four to be counted", || rig.metric("strangers_refused_total") == 4).await;
}

#[tokio::test]
async fn who_says_nothing_or_only_half_a_word_is_given_up() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |settings| {
        settings.preamble_timeout = Duration::from_millis(30);
        settings.login_timeout = Duration::from_millis(60);
    })
    .await;
    let silent = connect(rig.agents).await;
    let mut half_preamble = connect(rig.agents).await;
    half_preamble.write_all(b"BWL").await.unwrap();
    let mut half_hello = connect(rig.agents).await;
    half_hello.write_all(b"BWLT1\0\0").await.unwrap();
    let mut no_login = connect(rig.agents).await;
    // The preface and an empty SETTINGS frame: HTTP/2 without a call.
    no_login.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    for stream in [silent, half_preamble, half_hello, no_login] {
        closes(stream).await;
    }
    until("all four to be counted", || rig.metric("strangers_refused_total") == 4).await;
}

#[tokio::test]
async fn a_ticket_is_good_once_and_a_forged_one_never() {
    let zone = Zone::default();
    let rig = start(&zone, "g1", |_| {}).await;
    let mut agent = log_in(rig.agents, Login::new("a", &["web"])).await.unwrap();
    let connector = agent.login.connector.clone();
    let ticket = agent.tickets().await.remove(0);
    let good = dial(rig.agents, &connector, ticket.clone()).await;
    rig.settled("a", 1, 0).await;
    let mut forged = ticket.clone();
    forged[31] ^= 1;
    for bad in [ticket, forged, vec![0; 32], Vec::new()] {
        closes(dial(rig.agents, &connector, bad).await).await;
    }
    let mut long = connect(rig.agents).await;
    let mut bytes = TUNNEL_PREAMBLE.to_vec();
    frame::append(&mut bytes, &TunnelHello { ticket: vec![7; 1_000] });
    long.write_all(&bytes).await.unwrap();
    closes(long).await;
    assert_eq!(rig.metric("tickets_refused_total"), 4);
    assert_eq!(rig.tunnels("a"), Some((1, 0)));
    drop(good);
}
