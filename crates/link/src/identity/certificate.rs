//! What a certificate says, as far as it matters here.

use super::{BACKDATED, Pin, SpiffeId};
use ring::digest::{SHA256, digest};
use rustls::pki_types::UnixTime;
use std::{fmt, str::FromStr, time::Duration};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// The number of a certificate, as hexadecimal digits without leading zeros. Unique for its authority.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(String);

impl Serial {
    /// The serial of these bytes, the most significant one first.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(hex.trim_start_matches('0').to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes, the most significant one first.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let even = if self.0.len().is_multiple_of(2) { self.0.clone() } else { format!("0{}", self.0) };
        // The digits are hexadecimal by construction.
        (0..even.len()).step_by(2).filter_map(|at| u8::from_str_radix(&even[at..at + 2], 16).ok()).collect()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something is no certificate or serial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub(super) String);

impl FromStr for Serial {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        // RFC 5280: at most 20 bytes.
        if text.is_empty() || text.len() > 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Unreadable("a serial has 1 to 40 hexadecimal digits".to_owned()));
        }
        Ok(Self(text.to_ascii_lowercase().trim_start_matches('0').to_owned()))
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is, if it has exactly one id of ours.
    pub id: Option<SpiffeId>,
    /// Its ids and names as they are written, for people.
    pub names: String,
    /// Its number.
    pub serial: Serial,
    /// When it begins to be valid, since 1970.
    pub not_before: Duration,
    /// When it ends to be valid, since 1970.
    pub not_after: Duration,
    /// Whether its issuer is itself.
    pub self_issued: bool,
    /// Whether it may issue others.
    pub is_ca: bool,
    /// The SHA-256 of its public key (`SubjectPublicKeyInfo`).
    pub key: Pin,
}

impl CertificateFacts {
    /// Reads a certificate. Nothing of it is believed by that.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(der: &[u8]) -> Result<Self, Unreadable> {
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|error| Unreadable(format!("not an X.509 certificate: {error}")))?;
        if !rest.is_empty() {
            return Err(Unreadable("not an X.509 certificate: there is more after it".to_owned()));
        }
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|error| Unreadable(format!("its names cannot be read: {error}")))?;
        let general = alternative.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uris: Vec<&str> = general
            .iter()
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .collect();
        let shown = match uris[..] {
            [] => certificate.subject().to_string(),
            _ => uris.join(", "),
        };
        let since_1970 = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(Self {
            // SPIFFE: exactly one URI.
            id: if let [uri] = uris[..] { uri.parse().ok() } else { None },
            names: shown.chars().take(255).collect(),
            serial: Serial::of(certificate.raw_serial()),
            not_before: since_1970(certificate.validity().not_before.timestamp()),
            not_after: since_1970(certificate.validity().not_after.timestamp()),
            self_issued: certificate.issuer() == certificate.subject(),
            is_ca: certificate.is_ca(),
            key: Pin::of(digest(&SHA256, certificate.public_key().raw).as_ref()),
        })
    }

    /// When a new one should be asked for: at two thirds of its life, counted from when it was issued.
    #[must_use]
    pub fn renew_at(&self) -> UnixTime {
        let issued = (self.not_before + BACKDATED).min(self.not_after);
        UnixTime::since_unix_epoch(issued + (self.not_after - issued) * 2 / 3)
    }
}
