//! Frames and messages between agents and gateways.

use bowline_proto::v1::{
    FromAgent, FromGateway, GatewayStatus, HopReply, HopRequest, Open, Opened, TunnelHello,
};
use bowline_proto::{convert, frame};
use futures_util::FutureExt;

use crate::Target;

/// Frames on tunnels and hops: what was read is written back the same, and limits hold.
pub const FRAME: Target = Target {
    name: "proto_frame",
    samples: &[
        b"\0\0\0\x05\x0a\x03web",
        b"\0\0\0\x0f\x0a\x03web\x12\x03abc\x1a\x031:2",
        b"\0\0\0\x06\x08\x03\x12\x02no",
        b"\0\0\0\x12\x0a\x10\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
        b"\0\0\0\x0e\x0a\x0c\x0a\x03web\x12\x05edge1",
    ],
    run: frames,
};

/// The values inside messages: names, epochs and reasons from outside.
pub const MESSAGES: Target = Target {
    name: "proto_messages",
    samples: &[b"web\0db\0ssh-1", b"0123456789abcdef", b"\x01\0\0\0"],
    run: messages,
};

const BYTES_MAX: u32 = 4096;

fn frames(input: &[u8]) {
    read_back::<TunnelHello>(input);
    read_back::<Open>(input);
    read_back::<Opened>(input);
    read_back::<HopRequest>(input);
    read_back::<HopReply>(input);
    read_back::<FromAgent>(input);
    read_back::<FromGateway>(input);
    read_back::<GatewayStatus>(input);
}

fn read_back<M: Message>(input: &[u8]) {
    let mut stream = input;
    // A slice is always ready, so one poll tells all.
    let read = frame::read::<M>(&mut stream, BYTES_MAX).now_or_never().expect("a slice does not wait");
    let Ok(message) = read else { return };
    let consumed = input.len() - stream.len();
    assert!(consumed <= 4 + BYTES_MAX as usize, "a frame larger than its limit was read");
    let mut written = Vec::new();
    frame::append(&mut written, &message);
    let again = frame::read::<M>(&mut written.as_slice(), frame::FRAME_BYTES_MAX).now_or_never();
    assert_eq!(again.expect("a slice does not wait").ok().as_ref(), Some(&message));
}

/// What all messages can do.
trait Message: prost::Message + Default + PartialEq + std::fmt::Debug {}
impl<M: prost::Message + Default + PartialEq + std::fmt::Debug> Message for M {}

fn messages(input: &[u8]) {
    let names: Vec<String> =
        input.split(|&byte| byte == 0).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    if let Ok(services) = convert::services(&names) {
        assert!(services.is_sorted(), "services are sorted");
        assert!(services.iter().all(|service| names.iter().any(|name| name == service.as_str())));
    }
    if let Ok(epoch) = convert::epoch(input) {
        assert_eq!(convert::epoch_bytes(epoch), input);
    }
    if let Some(number) = input.first_chunk() {
        let number = u32::from_le_bytes(*number);
        assert_eq!(convert::reason(number).is_none(), number == 0);
    }
}
