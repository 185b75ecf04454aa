//! A scripted server at a real socket: it introduces itself, and from then on sends what a test says.

use std::time::Duration;

use bowline_redis::{Client, Config, Connection, Frame, Protocol, Settings};
use bowline_resp::{RequestDecoder, RequestLimits, encode};
use bowline_rt::net::{Listener, TcpStream, reset_on_close};
use bowline_rt::{task, time};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// Longest wait for anything that should happen soon.
pub const SOON: Duration = Duration::from_secs(20);

/// Where a client connects to.
pub struct Peer {
    listener: Listener,
    connection: watch::Receiver<Connection>,
    /// Connections so far.
    pub accepted: usize,
    /// What the newest connection said in its introduction.
    pub introduction: Vec<Vec<Bytes>>,
}

/// One connection of the peer.
pub struct Connected {
    stream: TcpStream,
    decoder: RequestDecoder,
    requests: BytesMut,
    protocol: Protocol,
    /// A request that was read and not looked at.
    first: Option<Vec<Bytes>>,
}

impl Peer {
    /// A peer, and a client of it whose settings were changed by `change`.
    pub async fn new(change: impl FnOnce(&mut Settings)) -> (Self, Client) {
        Self::with_database(0, change).await
    }

    /// The same, for a client that uses this database.
    pub async fn with_database(database: u32, change: impl FnOnce(&mut Settings)) -> (Self, Client) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("redis://{}/{database}", listener.local_addr().unwrap());
        let mut config = Config::from_url(&url).unwrap();
        change(&mut config.settings);
        let client = Client::start(config);
        (Self { listener, connection: client.connection(), accepted: 0, introduction: Vec::new() }, client)
    }

    /// The next connection, before anything was said.
    pub async fn accept_silently(&mut self) -> Connected {
        let (stream, _) = time::timeout(SOON, self.listener.accept()).await.unwrap().unwrap();
        self.accepted += 1;
        let decoder = RequestDecoder::new(RequestLimits::default());
        Connected { stream, decoder, requests: BytesMut::new(), protocol: Protocol::Resp3, first: None }
    }

    /// The next connection, after the introduction in RESP3.
    pub async fn accept(&mut self) -> Connected {
        self.accept_as(Protocol::Resp3).await
    }

    /// The next connection, after the introduction. The client says when that is over.
    pub async fn accept_as(&mut self, protocol: Protocol) -> Connected {
        let mut connected = self.accept_silently().await;
        connected.protocol = protocol;
        self.introduction.clear();
        loop {
            let is_up = self.connection.wait_for(|state| matches!(state, Connection::Up { .. }));
            let request = tokio::select! {
                biased;
                request = connected.request() => request.expect("the client introduces itself"),
                state = is_up => {
                    state.unwrap();
                    return connected;
                }
            };
            match introduce(&request, protocol) {
                Some(answer) => {
                    self.introduction.push(request);
                    connected.reply(&answer).await;
                }
                // The first caller was quicker than the news.
                None => {
                    connected.first = Some(request);
                    return connected;
                }
            }
        }
    }
}

fn introduce(request: &[Bytes], protocol: Protocol) -> Option<Frame> {
    Some(match &request[0][..] {
        b"HELLO" if protocol == Protocol::Resp2 => Frame::error("ERR unknown command `HELLO`"),
        b"HELLO" => Frame::Map(vec![
            (Frame::bulk("proto"), Frame::Integer(3)),
            (Frame::bulk("id"), Frame::Integer(1)),
            (Frame::bulk("role"), Frame::bulk("master")),
        ]),
        b"INFO" => Frame::bulk("run_id:1\r\nrole:master\r\n"),
        b"CLIENT" => Frame::Integer(1),
        b"SELECT" => Frame::ok(),
        b"PING" => Frame::Simple("PONG".into()),
        _ => return None,
    })
}

impl Connected {
    /// Answers the introduction of a connection of somebody's own.
    pub async fn introduce(&mut self) {
        loop {
            let request = self.request().await.expect("the client introduces itself");
            let answer = introduce(&request, self.protocol).expect("an introduction");
            self.reply(&answer).await;
            if request[0] == "INFO" {
                return;
            }
        }
    }

    /// The next request; `None` after the end.
    pub async fn request(&mut self) -> Option<Vec<Bytes>> {
        if let Some(request) = self.first.take() {
            return Some(request);
        }
        loop {
            if let Some(request) = self.decoder.decode(&mut self.requests).unwrap() {
                return Some(request.into_iter().collect());
            }
            let read = time::timeout(SOON, self.stream.read_buf(&mut self.requests)).await;
            if !read.expect("a request comes soon").is_ok_and(|count| count > 0) {
                return None;
            }
        }
    }

    /// The next `count` requests.
    pub async fn take(&mut self, count: usize) -> Vec<Vec<Bytes>> {
        let mut requests = Vec::new();
        while requests.len() < count {
            requests.push(self.request().await.expect("a request"));
        }
        requests
    }

    /// Answers.
    pub async fn reply(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        encode(frame, self.protocol, &mut bytes);
        self.raw(&bytes).await;
    }

    /// Sends bytes; whether the client still takes them.
    pub async fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Answers with the second word of each request until the client goes.
    pub fn serve(mut self) {
        task::spawn("peer", async move {
            while let Some(request) = self.request().await {
                let protocol = self.protocol;
                let answer = introduce(&request, protocol).unwrap_or_else(|| Frame::Bulk(request[1].clone()));
                self.reply(&answer).await;
            }
        });
    }

    /// Waits until the client has closed the connection.
    pub async fn closed(&mut self) {
        while self.request().await.is_some() {}
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        reset_on_close(&self.stream);
    }
}

/// Waits for a state of the connection.
pub async fn until(client: &Client, is_it: impl FnMut(&Connection) -> bool) -> Connection {
    let mut connection = client.connection();
    let state = time::timeout(SOON, connection.wait_for(is_it)).await;
    state.expect("the connection changes soon").unwrap().clone()
}

/// Waits until the connection that is up is lost, and says why.
pub async fn until_lost(client: &Client) -> String {
    match until(client, |state| matches!(state, Connection::Down { error: Some(_) })).await {
        Connection::Down { error } => error.unwrap_or_default(),
        Connection::Up { .. } => String::new(),
    }
}

/// Waits until the client has handed this many bytes to its socket.
pub async fn wait_until_written(client: &Client, bytes: u64) {
    let written = async {
        while client.metrics().written_bytes.get() < bytes {
            task::yield_now().await;
        }
    };
    time::timeout(SOON, written).await.expect("the client writes soon");
}
