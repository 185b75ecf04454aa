//! Relays between in-memory pipes and scripted streams, with time paused.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// A relay between two in-memory pipes, seen from its two far ends.
struct Bench {
    a: DuplexStream,
    b: DuplexStream,
    ended: tokio::task::JoinHandle<Ended>,
}

fn bench(pipe_bytes: usize) -> Bench {
    let (a, mut near_a) = duplex(pipe_bytes);
    let (b, mut near_b) = duplex(pipe_bytes);
    let ended = crate::task::spawn("relay", async move { relay(&mut near_a, &mut near_b).await });
    Bench { a, b, ended }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).expect("below 251")).collect()
}

async fn read_all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("a pipe does not fail");
    bytes
}

/// Sends `bytes` and an end, and meanwhile takes all that comes.
async fn exchange(stream: DuplexStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = Vec::new();
    let send = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    tokio::try_join!(send, reader.read_to_end(&mut received)).expect("a pipe does not fail");
    received
}

#[tokio::test(start_paused = true)]
async fn bytes_arrive_unaltered_both_ways_and_are_counted() {
    for (pipe_bytes, up, down) in
        [(1, 5, 3), (7, 10_000, 0), (4096, 0, 300_001), (1 << 20, 3 * BUFFER_BYTES, 17 * BUFFER_BYTES + 1)]
    {
        let Bench { a, b, ended } = bench(pipe_bytes);
        let (up_bytes, down_bytes) = (pattern(up), pattern(down));
        let (at_a, at_b) = tokio::join!(exchange(a, &up_bytes), exchange(b, &down_bytes));
        assert!(at_b == up_bytes && at_a == down_bytes, "altered with pipes of {pipe_bytes} bytes");
        let ended = ended.await.expect("no panic");
        assert_eq!((ended.a_to_b, ended.b_to_a), (up as u64, down as u64));
        assert!(ended.result.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_way_leaves_the_other_open() {
    for a_first in [true, false] {
        let Bench { a, b, ended } = bench(64);
        let (mut first, mut second) = if a_first { (a, b) } else { (b, a) };
        first.write_all(b"question").await.expect("open");
        first.shutdown().await.expect("open");
        assert_eq!(read_all(&mut second).await, b"question");
        assert!(!ended.is_finished());
        second.write_all(b"answer").await.expect("still open");
        second.shutdown().await.expect("still open");
        assert_eq!(read_all(&mut first).await, b"answer");
        assert!(ended.await.expect("no panic").result.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_stops_the_sender_after_one_buffer() {
    let pipe_bytes = 1024;
    let Bench { mut a, mut b, ended } = bench(pipe_bytes);
    let mut taken = 0;
    // Time is paused: the time-out passes only when nothing can move any more.
    while let Ok(written) = crate::time::timeout(Duration::from_secs(1), a.write(&[7; 512])).await {
        taken += written.expect("open");
    }
    assert!(taken <= 2 * pipe_bytes + BUFFER_BYTES, "{taken} bytes were taken");
    a.shutdown().await.expect("open");
    let mut rest = vec![0; taken];
    b.read_exact(&mut rest).await.expect("everything taken arrives");
    b.shutdown().await.expect("open");
    assert_eq!(ended.await.expect("no panic").a_to_b, taken as u64);
}

/// A stream that answers as told: what it reads, then how reading and writing go on.
struct Scripted {
    input: &'static [u8],
    then: Then,
    written: Vec<u8>,
    write: Result<(), io::ErrorKind>,
    shutdown: Result<(), io::ErrorKind>,
}

#[derive(Clone, Copy)]
enum Then {
    End,
    Fail,
    Silence,
}

impl Scripted {
    fn new(input: &'static [u8], then: Then) -> Self {
        Self { input, then, written: Vec::new(), write: Ok(()), shutdown: Ok(()) }
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.input.is_empty() {
            space.put_slice(self.input);
            self.input = &[];
            return Poll::Ready(Ok(()));
        }
        match self.then {
            Then::End => Poll::Ready(Ok(())),
            Then::Fail => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Then::Silence => Poll::Pending,
        }
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write?;
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown.map_err(Into::into))
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_error_ends_the_relay_and_names_the_leg() {
    let mut failing = Scripted::new(b"part", Then::Fail);
    let mut silent = Scripted::new(b"", Then::Silence);
    let ended = relay(&mut failing, &mut silent).await;
    assert_eq!(silent.written, b"part");
    assert!(matches!(ended.result, Err(RelayError::Read { leg: Leg::A, .. })));
    let mut failing = Scripted::new(b"", Then::Fail);
    let ended = relay(&mut silent, &mut failing).await;
    assert!(matches!(ended.result, Err(RelayError::Read { leg: Leg::B, .. })));
}

#[tokio::test(start_paused = true)]
async fn after_a_write_error_the_answer_still_gets_through() {
    let mut client = Scripted::new(b"a large upload", Then::Silence);
    let mut server = Scripted::new(b"413", Then::Fail);
    server.write = Err(io::ErrorKind::BrokenPipe);
    let ended = relay(&mut client, &mut server).await;
    assert_eq!(client.written, b"413");
    assert!(matches!(ended.result, Err(RelayError::Write { leg: Leg::B, .. })));
    assert_eq!((ended.a_to_b, ended.b_to_a), (0, 3));
    assert!(ended.is_cut(Leg::A) && ended.is_cut(Leg::B));
}

#[tokio::test(start_paused = true)]
async fn a_way_that_ended_in_order_is_not_cut_by_the_failure_of_the_other() {
    let mut client = Scripted::new(b"a large upload", Then::Silence);
    let mut server = Scripted::new(b"413", Then::End);
    server.write = Err(io::ErrorKind::BrokenPipe);
    let ended = relay(&mut client, &mut server).await;
    assert!(ended.result.is_err());
    assert!(!ended.is_cut(Leg::A) && ended.is_cut(Leg::B));
}

#[tokio::test(start_paused = true)]
async fn after_a_write_error_a_silent_leg_is_not_waited_for_long() {
    let begun = crate::time::now();
    let mut client = Scripted::new(b"upload", Then::Silence);
    let mut server = Scripted::new(b"", Then::Silence);
    server.write = Err(io::ErrorKind::BrokenPipe);
    assert!(relay(&mut client, &mut server).await.result.is_err());
    let waited = crate::time::now() - begun;
    assert!((DRAIN_LIMIT..DRAIN_LIMIT * 2).contains(&waited), "waited {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_passed_on_to_a_peer_that_is_gone_is_no_failure() {
    let mut first = Scripted::new(b"x", Then::End);
    let mut second = Scripted::new(b"y", Then::End);
    second.shutdown = Err(io::ErrorKind::NotConnected);
    let ended = relay(&mut first, &mut second).await;
    assert!(ended.result.is_ok());
    assert_eq!((second.written.as_slice(), first.written.as_slice()), (b"x".as_slice(), b"y".as_slice()));
}

#[tokio::test]
async fn an_idle_way_holds_no_buffer() {
    let (mut near, _far) = duplex(16);
    let (mut other, _other_far) = duplex(16);
    let mut way = Way::new(Leg::A, Leg::B);
    let polled =
        poll_fn(|context| Poll::Ready(way.poll(context, &mut near, &mut other, &mut |_, _| {}))).await;
    assert!(polled.is_pending());
    assert!(way.buffer.is_none());
}
