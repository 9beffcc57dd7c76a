//! Where reports of drills are kept: two tables of the hub's store, one with a row for each list, one with what was signed.

use crate::{
    store::{Store, StoreError, decode, encode},
    view::DrillView,
};
use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

/// By number, which grows. Rows of the list.
pub(crate) const DRILLS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("drills");
/// By the same number. What was signed.
pub(crate) const DRILL_REPORTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("drillReports");

/// The most reports; the oldest go.
const MAX_REPORTS: u64 = 1000;
/// The most bytes of all of them; the oldest go. The copy of the state has them too.
const MAX_BYTES: u64 = 64 << 20;

/// What came of keeping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is kept, and so many of the oldest went.
    New {
        /// How many.
        gone: u64,
    },
    /// One with this id is kept already: this.
    Before(Vec<u8>),
}

impl Store {
    /// Keeps a report under its id, unless there is one.
    pub(crate) fn keep_drill(&self, view: &DrillView, signed: &[u8]) -> Result<Kept, StoreError> {
        self.keep_drill_within(view, signed, MAX_REPORTS, MAX_BYTES)
    }

    fn keep_drill_within(
        &self,
        view: &DrillView,
        signed: &[u8],
        most: u64,
        most_bytes: u64,
    ) -> Result<Kept, StoreError> {
        let transaction = self.database.begin_write()?;
        let mut gone = 0;
        {
            let mut rows = transaction.open_table(DRILLS)?;
            let mut reports = transaction.open_table(DRILL_REPORTS)?;
            let mut bytes = view.bytes;
            for entry in rows.iter()? {
                let (number, row) = entry?;
                let row: DrillView = decode("drills", row.value())?;
                if row.id == view.id {
                    let kept = reports.get(number.value())?.map(|it| it.value().to_vec());
                    return Ok(Kept::Before(kept.unwrap_or_default()));
                }
                bytes += row.bytes;
            }
            // Numbers are never used again, also when all that had one go now.
            let next = rows.last()?.map_or(1, |(number, _)| number.value() + 1);
            while rows.len()? >= most || bytes > most_bytes {
                let Some((number, row)) = rows.pop_first()? else { break };
                let row: DrillView = decode("drills", row.value())?;
                reports.remove(number.value())?;
                bytes -= row.bytes;
                gone += 1;
            }
            rows.insert(next, &*encode("drills", view)?)?;
            reports.insert(next, signed)?;
        }
        transaction.commit()?;
        Ok(Kept::New { gone })
    }

    /// The list with the numbers, the newest first.
    pub(crate) fn drills(&self) -> Result<Vec<(u64, DrillView)>, StoreError> {
        let transaction = self.database.begin_read()?;
        let rows = transaction.open_table(DRILLS)?;
        let read = rows.iter()?.rev().map(|entry| {
            let (number, row) = entry?;
            Ok((number.value(), decode("drills", row.value())?))
        });
        read.collect()
    }

    /// What was signed, by its number.
    pub(crate) fn drill_report(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let transaction = self.database.begin_read()?;
        let reports = transaction.open_table(DRILL_REPORTS)?;
        Ok(reports.get(number)?.map(|it| it.value().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones_and_none_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hub.redb")).unwrap();
        let view = |id: &str, bytes| DrillView { id: id.to_owned(), bytes, ..DrillView::default() };
        let keep = |id: &str, bytes| store.keep_drill_within(&view(id, bytes), id.as_bytes(), 3, 100);
        let ids = || store.drills().unwrap().into_iter().map(|(_, it)| it.id).collect::<Vec<_>>();
        for id in ["a", "b", "c"] {
            assert_eq!(keep(id, 10).unwrap(), Kept::New { gone: 0 });
        }
        assert_eq!(keep("b", 20).unwrap(), Kept::Before(b"b".to_vec()));
        assert_eq!(keep("d", 10).unwrap(), Kept::New { gone: 1 });
        assert_eq!(ids(), ["d", "c", "b"]);
        assert_eq!(keep("e", 85).unwrap(), Kept::New { gone: 2 });
        assert_eq!(ids(), ["e", "d"]);
        let newest = store.drills().unwrap()[0].0;
        assert_eq!(store.drill_report(newest).unwrap(), Some(b"e".to_vec()));
        assert_eq!(store.drill_report(1).unwrap(), None, "what is gone from the list is gone");
        // A copy has them.
        let copy = folder.path().join("copy.redb");
        store.copy(&copy).unwrap();
        let copy = Store::open(&copy).unwrap();
        assert_eq!(copy.drill_report(newest).unwrap(), Some(b"e".to_vec()));
        assert_eq!(copy.drills().unwrap().len(), 2);
    }
}
