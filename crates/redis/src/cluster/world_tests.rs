//! Scripted nodes, over pipes in memory.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_resp::{Frame, Protocol, RequestDecoder, RequestLimits, encode};
use bowline_rt::task;
use bowline_rt::time::timeout;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use crate::client::Client;
use crate::cluster::key::SLOTS;
use crate::config::Config;
use crate::connect::Dial;
use crate::topology::Address;

pub const DEADLINE: Duration = Duration::from_secs(1);

/// What a node says to a request; `None` cuts the connection.
pub type Answer = Arc<dyn Fn(&str) -> Option<Frame> + Send + Sync>;

/// The nodes, by address, and what they were asked.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: HashMap<String, Answer>,
    /// Epoch and ranges of slots.
    view: (u64, Vec<Frame>),
    views: HashMap<String, (u64, Vec<Frame>)>,
    log: Vec<String>,
    /// Addresses of nodes that are gone for good.
    deaths: watch::Sender<Vec<String>>,
    connections: HashMap<String, usize>,
}

impl Dial for World {
    type Stream = DuplexStream;

    async fn dial(&self, address: &Address, _: Duration) -> io::Result<DuplexStream> {
        let address = address.to_string();
        if !self.0.lock().unwrap().nodes.contains_key(&address) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(4096);
        task::spawn("node", self.clone().serve(address, far));
        Ok(near)
    }
}

impl World {
    pub fn node(&self, address: &str, answer: impl Fn(&str) -> Option<Frame> + Send + Sync + 'static) {
        self.0.lock().unwrap().nodes.insert(address.to_owned(), Arc::new(answer));
    }

    /// What every node says to `CLUSTER SLOTS` from now on: all slots belong to the first address, the others are replicas.
    pub fn layout(&self, epoch: u64, addresses: &[&str]) {
        self.say(epoch, vec![range(0, SLOTS - 1, addresses)]);
    }

    /// What every node says to `CLUSTER SLOTS` from now on.
    pub fn say(&self, epoch: u64, slots: Vec<Frame>) {
        self.0.lock().unwrap().view = (epoch, slots);
    }

    /// What the node at `address` says instead.
    pub fn say_at(&self, address: &str, epoch: u64, slots: Vec<Frame>) {
        self.0.lock().unwrap().views.insert(address.to_owned(), (epoch, slots));
    }

    /// The node at `address` is gone.
    pub fn remove(&self, address: &str) {
        let mut state = self.0.lock().unwrap();
        state.nodes.remove(address);
        state.deaths.send_modify(|dead| dead.push(address.to_owned()));
    }

    pub fn client(&self) -> Client {
        self.client_with(Config::from_url("redis-cluster://a:1").unwrap())
    }

    pub fn client_with(&self, mut config: Config) -> Client {
        config.settings.call_deadline = DEADLINE;
        Client::start_with(config, self.clone(), self.clone())
    }

    /// What nodes were asked, as `address request`, without introductions and questions for the layout.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    pub fn connections(&self, address: &str) -> usize {
        self.0.lock().unwrap().connections.get(address).copied().unwrap_or_default()
    }

    async fn serve(self, address: String, mut stream: DuplexStream) {
        *self.0.lock().unwrap().connections.entry(address.clone()).or_default() += 1;
        let mut decoder = RequestDecoder::new(RequestLimits::default());
        let mut buffer = BytesMut::new();
        let mut deaths = self.0.lock().unwrap().deaths.subscribe();
        'connection: loop {
            tokio::select! {
                read = stream.read_buf(&mut buffer) => if !read.is_ok_and(|count| count > 0) { break },
                _ = deaths.wait_for(|dead| dead.contains(&address)) => break,
            }
            while let Some(request) = decoder.decode(&mut buffer).unwrap() {
                let Some(frame) = self.answer(&address, &request) else { break 'connection };
                let mut bytes = BytesMut::new();
                encode(&frame, Protocol::Resp3, &mut bytes);
                if stream.write_all(&bytes).await.is_err() {
                    break 'connection;
                }
            }
        }
        *self.0.lock().unwrap().connections.get_mut(&address).unwrap() -= 1;
    }

    fn answer(&self, address: &str, request: &[Bytes]) -> Option<Frame> {
        let words = request.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
        let mut state = self.0.lock().unwrap();
        let node = state.nodes.get(address)?.clone();
        let (epoch, slots) = state.views.get(address).unwrap_or(&state.view);
        match words.as_str() {
            "HELLO 3" => {
                return Some(Frame::Map(vec![
                    (Frame::bulk("proto"), Frame::Integer(3)),
                    (Frame::bulk("id"), Frame::Integer(1)),
                ]));
            }
            "INFO server" => return Some(Frame::bulk("run_id:1\r\n")),
            "CLIENT TRACKING ON OPTIN" => return Some(Frame::ok()),
            "CLIENT KILL ID 1" => return Some(Frame::Integer(0)),
            "READONLY" => return Some(Frame::ok()),
            "CLUSTER SLOTS" => return Some(Frame::Array(slots.clone())),
            "CLUSTER INFO" => {
                let info = format!("cluster_state:ok\r\ncluster_current_epoch:{epoch}\r\n");
                return Some(Frame::bulk(info));
            }
            _ => state.log.push(format!("{address} {words}")),
        }
        drop(state);
        node(&words)
    }
}

/// What `CLUSTER SLOTS` says of some slots: the first address is that of the primary.
pub fn range(first: u16, last: u16, addresses: &[&str]) -> Frame {
    let node = |address: &&str| {
        let (host, port) = address.rsplit_once(':').unwrap();
        Frame::Array(vec![Frame::bulk(host.to_owned()), Frame::Integer(port.parse().unwrap())])
    };
    let bounds = [first, last].map(|bound| Frame::Integer(i64::from(bound)));
    Frame::Array(bounds.into_iter().chain(addresses.iter().map(node)).collect())
}

/// Takes what is at most a little more than the deadline, or the test fails.
pub async fn in_time<T>(call: impl Future<Output = T>) -> T {
    timeout(DEADLINE + Duration::from_millis(100), call).await.expect("it ends with its deadline")
}
