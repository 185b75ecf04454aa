//! Standard input and output as one end of a stream, as `ssh -o ProxyCommand` and pipes use it.
//!
//! - What the service sent is written out at once, so that nothing of it is lost when the stream breaks off.
//! - **The end of the service is passed on**: standard output is closed, so that whoever reads it sees the end while this
//!   process still runs.
//! - **The end of the input is passed on**, and the service is listened to until it ends.
//! - After the end of the service more input may still matter to it (a half-closed connection), so input that is there is
//!   sent, and if the service takes it, so is all that follows. Input that is silent is not waited for: most services have
//!   closed both ways, which cannot be told from here.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bowline_rt::relay::{BUFFER_BYTES, DRAIN_LIMIT};
use bowline_rt::time::{sleep, timeout};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Stdout};
use tokio_util::sync::CancellationToken;

use crate::limits::INPUT_SILENCE_MAX;

/// Copies `input` to the service at the other end of `stream`, and what it sends to `output`, until nothing more can
/// matter.
///
/// # Errors
/// One of them broke off. What had been read from the service before has been written.
pub async fn join<S, I, O>(stream: S, input: I, output: O) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    let (from_service, to_service) = tokio::io::split(stream);
    let ended = CancellationToken::new();
    let mut received = pin!(receive(from_service, output, &ended));
    let mut sent = pin!(send(input, to_service, &ended));
    tokio::select! {
        biased;
        result = &mut received => {
            result?;
            sent.await
        }
        result = &mut sent => match result {
            Ok(()) => received.await,
            Err(error) => {
                // A service that takes no more may have said why before.
                drop(timeout(DRAIN_LIMIT, received).await);
                Err(error)
            }
        }
    }
}

async fn receive(
    mut service: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    ended: &CancellationToken,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = service.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        output.write_all(&buffer[..count]).await?;
        output.flush().await?;
    }
    output.shutdown().await?;
    ended.cancel();
    Ok(())
}

async fn send(
    mut input: impl AsyncRead + Unpin,
    mut service: impl AsyncWrite + Unpin,
    ended: &CancellationToken,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut is_half_closed = false;
    loop {
        let count = tokio::select! {
            biased;
            read = input.read(&mut buffer) => read?,
            () = silence(ended), if !is_half_closed => 0,
        };
        if count == 0 {
            break;
        }
        let had_ended = ended.is_cancelled();
        service.write_all(&buffer[..count]).await?;
        service.flush().await?;
        is_half_closed = had_ended;
    }
    match service.shutdown().await {
        // A service that has closed both ways cannot be told that this one ends too.
        Err(_) if ended.is_cancelled() => Ok(()),
        told => told,
    }
}

/// Ends when the service has ended and nothing came for a while.
async fn silence(ended: &CancellationToken) {
    ended.cancelled().await;
    sleep(INPUT_SILENCE_MAX).await;
}

/// Standard output, which a shutdown closes.
pub struct Output(Stdout);

impl Output {
    /// The standard output of this process. Whatever is written to it after a shutdown is lost.
    pub fn new() -> Self {
        Self(tokio::io::stdout())
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_flush(context))?;
        Poll::Ready(close())
    }
}

/// Puts the null device in the place of standard output. Without anything there, the next file that is opened would
/// become standard output.
fn close() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex, empty, sink};

    use super::*;

    /// More than any of the pipes of these tests holds.
    const MUCH: usize = 3 * BUFFER_BYTES;

    async fn read_all(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await.expect("no error");
        bytes
    }

    /// The gateway's side of a stream that sends `text` and ends this way.
    async fn says(text: &[u8]) -> (DuplexStream, DuplexStream) {
        let (stream, mut service) = duplex(MUCH);
        service.write_all(text).await.expect("room");
        service.shutdown().await.expect("ended");
        (stream, service)
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_service_is_passed_on_though_the_input_stays_open() {
        let (stream, service) = says(b"hello").await;
        let (input, _open) = duplex(1);
        let (output, reader) = duplex(MUCH);
        let started = bowline_rt::time::now();
        let seen = async {
            let seen = read_all(reader).await;
            (seen, bowline_rt::time::now() - started)
        };
        let (joined, (seen, seen_after)) = tokio::join!(join(stream, input, output), seen);
        joined.expect("it ended well");
        assert_eq!(seen, b"hello");
        assert!(seen_after < INPUT_SILENCE_MAX, "the end is not held back");
        assert_eq!(read_all(service).await, b"", "the service sees an end as well");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_has_said_all_still_gets_what_is_there() {
        let (stream, service) = says(b"").await;
        let much = vec![7; MUCH * 2];
        let (joined, seen) = tokio::join!(join(stream, much.as_slice(), sink()), read_all(service));
        joined.expect("it ended well");
        assert!(seen == much, "{} bytes of {}", seen.len(), much.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_takes_more_after_its_end_gets_all_of_it() {
        let (stream, service) = says(b"").await;
        let (input, mut writer) = duplex(MUCH);
        let write = async {
            writer.write_all(b"one ").await.expect("room");
            sleep(INPUT_SILENCE_MAX * 10).await;
            writer.write_all(b"two").await.expect("room");
            drop(writer);
        };
        let (joined, (), seen) = tokio::join!(join(stream, input, sink()), write, read_all(service));
        joined.expect("it ended well");
        assert_eq!(seen, b"one two");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_input_is_passed_on_and_the_service_answers() {
        let (stream, mut service) = duplex(MUCH);
        let (output, reader) = duplex(MUCH);
        let serve = async {
            let mut asked = Vec::new();
            service.read_to_end(&mut asked).await.expect("an end");
            service.write_all(&asked).await.expect("room");
            service.shutdown().await.expect("ended");
        };
        let (joined, (), seen) = tokio::join!(join(stream, &b"echo"[..], output), serve, read_all(reader));
        joined.expect("it ended well");
        assert_eq!(seen, b"echo");
    }

    /// Gives its text, then breaks.
    struct Broken(&'static [u8]);

    impl AsyncRead for Broken {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            buffer.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_a_break_is_written() {
        let (output, reader) = duplex(MUCH);
        let (input, _open) = duplex(1);
        let stream = tokio::io::join(Broken(b"part"), sink());
        let (joined, seen) = tokio::join!(join(stream, input, output), read_all(reader));
        assert_eq!(joined.expect_err("it broke").kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(seen, b"part");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_takes_no_more_is_still_heard() {
        // Its reading side is gone, and its answer comes.
        let (closed, gone) = duplex(1);
        drop(gone);
        let stream = tokio::io::join(&b"too much"[..], closed);
        let (output, reader) = duplex(MUCH);
        let (joined, seen) = tokio::join!(join(stream, &b"much"[..], output), read_all(reader));
        assert_eq!(joined.expect_err("it took nothing").kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(seen, b"too much");
        let (stream, _service) = says(b"").await;
        join(stream, empty(), sink()).await.expect("nothing is lost");
    }
}
