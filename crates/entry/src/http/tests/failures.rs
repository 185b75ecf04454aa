//! What goes wrong behind the entry: what the client is told, and what is tried again.

use bowline_model::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{assert_has, counters, status};
use crate::http::Settings;
use crate::testing::{World, mirror, scripted, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const OK_AND_CLOSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok<close>";
const POST: &str =
    "POST / HTTP/1.1\r\nhost: web.svc.bowline\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";

#[tokio::test]
async fn every_reason_is_told_to_people_and_programs() {
    let world = World::start(mirror().await, Settings::default()).await;
    for reason in Reason::ALL {
        world.opener.fail(*reason);
        let response = world.get("x-request-id: r1\r\n").await;
        assert_eq!(status(&response), reason.http_status());
        assert_has(&response, &format!("bowline-reason: {}\r\n", reason.code()));
        assert_has(&response, "x-request-id: r1\r\n");
        let body: serde_json::Value =
            serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
        let expected = serde_json::json!({ "error": {
            "reason": reason.code(),
            "message": format!("{}: on purpose", reason.text()),
            "request_id": "r1",
        }});
        assert_eq!(body, expected);
    }
    assert_has(&counters(&world), "bowline_entry_failures_total{reason=\"service_unknown\"} 1");
}

/// Asks twice over an entry whose service answers with `answers`; the second request is `second`.
async fn check_second(answers: &[&str], second: &str, expected: u16, opened: usize) {
    let world = World::start(scripted(answers).await, Settings::default()).await;
    assert_eq!(status(&world.get("").await), 200);
    until("the connection is free", || counters(&world).contains("requests_in_flight 0")).await;
    let response = world.ask(second).await;
    assert_eq!(status(&response), expected, "{response}");
    assert_eq!(world.opener.opened(), opened, "streams opened for {answers:?}");
}

#[tokio::test]
async fn only_what_is_safe_is_tried_again() {
    let get = "GET / HTTP/1.1\r\nhost: web.svc.bowline\r\nconnection: close\r\n\r\n";
    let delete = &get.replace("GET", "DELETE");
    // The service closed the connection in good order: whatever comes next takes a new one.
    check_second(&[OK_AND_CLOSE, OK], get, 200, 2).await;
    check_second(&[OK_AND_CLOSE, OK], POST, 200, 2).await;
    // The service closes it without an answer to the second request.
    check_second(&[OK, "", OK], get, 200, 2).await;
    check_second(&[OK, "", OK], &get.replace("GET", "OPTIONS"), 200, 2).await;
    check_second(&[OK, "", OK], delete, 502, 1).await;
    check_second(&[OK, "", OK], POST, 502, 1).await;
    // A single byte of an answer, and nothing is tried again.
    check_second(&[OK, "H<close>", OK], get, 502, 1).await;
    check_second(&[OK, "nonsense\r\n\r\n", OK], get, 502, 1).await;
    // Nor a third time.
    check_second(&[OK, "", "", OK], get, 502, 2).await;
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_tried_again() {
    let world = World::start(scripted(&["", OK]).await, Settings::default()).await;
    let response = world.get("").await;
    assert_eq!(status(&response), 502);
    assert_has(&response, "service_broken");
    assert_eq!(world.opener.opened(), 1);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_cut_and_not_finished() {
    let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n<close>";
    let world = World::start(scripted(&[half]).await, Settings::default()).await;
    let response = world.get("").await;
    assert_eq!(status(&response), 200);
    assert!(!response.contains("0\r\n\r\n"), "the end of the body was made up: {response:?}");
    // HTTP/1.0 has no other end of a body than that of the connection: it must not look orderly.
    let world = World::start(scripted(&[half]).await, Settings::default()).await;
    let mut stream = world.dial().await;
    stream.write_all(b"GET / HTTP/1.0\r\nhost: web.svc.bowline\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(bytes.ends_with(b"ok") || bytes.is_empty());
}

#[tokio::test]
async fn what_a_service_says_about_connections_and_reasons_stays_behind() {
    let answer = "HTTP/1.1 200 OK\r\nbowline-reason: x\r\nkeep-alive: 5\r\nconnection: x-hop\r\nx-hop: 1\r\n\
                  content-length: 0\r\n\r\n";
    let world = World::start(scripted(&[answer]).await, Settings::default()).await;
    let response = world.get("").await;
    for hidden in ["bowline-reason", "keep-alive", "x-hop"] {
        assert!(!response.contains(hidden), "{response}");
    }
}

#[tokio::test]
async fn two_lengths_of_a_response_do_not_both_reach_the_client() {
    let answer =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let world = World::start(scripted(&[answer]).await, Settings::default()).await;
    let response = world.get("").await;
    assert!(!response.contains("content-length"), "{response}");
    assert!(response.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_an_error() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let world = World::start(scripted(&[answer]).await, Settings::default()).await;
    assert_eq!(status(&world.get("").await), 502);
}
