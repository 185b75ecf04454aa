//! What the tests of this crate share: an entry over loopback whose tunnels are connections to a service in the test.
//!
//! Everything runs on one thread, so a paused clock moves on only when nobody has anything left to do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_identity::tls::Acceptor;
use bowline_model::Reason;
use bowline_rt::net::{self, Listener, TcpStream};
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::http::{Entry, Settings};
use crate::metrics::Metrics;
use crate::opener::{OpenError, OpenRequest, Opener, Stream};

/// Longest that any step of a test may take. Longer than every limit under test, for tests with a paused clock.
pub const LIMIT: Duration = Duration::from_secs(600);

/// Opens connections to one service, and remembers for whom.
pub struct FakeOpener {
    pub service: SocketAddr,
    pub failure: Mutex<Option<OpenError>>,
    pub requests: Mutex<Vec<OpenRequest>>,
}

impl FakeOpener {
    pub fn new(service: SocketAddr) -> Arc<Self> {
        Arc::new(Self { service, failure: Mutex::default(), requests: Mutex::default() })
    }

    pub fn fail(&self, reason: Reason) {
        *self.failure.lock().unwrap() = Some(OpenError { reason, detail: "on purpose".into() });
    }

    /// How many streams were asked for.
    pub fn opened(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Opener for FakeOpener {
    async fn open(&self, request: OpenRequest) -> Result<Box<dyn Stream>, OpenError> {
        self.requests.lock().unwrap().push(request);
        if let Some(error) = self.failure.lock().unwrap().clone() {
            return Err(error);
        }
        let stream = net::connect(self.service, LIMIT).await;
        let refused = |error| OpenError { reason: Reason::ServiceRefused, detail: format!("{error}") };
        Ok(Box::new(stream.map_err(refused)?))
    }
}

/// Listens on a free port of loopback.
pub async fn listener() -> Listener {
    Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A service that handles every connection with `handle`, which gets the number of the connection.
pub async fn service<F>(handle: impl Fn(usize, TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    task::spawn("service", async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            task::spawn("service-connection", handle(number, stream));
        }
    });
    address
}

/// A service that answers the requests of a connection in turn with these texts, then closes it.
pub async fn scripted(answers: &[&str]) -> SocketAddr {
    let answers: Arc<[String]> = answers.iter().map(ToString::to_string).collect();
    let turn = Arc::new(AtomicUsize::new(0));
    service(move |_, mut stream| {
        let (turn, answers) = (turn.clone(), answers.clone());
        async move {
            while let Some(_head) = read_head(&mut stream).await {
                let answer = answers.get(turn.fetch_add(1, Ordering::SeqCst)).map_or("", String::as_str);
                let (text, stays) =
                    answer.strip_suffix("<close>").map_or((answer, true), |text| (text, false));
                stream.write_all(text.as_bytes()).await.unwrap();
                if !stays || text.is_empty() {
                    break;
                }
            }
        }
    })
    .await
}

/// A service that answers every request with its head as the body.
pub async fn mirror() -> SocketAddr {
    service(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
    })
    .await
}

/// A service that sends back what comes.
pub async fn echo() -> SocketAddr {
    service(|_, mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// Reads up to the end of a head, byte by byte; `None` if the connection ends before.
pub async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Runs hyper's own tasks.
#[derive(Debug, Clone, Copy)]
pub struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        task::spawn("http2", future);
    }
}

/// An entry that runs.
pub struct World {
    pub address: SocketAddr,
    pub opener: Arc<FakeOpener>,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<()>,
}

impl World {
    pub async fn start(service: SocketAddr, settings: Settings) -> Self {
        Self::start_with(service, settings, Acceptor::Plain).await
    }

    pub async fn start_with(service: SocketAddr, settings: Settings, acceptor: Acceptor) -> Self {
        let (opener, metrics) = (FakeOpener::new(service), Metrics::default());
        let entry = Entry::new(opener.clone(), settings, metrics.clone());
        let shutdown = CancellationToken::new();
        let listener = listener().await;
        let address = listener.local_addr().unwrap();
        let ending = shutdown.clone();
        let running = task::spawn("entry", async move { entry.serve(listener, acceptor, ending).await });
        Self { address, opener, metrics, shutdown, running }
    }

    /// Connects as a client.
    pub async fn dial(&self) -> TcpStream {
        net::connect(self.address, LIMIT).await.unwrap()
    }

    /// Sends `request` over a connection of its own and reads all that comes until it is closed.
    pub async fn ask(&self, request: &str) -> String {
        let mut stream = self.dial().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// A GET for the service "web" that closes its connection, with more header lines.
    pub async fn get(&self, lines: &str) -> String {
        self.ask(&format!("GET /x HTTP/1.1\r\nhost: web.svc.bowline\r\nconnection: close\r\n{lines}\r\n"))
            .await
    }
}

/// Reads until the connection is closed; an error ends it too.
pub async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("the connection is closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until `holds`, looking again whenever everyone else had a turn.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    time::timeout(Duration::from_secs(10), look).await.unwrap_or_else(|_| panic!("never: {what}"));
}
