//! What is in sessions: every value names its session and the write that made it, and is judged by that.

use serde_json::{Value, json};

use super::ledger::{Kind, Ledger, MEMBERS, Mark, Subject};
use super::register::Found;

/// How often the value of a write repeats its name, by its number: a fault is to hit small and large ones.
const REPEATS: [usize; 4] = [1, 3, 40, 300];

/// Bytes of a document that nobody changes.
const FILLING: usize = 2_000;

/// The value of a write to an owned session.
#[must_use]
pub fn owned(subject: Subject, number: usize) -> String {
    format!("{}={number};", subject.name()).repeat(REPEATS[number % REPEATS.len()])
}

/// A document to begin with.
#[must_use]
pub fn document(subject: Subject) -> String {
    json!({ "name": subject.name(), "filling": "x".repeat(FILLING) }).to_string()
}

/// The name of a member of a document.
#[must_use]
pub fn member(number: usize) -> String {
    format!("member-{number}")
}

/// The value of a counter.
#[must_use]
pub fn counter(subject: Subject, number: u64) -> String {
    format!("{}={number}", subject.name())
}

/// Judges what a read found that began at `mark`; `None` if there was nothing.
pub fn judge(ledger: &Ledger, mark: &Mark, subject: Subject, found: Option<&[u8]>) {
    let judgement = match subject.kind {
        Kind::Owned(number) => judge_owned(ledger, mark, subject, number, found),
        Kind::Document(number) => judge_document(ledger, mark, subject, number, found),
        Kind::Counter(number) => match found.map(|value| count(subject, value)) {
            Some(Some(count)) => ledger
                .counter(subject.namespace, number)
                .judge(mark.counter(subject.namespace, number), count),
            Some(None) => Err(foreign(found)),
            None => Err("it is gone".to_owned()),
        },
    };
    ledger.demand(&subject.name(), judgement);
}

/// Judges that there is something, of which no more is known.
pub fn judge_presence(ledger: &Ledger, mark: &Mark, subject: Subject, is_there: bool) {
    match subject.kind {
        Kind::Owned(number) => {
            let found = if is_there { Found::Some } else { Found::Absent };
            let floor = mark.owned(subject.namespace, number);
            let judgement = ledger.owned(subject.namespace, number).judge(floor, found);
            ledger.demand(&subject.name(), judgement);
        }
        Kind::Document(_) | Kind::Counter(_) if is_there => {}
        Kind::Document(_) | Kind::Counter(_) => ledger.violated(format!("{} is gone", subject.name())),
    }
}

/// The number in the value of a counter.
#[must_use]
pub fn count(subject: Subject, value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.strip_prefix(&subject.name())?.strip_prefix('=')?.parse().ok()
}

fn foreign(found: Option<&[u8]>) -> String {
    let shown: String = String::from_utf8_lossy(found.unwrap_or_default()).chars().take(100).collect();
    format!("the value of somebody else was found: {shown}")
}

fn judge_owned(
    ledger: &Ledger,
    mark: &Mark,
    subject: Subject,
    number: usize,
    found: Option<&[u8]>,
) -> Result<(), String> {
    let floor = mark.owned(subject.namespace, number);
    let Some(value) = found else {
        return ledger.owned(subject.namespace, number).judge(floor, Found::Absent);
    };
    let first = value.split(|&byte| byte == b';').next().unwrap_or_default();
    let write = count(subject, first).and_then(|write| usize::try_from(write).ok());
    // Whole values are compared: a part may be somebody else's.
    match write.filter(|&write| owned(subject, write).as_bytes() == value) {
        Some(write) => ledger.owned(subject.namespace, number).judge(floor, Found::Value(write)),
        None => Err(foreign(found)),
    }
}

fn judge_document(
    ledger: &Ledger,
    mark: &Mark,
    subject: Subject,
    number: usize,
    found: Option<&[u8]>,
) -> Result<(), String> {
    let document: Option<Value> = found.and_then(|value| serde_json::from_slice(value).ok());
    let filling = |document: &Value| document["filling"].as_str().map(str::len);
    let is_own = |document: &Value| document["name"] == subject.name() && filling(document) == Some(FILLING);
    let Some(document) = document.filter(is_own) else { return Err(foreign(found)) };
    for index in 0..MEMBERS {
        let found = match document.get(member(index)) {
            None => Found::Absent,
            Some(value) => match value.as_u64().and_then(|write| usize::try_from(write).ok()) {
                Some(write) => Found::Value(write),
                None => return Err(format!("{} is {value}", member(index))),
            },
        };
        let floor = mark.member(subject.namespace, number, index);
        let judgement = ledger.member(subject.namespace, number, index).judge(floor, found);
        judgement.map_err(|what| format!("{}: {what}", member(index)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::register::{Content, Fate};

    /// A checker that has never caught anything proves nothing.
    #[test]
    fn wrong_values_are_seen() {
        let of = |kind| Subject { namespace: 1, kind };
        let check = |subject: Subject, found: Option<&[u8]>, is_wrong: bool| {
            let ledger = Ledger::default();
            for _ in 0..2 {
                let write = ledger.owned(1, 0).begin(Content::Value);
                ledger.owned(1, 0).end(write, Fate::Done).unwrap();
                let write = ledger.member(1, 0, 1).begin(Content::Value);
                ledger.member(1, 0, 1).end(write, Fate::Done).unwrap();
            }
            judge(&ledger, &ledger.mark(), subject, found);
            let outcome = ledger.settle(std::time::Duration::ZERO).unwrap_err().to_string();
            assert_eq!(outcome.contains("violations"), is_wrong, "{subject:?}, {found:?}: {outcome}");
        };
        let first = of(Kind::Owned(0));
        check(first, Some(owned(first, 2).as_bytes()), false);
        check(first, Some(owned(first, 1).as_bytes()), true);
        check(first, Some(owned(first, 3).as_bytes()), true);
        check(first, Some(owned(of(Kind::Owned(1)), 2).as_bytes()), true);
        check(first, Some(owned(Subject { namespace: 0, ..first }, 2).as_bytes()), true);
        check(first, Some(&owned(first, 2).as_bytes()[1..]), true);
        check(first, None, true);
        check(of(Kind::Owned(1)), None, false);
        let patched = of(Kind::Document(0));
        let with = |value: Value| {
            let mut document: Value = serde_json::from_str(&document(patched)).unwrap();
            document[member(1)] = value;
            document.to_string()
        };
        check(patched, Some(with(json!(2)).as_bytes()), false);
        check(patched, Some(with(json!(1)).as_bytes()), true);
        check(patched, Some(with(json!(3)).as_bytes()), true);
        check(patched, Some(document(patched).as_bytes()), true);
        check(patched, Some(document(first).as_bytes()), true);
        let counted = of(Kind::Counter(0));
        check(counted, Some(counter(counted, 0).as_bytes()), false);
        check(counted, Some(counter(counted, 1).as_bytes()), true);
        check(counted, None, true);
    }
}
