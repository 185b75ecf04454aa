//! End-to-end tests: the real program, real peers (redis-server, nginx), real signals, on loopback.
//!
//! This library is the harness; the tests are in `tests/`, one file for each story. Everything that a test starts is a
//! child process that dies with its value, also when the test panics, and whose log is printed then. Nothing waits for
//! a time: every wait is for a predicate, with a bound.
//!
//! - [`process`]: child processes and signals.
//! - [`program`]: where the `bowline` binary is.
//! - [`peers`]: redis-server and nginx.
//! - [`groups`]: clusters, and servers under sentinels.
//! - [`zone`]: a store, gateways and an agent, wired up.
//! - [`http`] and [`load`]: clients.
//! - [`proxy`]: a proxy for TCP that goes wrong on purpose.
//! - [`driver`]: the gate of the driver against a real redis-server.
//! - [`sessions`]: the gate of the session service.
//! - [`lag`]: how late the runtime is itself.
//! - [`wait`]: predicates with bounds.
//!
//! It knows Bowline only as its users do: flags, configuration files, ports, logs, and the public interface of the driver.
//! It shares no code with what it tests but the seam for sockets and timers, and what signs requests.

pub mod driver;
pub mod groups;
pub mod http;
pub mod lag;
pub mod limits;
pub mod load;
pub mod peers;
pub mod ports;
pub mod process;
pub mod program;
pub mod proxy;
pub mod sessions;
pub mod wait;
pub mod zone;
