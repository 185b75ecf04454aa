//! Who asks: each one thing after the other, and judges the answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{self, now, timeout};
use hyper::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::asker::{Answer, Asker, Question};
use super::forger::Forger;
use super::ledger::{COUNTERS, DOCUMENTS, Ending, Kind, Ledger, MEMBERS, NAMESPACES, OWNED, Subject};
use super::register::{Content, Fate};
use super::service::{GATEWAYS, Service};
use super::values::{self, judge, judge_presence, member};
use crate::lag::Lag;
use crate::limits::{LOAD_PAUSE, LOOK_PERIOD, SOON};

/// Who counts at each counter.
const COUNTING: usize = 2;
/// Who reads, of each namespace.
const READING: usize = 2;
/// Who asks what must be refused.
const FORGING: usize = 3;
/// The type of a document.
const JSON: &str = "application/json";
/// The type of what has no other.
const TEXT: &str = "text/plain";

/// A running load.
#[derive(Debug)]
pub struct Load {
    ledger: Arc<Ledger>,
    service: Arc<Service>,
    stop: CancellationToken,
    callers: Vec<JoinHandle<()>>,
    forgers: Vec<JoinHandle<Forger>>,
    lag: Lag,
}

impl Load {
    /// Creates what is to be patched and counted, and starts everybody.
    ///
    /// # Errors
    /// It cannot be created.
    pub async fn start(service: Service, ledger: Ledger, seed: u64) -> Result<Self> {
        let (service, ledger) = (Arc::new(service), Arc::new(ledger));
        prepare(&mut Asker::new(&service, &ledger)).await?;
        let stop = CancellationToken::new();
        let callers = roles().into_iter().zip(0..).map(|((subject, role), number)| {
            let caller = Caller {
                asker: Asker::new(&service, &ledger),
                twin: Asker::new(&service, &ledger),
                random: StdRng::seed_from_u64(seed.wrapping_mul(1_000) + number),
                subject,
                // Whoever writes stays with one gateway: see `register`.
                gateway: usize::try_from(number / 2).unwrap_or_default() % GATEWAYS,
                version: None,
            };
            task::spawn("caller", caller.run(role, stop.clone()))
        });
        let callers = callers.collect();
        let forgers = (0..FORGING as u64).map(|number| {
            let forger = Forger::new(&service, &ledger, seed.wrapping_mul(1_000) + 500 + number);
            task::spawn("forger", forger.run(stop.clone()))
        });
        let forgers = forgers.collect();
        Ok(Self { ledger, service, stop, callers, forgers, lag: Lag::start() })
    }

    /// The checker.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How late the runtime was at worst so far.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.lag.worst()
    }

    /// Waits until this many more requests were served; how long that took.
    ///
    /// # Panics
    /// After a long time.
    pub async fn wait_for_served(&self, count: u64) -> Duration {
        let started = now();
        let target = self.ledger.count(Ending::Served) + count;
        while self.ledger.count(Ending::Served) < target {
            assert!(started.elapsed() < SOON, "no {count} requests were served within {SOON:?}");
            time::sleep(LOOK_PERIOD / 4).await;
        }
        started.elapsed()
    }

    /// Reads every session through every gateway, each until the service knows.
    ///
    /// # Errors
    /// It does not know for a long time.
    pub async fn read_everything(&self) -> Result<()> {
        let mut asker = Asker::new(&self.service, &self.ledger);
        for gateway in 0..GATEWAYS {
            for subject in Subject::all() {
                until_told(&mut asker, gateway, subject).await?;
            }
        }
        Ok(())
    }

    /// Ends the load, reads everything back through both gateways, sends everything once more that was served, and settles.
    ///
    /// # Errors
    /// Everything that went wrong.
    ///
    /// # Panics
    /// A caller hangs.
    pub async fn finish(mut self) -> Result<Arc<Ledger>> {
        self.stop.cancel();
        for caller in std::mem::take(&mut self.callers) {
            timeout(SOON, caller).await.expect("nobody hangs").expect("nobody panics");
        }
        for forger in std::mem::take(&mut self.forgers) {
            let forger = timeout(SOON, forger).await.expect("nobody hangs").expect("nobody panics");
            forger.replay_all().await?;
        }
        self.read_everything().await?;
        let log = self.service.log();
        for secret in ["owned/", "owned%2F", "owner-of-", "filling"] {
            if log.contains(secret) {
                self.ledger.violated(format!("{secret} is in a log"));
            }
        }
        self.ledger.settle(self.lag.worst())?;
        Ok(self.ledger)
    }
}

async fn prepare(asker: &mut Asker) -> Result<()> {
    for subject in Subject::all() {
        let (content_type, value) = match subject.kind {
            Kind::Owned(_) => continue,
            Kind::Document(_) => (JSON, values::document(subject)),
            Kind::Counter(_) => (TEXT, values::counter(subject, 0)),
        };
        let question = Question::new("PUT", subject.path()).body(content_type, value);
        let question = question.header(IF_NONE_MATCH, "*");
        let mut answer = asker.ask(0, subject.namespace, &question).await?;
        while answer.is_not_executed() {
            answer = asker.ask(0, subject.namespace, &question).await?;
        }
        if answer.status != 201 {
            bail!("cannot create {}: {answer:?}", subject.name());
        }
    }
    Ok(())
}

/// What somebody does with a session.
#[derive(Debug, Clone, Copy)]
enum Role {
    Write(usize),
    Patch { document: usize, member: usize },
    Count(usize),
    Read,
}

fn roles() -> Vec<(Subject, Role)> {
    let mut roles = Vec::new();
    for namespace in 0..NAMESPACES.len() {
        let of = |kind| Subject { namespace, kind };
        roles.extend((0..OWNED).map(|number| (of(Kind::Owned(number)), Role::Write(number))));
        for document in 0..DOCUMENTS {
            let subject = of(Kind::Document(document));
            roles.extend((0..MEMBERS).map(|member| (subject, Role::Patch { document, member })));
        }
        for counter in 0..COUNTERS * COUNTING {
            let counter = counter / COUNTING;
            roles.push((of(Kind::Counter(counter)), Role::Count(counter)));
        }
        roles.extend((0..READING).map(|_| (of(Kind::Owned(0)), Role::Read)));
    }
    roles
}

/// One who asks.
#[derive(Debug)]
struct Caller {
    asker: Asker,
    /// Sends what is sent twice at once.
    twin: Asker,
    random: StdRng,
    subject: Subject,
    gateway: usize,
    /// The entity tag of the session, if it is certain.
    version: Option<String>,
}

impl Caller {
    async fn run(mut self, role: Role, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let stepped = match role {
                Role::Write(number) => self.write(number).await,
                Role::Patch { document, member } => self.patch(document, member).await,
                Role::Count(number) => self.count(number).await,
                Role::Read => self.read().await,
            };
            if let Err(error) = stepped {
                self.asker.ledger.violated(format!("{}: {error:#}", self.subject.name()));
            }
            time::sleep(LOAD_PAUSE).await;
        }
    }

    async fn write(&mut self, number: usize) -> Result<()> {
        let target = format!("{}?owner={}", self.subject.path(), self.subject.owner());
        match self.random.random_range(0..10) {
            0..4 => self.put(number, Question::new("PUT", target), false).await,
            4 => self.put(number, Question::new("PUT", target).header(IF_NONE_MATCH, "*"), false).await,
            5 => {
                let version = self.version.clone().unwrap_or_else(|| "\"none\"".to_owned());
                let is_certain = self.version.is_some();
                self.put(number, Question::new("PUT", target).header(IF_MATCH, version), is_certain).await
            }
            6 => self.erase(number).await,
            7 => self.list().await,
            _ => self.look("GET", self.gateway, self.subject).await.map(drop),
        }
    }

    /// `is_certain`: its condition holds.
    async fn put(&mut self, number: usize, question: Question, is_certain: bool) -> Result<()> {
        let ledger = self.asker.ledger.clone();
        let write = ledger.owned(self.subject.namespace, number).begin(Content::Value);
        let question = question.body(TEXT, values::owned(self.subject, write));
        let answer = self.asker.ask(self.gateway, self.subject.namespace, &question).await?;
        let fate = answer.fate()?;
        if is_certain && answer.status == 412 && !ledger.has_lost() {
            ledger.violated(format!("{} changed without a write: {answer:?}", self.subject.name()));
        }
        match fate {
            Fate::Done => self.version = entity_tag(&answer),
            Fate::Unknown => self.version = None,
            Fate::NotExecuted => {}
        }
        let judgement = ledger.owned(self.subject.namespace, number).end(write, fate);
        ledger.demand(&self.subject.name(), judgement);
        Ok(())
    }

    async fn erase(&mut self, number: usize) -> Result<()> {
        let ledger = self.asker.ledger.clone();
        let mark = ledger.mark();
        let write = ledger.owned(self.subject.namespace, number).begin(Content::Absent);
        let question = Question::new("DELETE", self.subject.path());
        let answer = self.asker.ask(self.gateway, self.subject.namespace, &question).await?;
        let was_absent = answer.status == 404;
        let fate = if was_absent { Fate::NotExecuted } else { answer.fate()? };
        if fate != Fate::NotExecuted {
            self.version = None;
        }
        let judgement = ledger.owned(self.subject.namespace, number).end(write, fate);
        ledger.demand(&self.subject.name(), judgement);
        if was_absent {
            judge_presence(&ledger, &mark, self.subject, false);
        }
        Ok(())
    }

    /// The owner has the session, if there is one: nobody else writes, so this is exact.
    async fn list(&mut self) -> Result<()> {
        let mark = self.asker.ledger.mark();
        let target = format!("/v1/user-sessions?owner={}", self.subject.owner());
        let question = Question::new("GET", target);
        let answer = self.asker.ask(self.gateway, self.subject.namespace, &question).await?;
        if answer.is_not_executed() {
            return Ok(());
        }
        let list: Value = serde_json::from_slice(&answer.body).context("not JSON")?;
        let sessions = list["sessions"].as_array().with_context(|| format!("no list: {answer:?}"))?;
        let is_own = |session: &Value| session["key"] == self.subject.key();
        if sessions.len() > 1 || !sessions.iter().all(is_own) {
            bail!("the list of {} holds others: {list}", self.subject.owner());
        }
        // An owner has a slot of its own, and so perhaps another primary, which may have lost the entry.
        if !sessions.is_empty() || !self.asker.ledger.has_lost() {
            judge_presence(&self.asker.ledger, &mark, self.subject, !sessions.is_empty());
        }
        Ok(())
    }

    async fn patch(&mut self, document: usize, index: usize) -> Result<()> {
        if self.random.random_range(0..4) == 0 {
            return self.look("GET", self.gateway, self.subject).await.map(drop);
        }
        let is_removal = self.random.random_range(0..5) == 0;
        let content = if is_removal { Content::Absent } else { Content::Value };
        let ledger = self.asker.ledger.clone();
        let write = ledger.member(self.subject.namespace, document, index).begin(content);
        let value = if is_removal { Value::Null } else { json!(write) };
        let patch = json!({ member(index): value }).to_string();
        let question =
            Question::new("PATCH", self.subject.path()).body("application/merge-patch+json", patch);
        let answer = self.asker.ask(self.gateway, self.subject.namespace, &question).await?;
        let judgement = ledger.member(self.subject.namespace, document, index).end(write, answer.fate()?);
        ledger.demand(&self.subject.name(), judgement);
        Ok(())
    }

    /// Reads, and writes the next number if nobody else has meanwhile. Every fourth write is sent to both gateways at once.
    async fn count(&mut self, number: usize) -> Result<()> {
        let gateway = self.random.random_range(0..GATEWAYS);
        let Some(answer) = self.look("GET", gateway, self.subject).await? else { return Ok(()) };
        let count = values::count(self.subject, &answer.body).context("not a number")?;
        let version = entity_tag(&answer).context("no entity tag")?;
        let next = values::counter(self.subject, count + 1);
        let question = Question::new("PUT", self.subject.path()).body(TEXT, next).header(IF_MATCH, version);
        let (namespace, ledger) = (self.subject.namespace, self.asker.ledger.clone());
        let request = self.asker.sign(namespace, &question)?;
        ledger.counter(namespace, number).begin();
        let fate = if self.random.random_range(0..4) == 0 {
            let (one, other) = tokio::join!(
                self.asker.send(gateway, request.clone()),
                self.twin.send(GATEWAYS - 1 - gateway, request)
            );
            self.judge_twins(&one?, &other?)?
        } else {
            self.asker.send(1 - gateway, request).await?.fate()?
        };
        let judgement = ledger.counter(namespace, number).end(count + 1, fate);
        ledger.demand(&self.subject.name(), judgement);
        Ok(())
    }

    /// The same request was sent twice at once: at least one of them is a replay, if the store has answered both.
    fn judge_twins(&self, one: &Answer, other: &Answer) -> Result<Fate> {
        let (ledger, mut fates) = (&self.asker.ledger, Vec::new());
        for answer in [one, other] {
            let is_replayed = answer.status == 401 && answer.code() == "replayed";
            fates.push(if is_replayed { None } else { Some(answer.fate()?) });
        }
        let spent = [one, other].iter().filter(|answer| answer.is_success() || answer.status == 412).count();
        if spent == 2 && !ledger.has_lost() {
            ledger.violated(format!("one request was served twice: {one:?} and {other:?}"));
        }
        if fates == [None, None] && !ledger.has_lost() {
            ledger.violated("both of two were said to be a replay of each other".to_owned());
        }
        let all: Vec<Fate> = fates.into_iter().flatten().collect();
        Ok(match () {
            () if all.contains(&Fate::Done) => Fate::Done,
            () if all.contains(&Fate::Unknown) => Fate::Unknown,
            () => Fate::NotExecuted,
        })
    }

    async fn read(&mut self) -> Result<()> {
        let gateway = self.random.random_range(0..GATEWAYS);
        let subjects: Vec<Subject> = Subject::of_namespace(self.subject.namespace).collect();
        let subject = subjects[self.random.random_range(0..subjects.len())];
        match self.random.random_range(0..4) {
            0 => self.look_at_all(gateway, &subjects).await,
            1 => self.look("HEAD", gateway, subject).await.map(drop),
            _ => self.look("GET", gateway, subject).await.map(drop),
        }
    }

    /// Reads a session, and judges what was found. The answer, if there is a session.
    async fn look(
        &mut self,
        method: &'static str,
        gateway: usize,
        subject: Subject,
    ) -> Result<Option<Answer>> {
        look(&mut self.asker, method, gateway, subject).await.map(|(_, answer)| answer)
    }

    async fn look_at_all(&mut self, gateway: usize, subjects: &[Subject]) -> Result<()> {
        let mark = self.asker.ledger.mark();
        let keys: Vec<String> = subjects.iter().map(|subject| subject.key()).collect();
        let question = Question::new("POST", "/v1/user-sessions:read");
        let question = question.body(JSON, json!({ "keys": keys }).to_string());
        let answer = self.asker.ask(gateway, self.subject.namespace, &question).await?;
        if answer.is_not_executed() {
            return Ok(());
        }
        let json: Value = serde_json::from_slice(&answer.body).context("not JSON")?;
        let results = json["results"].as_array().filter(|results| results.len() == subjects.len());
        let results = results.with_context(|| format!("not {} results: {answer:?}", subjects.len()))?;
        for (subject, result) in subjects.iter().zip(results) {
            if result["key"] != subject.key() {
                bail!("the result of {} is {result}", subject.name());
            }
            match result["status"].as_str() {
                Some("found") => {
                    let value = result["value_base64"].as_str().context("no value")?;
                    let value = STANDARD.decode(value).context("not base64")?;
                    judge(&self.asker.ledger, &mark, *subject, Some(&value));
                }
                Some("absent") => judge(&self.asker.ledger, &mark, *subject, None),
                Some("not_executed") => {}
                _ => bail!("the result of {} is {result}", subject.name()),
            }
        }
        Ok(())
    }
}

/// Whether the service knew, and the answer if there is a session.
async fn look(
    asker: &mut Asker,
    method: &'static str,
    gateway: usize,
    subject: Subject,
) -> Result<(bool, Option<Answer>)> {
    let mark = asker.ledger.mark();
    let question = Question::new(method, subject.path());
    let answer = asker.ask(gateway, subject.namespace, &question).await?;
    match (answer.status, answer.code().as_str()) {
        (200, _) if method == "HEAD" => judge_presence(&asker.ledger, &mark, subject, true),
        (200, _) => judge(&asker.ledger, &mark, subject, Some(&answer.body)),
        (404, _) if method == "HEAD" => judge_presence(&asker.ledger, &mark, subject, false),
        (404, "session_not_found") => judge(&asker.ledger, &mark, subject, None),
        _ if answer.is_not_executed() => return Ok((false, None)),
        // It may have made the life of the session longer.
        (503, "outcome_unknown") => return Ok((false, None)),
        (401 | 503, _) if method == "HEAD" => return Ok((false, None)),
        _ => bail!("{method} of {} was answered {answer:?}", subject.name()),
    }
    Ok((true, Some(answer).filter(|answer| answer.status == 200)))
}

/// Reads a session until the service knows.
async fn until_told(asker: &mut Asker, gateway: usize, subject: Subject) -> Result<()> {
    let started = now();
    while !look(asker, "GET", gateway, subject).await?.0 {
        if started.elapsed() > SOON {
            bail!("{} cannot be read", subject.name());
        }
        time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

fn entity_tag(answer: &Answer) -> Option<String> {
    answer.headers.get(ETAG)?.to_str().ok().map(str::to_owned)
}
