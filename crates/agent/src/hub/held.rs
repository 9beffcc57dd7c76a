//! A policy that is held: what it is, and whether another one may follow it.

use super::files;
use std::sync::Arc;
use tidegate_discovery::Given;
use tidegate_link::hub::{Head, HeadError, Objects, PolicyError, SignedHead, Trust, apply, proto};

/// A policy that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) head: Head,
    pub(crate) signed: SignedHead,
    pub(crate) objects: Objects,
}

/// Why a policy does not follow the one that is held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFollowed {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(
        "its policy {theirs} is older than policy {ours}, which this agent holds; it is not followed. Was an older state restored? Then: tidegate rollout resume"
    )]
    Older { theirs: u64, ours: u64 },
    #[error(
        "it has another policy {0} than this agent; it is not followed. Was an older state restored? Then: tidegate rollout resume"
    )]
    Fork(u64),
    #[error(
        "it is of epoch {theirs}, and another hub was promoted since (epoch {ours}); it is not followed. It must not write any more"
    )]
    Superseded { theirs: u64, ours: u64 },
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl NotFollowed {
    /// One word for counters.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Head(_) => "policy_not_believed",
            Self::Older { .. } => "policy_older",
            Self::Fork(_) => "policy_forked",
            Self::Superseded { .. } => "policy_superseded",
            Self::Policy(_) => "policy_broken",
        }
    }
}

impl Held {
    /// What the loader is handed.
    pub(crate) fn given(&self) -> Given {
        let files = Arc::new(files::files(&self.objects));
        Given { number: self.head.sequence, version: self.head.version.clone(), files }
    }
}

/// What is held after a message; `None` if it is what is held already.
pub(crate) fn follow(
    held: Option<&Held>,
    message: &proto::Policy,
    trust: &Trust,
) -> Result<Option<Held>, NotFollowed> {
    let signed = SignedHead::from_proto(&message.head.clone().unwrap_or_default());
    let head = signed.open(&trust.policy_keys, trust.bundle.trust_domain())?;
    if let Some(held) = held {
        let (theirs, ours) = (head.epoch, held.head.epoch);
        if theirs < ours {
            return Err(NotFollowed::Superseded { theirs, ours });
        }
        let (theirs, ours) = (head.sequence, held.head.sequence);
        if theirs < ours {
            return Err(NotFollowed::Older { theirs, ours });
        }
        if theirs == ours && head.digest == held.head.digest {
            return Ok(None);
        }
        if theirs == ours {
            return Err(NotFollowed::Fork(ours));
        }
    }
    let objects = apply(held.map(|held| (held.head.sequence, &held.objects)), message, &head)?;
    Ok(Some(Held { head, signed, objects }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tidegate_link::{
        hub::{PolicyObject, PolicySigner, digest},
        identity::{Authority, TrustBundle, UnixTime},
    };

    /// A hub's key and the trust in it.
    pub(crate) fn hub() -> (PolicySigner, Trust) {
        let domain: tidegate_link::identity::TrustDomain = "fleet.example".parse().unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_767_225_600));
        let (certificate, _) = Authority::create(&domain, now, std::time::Duration::from_secs(3600)).unwrap();
        let bundle = TrustBundle::new(domain, TrustBundle::certificates(&certificate).unwrap()).unwrap();
        let signer = PolicySigner::from_pkcs8(&PolicySigner::draw().unwrap()).unwrap();
        let policy_keys = vec![signer.public()];
        (signer, Trust { bundle, policy_keys, revocations: Vec::new(), grants: Default::default() })
    }

    /// All of a policy with one object.
    pub(crate) fn policy(signer: &PolicySigner, sequence: u64, text: &str) -> proto::Policy {
        of_epoch(signer, 0, sequence, text)
    }

    fn of_epoch(signer: &PolicySigner, epoch: u64, sequence: u64, text: &str) -> proto::Policy {
        let object = PolicyObject { source: "a.yaml".to_owned(), line: 1, text: text.to_owned() };
        let objects = Objects::from([("A".to_owned(), object.clone())]);
        let trust_domain = "fleet.example".parse().unwrap();
        let head = Head { trust_domain, sequence, version: "v".to_owned(), digest: digest(&objects), epoch };
        let head = Some(signer.sign(&head).to_proto());
        proto::Policy { head, full: true, changed: vec![object.to_proto("A")], ..Default::default() }
    }

    #[test]
    fn only_a_newer_policy_of_the_own_hub_is_followed() {
        let (signer, trust) = hub();
        let three = follow(None, &policy(&signer, 3, "x"), &trust).unwrap().unwrap();
        let next = |message: &proto::Policy| follow(Some(&three), message, &trust);
        assert_eq!(next(&policy(&signer, 3, "x")), Ok(None), "the same once more");
        assert_eq!(next(&policy(&signer, 2, "y")), Err(NotFollowed::Older { theirs: 2, ours: 3 }));
        assert_eq!(next(&policy(&signer, 3, "y")), Err(NotFollowed::Fork(3)));
        assert_eq!(next(&policy(&signer, 9, "y")).unwrap().unwrap().objects["A"].text, "y");
        let promoted = follow(Some(&three), &of_epoch(&signer, 1, 4, "p"), &trust).unwrap().unwrap();
        let late = follow(Some(&promoted), &policy(&signer, 9, "x"), &trust);
        assert_eq!(late, Err(NotFollowed::Superseded { theirs: 0, ours: 1 }));
        let (stranger, _) = hub();
        assert_eq!(next(&policy(&stranger, 9, "y")), Err(NotFollowed::Head(HeadError::Signature)));
        let mut forged = policy(&signer, 9, "y");
        forged.changed[0].text = "z".to_owned();
        assert_eq!(next(&forged), Err(NotFollowed::Policy(PolicyError::Digest(9))));
    }
}
