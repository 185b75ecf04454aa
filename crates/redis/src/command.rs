//! One command, encoded as it is built, with what the driver has to know about it.

use std::fmt;
use std::time::Duration;

use bowline_resp::encode_array_header;
use bytes::BytesMut;

use crate::body::Body;
use crate::cluster::{ReadFrom, RouteError, Slot};
use crate::credentials::Login;
use crate::error::NotSent;
use crate::keys::{self, Keys};
use crate::limits::ARGUMENTS_MAX;
use crate::request::{Replies, Request};
use crate::table::{Arguments, Reach, Refusal, Revealed, Row, Shape, look_up};

/// A command with its arguments. Building it encodes it, so that sending it is one copy that cannot fail.
#[derive(Clone)]
pub struct Command {
    /// The arguments, the name first, as bulk strings; the header of the array is written when the command is sent.
    body: Body,
    count: u32,
    shape: Shape,
    idempotent: bool,
    deadline: Option<Duration>,
    /// What the next arguments may still reveal.
    arguments: Arguments,
    /// Apart, because few commands have any of it and all are moved about.
    rest: Option<Box<Rest>>,
}

/// What few commands have.
#[derive(Debug, Clone, Default)]
struct Rest {
    refusal: Option<Refusal>,
    /// The time for which the arguments ask the server to be silent.
    blocks_for: Duration,
    /// Where the command belongs in a cluster, if the caller said so.
    slot: Option<Slot>,
    read_from: Option<ReadFrom>,
}

impl Command {
    /// A command without arguments. Commands that only read are idempotent without being told so.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let Row { shape, idempotent, refusal, arguments } = look_up(name.as_bytes());
        let mut body = Body::new();
        body.push(name.as_bytes());
        let rest = refusal.map(|refusal| Box::new(Rest { refusal: Some(refusal), ..Rest::default() }));
        Self { body, count: 1, shape, idempotent, deadline: None, arguments, rest }
    }

    /// The login of a living connection. Nothing else than a status can be the answer.
    pub(crate) fn auth(login: &Login) -> Self {
        let command = Self::new("AUTH").args(login.user.as_deref()).arg(login.password.reveal());
        Self { shape: Shape::STATUS, ..command }
    }

    /// Makes the server track the keys of the next command, and of no other.
    pub(crate) fn caching() -> Self {
        Self { shape: Shape::STATUS, idempotent: true, ..Self::new("CLIENT").args(["CACHING", "YES"]) }
    }

    /// The arguments as they are sent, without their number.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.body
    }

    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        let argument = argument.as_ref();
        if !matches!(self.arguments, Arguments::Harmless) {
            self.look_at(argument);
        }
        self.count = self.count.saturating_add(1);
        self.body.push(argument);
        self
    }

    /// Makes room for so many more bytes of encoded arguments.
    pub(crate) fn with_room(mut self, bytes: usize) -> Self {
        self.body.reserve(bytes);
        self
    }

    /// Notes what an argument reveals.
    fn look_at(&mut self, argument: &[u8]) {
        let Revealed { refusal, blocks_for } = self.arguments.next(argument);
        if refusal.is_some() || blocks_for.is_some() {
            let rest = self.rest.get_or_insert_default();
            rest.refusal = rest.refusal.or(refusal);
            rest.blocks_for = blocks_for.unwrap_or(rest.blocks_for);
        }
    }

    /// Appends a number as an argument.
    #[must_use]
    pub fn number(self, number: impl itoa::Integer) -> Self {
        self.arg(itoa::Buffer::new().format(number))
    }

    /// Appends several arguments.
    #[must_use]
    pub fn args(self, arguments: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Declares that running the command twice is as good as once: the driver may send it again when its fate is unknown.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Limits the time that the call may take in all: waiting for a connection and for room, sending, and the answer.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Says that the command belongs to where `key` lives in a cluster. Only commands that the driver does not know (those of
    /// modules) need it; of the others it knows which arguments are keys.
    #[must_use]
    pub fn routed_by(mut self, key: &[u8]) -> Self {
        self.rest.get_or_insert_default().slot = Some(Slot::of(key));
        self
    }

    /// From which nodes of a cluster, or of a service that sentinels watch, the command may read, in place of what the client's
    /// settings say. Commands that may write go to the primary all the same.
    #[must_use]
    pub fn read_from(mut self, read_from: ReadFrom) -> Self {
        self.rest.get_or_insert_default().read_from = Some(read_from);
        self
    }

    /// The arguments that are keys.
    ///
    /// # Errors
    /// A command that the driver does not know, or one that states a wrong number of keys.
    pub fn keys(&self) -> Result<Vec<&[u8]>, RouteError> {
        let row = keys::look_up(self.name()).ok_or(RouteError::UnknownCommand)?;
        let mut keys = Vec::new();
        row.keys.visit(&self.arguments(), self.count(), |key| keys.push(key))?;
        Ok(keys)
    }

    /// Whether the command only reads the keys that it names, so that a replica can run it.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        keys::look_up(self.name()).is_some_and(|row| row.reads)
    }

    /// The slot that the command belongs to; `None` if any node gives as good an answer.
    pub(crate) fn route(&self) -> Result<Option<Slot>, RouteError> {
        if let Some(slot) = self.rest.as_ref().and_then(|rest| rest.slot) {
            return Ok(Some(slot));
        }
        let row = keys::look_up(self.name()).ok_or(RouteError::UnknownCommand)?;
        let (mut slot, mut other) = (None, None);
        row.keys.visit(&self.arguments(), self.count(), |key| {
            let found = Slot::of(key);
            if *slot.get_or_insert(found) != found {
                other = Some(found);
            }
        })?;
        match (slot, other) {
            (Some(first), Some(other)) => Err(RouteError::CrossSlot { first, other }),
            (None, _) if matches!(row.keys, Keys::OfNode | Keys::Subcommands(_)) => Err(RouteError::OfNode),
            (slot, _) => Ok(slot),
        }
    }

    pub(crate) fn read_from_or(&self, default: ReadFrom) -> ReadFrom {
        self.rest.as_ref().and_then(|rest| rest.read_from).unwrap_or(default)
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.arguments().next().unwrap_or_default()
    }

    /// How many arguments there are, with the name.
    const fn count(&self) -> usize {
        self.count as usize
    }

    /// The arguments, the name first, out of the encoded body.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut rest = &self.body[..];
        std::iter::from_fn(move || {
            let line = rest.iter().position(|&byte| byte == b'\n')?;
            // `$<length>\r`: our own encoding.
            let digits = &rest[b"$".len()..line - b"\r".len()];
            let length = digits.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
            let argument = &rest[line + 1..][..length];
            rest = &rest[line + 1 + length + b"\r\n".len()..];
            Some(argument)
        })
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether a shared connection may carry this command at all.
    pub(crate) fn check_shared(&self, bytes_max: usize) -> Result<(), NotSent> {
        self.check(bytes_max, |reach| reach.refuses(true, false))
    }

    /// Whether a connection that one caller has to itself may carry this command.
    pub(crate) fn check_dedicated(&self, bytes_max: usize) -> Result<(), NotSent> {
        self.check(bytes_max, |reach| reach.refuses(false, false))
    }

    /// Whether it may be part of a transaction on a shared connection.
    pub(crate) fn check_shared_and_queued(&self, bytes_max: usize) -> Result<(), NotSent> {
        self.check(bytes_max, |reach| reach.refuses(true, true))
    }

    /// Whether it may be part of a transaction on a connection that one caller has to itself.
    pub(crate) fn check_dedicated_and_queued(&self, bytes_max: usize) -> Result<(), NotSent> {
        self.check(bytes_max, |reach| reach.refuses(false, true))
    }

    fn check(&self, bytes_max: usize, is_refused: impl Fn(Reach) -> bool) -> Result<(), NotSent> {
        match self.rest.as_ref().and_then(|rest| rest.refusal) {
            Some(Refusal { command, why, reach }) if is_refused(reach) => {
                Err(NotSent::Refused { command, why })
            }
            _ => self.check_size(bytes_max),
        }
    }

    fn check_size(&self, bytes_max: usize) -> Result<(), NotSent> {
        if self.count() > ARGUMENTS_MAX {
            return Err(NotSent::Refused {
                command: "a command",
                why: "it has more arguments than a server takes",
            });
        }
        let bytes = self.size_bytes();
        if bytes > bytes_max { Err(NotSent::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }
}

impl Request for Command {
    fn size_bytes(&self) -> usize {
        let digits = if self.count < 10 { 1 } else { itoa::Buffer::new().format(self.count).len() };
        b"*\r\n".len() + digits + self.body.len()
    }

    fn write_to(&self, out: &mut BytesMut) {
        out.reserve(self.size_bytes());
        match u8::try_from(self.count) {
            Ok(count @ ..10) => out.extend_from_slice(&[b'*', b'0' + count, b'\r', b'\n']),
            _ => encode_array_header(self.count(), out),
        }
        out.extend_from_slice(&self.body);
    }

    fn replies(&self) -> Replies {
        Replies::One(self.shape)
    }

    fn is_idempotent(&self) -> bool {
        self.idempotent || self.only_reads()
    }

    /// A command that blocks has the usual time on top of that for which it blocks.
    fn deadline_or(&self, default: Duration) -> Duration {
        self.deadline.unwrap_or(default.saturating_add(self.blocks_for()))
    }

    fn blocks_for(&self) -> Duration {
        self.rest.as_ref().map_or(Duration::ZERO, |rest| rest.blocks_for)
    }
}

/// Without the arguments, which may be secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("arguments", &(self.count - 1))
            .field("bytes", &self.size_bytes())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_encoded_as_it_is_built() {
        let command = Command::new("SET").arg("key").number(-12).args(["PX", "5"]);
        let mut out = BytesMut::new();
        command.write_to(&mut out);
        assert_eq!(&out[..], b"*5\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r\n-12\r\n$2\r\nPX\r\n$1\r\n5\r\n");
        assert_eq!(out.len(), command.size_bytes());
    }

    #[test]
    fn what_would_change_the_connection_is_refused() {
        let check = |command: Command, refused: Option<&str>| {
            let got = command.check_shared(1000).err().map(|error| error.to_string());
            assert_eq!(got.as_deref(), refused);
        };
        let refused = |command: &str, why: &str| format!("{command} cannot use a shared connection: {why}");
        check(Command::new("GET").arg("SUBSCRIBE"), None);
        check(Command::new("client").arg("list"), None);
        check(Command::new("XREAD").args(["COUNT", "1", "STREAMS", "block", "0"]), None);
        check(Command::new("XREADGROUP").args(["GROUP", "block", "block", "STREAMS", "s", ">"]), None);
        check(
            Command::new("XREADGROUP")
                .args(["NOACK", "GROUP", "count", "block", "COUNT", "1", "STREAMS", "s", ">"]),
            None,
        );
        let blocks = "it holds up everybody behind it; use a dedicated connection";
        check(
            Command::new("XREADGROUP").args(["BLOCK", "0", "GROUP", "g", "c", "STREAMS", "s", ">"]),
            Some(&refused("XREADGROUP BLOCK", blocks)),
        );
        check(
            Command::new("Subscribe").arg("channel"),
            Some(&refused("SUBSCRIBE", "its replies are not answers; use a subscriber")),
        );
        check(
            Command::new("client").args(["reply", "off"]),
            Some(&refused("CLIENT REPLY", "it changes the number of replies")),
        );
        check(
            Command::new("XREAD").args(["BLOCK", "0", "STREAMS", "s", "0"]),
            Some(&refused("XREAD BLOCK", "it holds up everybody behind it; use a dedicated connection")),
        );
        check(
            Command::new("XREADGROUP").args(["GROUP", "g", "c", "block", "0", "STREAMS", "s", ">"]),
            Some(&refused("XREADGROUP BLOCK", "it holds up everybody behind it; use a dedicated connection")),
        );
        check(Command::new("SET").arg([0; 1000]), Some("the command has 1022 bytes, the limit is 1000"));
    }

    #[test]
    fn a_command_knows_its_name() {
        assert_eq!(Command::new("CLUSTER-LIKE.NAME").arg("SLOTS").name(), b"CLUSTER-LIKE.NAME");
        assert_eq!(Command::new("").name(), b"");
    }

    #[test]
    fn debug_shows_no_argument() {
        assert!(!format!("{:?}", Command::new("SET").arg("hunter2")).contains("hunter2"));
    }
}
