//! What a fake says on the wire about subscriptions.

use std::time::Duration;

use bowline_rt::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A connection that is spoken to by hand, in RESP2 unless it says otherwise.
struct Raw(DuplexStream);

impl Raw {
    async fn new(fake: &Fake) -> Self {
        let address = Address::Host(ADDRESS.to_owned());
        Self(fake.dial(&address, Duration::MAX).await.unwrap())
    }

    /// Sends a line and expects exactly this answer, in which a space stands for the end of a line.
    async fn check(&mut self, line: &str, expected: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.expect(expected).await;
    }

    async fn expect(&mut self, expected: &str) {
        let mut answer = vec![0; expected.replace(' ', "\r\n").len()];
        let read = timeout(Duration::from_secs(60), self.0.read_exact(&mut answer)).await;
        read.expect("it answers").unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected.replace(' ', "\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_reach_who_has_subscribed() {
    let fake = Fake::new();
    let mut raw = Raw::new(&fake).await;
    raw.check("SUBSCRIBE a b", "*3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 ").await;
    raw.check("PSUBSCRIBE a*", "*3 $10 psubscribe $2 a* :3 ").await;
    raw.check("SSUBSCRIBE a", "*3 $10 ssubscribe $1 a :1 ").await;
    assert_eq!((fake.publish("a", "x"), fake.publish("ab", "y"), fake.publish("c", "z")), (2, 1, 0));
    raw.expect("*3 $7 message $1 a $1 x *4 $8 pmessage $2 a* $1 a $1 x *4 $8 pmessage $2 a* $2 ab $1 y ")
        .await;
    raw.check("PING", "*2 $4 pong $0  ").await;
    const REFUSAL: &[u8] = b"-ERR Can't execute 'get':";
    raw.0.write_all(b"GET k\r\n").await.unwrap();
    let mut answer = [0; REFUSAL.len()];
    raw.0.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *REFUSAL);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_subscription_comes_behind_its_messages() {
    let fake = Fake::new();
    let mut raw = Raw::new(&fake).await;
    raw.check("SUBSCRIBE a", "*3 $9 subscribe $1 a :1 ").await;
    fake.stall();
    raw.0.write_all(b"UNSUBSCRIBE\r\nUNSUBSCRIBE\r\nPUBLISH a z\r\n").await.unwrap();
    fake.publish("a", "x");
    fake.resume();
    raw.expect("*3 $7 message $1 a $1 x *3 $11 unsubscribe $1 a :0 *3 $11 unsubscribe $-1 :0 :0 ").await;
    // A connection that is gone has no subscriptions.
    raw.check("SUBSCRIBE a", "*3 $9 subscribe $1 a :1 ").await;
    fake.cut();
    assert_eq!(raw.0.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(fake.publish("a", "x"), 0);
}

#[tokio::test(start_paused = true)]
async fn in_resp3_a_message_is_a_push_between_answers() {
    let fake = Fake::new();
    let mut raw = Raw::new(&fake).await;
    raw.0.write_all(b"HELLO 3\r\nSUBSCRIBE a\r\nPUBLISH a x\r\nSPUBLISH a y\r\nECHO end\r\n").await.unwrap();
    let mut answers = Vec::new();
    let read = async {
        while !answers.ends_with(b"$3\r\nend\r\n") {
            raw.0.read_buf(&mut answers).await.unwrap();
        }
    };
    timeout(Duration::from_secs(60), read).await.expect("it answers");
    let text = String::from_utf8(answers).unwrap();
    let confirmed =
        text.find(">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n:1\r\n").expect("confirmed, then published");
    let message =
        text.find(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n:0\r\n").expect("the message, in its place");
    assert!(confirmed < message, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_told() {
    let fake = Fake::new();
    let mut raw = Raw::new(&fake).await;
    fake.fail_next("NOPERM no");
    raw.0.write_all(b"SUBSCRIBE a\r\n").await.unwrap();
    let mut answer = vec![0; 12];
    raw.0.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer[..], b"-NOPERM no\r\n");
    assert_eq!(fake.publish("a", "x"), 0);
}
