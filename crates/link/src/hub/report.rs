//! Reports of drills: the hub's signature on one, and who is believed.
//!
//! What is signed is the report's JSON in its canonical text ([`canonical`]), together with who handed it over and when. The
//! text is kept as it was written, not built anew from what was read: no rounding of numbers can come between.

use super::{
    signing::{PolicyKey, PolicySigner},
    token::hex,
};
use pem::{EncodeConfig, LineEnding, Pem};
use ring::{
    digest::{SHA256, digest},
    signature::{ED25519, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Signed before a report: nothing else that this key signs can be taken for one.
const CONTEXT: &str = "tidegate drill report v1";

/// RFC 8410: what stands before the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo`.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The most keys of one file.
const MAX_KEYS: usize = 16;

/// A report as a hub keeps it. `R` is its JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReport<R> {
    /// `tidegate.dev/v1alpha1`.
    pub api_version: String,
    /// `SignedDrillReport`.
    pub kind: String,
    /// The report.
    pub report: R,
    /// What the hub says of it.
    pub signature: ReportSignature,
}

impl<R> SignedReport<R> {
    /// Its kind.
    pub const KIND: &'static str = "SignedDrillReport";

    /// A report with its signature.
    pub fn new(report: R, signature: ReportSignature) -> Self {
        let (api_version, kind) = ("tidegate.dev/v1alpha1".to_owned(), Self::KIND.to_owned());
        Self { api_version, kind, report, signature }
    }
}

/// Who signed a report, what was handed over by whom, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportSignature {
    /// The fleet whose hub signed.
    pub trust_domain: String,
    /// Whose token it was handed over with; `operator` at the hub's own machine.
    pub handed_over_by: String,
    /// When, as RFC 3339 has it.
    pub signed_at: String,
    /// The key's name: [`key_id`].
    pub key_id: String,
    /// Ed25519, hexadecimal.
    pub signature: String,
}

/// Why a report is not believed, or a key is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Signed by somebody else.
    #[error("it names the key {0}, which is not one of those that are believed")]
    Key(String),
    /// It is not what was signed.
    #[error("the signature does not fit: the report, or what is said of who signed it, was changed")]
    Signature,
    /// The key's file.
    #[error("there is no Ed25519 public key in it\n  hint: tidegate drill key prints the hub's")]
    NoKey,
}

impl ReportSignature {
    /// Whether one of `keys` signed this of the report, whose text is [`canonical`].
    ///
    /// # Errors
    /// If the key is another, or anything was changed.
    pub fn verify(&self, report: &str, keys: &[PolicyKey]) -> Result<(), ReportError> {
        let mut named = keys.iter().filter(|key| key_id(key) == self.key_id).peekable();
        if named.peek().is_none() {
            return Err(ReportError::Key(self.key_id.chars().take(64).collect()));
        }
        let signature = unhex(&self.signature).ok_or(ReportError::Signature)?;
        let signed = self.signed(report);
        let by = |key: &PolicyKey| {
            UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &signature).is_ok()
        };
        if named.any(by) { Ok(()) } else { Err(ReportError::Signature) }
    }

    /// No part holds a line break (they would be someone else's words): each line is one part.
    fn signed(&self, report: &str) -> String {
        let part = |text: &str| text.replace(['\n', '\r'], "\u{fffd}");
        let parts = [&self.trust_domain, &self.handed_over_by, &self.signed_at, &self.key_id];
        let parts = parts.map(|it| part(it)).join("\n");
        format!("{CONTEXT}\n{parts}\n{report}")
    }
}

impl fmt::Display for ReportSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, handed_over_by, signed_at, key_id, .. } = self;
        write!(
            f,
            "signed by the hub of {trust_domain} at {signed_at} with key {key_id}, handed over by {handed_over_by}"
        )
    }
}

impl PolicySigner {
    /// Signs a report, whose text is [`canonical`].
    #[must_use]
    pub fn sign_report(
        &self,
        trust_domain: &str,
        handed_over_by: &str,
        signed_at: &str,
        report: &str,
    ) -> ReportSignature {
        let mut made = ReportSignature {
            trust_domain: trust_domain.to_owned(),
            handed_over_by: handed_over_by.to_owned(),
            signed_at: signed_at.to_owned(),
            key_id: key_id(&self.public()),
            signature: String::new(),
        };
        made.signature = hex(&self.sign_bytes(made.signed(report).as_bytes()));
        made
    }
}

/// JSON without white space between its parts, and with `<` written as `\u003c`, which can be only within its strings: the
/// same text in a file for people, in one line, and within a page. Names, their order and the words of numbers stay.
#[must_use]
pub fn canonical(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut within, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' if !within => continue,
            '"' if !escaped => within = !within,
            _ => {}
        }
        escaped = within && c == '\\' && !escaped;
        if c == '<' { text.push_str("\\u003c") } else { text.push(c) }
    }
    text
}

/// The name of a key: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn key_id(key: &PolicyKey) -> String {
    hex(&digest(&SHA256, key).as_ref()[..8])
}

/// A key as a PEM file, which other programs read too.
#[must_use]
pub fn key_pem(key: &PolicyKey) -> String {
    let bytes = [&SPKI[..], key].concat();
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("PUBLIC KEY", bytes), config)
}

/// The keys of a PEM file.
///
/// # Errors
/// If there is none in it, or anything else.
pub fn keys_of_pem(text: &str) -> Result<Vec<PolicyKey>, ReportError> {
    let blocks = pem::parse_many(text).map_err(|_| ReportError::NoKey)?;
    if blocks.is_empty() || blocks.len() > MAX_KEYS {
        return Err(ReportError::NoKey);
    }
    let key = |block: &Pem| block.contents().strip_prefix(&SPKI[..])?.try_into().ok();
    blocks.iter().map(|block| key(block).ok_or(ReportError::NoKey)).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (text.len() == 128).then(|| pairs.map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"id":"drill-1","text":"a \"b\" \\ c","rto":1.50,"list":[1,{}]}"#;

    fn signer() -> PolicySigner {
        PolicySigner::from_pkcs8(&PolicySigner::draw().unwrap()).unwrap()
    }

    #[test]
    fn a_report_is_believed_only_whole_and_from_a_key_that_is_known() {
        let (own, other) = (signer(), signer());
        let made = own.sign_report("fleet.example", "alice", "2026-11-24T10:00:00Z", REPORT);
        assert_eq!(made.verify(REPORT, &[other.public(), own.public()]), Ok(()));
        assert_eq!(made.verify(REPORT, &[other.public()]), Err(ReportError::Key(made.key_id.clone())));
        for at in 0..REPORT.len() {
            let mut bytes = REPORT.as_bytes().to_vec();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(made.verify(&changed, &[own.public()]), Err(ReportError::Signature), "byte {at}");
        }
        let as_said = [
            ReportSignature { trust_domain: "other.example".to_owned(), ..made.clone() },
            ReportSignature { handed_over_by: "bob".to_owned(), ..made.clone() },
            ReportSignature { signed_at: "2026-11-25T10:00:00Z".to_owned(), ..made.clone() },
            ReportSignature { signature: made.signature.replace(['0', '1'], "2"), ..made.clone() },
            ReportSignature { signature: "é".repeat(64), ..made.clone() },
            ReportSignature { key_id: key_id(&other.public()), ..made.clone() },
        ];
        for forged in as_said {
            let refused = forged.verify(REPORT, &[own.public(), other.public()]);
            assert_eq!(refused, Err(ReportError::Signature), "{forged}");
        }
    }

    #[test]
    fn the_canonical_text_is_the_same_however_it_is_laid_out_and_ends_no_page() {
        let laid_out = "{\n  \"id\" : \"drill-1\",\t\"text\": \"a \\\"b\\\" \\\\ c\",\r\n \"rto\": 1.50, \"list\": [1, {}]}\n";
        assert_eq!(canonical(laid_out), REPORT);
        assert_eq!(canonical(REPORT), REPORT);
        let page = canonical(r#"{"a": "</script> <b>"}"#);
        assert_eq!(page, r#"{"a":"\u003c/script> \u003cb>"}"#);
        assert_eq!(canonical(&page), page);
    }

    #[test]
    fn keys_travel_as_pem() {
        let (own, other) = (signer().public(), signer().public());
        let text = key_pem(&own) + &key_pem(&other);
        assert_eq!(keys_of_pem(&text), Ok(vec![own, other]));
        assert_eq!(keys_of_pem("nothing"), Err(ReportError::NoKey));
        assert_eq!(keys_of_pem(&text.replace("MCow", "MCox")), Err(ReportError::NoKey));
        assert_eq!(key_id(&own).len(), 16);
    }
}
