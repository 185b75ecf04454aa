//! One connection: bytes in, requests run in batches, replies out with one write a batch.
//!
//! Back-pressure: while replies are being written no further request is read, so a client that does not read is not
//! read from. It is cut off when it takes nothing for [`WRITE_STALL_MAX`], or when a batch of replies passes
//! [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX).

use std::rc::Rc;
use std::time::Duration;

use bowline_keyspace::{Reply, Transaction};
use bowline_resp::{ProtocolError, RequestDecoder, RequestLimits};
use bowline_rt::task::yield_now;
use bowline_rt::time::{now, sleep, timeout};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::client::{Client, Replies, Session};
use crate::dispatch::dispatch;
use crate::limits::{
    AUTHENTICATION_MAX, BATCH_REQUESTS_MAX, BATCH_TIME_MAX, BUFFER_KEPT_BYTES, CLOSE_GRACE,
    OUTPUT_BATCH_BYTES, READ_BYTES, WRITE_STALL_MAX,
};
use crate::output::Output;
use crate::server::{Counters, Server, now_ms};

/// Why a connection ended without the client's asking.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("protocol error")]
    Protocol(#[source] ProtocolError),
    #[error("replies passed the limit OUTPUT_BYTES_MAX")]
    OutputLimit,
    #[error("the client read nothing for WRITE_STALL_MAX")]
    WriteStall,
    #[error("idle for longer than allowed")]
    Idle,
    #[error("not authenticated within AUTHENTICATION_MAX")]
    Stranger,
    #[error("killed while it read nothing")]
    Killed,
    #[error("it speaks HTTP")]
    Http,
    #[error("cannot read or write")]
    Io(#[from] std::io::Error),
}

/// What is to be done after a batch.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Read,
    /// More requests are in the buffer; the others come first.
    Yield,
    Close,
}

struct Connection<S> {
    server: Rc<Server>,
    stream: S,
    session: Session,
    decoder: RequestDecoder,
    input: BytesMut,
    output: Output,
}

/// Serves one client until it goes or is sent away.
pub(crate) async fn serve<S>(server: Rc<Server>, client: Rc<Client>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let authenticated = server.tunables.password.borrow().is_none();
    let session = Session {
        client: client.clone(),
        stranger_since: (!authenticated).then(now),
        transaction: Transaction::default(),
        replies: Replies::default(),
        closing: false,
        hang_up: false,
    };
    let limits = if authenticated { RequestLimits::default() } else { RequestLimits::UNAUTHENTICATED };
    let mut connection = Connection {
        server,
        stream,
        session,
        decoder: RequestDecoder::new(limits),
        input: BytesMut::new(),
        output: Output::new(),
    };
    let outcome = connection.run().await;
    connection.session.transaction.discard(&mut connection.server.keyspace.borrow_mut());
    match outcome {
        Ok(()) => {}
        // The log says it already, and not too often.
        Err(Cut::Http) => {}
        Err(Cut::Io(error)) => {
            tracing::debug!(client = client.id, peer = %client.peer, %error, "connection lost")
        }
        Err(cut) => {
            let cause = std::error::Error::source(&cut).map(ToString::to_string).unwrap_or_default();
            tracing::info!(client = client.id, peer = %client.peer, reason = %cut, cause, "client cut off");
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self) -> Result<(), Cut> {
        loop {
            let next = self.batch().await?;
            self.flush().await?;
            match next {
                Next::Close => {
                    // A peer that is gone already is told nothing.
                    let _ = timeout(CLOSE_GRACE, self.stream.shutdown()).await;
                    return Ok(());
                }
                Next::Yield => yield_now().await,
                Next::Read => {
                    if !self.read().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Reads more; false at the end of the stream.
    async fn read(&mut self) -> Result<bool, Cut> {
        if self.input.is_empty() && self.input.capacity() > BUFFER_KEPT_BYTES {
            self.input = BytesMut::new();
        }
        self.input.reserve(READ_BYTES);
        let client = self.session.client.clone();
        let idle = self.server.tunables.idle_timeout.get();
        // The time to authenticate is counted from the start: bytes that lead to nothing do not prolong it.
        let stranger = self
            .session
            .stranger_since
            .map(|since| AUTHENTICATION_MAX.saturating_sub(now().saturating_duration_since(since)));
        // Asked here as well, because somebody who sends without a pause would win the race below each time.
        if stranger.is_some_and(|left| left.is_zero()) {
            return Err(Cut::Stranger);
        }
        let count = tokio::select! {
            biased;
            () = client.killed() => return Ok(false),
            count = self.stream.read_buf(&mut self.input) => count?,
            () = sleep_or_never(stranger) => return Err(Cut::Stranger),
            () = sleep_or_never(idle) => return Err(Cut::Idle),
        };
        Counters::add(&self.server.counters.input_bytes, count);
        client.input_bytes.set(self.input.len());
        Ok(count > 0)
    }

    /// Runs the requests that are complete.
    async fn batch(&mut self) -> Result<Next, Cut> {
        let now_ms = now_ms();
        let mut at = now();
        let turn_ends = at + BATCH_TIME_MAX;
        self.session.client.active_at.set(at);
        for _ in 0..BATCH_REQUESTS_MAX {
            let request = match self.decoder.decode(&mut self.input) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(Next::Read),
                Err(error) => {
                    self.output.error(&format!("ERR Protocol error: {error}"));
                    self.flush().await?;
                    return Err(Cut::Protocol(error));
                }
            };
            let was_stranger = self.session.stranger_since.is_some();
            at = dispatch(&self.server, &mut self.session, &request, now_ms, at, &mut self.output);
            let is_stranger = self.session.stranger_since.is_some();
            if is_stranger != was_stranger {
                self.decoder.set_limits(match is_stranger {
                    true => RequestLimits::UNAUTHENTICATED,
                    false => RequestLimits::default(),
                });
            }
            if self.session.hang_up {
                return Err(Cut::Http);
            }
            if self.output.overflowed() {
                return Err(Cut::OutputLimit);
            }
            if self.session.closing || self.session.client.is_killed() {
                return Ok(Next::Close);
            }
            // A batch has a time as well: hundreds of slow requests of one client must not hold up the others.
            if self.output.buffer.len() >= OUTPUT_BATCH_BYTES || at >= turn_ends {
                break;
            }
        }
        Ok(Next::Yield)
    }

    /// Writes all replies.
    async fn flush(&mut self) -> Result<(), Cut> {
        if self.output.buffer.is_empty() {
            return Ok(());
        }
        Counters::add(&self.server.counters.output_bytes, self.output.buffer.len());
        while self.output.buffer.has_remaining() {
            self.session.client.output_bytes.set(self.output.buffer.len());
            let client = self.session.client.clone();
            let killed = async {
                client.killed().await;
                sleep(CLOSE_GRACE).await;
            };
            let written = tokio::select! {
                biased;
                written = self.stream.write(&self.output.buffer) => written?,
                () = killed => return Err(Cut::Killed),
                () = sleep(WRITE_STALL_MAX) => return Err(Cut::WriteStall),
            };
            if written == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
            }
            self.output.buffer.advance(written);
        }
        self.session.client.output_bytes.set(0);
        timeout(WRITE_STALL_MAX, self.stream.flush()).await.map_err(|_| Cut::WriteStall)??;
        // Taking the start of a buffer off does not free it: an empty one starts over, a large one goes.
        if self.output.buffer.capacity() > BUFFER_KEPT_BYTES * 4 {
            self.output.buffer = BytesMut::new();
        }
        Ok(())
    }
}

async fn sleep_or_never(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::settings::Settings;

    fn server(settings: Settings) -> Rc<Server> {
        let address = "127.0.0.1:1".parse().expect("an address");
        Server::new(settings, address, CancellationToken::new()).expect("a server")
    }

    fn client(server: &Server) -> Rc<Client> {
        server.clients.add("127.0.0.1:2".parse().expect("an address"), server.address, now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_off_and_costs_little() {
        let server = server(Settings::default());
        let (mut peer, stream) = duplex(1_024);
        server.keyspace.borrow_mut().set(
            0,
            b"large",
            bowline_keyspace::value::Value::String(bowline_keyspace::value::StringValue::new(
                &[b'x'; 100_000],
            )),
            bowline_keyspace::keyspace::Expiry::Clear,
            0,
        );
        let client = client(&server);
        let started = now();
        let greedy = async {
            // It asks without end and never reads: the store stops reading, so at last writing stalls, too.
            while peer.write_all(b"GET large\r\n").await.is_ok() {}
        };
        tokio::join!(serve(server.clone(), client.clone(), stream), greedy);
        assert_eq!(now().duration_since(started), WRITE_STALL_MAX);
        assert!(client.output_bytes.get() < 2 * OUTPUT_BATCH_BYTES, "{} bytes", client.output_bytes.get());
    }

    #[tokio::test]
    async fn housekeeping_says_when_there_is_more_to_expire() {
        use bowline_keyspace::keyspace::Expiry;
        use bowline_keyspace::value::{StringValue, Value};
        let server = server(Settings::default());
        assert!(!server.tidy_up());
        for key in 0..100_000_u32 {
            let value = Value::String(StringValue::Integer(1));
            server.keyspace.borrow_mut().set(0, &key.to_be_bytes(), value, Expiry::At(1), 0);
        }
        assert!(server.tidy_up(), "one round does not suffice");
        while server.tidy_up() {}
        assert_eq!(server.keyspace.borrow().sizes(0), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_can_be_killed() {
        let server = server(Settings::default());
        let (mut peer, stream) = duplex(16);
        peer.write_all(b"INFO\r\n").await.expect("it fits");
        let killed = client(&server);
        let started = now();
        tokio::join!(serve(server.clone(), killed.clone(), stream), async { killed.kill() });
        assert_eq!(now().duration_since(started), CLOSE_GRACE);
    }

    #[tokio::test]
    async fn slow_requests_of_one_client_do_not_hold_up_the_others() {
        let server = server(Settings { script_timeout: Duration::from_millis(50), ..Settings::default() });
        let (mut greedy, stream) = duplex(64 * 1_024);
        greedy.write_all(&b"EVAL \"while true do end\" 0\r\n".repeat(20)).await.expect("it fits");
        let (mut other, second) = duplex(1_024);
        other.write_all(b"PING\r\n").await.expect("it fits");
        let greedy_client = client(&server);
        let started = now();
        let answer = async {
            let mut answer = [0; 7];
            other.read_exact(&mut answer).await.expect("an answer");
            greedy_client.kill();
            drop((greedy, other));
            now().duration_since(started)
        };
        let ((), (), waited) = tokio::join!(
            serve(server.clone(), greedy_client.clone(), stream),
            serve(server.clone(), client(&server), second),
            answer,
        );
        // One script, not all twenty.
        assert!(waited < Duration::from_millis(500), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_client_and_an_idle_one_end() {
        let server = server(Settings { idle_timeout: Some(Duration::from_secs(30)), ..Settings::default() });
        let (_peer, stream) = duplex(1_024);
        let started = now();
        serve(server.clone(), client(&server), stream).await;
        assert_eq!(now().duration_since(started), Duration::from_secs(30));

        server.tunables.idle_timeout.set(None);
        *server.tunables.password.borrow_mut() = Some(crate::settings::Password::new(b"secret"));
        let (_peer, stream) = duplex(1_024);
        serve(server.clone(), client(&server), stream).await;
        assert_eq!(now().duration_since(started), Duration::from_secs(30) + AUTHENTICATION_MAX);

        // Bytes that lead to nothing win no time, with pauses or without.
        for pause in [Duration::from_secs(7), Duration::ZERO] {
            let started = now();
            let (peer, stream) = duplex(1_024);
            let (mut answers, mut requests) = tokio::io::split(peer);
            let drip = async {
                while requests.write_all(b"PING\r\n").await.is_ok() {
                    sleep(pause.max(Duration::from_millis(1))).await;
                }
            };
            let drain = async {
                let mut buffer = [0; 4_096];
                while answers.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            };
            tokio::join!(serve(server.clone(), client(&server), stream), drip, drain);
            assert!(now().duration_since(started) < AUTHENTICATION_MAX + Duration::from_secs(8));
        }

        let started = now();
        let (_peer, stream) = duplex(1_024);
        let killed = client(&server);
        let kill = async { killed.kill() };
        tokio::join!(serve(server.clone(), killed.clone(), stream), kill);
        assert_eq!(now(), started);
    }
}
