//! The proxy itself: what it does wrong is what it was told to.

use super::*;
use crate::limits::SOON;

/// A server that sends back what it gets, a proxy before it, and a connection through it.
async fn echo(seed: u64) -> (Proxy, TcpStream) {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    task::spawn("echo", async move {
        while let Ok((stream, _)) = listener.accept().await {
            task::spawn("echo", async move {
                let (mut from, mut to) = stream.into_split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    let proxy = Proxy::start(address, seed).await.unwrap();
    let client = net::connect(proxy.address(), SOON).await.unwrap();
    (proxy, client)
}

async fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    time::timeout(SOON, client.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// Nothing comes for a while.
async fn is_silent(client: &mut TcpStream) -> bool {
    time::timeout(Duration::from_millis(50), client.read_u8()).await.is_err()
}

#[tokio::test]
async fn what_passes_is_what_was_sent_whatever_the_pieces() {
    let (proxy, mut client) = echo(1).await;
    proxy.inject(Direction::Requests, Fault::Fragment(7));
    proxy.inject(Direction::Replies, Fault::Fragment(1));
    let sent: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    client.write_all(&sent).await.unwrap();
    assert_eq!(read(&mut client, sent.len()).await, sent);
    proxy.inject(Direction::Replies, Fault::Delay(Duration::from_millis(30)));
    let started = time::now();
    client.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut client, 1).await, b"x");
    assert!(started.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn what_is_withheld_comes_late_even_to_a_server_whose_client_has_gone() {
    let (proxy, mut client) = echo(2).await;
    proxy.inject(Direction::Replies, Fault::Stall);
    client.write_all(b"0123456789").await.unwrap();
    assert!(time::timeout(Duration::from_millis(50), client.read_exact(&mut [0; 10])).await.is_err());
    drop(client);
    proxy.heal();

    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), 2).await.unwrap();
    proxy.inject(Direction::Requests, Fault::Stall);
    let mut client = net::connect(proxy.address(), SOON).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"0123456789").await.unwrap();
    drop(client);
    let mut late = Vec::new();
    assert!(
        time::timeout(Duration::from_millis(50), server.read_to_end(&mut late)).await.is_err()
            && late.len() < 10
    );
    proxy.heal();
    time::timeout(SOON, server.read_to_end(&mut late)).await.unwrap().unwrap();
    assert_eq!(late, b"0123456789");
}

#[tokio::test]
async fn half_open_is_silent_for_good_and_new_connections_work() {
    let (proxy, mut client) = echo(3).await;
    client.write_all(b"a").await.unwrap();
    assert_eq!(read(&mut client, 1).await, b"a");
    proxy.inject(Direction::Replies, Fault::Hold);
    client.write_all(b"b").await.unwrap();
    assert!(is_silent(&mut client).await);
    proxy.heal();
    client.write_all(b"c").await.unwrap();
    assert!(is_silent(&mut client).await);
    let mut other = net::connect(proxy.address(), SOON).await.unwrap();
    other.write_all(b"d").await.unwrap();
    assert_eq!(read(&mut other, 1).await, b"d");
}

#[tokio::test]
async fn a_cut_ends_a_connection_at_a_byte_that_the_seed_draws() {
    let passed = async |seed, end| {
        let (proxy, mut client) = echo(seed).await;
        proxy.inject(Direction::Replies, Fault::Cut(1_000, end));
        client.write_all(&[0; 2_000]).await.unwrap();
        let mut bytes = Vec::new();
        let outcome = time::timeout(SOON, client.read_to_end(&mut bytes)).await.unwrap();
        assert_eq!((outcome.is_err(), proxy.cuts()), (end == End::Reset, 1));
        bytes.len()
    };
    let lengths = [passed(4, End::Fin).await, passed(4, End::Fin).await, passed(5, End::Fin).await];
    assert!(lengths[0] < 1_000 && lengths[0] == lengths[1] && lengths[0] != lengths[2], "{lengths:?}");
    passed(6, End::Reset).await;
}
