//! Callers, a connection, and a server; and a driver between them. Everything that happens is drawn from a seed.
//!
//! Bytes are cut anywhere: the driver hands some over, the server reads some, some of its answers arrive. A run ends with
//! everything working and all deadlines passing: by then every request must have ended.

use std::time::{Duration, Instant};

use bowline_resp::{Frame, Protocol, RequestDecoder, RequestLimits, encode};
use bytes::{Bytes, BytesMut};

use crate::draw::Draw;
use crate::explore::Run;
use crate::mixed_replies::checker::{Checker, End, Key, value};
use crate::trace::Trace;

/// Milliseconds of virtual time.
pub type Milliseconds = u64;

/// How long a caller waits.
pub const DEADLINE: Milliseconds = 150;
/// How long a server may owe an answer and be silent.
pub const SILENCE_MAX: Milliseconds = 400;

const STEPS_MAX: usize = 80;
const BATCH_MAX: usize = 3;
const BYTES_MAX: usize = 60;
/// Requests and answers of an introduction.
const INTRODUCTION_TURNS: usize = 4;
/// Enough for what is on its way, an end of the connection, and an introduction.
const SETTLE_TURNS: usize = 10;
const CALLERS: usize = 0;
const DRIVER: usize = 1;
const SERVER: usize = 2;

/// What may go wrong, beside bytes that are cut anywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The connection ends, at any byte.
    pub cuts: bool,
    /// Callers give up.
    pub cancels: bool,
    /// Time passes: deadlines, silence, sleep.
    pub stalls: bool,
    /// Some requests are answered with an error.
    pub errors: bool,
    /// Some answers are lists that look like messages.
    pub lists: bool,
    /// The server sends what nobody asked for, as pushes of RESP3.
    pub pushes: bool,
}

/// A driver under test. It has no connection at first.
pub trait Driver {
    /// A connection was made.
    fn connect(&mut self, now: Instant);
    /// Whether requests may be put in.
    fn is_ready(&self) -> bool;
    /// Whether there is no connection, or one that the driver has given up.
    fn is_down(&self) -> bool;
    /// Callers put in a batch of requests.
    fn ask(&mut self, batch: &[Key], now: Instant);
    /// The caller of a request gives up.
    fn cancel(&mut self, key: Key);
    /// Hands over up to `count` bytes.
    fn send(&mut self, count: usize) -> Vec<u8>;
    /// Bytes arrive.
    fn receive(&mut self, bytes: &[u8], now: Instant);
    /// The driver looks at what arrived and at the clock.
    fn work(&mut self, now: Instant) -> Vec<(Key, End)>;
    /// The connection ended.
    fn cut(&mut self) -> Vec<(Key, End)>;
    /// Bytes of the former connection arrive where its reader still listens. Returns whose answer it makes of them.
    fn late(&mut self, bytes: &[u8], now: Instant) -> Option<Key>;
}

/// What can happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    Cancel,
    Send,
    Serve,
    Receive,
    Work,
    Time,
    Push,
    Cut,
    Connect,
    Late,
}

/// The server's end of the connection, and what is on its way.
struct Connection {
    requests: BytesMut,
    read: BytesMut,
    decoder: RequestDecoder,
    replies: BytesMut,
    /// The server has got something that is no request, has said so, and reads no more.
    is_broken: bool,
}

impl Connection {
    fn new() -> Self {
        let decoder = RequestDecoder::new(RequestLimits::default());
        Self {
            requests: BytesMut::new(),
            read: BytesMut::new(),
            decoder,
            replies: BytesMut::new(),
            is_broken: false,
        }
    }
}

struct World<D> {
    faults: Faults,
    draw: Draw,
    origin: Instant,
    now: Milliseconds,
    protocol: Protocol,
    driver: D,
    connection: Connection,
    /// Answers of the former connection that have not arrived.
    late: BytesMut,
    next_key: Key,
    checker: Checker,
    trace: Trace,
}

/// Runs a driver once.
pub fn run<D: Driver>(seed: u64, faults: Faults, make: impl FnOnce(&mut Draw) -> D) -> Run {
    #[expect(clippy::disallowed_methods, reason = "virtual time has to count from some instant")]
    let origin = Instant::now();
    let mut draw = Draw::new(seed);
    let protocol = if draw.once_in(2) { Protocol::Resp2 } else { Protocol::Resp3 };
    let driver = make(&mut draw);
    let trace = Trace::new(&["callers", "driver", "server"]);
    let mut world = World {
        faults,
        draw,
        origin,
        now: 0,
        protocol,
        driver,
        connection: Connection::new(),
        late: BytesMut::new(),
        next_key: 0,
        checker: Checker::default(),
        trace,
    };
    for _ in 0..1 + world.draw.below(STEPS_MAX) {
        let choices = world.choices();
        let step = *world.draw.weighted(&choices);
        world.take(step);
    }
    world.settle();
    Run { violation: world.checker.verdict(), trace: world.trace }
}

impl<D: Driver> World<D> {
    fn choices(&self) -> Vec<(usize, Step)> {
        let once = usize::from;
        let (faults, down) = (self.faults, self.driver.is_down());
        vec![
            (6 * once(self.driver.is_ready()), Step::Ask),
            (2 * once(faults.cancels && self.next_key > 0), Step::Cancel),
            (8 * once(!down), Step::Send),
            (8 * once(!self.connection.requests.is_empty()), Step::Serve),
            (8 * once(!down && !self.connection.replies.is_empty()), Step::Receive),
            (8, Step::Work),
            (2 * once(faults.stalls), Step::Time),
            (once(faults.pushes && self.protocol == Protocol::Resp3 && self.driver.is_ready()), Step::Push),
            (once(faults.cuts && !down), Step::Cut),
            (8 * once(down), Step::Connect),
            (2 * once(!self.late.is_empty()), Step::Late),
        ]
    }

    fn take(&mut self, step: Step) {
        let bytes = if self.draw.once_in(3) { usize::MAX } else { 1 + self.draw.below(BYTES_MAX) };
        match step {
            Step::Ask => self.ask(),
            Step::Cancel => self.cancel(),
            Step::Send => self.send(bytes),
            Step::Serve => self.serve(bytes),
            Step::Receive => self.receive(bytes),
            Step::Work => self.work(),
            Step::Time => {
                let most = if self.draw.once_in(4) { 4 * SILENCE_MAX } else { DEADLINE };
                self.now +=
                    u64::try_from(self.draw.below(usize::try_from(most).expect("small"))).expect("small");
                self.trace.step(DRIVER, format!("it is {} ms", self.now));
            }
            Step::Push => {
                self.trace.step(SERVER, "push");
                let push = Frame::Push(vec![Frame::bulk("message"), Frame::bulk("news"), Frame::bulk("x")]);
                encode(&push, self.protocol, &mut self.connection.replies);
            }
            Step::Cut => self.cut(),
            Step::Connect => self.connect(),
            Step::Late => self.late(bytes),
        }
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from_millis(self.now)
    }

    fn ask(&mut self) {
        let count = 1 + self.draw.below(BATCH_MAX);
        let batch: Vec<Key> = (self.next_key..self.next_key + count).collect();
        self.next_key += count;
        batch.iter().for_each(|key| self.checker.asked(*key));
        self.trace.step(CALLERS, format!("ask for {batch:?}"));
        self.driver.ask(&batch, self.instant());
    }

    fn cancel(&mut self) {
        let key = self.draw.below(self.next_key);
        if self.checker.waits(key) {
            self.trace.step(CALLERS, format!("the one of {key} gives up"));
            self.checker.abandoned(key);
            self.driver.cancel(key);
        }
    }

    fn send(&mut self, bytes: usize) {
        let sent = self.driver.send(bytes);
        if !sent.is_empty() {
            self.trace.step(DRIVER, format!("sends {} bytes", sent.len()));
            self.connection.requests.extend_from_slice(&sent);
        }
    }

    /// The server reads some bytes and answers what is complete.
    fn serve(&mut self, bytes: usize) {
        let count = bytes.min(self.connection.requests.len());
        let read = self.connection.requests.split_to(count);
        self.connection.read.extend_from_slice(&read);
        if self.connection.is_broken {
            return;
        }
        loop {
            let Connection { read, decoder, .. } = &mut self.connection;
            let reply = match decoder.decode(read) {
                Ok(Some(request)) => self.reply(&request),
                Ok(None) => return,
                // The rest of the connection is lost on a server, too.
                Err(error) => Frame::error(format!("ERR Protocol error: {error}")),
            };
            let is_broken = matches!(&reply, Frame::Error(text) if text.starts_with(b"ERR Protocol"));
            encode(&reply, self.protocol, &mut self.connection.replies);
            if is_broken {
                self.connection.is_broken = true;
                return;
            }
        }
    }

    fn reply(&mut self, request: &[Bytes]) -> Frame {
        match &request[0][..] {
            b"HELLO" if self.protocol == Protocol::Resp2 => Frame::error("ERR unknown command `HELLO`"),
            b"HELLO" => Frame::Map(vec![
                (Frame::bulk("proto"), Frame::Integer(3)),
                (Frame::bulk("id"), Frame::Integer(7)),
                (Frame::bulk("role"), Frame::bulk("master")),
            ]),
            b"INFO" => Frame::bulk("run_id:1\r\n"),
            b"CLIENT" => Frame::Integer(7),
            b"PING" => Frame::Simple("PONG".into()),
            b"ECHO" => Frame::Bulk(request[1].clone()),
            _ => {
                let key = request.get(1).and_then(|key| std::str::from_utf8(key).ok()?.parse().ok());
                // Only the rest of a request names no key.
                key.map_or_else(|| Frame::error("ERR unknown command"), |key| self.execute(key))
            }
        }
    }

    fn execute(&mut self, key: Key) -> Frame {
        self.checker.executed(key);
        self.trace.step(SERVER, format!("answers {key}"));
        match self.draw.below(4) {
            0 if self.faults.errors => Frame::error(format!("ERR {}", value(key))),
            1 if self.faults.lists => {
                Frame::Array(["message", "news", &value(key)].map(|text| Frame::bulk(text.to_owned())).into())
            }
            _ => Frame::bulk(value(key)),
        }
    }

    fn receive(&mut self, bytes: usize) {
        let count = bytes.min(self.connection.replies.len());
        let received = self.connection.replies.split_to(count);
        if !received.is_empty() && !self.driver.is_down() {
            self.trace.step(DRIVER, format!("receives {count} bytes"));
            self.driver.receive(&received, self.instant());
        }
    }

    fn work(&mut self) {
        let ends = self.driver.work(self.instant());
        self.end(ends);
    }

    fn end(&mut self, ends: Vec<(Key, End)>) {
        for (key, end) in ends {
            self.trace.step(CALLERS, format!("the one of {key}: {end:?}"));
            self.checker.ended(key, &end);
        }
    }

    /// The connection breaks. The server may still carry out what reached it.
    fn cut(&mut self) {
        self.trace.step(DRIVER, "the connection is cut");
        let ends = self.driver.cut();
        self.end(ends);
    }

    fn connect(&mut self) {
        if self.draw.once_in(2) {
            self.serve(usize::MAX);
        }
        self.late = std::mem::replace(&mut self.connection, Connection::new()).replies;
        self.trace.step(DRIVER, "a new connection");
        self.driver.connect(self.instant());
        // Most introductions succeed; the others may be cut at any byte.
        if !self.draw.once_in(4) {
            (0..INTRODUCTION_TURNS).for_each(|_| self.exchange());
        }
    }

    /// All that is on its way arrives.
    fn exchange(&mut self) {
        self.send(usize::MAX);
        self.serve(usize::MAX);
        self.receive(usize::MAX);
        self.work();
    }

    fn late(&mut self, bytes: usize) {
        let count = bytes.min(self.late.len());
        let bytes = self.late.split_to(count);
        if let Some(key) = self.driver.late(&bytes, self.instant()) {
            self.checker.heard_from_the_dead(key);
        }
    }

    /// Everything works, and then all deadlines pass.
    fn settle(&mut self) {
        for _ in 0..SETTLE_TURNS {
            if self.driver.is_down() {
                self.connect();
            }
            self.exchange();
        }
        self.now += SILENCE_MAX + DEADLINE;
        self.work();
        self.checker.quiet();
    }
}
