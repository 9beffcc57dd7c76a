//! Traffic shifts that manifests declare, and those that people ask for at the admin address. Both are operators' actions
//! (`actions`), which every agent comes to know.
//!
//! A declared shift is started once: when it is first read, or when it changed. What an operator ends by hand stays
//! ended, over restarts too, until the manifest changes. A time of day (`expiresAt`) is turned into what remains of
//! it when it is started, and again after a restart, since the engine counts no time while no agent runs.

use super::{Core, Input, Output, Record};
use crate::shifts::ShiftView;
use std::{collections::BTreeMap, time::Duration};
use tidegate_api::{ShiftExpiry, TrafficShift};
use tidegate_engine::{Engine, Shift, ShiftedBy};
use tidegate_model::{PeerBoot, Time};

impl Core {
    /// The shifts in force, with what remains of each.
    #[must_use]
    pub fn shifts(&self, now: Time) -> Vec<Shift> {
        self.engine().map(|engine| engine.shifts(now).collect()).unwrap_or_default()
    }

    /// The same for people, with whom each of them does not move.
    pub(crate) fn shift_views(&self, now: Time) -> Vec<ShiftView> {
        let mut refused = self.engine().map(Engine::refused_shifts).unwrap_or_default();
        let view = |shift: Shift| {
            let refused = refused.remove(&shift.name).unwrap_or_default();
            ShiftView { refused, ..shift.into() }
        };
        self.shifts(now).into_iter().map(view).collect()
    }

    /// The shifts that manifests declare, with what remains of those that are in force.
    pub(crate) fn declared_shifts(&self, now: Time) -> BTreeMap<String, Option<Duration>> {
        if self.declared.is_empty() {
            return BTreeMap::new();
        }
        let remaining: BTreeMap<String, Duration> =
            self.shifts(now).into_iter().map(|it| (it.name, it.remaining)).collect();
        self.declared.keys().map(|name| (name.clone(), remaining.get(name).copied())).collect()
    }

    /// The same as this life of an agent: two that are asked at the same moment are told apart by it.
    #[must_use]
    pub fn at(mut self, boot: PeerBoot) -> Self {
        self.origin = format!("{}/{:016x}", self.own, boot.0).into();
        self
    }

    pub(super) fn handle_shift(&mut self, input: Input, now: Time, output: &mut Output) {
        match input {
            Input::WallClock(since_1970) => self.set_wall_clock(since_1970, now),
            Input::Shift(shift) => self.start_shift(shift, now, output),
            Input::ExtendShift(name, lasts) => self.extend_shifts(&name, lasts, now, output),
            Input::EndShift(name) => self.end_shifts(&name, now, output),
            Input::Actions(actions) => self.hear_actions(actions, now, output),
            _ => {}
        }
    }

    /// Starts and ends what the manifests declare; `first` says that these are the first since the start.
    pub(super) fn declare_shifts(&mut self, first: bool, now: Time, output: &mut Output) {
        let declared = self.config.shifts.clone();
        let before = std::mem::take(&mut self.declared);
        let moved =
            |name: &String, it: &TrafficShift| declared.get(name).is_none_or(|new| new.target != it.target);
        for (name, _) in before.iter().filter(|(name, it)| moved(name, it)) {
            self.end_shifts(name, now, output);
        }
        // Who knows nothing of before does not know when it was declared: whatever was done since is newer.
        let weak = first && before.is_empty();
        for (name, shift) in declared {
            let same = before.get(&name) == Some(&shift);
            let anew = first && matches!(shift.expiry, ShiftExpiry::At(_)) && self.is_running(&name, now);
            let again = anew && !self.is_extended(&name, now);
            if (!same || again) && !self.start_declared(&name, &shift, (same, weak), now, output) {
                // Without a clock it cannot be judged; the next load tries again.
                continue;
            }
            self.declared.insert(name, shift);
        }
        self.unsaved |= before != self.declared;
    }

    fn is_running(&self, name: &str, now: Time) -> bool {
        self.engine.as_ref().is_some_and(|engine: &Engine| engine.shifts(now).any(|it| it.name == name))
    }

    /// Starts a declared shift that is new or changed; of one that is the `same` as before only its end is read anew.
    fn start_declared(
        &mut self,
        name: &str,
        shift: &TrafficShift,
        (same, weak): (bool, bool),
        now: Time,
        output: &mut Output,
    ) -> bool {
        let remaining = match shift.expiry {
            ShiftExpiry::For(lasts) => lasts,
            ShiftExpiry::At(unix) => {
                let Some((since_1970, at)) = self.wall else { return false };
                Duration::from_secs(unix).saturating_sub(since_1970 + now.since(at))
            }
        };
        if remaining.is_zero() {
            self.end_shifts(name, now, output);
            let reason = format!("shift {name} is over: its expiresAt has passed; remove the TrafficShift");
            output.records.push(Record { kind: "shiftChanged", reason, ..Record::default() });
            return true;
        }
        let number = number_of(name, shift);
        let TrafficShift { target, percent, comment, force, .. } = shift.clone();
        let (name, by) = (name.to_owned(), ShiftedBy::Operator);
        let shift = Shift { name, target, percent, remaining, by, comment, force };
        if same {
            self.lasts(shift, now, output);
        } else {
            self.declare(shift, number, weak, now, output);
        }
        true
    }
}

/// Tells one content of a declared shift from another, in every agent alike: FNV-1a over its JSON.
fn number_of(name: &str, shift: &TrafficShift) -> u64 {
    let text = serde_json::to_string(&(name, shift)).unwrap_or_default();
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saved::SavedAgent;
    use std::sync::Arc;
    use tidegate_api::{Config, Loader, SourceFile};

    const FLEET: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: east}
spec: {region: us-east}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
";

    fn config(shift: &str) -> Arc<Config> {
        let head = "---\napiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {name: s, namespace: shop}\n";
        let shift =
            if shift.is_empty() { String::new() } else { format!("{head}spec: {{{shift}, comment: x}}\n") };
        let file = SourceFile { path: "f.yaml".into(), text: format!("{FLEET}{shift}") };
        let loaded = Loader::new("east".parse().unwrap()).load(&[file]);
        // That no endpoint knows the zone is a warning.
        assert!(!loaded.problems.iter().any(tidegate_api::Problem::is_error), "{:?}", loaded.problems);
        Arc::new(loaded.config)
    }

    fn core(saved: Option<SavedAgent>, unix: u64) -> Core {
        let mut core = Core::new("east".parse().unwrap(), saved, Time::ZERO);
        core.handle(Input::WallClock(Duration::from_secs(unix)), Time::ZERO);
        core
    }

    fn running(core: &Core, now: Time) -> Vec<(String, u64)> {
        core.shifts(now).into_iter().map(|it| (it.name, it.remaining.as_secs())).collect()
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    const FOR: &str = "awayFrom: {zone: a}, for: 1h";
    /// 1000 s after 1970.
    const UNTIL: &str = "awayFrom: {zone: a}, expiresAt: 1970-01-01T00:16:40Z";

    #[test]
    fn a_declared_shift_is_started_once_and_ends_with_its_manifest() {
        let mut core = core(None, 0);
        core.handle(Input::Manifests(config(FOR)), at(0));
        core.handle(Input::Manifests(config(FOR)), at(60));
        assert_eq!(running(&core, at(60)), [("shop/s".to_owned(), 3540)], "loading again does not renew it");
        let declared =
            |remaining: Option<u64>| [("shop/s".to_owned(), remaining.map(Duration::from_secs))].into();
        assert_eq!(core.declared_shifts(at(60)), declared(Some(3540)));
        core.handle(Input::EndShift("shop/s".to_owned()), at(60));
        assert_eq!(core.declared_shifts(at(60)), declared(None));
        core.handle(Input::Manifests(config(FOR)), at(70));
        assert!(running(&core, at(70)).is_empty(), "what an operator ended stays ended");
        core.handle(Input::Manifests(config("awayFrom: {zone: a}, for: 2h")), at(80));
        assert_eq!(running(&core, at(80)), [("shop/s".to_owned(), 7200)], "a change starts it anew");
        core.handle(Input::Manifests(config("awayFrom: {zone: b}, for: 2h")), at(90));
        assert_eq!(running(&core, at(90)).len(), 1, "its old target is let go");
        core.handle(Input::Manifests(config("")), at(100));
        assert!(running(&core, at(100)).is_empty());
    }

    #[test]
    fn a_time_of_day_becomes_what_remains_of_it_and_again_after_a_restart() {
        let mut first = core(None, 400);
        first.handle(Input::Manifests(config(UNTIL)), at(100));
        assert_eq!(running(&first, at(100)), [("shop/s".to_owned(), 500)]);
        let saved = first.save(at(100));
        let mut second = core(saved, 900);
        second.handle(Input::Manifests(config(UNTIL)), at(0));
        assert_eq!(running(&second, at(0)), [("shop/s".to_owned(), 100)], "400 s passed while no agent ran");
        second.handle(Input::EndShift("shop/s".to_owned()), at(1));
        let mut third = core(second.save(at(1)), 902);
        third.handle(Input::Manifests(config(UNTIL)), at(0));
        assert!(running(&third, at(0)).is_empty(), "what an operator ended stays ended");
    }

    #[test]
    fn a_shift_whose_time_is_over_when_it_is_read_is_not_started() {
        let mut core = core(None, 1000);
        core.handle(Input::Manifests(config(UNTIL)), at(0));
        assert!(running(&core, at(0)).is_empty());
    }
}
