//! What a fake answers to a driver that introduces itself.

use bowline_keyspace::CommandError;
use bowline_keyspace::command::unknown_subcommand;
use bowline_keyspace::number::parse_integer;
use bowline_resp::{Frame, Protocol};
use bytes::Bytes;

use super::connection::Connection;
use super::store::{unknown_command, word};

/// The version of Redis whose commands it follows.
const VERSION: &str = "7.0.15";

impl Connection {
    /// Answers a command about the connection. Whoever comes is let in.
    pub(super) fn introduce(&mut self, name: &str, request: &[Bytes]) -> Result<Frame, CommandError> {
        match name {
            "hello" => return self.hello(request),
            "auth" => {}
            "select" => self.database = self.database(request.get(1))?,
            "info" => return Ok(self.info()),
            "client" => return self.client(request),
            _ if self.only_listens() => {
                let word = request.get(1).map(|word| Bytes::copy_from_slice(word)).unwrap_or_default();
                return Ok(Frame::Array(vec![Frame::bulk("pong"), Frame::Bulk(word)]));
            }
            _ => {
                let word = request.get(1).map(|word| Bytes::copy_from_slice(word));
                return Ok(word.map_or(Frame::Simple("PONG".into()), Frame::Bulk));
            }
        }
        Ok(Frame::ok())
    }

    fn hello(&mut self, request: &[Bytes]) -> Result<Frame, CommandError> {
        if self.world.newest == Protocol::Resp2 {
            return Err(unknown_command(request));
        }
        self.protocol = match request.get(1).map(|version| &version[..]) {
            Some(b"3") => Protocol::Resp3,
            Some(b"2") => Protocol::Resp2,
            None => self.protocol,
            Some(_) => return Err(CommandError::text("NOPROTO unsupported protocol version")),
        };
        let fields = [
            ("server", Frame::bulk("redis")),
            ("version", Frame::bulk(VERSION)),
            ("proto", Frame::Integer(if self.protocol == Protocol::Resp3 { 3 } else { 2 })),
            ("id", Frame::Integer(self.number)),
            ("mode", Frame::bulk("standalone")),
            ("role", Frame::bulk("master")),
            ("modules", Frame::Array(Vec::new())),
        ];
        Ok(Frame::Map(fields.into_iter().map(|(name, value)| (Frame::bulk(name), value)).collect()))
    }

    fn database(&self, number: Option<&Bytes>) -> Result<usize, CommandError> {
        let number = number.ok_or(CommandError::Arity("select".into()))?;
        let number = parse_integer(number).ok_or(CommandError::NotAnInteger)?;
        let databases = self.world.store().keyspace.databases();
        usize::try_from(number).ok().filter(|&number| number < databases).ok_or(CommandError::DatabaseIndex)
    }

    /// All sections, whatever was asked for.
    fn info(&self) -> Frame {
        let (run_id, connections) = (self.world.run_id(), self.world.connections());
        Frame::bulk(format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nrun_id:{run_id}\r\n\r\n\
             # Clients\r\nconnected_clients:{connections}\r\n\r\n\
             # Replication\r\nrole:master\r\nconnected_slaves:0\r\n"
        ))
    }

    fn client(&mut self, request: &[Bytes]) -> Result<Frame, CommandError> {
        let arguments = request.get(1..).unwrap_or_default();
        let subcommand = arguments.first().ok_or(CommandError::Arity("client".into()))?;
        match (word(subcommand).as_str(), &arguments[1..]) {
            ("id", []) => Ok(Frame::Integer(self.number)),
            ("setname", [_]) | ("setinfo", [_, _]) => Ok(Frame::ok()),
            ("kill", [filter, number]) if word(filter) == "id" => {
                let number = parse_integer(number).ok_or(CommandError::NotAnInteger)?;
                Ok(Frame::Integer(i64::from(self.world.kill(number))))
            }
            _ => Err(unknown_subcommand("client", subcommand)),
        }
    }
}
