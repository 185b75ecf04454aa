//! CLIENT LIST and CLIENT KILL.

use std::collections::BTreeSet;

use bowline_keyspace::number::parse_integer;
use bowline_keyspace::{CommandError, Reply};
use bowline_rt::time::now;

use super::{Outcome, Request};
use crate::client::Client;

/// Every client of this store is of the type "normal"; the others are valid and match nobody.
fn matches_type(kind: &str) -> Result<bool, CommandError> {
    match kind {
        "normal" => Ok(true),
        "master" | "slave" | "replica" | "pubsub" => Ok(false),
        kind => Err(CommandError::Other(format!("ERR Unknown client type '{kind}'").into())),
    }
}

pub(super) fn list(request: &mut Request<'_>) -> Outcome {
    let mut ids = None;
    let mut shown = true;
    match request.arguments.get(2..).unwrap_or_default() {
        [] => {}
        [word, _] if word.eq_ignore_ascii_case(b"type") => shown = matches_type(&request.word(3))?,
        [word, list @ ..] if word.eq_ignore_ascii_case(b"id") && !list.is_empty() => {
            let parse = |id: &bytes::Bytes| parse_integer(id).and_then(|id| u64::try_from(id).ok());
            let parsed: Option<BTreeSet<u64>> = list.iter().map(parse).collect();
            ids = Some(parsed.ok_or(CommandError::text("ERR Invalid client ID"))?);
        }
        _ => return Err(CommandError::Syntax),
    }
    let now = now();
    let mut text = String::new();
    for client in request.server.clients.all() {
        if shown && ids.as_ref().is_none_or(|ids| ids.contains(&client.id)) {
            text.push_str(&client.describe(now, true));
            text.push('\n');
        }
    }
    request.output.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

#[derive(Default)]
struct Filter {
    id: Option<u64>,
    peer: Option<String>,
    local: Option<String>,
    no_type_fits: bool,
    other_user: bool,
    skip_me: Option<bool>,
}

impl Filter {
    fn parse(request: &Request<'_>) -> Result<Self, CommandError> {
        let mut filter = Self::default();
        for index in (2..request.arguments.len()).step_by(2) {
            if index + 1 >= request.arguments.len() {
                return Err(CommandError::Syntax);
            }
            let value = request.word(index + 1);
            match request.word(index).as_str() {
                "id" => {
                    let id = parse_integer(value.as_bytes()).filter(|&id| id > 0);
                    let id = id.ok_or(CommandError::text("ERR client-id should be greater than 0"))?;
                    filter.id = u64::try_from(id).ok();
                }
                "addr" => filter.peer = Some(value),
                "laddr" => filter.local = Some(value),
                "type" => filter.no_type_fits |= !matches_type(&value)?,
                "user" if value == "default" => {}
                "user" => {
                    filter.other_user = true;
                    return Err(CommandError::Other(format!("ERR No such user '{value}'").into()));
                }
                "skipme" if value == "yes" => filter.skip_me = Some(true),
                "skipme" if value == "no" => filter.skip_me = Some(false),
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(filter)
    }

    fn fits(&self, client: &Client, me: u64) -> bool {
        !(self.no_type_fits
            || self.other_user
            || self.id.is_some_and(|id| id != client.id)
            || self.peer.as_ref().is_some_and(|peer| *peer != client.peer.to_string())
            || self.local.as_ref().is_some_and(|local| *local != client.local.to_string())
            || (self.skip_me.unwrap_or(true) && client.id == me))
    }
}

pub(super) fn kill(request: &mut Request<'_>) -> Outcome {
    let old_form = request.arguments.len() == 3;
    let filter = if old_form {
        Filter { peer: Some(request.word(2)), skip_me: Some(false), ..Filter::default() }
    } else {
        Filter::parse(request)?
    };
    let me = request.session.client.id;
    let mut killed = 0;
    for client in request.server.clients.all() {
        if filter.fits(&client, me) {
            killed += 1;
            if client.id == me {
                // The answer goes out first.
                request.session.closing = true;
            } else {
                client.kill();
            }
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(CommandError::text("ERR No such client")),
        (true, _) => request.output.ok(),
        (false, killed) => request.output.integer(killed),
    }
    Ok(())
}
