//! Why the store could not start or had to stop.

use std::io;

/// The store could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// What was asked for.
        address: std::net::SocketAddr,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The listening socket has no address.
    #[error("cannot tell the address of the listening socket")]
    Address(#[source] io::Error),
    /// The Lua interpreter could not be made.
    #[error("cannot start the script interpreter: {0}")]
    Interpreter(
        /// Its text: the interpreter's own errors stay on their thread.
        String,
    ),
    /// The store's thread died before it was ready, or while it ran.
    #[error("the store's thread died")]
    Thread(#[source] bowline_rt::task::ThreadDied),
}
