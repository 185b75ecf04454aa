//! Where an idle tunnel waits.
//!
//! Two look at it: the watcher, who waits for it to die, and whoever takes it for a stream. The taker must not wait
//! for the watcher's task to run, so the stream lies in a mutex that the watcher locks for each poll only.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bowline_identity::tls;
use tokio::io::{AsyncRead, ReadBuf};

use crate::session::lock;

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Somebody took the stream.
    Taken,
    /// The stream ended, failed, or the agent spoke out of turn; it is closed.
    Dead,
}

/// See the module's documentation.
pub struct Slot(Mutex<Held>);

struct Held {
    /// `None` once taken or dead.
    stream: Option<tls::Stream>,
    watcher: Option<Waker>,
}

impl Slot {
    pub fn new(stream: tls::Stream) -> Self {
        Self(Mutex::new(Held { stream: Some(stream), watcher: None }))
    }

    /// Takes the stream, if it is still there and alive, and ends the watch.
    pub fn take(&self) -> Option<tls::Stream> {
        let mut held = lock(&self.0);
        let stream = held.stream.take();
        // The next owner's reads replace the waker in the socket, so the watcher would never hear of it.
        let watcher = held.watcher.take();
        drop(held);
        if let Some(watcher) = watcher {
            watcher.wake();
        }
        stream
    }

    /// Waits until the stream is taken or dead; a dead one is closed.
    pub async fn watch(&self) -> Watched {
        poll_fn(|context| self.poll_watch(context)).await
    }

    fn poll_watch(&self, context: &mut Context<'_>) -> Poll<Watched> {
        let mut held = lock(&self.0);
        let Some(stream) = &mut held.stream else { return Poll::Ready(Watched::Taken) };
        let mut byte = [0; 1];
        match Pin::new(stream).poll_read(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => {
                held.watcher = Some(context.waker().clone());
                Poll::Pending
            }
            // An agent has nothing to say before the gateway does: bytes are as bad as the end.
            Poll::Ready(_) => {
                held.stream = None;
                Poll::Ready(Watched::Dead)
            }
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bowline_rt::net::{Listener, TcpStream, connect};
    use bowline_rt::task::{JoinHandle, spawn};
    use bowline_rt::time::timeout;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    /// A slot that is being watched, and the other end of its stream.
    async fn watched() -> (Arc<Slot>, JoinHandle<Watched>, TcpStream) {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = listener.local_addr().expect("it listens");
        let (near, far) = tokio::join!(connect(address, BOUND), listener.accept());
        let slot = Arc::new(Slot::new(tls::Stream::Plain(far.expect("a connection").0)));
        let watch = spawn("watch", {
            let slot = slot.clone();
            async move { slot.watch().await }
        });
        // The watcher has been polled once when it holds its waker.
        while lock(&slot.0).watcher.is_none() {
            bowline_rt::task::yield_now().await;
        }
        (slot, watch, near.expect("a connection"))
    }

    #[tokio::test]
    async fn taking_the_stream_ends_the_watch() {
        let (slot, watch, _peer) = watched().await;
        assert!(slot.take().is_some());
        assert!(slot.take().is_none());
        let ended = timeout(BOUND, watch).await.expect("in time").expect("no panic");
        assert_eq!(ended, Watched::Taken);
    }

    #[tokio::test]
    async fn an_end_and_a_word_out_of_turn_are_both_the_death_of_an_idle_tunnel() {
        for talks in [false, true] {
            let (slot, watch, mut peer) = watched().await;
            if talks {
                peer.write_all(b"x").await.expect("open");
            } else {
                drop(peer);
            }
            let ended = timeout(BOUND, watch).await.expect("in time").expect("no panic");
            assert_eq!(ended, Watched::Dead);
            assert!(slot.take().is_none());
        }
    }
}
