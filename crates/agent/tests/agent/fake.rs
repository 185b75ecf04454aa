//! A gateway that does exactly what a test says, services behind the agent, and bounded waits.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_agent::{Agent, GatewayView, Handle, Limits, Service, Services, Settings, State};
use bowline_identity::tls::{ALPN_CONTROL, ALPN_TUNNEL, Acceptor, Connector, Stream};
use bowline_proto::frame;
use bowline_proto::v1::control_server::{Control, ControlServer};
use bowline_proto::v1::{
    Dial, FromAgent, FromGateway, Login, Open, Opened, TunnelHello, Welcome, from_agent, from_gateway,
};
use bowline_rt::net::Listener;
use bowline_rt::relay::relay;
use bowline_rt::task::JoinHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything takes; a test that waits so long has failed.
const BOUND: Duration = Duration::from_secs(10);

pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    bowline_rt::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A gateway in a runtime of its own; dropping it is its sudden death.
pub struct Gateway {
    pub address: String,
    attaches: mpsc::Receiver<Attach>,
    tunnels: mpsc::Receiver<Tunnel>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// An agent that wants to log in.
pub struct Attach {
    pub login: Login,
    pub authorization: Option<String>,
    from_agent: Streaming<FromAgent>,
    to_agent: mpsc::Sender<Result<FromGateway, Status>>,
}

/// A tunnel that said hello.
pub struct Tunnel {
    pub ticket: Vec<u8>,
    pub stream: Stream,
}

/// Control connections on their way to the gRPC server.
type Controls = mpsc::Sender<std::io::Result<DuplexStream>>;

struct Logins(mpsc::Sender<Attach>);

#[tonic::async_trait]
impl Control for Logins {
    type AttachStream = ReceiverStream<Result<FromGateway, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().expect("plain text").to_owned());
        let mut from_agent = request.into_inner();
        let first = from_agent.message().await?.and_then(|message| message.message);
        let Some(from_agent::Message::Login(login)) = first else {
            return Err(Status::invalid_argument("no login"));
        };
        let (to_agent, messages) = mpsc::channel(16);
        let attach = Attach { login, authorization, from_agent, to_agent };
        self.0.send(attach).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Gateway {
    pub fn start() -> Self {
        Self::start_with(Acceptor::Plain)
    }

    pub fn start_with(acceptor: Acceptor) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (attach_sender, attaches) = mpsc::channel(16);
        let (tunnel_sender, tunnels) = mpsc::channel(16);
        let (address_sender, address) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let listener = Listener::bind(loopback()).await.expect("a free port");
            address_sender.send(listener.local_addr().expect("bound").to_string()).expect("the test waits");
            let (control_sender, controls) = mpsc::channel(16);
            let server = tonic::transport::Server::builder()
                .add_service(ControlServer::new(Logins(attach_sender)))
                .serve_with_incoming(ReceiverStream::new(controls));
            let accept = async {
                while let Ok((tcp, _)) = listener.accept().await {
                    let (acceptor, controls, tunnels) =
                        (acceptor.clone(), control_sender.clone(), tunnel_sender.clone());
                    bowline_rt::task::spawn("connection", async move {
                        if let Ok(stream) = acceptor.accept(tcp).await {
                            sort(stream, controls, tunnels).await;
                        }
                    });
                }
            };
            tokio::select! { _ = server => {}, () = accept => {} }
        });
        let address = address.recv().expect("the gateway starts");
        Self { address, attaches, tunnels, runtime: Some(runtime) }
    }

    /// The next agent that wants to log in.
    pub async fn attach(&mut self) -> Attach {
        within("a login", self.attaches.recv()).await.expect("the gateway runs")
    }

    /// The next agent that logs in, welcomed as `name`.
    pub async fn welcome(&mut self, name: &str) -> Attach {
        let attach = self.attach().await;
        attach.welcome(name).await;
        attach
    }

    pub async fn tunnel(&mut self) -> Tunnel {
        within("a tunnel", self.tunnels.recv()).await.expect("the gateway runs")
    }

    /// Asks for one tunnel and opens a stream to `service` on it.
    pub async fn open(&mut self, attach: &Attach, service: &str) -> (Opened, Stream) {
        attach.dial(&[b"ticket"]).await;
        let tunnel = self.tunnel().await;
        assert_eq!(tunnel.ticket, b"ticket");
        tunnel.open(service).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.runtime.take().expect("only taken here").shutdown_background();
    }
}

/// Tells by the first bytes what a connection is.
async fn sort(mut stream: Stream, controls: Controls, tunnels: mpsc::Sender<Tunnel>) {
    let mut first = [0; 5];
    // Somebody who leaves without a word is no concern of a test.
    let Ok(_) = stream.read_exact(&mut first).await else { return };
    if first != frame::TUNNEL_PREAMBLE {
        assert!(!stream.is_tls() || stream.alpn() == Some(ALPN_CONTROL));
        let (far, mut near) = tokio::io::duplex(64 * 1024);
        near.write_all(&first).await.expect("there is room");
        drop(controls.send(Ok(far)).await);
        relay(&mut stream, &mut near).await;
        return;
    }
    assert!(!stream.is_tls() || stream.alpn() == Some(ALPN_TUNNEL));
    let hello: TunnelHello = frame::read(&mut stream, 1024).await.expect("a hello follows");
    drop(tunnels.send(Tunnel { ticket: hello.ticket, stream }).await);
}

impl Attach {
    pub async fn send(&self, message: from_gateway::Message) {
        let message = FromGateway { message: Some(message) };
        self.to_agent.send(Ok(message)).await.expect("the agent is attached");
    }

    pub async fn welcome(&self, name: &str) {
        self.welcome_with_heartbeat(name, 1_000).await;
    }

    pub async fn welcome_with_heartbeat(&self, name: &str, heartbeat_ms: u32) {
        let welcome =
            Welcome { gateway: name.into(), epoch: vec![7; 16], version: "test".into(), heartbeat_ms };
        self.send(from_gateway::Message::Welcome(welcome)).await;
    }

    pub async fn dial(&self, tickets: &[&[u8]]) {
        let tickets = tickets.iter().map(|ticket| ticket.to_vec()).collect();
        self.send(from_gateway::Message::Dial(Dial { tickets })).await;
    }

    /// Ends the connection with an error.
    pub async fn fail(self, status: Status) {
        self.to_agent.send(Err(status)).await.expect("the agent is attached");
    }

    /// The next message that is not a heartbeat; `None` at the end.
    pub async fn receive(&mut self) -> Option<from_agent::Message> {
        loop {
            match within("a message", self.from_agent.message()).await {
                Ok(Some(FromAgent { message: Some(from_agent::Message::Heartbeat(_)) })) => {}
                Ok(Some(message)) => return Some(message.message.expect("a known message")),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub async fn receive_heartbeat(&mut self) {
        let message =
            within("a heartbeat", self.from_agent.message()).await.expect("attached").expect("attached");
        assert!(matches!(message.message, Some(from_agent::Message::Heartbeat(_))));
    }
}

impl Tunnel {
    pub async fn open(mut self, service: &str) -> (Opened, Stream) {
        let open = Open { service: service.into(), request_id: "r-1".into(), client: String::new() };
        frame::write(&mut self.stream, &open).await.expect("the tunnel is idle");
        let opened = within("the answer", frame::read(&mut self.stream, 4096)).await.expect("an answer");
        (opened, self.stream)
    }

    /// Waits until the agent closes this tunnel.
    pub async fn closed(mut self) {
        let end = within("the end of a tunnel", self.stream.read(&mut [0; 1])).await;
        assert!(matches!(end, Ok(0) | Err(_)));
    }
}

/// An agent that runs.
pub struct Running {
    pub handle: Handle,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

pub fn settings(gateways: &[&Gateway], services: Services) -> Settings {
    let join = gateways.iter().map(|gateway| gateway.address.clone()).collect();
    let mut settings = Settings::new("edge".parse().expect("a name"), join, services, Connector::Plain);
    // Quick, so that no test waits for a back-off.
    settings.limits = Limits { backoff_min: Duration::from_millis(5), ..Limits::default() };
    settings
}

pub fn start(settings: Settings) -> Running {
    let agent = Agent::new(settings).expect("valid settings");
    let (handle, shutdown) = (agent.handle(), CancellationToken::new());
    let task = bowline_rt::task::spawn("agent", agent.run(shutdown.clone()));
    Running { handle, shutdown, task }
}

impl Running {
    /// Waits until the view of the gateway at `address` is as wanted.
    pub async fn until(
        &self,
        address: &str,
        what: &str,
        wanted: impl Fn(&GatewayView) -> bool,
    ) -> GatewayView {
        let mut views = self.handle.gateways();
        let found = within(
            what,
            views.wait_for(|views| views.iter().any(|view| view.address == address && wanted(view))),
        )
        .await;
        found
            .expect("the agent runs")
            .iter()
            .find(|view| view.address == address)
            .expect("just found")
            .clone()
    }

    pub async fn until_state(&self, gateway: &str, state: State) {
        self.until(gateway, &format!("{state:?}"), |view| view.state == state).await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        within("the agent's end", self.task).await.expect("no panic");
    }
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn services(list: &[(&str, SocketAddr)]) -> Services {
    let service = |(name, address): &(&str, SocketAddr)| Service {
        name: name.parse().expect("a name"),
        address: address.to_string(),
    };
    Services::new(list.iter().map(service)).expect("valid services")
}

/// A service that sends back what it gets, and ends when its client has.
pub async fn echo() -> SocketAddr {
    let listener = Listener::bind(loopback()).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    bowline_rt::task::spawn("echo", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            bowline_rt::task::spawn("echo stream", async move {
                let (mut reader, mut writer) = stream.split();
                // A client that breaks off is what some tests are about.
                if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                    drop(writer.shutdown().await);
                }
            });
        }
    });
    address
}

/// Sends `bytes` and expects them back.
pub async fn ping(stream: &mut Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("the stream is open");
    let mut back = vec![0; bytes.len()];
    within("an echo", stream.read_exact(&mut back)).await.expect("the stream is open");
    assert_eq!(back, bytes);
}
