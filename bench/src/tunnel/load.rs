//! The load: streams that carry as much as they can, and HTTP connections that ask as fast as they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_rt::net::{self, TcpStream};
use bowline_rt::{task, time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::service::{DOWN, Services, UP};
use crate::http::{Connection, Figures};
use crate::limits::{CHUNK_BYTES, READY_MAX, WARM_UP};

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

/// Requests over `connections` connections, each of which asks again as soon as it is answered, and how many of them failed.
///
/// # Errors
/// A connection cannot be opened, or nothing is answered.
pub async fn http(address: SocketAddr, connections: usize, span: Duration) -> Result<(Figures, u64)> {
    let counting = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = task::JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(ask(Connection::open(address).await?, counting.clone(), stop.clone()));
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
    Ok((Figures::of(latencies, elapsed).with_context(|| format!("through {address}"))?, errors))
}

/// How long each answer took, and whether the connection failed.
async fn ask(
    mut connection: Connection,
    counting: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> (Vec<Duration>, bool) {
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = time::now();
        let request = b"GET / HTTP/1.1\r\nHost: web.svc.bowline\r\n\r\n";
        let answered = time::timeout(READY_MAX, connection.exchange(request)).await;
        if !matches!(answered, Ok(Ok(()))) {
            return (latencies, true);
        }
        if counting.load(Ordering::Relaxed) {
            latencies.push(start.elapsed());
        }
    }
    (latencies, false)
}
