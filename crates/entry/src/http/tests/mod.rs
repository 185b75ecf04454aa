//! The HTTP entry as its clients and services see it, over loopback.

mod failures;
mod limits;
mod requests;
mod shutdown;
mod stalls;
mod streams;

use crate::testing::World;

/// Status of a response that was read as text.
fn status(response: &str) -> u16 {
    response
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status: {response:?}"))
}

fn assert_has(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

/// The counters as Prometheus reads them.
fn counters(world: &World) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    world.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}
