//! Pipelines and transactions among other calls: cut and given up at every byte of their answers. A batch ends as a whole, takes
//! exactly as many answers as it owes, and an error among them is one of them.

use bowline_redis::{
    Answers, Batch, CallError, Client, Command, Frame, ServerError, Settings, Transaction, Unknown,
};
use bowline_rt::task::{self, JoinHandle};

use super::peer::{Connected, Peer, SOON};

/// The answers to what [`ask`] asks, one after the other.
const ANSWERS: [&str; 4] = [
    "$1\r\na\r\n",
    "$1\r\nb\r\n-ERR no\r\n*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
    "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-ERR no\r\n",
    "$1\r\ne\r\n",
];
/// Requests on the wire, `MULTI` and `EXEC` among them.
const REQUESTS: usize = 1 + 3 + 4 + 1;

type Outcome = Result<Answers, CallError>;

/// Nothing of it may run twice, so that nothing is sent again.
fn ask(client: &Client) -> [JoinHandle<Outcome>; 4] {
    let command = |word: &str| Command::new("EVAL").arg(word);
    let single = |word: &str| {
        let (client, command) = (client.clone(), command(word));
        task::spawn("single", async move { client.call(command).await.map(|frame| vec![Ok(frame)]) })
    };
    let batch = Batch::new().command(command("b")).command(command("no")).command(command("list"));
    let transaction = Transaction::new().command(Command::new("INCR").arg("c")).command(command("no"));
    let (pipelining, transacting) = (client.clone(), client.clone());
    [
        single("a"),
        task::spawn("batch", async move { pipelining.batch(batch).await }),
        task::spawn("transaction", async move { transacting.transaction(transaction).await }),
        single("e"),
    ]
}

fn expected() -> [Answers; 4] {
    let refused = || Err(ServerError { code: "ERR".to_owned(), message: "ERR no".to_owned() });
    let list = Frame::Array(vec![Frame::bulk("message"), Frame::bulk("x")]);
    [
        vec![Ok(Frame::bulk("a"))],
        vec![Ok(Frame::bulk("b")), refused(), Ok(list)],
        vec![Ok(Frame::Integer(1)), refused()],
        vec![Ok(Frame::bulk("e"))],
    ]
}

fn settings(settings: &mut Settings) {
    settings.call_deadline = SOON;
    settings.reconnect_pause_max = std::time::Duration::from_millis(5);
}

/// A peer that has got all requests, and those who asked.
async fn asked(peer: &mut Peer, client: &Client) -> (Connected, [JoinHandle<Outcome>; 4]) {
    let mut server = peer.accept().await;
    let callers = ask(client);
    server.take(REQUESTS).await;
    (server, callers)
}

/// ioredis#965, #800: of a pipeline or a transaction that was answered in part, nothing is sent again and nothing delivered.
#[tokio::test]
async fn ioredis_965_a_batch_cut_at_every_byte_of_its_answers_is_unknown_as_a_whole() {
    let whole = ANSWERS.concat();
    let (mut peer, client) = Peer::new(settings).await;
    for cut in 0..=whole.len() {
        let (mut server, callers) = asked(&mut peer, &client).await;
        server.raw(&whole.as_bytes()[..cut]).await;
        drop(server);
        let mut end = 0;
        for (number, caller) in callers.into_iter().enumerate() {
            end += ANSWERS[number].len();
            match caller.await.unwrap() {
                Ok(answers) if cut >= end => assert_eq!(answers, expected()[number], "cut at {cut}"),
                Err(CallError::Unknown(Unknown::Lost(_))) if cut < end => {}
                other => panic!("{number}, cut at {cut}: {other:?}"),
            }
        }
    }
}

/// redis-py#2665, radix#287, redis-rs#698: whoever gives a batch up leaves exactly as many answers to be discarded as it owes.
#[tokio::test]
async fn radix_287_a_batch_given_up_at_every_byte_of_its_answers_shifts_nobody() {
    let whole = ANSWERS.concat();
    let (mut peer, client) = Peer::new(settings).await;
    let mut server = peer.accept().await;
    for given_up in 0..=whole.len() {
        let callers = ask(&client);
        server.take(REQUESTS).await;
        server.raw(&whole.as_bytes()[..given_up]).await;
        callers.iter().for_each(JoinHandle::abort);
        let next = ask(&client);
        server.take(REQUESTS).await;
        server.raw(&whole.as_bytes()[given_up..]).await;
        server.raw(whole.as_bytes()).await;
        for (next, expected) in next.into_iter().zip(expected()) {
            assert_eq!(next.await.unwrap(), Ok(expected), "given up at {given_up}");
        }
    }
    assert_eq!(peer.accepted, 1);
}

/// A connection that is dropped in mid-call knows that it does not know, and never answers the next call with what was left.
#[tokio::test]
async fn jedis_186_a_dedicated_connection_given_up_in_mid_call_answers_nobody() {
    let (mut peer, client) = Peer::new(settings).await;
    peer.accept().await.serve();
    let (dedicated, mut server) = tokio::join!(client.dedicated(), async {
        let mut server = peer.accept_silently().await;
        server.introduce().await;
        server
    });
    let mut own = dedicated.unwrap();
    let call = own.call(Command::new("BLPOP").args(["k", "0"]));
    let given_up = bowline_rt::time::timeout(std::time::Duration::from_millis(20), call).await;
    assert!(given_up.is_err());
    server.take(1).await;
    server.raw(b"*2\r\n$1\r\nk\r\n$3\r\nold\r\n").await;
    let next = own.call(Command::new("EVAL").arg("next")).await;
    assert!(matches!(next, Err(CallError::NotSent(_))), "{next:?}");
}
