//! The ports miners connect to: opened, moved and closed as the configuration says, without dropping a miner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tracing::info;
use warppool_config::{Config, Listen, Network};
use warppool_stratum::{Bind, Listener, ListenerHandle, Server, TlsIdentity};

use crate::settings;

/// How long the system may take to give a port back that was just closed.
const PORT_FREED: Duration = Duration::from_secs(2);

/// Where miners can connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    pub plain: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
}

#[derive(Debug, Default)]
pub(crate) struct Listeners {
    plain: Option<Port>,
    tls: Option<Port>,
    identity: Option<TlsIdentity>,
}

#[derive(Debug)]
struct Port {
    at: Listen,
    proxies: Vec<Network>,
    handle: ListenerHandle,
}

impl Listeners {
    /// Reads the certificate again, where one is configured; it is offered from the next connection on. Nothing else changes,
    /// so that a bad certificate is found before any port moves.
    pub(crate) fn read_certificate(&mut self, config: &Config) -> anyhow::Result<()> {
        let stratum = &config.stratum;
        let (Some(certificate), Some(key)) = (&stratum.tls_cert_path, &stratum.tls_key_path) else { return Ok(()) };
        match &self.identity {
            Some(identity) => identity.replace_files(certificate, key),
            None => TlsIdentity::from_files(certificate, key, settings::tls_versions(config))
                .map(|identity| self.identity = Some(identity)),
        }
        .context("stratum.tls_cert_path, stratum.tls_key_path")
    }

    pub(crate) async fn open_plain(&mut self, server: &Arc<Server>, config: &Config) -> anyhow::Result<()> {
        let (at, proxies) = (&config.stratum.listen, &config.stratum.proxy_protocol_from);
        open(&mut self.plain, server, at, proxies, None, "stratum.listen").await
    }

    /// Needs the certificate; without one configured, a port that is open is closed.
    pub(crate) async fn open_tls(&mut self, server: &Arc<Server>, config: &Config) -> anyhow::Result<()> {
        let (Some(at), Some(identity)) = (&config.stratum.tls_listen, self.identity.clone()) else {
            if let Some(port) = self.tls.take() {
                port.handle.stop();
            }
            return Ok(());
        };
        let proxies = &config.stratum.proxy_protocol_from;
        open(&mut self.tls, server, at, proxies, Some(identity), "stratum.tls_listen").await
    }

    pub(crate) fn bound(&self) -> Bound {
        let address = |port: &Option<Port>| port.as_ref().map(|port| port.handle.local_addr());
        Bound { plain: address(&self.plain), tls: address(&self.tls) }
    }

    pub(crate) fn close(&mut self) {
        for port in [self.plain.take(), self.tls.take()].into_iter().flatten() {
            port.handle.stop();
        }
    }
}

/// Makes a port what it should be. Another address is opened before the old one closes; the same one, with other proxies,
/// has to be closed first.
async fn open(
    port: &mut Option<Port>,
    server: &Arc<Server>,
    at: &Listen,
    proxies: &[Network],
    tls: Option<TlsIdentity>,
    key: &str,
) -> anyhow::Result<()> {
    if port.as_ref().is_some_and(|port| port.at == *at && port.proxies == proxies) {
        return Ok(());
    }
    let mut patience = Duration::ZERO;
    if let Some(old) = port.take_if(|port| port.at == *at) {
        old.handle.stop();
        patience = PORT_FREED;
    }
    let until = tokio::time::Instant::now() + patience;
    let handle = loop {
        match bind(server, at, proxies, tls.clone(), key).await {
            Err(_) if tokio::time::Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
            bound => break bound?,
        }
    };
    let with = if tls.is_some() { " with TLS" } else { "" };
    info!("miners connect{with} to {}", handle.local_addr());
    if let Some(old) = port.replace(Port { at: at.clone(), proxies: proxies.to_vec(), handle }) {
        old.handle.stop();
    }
    Ok(())
}

async fn bind(
    server: &Arc<Server>,
    at: &Listen,
    proxies: &[Network],
    tls: Option<TlsIdentity>,
    key: &str,
) -> anyhow::Result<ListenerHandle> {
    let lookup = at.clone();
    let candidates = tokio::task::spawn_blocking(move || lookup.candidates()).await?;
    let candidates = candidates.with_context(|| format!("{key} = {at}: the name cannot be looked up"))?;
    let mut last = std::io::Error::other("it names no address");
    for address in candidates {
        let proxy_from = proxies.iter().map(|network| network.net()).collect();
        match server.listen(Listener { bind: Bind::Address(address), tls: tls.clone(), proxy_from }).await {
            Ok(handle) => return Ok(handle),
            Err(why) => last = why,
        }
    }
    Err(last)
        .with_context(|| format!("{key} = {at}: cannot listen there; is another pool running, or the port below 1024?"))
}
