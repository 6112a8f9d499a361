//! The miner's connection: plain or TLS, a bounded line reader that may be cancelled at any point, and a writer that
//! does not wait for ever on a pool that stopped reading.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

use super::wire::MAX_LINE;

const CONNECT: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(10);

/// How a miner speaks to the pool's port.
#[derive(Clone, Debug, Default)]
pub enum Tls {
    #[default]
    Off,
    /// TLS without looking at the certificate, as a device does whose owner gave it none.
    Insecure,
    /// TLS that trusts these certificates only, given in PEM.
    Roots(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) struct Connection {
    pub(crate) lines: Lines,
    pub(crate) writer: Writer,
}

pub(crate) struct Lines {
    reader: BufReader<ReadHalf<Box<dyn Stream>>>,
    line: Vec<u8>,
    whole: bool,
}

pub(crate) struct Writer(WriteHalf<Box<dyn Stream>>);

impl Connection {
    pub(crate) async fn open(target: &str, tls: &Tls) -> io::Result<Self> {
        let stream = timeout(CONNECT, dial(target, tls)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("{target} did not take the connection within 10 s"))
        })??;
        let (reader, writer) = tokio::io::split(stream);
        let lines = Lines { reader: BufReader::new(reader), line: Vec::new(), whole: false };
        Ok(Self { lines, writer: Writer(writer) })
    }
}

async fn dial(target: &str, tls: &Tls) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let config = match tls {
        Tls::Off => return Ok(Box::new(stream)),
        Tls::Insecure => insecure(),
        Tls::Roots(pem) => trusting(pem)?,
    };
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn trusting(pem: &str) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn insecure() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
        .with_no_client_auth()
}

/// Takes any certificate; that its owner holds the key is still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Lines {
    /// The next line without its line feed; an error of kind `InvalidData` if it is longer than [`MAX_LINE`].
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> io::Result<&[u8]> {
        if std::mem::take(&mut self.whole) {
            self.line.clear();
        }
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the pool closed the connection"));
            }
            let end = memchr::memchr(b'\n', chunk);
            let taken = end.map_or(chunk.len(), |at| at + 1);
            self.line.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken);
            if self.line.len() > MAX_LINE {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a line is longer than {MAX_LINE} bytes"),
                ));
            }
            if end.is_some() {
                self.whole = true;
                return Ok(self.line.trim_ascii());
            }
        }
    }
}

impl Writer {
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        timeout(WRITE, write).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the pool has not read what we wrote for 10 s"))
        })
    }
}
