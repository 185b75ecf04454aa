//! Accepting connections, and the housekeeping beside them.

use std::net::SocketAddr;
use std::rc::Rc;

use bowline_rt::net::{Listener, TcpStream};
use bowline_rt::task::spawn_local;
use bowline_rt::time::{now, sleep, timeout};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::error::StoreError;
use crate::limits::{ACCEPT_RETRY, HOUSEKEEPING_PAUSE_BUSY, HOUSEKEEPING_PERIOD, SHUTDOWN_GRACE};
use crate::server::{Counters, Server};
use crate::settings::Settings;

/// Runs a store on `listener` until `shutdown` is cancelled or a client sends SHUTDOWN. All of it happens on this
/// thread: call it inside [`bowline_rt::task::run_local`], or use [`crate::Store::start`].
///
/// # Errors
/// [`StoreError`] if it cannot start.
pub async fn serve(
    listener: Listener,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let address = listener.local_addr().map_err(StoreError::Address)?;
    let stop = shutdown.child_token();
    let server = Server::new(settings, address, stop.clone())?;
    if !address.ip().is_loopback() && server.settings.password.is_none() {
        tracing::warn!(%address, "the store asks for no password and does not listen on loopback only");
    }
    let tls = server.settings.acceptor.is_tls();
    tracing::info!(%address, tls, "Ready to accept connections");
    let housekeeping = spawn_local("store housekeeping", keep_house(server.clone()));
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = accept(&server, &listener) => {}
    }
    drop(listener);
    housekeeping.abort();
    close_all(&server).await;
    tracing::info!(%address, "the store has ended");
    Ok(())
}

/// Ends all connections, with a moment to send their last replies.
async fn close_all(server: &Server) {
    server.clients.all().iter().for_each(|client| client.kill());
    let gone = async {
        while server.clients.len() > 0 {
            sleep(HOUSEKEEPING_PERIOD / 10).await;
        }
    };
    if timeout(SHUTDOWN_GRACE, gone).await.is_err() {
        tracing::warn!(clients = server.clients.len(), "connections were left open at the end");
    }
}

async fn accept(server: &Rc<Server>, listener: &Listener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(server, stream, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Counts a connection and serves it in a task of its own, or turns it away.
fn admit(server: &Rc<Server>, stream: TcpStream, peer: SocketAddr) {
    Counters::add(&server.counters.connections, 1);
    if server.clients.len() >= server.tunables.clients_max.get() {
        Counters::add(&server.counters.rejected_connections, 1);
        tracing::warn!(%peer, limit = server.tunables.clients_max.get(), "too many clients");
        drop(spawn_local("store refusal", refuse(stream)));
        return;
    }
    let local = stream.local_addr().unwrap_or(server.address);
    let client = server.clients.add(peer, local, now());
    let server = server.clone();
    // Detached: the task ends with its connection, and all end with the store.
    drop(spawn_local("store client", async move {
        let _leave = Leave { server: server.clone(), id: client.id };
        match server.settings.acceptor.accept(stream).await {
            // An authority signs agents and gateways alike, and only gateways have business here.
            Ok(stream) if stream.peer_is_agent() => {
                let agent = stream.peer().map(tracing::field::display);
                tracing::warn!(%peer, agent, "refused a client with the certificate of an agent");
            }
            Ok(stream) => connection::serve(server.clone(), client, stream).await,
            Err(error) => tracing::info!(%peer, %error, "a connection failed before its first request"),
        }
    }));
}

/// Takes a client off the list when its task ends, however it ends.
struct Leave {
    server: Rc<Server>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.server.clients.remove(self.id);
    }
}

async fn refuse(mut stream: TcpStream) {
    let _ = timeout(SHUTDOWN_GRACE, stream.write_all(b"-ERR max number of clients reached\r\n")).await;
}

/// Expiry, clean-up and rates, a little at a time; more often while there is much to do.
async fn keep_house(server: Rc<Server>) {
    let mut pause = HOUSEKEEPING_PERIOD;
    loop {
        sleep(pause).await;
        let more = server.tidy_up();
        pause = if more { HOUSEKEEPING_PAUSE_BUSY } else { HOUSEKEEPING_PERIOD };
    }
}
