//! Groups of redis-servers: a cluster, or a primary and its replica under sentinels. Each server may have a proxy before it, by whose
//! address alone clients learn of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::peers;
use crate::ports::free_address;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::wait::wait_until;

/// The name by which the sentinels know the primary.
pub const WATCHED: &str = "my";
/// Slots of a cluster.
const SLOTS: usize = 16_384;
/// Parts into which they are cut.
pub const PRIMARIES: usize = 3;
/// Sentinels; two of them agree.
const SENTINELS: usize = 3;

/// A server.
#[derive(Debug)]
pub struct Node {
    /// The process.
    pub process: Process,
    /// Before it, if there is one.
    pub proxy: Option<Proxy>,
    address: SocketAddr,
}

impl Node {
    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.proxy.as_ref().map_or(self.address, Proxy::address)
    }

    /// The server itself, whatever stands before it.
    #[must_use]
    pub const fn direct(&self) -> SocketAddr {
        self.address
    }

    /// What it says to a command, as `redis-cli` prints it; nothing if it does not answer.
    ///
    /// # Errors
    /// `redis-cli` is not installed.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let port = self.address.port().to_string();
        // A server that stands still would keep it for ever.
        let output = Command::new("timeout").args(["2", "redis-cli", "-p", &port]).args(arguments).output();
        let output = output.context("redis-cli is not installed; cargo xtask torture installs it")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn demand_ok(&self, arguments: &[&str]) -> Result<()> {
        let said = self.cli(arguments)?;
        ensure!(said == "OK", "{arguments:?} of {} was answered {said}", self.address);
        Ok(())
    }

    /// Waits until `what` is in the answer to `arguments`.
    ///
    /// # Panics
    /// After a long time.
    pub async fn wait_for(&self, arguments: &[&str], what: &str) {
        let description = format!("{} says {what} to {arguments:?}", self.address);
        wait_until(&description, || async { self.cli(arguments).is_ok_and(|said| said.contains(what)) })
            .await;
    }
}

/// The proxy before `address`, if there is to be one.
async fn proxy(address: SocketAddr, seed: Option<u64>) -> Result<Option<Proxy>> {
    Ok(match seed {
        Some(seed) => Some(Proxy::start(address, seed).await?),
        None => None,
    })
}

/// A cluster of three primaries; the n-th has the n-th third of the slots.
#[derive(Debug)]
pub struct Cluster {
    /// The primaries, and then the replica of each, if there are replicas.
    pub nodes: Vec<Node>,
    _directory: TempDir,
}

impl Cluster {
    /// Starts one. A node that is silent for `node_timeout_ms` is given up. With `seed`, every node has a proxy before it.
    ///
    /// # Errors
    /// redis-server is not installed, or forms no cluster.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn start(has_replicas: bool, node_timeout_ms: u64, seed: Option<u64>) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot create a folder")?;
        let count = if has_replicas { 2 * PRIMARIES } else { PRIMARIES };
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for number in 0..count as u64 {
            let (address, bus) = (free_address(), free_address().port().to_string());
            let proxy = proxy(address, seed.map(|seed| seed + number)).await?;
            let announced = proxy.as_ref().map_or(address, Proxy::address).port().to_string();
            let arguments = [
                ["--cluster-enabled", "yes"],
                ["--cluster-node-timeout", &node_timeout_ms.to_string()],
                ["--cluster-port", &bus],
                ["--cluster-announce-port", &announced],
                ["--cluster-config-file", &format!("nodes-{number}.conf")],
                ["--repl-diskless-sync-delay", "0"],
                // A replica is told of by nobody before it has received something.
                ["--repl-ping-replica-period", "1"],
            ];
            let name = format!("redis-{number}");
            let process = peers::redis_called(directory.path(), &name, address, &arguments.concat()).await?;
            nodes.push(Node { process, proxy, address });
            buses.push(bus);
        }
        let cluster = Self { nodes, _directory: directory };
        cluster.meet(&buses).await?;
        if has_replicas {
            cluster.replicate().await?;
        }
        Ok(cluster)
    }

    async fn meet(&self, buses: &[String]) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            node.demand_ok(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
            if index < PRIMARIES {
                let (first, last) = Self::slots(index);
                node.demand_ok(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            }
            // Everybody meets everybody: gossip would take its time.
            for (other, bus) in self.nodes.iter().zip(buses).take(index) {
                let port = other.address().port().to_string();
                node.demand_ok(&["CLUSTER", "MEET", "127.0.0.1", &port, bus])?;
            }
        }
        let count = format!("cluster_known_nodes:{}\r", self.nodes.len());
        for node in &self.nodes {
            node.wait_for(&["CLUSTER", "INFO"], &count).await;
            node.wait_for(&["CLUSTER", "INFO"], "cluster_state:ok").await;
        }
        Ok(())
    }

    async fn replicate(&self) -> Result<()> {
        let (primaries, replicas) = self.nodes.split_at(PRIMARIES);
        for (primary, replica) in primaries.iter().zip(replicas) {
            let id = primary.cli(&["CLUSTER", "MYID"])?;
            let what = format!("{replica:?} knows its primary");
            wait_until(&what, || async {
                replica.cli(&["CLUSTER", "REPLICATE", &id]).is_ok_and(|said| said == "OK")
            })
            .await;
        }
        for replica in replicas {
            replica.wait_for(&["INFO", "replication"], "master_link_status:up").await;
            for node in &self.nodes {
                node.wait_for(&["CLUSTER", "SLOTS"], &replica.address().port().to_string()).await;
            }
        }
        Ok(())
    }

    /// The first and last slot of a primary.
    #[must_use]
    pub const fn slots(primary: usize) -> (usize, usize) {
        (SLOTS * primary / PRIMARIES, SLOTS * (primary + 1) / PRIMARIES - 1)
    }

    /// The URL of a client that knows two nodes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis-cluster://{},{}", self.nodes[0].address(), self.nodes[1].address())
    }
}

/// A primary, its replica, and sentinels that watch them.
#[derive(Debug)]
pub struct Sentinels {
    /// The primary in the beginning, and its replica.
    pub servers: [Node; 2],
    /// The sentinels.
    pub sentinels: Vec<Node>,
    _directory: TempDir,
}

impl Sentinels {
    /// Starts them. A server that is silent for `down_after_ms` is given up. With `seed`, everybody has a proxy before it.
    ///
    /// # Errors
    /// redis-server is not installed, or does not work.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn start(down_after_ms: u64, seed: Option<u64>) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot create a folder")?;
        let folder = directory.path();
        let primary = Self::server(folder, "primary", seed, &[]).await?;
        let port = primary.address().port().to_string();
        let follows = ["--replicaof", "127.0.0.1", &port];
        let replica = Self::server(folder, "replica", seed.map(|seed| seed + 1), &follows).await?;
        replica.wait_for(&["INFO", "replication"], "master_link_status:up").await;
        let mut sentinels = Vec::new();
        for number in 0..SENTINELS {
            let seed = seed.map(|seed| seed + 2 + number as u64);
            sentinels.push(Self::sentinel(folder, number, &primary, down_after_ms, seed).await?);
        }
        for sentinel in &sentinels {
            sentinel.wait_for(&["SENTINEL", "CKQUORUM", WATCHED], "OK 3").await;
            let port = replica.address().port().to_string();
            sentinel.wait_for(&["SENTINEL", "REPLICAS", WATCHED], &port).await;
        }
        Ok(Self { servers: [primary, replica], sentinels, _directory: directory })
    }

    async fn server(folder: &Path, name: &str, seed: Option<u64>, arguments: &[&str]) -> Result<Node> {
        let address = free_address();
        let proxy = proxy(address, seed).await?;
        let announced = proxy.as_ref().map_or(address, Proxy::address).port().to_string();
        let own = ["--repl-diskless-sync-delay", "0", "--replica-announce-port", &announced];
        let process = peers::redis_called(folder, name, address, &[&own[..], arguments].concat()).await?;
        Ok(Node { process, proxy, address })
    }

    async fn sentinel(
        folder: &Path,
        number: usize,
        primary: &Node,
        down_after_ms: u64,
        seed: Option<u64>,
    ) -> Result<Node> {
        let address = free_address();
        let proxy = proxy(address, seed).await?;
        let file = folder.join(format!("sentinel-{number}.conf"));
        let text = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor {WATCHED} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {WATCHED} {down_after_ms}\n\
             sentinel failover-timeout {WATCHED} 1000\n",
            address.port(),
            primary.address().port(),
        );
        fs::write(&file, text).context("cannot write a configuration")?;
        let process = peers::sentinel(folder, &format!("sentinel-{number}"), address, &file).await?;
        Ok(Node { process, proxy, address })
    }

    /// The URL of a client that knows two sentinels.
    #[must_use]
    pub fn url(&self) -> String {
        let [one, other] = [0, 1].map(|number| self.sentinels[number].address());
        format!("redis-sentinel://{one},{other}/{WATCHED}")
    }
}
