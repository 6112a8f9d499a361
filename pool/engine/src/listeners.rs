//! The ports miners connect to: opened, moved and closed as the configuration says, without dropping a miner.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use ipnet::IpNet;
use tracing::info;
use warppool_config::{Config, Listen};
use warppool_stratum::{Bind, Listener, ListenerHandle, Server, TlsIdentity};

use crate::settings;
use crate::sockets::Sockets;

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
    handed_over: Sockets,
}

#[derive(Debug)]
struct Port {
    at: Listen,
    handle: ListenerHandle,
}

impl Listeners {
    pub(crate) fn new(handed_over: Sockets) -> Self {
        Self { handed_over, ..Self::default() }
    }

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

    /// Opens, moves and closes the ports: all that is new is opened before anything old is closed, so that a port that is taken
    /// changes nothing. Proxies change in place.
    pub(crate) async fn arrange(&mut self, server: &Arc<Server>, config: &Config) -> anyhow::Result<()> {
        let stratum = &config.stratum;
        let proxies: Vec<_> = stratum.proxy_protocol_from.iter().map(|network| network.net()).collect();
        let tls_at = stratum.tls_listen.as_ref().filter(|_| self.identity.is_some());
        let plain = match &self.plain {
            Some(port) if port.at == stratum.listen => None,
            _ => Some(self.open(server, &stratum.listen, &proxies, None, "stratum.listen").await?),
        };
        let tls = match (&self.tls, tls_at) {
            (Some(port), Some(at)) if port.at == *at => None,
            (_, None) => None,
            (_, Some(at)) => match self.open(server, at, &proxies, self.identity.clone(), "stratum.tls_listen").await {
                Ok(port) => Some(port),
                Err(why) => {
                    if let Some(port) = plain {
                        port.handle.stop();
                    }
                    return Err(why);
                }
            },
        };
        replace(&mut self.plain, plain, "");
        replace(&mut self.tls, tls, " with TLS");
        if tls_at.is_none()
            && let Some(port) = self.tls.take()
        {
            port.handle.stop();
        }
        for port in [&self.plain, &self.tls].into_iter().flatten() {
            port.handle.set_proxies(proxies.clone());
        }
        Ok(())
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

    async fn open(
        &self,
        server: &Arc<Server>,
        at: &Listen,
        proxies: &[IpNet],
        tls: Option<TlsIdentity>,
        key: &str,
    ) -> anyhow::Result<Port> {
        let lookup = at.clone();
        let candidates = tokio::task::spawn_blocking(move || lookup.candidates()).await?;
        let candidates = candidates.with_context(|| format!("{key} = {at}: the name cannot be looked up"))?;
        let mut last = std::io::Error::other("it names no address");
        for address in candidates {
            let bind = self.handed_over.take(address).map_or(Bind::Address(address), Bind::Socket);
            let listener = Listener { bind, tls: tls.clone(), proxy_from: proxies.to_vec() };
            match server.listen(listener).await {
                Ok(handle) => return Ok(Port { at: at.clone(), handle }),
                Err(why) => last = why,
            }
        }
        Err(last).with_context(|| {
            format!("{key} = {at}: cannot listen there; is another pool running, or the port below 1024?")
        })
    }
}

fn replace(port: &mut Option<Port>, new: Option<Port>, with: &str) {
    let Some(new) = new else { return };
    info!("miners connect{with} to {}", new.handle.local_addr());
    if let Some(old) = port.replace(new) {
        old.handle.stop();
    }
}
