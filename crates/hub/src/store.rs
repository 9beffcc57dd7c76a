//! What the hub keeps: one redb file in its state folder. Every change is one transaction that is synced before it is told.

mod numbers;

use crate::{
    drills::{DRILL_REPORTS, DRILLS},
    tokens::TokenRecord,
    waves::Rollout,
};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, path::Path};
use tidegate_link::{
    access::{Grant, Grants},
    hub::{Objects, PolicyObject},
};
use tidegate_model::ClusterName;

/// By number. Never changed; the oldest leave beyond [`MAX_AUDIT`].
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
/// By sequence.
const HEADS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("heads");
/// By fingerprint.
const TEXTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("texts");
/// By the hash of the secret.
const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");
/// By serial.
const CERTIFICATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("certificates");
/// The rollout and what it holds back, by name.
const ROLLOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rollout");
/// Who may ask from elsewhere, by the hash of the secret.
const GRANTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("grants");
/// Numbers by name.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// The most audit records.
pub(crate) const MAX_AUDIT: u64 = 200_000;
/// The most policies in the history.
pub(crate) const MAX_HEADS: u64 = 200;
/// The file in a state folder.
pub(crate) const STORE: &str = "hub.redb";

/// Under this name the rollout is kept.
pub(crate) const ROLLOUT_NAME: &str = "rollout";

/// Why something cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the state folder is in use by a running hub")]
    InUse,
    /// The store fails.
    #[error("the store failed: {0}")]
    Store(String),
    /// What it holds is not what this version expects.
    #[error("the store holds something else than expected in {table}: {why}")]
    Content {
        /// Where.
        table: &'static str,
        /// What.
        why: String,
    },
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            other => Self::Store(other.to_string()),
        }
    }
}

/// Something that happened, for good.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditRecord {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Who or which commit.
    pub(crate) who: String,
    /// What, one word.
    pub(crate) what: String,
    /// The rest, for people.
    pub(crate) detail: String,
}

/// A policy of the history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadRecord {
    pub(crate) head: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// The fingerprint of each object.
    pub(crate) objects: BTreeMap<String, String>,
    /// The sequence with which each object became what it is.
    pub(crate) since: BTreeMap<String, u64>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateRecord {
    pub(crate) cluster: ClusterName,
    /// Seconds since 1970.
    pub(crate) not_after: u64,
    pub(crate) revoked: bool,
    /// Whether it is for the gateways; of those that an older hub issued it is not known.
    #[serde(default)]
    pub(crate) gateways: bool,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) database: Database,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(AUDIT)?;
        transaction.open_table(HEADS)?;
        transaction.open_table(TEXTS)?;
        transaction.open_table(TOKENS)?;
        transaction.open_table(CERTIFICATES)?;
        transaction.open_table(NUMBERS)?;
        transaction.open_table(ROLLOUT)?;
        transaction.open_table(GRANTS)?;
        transaction.open_table(DRILLS)?;
        transaction.open_table(DRILL_REPORTS)?;
        transaction.commit()?;
        Ok(Self { database })
    }

    /// Writes all of it, as it is at one moment, to a new file.
    pub(crate) fn copy(&self, path: &Path) -> Result<(), StoreError> {
        let from = self.database.begin_read()?;
        let copy = Database::create(path)?;
        let to = copy.begin_write()?;
        for table in [AUDIT, HEADS, DRILLS, DRILL_REPORTS] {
            let mut into = to.open_table(table)?;
            for entry in from.open_table(table)?.iter()? {
                let (key, value) = entry?;
                into.insert(key.value(), value.value())?;
            }
        }
        for table in [TEXTS, TOKENS, CERTIFICATES, ROLLOUT, GRANTS] {
            let mut into = to.open_table(table)?;
            for entry in from.open_table(table)?.iter()? {
                let (key, value) = entry?;
                into.insert(key.value(), value.value())?;
            }
        }
        {
            let mut into = to.open_table(NUMBERS)?;
            for entry in from.open_table(NUMBERS)?.iter()? {
                let (key, value) = entry?;
                into.insert(key.value(), value.value())?;
            }
        }
        Ok(to.commit()?)
    }

    /// Appends records to the audit log.
    pub(crate) fn audit(&self, records: &[AuditRecord]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(AUDIT)?;
            let next = table.last()?.map_or(1, |(number, _)| number.value() + 1);
            for (number, record) in (next..).zip(records) {
                table.insert(number, &*encode("audit", record)?)?;
            }
            while table.len()? > MAX_AUDIT {
                table.pop_first()?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// The newest audit records, the newest first.
    pub(crate) fn audited(&self, limit: usize) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
        self.audited_before(None, limit)
    }

    /// The newest records with a lower number, the newest first.
    pub(crate) fn audited_before(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(AUDIT)?;
        let older = table.range(..before.unwrap_or(u64::MAX))?.rev().take(limit);
        let read = |entry: Result<_, redb::StorageError>| {
            let (number, record): (redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>) = entry?;
            Ok((number.value(), decode("audit", record.value())?))
        };
        older.map(read).collect()
    }

    /// The sequence of the newest policy; 0 before the first.
    pub(crate) fn newest(&self) -> Result<u64, StoreError> {
        let transaction = self.database.begin_read()?;
        let heads = transaction.open_table(HEADS)?;
        Ok(heads.last()?.map_or(0, |(sequence, _)| sequence.value()))
    }

    /// A policy of the history with its objects.
    pub(crate) fn policy(&self, sequence: u64) -> Result<Option<(HeadRecord, Objects)>, StoreError> {
        let transaction = self.database.begin_read()?;
        let heads = transaction.open_table(HEADS)?;
        let Some(record) = heads.get(sequence)? else { return Ok(None) };
        let record: HeadRecord = decode("heads", record.value())?;
        let texts = transaction.open_table(TEXTS)?;
        let mut objects = Objects::new();
        for (key, fingerprint) in &record.objects {
            let text = texts.get(fingerprint.as_str())?;
            let text =
                text.ok_or_else(|| StoreError::Content { table: "texts", why: format!("no {key}") })?;
            objects.insert(key.clone(), decode("texts", text.value())?);
        }
        Ok(Some((record, objects)))
    }

    /// The history, the newest first.
    pub(crate) fn history(&self) -> Result<Vec<(u64, HeadRecord)>, StoreError> {
        let transaction = self.database.begin_read()?;
        let heads = transaction.open_table(HEADS)?;
        let read = heads.iter()?.rev().map(|entry| {
            let (sequence, record) = entry?;
            Ok((sequence.value(), decode("heads", record.value())?))
        });
        read.collect()
    }

    /// What is kept of the rollout under a name.
    pub(crate) fn kept<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(ROLLOUT)?;
        table.get(name)?.map(|bytes| decode("rollout", bytes.value())).transpose()
    }

    /// Keeps it.
    pub(crate) fn keep<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(ROLLOUT)?.insert(name, &*encode("rollout", value)?)?;
        Ok(transaction.commit()?)
    }

    /// A policy of the history.
    pub(crate) fn head(&self, sequence: u64) -> Result<Option<HeadRecord>, StoreError> {
        let transaction = self.database.begin_read()?;
        let heads = transaction.open_table(HEADS)?;
        heads.get(sequence)?.map(|record| decode("heads", record.value())).transpose()
    }

    /// Keeps a new policy and the rollout of it, and forgets what is too old; never the policy that it starts from.
    pub(crate) fn publish(
        &self,
        sequence: u64,
        record: &HeadRecord,
        objects: &Objects,
        rollout: &Rollout,
    ) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        {
            let mut texts = transaction.open_table(TEXTS)?;
            for (key, fingerprint) in &record.objects {
                if texts.get(fingerprint.as_str())?.is_none()
                    && let Some(object) = objects.get(key)
                {
                    texts.insert(fingerprint.as_str(), &*encode::<PolicyObject>("texts", object)?)?;
                }
            }
            let mut heads = transaction.open_table(HEADS)?;
            heads.insert(sequence, &*encode("heads", record)?)?;
            transaction.open_table(ROLLOUT)?.insert(ROLLOUT_NAME, &*encode("rollout", rollout)?)?;
            if heads.len()? > MAX_HEADS {
                let mut spare = Vec::new();
                for entry in heads.iter()? {
                    let at = entry?.0.value();
                    if at != rollout.base && heads.len()? > MAX_HEADS + spare.len() as u64 {
                        spare.push(at);
                    }
                }
                for at in spare {
                    heads.remove(at)?;
                }
                let mut used = std::collections::BTreeSet::new();
                for entry in heads.iter()? {
                    let head: HeadRecord = decode("heads", entry?.1.value())?;
                    used.extend(head.objects.into_values());
                }
                texts.retain(|fingerprint, _| used.contains(fingerprint))?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Reads a token, asks what becomes of it, and keeps that: no other change comes in between.
    pub(crate) fn with_token<E>(
        &self,
        hash: &str,
        decide: impl FnOnce(Option<&TokenRecord>) -> Result<TokenRecord, E>,
    ) -> Result<Result<TokenRecord, E>, StoreError> {
        let transaction = self.database.begin_write()?;
        let decided = {
            let mut table = transaction.open_table(TOKENS)?;
            let record = table.get(hash)?.map(|record| decode("tokens", record.value())).transpose()?;
            let decided = decide(record.as_ref());
            if let Ok(record) = &decided {
                table.insert(hash, &*encode("tokens", record)?)?;
            }
            decided
        };
        // A refusal writes nothing: strangers must not keep the disk busy.
        match &decided {
            Ok(_) => transaction.commit()?,
            Err(_) => transaction.abort()?,
        }
        Ok(decided)
    }

    /// Forgets tokens that ended before `before`; how many are left that are open at `now`.
    pub(crate) fn tidy_tokens(&self, before: u64, now: u64) -> Result<usize, StoreError> {
        let transaction = self.database.begin_write()?;
        let mut open = 0;
        {
            let mut table = transaction.open_table(TOKENS)?;
            let mut gone = Vec::new();
            for entry in table.iter()? {
                let (hash, record) = entry?;
                let record: TokenRecord = decode("tokens", record.value())?;
                if record.expires_at < before {
                    gone.push(hash.value().to_owned());
                } else if record.expires_at > now && record.redeemed_by.is_none() {
                    open += 1;
                }
            }
            for hash in gone {
                table.remove(hash.as_str())?;
            }
        }
        transaction.commit()?;
        Ok(open)
    }

    pub(crate) fn keep_certificate(
        &self,
        serial: &str,
        record: &CertificateRecord,
    ) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(CERTIFICATES)?.insert(serial, &*encode("certificates", record)?)?;
        Ok(transaction.commit()?)
    }

    /// Keeps a certificate that this store does not know; whether it was one.
    pub(crate) fn bring_certificate(
        &self,
        serial: &str,
        record: &CertificateRecord,
    ) -> Result<bool, StoreError> {
        let reading = self.database.begin_read()?;
        if reading.open_table(CERTIFICATES)?.get(serial)?.is_some() {
            return Ok(false);
        }
        self.keep_certificate(serial, record).map(|()| true)
    }

    /// Who may ask from elsewhere, by the hash of the secret.
    pub(crate) fn grants(&self) -> Result<Grants, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(GRANTS)?;
        let read = table.iter()?.map(|entry| {
            let (hash, record) = entry?;
            Ok((hash.value().to_owned(), decode("grants", record.value())?))
        });
        read.collect()
    }

    /// Whose token it is.
    pub(crate) fn grant(&self, hash: &str) -> Result<Option<Grant>, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(GRANTS)?;
        table.get(hash)?.map(|record| decode("grants", record.value())).transpose()
    }

    /// Keeps one, or forgets it.
    pub(crate) fn set_grant(&self, hash: &str, grant: Option<&Grant>) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(GRANTS)?;
            match grant {
                Some(grant) => drop(table.insert(hash, &*encode("grants", grant)?)?),
                None => drop(table.remove(hash)?),
            }
        }
        Ok(transaction.commit()?)
    }

    /// All certificates, by serial.
    pub(crate) fn certificates(&self) -> Result<BTreeMap<String, CertificateRecord>, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(CERTIFICATES)?;
        let read = table.iter()?.map(|entry| {
            let (serial, record) = entry?;
            Ok((serial.value().to_owned(), decode("certificates", record.value())?))
        });
        read.collect()
    }

    /// Revokes what was issued to a cluster, or to its gateways only, and has not expired, and forgets what has; how many were
    /// revoked.
    pub(crate) fn revoke(
        &self,
        cluster: &ClusterName,
        gateways_only: bool,
        now: u64,
    ) -> Result<usize, StoreError> {
        let all = self.certificates()?;
        let transaction = self.database.begin_write()?;
        let mut revoked = 0;
        {
            let mut table = transaction.open_table(CERTIFICATES)?;
            for (serial, mut record) in all {
                if record.not_after < now {
                    table.remove(serial.as_str())?;
                } else if record.cluster == *cluster && !record.revoked && (record.gateways || !gateways_only)
                {
                    record.revoked = true;
                    table.insert(serial.as_str(), &*encode("certificates", &record)?)?;
                    revoked += 1;
                }
            }
        }
        transaction.commit()?;
        Ok(revoked)
    }
}

pub(crate) fn encode<T: Serialize>(table: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Content { table, why: error.to_string() })
}

pub(crate) fn decode<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Content { table, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_log_grows_and_a_policy_is_found_again_with_its_history() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.redb");
        let store = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::InUse)));
        let record = |what: &str| AuditRecord {
            at_ms: 1,
            who: "folder".to_owned(),
            what: what.to_owned(),
            detail: String::new(),
        };
        store.audit(&[record("one"), record("two")]).unwrap();
        store.audit(&[record("three")]).unwrap();
        let told: Vec<_> = store.audited(2).unwrap().into_iter().map(|(n, it)| (n, it.what)).collect();
        assert_eq!(told, [(3, "three".to_owned()), (2, "two".to_owned())]);

        let object = |text: &str| PolicyObject { source: "a".to_owned(), line: 1, text: text.to_owned() };
        for sequence in 1..=MAX_HEADS + 5 {
            let objects = Objects::from([("A".to_owned(), object(&sequence.to_string()))]);
            let prints = objects.iter().map(|(key, it)| (key.clone(), it.fingerprint(key))).collect();
            let head =
                HeadRecord { head: vec![1], signature: vec![2], objects: prints, since: BTreeMap::new() };
            store.publish(sequence, &head, &objects, &Rollout::at_once(sequence)).unwrap();
        }
        drop(store);
        let store = Store::open(&path).unwrap();
        let (_, objects) = store.policy(store.newest().unwrap()).unwrap().unwrap();
        assert_eq!(objects["A"].text, (MAX_HEADS + 5).to_string());
        assert!(store.head(5).unwrap().is_none() && store.head(6).unwrap().is_some());
        let transaction = store.database.begin_read().unwrap();
        assert_eq!(transaction.open_table(TEXTS).unwrap().len().unwrap(), MAX_HEADS);
    }
}
