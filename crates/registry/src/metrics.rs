//! What the registry tells Prometheus. Everything is read when it is asked for: there is one truth, in the parts that count.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::lookup::Lookup;
use crate::publisher::Publisher;

/// Reads publisher and lookup path at every scrape.
pub(crate) struct RegistryCollector {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) lookup: Arc<Lookup>,
}

impl fmt::Debug for RegistryCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryCollector")
    }
}

impl Collector for RegistryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counted = self.publisher.counters();
        let help =
            "Entries of this gateway that the store had lost, held in an old state, or held without reason.";
        counter(
            &mut encoder,
            "bowline_drift_repaired",
            help,
            &[([("kind", "registry")], counted.drift.total())],
        )?;
        let kinds = [
            ([("drift", "missing")], counted.drift.missing),
            ([("drift", "stale")], counted.drift.stale),
            ([("drift", "unexpected")], counted.drift.unexpected),
        ];
        counter(&mut encoder, "bowline_registry_drift", "The same by kind of difference.", &kinds)?;
        let outcomes = [
            ([("outcome", "applied")], counted.applied),
            ([("outcome", "refused")], counted.refused),
            ([("outcome", "unknown")], counted.unknown),
            ([("outcome", "failed")], counted.failed),
        ];
        counter(
            &mut encoder,
            "bowline_registry_writes",
            "Writes to the store by how they ended.",
            &outcomes,
        )?;
        let lookups = &self.lookup.counters;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let results = [
            ([("result", "fresh")], load(&lookups.fresh)),
            ([("result", "stale")], load(&lookups.stale)),
            ([("result", "read")], load(&lookups.read)),
            ([("result", "absent")], load(&lookups.absent)),
            ([("result", "failed")], load(&lookups.failed)),
        ];
        counter(&mut encoder, "bowline_registry_lookups", "Lookups by result.", &results)?;
        let help = "Observations asked for by the audit.";
        counter(
            &mut encoder,
            "bowline_registry_audits",
            help,
            &[([("kind", "registry")], counted.observations)],
        )?;
        let help = "Reads of the store for lookups.";
        let reads = [([("kind", "registry")], load(&lookups.store_reads))];
        counter(&mut encoder, "bowline_registry_store_reads", help, &reads)?;
        let help = "Entries that the store is not known to hold as it should.";
        gauge(&mut encoder, "bowline_registry_pending", help, self.publisher.pending())?;
        gauge(&mut encoder, "bowline_registry_routes", "Routes that are remembered.", self.lookup.routes())?;
        let help = "Whether the store answers and takes this gateway's writes.";
        gauge(&mut encoder, "bowline_registry_store_up", help, usize::from(self.publisher.store_up()))
    }
}

/// One counter with one label.
fn counter(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: &[([(&str, &str); 1], u64)],
) -> Result<(), fmt::Error> {
    let kind = ConstCounter::new(0_u64);
    let mut metric = encoder.encode_descriptor(name, help, None, EncodeMetric::metric_type(&kind))?;
    for (label, value) in values {
        ConstCounter::new(*value).encode(metric.encode_family(label)?)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: usize) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, EncodeMetric::metric_type(&gauge))?)
}
