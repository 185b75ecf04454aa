//! A server that stands still under 100 000 callers. Alone in its file: it measures the memory of its process. For longer:
//! `cargo xtask incident 2 --live SECONDS`.

use std::time::Duration;

use bowline_torture::driver::bounds;
use bowline_torture::process::story;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_costs_bounded_memory_and_everybody_learns_in_time() {
    story(async {
        println!("{}", bounds::run(Duration::from_secs(5), 1).await?);
        Ok(())
    })
    .await;
}
