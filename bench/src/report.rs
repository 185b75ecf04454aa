//! Figures of Bowline and its peers, collected over rounds, and how they are shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

/// The name under which Bowline's own samples are collected.
pub const OURS: &str = "bowline";

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Throughput.
    Higher,
    /// Latency, memory.
    Lower,
}

/// Something that is measured of several programs.
#[derive(Debug, Clone)]
struct Figure {
    unit: &'static str,
    better: Better,
    /// Samples of each program; one a round.
    samples: BTreeMap<String, Vec<f64>>,
}

/// All figures of one benchmark, in the order in which they were first measured.
#[derive(Debug, Clone)]
pub struct Report {
    bench: &'static str,
    order: Vec<String>,
    figures: BTreeMap<String, Figure>,
}

impl Report {
    /// An empty report of the benchmark `bench`.
    pub fn new(bench: &'static str) -> Self {
        Self { bench, order: Vec::new(), figures: BTreeMap::new() }
    }

    /// Adds a sample of `program` to a figure.
    pub fn add(&mut self, figure: &str, unit: &'static str, better: Better, program: &str, sample: f64) {
        if !self.figures.contains_key(figure) {
            self.order.push(figure.to_owned());
        }
        let entry = self.figures.entry(figure.to_owned());
        let entry = entry.or_insert_with(|| Figure { unit, better, samples: BTreeMap::new() });
        entry.samples.entry(program.to_owned()).or_default().push(sample);
    }

    /// One object a line: each figure beside each peer; without a peer its fields are null.
    pub fn json(&self) -> String {
        let mut text = String::new();
        for (name, figure) in self.in_order() {
            let Some(value) = figure.median(OURS) else { continue };
            let mut line = |peer: Option<&str>, peer_value: Option<f64>| {
                let object = json!({
                    "bench": self.bench,
                    "figure": name,
                    "value": rounded(value),
                    "unit": figure.unit,
                    "peer": peer,
                    "peer_value": peer_value.map(rounded),
                    "ratio": peer_value.map(|peer_value| rounded(value / peer_value)),
                    "better": match figure.better {
                        Better::Higher => "higher",
                        Better::Lower => "lower",
                    },
                });
                writeln!(text, "{object}").expect("a text grows");
            };
            let peers: Vec<&String> = figure.samples.keys().filter(|program| *program != OURS).collect();
            if peers.is_empty() {
                line(None, None);
            }
            for peer in peers {
                line(Some(peer), figure.median(peer));
            }
        }
        text
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([self.bench, OURS, "unit", "beside", "its figure", "ratio", ""]);
        for (name, figure) in self.in_order() {
            let Some(value) = figure.median(OURS) else { continue };
            let mut first = true;
            let peers: Vec<&String> = figure.samples.keys().filter(|program| *program != OURS).collect();
            if peers.is_empty() {
                table.add_row([name, &shown(value), figure.unit, "", "", "", ""]);
            }
            for peer in peers {
                let peer_value = figure.median(peer).unwrap_or(f64::NAN);
                let ratio = value / peer_value;
                let good = match figure.better {
                    Better::Higher => ratio >= 1.0,
                    Better::Lower => ratio <= 1.0,
                };
                let (name, value) = if first { (name, shown(value)) } else { ("", String::new()) };
                let verdict = if good { "better" } else { "worse" };
                table.add_row([
                    name,
                    &value,
                    figure.unit,
                    peer,
                    &shown(peer_value),
                    &format!("{ratio:.2}"),
                    verdict,
                ]);
                first = false;
            }
        }
        for column in [1, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    fn in_order(&self) -> impl Iterator<Item = (&str, &Figure)> {
        self.order.iter().map(|name| (name.as_str(), &self.figures[name]))
    }
}

impl Figure {
    fn median(&self, program: &str) -> Option<f64> {
        let mut samples = self.samples.get(program)?.clone();
        samples.sort_by(f64::total_cmp);
        samples.get(samples.len() / 2).copied()
    }
}

/// Three digits behind the point are more than any figure is worth.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_reported_beside_each_peer() {
        let mut report = Report::new("tunnel");
        for (ours, peer) in [(10.0, 20.0), (1_000.0, 40.0), (30.0, 1.0)] {
            report.add("down", "MB/s", Better::Higher, OURS, ours);
            report.add("down", "MB/s", Better::Higher, "direct", peer);
        }
        report.add("memory", "KiB", Better::Lower, OURS, 2.0);
        let lines: Vec<serde_json::Value> =
            report.json().lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
        assert_eq!(lines.len(), 2);
        let expected = json!({"bench": "tunnel", "figure": "down", "value": 30.0, "unit": "MB/s", "peer": "direct",
            "peer_value": 20.0, "ratio": 1.5, "better": "higher"});
        assert_eq!(lines[0], expected);
        assert_eq!(lines[1]["peer"], serde_json::Value::Null);
        assert!(report.table().contains("better"));
    }
}
