//! Connections of the admin port: HTTP/1.1, bounded in number, headers and time.

use std::io;
use std::sync::Arc;

use axum::Router;
use bowline_identity::tls::Acceptor;
use bowline_rt::net::{Listener, TcpStream};
use bowline_rt::task::JoinSet;
use bowline_rt::time::{sleep, timeout};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_LIFETIME_MAX, CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADERS_MAX, HEADERS_TIMEOUT,
    SHUTDOWN_GRACE,
};

/// Serves `router` until `shutdown`; answers in flight are then given a moment.
pub async fn serve(listener: Listener, acceptor: Acceptor, router: Router, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            Ok((tcp, place)) => {
                let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(tcp, &acceptor, router, &shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Whatever is left after the grace is dropped with the set.
    let _ = timeout(SHUTDOWN_GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn next(listener: &Listener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (tcp, _) = listener.accept().await?;
    Ok((tcp, place))
}

async fn connection(tcp: TcpStream, acceptor: &Acceptor, router: Router, shutdown: &CancellationToken) {
    let stream = match acceptor.accept(tcp).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "no TLS on the admin port"),
    };
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = timeout(CONNECTION_LIFETIME_MAX, async {
        tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the admin port broke off"),
        Err(elapsed) => tracing::debug!(%elapsed, "a connection of the admin port was cut: it is too old"),
    }
}
