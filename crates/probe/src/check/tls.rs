//! TLS: what is read from files, kept, and read again. How a certificate is judged where the usual way does not do is in `verifier`.
//!
//! Each check makes a full handshake: a resumed one would not see that a certificate has expired.

mod verifier;

use crate::{ClientCertificate, Failure, TlsConfig, Trust};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use verifier::{Roots, Verifier};

/// Files are looked at again after so long: certificates are replaced days before they expire.
const RELOAD_AFTER: Duration = Duration::from_secs(10);

/// Files that take longer than this to read are not waited for.
const LOAD_LIMIT: Duration = Duration::from_secs(5);

/// So many settings are kept, which is more than there are policies; beyond it all are read anew.
const MOST_KEPT: usize = 1024;

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alpn {
    None,
    Http1,
    Http2,
}

/// Ready to shake hands with one target.
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub(crate) async fn connect(self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name, tcp).await
    }
}

/// Whether the server speaks what was asked for. HTTP/1 is what one speaks who says nothing.
pub(crate) fn agreed(stream: &TlsStream<TcpStream>, alpn: Alpn) -> Result<(), Failure> {
    let (_, session) = stream.get_ref();
    match alpn {
        Alpn::Http2 if session.alpn_protocol() != Some(b"h2") => {
            Err(Failure::Tls("the server does not offer h2 (ALPN)".into()))
        }
        _ => Ok(()),
    }
}

/// The settings that are in use, made from their files.
#[derive(Default)]
pub(crate) struct TlsStore {
    kept: Mutex<BTreeMap<(Arc<TlsConfig>, Alpn), Kept>>,
}

struct Kept {
    read: Instant,
    config: Result<Arc<ClientConfig>, String>,
}

impl TlsStore {
    /// What a handshake with `ip` needs, or why it cannot be had; files are read when they were not read lately.
    pub(crate) async fn get(&self, wanted: &Arc<TlsConfig>, alpn: Alpn, ip: IpAddr) -> Result<Tls, String> {
        let name = match &wanted.server_name {
            None => ServerName::IpAddress(ip.into()),
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| format!("TLS: {name:?} is no name of a server"))?,
        };
        let config = self.config(wanted, alpn, Instant::now()).await?;
        Ok(Tls { connector: TlsConnector::from(config), name })
    }

    async fn config(
        &self,
        wanted: &Arc<TlsConfig>,
        alpn: Alpn,
        now: Instant,
    ) -> Result<Arc<ClientConfig>, String> {
        let key = (Arc::clone(wanted), alpn);
        // Held while files are read, so that they are read once and not by each check that waits for them.
        let mut kept = self.kept.lock().await;
        if let Some(found) =
            kept.get(&key).filter(|found| now.saturating_duration_since(found.read) < RELOAD_AFTER)
        {
            return found.config.clone();
        }
        let fresh = load(Arc::clone(wanted), alpn).await;
        if kept.len() >= MOST_KEPT && !kept.contains_key(&key) {
            kept.clear();
        }
        let config = match (fresh, kept.get(&key)) {
            // What was good stays in force: files that are being replaced are no fault of the targets.
            (Err(why), Some(Kept { config: Ok(config), .. })) => {
                tracing::warn!(
                    why,
                    "TLS files of a health check cannot be read again; the last good ones stay"
                );
                Ok(Arc::clone(config))
            }
            (fresh, _) => fresh,
        };
        kept.insert(key, Kept { read: now, config: config.clone() });
        config
    }
}

async fn load(wanted: Arc<TlsConfig>, alpn: Alpn) -> Result<Arc<ClientConfig>, String> {
    let read = tokio::task::spawn_blocking(move || build(&wanted, alpn).map(Arc::new));
    match timeout(LOAD_LIMIT, read).await {
        Ok(Ok(config)) => config,
        Ok(Err(error)) => Err(format!("TLS: {error}")),
        Err(_) => Err(format!("TLS: the files were not read in {} s", LOAD_LIMIT.as_secs())),
    }
}

fn build(wanted: &TlsConfig, alpn: Alpn) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let roots = match &wanted.trust {
        Trust::Anybody => Roots::Any,
        Trust::Authorities(file) => Roots::These(Arc::new(authorities(file)?)),
        Trust::Bundle(pem) => Roots::These(Arc::new(bundle(pem)?)),
        Trust::Nobody(why) => Roots::None(Arc::clone(why)),
    };
    let builder = match roots {
        Roots::These(roots) if wanted.names.is_empty() => builder.with_root_certificates(roots),
        roots => {
            let verifier = Verifier::new(&provider, roots, wanted.names.clone());
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match &wanted.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = identity(client)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                format!("TLS: {} with {}: {error}", client.chain.display(), client.key.display())
            })?
        }
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = match alpn {
        Alpn::None => Vec::new(),
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("TLS: {}: {error}", file.display()))?;
    }
    Ok(roots)
}

fn bundle(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|error| format!("TLS: the authorities are not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("TLS: an authority is none: {error}"))?;
    }
    Ok(roots)
}

fn identity(
    client: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(&client.chain)?;
    let key = PrivateKeyDer::from_pem_file(&client.key).map_err(|error| unreadable(&client.key, &error))?;
    Ok((chain, key))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(format!("TLS: {} holds no certificate (PEM)", file.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn unreadable(file: &Path, error: &rustls::pki_types::pem::Error) -> String {
    format!("TLS: {}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn authority() -> String {
        rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap().cert.pem()
    }

    #[tokio::test]
    async fn files_are_read_again_and_the_last_good_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        fs::write(&file, authority()).unwrap();
        let trust = Trust::Authorities(file.clone());
        let wanted = Arc::new(TlsConfig { server_name: None, trust, names: Vec::new(), client: None });
        let (store, start) = (TlsStore::default(), Instant::now());
        let at = async |seconds| {
            store.config(&wanted, Alpn::None, start + Duration::from_secs(seconds)).await.unwrap()
        };
        let first = at(0).await;
        fs::write(&file, authority()).unwrap();
        assert!(Arc::ptr_eq(&first, &at(9).await), "not yet");
        let second = at(11).await;
        assert!(!Arc::ptr_eq(&first, &second));
        fs::write(&file, "half a certifi").unwrap();
        assert!(Arc::ptr_eq(&second, &at(22).await), "what was good stays");
        fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&second, &at(33).await));
        let fresh = TlsStore::default().config(&wanted, Alpn::None, start).await.unwrap_err();
        assert!(fresh.starts_with("TLS: ") && fresh.contains("ca.pem"), "{fresh}");
    }
}
