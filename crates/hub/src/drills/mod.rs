//! Drills, as the hub knows them: their reports, checked, signed and kept (`outline`, `shelf`), and how they are asked for
//! (`admin`); their schedules (`schedule`, `clerk`); and those that it runs itself (`runner`), by the agents that are connected (`lines`).

mod admin;
mod clerk;
mod left;
mod lines;
mod outline;
mod picture;
mod runner;
mod schedule;
mod shelf;

pub(crate) use admin::routes;
pub(crate) use clerk::follow;
pub(crate) use left::clear;
pub use outline::ReportRefusal;
pub(crate) use picture::{Picture, Runs};
#[cfg(test)]
pub(crate) use picture::{Slot, Upcoming};
pub use runner::DrillRefusal;
pub(crate) use runner::{Drilling, Wish, read};
pub(crate) use shelf::{DRILL_REPORTS, DRILLS, Kept};

use crate::{
    office::{Office, OfficeError},
    view::{DrillKeysView, DrillView},
};
use outline::Outline;
use serde_json::value::RawValue;
use tidegate_link::access::Caller;
use tidegate_link::hub::{SignedReport, canonical, key_pem};

/// The most bytes of one report. One with a bin for each picture's column and full outputs of commands has about 100 KB.
const MAX_REPORT: usize = 4 << 20;

impl Office {
    /// Checks a report, signs it, and keeps it; what is signed is told. The same one again is told as it was kept.
    pub(crate) fn keep_drill(&self, text: &str, caller: &Caller) -> Result<Vec<u8>, OfficeError> {
        let outline = Outline::read(text)?;
        if !caller.sees(&format!("Drill {}", outline.drill)) {
            return Err(ReportRefusal::Namespace(outline.drill).into());
        }
        let report = canonical(text);
        let signed_at = tidegate_api::time_text(self.now());
        let (trust_domain, keys) = (self.trust_domain().to_string(), self.keys());
        let signature = keys.signer.sign_report(&trust_domain, &caller.name, &signed_at, &report);
        let view = outline.view(&signature, report.len() as u64);
        let report = RawValue::from_string(report).map_err(|error| ReportRefusal::Form(error.to_string()))?;
        let signed = serde_json::to_vec(&SignedReport::new(report, signature))
            .map_err(|error| ReportRefusal::Form(error.to_string()))?;
        match self.store.keep_drill(&view, &signed)? {
            Kept::New { gone } => {
                let verdict = if view.passed { "passed" } else { "failed" };
                let gone = if gone > 0 { format!("; the {gone} oldest went") } else { String::new() };
                let detail = format!("{} of {}, {verdict}{gone}", view.id, view.drill);
                self.audit(&caller.name, "drillReport", detail)?;
                Ok(signed)
            }
            Kept::Before(kept) if says_the_same(&kept, &signed) => Ok(kept),
            Kept::Before(_) => Err(ReportRefusal::Twice(view.id).into()),
        }
    }

    /// The drills that somebody sees, the newest first.
    pub(crate) fn drill_views(
        &self,
        caller: &Caller,
        drill: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DrillView>, OfficeError> {
        let seen = |it: &DrillView| {
            caller.sees(&format!("Drill {}", it.drill)) && drill.is_none_or(|drill| it.drill == drill)
        };
        Ok(self.store.drills()?.into_iter().map(|(_, it)| it).filter(seen).take(limit).collect())
    }

    /// A report as it was signed, by its id or the beginning of it that only it has.
    pub(crate) fn drill_report(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, OfficeError> {
        let mut all = self.store.drills()?;
        all.retain(|(_, it)| caller.sees(&format!("Drill {}", it.drill)) && it.id.starts_with(id));
        let exact = all.iter().position(|(_, it)| it.id == id);
        let at = match (exact, all.len()) {
            (Some(at), _) => at,
            (None, 1) => 0,
            (None, 0) => return Err(ReportRefusal::Unknown(id.to_owned()).into()),
            (None, _) => return Err(ReportRefusal::Several(id.to_owned()).into()),
        };
        let report = self.store.drill_report(all[at].0)?;
        report.ok_or_else(|| ReportRefusal::Unknown(id.to_owned()).into())
    }

    /// Whose signatures on reports are believed.
    pub(crate) fn drill_keys(&self) -> DrillKeysView {
        let trust = self.trust.borrow();
        DrillKeysView {
            trust_domain: self.trust_domain().to_string(),
            keys: trust.policy_keys.iter().map(key_pem).collect(),
        }
    }
}

/// Whether two signed reports are of the same report, whoever signed when.
fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    let report = |bytes| serde_json::from_slice::<SignedReport<Box<RawValue>>>(bytes).ok();
    let (one, other) = (report(one), report(other));
    one.zip(other).is_some_and(|(one, other)| one.report.get() == other.report.get())
}
