//! Policy as it travels: objects in their own words, a digest over all of them, and what changed.

use super::{proto, signing::Head, token::hex};
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;

/// The most objects of a policy.
pub const MAX_OBJECTS: usize = 100_000;

/// The most bytes of a policy, all texts together.
pub const MAX_POLICY_BYTES: usize = 32 << 20;

/// The longest key or file name.
const MAX_NAME: usize = 4096;

/// An object as it was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyObject {
    /// The file, below what the hub reads.
    pub source: String,
    /// The line of the file where the text begins, from 1.
    pub line: u32,
    /// YAML.
    pub text: String,
}

/// A policy: objects by `Kind NAMESPACE/NAME`.
pub type Objects = BTreeMap<String, PolicyObject>;

/// Why a policy is not taken. Nothing of it is in force then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It starts from something else than what is held.
    #[error("a delta from {base} does not fit what is held, {held}")]
    Base {
        /// From what.
        base: u64,
        /// What is held.
        held: u64,
    },
    /// It is not what its head says.
    #[error("policy {0} does not have the digest of its head")]
    Digest(u64),
    /// There is too much of it.
    #[error("a policy has at most {MAX_OBJECTS} objects and {MAX_POLICY_BYTES} bytes")]
    Size,
}

impl PolicyObject {
    /// The SHA-256 over what it says and where it was written.
    #[must_use]
    pub fn hash(&self, key: &str) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        for part in [key, &self.source, &self.line.to_string(), &self.text] {
            // With lengths, so that no two objects read the same.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        fixed(context)
    }

    /// The same as hexadecimal digits, by which a history knows it.
    #[must_use]
    pub fn fingerprint(&self, key: &str) -> String {
        hex(&self.hash(key))
    }

    /// For the wire.
    #[must_use]
    pub fn to_proto(&self, key: &str) -> proto::Object {
        proto::Object {
            key: key.to_owned(),
            source: self.source.clone(),
            line: self.line,
            text: self.text.clone(),
        }
    }
}

fn fixed(context: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// The SHA-256 over all objects: over the hash of each, in the order of their keys.
#[must_use]
pub fn digest(objects: &Objects) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for (key, object) in objects {
        context.update(&object.hash(key));
    }
    fixed(context)
}

/// What to tell somebody who holds objects of these hashes (by key), so that they hold `objects`.
#[must_use]
pub fn delta(held: &BTreeMap<String, String>, objects: &Objects) -> (Vec<proto::Object>, Vec<String>) {
    let same = |key: &String, object: &PolicyObject| {
        held.get(key).is_some_and(|print| *print == object.fingerprint(key))
    };
    let changed = objects.iter().filter(|(key, object)| !same(key, object));
    let changed = changed.map(|(key, object)| object.to_proto(key)).collect();
    let removed = held.keys().filter(|key| !objects.contains_key(*key)).cloned().collect();
    (changed, removed)
}

/// What is held after a message: `held` (with its sequence) and what the message changes, checked against its head.
///
/// # Errors
/// If the two do not fit together, or the result is not what the head says.
pub fn apply(
    held: Option<(u64, &Objects)>,
    message: &proto::Policy,
    head: &Head,
) -> Result<Objects, PolicyError> {
    let mut objects = match (message.full, held) {
        (true, _) => Objects::new(),
        (false, Some((sequence, objects))) if sequence == message.base_sequence => objects.clone(),
        (false, held) => {
            let held = held.map_or(0, |(sequence, _)| sequence);
            return Err(PolicyError::Base { base: message.base_sequence, held });
        }
    };
    for key in &message.removed {
        objects.remove(key);
    }
    for proto::Object { key, source, line, text } in &message.changed {
        if key.len() > MAX_NAME || source.len() > MAX_NAME {
            return Err(PolicyError::Size);
        }
        let object = PolicyObject { source: source.clone(), line: *line, text: text.clone() };
        objects.insert(key.clone(), object);
    }
    let bytes: usize = objects.values().map(|object| object.text.len()).sum();
    if objects.len() > MAX_OBJECTS || bytes > MAX_POLICY_BYTES {
        return Err(PolicyError::Size);
    }
    if digest(&objects) != head.digest {
        return Err(PolicyError::Digest(head.sequence));
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(list: &[(&str, &str)]) -> Objects {
        let object =
            |text: &str| PolicyObject { source: "a.yaml".to_owned(), line: 1, text: text.to_owned() };
        list.iter().map(|(key, text)| ((*key).to_owned(), object(text))).collect()
    }

    fn head(objects: &Objects) -> Head {
        let trust_domain = "fleet.example".parse().unwrap();
        Head { trust_domain, sequence: 2, version: "v".to_owned(), digest: digest(objects), epoch: 0 }
    }

    #[test]
    fn a_delta_leads_from_what_is_held_to_what_is_meant() {
        let old = objects(&[("A", "1"), ("B", "1"), ("C", "1")]);
        let new = objects(&[("A", "1"), ("B", "2"), ("D", "1")]);
        let held: BTreeMap<_, _> = old.iter().map(|(key, it)| (key.clone(), it.fingerprint(key))).collect();
        let (changed, removed) = delta(&held, &new);
        let keys: Vec<_> = changed.iter().map(|object| object.key.as_str()).collect();
        assert_eq!((keys, &removed[..]), (vec!["B", "D"], &["C".to_owned()][..]));
        let message = proto::Policy { base_sequence: 1, changed, removed, ..Default::default() };
        assert_eq!(apply(Some((1, &old)), &message, &head(&new)), Ok(new.clone()));

        // On something else it does not fit, and what is not as the head says is not taken.
        let wrong = PolicyError::Base { base: 1, held: 7 };
        assert_eq!(apply(Some((7, &old)), &message, &head(&new)), Err(wrong));
        assert_eq!(apply(Some((1, &new)), &message, &head(&old)), Err(PolicyError::Digest(2)));
        let full = proto::Policy { full: true, ..message };
        assert_eq!(apply(Some((1, &old)), &full, &head(&new)), Err(PolicyError::Digest(2)));
    }

    #[test]
    fn the_digest_sees_every_part_of_an_object() {
        let one = objects(&[("A", "1")]);
        let with = |change: fn(&mut PolicyObject)| {
            let mut other = one.clone();
            change(other.get_mut("A").unwrap());
            digest(&other)
        };
        let all = [
            digest(&one),
            digest(&objects(&[("B", "1")])),
            with(|it| it.line = 2),
            with(|it| it.source = "b.yaml".to_owned()),
            with(|it| it.text = "2".to_owned()),
        ];
        let each: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(each.len(), all.len());
    }
}
