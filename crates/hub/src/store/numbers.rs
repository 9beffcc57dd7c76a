//! The numbers that the store keeps: how far an operator went, and which of two hubs this is the state of.

use super::{AuditRecord, NUMBERS, Store, StoreError};
use redb::ReadableDatabase as _;

/// Unknown heads up to this sequence are replaced: an operator said so.
const RESUMED_OVER: &str = "resumed_over";

/// The epoch of the hub; counted up when it is promoted.
const EPOCH: &str = "epoch";
/// The epoch of a hub that was promoted since; 0 if none is known.
const SUPERSEDED: &str = "superseded";

impl Store {
    /// Up to which sequence unknown policies at agents are replaced.
    pub(crate) fn resumed_over(&self) -> Result<u64, StoreError> {
        self.number(RESUMED_OVER)
    }

    pub(crate) fn resume_over(&self, sequence: u64) -> Result<(), StoreError> {
        self.keep_number(RESUMED_OVER, sequence)
    }

    /// The epoch of the hub whose state this is.
    pub(crate) fn epoch(&self) -> Result<u64, StoreError> {
        self.number(EPOCH)
    }

    /// The hub of this state is promoted, with this epoch.
    pub(crate) fn promoted(&self, epoch: u64, record: &AuditRecord) -> Result<(), StoreError> {
        self.audit(std::slice::from_ref(record))?;
        self.keep_number(SUPERSEDED, 0)?;
        self.keep_number(EPOCH, epoch)
    }

    /// The epoch of a hub that was promoted since; 0 if none is known.
    pub(crate) fn superseded(&self) -> Result<u64, StoreError> {
        self.number(SUPERSEDED)
    }

    pub(crate) fn supersede(&self, newer: u64) -> Result<(), StoreError> {
        self.keep_number(SUPERSEDED, newer)
    }

    fn number(&self, name: &str) -> Result<u64, StoreError> {
        let transaction = self.database.begin_read()?;
        let numbers = transaction.open_table(NUMBERS)?;
        Ok(numbers.get(name)?.map_or(0, |number| number.value()))
    }

    fn keep_number(&self, name: &str, number: u64) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(NUMBERS)?.insert(name, number)?;
        Ok(transaction.commit()?)
    }
}
