//! The drivers, each by its own cheapest way to a byte string.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bowline_redis::{Client, Command, Config, Frame};
use fred::interfaces::{ClientLike, KeysInterface};
use rustis::commands::StringCommands;
use rustis::resp::BulkString;

use crate::keys::check;

/// One connection that clones share; each caller has a clone.
pub trait Driver: Clone + Send + Sync + 'static {
    /// Asks for a key and checks the answer.
    fn get(&mut self, key: &str) -> impl Future<Output = Result<()>> + Send;
}

/// `bowline-redis` as it is shipped: RESP3, a deadline of a second for each call.
#[derive(Clone)]
pub struct Bowline(Client);

impl Bowline {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let client = Client::start(Config::from_url(&format!("redis://{address}"))?);
        client.call(Command::new("PING")).await?;
        Ok(Self(client))
    }
}

impl Driver for Bowline {
    async fn get(&mut self, key: &str) -> Result<()> {
        match self.0.call(Command::new("GET").arg(key)).await? {
            Frame::Bulk(value) => check(key, &value),
            other => anyhow::bail!("wrong answer: {key} got {other:?}"),
        }
    }
}

/// `redis`, RESP3, without time-out: the baseline of `field/driver.md`.
#[derive(Clone)]
pub struct Redis(redis::aio::MultiplexedConnection);

impl Redis {
    /// Connects; without `slots` the queue has its 50.
    pub async fn connect(address: SocketAddr, slots: Option<usize>) -> Result<Self> {
        let client = redis::Client::open(format!("redis://{address}/?protocol=resp3"))?;
        let mut config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        if let Some(slots) = slots {
            config = config.set_pipeline_buffer_size(slots);
        }
        Ok(Self(client.get_multiplexed_async_connection_with_config(&config).await?))
    }
}

impl Driver for Redis {
    async fn get(&mut self, key: &str) -> Result<()> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        match self.0.send_packed_command(&command).await? {
            redis::Value::BulkString(value) => check(key, &value),
            other => anyhow::bail!("wrong answer: {key} got {other:?}"),
        }
    }
}

/// `fred`, RESP3, otherwise as it is shipped.
#[derive(Clone)]
pub struct Fred(fred::clients::Client);

impl Fred {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let mut config = fred::types::config::Config::from_url(&format!("redis://{address}"))?;
        config.version = fred::types::RespVersion::RESP3;
        let client = fred::types::Builder::from_config(config).build()?;
        client.init().await?;
        Ok(Self(client))
    }
}

impl Driver for Fred {
    async fn get(&mut self, key: &str) -> Result<()> {
        let value: fred::bytes::Bytes = self.0.get(key).await?;
        check(key, &value)
    }
}

/// `rustis` as it is shipped.
#[derive(Clone)]
pub struct Rustis(rustis::client::Client);

impl Rustis {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let client = rustis::client::Client::connect(address.to_string()).await;
        Ok(Self(client.context("rustis")?))
    }
}

impl Driver for Rustis {
    async fn get(&mut self, key: &str) -> Result<()> {
        let value: BulkString = self.0.get(key).await?;
        check(key, value.as_bytes())
    }
}
