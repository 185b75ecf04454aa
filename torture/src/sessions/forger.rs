//! Who asks what must be refused: unsigned, stale, from the future, signed with the wrong key, altered on the way, replayed.
//!
//! All but replays are refused by the gateway alone, and so with their codes even while the store is silent. What makes a replay one
//! is kept in the store: while that does not answer, a replay may be `not_executed`, and it is never served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bowline_identity::signature::{Algorithm, SignOptions, SigningKey};
use bowline_rt::time::{self, now, unix_time};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::asker::{Asker, Question, Signed};
use super::ledger::{Kind, Ledger, NAMESPACES, OWNED, Subject};
use super::service::{GATEWAYS, Service};
use crate::limits::{LOAD_PAUSE, LOOK_PERIOD, REPLAYS_MAX, SOON};

/// How far from now a signature is that is stale, or from the future.
const FAR: Duration = Duration::from_secs(3_600);

/// What is forged, and the code with which it is refused.
const FORGERIES: [(Forgery, &str); 10] = [
    (Forgery::Unsigned, "signature_missing"),
    (Forgery::Stale, "expired"),
    (Forgery::Future, "created_in_future"),
    (Forgery::WrongSecret, "signature_wrong"),
    (Forgery::UnknownKey, "key_unknown"),
    (Forgery::ForeignKey, "signature_wrong"),
    (Forgery::Method, "signature_wrong"),
    (Forgery::Path, "signature_wrong"),
    (Forgery::Query, "signature_wrong"),
    (Forgery::Body, "digest_wrong"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgery {
    Unsigned,
    Stale,
    Future,
    /// The id of a key, and another secret.
    WrongSecret,
    UnknownKey,
    /// The id of the key of one namespace, and the secret of a key of the other's kind.
    ForeignKey,
    /// The rest is a request that was altered after it was signed.
    Method,
    Path,
    Query,
    Body,
}

/// A request that was served.
#[derive(Debug)]
struct Served {
    request: Signed,
    at: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Forger {
    asker: Asker,
    random: StdRng,
    served: VecDeque<Served>,
    /// Its own session is called by this.
    seed: u64,
}

impl Forger {
    /// One who has not asked yet.
    #[must_use]
    pub fn new(service: &Arc<Service>, ledger: &Arc<Ledger>, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { asker: Asker::new(service, ledger), random, served: VecDeque::new(), seed }
    }

    /// Asks until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let stepped = match self.random.random_range(0..4) {
                0 => self.serve().await,
                1 => self.replay().await,
                _ => self.forge().await,
            };
            if let Err(error) = stepped {
                self.asker.ledger.violated(format!("{error:#}"));
            }
            time::sleep(LOAD_PAUSE).await;
        }
        self
    }

    /// Sends everything once more that was served, to each gateway, until each says that it is a replay.
    ///
    /// # Errors
    /// No answer.
    pub async fn replay_all(mut self) -> Result<()> {
        for Served { request, at } in std::mem::take(&mut self.served) {
            for gateway in 0..GATEWAYS {
                let started = now();
                while !self.is_refused(gateway, &request, at).await? {
                    ensure!(started.elapsed() < SOON, "a replay is not refused in the end");
                    time::sleep(LOOK_PERIOD).await;
                }
            }
        }
        Ok(())
    }

    /// Asks something that may be asked, to have something to replay.
    async fn serve(&mut self) -> Result<()> {
        let namespace = self.random.random_range(0..NAMESPACES.len());
        let path = format!("/v1/user-sessions/forger-{}", self.seed);
        let question = match self.random.random_range(0..3) {
            0 => Question::new("GET", path),
            1 => Question::new("DELETE", path),
            _ => Question::new("PUT", path).body("text/plain", "replayed"),
        };
        let (gateway, request) =
            (self.random.random_range(0..GATEWAYS), self.asker.sign(namespace, &question)?);
        let answer = self.asker.send(gateway, request.clone()).await?;
        if answer.is_success() || answer.status == 404 {
            if self.served.len() == REPLAYS_MAX {
                self.served.pop_front();
            }
            self.served.push_back(Served { request, at: now() });
        }
        ensure!(answer.status != 401 || answer.is_not_executed(), "a signed request was refused: {answer:?}");
        Ok(())
    }

    async fn replay(&mut self) -> Result<()> {
        if self.served.is_empty() {
            return Ok(());
        }
        let index = self.random.random_range(0..self.served.len());
        let Served { request, at } = &self.served[index];
        let (request, at, gateway) = (request.clone(), *at, self.random.random_range(0..GATEWAYS));
        self.is_refused(gateway, &request, at).await.map(drop)
    }

    /// Whether a replay was recognised. It is never served, unless the store may have lost what it knew.
    async fn is_refused(&mut self, gateway: usize, request: &Signed, served_at: Instant) -> Result<bool> {
        let answer = self.asker.send(gateway, request.clone()).await?;
        match (answer.status, answer.code().as_str()) {
            // The second one where the store lost the nonce, or remembers since later than the signature says.
            (401, "replayed" | "unremembered") => Ok(true),
            // A write consumes its nonce with its first step, which may be of unknown outcome.
            (503, "not_executed" | "outcome_unknown" | "") => Ok(false),
            _ if self.asker.ledger.may_have_lost(served_at) => Ok(true),
            _ => {
                let (method, path) = (request.method(), request.uri());
                self.asker.ledger.violated(format!("a replay of {method} {path} was answered {answer:?}"));
                Ok(true)
            }
        }
    }

    async fn forge(&mut self) -> Result<()> {
        let (forgery, code) = FORGERIES[self.random.random_range(0..FORGERIES.len())];
        let namespace = self.random.random_range(0..NAMESPACES.len());
        let kind = Kind::Owned(self.random.random_range(0..OWNED));
        let request = self.forged(forgery, Subject { namespace, kind })?;
        let gateway = self.random.random_range(0..GATEWAYS);
        let answer = self.asker.send(gateway, request).await?;
        if answer.status != 401 || answer.code() != code {
            let ledger = &self.asker.ledger;
            ledger.violated(format!("{forgery:?} is to be refused as {code}, and was answered {answer:?}"));
        }
        Ok(())
    }

    /// A request about somebody's session, whose value would show that it was served.
    fn forged(&self, forgery: Forgery, subject: Subject) -> Result<Signed> {
        let (namespace, at) = (subject.namespace, unix_time());
        let own = &self.asker.service.keys[namespace];
        let of = |id: &str, algorithm| Ok::<_, anyhow::Error>(SigningKey::generate(id.parse()?, algorithm));
        let target = format!("{}?owner={}", subject.path(), subject.owner());
        let put = Question::new("PUT", target).body("text/plain", "forged");
        let now = SignOptions::at(at);
        let mut request = match forgery {
            Forgery::Stale => put.sign(own, &SignOptions::at(at.saturating_sub(FAR)))?,
            Forgery::Future => put.sign(own, &SignOptions::at(at + FAR))?,
            Forgery::WrongSecret => put.sign(&of(own.id().as_str(), own.algorithm())?, &now)?,
            Forgery::UnknownKey => put.sign(&of("nobody", Algorithm::HmacSha256)?, &now)?,
            // Its signature is of another request's key.
            Forgery::ForeignKey => {
                let mut request = put.sign(own, &now)?;
                let foreign = put.sign(&self.asker.service.keys[1 - namespace], &now)?;
                request.headers_mut().insert("signature", foreign.headers()["signature"].clone());
                request
            }
            _ => put.sign(own, &now)?,
        };
        match forgery {
            Forgery::Unsigned => {
                request.headers_mut().remove("signature");
                request.headers_mut().remove("signature-input");
            }
            Forgery::Method => *request.method_mut() = Method::PATCH,
            Forgery::Path => {
                *request.uri_mut() = format!("{}?owner={}", "/v1/user-sessions/x", subject.owner()).parse()?
            }
            Forgery::Query => *request.uri_mut() = format!("{}?owner=x", subject.path()).parse()?,
            Forgery::Body => *request.body_mut() = Full::new(Bytes::from_static(b"altered")),
            _ => {}
        }
        Ok(request)
    }
}
