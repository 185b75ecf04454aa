//! Two gateways with the session service over one store: gateways crash, and their links to the store stall, lose everything or take
//! long. The store stays, so that what was acknowledged must be there.
//!
//! The models of what may be found are those of the gate against real servers (`torture/src/sessions`).
//! - INV-DRV-OWN: each value names its session and the write that made it, and is one that may be there.
//! - INV-DRV-ONCE: increments by `If-Match` count once.
//! - INV-SESS-AUTH: what was served is never served again, by either gateway.
//! - INV-DRV-BOUND: every answer comes in time, whatever the store does.

#[expect(dead_code, reason = "nothing is lost here: the store stays")]
#[path = "../../../torture/src/sessions/counter.rs"]
mod counter;
#[cfg_attr(not(test), expect(dead_code, reason = "as above"))]
#[path = "../../../torture/src/sessions/register.rs"]
mod register;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bowline_identity::signature::{Algorithm, Keys, RequestParts, SignOptions, SigningKey};
use bowline_model::Invariant;
use bowline_rt::time::{now, sleep, timeout, unix_time};
use bowline_rt::{net, random, task};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::counter::Counter;
use self::register::{Content, Fate, Found, Register};
use super::Scenario;
use crate::fault::{Plan, Subjects};
use crate::limits::{FAULTS, HEAD_BYTES_MAX, PROBE_TIMEOUT};
use crate::phases::{self, Checker, Violation};
use crate::zone::{self, SESSIONS_PORT};

pub const SCENARIO: Scenario = Scenario {
    name: "sessions",
    about: "the session service of two gateways over one store: nothing is lost, late, foreign, or served twice",
    run,
};

const GATEWAYS: [&str; 2] = ["g1", "g2"];
const SUBJECTS: Subjects = Subjects { hosts: &GATEWAYS, links: &[("g1", "store"), ("g2", "store")] };
const APP: &str = "app";

/// Sessions with a writer each; the writer stays with one gateway.
const OWNED: usize = 2;
/// Who counts in the one counter.
const COUNTING: usize = 2;
/// Answers come within this.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// What the simulation adds: it cuts time into ticks, and hosts take turns.
const SLACK: Duration = Duration::from_millis(100);
/// A gateway that has crashed may have sent a write. The store carries it out within 7 s, or never.
const LATE: Duration = Duration::from_secs(8);
/// Steps of one caller in a row that went well, after which it counts as served.
const SERVED_MIN: u64 = 5;
/// Longest pause of a caller between two steps.
const PAUSE_MAX: Duration = Duration::from_millis(800);
/// Requests that were served and are kept, to be sent once more.
const REPLAYS_MAX: u64 = 50;

/// What is known; it outlives every crash.
#[derive(Default)]
struct Seen {
    owned: [Register; OWNED],
    counter: Counter,
    streaks: [u64; OWNED + COUNTING],
    served: Vec<String>,
    violation: Option<Violation>,
}

impl Seen {
    fn demand(&mut self, invariant: Invariant, what: &str, judgement: Result<(), String>) {
        if let Err(detail) = judgement {
            self.violation.get_or_insert(Violation::of(invariant, format!("{what}: {detail}")));
        }
    }
}

struct SessionsChecker(Rc<RefCell<Seen>>);

impl Checker for SessionsChecker {
    fn converged(&self) -> Result<(), Violation> {
        match self.0.borrow().streaks.iter().position(|&streak| streak < SERVED_MIN) {
            Some(caller) => Err(Violation::of(Invariant::DrvBound, format!("caller {caller} is not served"))),
            None => Ok(()),
        }
    }

    fn healed(&self) {
        self.0.borrow_mut().streaks.fill(0);
    }

    fn safe(&self) -> Result<(), Violation> {
        self.0.borrow().violation.clone().map_or(Ok(()), Err)
    }
}

fn run(seed: u64) -> Result<String, Violation> {
    let plan = Plan::draw(&SUBJECTS, FAULTS);
    let key = SigningKey::generate("key".parse().expect("an id"), Algorithm::HmacSha256);
    let table = key.table_entry(&"shop".parse().expect("a namespace"));
    let mut sim = phases::simulation(seed);
    zone::add_store(&mut sim);
    for gateway in GATEWAYS {
        let keys = Keys::from_toml("keys", &table).expect("a table of one key");
        zone::add_gateway_with_sessions(&mut sim, gateway, keys);
    }
    let seen = Rc::new(RefCell::new(Seen::default()));
    let app = App { key: Rc::new(key), seen: seen.clone() };
    sim.client(APP, async move {
        app.start();
        std::future::pending().await
    });
    phases::run(&mut sim, &plan, &SessionsChecker(seen))
}

/// The application whose sessions these are.
#[derive(Clone)]
struct App {
    key: Rc<SigningKey>,
    seen: Rc<RefCell<Seen>>,
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.body.contains(&format!("\"code\": \"{code}\""))
    }

    fn entity_tag(&self) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix("etag: "))
    }

    /// What became of a write; `None` if no write is answered so.
    fn fate(&self) -> Option<Fate> {
        match self.status {
            201 | 204 => Some(Fate::Done),
            412 => Some(Fate::NotExecuted),
            // A store that begins to remember nonces refuses what was signed in an earlier second: sign again.
            401 if self.is(401, "unremembered") => Some(Fate::NotExecuted),
            503 if self.is(503, "not_executed") => Some(Fate::NotExecuted),
            503 if self.is(503, "outcome_unknown") => Some(Fate::Unknown),
            _ => None,
        }
    }
}

/// One request over a connection of its own.
async fn send(gateway: &str, request: &str) -> io::Result<Answer> {
    let mut stream = net::connect_host(&format!("{gateway}:{SESSIONS_PORT}"), PROBE_TIMEOUT).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(HEAD_BYTES_MAX as u64).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

impl App {
    fn start(&self) {
        for number in 0..OWNED {
            let app = self.clone();
            task::spawn_local("writer", async move { app.write_for_ever(number).await });
        }
        for number in 0..COUNTING {
            let app = self.clone();
            task::spawn_local("counting", async move { app.count_for_ever(number).await });
        }
        let app = self.clone();
        task::spawn_local("replaying", async move { app.replay_for_ever().await });
    }

    /// A signed request, as text.
    fn request(
        &self,
        method: &str,
        target: &str,
        header: Option<(&'static str, &str)>,
        body: &str,
    ) -> String {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            let value = HeaderValue::from_str(value).expect("entity tags are headers");
            headers.insert(HeaderName::from_static(name), value);
        }
        let parts =
            RequestParts { method, authority: "sessions", path: target, query: None, headers: &headers };
        let signed = self.key.sign(&parts, Some(body.as_bytes()), &SignOptions::at(unix_time()));
        headers.extend(signed.expect("it can be signed"));
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: sessions\r\nconnection: close\r\n");
        for (name, value) in &headers {
            let value = value.to_str().expect("a text");
            write!(text, "{name}: {value}\r\n").expect("a text grows");
        }
        format!("{text}content-length: {}\r\n\r\n{body}", body.len())
    }

    /// The answer to a request, if the gateway lived on. What was served is kept, to be sent again.
    async fn ask(&self, gateway: &str, request: String) -> Option<Answer> {
        let began = now();
        let answer = timeout(ANSWER_MAX * 3, send(gateway, &request)).await;
        let took = now() - began;
        tracing::debug!(gateway, ?answer, ?took, "asked");
        let seen = &mut *self.seen.borrow_mut();
        let Ok(Ok(answer)) = answer else {
            let in_time = answer.map(drop).map_err(|_| format!("no answer within {took:?}"));
            seen.demand(Invariant::DrvBound, gateway, in_time);
            return None;
        };
        if took > ANSWER_MAX + SLACK {
            seen.demand(Invariant::DrvBound, gateway, Err(format!("an answer took {took:?}")));
        }
        if answer.status == 401 && !answer.is(401, "unremembered") {
            seen.demand(Invariant::SessAuth, gateway, Err(format!("refused: {answer:?}")));
        }
        if answer.status < 400 && (seen.served.len() as u64) < REPLAYS_MAX {
            seen.served.push(request);
        }
        Some(answer)
    }

    fn note(&self, caller: usize, is_served: bool) {
        let streak = &mut self.seen.borrow_mut().streaks[caller];
        *streak = if is_served { *streak + 1 } else { 0 };
    }

    async fn write_for_ever(&self, number: usize) {
        let (gateway, path) = (GATEWAYS[number % 2], format!("/v1/user-sessions/owned-{number}"));
        loop {
            let is_removal = random::below(5) == 0;
            let content = if is_removal { Content::Absent } else { Content::Value };
            let write = self.seen.borrow_mut().owned[number].begin(content);
            let request = match is_removal {
                true => self.request("DELETE", &path, None, ""),
                false => self.request("PUT", &path, None, &format!("owned-{number}={write}")),
            };
            let answer = self.ask(gateway, request).await;
            let is_absent = answer.as_ref().is_some_and(|answer| answer.is(404, "session_not_found"));
            let fate = match &answer {
                None => Some(Fate::Unknown),
                Some(_) if is_absent && is_removal => Some(Fate::NotExecuted),
                Some(answer) => answer.fate(),
            };
            if answer.is_none() {
                sleep(LATE).await;
            }
            {
                let seen = &mut *self.seen.borrow_mut();
                let ended = fate.ok_or_else(|| format!("a strange answer: {answer:?}"));
                let judgement = ended.and_then(|fate| seen.owned[number].end(write, fate));
                seen.demand(Invariant::DrvOnce, &path, judgement);
            }
            // Both gateways tell the same.
            let reader = GATEWAYS[usize::try_from(random::below(2)).expect("it is 0 or 1")];
            let is_read = self.read(reader, number, &path).await;
            self.note(number, is_read && (fate == Some(Fate::Done) || is_absent));
            sleep(random::jitter(PAUSE_MAX)).await;
        }
    }

    /// Reads a session and judges what was found; whether the service knew.
    async fn read(&self, gateway: &str, number: usize, path: &str) -> bool {
        let floor = self.seen.borrow().owned[number].floor();
        let Some(answer) = self.ask(gateway, self.request("GET", path, None, "")).await else { return false };
        let found = match answer.status {
            200 => answer.body.strip_prefix(&format!("owned-{number}=")).and_then(|text| text.parse().ok()),
            404 => return self.judge(number, path, floor, Found::Absent),
            503 if answer.is(503, "not_executed") || answer.is(503, "outcome_unknown") => return false,
            401 if answer.is(401, "unremembered") => return false,
            _ => None,
        };
        let Some(found) = found else {
            let detail = format!("somebody else's answer: {answer:?}");
            self.seen.borrow_mut().demand(Invariant::DrvOwn, path, Err(detail));
            return false;
        };
        self.judge(number, path, floor, Found::Value(found))
    }

    fn judge(&self, number: usize, path: &str, floor: usize, found: Found) -> bool {
        let seen = &mut *self.seen.borrow_mut();
        let judgement = seen.owned[number].judge(floor, found);
        seen.demand(Invariant::DrvOwn, path, judgement);
        true
    }

    /// Reads through one gateway, and writes the next number through the other if nobody else has meanwhile.
    async fn count_for_ever(&self, number: usize) {
        let path = "/v1/user-sessions/counter";
        loop {
            sleep(random::jitter(PAUSE_MAX)).await;
            let floor = self.seen.borrow().counter.floor();
            let read = self.ask(GATEWAYS[number % 2], self.request("GET", path, None, "")).await;
            let Some(read) = read.filter(|read| read.status == 200 || read.status == 404) else {
                self.note(OWNED + number, false);
                continue;
            };
            let count = if read.status == 404 { Some(0) } else { read.body.parse().ok() };
            let count = count.unwrap_or(u64::MAX);
            {
                let seen = &mut *self.seen.borrow_mut();
                let judgement = seen.counter.judge(floor, count);
                seen.demand(Invariant::DrvOnce, path, judgement);
                seen.counter.begin();
            }
            let condition = read.entity_tag().map_or(("if-none-match", "*"), |tag| ("if-match", tag));
            let next = count.saturating_add(1);
            let request = self.request("PUT", path, Some(condition), &next.to_string());
            let answer = self.ask(GATEWAYS[1 - number % 2], request).await;
            let fate = answer.as_ref().map_or(Some(Fate::Unknown), Answer::fate);
            let is_served = answer.is_some_and(|answer| answer.status < 500);
            {
                let seen = &mut *self.seen.borrow_mut();
                let ended = fate.ok_or_else(|| "a strange answer".to_owned());
                let judgement = ended.and_then(|fate| seen.counter.end(next, fate));
                seen.demand(Invariant::DrvOnce, path, judgement);
            }
            self.note(OWNED + number, is_served);
        }
    }

    /// Sends once more what was served, to either gateway. Signatures expire, so it is not kept for long.
    async fn replay_for_ever(&self) {
        loop {
            sleep(random::jitter(PAUSE_MAX)).await;
            let replay = self.seen.borrow_mut().served.pop();
            let Some(request) = replay else { continue };
            for gateway in GATEWAYS {
                let Ok(Ok(answer)) = timeout(ANSWER_MAX * 3, send(gateway, &request)).await else { continue };
                tracing::debug!(gateway, ?answer, "replayed");
                if answer.status != 401 && answer.status != 503 {
                    let what = Err(format!("a replay was served: {answer:?}"));
                    self.seen.borrow_mut().demand(Invariant::SessAuth, gateway, what);
                }
            }
        }
    }
}
