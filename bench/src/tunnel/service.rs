//! What lies behind the tunnels: a source and sink of bytes, and a small HTTP responder.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bowline_rt::net::{Listener, TcpStream};
use bowline_rt::task::{JoinHandle, spawn};
use bowline_torture::ports::free_address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::{BODY_BYTES, CHUNK_BYTES};

/// First byte of a bulk connection whose service sends for as long as it lasts.
pub const DOWN: u8 = b'D';
/// First byte of a bulk connection whose service reads for as long as it lasts.
pub const UP: u8 = b'U';

/// Running services.
#[derive(Debug)]
pub struct Services {
    /// The source and sink.
    pub bulk: SocketAddr,
    /// The responder.
    pub http: SocketAddr,
    /// Bytes that the sink has swallowed.
    pub swallowed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Services {
    /// Starts both.
    ///
    /// # Errors
    /// A port cannot be listened on.
    pub async fn start() -> Result<Self> {
        let swallowed = Arc::new(AtomicU64::new(0));
        let bulk_listener = Listener::bind(free_address()).await?;
        let http_listener = Listener::bind(free_address()).await?;
        let (bulk, http) = (bulk_listener.local_addr()?, http_listener.local_addr()?);
        let counter = swallowed.clone();
        let serve_bulk = accept(bulk_listener, move |stream| {
            let counter = counter.clone();
            async move { drop(serve_bulk(stream, &counter).await) }
        });
        let serve_http = accept(http_listener, |stream| async move { drop(serve_http(stream).await) });
        let tasks = vec![spawn("bulk service", serve_bulk), spawn("http service", serve_http)];
        Ok(Self { bulk, http, swallowed, tasks })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn accept<F>(listener: Listener, serve: impl Fn(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    // An accept that fails ends the benchmark: there is nobody to serve.
    while let Ok((stream, _)) = listener.accept().await {
        spawn("connection", serve(stream));
    }
}

/// Ends with the connection.
async fn serve_bulk(mut stream: TcpStream, swallowed: &AtomicU64) -> io::Result<()> {
    let mut chunk = vec![0x5a; CHUNK_BYTES];
    match stream.read_u8().await? {
        DOWN => loop {
            stream.write_all(&chunk).await?;
        },
        _ => loop {
            match stream.read(&mut chunk).await? {
                0 => return Ok(()),
                count => swallowed.fetch_add(count as u64, Ordering::Relaxed),
            };
        },
    }
}

/// Answers every request, whatever it asks for, with the same small body.
async fn serve_http(mut stream: TcpStream) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + BODY_BYTES, b'x');
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        // The load never sends a request before it has the last answer.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            stream.write_all(&answer).await?;
            filled = 0;
        }
    }
}
