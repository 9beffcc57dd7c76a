//! Traffic shifts that manifests declare, and those that people ask for at the admin address. Both are operators' actions
//! (`actions`), which every agent comes to know.
//!
//! A declared shift is started once: when it is first read, or when it changed. What an operator ends by hand stays
//! ended, over restarts too, until the manifest changes. A time of day (`expiresAt`) is turned into what remains of
//! it by the hub's clock, or by the own one without a hub, whenever that is told: when manifests change, and after a restart.

use super::{Core, Input, Output, Record, actions::Declared};
use crate::{actions::remaining, shifts::ShiftView};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
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
        if self.declared.is_empty() && self.over.is_empty() {
            return BTreeMap::new();
        }
        let remaining: BTreeMap<String, Duration> =
            self.shifts(now).into_iter().map(|it| (it.name, it.remaining)).collect();
        self.declared
            .keys()
            .chain(&self.over)
            .map(|name| (name.clone(), remaining.get(name).copied()))
            .collect()
    }

    /// The same as this life of an agent: two that are asked at the same moment are told apart by it.
    #[must_use]
    pub fn at(mut self, boot: PeerBoot) -> Self {
        self.origin = format!("{}/{:016x}", self.own, boot.0).into();
        self
    }

    pub(super) fn handle_shift(&mut self, input: Input, now: Time, output: &mut Output) {
        match input {
            Input::WallClock(since_1970) => {
                self.set_wall_clock(since_1970, now);
                self.read_clock(now, output);
            }
            Input::HubClock(since_1970) => {
                self.clocks.set_hub(since_1970, now);
                self.read_clock(now, output);
            }
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
            if same || self.start_declared(&name, &shift, weak, now, output) {
                self.declared.insert(name, shift);
            }
        }
        let config = Arc::clone(&self.config);
        self.over.retain(|name| config.shifts.contains_key(name) && !self.declared.contains_key(name));
        self.unsaved |= before != self.declared;
    }

    /// Starts what was over by the clock when it was read, and by what the clock says now is not.
    pub(super) fn declare_late(&mut self, now: Time, output: &mut Output) {
        for name in self.over.clone() {
            let Some(shift) = self.config.shifts.get(&name).cloned() else { continue };
            // Nobody knows when it was declared: what was done since, and is heard later, is newer.
            let weak = self.actions.get(&shift.target, ShiftedBy::Operator).is_none();
            if self.start_declared(&name, &shift, weak, now, output) {
                self.over.remove(&name);
                self.declared.insert(name, shift);
                self.unsaved = true;
            }
        }
    }

    fn is_running(&self, name: &str, now: Time) -> bool {
        self.actions.in_force(now).values().any(|it| it.name == name)
    }

    /// How long a declared shift is to last from now on; nothing if no clock says it.
    fn remaining(&self, shift: &TrafficShift, now: Time) -> Option<Duration> {
        match shift.expiry {
            ShiftExpiry::For(lasts) => Some(lasts),
            ShiftExpiry::At(unix) => Some(remaining(unix, self.clocks.fleet(now)?)),
        }
    }

    /// Starts a declared shift that is new or changed; not if no clock says how long it lasts, or it is over: later it is tried again.
    fn start_declared(
        &mut self,
        name: &str,
        shift: &TrafficShift,
        weak: bool,
        now: Time,
        output: &mut Output,
    ) -> bool {
        let Some(remaining) = self.remaining(shift, now) else { return false };
        if remaining.is_zero() && self.over.insert(name.to_owned()) {
            let reason = format!("shift {name} is over: its expiresAt has passed; remove the TrafficShift");
            output.records.push(Record { kind: "shiftChanged", reason, ..Record::default() });
        }
        if remaining.is_zero() && !self.is_running(name, now) {
            return false;
        }
        let number = number_of(name, shift);
        let ends_at = match shift.expiry {
            ShiftExpiry::At(unix) => Some(unix),
            ShiftExpiry::For(_) => None,
        };
        let TrafficShift { target, percent, comment, force, .. } = shift.clone();
        let (name, by) = (name.to_owned(), ShiftedBy::Operator);
        let shift = Shift { name, target, percent, remaining, by, comment, force };
        self.declare(Declared { shift, number, ends_at }, weak, now, output);
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

    /// Agents of clusters whose clocks are right, ten minutes behind and ten ahead read a shift with 500 s to go, in this order, and
    /// hear of each other: what remains to each of them.
    fn read_by_three_clocks(order: [usize; 3], hub: Option<u64>) -> [u64; 3] {
        let mut cores = [1000_u64, 400, 1600].map(|unix| core(None, unix));
        for core in cores.iter_mut().filter(|_| hub.is_some()) {
            core.handle(Input::HubClock(Duration::from_secs(hub.unwrap_or_default())), at(0));
        }
        let text = "awayFrom: {zone: a}, expiresAt: 1970-01-01T00:25:00Z";
        for core in &mut cores {
            core.handle(Input::Manifests(config("")), at(0));
        }
        for (step, reader) in (1..).zip(order) {
            let output = cores[reader].handle(Input::Manifests(config(text)), at(step));
            for (_, core) in cores.iter_mut().enumerate().filter(|(other, _)| *other != reader) {
                core.handle(Input::Actions(output.actions.clone()), at(step));
            }
        }
        cores.map(|core| running(&core, at(10)).first().map_or(0, |it| it.1))
    }

    #[test]
    fn a_clock_ten_minutes_wrong_ends_a_shift_early_or_late_for_its_own_cluster_alone() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(read_by_three_clocks(order, None), [490, 1090, 0], "{order:?}");
            assert_eq!(read_by_three_clocks(order, Some(1000)), [490; 3], "{order:?}, and they have a hub");
        }
    }

    #[test]
    fn a_shift_whose_time_is_over_when_it_is_read_is_not_started() {
        let mut core = core(None, 1000);
        core.handle(Input::Manifests(config(UNTIL)), at(0));
        assert!(running(&core, at(0)).is_empty());
        assert_eq!(core.declared_shifts(at(0)), [("shop/s".to_owned(), None)].into());
        let again = core.handle(Input::Manifests(config(UNTIL)), at(1));
        assert!(again.records.is_empty(), "it is told once");
        core.handle(Input::HubClock(Duration::from_secs(900)), at(2));
        assert_eq!(running(&core, at(2)), [("shop/s".to_owned(), 100)], "the clock was wrong");
        core.handle(Input::HubClock(Duration::from_secs(960)), at(3));
        assert_eq!(running(&core, at(3)), [("shop/s".to_owned(), 40)]);
        core.handle(Input::EndShift("shop/s".to_owned()), at(4));
        core.handle(Input::HubClock(Duration::from_secs(900)), at(5));
        assert!(running(&core, at(5)).is_empty(), "what an operator ended stays ended");
    }

    #[test]
    fn a_shift_that_is_declared_to_have_ended_ends() {
        let mut core = core(None, 900);
        core.handle(Input::Manifests(config(UNTIL)), at(0));
        let past = "awayFrom: {zone: a}, expiresAt: 1970-01-01T00:10:00Z";
        core.handle(Input::Manifests(config(past)), at(1));
        assert!(running(&core, at(1)).is_empty());
        core.handle(Input::WallClock(Duration::from_secs(902)), at(2));
        assert!(running(&core, at(2)).is_empty());
    }
}
