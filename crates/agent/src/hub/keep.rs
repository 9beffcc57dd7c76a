//! The last good policy on disk. `policy.json` is written beside, synced and renamed, with the one before it kept as
//! `policy.previous.json`; its first line says the SHA-256 of the rest. What is torn, changed or not signed by the hub is told,
//! and the previous one is used.

use super::held::Held;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tidegate_link::{
    hub::{Objects, SignedHead, Trust, digest},
    identity::write_secret,
};

const FILE: &str = "policy.json";
const PREVIOUS: &str = "policy.previous.json";
/// The version of the form.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heading {
    format: u32,
    sequence: u64,
    version: String,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Body {
    head: Vec<u8>,
    signature: Vec<u8>,
    objects: Objects,
}

/// A file that is passed over.
#[derive(Debug, thiserror::Error)]
#[error("the policy on disk, {path}, is passed over: {why}")]
pub(super) struct PassedOver {
    path: PathBuf,
    why: String,
}

/// The newest policy that is sound, and what was wrong with files passed over.
pub(super) fn load(folder: &Path, trust: &Trust) -> (Option<Held>, Vec<PassedOver>) {
    let mut problems = Vec::new();
    for name in [FILE, PREVIOUS] {
        let path = folder.join(name);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => problems.push(PassedOver { path, why: error.to_string() }),
            Ok(bytes) => match read(&bytes, trust) {
                Ok(held) => return (Some(held), problems),
                Err(why) => problems.push(PassedOver { path, why }),
            },
        }
    }
    (None, problems)
}

fn read(bytes: &[u8], trust: &Trust) -> Result<Held, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it is torn: it has no whole first line")?;
    let (first, body) = (&bytes[..end], &bytes[end + 1..]);
    let heading: Heading =
        serde_json::from_slice(first).map_err(|error| format!("its first line: {error}"))?;
    if heading.format != FORMAT {
        return Err(format!("it has format {}, and this version reads {FORMAT}", heading.format));
    }
    if checksum(body) != heading.sha256 {
        return Err("it is torn or was changed: its checksum is wrong".to_owned());
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let signed = SignedHead { head: body.head, signature: body.signature };
    let head =
        signed.open(&trust.policy_keys, trust.bundle.trust_domain()).map_err(|error| error.to_string())?;
    if digest(&body.objects) != head.digest {
        return Err("it is not what the hub signed".to_owned());
    }
    Ok(Held { head, signed, objects: body.objects })
}

/// Writes a policy. The one before is kept.
pub(super) fn save(folder: &Path, held: &Held) -> io::Result<()> {
    let body = Body {
        head: held.signed.head.clone(),
        signature: held.signed.signature.clone(),
        objects: held.objects.clone(),
    };
    let body = serde_json::to_vec(&body)?;
    let (sequence, version) = (held.head.sequence, held.head.version.clone());
    let heading = Heading { format: FORMAT, sequence, version, sha256: checksum(&body) };
    let mut bytes = serde_json::to_vec(&heading)?;
    bytes.push(b'\n');
    bytes.extend(body);
    match fs::rename(folder.join(FILE), folder.join(PREVIOUS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_secret(&folder.join(FILE), &bytes)
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::held::{
        follow,
        tests::{hub, policy},
    };

    #[test]
    fn whatever_happens_to_the_newest_file_is_told_and_the_previous_one_is_used() {
        let (signer, trust) = hub();
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path(), &trust).0.is_none());
        let held =
            |sequence, text: &str| follow(None, &policy(&signer, sequence, text), &trust).unwrap().unwrap();
        let (one, two) = (held(1, "one"), held(2, "two"));
        save(folder.path(), &one).unwrap();
        save(folder.path(), &two).unwrap();
        let (found, problems) = load(folder.path(), &trust);
        assert_eq!((found.as_ref(), problems.len()), (Some(&two), 0));
        let path = folder.path().join(FILE);
        let good = fs::read(&path).unwrap();
        // Torn at any place, and any byte changed.
        for at in 0..good.len() {
            fs::write(&path, &good[..at]).unwrap();
            let (found, problems) = load(folder.path(), &trust);
            assert_eq!((found.as_ref(), problems.len()), (Some(&one), 1), "torn at {at}");
        }
        let body = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in body..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let (found, problems) = load(folder.path(), &trust);
            assert_eq!((found.as_ref(), problems.len()), (Some(&one), 1), "changed at {at}");
        }
        // A crash between the two renames.
        fs::remove_file(&path).unwrap();
        assert_eq!(load(folder.path(), &trust).0, Some(one));
        // Another hub's policy, whole as it is.
        let (_, stranger) = hub();
        fs::write(&path, &good).unwrap();
        let (found, problems) = load(folder.path(), &stranger);
        assert!(found.is_none() && problems.iter().all(|it| it.to_string().contains("not signed by a key")));
    }
}
