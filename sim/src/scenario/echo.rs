//! A server that echoes numbers and a client that reconnects: the simulator itself under test, without Bowline.
//!
//! The smallest system that has everything the meta test must see repeat: sockets, timers, `select!`, hash maps.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bowline_model::Invariant;
use bowline_rt::net::{self, Listener, TcpStream};
use bowline_rt::{random, task, time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Scenario;
use crate::fault::{Plan, Subjects};
use crate::limits::FAULTS;
use crate::phases::{self, Checker, Violation};

pub const SCENARIO: Scenario =
    Scenario { name: "echo", about: "a client and a server of numbers: tests the simulator itself", run };

const PORT: u16 = 7_000;
const LIMIT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);
const SUBJECTS: Subjects = Subjects { hosts: &["server"], links: &[("client", "server")] };

/// What the client has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Exchanges in a row that went well.
    streak: u64,
    wrong: Option<String>,
}

impl Seen {
    fn note(&mut self, number: u64, result: &io::Result<u64>) {
        self.streak = if result.is_ok() { self.streak + 1 } else { 0 };
        if let Ok(answer) = result
            && *answer != number
        {
            self.wrong = Some(format!("asked {number}, and was answered {answer}"));
        }
    }
}

struct EchoChecker(Rc<RefCell<Seen>>);

impl Checker for EchoChecker {
    fn converged(&self) -> Result<(), Violation> {
        match self.0.borrow().streak {
            0 => Err(Violation::other("the client gets no answer")),
            _ => Ok(()),
        }
    }

    fn healed(&self) {
        self.0.borrow_mut().streak = 0;
    }

    fn safe(&self) -> Result<(), Violation> {
        match &self.0.borrow().wrong {
            Some(detail) => Err(Violation::of(Invariant::DrvOwn, detail.clone())),
            None => Ok(()),
        }
    }
}

fn run(seed: u64) -> Result<String, Violation> {
    let plan = Plan::draw(&SUBJECTS, FAULTS);
    let mut sim = phases::simulation(seed);
    let seen = Rc::new(RefCell::new(Seen::default()));
    sim.host("server", || async { Ok(serve().await?) });
    let client = seen.clone();
    sim.host("client", move || {
        let seen = client.clone();
        async move {
            ask_for_ever(&seen).await;
            Ok(())
        }
    });
    phases::run(&mut sim, &plan, &EchoChecker(seen))
}

async fn serve() -> io::Result<()> {
    let listener = Listener::bind(([0, 0, 0, 0], PORT).into()).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        task::spawn("echo", async move { drop(echo(stream).await) });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let number = stream.read_u64().await?;
        stream.write_u64(number).await?;
    }
}

/// Keeps one connection while it works and counts in `seen` how it goes.
async fn ask_for_ever(seen: &RefCell<Seen>) {
    // Iterated in the order of its hashes, to let the meta test see whether those repeat.
    let mut asked: HashMap<u64, u64> = HashMap::new();
    let mut connection = None;
    loop {
        let number = random::bits64();
        let result = ask(&mut connection, number).await;
        if let Err(error) = &result {
            tracing::info!(%error, ?asked, "no answer");
            connection = None;
        } else {
            *asked.entry(number % 16).or_default() += 1;
        }
        seen.borrow_mut().note(number, &result);
        // Both are ready at once now and then: the choice must follow from the seed.
        tokio::select! {
            () = time::sleep(PAUSE) => tracing::trace!("first"),
            () = time::sleep(PAUSE) => tracing::trace!("second"),
        }
    }
}

async fn ask(connection: &mut Option<TcpStream>, number: u64) -> io::Result<u64> {
    let exchange = async {
        let stream = match connection {
            Some(stream) => stream,
            None => connection.insert(net::connect_host(&format!("server:{PORT}"), LIMIT).await?),
        };
        stream.write_u64(number).await?;
        stream.read_u64().await
    };
    time::timeout(LIMIT, exchange).await.map_err(io::Error::other)?
}
