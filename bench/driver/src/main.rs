//! Measures the time of one driver; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_bench_driver::run(None)
}
