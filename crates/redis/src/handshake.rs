//! How a connection introduces itself, as a state machine: `HELLO 3`, and on servers that do not know it `AUTH`; then
//! `SELECT`, and `INFO` for the identity of the server, and for its role where `HELLO` did not tell it.
//!
//! Where a primary is expected a replica is refused: after a failover the address may lead to the old primary for a while. Where a
//! replica is read from, one that has just been started may be empty: it has to say that it is in step with its primary.
//!
//! A connection that follows another one to the same server ends that one first (`CLIENT KILL ID`): commands that the server
//! had not read from it could otherwise run after those of this connection. The server must be the same process, by its
//! `run_id`, because the number of a connection means somebody else on another. What became of it is [`Predecessor`].
//!
//! One request is under way at a time. What the server says to `HELLO` and `AUTH` is repeated in an error only if it does not
//! hold the password: old servers echo the arguments of a command that they do not know.

use bowline_resp::{Frame, Protocol};

use crate::command::Command;
use crate::config::Config;
use crate::credentials::{Credentials, Login};
use crate::limits::ERROR_TEXT_BYTES_MAX;

/// Who a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerInfo {
    /// Identity of the server process: another one means that it was restarted or is another server. `None` if it does not
    /// tell.
    pub run_id: Option<String>,
    /// Its version, as it says; empty if it does not.
    pub version: String,
    /// The dialect that was agreed on.
    pub protocol: Protocol,
    /// The number of the connection at the server (`CLIENT ID`). `None` if it does not tell.
    pub client_id: Option<i64>,
    /// What became of the connection before this one.
    pub predecessor: Predecessor,
    /// Whether it tells when keys change that were read through the client-side cache.
    pub tracking: Tracking,
}

/// Whether a server tracks keys for a client-side cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tracking {
    /// It was not asked to.
    #[default]
    Off,
    /// It does.
    On,
    /// It does not: every cached call asks it.
    Refused {
        /// Its error, or that it does not speak RESP3.
        reason: String,
    },
}

/// Whether commands of the connection before this one can still run.
///
/// A connection may be lost while commands of it stand unread in buffers of a server that was stopped. When the server goes on
/// it reads them, unless it was told to end that connection before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Predecessor {
    /// There was none.
    #[default]
    None,
    /// It was to another server process. What that one may still do is not done here.
    Elsewhere,
    /// The server has ended it: none of its commands can run any more.
    Ended,
    /// The server does not end it. Until it finds the end of that connection by itself, commands of it may run between or
    /// after those of this one: writes that depend on order need a fence of their own, such as a compare-and-set.
    Unfenced {
        /// Why not: its error, or that it does not tell who it is.
        reason: String,
    },
}

/// The server's name for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionName {
    /// Identity of the server process, if it told.
    pub run_id: Option<String>,
    /// Number of the connection in it, if it told.
    pub client_id: Option<i64>,
}

impl ServerInfo {
    /// The server's name for the connection.
    pub(crate) fn connection_name(&self) -> ConnectionName {
        ConnectionName { run_id: self.run_id.clone(), client_id: self.client_id }
    }
}

/// What a connection is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    /// To write: a replica is refused.
    #[default]
    Primary,
    /// Whatever the server is.
    Any,
    /// To read from a replica of a cluster (`READONLY`). A primary will do as well.
    Replica,
    /// To read from a replica that sentinels name: refused is what is none, or is not in step with its primary.
    Follower,
}

/// What an introduction has to do beside greeting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Introduction {
    pub role: Role,
    /// The connection that this one follows.
    pub predecessor: Option<ConnectionName>,
}

/// Why a server was not accepted, and which step showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandshakeError {
    pub step: &'static str,
    pub reason: String,
    /// Other credentials may do better, and nothing else will.
    pub is_about_login: bool,
}

impl HandshakeError {
    /// The server refuses `PING`, without which subscriptions cannot be fenced.
    pub fn of_ping(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&text[..text.len().min(ERROR_TEXT_BYTES_MAX)]);
        Self { step: "PING", reason: text.into_owned(), is_about_login: false }
    }
}

/// The introduction of one connection.
#[derive(Debug)]
pub(crate) struct Handshake {
    config: Config,
    introduction: Introduction,
    step: Step,
    server: ServerInfo,
    /// `HELLO` has told that it is a primary.
    is_primary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hello,
    Auth,
    Name,
    Select,
    Info,
    Role,
    ReadOnly,
    Number,
    Tracking,
    Kill,
    Done,
}

impl Handshake {
    pub fn new(config: &Config, introduction: Introduction) -> Self {
        Self {
            config: config.clone(),
            introduction,
            step: Step::Hello,
            server: ServerInfo::default(),
            is_primary: false,
        }
    }

    /// The request of the current step; `None` if the introduction is over, and then [`Handshake::finish`] tells with whom.
    pub fn request(&self) -> Option<Command> {
        let login = self.config.login();
        let secret = login.map(|login| login.password.reveal());
        let user = login.and_then(|login| login.user.as_deref());
        Some(match self.step {
            Step::Hello => {
                let hello = Command::new("HELLO").arg("3");
                match secret {
                    Some(secret) => hello.arg("AUTH").arg(user.unwrap_or("default")).arg(secret),
                    None => hello,
                }
            }
            Step::Auth => Command::new("AUTH").args(user).args(secret),
            Step::Name => Command::new("CLIENT").arg("SETNAME").args(self.config.name.as_deref()),
            Step::Select => Command::new("SELECT").number(self.config.database),
            Step::Info => Command::new("INFO").arg("server"),
            Step::Role => Command::new("INFO").arg("replication"),
            Step::ReadOnly => Command::new("READONLY"),
            Step::Number => Command::new("CLIENT").arg("ID"),
            Step::Tracking => Command::new("CLIENT").args(["TRACKING", "ON", "OPTIN"]),
            Step::Kill => {
                let number = self.introduction.predecessor.as_ref().and_then(|name| name.client_id);
                Command::new("CLIENT").args(["KILL", "ID"]).number(number.unwrap_or_default())
            }
            Step::Done => return None,
        })
    }

    /// Takes the answer to the current step.
    pub fn answer(&mut self, frame: Frame) -> Result<(), HandshakeError> {
        if matches!(self.config.credentials, Credentials::Provider(_)) {
            let reason = "the provider of credentials was not asked: see Config::with_current_credentials";
            return Err(self.error(reason.to_owned()));
        }
        self.step = match self.step {
            Step::Hello => self.after_hello(frame)?,
            Step::Auth => {
                self.expect_ok(&frame)?;
                self.after_auth()
            }
            // The name is for people. A server without the command, or a user without the right, can do without.
            Step::Name => self.after_name(),
            Step::Select => {
                self.expect_ok(&frame)?;
                Step::Info
            }
            Step::Info => {
                for (name, value) in self.read_info(&frame)? {
                    match name.as_str() {
                        "run_id" => self.server.run_id = Some(value),
                        "redis_mode" => self.expect_data(Some(&value))?,
                        "redis_version" | "valkey_version" if self.server.version.is_empty() => {
                            self.server.version = value;
                        }
                        _ => {}
                    }
                }
                match self.introduction.role {
                    Role::Follower => Step::Role,
                    Role::Primary if !self.is_primary => Step::Role,
                    _ => self.after_role(),
                }
            }
            Step::Role => {
                let fields = self.read_info(&frame)?;
                let field = |field: &str| {
                    let found = fields.iter().find(|(name, _)| name == field);
                    found.map(|(_, value)| value.as_str())
                };
                self.expect_primary(field("role"))?;
                self.expect_follower(field("role"), field("master_link_status"))?;
                self.after_role()
            }
            Step::ReadOnly => {
                self.expect_ok(&frame)?;
                self.after_read_only()
            }
            Step::Tracking => {
                self.server.tracking = self.read_tracking(&frame)?;
                self.after_tracking()
            }
            Step::Number => {
                self.server.client_id = frame.as_integer();
                self.after_number()
            }
            Step::Kill => {
                self.server.predecessor = self.read_kill(&frame)?;
                Step::Done
            }
            Step::Done => return Err(self.error("an answer too many".to_owned())),
        };
        Ok(())
    }

    /// The dialect that was agreed on so far.
    pub const fn protocol(&self) -> Protocol {
        self.server.protocol
    }

    /// With whom the introduction was made.
    pub fn finish(self) -> ServerInfo {
        self.server
    }

    fn after_hello(&mut self, frame: Frame) -> Result<Step, HandshakeError> {
        if let Frame::Error(text) = &frame {
            let is_old = text.starts_with(b"NOPROTO") || text.starts_with(b"ERR unknown command");
            if !is_old {
                return Err(self.server_error(text));
            }
            return Ok(if self.config.login().is_some() { Step::Auth } else { self.after_auth() });
        }
        let kind = frame.kind();
        let fields = frame.into_pairs().map_err(|_| self.error(format!("{kind} instead of a map")))?;
        let field =
            |name: &str| fields.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value);
        if field("proto").and_then(Frame::as_integer) != Some(3) {
            return Err(self.error("the server does not confirm RESP3".to_owned()));
        }
        self.server.protocol = Protocol::Resp3;
        field("version").and_then(Frame::as_text).unwrap_or_default().clone_into(&mut self.server.version);
        self.server.run_id = field("run_id").and_then(Frame::as_text).map(str::to_owned);
        self.server.client_id = field("id").and_then(Frame::as_integer);
        self.expect_data(field("mode").and_then(Frame::as_text))?;
        let role = field("role").and_then(Frame::as_text);
        self.expect_primary(role)?;
        self.is_primary = role.is_some();
        Ok(self.after_auth())
    }

    fn after_auth(&self) -> Step {
        if self.config.name.is_some() { Step::Name } else { self.after_name() }
    }

    fn after_name(&self) -> Step {
        if self.config.database != 0 { Step::Select } else { Step::Info }
    }

    fn after_role(&mut self) -> Step {
        if self.introduction.role == Role::Replica { Step::ReadOnly } else { self.after_read_only() }
    }

    /// The number of this connection is wanted for the next one's introduction.
    fn after_read_only(&mut self) -> Step {
        if self.config.cache.is_none() {
            return self.after_tracking();
        }
        if self.server.protocol == Protocol::Resp2 {
            let reason = "the server does not speak RESP3, and so has no pushes".to_owned();
            self.server.tracking = Tracking::Refused { reason };
            return self.after_tracking();
        }
        Step::Tracking
    }

    /// A cache that the server does not help is not used; the connection is as good as ever without.
    fn read_tracking(&self, frame: &Frame) -> Result<Tracking, HandshakeError> {
        match frame {
            Frame::Error(text) => {
                let text = &text[..text.len().min(ERROR_TEXT_BYTES_MAX)];
                Ok(Tracking::Refused { reason: String::from_utf8_lossy(text).into_owned() })
            }
            frame => self.expect_ok(frame).map(|()| Tracking::On),
        }
    }

    fn after_tracking(&mut self) -> Step {
        if self.server.client_id.is_some() { self.after_number() } else { Step::Number }
    }

    fn after_number(&mut self) -> Step {
        let Some(before) = &self.introduction.predecessor else { return Step::Done };
        let unfenced = |reason: &str| Predecessor::Unfenced { reason: reason.to_owned() };
        self.server.predecessor = match (&before.run_id, &self.server.run_id) {
            (Some(before), Some(now)) if before != now => Predecessor::Elsewhere,
            (Some(_), Some(_)) if before.client_id.is_some() => return Step::Kill,
            (Some(_), Some(_)) => unfenced("the server does not number its connections"),
            _ => unfenced("the server does not tell its run_id (INFO server)"),
        };
        Step::Done
    }

    /// The answer to `CLIENT KILL ID` is the number of connections that it has ended: none if the old one was gone already.
    fn read_kill(&self, frame: &Frame) -> Result<Predecessor, HandshakeError> {
        match frame {
            Frame::Integer(0 | 1) => Ok(Predecessor::Ended),
            Frame::Error(text) => {
                let text = &text[..text.len().min(ERROR_TEXT_BYTES_MAX)];
                Ok(Predecessor::Unfenced { reason: String::from_utf8_lossy(text).into_owned() })
            }
            other => Err(self.error(format!("{} instead of a count", other.kind()))),
        }
    }

    /// The fields of `INFO`. A server without the command, or a user without the right to it, leaves identity and role
    /// unknown; that is for the caller to judge. Any other error would meet every command (`NOAUTH`).
    fn read_info(&self, frame: &Frame) -> Result<Vec<(String, String)>, HandshakeError> {
        if let Frame::Error(text) = frame {
            let is_missing = text.starts_with(b"NOPERM") || text.starts_with(b"ERR");
            return if is_missing { Ok(Vec::new()) } else { Err(self.server_error(text)) };
        }
        let text = frame.as_bytes().map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// A sentinel would answer the introduction as a server without a role does.
    fn expect_data(&self, mode: Option<&str>) -> Result<(), HandshakeError> {
        match mode {
            Some("sentinel") => {
                Err(self.error("it is a sentinel and holds no data; write redis-sentinel://".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// A server that keeps its role to itself is taken for a primary, until it refuses a write.
    fn expect_primary(&self, role: Option<&str>) -> Result<(), HandshakeError> {
        match role {
            Some("slave" | "replica") if self.introduction.role == Role::Primary => {
                Err(self.error("it is a replica and takes no writes; name the primary".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// What a server keeps to itself is not held against it.
    fn expect_follower(&self, role: Option<&str>, link: Option<&str>) -> Result<(), HandshakeError> {
        let reason = match (role, link) {
            _ if self.introduction.role != Role::Follower => return Ok(()),
            (Some("master"), _) => "it is no replica",
            (_, Some(link)) if link != "up" => "it is not in step with its primary",
            _ => return Ok(()),
        };
        Err(self.error(reason.to_owned()))
    }

    fn expect_ok(&self, frame: &Frame) -> Result<(), HandshakeError> {
        match frame {
            Frame::Simple(text) if &text[..] == b"OK" => Ok(()),
            Frame::Error(text) => Err(self.server_error(text)),
            other => Err(self.error(format!("{} instead of OK", other.kind()))),
        }
    }

    fn server_error(&self, text: &[u8]) -> HandshakeError {
        let is_about_login = match self.step {
            Step::Auth => true,
            _ => [&b"WRONGPASS"[..], b"NOAUTH", b"ERR AUTH", b"ERR invalid password"]
                .iter()
                .any(|code| text.starts_with(code)),
        };
        HandshakeError { is_about_login, ..self.error(without_secret(text, self.config.login())) }
    }

    fn error(&self, reason: String) -> HandshakeError {
        let step = match self.step {
            Step::Hello => "HELLO",
            Step::Auth => "AUTH",
            Step::Name => "CLIENT SETNAME",
            Step::Select => "SELECT",
            Step::Info | Step::Role => "INFO",
            Step::ReadOnly => "READONLY",
            Step::Tracking => "CLIENT TRACKING",
            Step::Number => "CLIENT ID",
            Step::Kill | Step::Done => "CLIENT KILL",
        };
        HandshakeError { step, reason, is_about_login: false }
    }
}

/// The text of an error, as far as it may be repeated.
pub(crate) fn without_secret(text: &[u8], login: Option<&Login>) -> String {
    let whole = String::from_utf8_lossy(text);
    if login.is_some_and(|login| whole.contains(login.password.reveal())) {
        return "an error that repeats the password".to_owned();
    }
    String::from_utf8_lossy(&text[..text.len().min(ERROR_TEXT_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
