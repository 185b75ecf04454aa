//! Names and identities as text.

use bowline_identity::Identity;
use bowline_model::limits::{NAME_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use bowline_model::{AgentId, Epoch, RequestId, ServiceName};

use crate::Target;

/// Whatever is accepted prints as it was read, and obeys its limit.
pub const NAMES: Target = Target {
    name: "names",
    samples: &[b"edge-1", b"bowline://agent/edge-1", b"00112233445566778899aabbccddeeff", b"a.b_c-D~1"],
    run: names,
};

fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(agent) = text.parse::<AgentId>() {
        assert_eq!(agent.to_string(), text);
        assert!(text.len() <= NAME_BYTES_MAX);
    }
    assert_eq!(text.parse::<AgentId>().is_ok(), text.parse::<ServiceName>().is_ok());
    if let Ok(epoch) = text.parse::<Epoch>() {
        assert_eq!(epoch.to_string().parse::<Epoch>().ok(), Some(epoch));
    }
    if let Some(id) = RequestId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert!((1..=REQUEST_ID_BYTES_MAX).contains(&text.len()));
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "an id goes into logs and headers");
    }
    if let Some(identity) = Identity::from_uri(text) {
        assert_eq!(identity.uri(), text);
    }
}
