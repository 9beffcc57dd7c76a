//! The list of revoked certificates, signed by the authority, for those that read no other form: Envoy.

use super::{Authority, AuthorityError, BACKDATED, Serial, Unreadable, authority};
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, KeyUsagePurpose, RevokedCertParams, SerialNumber};
use rustls::pki_types::UnixTime;
use std::{collections::BTreeSet, time::Duration};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer as _};

impl Authority {
    /// The revoked ones as a list (DER), or `None` if this authority can give none: its certificate does not allow it to sign
    /// lists, or it is not a root itself, and then those above it would need lists too.
    ///
    /// It does not expire before the authority: a hub that is away must not make gateways refuse everybody.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn revocations(
        &self,
        revoked: &BTreeSet<Serial>,
        now: UnixTime,
    ) -> Result<Option<Vec<u8>>, AuthorityError> {
        let usages = self.issuer().key_usages();
        if !self.is_root() || !usages.is_empty() && !usages.contains(&KeyUsagePurpose::CrlSign) {
            return Ok(None);
        }
        let left = self.facts().not_after.saturating_sub(Duration::from_secs(now.as_secs()));
        let (this_update, next_update) = authority::validity(now, left.max(BACKDATED))?;
        let entry = |serial: &Serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial.to_bytes()),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(now.as_secs()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: self.key_id()?,
        };
        let list = params.signed_by(self.issuer()).map_err(|error| authority::signing(&error))?;
        Ok(Some(list.der().to_vec()))
    }

    /// The id of its key, as its certificate says it: whoever reads the list looks for its signer by that.
    fn key_id(&self) -> Result<KeyIdMethod, AuthorityError> {
        let wrong = |error: String| AuthorityError::Certificate(Unreadable(error));
        let (_, root) = X509Certificate::from_der(self.root()).map_err(|error| wrong(error.to_string()))?;
        let id = root.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(id.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified))
    }
}

/// Such a list as PEM.
#[must_use]
pub fn list_to_pem(list: &[u8]) -> String {
    pem::encode_config(&Pem::new("X509 CRL", list), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PrivateKey;
    use rcgen::{BasicConstraints, CertificateParams, IsCa};
    use x509_parser::revocation_list::CertificateRevocationList;

    const NOW: u64 = 1_767_225_600;

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(NOW))
    }

    #[test]
    fn a_list_names_the_revoked_and_lasts_as_long_as_its_authority() {
        let domain: crate::identity::TrustDomain = "fleet.example".parse().unwrap();
        let day = Duration::from_secs(86_400);
        let (certificate, key) = Authority::create(&domain, now(), day).unwrap();
        let authority = Authority::from_pem(domain, &certificate, &key, None).unwrap();
        let revoked = BTreeSet::from(["1f2e".parse().unwrap(), "70".parse().unwrap()]);
        let list = authority.revocations(&revoked, now()).unwrap().unwrap();
        assert!(list_to_pem(&list).starts_with("-----BEGIN X509 CRL-----"));
        let (_, list) = CertificateRevocationList::from_der(&list).unwrap();
        let named = list.iter_revoked_certificates().map(|it| Serial::of(it.raw_serial()));
        assert_eq!(named.collect::<BTreeSet<_>>(), revoked);
        let ends = list.next_update().unwrap().timestamp();
        assert_eq!(ends, i64::try_from(NOW + 86_400).unwrap());
        assert!(list.last_update().timestamp() < i64::try_from(NOW).unwrap(), "clocks may differ");
        let (_, root) = X509Certificate::from_der(authority.root()).unwrap();
        list.verify_signature(root.public_key()).unwrap();
    }

    #[test]
    fn an_authority_that_may_not_sign_lists_gives_none() {
        let key = PrivateKey::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(key.pair()).unwrap().pem();
        let authority =
            Authority::from_pem("fleet.example".parse().unwrap(), &certificate, &key.to_pem(), None).unwrap();
        let revoked = BTreeSet::from(["70".parse().unwrap()]);
        assert_eq!(authority.revocations(&revoked, now()).unwrap(), None);
    }
}
