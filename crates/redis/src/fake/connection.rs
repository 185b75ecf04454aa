//! One connection of a fake: from a request to its answer, in the order in which Redis makes its checks.

use std::sync::Arc;

use bowline_keyspace::transaction::Outcome;
use bowline_keyspace::{CommandError, Transaction};
use bowline_resp::{Frame, Protocol, RequestDecoder, RequestLimits, encode};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::store::{error, unknown_command, word};
use super::topics::{Kind, Mailbox, Verb};
use super::world::World;
use crate::limits::FAKE_MESSAGES_MAX;
use crate::script::Script;

/// Commands by which the driver introduces itself and looks whether the server is there.
const INTRODUCTION: [&str; 6] = ["hello", "auth", "select", "info", "client", "ping"];
/// Commands that act at once inside `MULTI`.
const NEVER_QUEUED: [&str; 5] = ["multi", "exec", "discard", "watch", "quit"];

/// See the module.
pub(super) struct Connection {
    pub world: Arc<World>,
    stream: DuplexStream,
    pub number: i64,
    end: CancellationToken,
    pub database: usize,
    pub protocol: Protocol,
    transaction: Transaction,
    /// What is published for this connection.
    mailbox: Mailbox,
    messages: mpsc::Receiver<Frame>,
    is_closing: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.transaction.discard(&mut self.world.store().keyspace);
        self.world.leave(self.number);
    }
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(world: Arc<World>, stream: DuplexStream) -> Self {
        let (number, end) = world.enter();
        let (mailbox, messages) = mpsc::channel(FAKE_MESSAGES_MAX);
        Self {
            world,
            stream,
            number,
            end,
            database: 0,
            protocol: Protocol::Resp2,
            transaction: Transaction::default(),
            mailbox,
            messages,
            is_closing: false,
        }
    }

    /// Serves it until one of the ends closes it.
    pub async fn run(mut self) {
        let end = self.end.clone();
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            // Whether the client has hung up or the pipe is broken makes no difference.
            _ = self.serve() => {}
        }
    }

    /// `None` at the end.
    async fn serve(&mut self) -> Option<()> {
        let mut decoder = RequestDecoder::new(RequestLimits::default());
        let (mut unread, mut replies) = (BytesMut::new(), BytesMut::new());
        let mut stalled = self.world.stalled.subscribe();
        while !self.is_closing {
            loop {
                stalled.wait_for(|stalled| !stalled).await.ok()?;
                let request = match decoder.decode(&mut unread) {
                    Ok(Some(request)) => request,
                    Ok(None) => break,
                    Err(broken) => {
                        self.is_closing = true;
                        encode(
                            &Frame::error(format!("ERR Protocol error: {broken}")),
                            self.protocol,
                            &mut replies,
                        );
                        break;
                    }
                };
                self.request(&request, &mut replies)?;
            }
            self.stream.write_all(&replies).await.ok()?;
            replies.clear();
            if self.is_closing {
                break;
            }
            tokio::select! {
                biased;
                count = self.stream.read_buf(&mut unread) => if count.ok()? == 0 {
                    return None;
                },
                message = self.messages.recv() => encode(&message?, self.protocol, &mut replies),
            }
        }
        Some(())
    }

    /// Appends what was published until now, before what comes behind it.
    fn deliver(&mut self, replies: &mut BytesMut) {
        while let Ok(message) = self.messages.try_recv() {
            encode(&message, self.protocol, replies);
        }
    }

    /// Appends the answer to one request; `None` if it is lost with all connections.
    fn request(&mut self, request: &[Bytes], replies: &mut BytesMut) -> Option<()> {
        self.deliver(replies);
        let name = word(&request[0]);
        let verb = Verb::of(&name).filter(|_| !self.transaction.open());
        let Some(verb) = verb else {
            encode(&self.answer(&name, request)?, self.protocol, replies);
            return Some(());
        };
        self.world.orders().see(request);
        let confirmations = self.subscribe(verb, request);
        if !verb.subscribes {
            // What was published before the end of a subscription comes before the word of it.
            self.deliver(replies);
        }
        for frame in confirmations.unwrap_or_else(|refusal| vec![error(&refusal)]) {
            encode(&frame, self.protocol, replies);
        }
        Some(())
    }

    /// Subscribes or unsubscribes. The answer is one confirmation for each topic; where none is named, for each that there is.
    fn subscribe(&mut self, verb: Verb, request: &[Bytes]) -> Result<Vec<Frame>, CommandError> {
        if let Some(text) = self.world.orders().take_error() {
            return Err(CommandError::Other(text.into()));
        }
        if verb.subscribes && request.len() < 2 {
            return Err(CommandError::Arity(verb.name.into()));
        }
        let (kind, number) = (verb.kind, self.number);
        let mut all = self.world.topics();
        let named = request[1..].iter().map(|topic| Bytes::copy_from_slice(topic)).collect();
        let topics = if request.len() < 2 { all.of(kind, number) } else { named };
        if topics.is_empty() {
            return Ok(vec![verb.confirmation(None, all.count(kind, number))]);
        }
        let each = topics.into_iter().map(|topic| {
            match verb.subscribes {
                true => all.add(kind, topic.clone(), number, self.mailbox.clone()),
                false => all.remove(kind, &topic, number),
            }
            verb.confirmation(Some(topic), all.count(kind, number))
        });
        Ok(each.collect())
    }

    /// Whether it speaks RESP2 and has subscribed, so that messages and answers look alike and most commands are refused.
    pub(super) fn only_listens(&self) -> bool {
        let topics = self.world.topics();
        let has = |kind| topics.count(kind, self.number) > 0;
        self.protocol == Protocol::Resp2 && (has(Kind::Channel) || has(Kind::Shard))
    }

    /// The answer to a request; `None` if it is lost with all connections.
    fn answer(&mut self, name: &str, request: &[Bytes]) -> Option<Frame> {
        if INTRODUCTION.contains(&name) && !self.transaction.open() {
            return Some(self.introduce(name, request).unwrap_or_else(|refusal| error(&refusal)));
        }
        self.world.orders().see(request);
        let answer = self.admit(name, request);
        let frame = answer.unwrap_or_else(|refusal| {
            self.transaction.abort();
            error(&refusal)
        });
        // The answers of a transaction come with EXEC.
        if !self.transaction.open() && self.world.orders().take_loss() {
            self.world.cut();
            return None;
        }
        Some(frame)
    }

    /// Refuses, queues or runs a command.
    fn admit(&mut self, name: &str, request: &[Bytes]) -> Result<Frame, CommandError> {
        if NEVER_QUEUED.contains(&name) {
            return self.transact(name, request);
        }
        if self.only_listens() {
            let text = format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            );
            return Err(CommandError::Other(text.into()));
        }
        if let Some(text) = self.world.orders().take_error() {
            return Err(CommandError::Other(text.into()));
        }
        self.check(name, request)?;
        if !self.transaction.open() {
            return Ok(self.execute(name, request));
        }
        let copies = request.iter().map(|argument| Bytes::copy_from_slice(argument)).collect();
        if !self.transaction.push(copies) {
            return Err(CommandError::text("ERR the transaction is too large"));
        }
        Ok(Frame::Simple("QUEUED".into()))
    }

    /// Whether there is such a command, and with so many arguments.
    fn check(&self, name: &str, request: &[Bytes]) -> Result<(), CommandError> {
        if self.world.stand_ins().answers.contains_key(name) || INTRODUCTION.contains(&name) {
            return Ok(());
        }
        if Verb::of(name).is_some() {
            return Err(CommandError::text("ERR Command not allowed inside a transaction"));
        }
        let at_least = match name {
            "publish" | "spublish" if request.len() > 3 => {
                return Err(CommandError::Arity(name.to_owned().into()));
            }
            "eval" | "evalsha" | "publish" | "spublish" => 3,
            "script" | "echo" => 2,
            "unwatch" => 1,
            _ => {
                let found = self.world.store().find(request).ok_or_else(|| unknown_command(request))?;
                return found.spec.check(request);
            }
        };
        if request.len() < at_least { Err(CommandError::Arity(name.to_owned().into())) } else { Ok(()) }
    }

    /// Runs a command that was checked.
    fn execute(&mut self, name: &str, request: &[Bytes]) -> Frame {
        let answer = self.world.stand_ins().answers.get(name).cloned();
        if let Some(answer) = answer {
            return answer(
                &mut self.world.store().data(self.database, self.world.now_ms(), self.protocol),
                request,
            );
        }
        let outcome = match name {
            "eval" | "evalsha" => self.evaluate(name, request),
            "script" => self.script(request),
            "publish" | "spublish" => {
                let kind = if name == "publish" { Kind::Channel } else { Kind::Shard };
                let [channel, payload] = [1, 2].map(|index| Bytes::copy_from_slice(&request[index]));
                let receivers = self.world.publish(kind, &channel, &payload);
                Ok(Frame::Integer(i64::try_from(receivers).unwrap_or(i64::MAX)))
            }
            "echo" => Ok(Frame::Bulk(Bytes::copy_from_slice(&request[1]))),
            "unwatch" => {
                self.transaction.unwatch(&mut self.world.store().keyspace);
                Ok(Frame::ok())
            }
            name if INTRODUCTION.contains(&name) => self.introduce(name, request),
            _ => {
                let mut store = self.world.store();
                let found = store.find(request).ok_or_else(|| unknown_command(request));
                let mut data = store.data(self.database, self.world.now_ms(), self.protocol);
                found.map(|found| data.run_found(found, request))
            }
        };
        outcome.unwrap_or_else(|refusal| error(&refusal))
    }

    fn transact(&mut self, name: &str, request: &[Bytes]) -> Result<Frame, CommandError> {
        let is_open = self.transaction.open();
        match name {
            "multi" if is_open => return Err(CommandError::text("ERR MULTI calls can not be nested")),
            "multi" => drop(self.transaction.begin()),
            "exec" if !is_open => return Err(CommandError::text("ERR EXEC without MULTI")),
            "exec" => return self.exec(),
            "discard" if !is_open => return Err(CommandError::text("ERR DISCARD without MULTI")),
            "discard" => self.transaction.discard(&mut self.world.store().keyspace),
            "watch" if is_open => return Err(CommandError::text("ERR WATCH inside MULTI is not allowed")),
            "watch" => {
                let now_ms = self.world.now_ms();
                let mut store = self.world.store();
                for key in &request[1..] {
                    if !self.transaction.watch(&mut store.keyspace, self.database, key, now_ms) {
                        return Err(CommandError::text("ERR too many watched keys"));
                    }
                }
            }
            _ => self.is_closing = true,
        }
        Ok(Frame::ok())
    }

    fn exec(&mut self) -> Result<Frame, CommandError> {
        let now_ms = self.world.now_ms();
        let outcome = self.transaction.finish(&mut self.world.store().keyspace, now_ms);
        match outcome {
            Outcome::Aborted => {
                Err(CommandError::text("EXECABORT Transaction discarded because of previous errors."))
            }
            Outcome::Changed => Ok(Frame::NullArray),
            Outcome::Run(queue) => {
                let run = |request: Vec<Bytes>| self.execute(&word(&request[0]), &request);
                Ok(Frame::Array(queue.into_iter().map(run).collect()))
            }
        }
    }

    fn evaluate(&mut self, name: &str, request: &[Bytes]) -> Result<Frame, CommandError> {
        let digest = if name == "eval" {
            let source = String::from_utf8_lossy(&request[1]);
            let digest = Script::new(&source).digest().to_owned();
            self.world.learn(digest.clone());
            digest
        } else {
            word(&request[1])
        };
        if !self.world.knows(&digest) {
            return Err(CommandError::text("NOSCRIPT No matching script. Please use EVAL."));
        }
        let run = self.world.stand_ins().scripts.get(&digest).cloned();
        let run = run.ok_or_else(|| {
            let text =
                format!("ERR the fake runs no Lua: say what the script {digest} does with Fake::script");
            CommandError::Other(text.into())
        })?;
        let keys = std::str::from_utf8(&request[2]).ok().and_then(|text| text.parse::<usize>().ok());
        let keys = keys.ok_or(CommandError::NotAnInteger)?;
        let split = request[3..].split_at_checked(keys);
        let (keys, arguments) =
            split.ok_or(CommandError::text("ERR Number of keys can't be greater than number of args"))?;
        let mut store = self.world.store();
        Ok(run(&mut store.data(self.database, self.world.now_ms(), self.protocol), keys, arguments))
    }

    fn script(&mut self, request: &[Bytes]) -> Result<Frame, CommandError> {
        match (word(&request[1]).as_str(), &request[2..]) {
            ("load", [source]) => {
                let digest = Script::new(&String::from_utf8_lossy(source)).digest().to_owned();
                self.world.learn(digest.clone());
                Ok(Frame::bulk(digest))
            }
            ("exists", digests) => {
                let known = |digest: &Bytes| Frame::Integer(i64::from(self.world.knows(&word(digest))));
                Ok(Frame::Array(digests.iter().map(known).collect()))
            }
            ("flush", _) => {
                self.world.forget_scripts();
                Ok(Frame::ok())
            }
            _ => Err(unknown_command(request)),
        }
    }
}
