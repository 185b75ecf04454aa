//! The load: streams that carry as much as they can, and HTTP connections that ask as fast as they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowline_rt::net::{self, TcpStream};
use bowline_rt::{task, time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::service::{DOWN, Services, UP};
use crate::limits::{BODY_BYTES, CHUNK_BYTES, READY_MAX, WARM_UP};

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the service to the client.
    Down,
    /// From the client to the service.
    Up,
}

impl Direction {
    /// The word in the figure's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

/// Bytes per second that reach the far end over `streams` connections to `address`.
///
/// # Errors
/// A connection cannot be opened, or nothing arrives.
pub async fn throughput(
    address: SocketAddr,
    services: &Services,
    streams: usize,
    direction: Direction,
    span: Duration,
) -> Result<f64> {
    // Counted where they arrive: what is still in a buffer has not been carried.
    let arrived = match direction {
        Direction::Down => Arc::new(AtomicU64::new(0)),
        Direction::Up => services.swallowed.clone(),
    };
    let mut tasks = task::JoinSet::new();
    for _ in 0..streams {
        let stream = net::connect(address, READY_MAX).await.context("no connection for the load")?;
        match direction {
            Direction::Down => tasks.spawn(swallow(stream, arrived.clone())),
            Direction::Up => tasks.spawn(send(stream)),
        };
    }
    time::sleep(WARM_UP).await;
    let (start, before) = (time::now(), arrived.load(Ordering::Relaxed));
    time::sleep(span).await;
    let (elapsed, after) = (start.elapsed(), arrived.load(Ordering::Relaxed));
    tasks.shutdown().await;
    ensure!(after > before, "nothing arrived through {address}");
    Ok((after - before) as f64 / elapsed.as_secs_f64())
}

async fn swallow(mut stream: TcpStream, arrived: Arc<AtomicU64>) -> std::io::Result<()> {
    stream.write_u8(DOWN).await?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            count => arrived.fetch_add(count as u64, Ordering::Relaxed),
        };
    }
}

async fn send(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_u8(UP).await?;
    let chunk = vec![0xa5; CHUNK_BYTES];
    loop {
        stream.write_all(&chunk).await?;
    }
}

/// What the HTTP load saw.
#[derive(Debug, Clone, Copy)]
pub struct HttpFigures {
    /// Answers per second.
    pub rate: f64,
    /// Half of the answers took no longer.
    pub p50: Duration,
    /// All but one of a hundred took no longer.
    pub p99: Duration,
    /// Requests that failed.
    pub errors: u64,
}

/// Requests over `connections` connections, each of which asks again as soon as it is answered.
///
/// # Errors
/// A connection cannot be opened, or nothing is answered.
pub async fn http(address: SocketAddr, connections: usize, span: Duration) -> Result<HttpFigures> {
    let counting = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = task::JoinSet::new();
    for _ in 0..connections {
        let stream = net::connect(address, READY_MAX).await.context("no connection for the load")?;
        tasks.spawn(ask(stream, counting.clone(), stop.clone()));
    }
    time::sleep(WARM_UP).await;
    counting.store(true, Ordering::Relaxed);
    let start = time::now();
    time::sleep(span).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = start.elapsed();
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for (taken, failed) in tasks.join_all().await {
        latencies.extend(taken);
        errors += u64::from(failed);
    }
    ensure!(!latencies.is_empty(), "nothing was answered through {address}");
    latencies.sort_unstable();
    let quantile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    Ok(HttpFigures { rate, p50: quantile(50), p99: quantile(99), errors })
}

/// How long each answer took, and whether the connection failed.
async fn ask(
    mut stream: TcpStream,
    counting: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> (Vec<Duration>, bool) {
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let start = time::now();
        let answered = time::timeout(READY_MAX, exchange(&mut stream, &mut buffer)).await;
        if !matches!(answered, Ok(Ok(()))) {
            return (latencies, true);
        }
        note(&mut latencies, &counting, start);
    }
    (latencies, false)
}

fn note(latencies: &mut Vec<Duration>, counting: &AtomicBool, start: Instant) {
    if counting.load(Ordering::Relaxed) {
        latencies.push(start.elapsed());
    }
}

async fn exchange(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.svc.bowline\r\n\r\n").await?;
    let mut filled = 0;
    let body_start = loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        ensure!(count > 0, "closed");
        filled += count;
        if let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    ensure!(buffer.starts_with(b"HTTP/1.1 200"), "not served");
    while filled < body_start + BODY_BYTES {
        let count = stream.read(&mut buffer[filled..]).await?;
        ensure!(count > 0, "closed");
        filled += count;
    }
    Ok(())
}
