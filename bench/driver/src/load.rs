//! The load: tasks that ask, and the window in which their answers are counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_redis::{Client, Command, Config};
use bowline_rt::task::JoinSet;
use bowline_rt::time::{now, sleep};
use rustix::process::Pid;
use serde_json::json;

use crate::keys::Keys;
use crate::limits::{TIMED_EVERY, TIMES_RESERVED};
use crate::subject::Driver;
use crate::usage::Usage;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Its process.
    pub server: Pid,
    /// Callers.
    pub tasks: usize,
    /// Time before the counting begins.
    pub warm_up: Duration,
    /// Time that is measured.
    pub span: Duration,
    /// Counts allocations, in the build for that.
    pub allocations: Option<fn() -> u64>,
}

/// Figures of one run.
#[derive(Debug)]
pub struct Sample {
    operations: u64,
    span: Duration,
    client: Duration,
    server: Duration,
    allocations: Option<u64>,
    /// In nanoseconds, sorted.
    times: Vec<u32>,
}

/// Before, in, and after the window.
const WARM_UP: u8 = 0;
const COUNT: u8 = 1;
const STOP: u8 = 2;

/// What one task has counted.
#[derive(Debug)]
struct Counted {
    operations: u64,
    times: Vec<u32>,
}

impl Load {
    /// Runs it on the driver that `connect` makes.
    ///
    /// # Errors
    /// The server cannot be reached, a request failed, or an answer was wrong.
    pub async fn run<D: Driver>(&self, connect: impl Future<Output = Result<D>>) -> Result<Sample> {
        let keys = Arc::new(Keys::new());
        self.store(&keys).await?;
        let driver = connect.await.context("cannot connect")?;
        let phase = Arc::new(AtomicU8::new(WARM_UP));
        let mut tasks = JoinSet::new();
        for number in 0..self.tasks {
            tasks.spawn(ask(driver.clone(), keys.clone(), phase.clone(), number as u64));
        }
        sleep(self.warm_up).await;
        let before = Usage::now(self.server, self.allocations)?;
        phase.store(COUNT, Ordering::Relaxed);
        sleep(self.span).await;
        let after = Usage::now(self.server, self.allocations)?;
        phase.store(STOP, Ordering::Relaxed);
        let (mut operations, mut times) = (0, Vec::new());
        while let Some(counted) = tasks.join_next().await {
            let counted = counted.context("a caller panicked")??;
            operations += counted.operations;
            times.extend(counted.times);
        }
        ensure!(operations > 0 && !times.is_empty(), "nothing was answered within {:?}", self.span);
        times.sort_unstable();
        Ok(Sample {
            operations,
            span: after.at - before.at,
            client: after.client - before.client,
            server: after.server - before.server,
            allocations: after.allocations.zip(before.allocations).map(|(after, before)| after - before),
            times,
        })
    }

    /// Writes the keys, by way of Bowline's driver: which one writes them is not measured.
    async fn store(&self, keys: &Keys) -> Result<()> {
        let client = Client::start(Config::from_url(&format!("redis://{}", self.address))?);
        let pairs = keys.pairs().flat_map(|(key, value)| [key.to_owned(), value]);
        let patience = Duration::from_secs(10);
        client
            .call(Command::new("MSET").args(pairs).deadline(patience))
            .await
            .context("cannot write the keys")?;
        Ok(())
    }
}

/// One caller: one question at a time, about a key that no pattern of the server's cache predicts.
async fn ask<D: Driver>(mut driver: D, keys: Arc<Keys>, phase: Arc<AtomicU8>, seed: u64) -> Result<Counted> {
    let mut counted = Counted { operations: 0, times: Vec::with_capacity(TIMES_RESERVED) };
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for number in 0_u64.. {
        // Xorshift (Marsaglia 2003): quick, and the same for every driver.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = keys.at(state >> 16);
        let started = number.is_multiple_of(TIMED_EVERY).then(now);
        driver.get(key).await?;
        match phase.load(Ordering::Relaxed) {
            WARM_UP => continue,
            COUNT => counted.operations += 1,
            _ => break,
        }
        if let Some(started) = started {
            let nanoseconds = now().saturating_duration_since(started).as_nanos();
            counted.times.push(u32::try_from(nanoseconds).unwrap_or(u32::MAX));
        }
    }
    Ok(counted)
}

impl Sample {
    /// One line.
    pub fn json(&self) -> String {
        let operations = self.operations as f64;
        let each_us = |time: Duration| time.as_secs_f64() * 1e6 / operations;
        json!({
            "operations_per_second": operations / self.span.as_secs_f64(),
            "p50_us": self.percentile_us(50),
            "p99_us": self.percentile_us(99),
            "client_cpu_us": each_us(self.client),
            "server_cpu_us": each_us(self.server),
            "allocations": self.allocations.map(|allocations| allocations as f64 / operations),
        })
        .to_string()
    }

    fn percentile_us(&self, percent: usize) -> f64 {
        let index = (self.times.len() * percent / 100).min(self.times.len() - 1);
        f64::from(self.times[index]) / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_operation() {
        let sample = Sample {
            operations: 200,
            span: Duration::from_millis(100),
            client: Duration::from_micros(300),
            server: Duration::from_micros(100),
            allocations: Some(400),
            times: (1..=100).map(|number| number * 1_000).collect(),
        };
        let figures: serde_json::Value = serde_json::from_str(&sample.json()).expect("it is JSON");
        let expected = json!({"operations_per_second": 2_000.0, "p50_us": 51.0, "p99_us": 100.0, "client_cpu_us": 1.5,
            "server_cpu_us": 0.5, "allocations": 2.0});
        assert_eq!(figures, expected);
    }
}
