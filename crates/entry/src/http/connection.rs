//! One client's connection, from its first byte to its end.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bowline_rt::time::{now, sleep_until, timeout};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Shared;
use super::client::{self, Activity, ClientStream, Verdict, Version};
use super::proxy::{self, Connection};
use super::stall::StreamTasks;
use crate::accept::{Accepted, Ending};
use crate::limits::{
    CLOSE_LIMIT, FIRST_BYTE_TIMEOUT, HEAD_BYTES_MAX, HEADERS_MAX, HTTP1_BUFFER_BYTES_MAX,
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_PING, HTTP2_SEND_BUFFER_BYTES, HTTP2_STREAM_WINDOW_BYTES,
    HTTP2_STREAMS_MAX,
};
use crate::opener::Opener;

/// Serves a connection until it ends, is idle for too long, or the listener ends.
pub(super) async fn serve<O: Opener>(shared: Arc<Shared<O>>, accepted: Accepted, ending: Ending) {
    let Accepted { mut stream, client, slot } = accepted;
    let idle_timeout = shared.settings.idle_timeout;
    // Who has not even said which protocol it speaks is idle, and nothing is lost with it.
    let first = tokio::select! {
        biased;
        () = ending.shutdown.cancelled() => return,
        first = timeout(FIRST_BYTE_TIMEOUT.min(idle_timeout), client::version(&mut stream)) => first,
    };
    let Ok(Ok((version, read_before))) = first else { return };
    let is_tls = stream.is_tls();
    let activity = Arc::new(Activity::new(version, slot));
    let stream = TokioIo::new(ClientStream::new(stream, read_before, activity.clone()));
    let connection =
        Arc::new(Connection { client, is_tls, activity: activity.clone(), ending: ending.clone() });
    let service = service_fn(move |request: Request<Incoming>| {
        proxy::serve(shared.clone(), connection.clone(), request)
    });
    let watch = Watch { activity, idle_timeout, ending };
    let result = match version {
        Version::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                // `Watch` tells a slow head from an idle connection, which this time-out does not.
                .header_read_timeout(None)
                .max_headers(HEADERS_MAX)
                .max_header_size(HEAD_BYTES_MAX)
                .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
                .serve_connection(stream, service)
                .with_upgrades();
            watch.drive(connection, |connection| connection.graceful_shutdown()).await
        }
        Version::Http2 => {
            let connection = http2::Builder::new(StreamTasks)
                .timer(TokioTimer::new())
                .max_concurrent_streams(HTTP2_STREAMS_MAX)
                .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
                .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
                .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
                .max_header_list_size(HEAD_BYTES_MAX as u32)
                .keep_alive_interval(HTTP2_PING)
                .keep_alive_timeout(HTTP2_PING)
                .serve_connection(stream, service);
            watch.drive(connection, |connection| connection.graceful_shutdown()).await
        }
    };
    if let Err(problem) = result {
        tracing::debug!(%client, problem, "a client's connection failed");
    }
}

/// Watches over a connection while hyper serves it.
struct Watch {
    activity: Arc<Activity>,
    idle_timeout: Duration,
    ending: Ending,
}

impl Watch {
    /// Runs the connection to its end; `close` asks it to end as soon as it serves nothing.
    async fn drive<C>(&self, connection: C, close: impl Fn(Pin<&mut C>)) -> Result<(), String>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        let mut check_at = now();
        let mut is_closing = false;
        loop {
            tokio::select! {
                biased;
                () = self.ending.cut.cancelled() => {
                    self.activity.cut();
                    return Err("the grace time is over".to_owned());
                }
                result = connection.as_mut() => return result.map_err(|error| error.to_string()),
                () = self.ending.shutdown.cancelled(), if !is_closing => {
                    close(connection.as_mut());
                    self.activity.closes();
                    is_closing = true;
                    check_at = now() + CLOSE_LIMIT;
                }
                () = sleep_until(check_at) => match self.activity.verdict(self.idle_timeout) {
                    Verdict::TooSlow => return Err("a request came too slowly".to_owned()),
                    Verdict::Over => return Ok(()),
                    Verdict::Idle => {
                        close(connection.as_mut());
                        self.activity.closes();
                        is_closing = true;
                        check_at = now() + CLOSE_LIMIT;
                    }
                    Verdict::Wait(until) => check_at = until,
                }
            }
        }
    }
}
