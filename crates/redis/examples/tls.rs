//! TLS: whose certificate is trusted, and the certificate to show to a server that asks for one.
//!
//! `cargo run -p bowline-redis --example tls -- rediss://127.0.0.1:6380 ca.crt [client.crt client.key]`. The system's own list
//! of authorities is a file too: `/etc/ssl/certs/ca-certificates.crt` on Debian.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use bowline_redis::tls::{ClientSettings, Connector, Credential, Pem};
use bowline_redis::{Client, Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("which server? give a URL such as rediss://127.0.0.1:6380")?;
    let authority =
        arguments.next().context("whom to trust? name a file with certificates of authorities")?;
    let file = |path: String| Pem::File(PathBuf::from(path));
    let settings = ClientSettings {
        authority: file(authority),
        // Debian's redis-server asks for one, unless its configuration says `tls-auth-clients no`.
        credential: arguments
            .next()
            .zip(arguments.next())
            .map(|(certificate, key)| Credential { certificate: file(certificate), key: file(key) }),
        server_name: None,
        alpn: Vec::new(),
    };
    let connector = Connector::tls(settings)?;
    // Dials sentinels and the nodes of a cluster in the same way. `connector.reload()` reads the files again.
    let client = Client::start(Config::from_url_with_tls(&url, &connector)?);

    client.set("example:greeting", "hello").await?;
    let greeting: Option<String> = client.get("example:greeting").await?;
    println!("greeting: {greeting:?}");
    client.del(["example:greeting"]).await?;
    Ok(())
}
