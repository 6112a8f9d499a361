//! A bad network in one process: it passes on what miners and pool say, late, in single bytes, with gaps, or not at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What TCP makes of a lost packet: silence until it is sent again.
const RESENT_AFTER: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Each way.
    pub(super) delay: Duration,
    /// Every byte is sent on its own.
    pub(super) single_bytes: bool,
    /// One in so many chunks is late by the time it takes to be sent again.
    pub(super) lose_one_in: Option<u32>,
    /// One in so many chunks is the last of its connection.
    pub(super) cut_one_in: Option<u32>,
    /// Nothing gets through, and nobody is told.
    pub(super) silence: bool,
}

pub(super) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _stop: DropGuard,
}

impl Proxy {
    pub(super) async fn start(pool: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let weather = watch::Sender::new(Weather::default());
        let stop = CancellationToken::new();
        let serve = serve(listener, pool, weather.subscribe());
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve));
        Ok(Self { address, weather, _stop: stop.drop_guard() })
    }

    /// Where miners connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn serve(listener: TcpListener, pool: SocketAddr, weather: watch::Receiver<Weather>) {
    let chunks = Arc::new(AtomicU32::new(0));
    // Dropped with this task: so are the connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((miner, _)) = accepted else { continue };
                let (weather, chunks) = (weather.clone(), Arc::clone(&chunks));
                connections.spawn(async move {
                    let Ok(pool) = TcpStream::connect(pool).await else { return };
                    let _ = (miner.set_nodelay(true), pool.set_nodelay(true));
                    let (from_miner, to_miner) = miner.into_split();
                    let (from_pool, to_pool) = pool.into_split();
                    // The end of one way is the end of both.
                    tokio::select! {
                        () = pass(from_miner, to_pool, weather.clone(), Arc::clone(&chunks)) => {}
                        () = pass(from_pool, to_miner, weather, chunks) => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    chunks: Arc<AtomicU32>,
) {
    // Delay is not throughput: chunks wait side by side.
    let (sender, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let mut late = weather.clone();
    let read = async move {
        let mut buffer = vec![0; 4096];
        while let Ok(length) = from.read(&mut buffer).await {
            let now = *weather.borrow_and_update();
            let number = chunks.fetch_add(1, Ordering::Relaxed) + 1;
            let hits = |one_in: Option<u32>| one_in.is_some_and(|one_in| number.is_multiple_of(one_in));
            if length == 0 || hits(now.cut_one_in) {
                return;
            }
            let resent = if hits(now.lose_one_in) { RESENT_AFTER } else { Duration::ZERO };
            let due = Instant::now() + now.delay + resent;
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = on_the_way.recv().await {
            sleep_until(due).await;
            if late.wait_for(|weather| !weather.silence).await.is_err() {
                return;
            }
            let single = late.borrow().single_bytes;
            let written = if single {
                let mut written = Ok(());
                for byte in bytes {
                    written = to.write_all(&[byte]).await;
                    // Lets the byte go before the next one comes.
                    sleep(Duration::ZERO).await;
                }
                written
            } else {
                to.write_all(&bytes).await
            };
            if written.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn in_any_weather_but_a_cut_all_bytes_arrive_in_order() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let delay = Duration::from_millis(30);
        for (weather, length, at_least) in [
            (Weather::default(), 20_000, Duration::ZERO),
            (Weather { delay, ..Weather::default() }, 20_000, delay * 2),
            // Each takes about a millisecond.
            (Weather { single_bytes: true, ..Weather::default() }, 300, Duration::ZERO),
            (Weather { lose_one_in: Some(1), ..Weather::default() }, 20_000, RESENT_AFTER * 2),
        ] {
            let sent: Vec<u8> = (0..length).map(|n: u32| n as u8).collect();
            proxy.set(weather);
            let started = Instant::now();
            let stream = TcpStream::connect(proxy.address()).await.unwrap();
            let (mut reader, mut writer) = stream.into_split();
            let bytes = sent.clone();
            let sending = tokio::spawn(async move {
                writer.write_all(&bytes).await.unwrap();
                writer
            });
            let mut got = vec![0; sent.len()];
            reader.read_exact(&mut got).await.unwrap();
            assert!(got == sent, "{weather:?}");
            assert!(started.elapsed() >= at_least, "{weather:?}");
            drop(sending.await);
        }
    }

    #[tokio::test]
    async fn silence_holds_bytes_back_and_a_cut_ends_the_connection() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        proxy.set(Weather { silence: true, ..Weather::default() });
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let mut byte = [0];
        let held = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        assert!(held.is_err(), "{held:?}");
        proxy.set(Weather::default());
        stream.read_exact(&mut byte).await.unwrap();
        proxy.set(Weather { cut_one_in: Some(1), ..Weather::default() });
        stream.write_all(b"y").await.unwrap();
        assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
    }
}
