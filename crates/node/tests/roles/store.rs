//! A store that asks for certificates: which ones it takes.

use std::io;
use std::path::Path;

use crate::common::{BOUND, get, until};
use crate::secure::{edge, issue};
use bowline_identity::tls::{ClientSettings, Connector, Credential, Pem};
use bowline_node::config::{Loaded, ServerConfig, StoreConfig};
use bowline_node::plan::{ServerPlan, StorePlan};
use bowline_node::server::Server;
use bowline_node::store::Store;
use bowline_rt::task::spawn;
use bowline_rt::time::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// What the store answers to a PING of whoever has the certificate `name`.
async fn ping(folder: &Path, name: &str, store: &str) -> io::Result<String> {
    let file = |extension: &str| Pem::File(folder.join(format!("{name}.{extension}")));
    let connector = Connector::tls(ClientSettings {
        authority: Pem::File(folder.join("ca.crt")),
        credential: Some(Credential { certificate: file("crt"), key: file("key") }),
        server_name: None,
        alpn: Vec::new(),
    });
    let mut stream = connector.expect("a connector").connect(store, BOUND).await?;
    stream.write_all(b"PING\r\nQUIT\r\n").await?;
    let mut answer = String::new();
    timeout(BOUND, stream.read_to_string(&mut answer)).await.expect("in time")?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_asks_for_certificates_takes_gateways_and_no_agents() {
    let folder = tempfile::tempdir().expect("a folder");
    issue(folder.path());
    let tls = "[tls]\ncertificate = 'g1.crt'\nkey = 'g1.key'\nca = 'ca.crt'\n";
    let file = folder.path().join("any.toml");
    let loaded = Loaded::<StoreConfig>::parse(&file, &format!("listen = '127.0.0.1:0'\n{tls}"));
    let plan = StorePlan::new(&loaded.expect("a configuration").config, &edge(None)).expect("a plan");
    let store = Store::start(&plan).await.expect("a store");
    let address = format!("localhost:{}", store.address().port());
    let stop = CancellationToken::new();
    let storing = spawn("store", store.run(stop.clone()));

    assert_eq!(ping(folder.path(), "g1", &address).await.expect("a gateway is let in"), "+PONG\r\n+OK\r\n");
    // Depending on who is faster it reads an end, or an error because its request met a closed connection.
    let refused = ping(folder.path(), "edge-2", &address).await;
    assert_eq!(refused.unwrap_or_default(), "", "an agent gets no answer");

    let listen = "listen = '127.0.0.1:0'\n";
    let text = format!(
        "name = 'g1'\n[http]\n{listen}[agents]\n{listen}[peers]\n{listen}[admin]\n{listen}\
         [store]\nurl = 'rediss://{address}'\nca = 'ca.crt'\n{tls}"
    );
    let loaded = Loaded::<ServerConfig>::parse(&file, &text).expect("a configuration");
    let plan = ServerPlan::new(&loaded.config, &edge(None)).expect("a plan");
    let server = Server::start(plan).await.expect("a gateway");
    let admin = server.addresses().admin;
    let serving = spawn("server", server.run(stop.clone()));
    let ready = async || (get(admin, "admin", "/readyz").await.status() == 200).then_some(());
    until("the gateway reaches the store", ready).await;

    stop.cancel();
    timeout(BOUND, serving).await.expect("in time").expect("no panic").expect("the gateway ended well");
    timeout(BOUND, storing).await.expect("in time").expect("no panic").expect("the store ended well");
}
