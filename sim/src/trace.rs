//! Everything that happens, one line each, stamped with simulated time.

use std::fmt;
use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Milliseconds of simulated time; outside of any host there is none.
struct SimulatedTime;

impl FormatTime for SimulatedTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match turmoil::sim_elapsed() {
            Some(elapsed) => write!(writer, "{:>9.3}", elapsed.as_secs_f64() * 1_000.0),
            None => write!(writer, "{:>9}", "-"),
        }
    }
}

/// Prints from now on all that is logged in this process, down to single segments on the simulated network.
pub fn print() {
    let filter = EnvFilter::new("trace");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_timer(SimulatedTime)
        .with_writer(io::stdout)
        .init();
}
