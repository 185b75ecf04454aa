//! An agent that does what a test tells it to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bowline_identity::tls::{Connector, Stream};
use bowline_model::Reason;
use bowline_proto::frame::{self, TUNNEL_PREAMBLE};
use bowline_proto::v1::control_client::ControlClient;
use bowline_proto::v1::{
    self, FromAgent, FromGateway, Open, Opened, TunnelHello, from_agent::Message as Say,
    from_gateway::Message as Hear,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::zone::{BOUND, soon};

/// What an agent does with a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers `<agent>:` and what it reads.
    Echo,
    /// Says that the service refused.
    Refuse,
    /// Says nothing to an Open.
    Hang,
    /// Dies when an Open comes, on the first tunnel; echoes on the others.
    FirstDies,
}

/// How an agent logs in.
#[derive(Debug, Clone)]
pub struct Login {
    pub agent: &'static str,
    pub epoch: u128,
    pub generation: u64,
    pub services: Vec<&'static str>,
    pub token: Option<String>,
    pub connector: Connector,
}

impl Login {
    pub fn new(agent: &'static str, services: &[&'static str]) -> Self {
        let services = services.to_vec();
        Self { agent, epoch: 1, generation: 0, services, token: None, connector: Connector::Plain }
    }
}

/// What an agent has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub opens: Vec<Open>,
    pub tickets: usize,
    pub tunnels: usize,
    pub drains: usize,
}

/// The control connection of an agent.
pub struct Agent {
    pub address: SocketAddr,
    pub login: Login,
    pub say: mpsc::Sender<FromAgent>,
    hear: Streaming<FromGateway>,
    pub seen: Arc<Mutex<Seen>>,
}

/// Connects and logs in.
pub async fn log_in(address: SocketAddr, login: Login) -> Result<Agent, Status> {
    let connector = login.connector.clone();
    let dial = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move { connector.connect(&address.to_string(), BOUND).await.map(TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = soon("connection", endpoint.connect_with_connector(dial)).await;
    let mut client = ControlClient::new(channel.map_err(|error| Status::unknown(error.to_string()))?);
    let (say, messages) = mpsc::channel(16);
    let first = v1::Login {
        agent: login.agent.to_owned(),
        epoch: login.epoch.to_be_bytes().to_vec(),
        services: login.services.iter().map(ToString::to_string).collect(),
        version: "test".to_owned(),
        generation: login.generation,
    };
    say.send(FromAgent { message: Some(Say::Login(first)) }).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(messages));
    if let Some(token) = &login.token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let hear = soon("login", client.attach(request)).await?.into_inner();
    let mut agent = Agent { address, login, say, hear, seen: Arc::default() };
    match agent.next().await? {
        Hear::Welcome(_) => Ok(agent),
        other => panic!("{other:?} before the welcome"),
    }
}

impl Agent {
    /// The next message.
    pub async fn next(&mut self) -> Result<Hear, Status> {
        match soon("a message", self.hear.message()).await? {
            Some(message) => Ok(message.message.unwrap()),
            None => Err(Status::ok("the end")),
        }
    }

    /// The next message that is neither a heartbeat nor a request to dial.
    pub async fn next_news(&mut self) -> Result<Hear, Status> {
        loop {
            let message = self.next().await?;
            if !matches!(message, Hear::Heartbeat(_) | Hear::Dial(_)) {
                return Ok(message);
            }
        }
    }

    /// The tickets of the next request to dial.
    pub async fn tickets(&mut self) -> Vec<Vec<u8>> {
        loop {
            if let Hear::Dial(dial) = self.next().await.unwrap() {
                return dial.tickets;
            }
        }
    }

    pub async fn tell(&self, message: Say) {
        self.say.send(FromAgent { message: Some(message) }).await.unwrap();
    }

    /// Does what a well-behaved agent does, in the background, until the gateway ends the session.
    pub fn serve(mut self, manner: Manner) -> Arc<Mutex<Seen>> {
        let seen = self.seen.clone();
        bowline_rt::task::spawn("test agent", async move {
            while let Ok(Some(message)) = self.hear.message().await {
                match message.message.unwrap() {
                    Hear::Dial(dial) => {
                        for ticket in dial.tickets {
                            self.seen.lock().unwrap().tickets += 1;
                            let agent = (self.address, self.login.clone(), self.seen.clone());
                            bowline_rt::task::spawn("test tunnel", tunnel(agent, ticket, manner));
                        }
                    }
                    Hear::Heartbeat(_) => self.tell(Say::Heartbeat(v1::Heartbeat {})).await,
                    Hear::Drain(_) => {
                        self.seen.lock().unwrap().drains += 1;
                        self.tell(Say::Leaving(v1::Leaving {})).await;
                    }
                    _ => {}
                }
            }
        });
        seen
    }
}

/// Dials a tunnel and shows a ticket.
pub async fn dial(address: SocketAddr, connector: &Connector, ticket: Vec<u8>) -> Stream {
    let mut stream = connector.connect(&address.to_string(), BOUND).await.unwrap();
    let mut bytes = TUNNEL_PREAMBLE.to_vec();
    frame::append(&mut bytes, &TunnelHello { ticket });
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

async fn tunnel(agent: (SocketAddr, Login, Arc<Mutex<Seen>>), ticket: Vec<u8>, manner: Manner) {
    let (address, login, seen) = agent;
    let mut stream = dial(address, &login.connector, ticket).await;
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.tunnels += 1;
        seen.tunnels
    };
    let Ok(open) = frame::read::<Open>(&mut stream, 1_024).await else { return };
    seen.lock().unwrap().opens.push(open);
    let opened = match manner {
        Manner::Hang => return std::future::pending().await,
        // The youngest tunnel is used first.
        Manner::FirstDies if number == 2 => return,
        Manner::Refuse => {
            Opened { reason: Reason::ServiceRefused.wire(), detail: "nothing listens".to_owned() }
        }
        Manner::Echo | Manner::FirstDies => Opened { reason: 0, detail: String::new() },
    };
    frame::write(&mut stream, &opened).await.unwrap();
    let greeting = format!("{}:", login.agent);
    let mut text = vec![0; 64 * 1024];
    let mut greeted = false;
    while let Ok(count @ 1..) = stream.read(&mut text).await {
        if !greeted {
            greeted = true;
            stream.write_all(greeting.as_bytes()).await.unwrap();
        }
        stream.write_all(&text[..count]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let _ = stream.shutdown().await;
}
