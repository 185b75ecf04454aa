//! HTTP clients of the loads, which cost next to nothing: one connection, one question at a time, bytes as they were made.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_rt::net::{self, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::{ANSWER_BYTES_MAX, READY_MAX};

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens it.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = net::connect(address, READY_MAX).await.context("no connection for the load")?;
        Ok(Self { stream, buffer: vec![0; ANSWER_BYTES_MAX] })
    }

    /// Sends a request and reads its answer to the end.
    ///
    /// # Errors
    /// The connection broke, or the status is none of success.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head_end = loop {
            filled += self.more(filled).await?;
            if let Some(end) = memchr::memmem::find(&self.buffer[..filled], b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = &self.buffer[..head_end];
        ensure!(head.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&self.buffer[..filled]));
        let end = head_end + content_length(head)?;
        while filled < end {
            filled += self.more(filled).await?;
        }
        Ok(())
    }

    async fn more(&mut self, filled: usize) -> Result<usize> {
        ensure!(filled < self.buffer.len(), "an answer of more than {ANSWER_BYTES_MAX} bytes");
        let count = self.stream.read(&mut self.buffer[filled..]).await?;
        ensure!(count > 0, "the connection was closed");
        Ok(count)
    }
}

/// Bytes of the body; the services of these benchmarks do not answer in chunks.
fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head).context("a head that is no text")?;
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    value.map_or(Ok(0), |value| value.parse().with_context(|| format!("a length of {value:?}")))
}

/// What a load saw.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Answers per second.
    pub rate: f64,
    /// Half of the answers took no longer.
    pub p50: Duration,
    /// All but one of a hundred took no longer.
    pub p99: Duration,
}

impl Figures {
    /// Those of answers that came within `elapsed`.
    ///
    /// # Errors
    /// There are none.
    pub fn of(mut latencies: Vec<Duration>, elapsed: Duration) -> Result<Self> {
        ensure!(!latencies.is_empty(), "nothing was answered");
        latencies.sort_unstable();
        let quantile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
        let rate = latencies.len() as f64 / elapsed.as_secs_f64();
        Ok(Self { rate, p50: quantile(50), p99: quantile(99) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_answer_is_read_in_any_case_and_is_0_without_one() {
        let length = |head: &str| content_length(head.as_bytes()).ok();
        assert_eq!(length("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n"), Some(17));
        assert_eq!(length("HTTP/1.1 204 No Content\r\netag: \"content-length\"\r\n\r\n"), Some(0));
        assert_eq!(length("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"), None);
    }

    #[test]
    fn quantiles_are_those_of_all_answers() {
        let latencies = (1..=101).rev().map(Duration::from_millis).collect();
        let figures = Figures::of(latencies, Duration::from_secs(2)).expect("figures");
        assert_eq!((figures.p50, figures.p99), (Duration::from_millis(51), Duration::from_millis(100)));
        assert!((figures.rate - 50.5).abs() < 1e-9, "{figures:?}");
        assert!(Figures::of(Vec::new(), Duration::from_secs(2)).is_err());
    }
}
