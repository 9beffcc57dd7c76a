//! The rollout as it goes on: one step at a time, and what operators do to it.

use super::{
    Office, OfficeError,
    policy::{How, ROLLED_BACK, Rolling},
};
use crate::{
    rolled_back::RolledBack,
    run::HubError,
    store::{HeadRecord, ROLLOUT_NAME, StoreError},
    view::{HistoryView, PhaseView, WaveView, WavesView},
    waves::{self, Event, Phase, Sight},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Instant,
};
use tidegate_link::hub::SignedHead;

/// What an operator's `resume` did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// The policy was handed out once more, with this sequence.
    Over(u64),
    /// The rollout of this policy goes on.
    Goes(u64),
    /// So many objects that were rolled back are the source's again.
    Source(usize),
}

impl Office {
    /// How the clusters are that joined and are not revoked.
    pub(super) fn sight(&self) -> Result<Sight, StoreError> {
        let now = self.now();
        let valid = self.store.certificates()?.into_values().filter(|it| !it.revoked && it.not_after > now);
        let mut fleet = self.fleet();
        let mut sight = Sight::new();
        for record in valid {
            if let Entry::Vacant(vacant) = sight.entry(record.cluster) {
                let seen = fleet.seen(vacant.key());
                vacant.insert(seen);
            }
        }
        Ok(sight)
    }

    /// One step of the rollout, if one is on its way.
    pub(crate) fn step(&self, now: Instant) -> Result<(), StoreError> {
        let mut rolling = self.rolling();
        let rolling = &mut *rolling;
        let Some(rollout) = rolling.rollout.as_mut().filter(|it| it.phase == Phase::Rolling) else {
            return Ok(());
        };
        let sight = self.sight()?;
        let (newest, base) = (&rolling.newest, rolling.base.as_ref());
        let changed = |key: &str| newest.prints.get(key) != base.and_then(|base| base.prints.get(key));
        let events = rollout.step(&sight, &rolling.waves, changed, &self.waves, now);
        if events.is_empty() {
            return Ok(());
        }
        self.store.keep(ROLLOUT_NAME, rollout)?;
        let target = rollout.target;
        for event in &events {
            self.tell(event, target)?;
        }
        self.policy.send_replace(Arc::new(rolling.handed()));
        Ok(())
    }

    fn tell(&self, event: &Event, target: u64) -> Result<(), StoreError> {
        let (what, detail) = match event {
            Event::Opened(wave) => ("waveOpened", format!("policy {target}, wave {wave}")),
            Event::LeftOut(cluster) => {
                ("leftOut", format!("policy {target} goes on without {cluster}, which is away"))
            }
            Event::Done => ("rolledOut", format!("policy {target}")),
            Event::Halted(halt) => {
                self.halts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tracing::error!(target, "the rollout halts: {halt}");
                return self.audit("hub", "halted", format!("policy {target}: {halt}"));
            }
        };
        tracing::info!("{what}: {detail}");
        self.audit("hub", what, detail)
    }

    /// An operator says that it goes on, one thing at a time: that the policy of this hub counts, although agents hold one that
    /// it does not know; else that a rollout goes on that has halted; else that the source counts again where it was rolled back.
    pub(crate) fn resume(&self, who: &str) -> Result<Resumed, HubError> {
        let highest = self.fleet().highest_held_back();
        let mut rolling = self.rolling();
        if highest > self.store.resumed_over()? {
            return self.resume_over(&mut rolling, highest, who).map(Resumed::Over);
        }
        let sight = self.sight()?;
        let rolling = &mut *rolling;
        if let Some(rollout) = rolling.rollout.as_mut()
            && rollout.resume(&sight, &rolling.waves)
        {
            self.store.keep(ROLLOUT_NAME, rollout)?;
            self.audit(who, "resumed", format!("the rollout of policy {}", rollout.target))?;
            let target = rollout.target;
            self.policy.send_replace(Arc::new(rolling.handed()));
            return Ok(Resumed::Goes(target));
        }
        let many = rolling.rolled_back.0.len();
        if many == 0 {
            return Err(OfficeError::NothingToResume.into());
        }
        let nothing = RolledBack::default();
        self.store.keep(ROLLED_BACK, &nothing)?;
        rolling.rolled_back = nothing;
        self.audit(who, "resumed", format!("{many} objects that were rolled back"))?;
        Ok(Resumed::Source(many))
    }

    /// The policy is handed out once more, to all, with a sequence above all that were seen.
    pub(super) fn resume_over(
        &self,
        rolling: &mut Rolling,
        highest: u64,
        who: &str,
    ) -> Result<u64, HubError> {
        let current = self.newest();
        let sequence = highest.max(current.sequence()) + 1;
        self.store.resume_over(highest)?;
        let version = current.head.as_ref().map(|(head, _)| head.version.clone());
        self.audit(who, "resumed", format!("over unknown policies up to {highest}"))?;
        self.publish(rolling, current.objects.clone(), version.as_deref(), sequence, How::AtOnce, who)?;
        Ok(sequence)
    }

    /// Hands a former policy out, to everybody at once: it was in force before. `to` is a sequence or a version, as long as it
    /// takes to know it; without, what was in force before the newest. What was in force until now stays away until the source
    /// says something else. The sequences of the former policy and of the new one.
    pub(crate) fn roll_back(&self, to: Option<&str>, who: &str) -> Result<(u64, u64), HubError> {
        let mut rolling = self.rolling();
        let current = self.newest();
        let (former, record) = match to {
            Some(to) => self.find(to)?.ok_or_else(|| OfficeError::NoSuchPolicy(to.to_owned()))?,
            None => self
                .before(&rolling)?
                .ok_or_else(|| OfficeError::NoSuchPolicy("before this one".to_owned()))?,
        };
        if record.objects == current.prints {
            return Err(OfficeError::SamePolicy(former).into());
        }
        let gone = || OfficeError::NoSuchPolicy(former.to_string());
        let (_, objects) = self.store.policy(former)?.ok_or_else(gone)?;
        // What the source says now: what is in force, but for what was rolled back before.
        let mut said = current.objects.clone();
        rolling.rolled_back.restore(&mut said);
        let rolled_back = RolledBack::new(&said, &objects);
        self.store.keep(ROLLED_BACK, &rolled_back)?;
        rolling.rolled_back = rolled_back;
        let sequence = current.sequence() + 1;
        self.audit(who, "rolledBack", format!("from policy {} to policy {former}", current.sequence()))?;
        let version = version(&record);
        self.publish(&mut rolling, objects, Some(&version), sequence, How::AtOnce, who)?;
        Ok((former, sequence))
    }

    fn find(&self, to: &str) -> Result<Option<(u64, HeadRecord)>, StoreError> {
        let is = |(sequence, record): &(u64, HeadRecord)| {
            sequence.to_string() == to || (to.len() >= 6 && version(record).starts_with(to))
        };
        Ok(self.store.history()?.into_iter().find(is))
    }

    /// What was in force before the newest policy: what a rollout on its way starts from, else the newest that is another one.
    fn before(&self, rolling: &Rolling) -> Result<Option<(u64, HeadRecord)>, StoreError> {
        let base = rolling.rollout.as_ref().filter(|it| it.phase != Phase::Done).map_or(0, |it| it.base);
        let is = |(sequence, record): &(u64, HeadRecord)| match base {
            0 => record.objects != rolling.newest.prints,
            base => *sequence == base,
        };
        Ok(self.store.history()?.into_iter().find(is))
    }

    /// The history, the newest first.
    pub(crate) fn history_view(&self) -> Result<Vec<HistoryView>, StoreError> {
        let view = |(sequence, record): (u64, HeadRecord)| HistoryView {
            sequence,
            version: version(&record),
            objects: record.objects.len(),
            changed: record.since.values().filter(|it| **it == sequence).count(),
        };
        Ok(self.store.history()?.into_iter().map(view).collect())
    }

    /// The rollout that has halted: its policy, and why.
    pub(crate) fn halted(&self) -> Option<(u64, waves::Halt)> {
        let rolling = self.rolling();
        let rollout = rolling.rollout.as_ref()?;
        let Phase::Halted(halt) = &rollout.phase else { return None };
        Some((rollout.target, halt.clone()))
    }

    /// Where the rollout stands; `None` before the first policy.
    pub(crate) fn waves_view(&self, now: Instant) -> Result<Option<WavesView>, StoreError> {
        let sight = self.sight()?;
        let rolling = self.rolling();
        let Some(rollout) = &rolling.rollout else { return Ok(None) };
        let mut waves: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for cluster in sight.keys() {
            waves.entry(waves::of(&rolling.waves, cluster)).or_default().push(cluster.clone());
        }
        let wave = |(wave, clusters)| WaveView { wave, open: rollout.is_open(wave), clusters };
        let (phase, why) = match &rollout.phase {
            Phase::Rolling => (PhaseView::Rolling, None),
            Phase::Halted(halt) => (PhaseView::Halted, Some(halt.to_string())),
            Phase::Done => (PhaseView::Done, None),
        };
        Ok(Some(WavesView {
            phase,
            why,
            base: rollout.base,
            waves: waves.into_iter().map(wave).collect(),
            waits_for: rollout.waits_for().cloned().collect(),
            left_out: rollout.left_out.iter().cloned().collect(),
            bakes_ms: rollout
                .baking(&self.waves, now)
                .filter(|_| rollout.phase == Phase::Rolling)
                .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            rolled_back: rolling.rolled_back.0.keys().cloned().collect(),
        }))
    }
}

/// The version of a policy of the history, which only a foreign key could have made unreadable.
pub(crate) fn version(record: &HeadRecord) -> String {
    SignedHead { head: record.head.clone(), signature: Vec::new() }.version().unwrap_or_default()
}
