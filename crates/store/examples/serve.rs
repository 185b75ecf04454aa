//! A store in the foreground, to try by hand: `cargo run -p bowline-store --example serve -- 127.0.0.1:6380 [password]`.

use bowline_store::{Password, Settings, Store};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("info").with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:6380".to_owned()).parse()?;
    let password = arguments.next().map(|text| Password::new(text.as_bytes()));
    let mut store = Store::start(address, Settings { password, ..Settings::default() }).await?;
    tokio::select! {
        ended = store.ended() => ended?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            store.stop().await?;
        }
    }
    Ok(())
}
