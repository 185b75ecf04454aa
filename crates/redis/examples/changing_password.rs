//! A password that changes while the client runs: it stands in a file, and the user in the URL.
//!
//! `cargo run -p bowline-redis --example changing_password -- redis://user@127.0.0.1:6379 password.file 30` asks who it is for 30
//! seconds; meanwhile `ACL SETUSER user >new`, replace the file, and `ACL SETUSER user <old`. Without a number it asks once.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::tls::Connector;
use bowline_redis::{Client, Command, Config, CredentialFiles, Credentials};
use bowline_rt::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("which server? give a URL such as redis://user@127.0.0.1:6379")?;
    let file = arguments.next().map(PathBuf::from).context("which file holds the password?")?;
    let seconds: u64 = arguments.next().map_or(Ok(1), |text| text.parse()).context("how many seconds?")?;

    let (config, user) = Config::from_url_without_password(&url, &Connector::Plain)?;
    // Looks at the file every two seconds, and for each new connection. Whoever has another source of passwords implements
    // `CredentialProvider`.
    let files = Arc::new(CredentialFiles::open(user, file)?);
    let client = Client::start(config.credentials(Credentials::Provider(files.clone())));

    for _ in 0..seconds {
        let user: String = client.query(Command::new("ACL").arg("WHOAMI")).await?;
        // A living connection logs in anew: it is not lost, and neither is anything that is under way on it.
        let metrics = client.metrics();
        let (connected, refused) = (metrics.connected.get(), metrics.logins_refused.get());
        println!("{user}, {connected} connections so far, {refused} refused logins");
        sleep(Duration::from_secs(1)).await;
    }
    // Not to wait for the next look: whether the file holds something else by now.
    println!("changed: {}", files.refresh()?);
    Ok(())
}
