//! `/metrics`: what the crates registered, and the process itself.
//!
//! Whoever asks for OpenMetrics gets it, as Prometheus does; everybody else gets the older text format, in which a counter
//! and an info are called by the names of their samples.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Content type of the older format.
pub(crate) const PLAIN_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Content type of OpenMetrics.
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

/// An OpenMetrics text in the older format.
pub(crate) fn plain_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", "HELP", name, words] => help = Some((name, words)),
            ["#", "TYPE", name, kind] => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, words)) = help.take().filter(|(helped, _)| *helped == name) {
                    text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            // Units and the end mark are OpenMetrics' own.
            ["#", ..] => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_what_it_describes() {
        let open_metrics = "# HELP a_build The program.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
            # HELP b_seconds Since then.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 2.5\n\
            # HELP c How many.\n# TYPE c counter\nc_total{kind=\"x y\"} 3\n\
            # HELP d Times.\n# TYPE d histogram\nd_sum 0.0\nd_count 0\nd_bucket{le=\"+Inf\"} 0\n# EOF\n";
        let expected = "# HELP a_build_info The program.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
            # HELP b_seconds Since then.\n# TYPE b_seconds gauge\nb_seconds 2.5\n\
            # HELP c_total How many.\n# TYPE c_total counter\nc_total{kind=\"x y\"} 3\n\
            # HELP d Times.\n# TYPE d histogram\nd_sum 0.0\nd_count 0\nd_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(plain_text(open_metrics), expected);
    }
}
