//! Serves the page in front of a pool that is made up: `cargo run -p warppool-api --example page [PORT]`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use warppool_api::{Pool as _, serve};
use warppool_events::Event;

#[allow(dead_code, clippy::unwrap_used)]
#[path = "../tests/api/fake.rs"]
mod fake;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(18334);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    let pool = fake::Fake::new();
    let bus = pool.bus().clone();
    tokio::spawn(async move {
        for n in 0u64.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bus.send(Event::Shares { accepted: 3 + n * 7 % 5, rejected: u64::from(n % 9 == 0), work: 4096.0 });
        }
    });
    serve(listener, pool, CancellationToken::new()).await
}
