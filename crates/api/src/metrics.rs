//! `/metrics`: what the crates registered, and the process itself.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Content type of the answer.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads the resident memory of this process, in bytes. The binary has one; tests and the simulator have none.
pub type ProcessProbe = fn() -> Option<u64>;

/// What the metrics say of the program.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// Version of the program.
    pub version: &'static str,
    /// What it runs as.
    pub role: &'static str,
}

/// Registers what is known of the process: `bowline_build_info`, `process_start_time_seconds` and, with a probe,
/// `process_resident_memory_bytes`.
pub fn register_process(
    registry: &mut Registry,
    build: &BuildInfo,
    started: Duration,
    probe: Option<ProcessProbe>,
) {
    let labels = vec![("version", build.version), ("role", build.role)];
    registry.register("bowline_build", "The program that runs", Info::new(labels));
    let start = ConstGauge::new(started.as_secs_f64());
    registry.register_with_unit(
        "process_start_time",
        "When the process started, since 1970",
        Unit::Seconds,
        start,
    );
    if let Some(probe) = probe {
        registry.register_collector(Box::new(ResidentMemory(probe)));
    }
}

#[derive(Debug)]
struct ResidentMemory(ProcessProbe);

impl Collector for ResidentMemory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(bytes) = (self.0)() else { return Ok(()) };
        let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        let metric = encoder.encode_descriptor(
            "process_resident_memory",
            "Memory of the process that is in RAM",
            Some(&Unit::Bytes),
            gauge.metric_type(),
        )?;
        gauge.encode(metric)
    }
}

/// The text of all metrics.
pub(crate) fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a String grows");
    text
}
