//! What a gateway shows to its clients: a certificate and its key, out of a `Secret`.
//!
//! A key is kept so that it cannot be told by accident: a [`PrivateKey`] prints and serialises as a word that stands for it.
//! Whatever writes down a [`crate::Config`] (a journal does) writes no key.

use crate::{
    config::Config,
    problem::{Cause, Problem, Severity},
    time,
};
use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, sync::Arc, time::Duration};
use tidegate_engine::Origin;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// The longest chain or key that is read, as PEM: far more than any authority issues.
const MAX_PEM_BYTES: usize = 128 << 10;

/// What stands for a key wherever one would be written.
const WITHHELD: &str = "withheld";

/// A certificate with those above it, and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The certificate and those that vouch for it, as PEM.
    pub chain: Arc<str>,
    /// Its key.
    pub key: PrivateKey,
    /// From when it holds, in seconds since 1970.
    pub not_before: u64,
    /// Until when it holds, in seconds since 1970.
    pub not_after: u64,
    /// Where it was written.
    pub origin: Origin,
}

/// A private key as PEM. It is told by [`PrivateKey::pem`] alone: printed and serialised it is the word `withheld`.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Arc<str>);

impl PrivateKey {
    /// The key, as PEM; of one that was deserialised, nothing.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WITHHELD)
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(WITHHELD)
    }
}

impl<'de> Deserialize<'de> for PrivateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Self("".into()))
    }
}

/// Which half of a pair is wrong, why, and what to do. It never quotes what was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) of_key: bool,
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

/// What a pair of PEM texts says, once it is known to belong together.
#[derive(Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) chain: Arc<str>,
    pub(crate) key: PrivateKey,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

/// Checks a chain and its key: that Envoy can serve with them, so that it is not Envoy that refuses them.
pub(crate) fn pair(chain: &str, key: &str) -> Result<Pair, Fault> {
    let of_chain = |message: &str, hint| Fault { of_key: false, message: message.to_owned(), hint };
    let of_key = |message: &str, hint| Fault { of_key: true, message: message.to_owned(), hint };
    for (text, of_key) in [(chain, false), (key, true)] {
        if text.len() > MAX_PEM_BYTES {
            let message = format!("has {} bytes; at most {MAX_PEM_BYTES} are read", text.len());
            return Err(Fault {
                of_key,
                message,
                hint: "put one certificate and those above it there, and one key",
            });
        }
    }
    let hint = "write the certificate as PEM, and those above it after it: -----BEGIN CERTIFICATE-----";
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| of_chain("is not PEM", hint))?;
    let first = certificates.first().ok_or_else(|| of_chain("holds no certificate as PEM", hint))?;
    let hint = "it is PEM, but no X.509 certificate: issue it anew";
    let (_, leaf) =
        X509Certificate::from_der(first).map_err(|_| of_chain("holds no X.509 certificate", hint))?;
    let validity = leaf.validity();
    let seconds = |at: i64| u64::try_from(at).unwrap_or(0);
    let (not_before, not_after) =
        (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));

    let hint = "write the key as PEM and without a password: -----BEGIN PRIVATE KEY-----";
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| of_key("holds no private key as PEM", hint))?;
    let hint = "gateways take RSA from 2048 bits on and ECDSA on P-256 or P-384: issue the certificate for such a key";
    // Envoy takes no Ed25519, which this can sign with.
    let signer = any_supported_type(&der)
        .ok()
        .filter(|signer| signer.algorithm() != rustls::SignatureAlgorithm::ED25519)
        .ok_or_else(|| of_key("is of a kind that gateways do not take", hint))?;
    let hint = "put the key there that the certificate was issued for";
    CertifiedKey::new(certificates, signer)
        .keys_match()
        .map_err(|_| of_key("does not belong to the certificate", hint))?;
    Ok(Pair { chain: chain.into(), key: PrivateKey(key.into()), not_before, not_after })
}

/// Checks certificates of authorities, as PEM: what is wrong, and what to do.
pub(crate) fn authorities(text: &str) -> Result<Arc<str>, (String, &'static str)> {
    let hint = "write certificates of authorities as PEM, one after the other: -----BEGIN CERTIFICATE-----";
    if text.len() > MAX_PEM_BYTES {
        return Err((format!("has {} bytes; at most {MAX_PEM_BYTES} are read", text.len()), hint));
    }
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| ("is not PEM".to_owned(), hint))?;
    if found.is_empty() {
        return Err(("holds no certificate as PEM".to_owned(), hint));
    }
    match found.iter().all(|it| X509Certificate::from_der(it).is_ok()) {
        true => Ok(text.into()),
        false => Err(("holds what is no X.509 certificate".to_owned(), hint)),
    }
}

impl Config {
    /// The certificates that gateways show and that do not hold at this time, in force all the same: clients refuse them.
    /// `since_1970` is the time of day (UTC).
    #[must_use]
    pub fn out_of_date(&self, since_1970: Duration) -> Vec<Problem> {
        let now = since_1970.as_secs();
        let told = |certificate: &Arc<Certificate>| {
            let (what, at) = match () {
                () if certificate.not_after < now => ("expired at", certificate.not_after),
                () if certificate.not_before > now => ("does not hold before", certificate.not_before),
                () => return None,
            };
            let Origin::File { place, line } = &certificate.origin else { return None };
            Some(Problem {
                file: place.file.to_string(),
                line: *line,
                column: 1,
                object: Some(place.object.to_string()),
                severity: Severity::Warning,
                cause: Cause::Invalid,
                message: format!("the certificate {what} {}; clients refuse it", time::text(at)),
                hint: "replace tls.crt and tls.key; gateways take the new ones over without a restart"
                    .to_owned(),
            })
        };
        self.certificates.values().filter_map(told).collect()
    }
}
