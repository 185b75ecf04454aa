//! A client that asks both gateways and looks into the store, over and over, and notes what it sees.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bowline_resp::{DecodeLimits, Decoder, Frame, encode_command};
use bowline_rt::net;
use bowline_rt::time::{self, timeout};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::Sim;

use crate::limits::{HEAD_BYTES_MAX, PROBE_PAUSE, PROBE_TIMEOUT};
use crate::zone::{HTTP_PORT, STORE};

/// Host of the client.
pub const CLIENT: &str = "client";

/// What the client has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of each gateway, the outcome of the latest request.
    pub requests: BTreeMap<&'static str, Latest>,
    /// The latest look into the store.
    pub store: Option<Snapshot>,
    /// An answer that belonged to another request.
    pub foreign_answer: Option<String>,
    /// An entry that went back to something older.
    pub went_back: Option<String>,
    /// The highest (term, generation) of each entry since the store last lost its data.
    highest: BTreeMap<String, (u64, u64)>,
}

/// The outcome of the latest request.
#[derive(Debug, Clone)]
pub struct Latest {
    /// Requests in a row that were served.
    pub streak: u64,
    /// Why the last one was not, if it was not.
    pub error: Option<String>,
}

/// The live holders that the store named at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Fields (`gateway/agent`) of entries that are neither removed nor expired, in order.
    pub holders: Vec<String>,
}

/// Adds the client, which notes in `seen`.
pub fn add_client(sim: &mut Sim<'static>, gateways: &'static [&'static str], seen: &Rc<RefCell<Seen>>) {
    let seen = seen.clone();
    sim.host(CLIENT, move || {
        let seen = seen.clone();
        async move {
            for &gateway in gateways {
                let seen = seen.clone();
                // The simulated host has a LocalSet: what it notes need not be shared between threads.
                bowline_rt::task::spawn_local("probe", async move { ask_for_ever(gateway, &seen).await });
            }
            look_for_ever(&seen).await;
            Ok(())
        }
    });
}

async fn ask_for_ever(gateway: &'static str, seen: &RefCell<Seen>) {
    for number in 0_u64.. {
        let path = format!("/{gateway}/{number}");
        let answer = timeout(PROBE_TIMEOUT, ask(gateway, &path))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        tracing::debug!(gateway, path, ?answer, "asked");
        seen.borrow_mut().note_answer(gateway, &path, answer);
        time::sleep(PROBE_PAUSE).await;
    }
}

/// One request over a connection of its own; the body of a 200.
async fn ask(gateway: &str, path: &str) -> io::Result<String> {
    let mut stream = net::connect_host(&format!("{gateway}:{HTTP_PORT}"), PROBE_TIMEOUT).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: web.svc.bowline\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(HEAD_BYTES_MAX as u64).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    match head.starts_with("HTTP/1.1 200") {
        true => Ok(body.to_owned()),
        false => Err(io::Error::other(format!("{} {body}", head.lines().next().unwrap_or_default()))),
    }
}

async fn look_for_ever(seen: &RefCell<Seen>) {
    loop {
        match timeout(PROBE_TIMEOUT, look()).await {
            Ok(Ok(looked)) => seen.borrow_mut().note_look(looked),
            Ok(Err(_)) | Err(_) => seen.borrow_mut().store = None,
        }
        time::sleep(PROBE_PAUSE).await;
    }
}

/// What one look into the store found.
struct Look {
    /// Whether the store is the one of the last look: a marker that a store without its data does not have.
    is_new: bool,
    now_ms: u64,
    entries: Vec<(String, String)>,
}

async fn look() -> io::Result<Look> {
    let mut stream = net::connect_host(&format!("{}:{}", STORE.0, STORE.1), PROBE_TIMEOUT).await?;
    let mut request = BytesMut::new();
    let commands: [&[&str]; 3] =
        [&["SET", "simulation:marker", "1", "NX"], &["TIME"], &["HGETALL", "bowline:{service:web}"]];
    for command in commands {
        encode_command(command.iter().map(|word| word.as_bytes()), &mut request);
    }
    stream.write_all(&request).await?;
    let mut decoder = Decoder::new(DecodeLimits::default());
    let (mut buffer, mut replies) = (BytesMut::new(), Vec::new());
    while replies.len() < commands.len() {
        match decoder.decode(&mut buffer).map_err(io::Error::other)? {
            Some(reply) => replies.push(reply),
            None if stream.read_buf(&mut buffer).await? == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            None => {}
        }
    }
    let strange = || io::Error::other("a strange reply of the store");
    let [marker, time, entries]: [Frame; 3] = replies.try_into().map_err(|_| strange())?;
    let seconds = texts(time).and_then(|time| time.first()?.parse::<u64>().ok()).ok_or_else(strange)?;
    let fields = texts(entries).ok_or_else(strange)?;
    let entries = fields.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    Ok(Look { is_new: !marker.is_null(), now_ms: seconds * 1_000, entries })
}

fn texts(frame: Frame) -> Option<Vec<String>> {
    let elements = frame.into_elements().ok()?;
    elements.iter().map(|element| element.as_text().map(str::to_owned)).collect()
}

impl Seen {
    /// Forgets how it was, so that only what comes counts. What must never happen is not forgotten.
    pub fn forget(&mut self) {
        self.requests.clear();
        self.store = None;
    }

    fn note_answer(&mut self, gateway: &'static str, path: &str, answer: io::Result<String>) {
        let latest = self.requests.entry(gateway).or_insert(Latest { streak: 0, error: None });
        match answer {
            Ok(body) if body == path => *latest = Latest { streak: latest.streak + 1, error: None },
            Ok(body) => {
                self.foreign_answer = Some(format!("asked {gateway} for {path}, and was answered {body:?}"))
            }
            Err(error) => *latest = Latest { streak: 0, error: Some(error.to_string()) },
        }
    }

    fn note_look(&mut self, look: Look) {
        if look.is_new {
            self.highest.clear();
        }
        let mut holders = Vec::new();
        for (field, value) in look.entries {
            let Some(entry) = Entry::parse(&value) else {
                self.went_back = Some(format!("{field} = {value:?} cannot be read"));
                continue;
            };
            let highest = self.highest.entry(field.clone()).or_default();
            if (entry.term, entry.generation) < *highest {
                self.went_back = Some(format!("{field}: {highest:?} was followed by {value:?}"));
            }
            *highest = (entry.term, entry.generation);
            if entry.is_live && entry.expires_ms > look.now_ms {
                holders.push(field);
            }
        }
        holders.sort();
        tracing::debug!(?holders, "looked");
        self.store = Some(Snapshot { holders });
    }
}

/// What an entry's value says: `1 term epoch generation expires payload`.
struct Entry {
    term: u64,
    generation: u64,
    expires_ms: u64,
    is_live: bool,
}

impl Entry {
    fn parse(value: &str) -> Option<Self> {
        let words: Vec<&str> = value.split(' ').collect();
        let [_, term, _, generation, expires, payload, ..] = words.as_slice() else { return None };
        Some(Self {
            term: term.parse().ok()?,
            generation: generation.parse().ok()?,
            expires_ms: expires.parse().ok()?,
            is_live: *payload != "-",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(is_new: bool, value: &str) -> Look {
        Look { is_new, now_ms: 1_000, entries: vec![("g1/edge".to_owned(), value.to_owned())] }
    }

    #[test]
    fn an_entry_that_goes_back_is_seen_unless_the_store_lost_its_data() {
        let mut seen = Seen::default();
        seen.note_look(look(true, "1 5 ab 7 2000 g1:1 z -"));
        seen.note_look(look(false, "1 5 ab 8 2000 g1:1 z -"));
        assert_eq!((seen.store.as_ref().map(|store| store.holders.len()), &seen.went_back), (Some(1), &None));
        seen.note_look(look(true, "1 5 ab 7 2000 - - -"));
        assert_eq!((seen.store.as_ref().map(|store| store.holders.len()), &seen.went_back), (Some(0), &None));
        seen.note_look(look(false, "1 4 ab 9 2000 g1:1 z -"));
        assert!(seen.went_back.is_some());
    }

    #[test]
    fn an_answer_to_another_request_is_seen() {
        let mut seen = Seen::default();
        seen.note_answer("g1", "/g1/1", Ok("/g1/1".to_owned()));
        assert_eq!((seen.requests["g1"].streak, &seen.foreign_answer), (1, &None));
        seen.note_answer("g1", "/g1/2", Ok("/g1/1".to_owned()));
        assert!(seen.foreign_answer.is_some());
    }
}
