//! Tests of introductions, against answers in the test.

use super::*;
use crate::request::Request as _;

/// Runs a handshake against `answers` and returns the names of the requests and how it ended.
fn check(url: &str, answers: &[Frame]) -> (String, Result<ServerInfo, String>) {
    let mut handshake = Handshake::new(&Config::from_url(url).unwrap().name("a"), Introduction::default());
    let mut requests = Vec::new();
    let mut answers = answers.iter();
    while let Some(request) = handshake.request() {
        let mut bytes = bytes::BytesMut::new();
        request.write_to(&mut bytes);
        let words = String::from_utf8(bytes.to_vec()).unwrap();
        requests.push(words.lines().skip(2).step_by(2).collect::<Vec<_>>().join(" "));
        let answer = answers.next().expect("an answer for each request").clone();
        if let Err(error) = handshake.answer(answer) {
            return (requests.join(", "), Err(format!("{}: {}", error.step, error.reason)));
        }
    }
    (requests.join(", "), Ok(handshake.finish()))
}

fn hello(protocol: i64) -> Frame {
    Frame::Map(vec![
        (Frame::bulk("version"), Frame::bulk("7.0.15")),
        (Frame::bulk("proto"), Frame::Integer(protocol)),
        (Frame::bulk("id"), Frame::Integer(7)),
        (Frame::bulk("role"), Frame::bulk("master")),
    ])
}

#[test]
fn a_new_server_is_greeted_in_resp3() {
    let info = Frame::Verbatim {
        format: *b"txt",
        text: "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n".into(),
    };
    let (requests, server) = check("redis://u:p@h/2", &[hello(3), Frame::ok(), Frame::ok(), info]);
    assert_eq!(requests, "HELLO 3 AUTH u p, CLIENT SETNAME a, SELECT 2, INFO server");
    let expected = ServerInfo {
        run_id: Some("abc".into()),
        version: "7.0.15".into(),
        protocol: Protocol::Resp3,
        client_id: Some(7),
        ..ServerInfo::default()
    };
    assert_eq!(server, Ok(expected));
}

#[test]
fn an_old_server_is_greeted_in_resp2() {
    let info = Frame::bulk("redis_version:5.0.1\r\nrun_id:def\r\n");
    let unknown =
        Frame::error("ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `p`, ");
    let (requests, server) =
        check("redis://:p@h", &[unknown, Frame::ok(), Frame::ok(), info, role("master"), Frame::Integer(9)]);
    assert_eq!(
        requests,
        "HELLO 3 AUTH default p, AUTH p, CLIENT SETNAME a, INFO server, INFO replication, CLIENT ID"
    );
    let expected = ServerInfo {
        run_id: Some("def".into()),
        version: "5.0.1".into(),
        client_id: Some(9),
        ..ServerInfo::default()
    };
    assert_eq!(server, Ok(expected));
}

#[test]
fn a_server_that_keeps_its_identity_to_itself_is_accepted() {
    let (_, server) = check("redis://h", &[hello(3), Frame::error("ERR"), Frame::error("NOPERM")]);
    assert_eq!(server.unwrap().run_id, None);
}

#[test]
fn a_sentinel_is_refused_however_it_tells() {
    let mut new = hello(3);
    if let Frame::Map(fields) = &mut new {
        *fields.last_mut().unwrap() = (Frame::bulk("mode"), Frame::bulk("sentinel"));
    }
    let reason = "it is a sentinel and holds no data; write redis-sentinel://";
    assert_eq!(check("redis://h", &[new]).1.unwrap_err(), format!("HELLO: {reason}"));
    let info = Frame::bulk("redis_version:5.0.1\r\nredis_mode:sentinel\r\n");
    let old = [Frame::error("NOPROTO"), Frame::ok(), info];
    assert_eq!(check("redis://h", &old).1.unwrap_err(), format!("INFO: {reason}"));
}

fn role(role: &str) -> Frame {
    Frame::bulk(format!("# Replication\r\nrole:{role}\r\nconnected_slaves:0\r\n"))
}

#[test]
fn a_replica_is_refused_however_it_tells() {
    let mut new = hello(3);
    if let Frame::Map(fields) = &mut new {
        fields.last_mut().unwrap().1 = Frame::bulk("replica");
    }
    let reason = "it is a replica and takes no writes; name the primary";
    assert_eq!(check("redis://h", &[new]).1.unwrap_err(), format!("HELLO: {reason}"));
    let old = [Frame::error("NOPROTO"), Frame::ok(), Frame::bulk("run_id:a\r\n"), role("slave")];
    assert_eq!(check("redis://h", &old).1.unwrap_err(), format!("INFO: {reason}"));
}

#[test]
fn who_is_read_from_as_a_replica_is_one_and_in_step() {
    let check = |role: &str, link: &str, expected: Result<(), &str>| {
        for hello in [Frame::Map(vec![(Frame::bulk("proto"), Frame::Integer(3))]), Frame::error("NOPROTO")] {
            let introduction = Introduction { role: Role::Follower, ..Introduction::default() };
            let mut handshake = Handshake::new(&Config::from_url("redis://h").unwrap(), introduction);
            let role = Frame::bulk(format!("{role}\r\n{link}\r\n"));
            let mut answers = [hello, Frame::bulk(""), role].into_iter();
            let ended = answers.try_for_each(|answer| handshake.answer(answer));
            assert_eq!(ended.map_err(|error| error.reason), expected.map_err(str::to_owned));
        }
    };
    check("role:slave", "master_link_status:up", Ok(()));
    check("role:slave", "", Ok(()));
    check("role:slave", "master_link_status:down", Err("it is not in step with its primary"));
    check("role:master", "", Err("it is no replica"));
}

#[test]
fn a_wrong_answer_ends_the_handshake_and_never_shows_the_password() {
    let refused = |answers: &[Frame]| check("redis://:hunter2@h/1", answers).1.unwrap_err();
    assert_eq!(refused(&[Frame::error("WRONGPASS no")]), "HELLO: WRONGPASS no");
    assert_eq!(refused(&[Frame::error("ERR bad 'hunter2'")]), "HELLO: an error that repeats the password");
    assert_eq!(refused(&[Frame::Simple("PONG".into())]), "HELLO: simple string instead of a map");
    assert_eq!(refused(&[hello(2)]), "HELLO: the server does not confirm RESP3");
    assert_eq!(
        refused(&[Frame::error("NOPROTO"), Frame::error("ERR invalid password")]),
        "AUTH: ERR invalid password"
    );
    assert_eq!(
        refused(&[hello(3), Frame::ok(), Frame::error("ERR DB index is out of range")]),
        "SELECT: ERR DB index is out of range"
    );
    assert_eq!(refused(&[hello(3), Frame::ok(), Frame::Integer(1)]), "SELECT: integer instead of OK");
    let (_, ended) = check("redis://h", &[Frame::error("NOPROTO"), Frame::ok(), Frame::error("NOAUTH no")]);
    assert_eq!(ended.unwrap_err(), "INFO: NOAUTH no");
}
