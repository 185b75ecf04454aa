//! The door to the rest of the system: opens a stream to a service.

use bowline_tunnel::Gateway;

pub use bowline_tunnel::{OpenError, OpenRequest, Stream};

/// Opens streams to services: a [`Gateway`], or a stand-in for it in tests.
pub trait Opener: Send + Sync + 'static {
    /// Opens a stream, within a bound of its own. Dropping the future gives up without a trace.
    ///
    /// A stream that is dropped before its writing side was shut down must not look to the service like an orderly end.
    fn open(&self, request: OpenRequest) -> impl Future<Output = Result<Box<dyn Stream>, OpenError>> + Send;
}

impl Opener for Gateway {
    fn open(&self, request: OpenRequest) -> impl Future<Output = Result<Box<dyn Stream>, OpenError>> + Send {
        Self::open(self, request)
    }
}
