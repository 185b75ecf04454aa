//! A core, the server at its other end, and the checker: whoever is answered gets the own answer, everybody ends exactly once,
//! and what the server executed is never said not to have been sent (INV-DRV-OWN, INV-DRV-CANCEL, INV-DRV-ONCE).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bowline_model::Epoch;
use bowline_redis::epoch::{Bereaved, EpochCore, Event, Fate, Pending};
use bowline_redis::{Command, Config, Death, Frame, Protocol, Settings};
use bowline_resp::{RequestDecoder, RequestLimits, encode};
use bytes::{Bytes, BytesMut};

/// A caller. Its request and its answer name it.
pub type Number = usize;

/// How long callers wait.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// How long the server may be silent.
pub const SILENCE_MAX: Duration = Duration::from_secs(2);

/// How a caller ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Answered(Frame),
    Expired,
    Buried(Fate),
}

/// See the module.
pub struct Pair {
    pub core: EpochCore<Number>,
    pub now: Instant,
    /// What the epoch has not read.
    pub replies: BytesMut,
    pub ends: BTreeMap<Number, End>,
    pub is_ready: bool,
    requests: BytesMut,
    decoder: RequestDecoder,
    protocol: Protocol,
    executed: BTreeSet<Number>,
}

/// The settings of all pairs.
pub fn config(fence: bool) -> Config {
    let mut config = Config::from_url("redis://h").unwrap();
    config.settings = Settings { fence, silence_max: SILENCE_MAX, ..Settings::default() };
    config
}

/// The request of a caller: one of eight kinds, so that every type of answer stands beside every other.
pub fn request(number: Number) -> Command {
    match number % 8 {
        0 => Command::new("GET").number(number),
        1 => Command::new("INCRBY").arg("counter").number(number),
        2 => Command::new("LRANGE").number(number).args(["0", "-1"]),
        3 => Command::new("EVAL").arg("error").number(number),
        4 => Command::new("HGETALL").number(number),
        5 => Command::new("GETRANGE").number(number).args(["0", "-1"]),
        6 => Command::new("HGET").arg("hash").number(number),
        _ => Command::new("EVAL").arg("list").number(number),
    }
}

/// The answer of a caller. Some look like what they are not.
pub fn answer(number: Number, protocol: Protocol) -> Frame {
    let text = |text: &str| Frame::bulk(text.replace('#', &number.to_string()));
    let list = |texts: &[&str]| Frame::Array(texts.iter().map(|&part| text(part)).collect());
    match number % 8 {
        0 => text("value:#"),
        1 => Frame::Integer(i64::try_from(number).unwrap()),
        2 => list(&["message", "channel", "value:#"]),
        3 => Frame::error(format!("ERR value:{number}")),
        4 if protocol == Protocol::Resp2 => list(&["field", "value:#"]),
        4 => Frame::Map(vec![(text("field"), text("value:#"))]),
        5 => text("$5\r\nvalue:#\r\n+OK\r\n"),
        6 => text(""),
        _ => Frame::Array(vec![list(&["subscribe", "#"]), Frame::Null, Frame::Integer(1)]),
    }
}

impl Pair {
    /// A pair that has not shaken hands.
    pub fn fresh(protocol: Protocol, fence: bool) -> Self {
        let now = bowline_rt::time::now();
        Self {
            core: EpochCore::new(Epoch::from_bits(7), &config(fence), now),
            now,
            requests: BytesMut::new(),
            decoder: RequestDecoder::new(RequestLimits::default()),
            replies: BytesMut::new(),
            protocol,
            executed: BTreeSet::new(),
            ends: BTreeMap::new(),
            is_ready: false,
        }
    }

    /// A pair that has shaken hands.
    pub fn new(protocol: Protocol, fence: bool) -> Self {
        let mut pair = Self::fresh(protocol, fence);
        pair.run();
        assert!(pair.is_ready && pair.core.owed() == 0);
        pair
    }

    /// Callers put in one batch of requests, each of its own kind.
    pub fn ask(&mut self, numbers: impl IntoIterator<Item = Number>) {
        self.ask_with(numbers.into_iter().map(|number| (number, request(number))));
    }

    /// Callers put in one batch of requests.
    pub fn ask_with(&mut self, commands: impl IntoIterator<Item = (Number, Command)>) {
        let mut bytes = BytesMut::new();
        let deadline = self.now + DEADLINE;
        let requests = commands
            .into_iter()
            .map(|(number, command)| Pending::encode(&command, number, deadline, &mut bytes).unwrap());
        let mut requests = requests.collect();
        self.core.append(&mut bytes, &mut requests, self.now);
        assert!(bytes.is_empty() && requests.is_empty());
    }

    /// The socket takes up to `count` bytes, and the server executes and answers what is complete.
    pub fn send(&mut self, count: usize) {
        let count = count.min(self.core.outgoing().len());
        self.requests.extend_from_slice(&self.core.outgoing()[..count]);
        self.core.handed_over(count);
        while let Some(request) = self.decoder.decode(&mut self.requests).unwrap() {
            let reply = self.reply(&request);
            encode(&reply, self.protocol, &mut self.replies);
        }
    }

    fn reply(&mut self, request: &[Bytes]) -> Frame {
        match &request[0][..] {
            b"HELLO" if self.protocol == Protocol::Resp2 => Frame::error("ERR unknown command `HELLO`"),
            b"HELLO" => Frame::Map(vec![
                (Frame::bulk("proto"), Frame::Integer(3)),
                (Frame::bulk("role"), Frame::bulk("master")),
            ]),
            b"INFO" => Frame::bulk("run_id:1\r\nrole:master\r\n"),
            b"PING" => Frame::Simple("PONG".into()),
            b"ECHO" => Frame::Bulk(request[1].clone()),
            b"CLIENT" => Frame::Integer(1),
            _ => {
                let number =
                    request[1..].iter().find_map(|argument| std::str::from_utf8(argument).ok()?.parse().ok());
                // LRANGE and GETRANGE name their key first, INCRBY and HGET theirs last, but all before any other number.
                let number = number.expect("every request names its caller");
                assert!(self.executed.insert(number), "INV-DRV-ONCE: {number} was executed twice");
                answer(number, self.protocol)
            }
        }
    }

    /// The epoch reads up to `count` bytes.
    pub fn receive(&mut self, count: usize) {
        let count = count.min(self.replies.len());
        let bytes = self.replies.split_to(count);
        self.feed(&bytes);
    }

    /// The epoch reads these bytes, dead or alive: the dead must not answer.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.core.read_buffer().extend_from_slice(bytes);
            self.core.received(self.now);
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.core.poll_event(self.now) {
            match event {
                Event::Answer { caller: Some(number), frame, .. } => self.end(number, End::Answered(frame)),
                Event::Ready(_) => self.is_ready = true,
                Event::Expired(number) => self.end(number, End::Expired),
                // Whose caller has given up, and what nobody asked for.
                _ => {}
            }
        }
    }

    fn end(&mut self, number: Number, end: End) {
        if let End::Answered(frame) = &end {
            assert_eq!(*frame, answer(number, self.protocol), "INV-DRV-OWN: {number}");
        }
        assert_eq!(self.ends.insert(number, end), None, "INV-DRV-ONCE: {number} ended twice");
    }

    /// Everything flows until nothing moves.
    pub fn run(&mut self) {
        while self.core.death().is_none() && !(self.core.outgoing().is_empty() && self.replies.is_empty()) {
            self.send(usize::MAX);
            self.receive(usize::MAX);
        }
    }

    /// Time passes for a process that stands still: it wakes up once, at the end.
    pub fn sleep_through(&mut self, duration: Duration) {
        self.now += duration;
        if self.core.poll_timeout().is_some_and(|at| at <= self.now) {
            self.core.handle_timeout(self.now);
        }
        self.collect();
    }

    /// Time passes for a process that is woken whenever it asked to be.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.core.poll_timeout().filter(|&at| at <= end && self.core.death().is_none()) {
            self.sleep_through(at.saturating_duration_since(self.now));
        }
        self.now = end;
    }

    /// The epoch is buried; everybody up to `count` has ended by then, and truly.
    pub fn bury(&mut self, count: usize) {
        for Bereaved { caller: number, fate, .. } in self.core.bury() {
            self.end(number, End::Buried(fate));
        }
        assert_eq!(self.ends.len(), count, "INV-DRV-ONCE: everybody ends");
        for number in &self.executed {
            let end = &self.ends[number];
            assert_ne!(*end, End::Buried(Fate::NotSent), "INV-DRV-ONCE: {number} was executed");
        }
    }

    /// The epoch dies and is buried.
    pub fn die(&mut self, death: Death, count: usize) {
        self.core.die(death);
        self.bury(count);
    }

    /// Everything works: whoever asks now is answered.
    pub fn demand_service(&mut self, numbers: impl IntoIterator<Item = Number> + Clone) {
        self.ask(numbers.clone());
        self.run();
        for number in numbers {
            let expected = End::Answered(answer(number, self.protocol));
            assert_eq!(self.ends.get(&number), Some(&expected), "INV-DRV-CANCEL: {number}");
        }
        assert_eq!((self.core.owed(), self.core.death()), (0, None));
    }
}
