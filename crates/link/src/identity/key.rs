//! A private key. It is shown to nobody: not by `Debug`, not in an error.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use std::{fmt, sync::Arc};

/// What is wrong with a key. The key itself is never told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key could be made.
    #[error("no key could be made: {0}")]
    Make(String),
    /// The text holds no key that can be used.
    #[error(
        "not a private key in PKCS#8 PEM that can be used ({0})\n  hint: ECDSA P-256 and P-384, Ed25519 and RSA keys can be"
    )]
    Read(String),
    /// A signing request could not be made.
    #[error("no signing request could be made: {0}")]
    Request(String),
}

/// A private key.
pub struct PrivateKey {
    pair: KeyPair,
}

impl PrivateKey {
    /// A new ECDSA P-256 key.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        pair.map(|pair| Self { pair }).map_err(|error| KeyError::Make(error.to_string()))
    }

    /// Reads the first key of a PEM text.
    ///
    /// # Errors
    /// If there is none that can be used.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        // What stands before it are certificates, as a rule.
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|error| KeyError::Read(error.to_string()))?;
        let pair = KeyPair::try_from(&der);
        pair.map(|pair| Self { pair }).map_err(|error| KeyError::Read(error.to_string()))
    }

    /// The key as PEM, for a file that nobody else can read: [`super::write_secret`].
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// A request for a certificate of this key, as DER. Names are the hub's word, so it holds none.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn request(&self) -> Result<Vec<u8>, KeyError> {
        let told = |error: rcgen::Error| KeyError::Request(error.to_string());
        let request = CertificateParams::default().serialize_request(&self.pair).map_err(told)?;
        Ok(request.der().to_vec())
    }

    pub(super) const fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.pair
    }

    /// The form in which TLS signs with it.
    pub(super) fn signer(&self) -> Result<Arc<dyn SigningKey>, KeyError> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()));
        any_supported_type(&der).map_err(|error| KeyError::Read(error.to_string()))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_whatever_stands_before_it() {
        let key = PrivateKey::generate().unwrap().to_pem();
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let read = PrivateKey::from_pem(&format!("{certificate}{key}")).unwrap();
        assert_eq!(read.to_pem(), key);
        assert!(PrivateKey::from_pem(certificate).is_err());
    }
}
