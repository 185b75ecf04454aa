//! What a cluster reads from requests and their answers.

use super::*;

fn get(key: &str) -> Command {
    Command::new("GET").arg(key)
}

fn set(key: &str) -> Command {
    Command::new("SET").args([key, "1"])
}

fn moved() -> Frame {
    Frame::error("MOVED 1 h:1")
}

fn text(request: &impl Request) -> String {
    let mut bytes = BytesMut::new();
    request.write_to(&mut bytes);
    assert_eq!(bytes.len(), request.size_bytes());
    let words = String::from_utf8(bytes.to_vec()).unwrap();
    words.lines().filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
}

#[test]
fn all_commands_are_in_one_slot() {
    let slot = Slot::of(b"a");
    assert_eq!(Batch::new().command(get("a")).command(set("{a}b")).slot(), Ok(Some(slot)));
    assert_eq!(Batch::new().command(Command::new("PING")).command(get("a")).slot(), Ok(Some(slot)));
    assert_eq!(Batch::new().command(Command::new("PING")).slot(), Ok(None));
    let crossing = Transaction::new().command(get("a")).command(set("b"));
    assert_eq!(crossing.slot(), Err(RouteError::CrossSlot { first: slot, other: Slot::of(b"b") }));
}

#[test]
fn a_replica_will_do_only_for_what_reads() {
    let replica = ReadFrom::PreferReplica;
    assert_eq!(get("a").reads_from(replica), replica);
    assert_eq!(get("a").read_from(ReadFrom::Any).reads_from(replica), ReadFrom::Any);
    assert_eq!(set("a").read_from(replica).reads_from(replica), ReadFrom::Primary);
    assert_eq!(Command::new("EVAL").reads_from(replica), ReadFrom::Primary);
    let batch = Batch::new().command(get("a"));
    assert_eq!(batch.reads_from(replica), replica);
    assert_eq!(batch.command(set("a")).reads_from(replica), ReadFrom::Primary);
    assert_eq!(Transaction::new().reads_from(replica), ReadFrom::Primary);
}

#[test]
fn asking_stands_where_it_holds() {
    assert_eq!(text(&get("a").asking()), "ASKING GET a");
    let batch = Batch::new().command(get("a")).command(get("a"));
    assert_eq!(text(&batch.asking()), "ASKING GET a ASKING GET a");
    let transaction = Transaction::new().command(get("a")).command(get("a"));
    assert_eq!(text(&transaction.asking()), "ASKING MULTI GET a GET a EXEC");

    let answers = || (0..5).map(Frame::Integer).collect::<Vec<_>>();
    let array = |numbers: &[i64]| Some(Frame::Array(numbers.iter().map(|&n| Frame::Integer(n)).collect()));
    assert_eq!(get("a").without_asking(answers()[..2].to_vec()), Some(Frame::Integer(1)));
    assert_eq!(batch.without_asking(answers()[..4].to_vec()), array(&[1, 3]));
    assert_eq!(transaction.without_asking(answers()), array(&[1, 2, 3, 4]));
    for (shapes, expected) in [(batch.asking().replies(), 4), (transaction.asking().replies(), 5)] {
        let Replies::Each(shapes) = shapes else { panic!("it has several answers") };
        assert_eq!(shapes.len(), expected);
    }
}

#[test]
fn a_batch_is_refused_only_as_a_whole() {
    let batch = Batch::new().command(get("a")).command(get("a"));
    let refusal = |answers: Vec<Frame>| batch.refusal(&Frame::Array(answers), "h:2").is_some();
    assert!(refusal(vec![moved(), moved()]));
    assert!(refusal(vec![Frame::error("TRYAGAIN x"), moved()]));
    assert!(!refusal(vec![moved(), Frame::Null]));
    assert!(!refusal(vec![moved(), Frame::error("WRONGTYPE x")]));
    assert!(!refusal(vec![Frame::Null, Frame::Null]));
}

#[test]
fn a_transaction_is_refused_only_if_it_surely_did_not_run() {
    let transaction = Transaction::new().command(get("a")).command(get("a"));
    let refusal = |answers: Vec<Frame>| transaction.refusal(&Frame::Array(answers), "h:2").is_some();
    let (ok, queued) = (Frame::ok, || Frame::Simple("QUEUED".into()));
    let abort = || Frame::error("EXECABORT x");
    let ran = || Frame::Array(vec![moved(), moved()]);
    assert!(refusal(vec![ok(), moved(), moved(), abort()]));
    assert!(refusal(vec![ok(), queued(), Frame::error("CLUSTERDOWN x"), abort()]));
    assert!(
        refusal(vec![ok(), queued(), queued(), moved()]),
        "the slot has gone between the last command and EXEC"
    );
    assert!(!refusal(vec![ok(), queued(), queued(), abort()]), "nobody knows why");
    assert!(!refusal(vec![ok(), queued(), Frame::error("OOM x"), abort()]));
    assert!(!refusal(vec![ok(), queued(), queued(), ran()]));
    assert!(!refusal(vec![ok(), moved(), queued(), ran()]), "a server that runs the rest");
    assert!(!refusal(vec![Frame::error("LOADING x"), Frame::Null, moved(), Frame::error("ERR EXEC")]));
    assert!(!refusal(vec![ok(), queued(), queued(), Frame::Null]));
}
