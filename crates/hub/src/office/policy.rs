//! The policies that are handed out, and to whom which.

use super::{Office, version};
use crate::{
    documents::{Read, Reader, choose},
    rolled_back::RolledBack,
    run::HubError,
    store::{HeadRecord, MAX_HEADS, ROLLOUT_NAME, Store, StoreError},
    timeline::What,
    waves::{self, Phase, Rollout, Waves},
};
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate_api::{Loader, Problem, SourceFile};
use tidegate_discovery::kube::FleetObject;
use tidegate_link::hub::{Head, Objects, PolicyObject, SignedHead, Trust, digest, proto};
use tidegate_model::ClusterName;

/// Under this name is kept what was rolled back.
pub(super) const ROLLED_BACK: &str = "rolledBack";

/// What was read of the source last, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is wrong, for people.
    problems: Vec<String>,
    /// Why nothing can be read since, if so: without and with how old all is.
    unreadable: Option<(String, String)>,
    judged: Arc<Judged>,
}

/// The objects of an API, and what is wrong with them: always of the same moment.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) objects: Vec<Arc<FleetObject>>,
    pub(crate) problems: Vec<Problem>,
}

/// A policy that is handed out.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// None before the first policy.
    pub(crate) head: Option<(Head, SignedHead)>,
    pub(crate) objects: Objects,
    /// The fingerprint of each object.
    pub(crate) prints: BTreeMap<String, String>,
    /// The sequence with which each object became what it is.
    pub(crate) since: BTreeMap<String, u64>,
    /// What is new against the policies that nearly all agents hold: the one before, and the base of the rollout.
    steps: Vec<proto::Policy>,
}

impl Published {
    pub(crate) fn sequence(&self) -> u64 {
        self.head.as_ref().map_or(0, |(head, _)| head.sequence)
    }

    /// The fingerprint of an object, which is known if it is the same here.
    fn print(&self, key: &str, object: &PolicyObject) -> String {
        let known = self.prints.get(key).filter(|_| self.objects.get(key) == Some(object));
        known.cloned().unwrap_or_else(|| object.fingerprint(key))
    }

    /// What leads somebody here who holds `held` (sequence and fingerprints), in parts; all of it without. An agent of
    /// a version that knows no parts is given the `whole`.
    pub(crate) fn parts<'p>(
        &'p self,
        held: Option<(u64, &'p BTreeMap<String, String>)>,
        whole: bool,
    ) -> Parts<'p> {
        let step = held.and_then(|(at, _)| self.steps.iter().find(|step| step.base_sequence == at));
        Parts {
            of: self,
            held,
            step,
            limit: if whole { usize::MAX } else { PART },
            after: Some(Bound::Unbounded),
        }
    }

    /// The same as one message.
    fn message(&self, held: (u64, &BTreeMap<String, String>)) -> Option<proto::Policy> {
        let (_, signed) = self.head.as_ref()?;
        let new = self.objects.iter().filter(|(key, _)| held.1.get(*key) != self.prints.get(*key));
        let removed = held.1.keys().filter(|key| !self.objects.contains_key(*key));
        Some(proto::Policy {
            head: Some(signed.to_proto()),
            base_sequence: held.0,
            changed: new.map(|(key, object)| object.to_proto(key)).collect(),
            removed: removed.cloned().collect(),
            ..proto::Policy::default()
        })
    }
}

/// One part has so many bytes of objects. A connection keeps the memory of the largest message that it sent, and of a thousand
/// agents each would keep all of the policy.
const PART: usize = 32 << 10;

/// A policy on its way to one agent, made as it is sent.
pub(crate) struct Parts<'p> {
    of: &'p Published,
    held: Option<(u64, &'p BTreeMap<String, String>)>,
    /// Ready for many.
    step: Option<&'p proto::Policy>,
    limit: usize,
    /// Behind which object it goes on; `None` at the end.
    after: Option<Bound<&'p String>>,
}

impl Iterator for Parts<'_> {
    type Item = proto::Policy;

    fn next(&mut self) -> Option<proto::Policy> {
        let from = self.after.take()?;
        let (_, signed) = self.of.head.as_ref()?;
        if let Some(step) = self.step {
            return Some(step.clone());
        }
        let mut part = proto::Policy {
            head: Some(signed.to_proto()),
            full: self.held.is_none(),
            base_sequence: self.held.map_or(0, |(sequence, _)| sequence),
            ..proto::Policy::default()
        };
        if let (Bound::Unbounded, Some((_, prints))) = (from, self.held) {
            part.removed = prints.keys().filter(|key| !self.of.objects.contains_key(*key)).cloned().collect();
        }
        let held = |key: &String| self.held.and_then(|(_, prints)| prints.get(key));
        let mut bytes = 0;
        for (key, object) in self.of.objects.range::<String, _>((from, Bound::Unbounded)) {
            if held(key).is_some_and(|print| self.of.prints.get(key) == Some(print)) {
                continue;
            }
            if bytes >= self.limit {
                part.more = true;
                return Some(part);
            }
            bytes += key.len() + object.source.len() + object.text.len();
            part.changed.push(object.to_proto(key));
            self.after = Some(Bound::Excluded(key));
        }
        self.after = None;
        Some(part)
    }
}

/// What an agent holds, as the hub remembers it.
#[derive(Debug)]
pub(crate) enum Recalled {
    /// The newest policy.
    Same(Arc<Published>),
    /// Nothing that a delta could start from.
    Nothing,
    /// This policy of the history: its sequence, and the fingerprints of its objects.
    Policy(u64, Arc<BTreeMap<String, String>>),
    /// A policy of before what is handed out now: all of a newer one leads on.
    Past(u64),
    /// A policy of this hub's key that is not in its history: its state is older than what it once handed out.
    Unknown(u64),
}

/// Which policy each cluster is handed.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// The newest.
    pub(crate) newest: Arc<Published>,
    /// The one before, where no wave is open; `None` if everybody is handed the newest.
    base: Option<Arc<Published>>,
    waves: Waves,
    /// Waves up to this one are handed the newest.
    open: u32,
    /// Whether it waits for an operator.
    pub(crate) halted: bool,
}

impl Handed {
    pub(crate) fn to(&self, cluster: &ClusterName) -> &Arc<Published> {
        match &self.base {
            Some(base) if waves::of(&self.waves, cluster) > self.open => base,
            _ => &self.newest,
        }
    }
}

/// The rollout and what belongs to it.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    /// None before the first policy.
    pub(super) rollout: Option<Rollout>,
    pub(super) newest: Arc<Published>,
    /// What clusters hold whose wave is not open.
    pub(super) base: Option<Arc<Published>>,
    pub(super) waves: Waves,
    pub(super) rolled_back: RolledBack,
    /// What was read of the source.
    reader: Reader,
}

impl Rolling {
    pub(super) fn handed(&self) -> Handed {
        let rollout = self.rollout.as_ref().filter(|it| it.phase != Phase::Done);
        Handed {
            newest: Arc::clone(&self.newest),
            base: rollout.and(self.base.clone()),
            waves: self.waves.clone(),
            open: rollout.map_or(u32::MAX, |it| it.wave),
            halted: rollout.is_some_and(|it| matches!(it.phase, Phase::Halted(_))),
        }
    }
}

/// How a policy is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Waves,
    AtOnce,
}

impl Office {
    pub(super) fn rolling(&self) -> MutexGuard<'_, Rolling> {
        self.rollout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest policy.
    pub(crate) fn newest(&self) -> Arc<Published> {
        Arc::clone(&self.policy.borrow().newest)
    }

    /// The policy that a rollout starts from, with its objects.
    fn base(&self, rollout: &Rollout, current: &Arc<Published>) -> Result<Option<Arc<Published>>, HubError> {
        match rollout.base {
            0 => Ok(None),
            base if base == current.sequence() => Ok(Some(Arc::clone(current))),
            base => published(&self.store, &self.trust.borrow(), base).map(|it| it.map(Arc::new)),
        }
    }

    /// Takes what the source holds: whether a new policy came of it.
    pub(crate) fn take(&self, read: &Read, who: &str) -> Result<bool, HubError> {
        let mut rolling = self.rolling();
        let current = self.newest();
        let chosen = choose(&mut rolling.reader, read, &current.objects);
        let told: Vec<String> = chosen.problems.iter().map(ToString::to_string).collect();
        {
            let mut found = self.found();
            for problem in told.iter().filter(|it| !found.problems.contains(it)) {
                tracing::warn!("{problem}");
            }
            let judged = Judged { objects: read.objects.clone(), problems: chosen.problems };
            *found = Found { problems: told, unreadable: None, judged: Arc::new(judged) };
        }
        let mut rolled_back = rolling.rolled_back.clone();
        let objects = rolled_back.apply(chosen.objects);
        if rolled_back != rolling.rolled_back {
            self.store.keep(ROLLED_BACK, &rolled_back)?;
            rolling.rolled_back = rolled_back;
        }
        if objects == current.objects {
            return Ok(false);
        }
        let sequence = self.next_sequence(&current);
        self.publish(&mut rolling, objects, read.commit.as_deref(), sequence, How::Waves, who)?;
        Ok(true)
    }

    /// The source cannot be read: the policy stays as it was, and status says why, and how old it is where that is known.
    pub(crate) fn unreadable(&self, why: String, age: Option<Duration>) {
        let age = age.map(|age| format!("; it was heard {} s ago", age.as_secs())).unwrap_or_default();
        let told = format!("{why}{age}; the policy stays as it was");
        let mut found = self.found();
        if found.unreadable.as_ref().is_none_or(|(before, _)| *before != why) {
            tracing::warn!("{told}");
        }
        found.unreadable = Some((why, told));
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the source, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let found = self.found();
        let unreadable = found.unreadable.iter().map(|(_, told)| told);
        found.problems.iter().chain(unreadable).cloned().collect()
    }

    /// The objects of an API as they were read last, and the policy that came of them.
    pub(crate) fn judged(&self) -> (Arc<Judged>, Arc<Published>) {
        // While it is held, nothing is read.
        let rolling = self.rolling();
        (Arc::clone(&self.found().judged), Arc::clone(&rolling.newest))
    }

    /// The version of a policy; `None` if the history does not know it.
    pub(crate) fn version_of(&self, newest: &Published, sequence: u64) -> Result<Option<String>, StoreError> {
        match &newest.head {
            Some((head, _)) if head.sequence == sequence => Ok(Some(head.version.clone())),
            _ => Ok(self.store.head(sequence)?.map(|record| version(&record))),
        }
    }

    /// Hands a policy out, by waves or to all at once.
    pub(super) fn publish(
        &self,
        rolling: &mut Rolling,
        objects: Objects,
        commit: Option<&str>,
        sequence: u64,
        how: How,
        who: &str,
    ) -> Result<(), HubError> {
        let current = self.newest();
        let waves = match clusters(&objects).eq(clusters(&current.objects)) {
            true => rolling.waves.clone(),
            false => waves(&objects),
        };
        let digest = digest(&objects);
        let content = || digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let version = commit.map_or_else(content, |commit| commit.chars().take(40).collect());
        let (trust_domain, epoch) = (self.place.trust_domain.clone(), self.epoch);
        let head = Head { trust_domain, sequence, version, digest, epoch };
        let signed = self.keys().signer.sign(&head);
        let prints: BTreeMap<_, _> =
            objects.iter().map(|(key, it)| (key.clone(), current.print(key, it))).collect();
        let since: BTreeMap<_, _> = prints
            .iter()
            .map(|(key, print)| {
                let before = current.since.get(key).filter(|_| current.prints.get(key) == Some(print));
                (key.clone(), before.copied().unwrap_or(sequence))
            })
            .collect();
        let record = HeadRecord {
            head: signed.head.clone(),
            signature: signed.signature.clone(),
            objects: prints.clone(),
            since: since.clone(),
        };
        let rollout = match &rolling.rollout {
            Some(before) if how == How::Waves => before.next(sequence, &waves, &self.sight()?),
            _ => Rollout::at_once(sequence),
        };
        self.store.publish(sequence, &record, &objects, &rollout)?;
        let changed = since.values().filter(|at| **at == sequence).count();
        let detail = format!(
            "policy {sequence}, version {}, {} objects, {changed} changed",
            head.version,
            objects.len()
        );
        self.audit(who, "published", detail)?;
        let (version, by) = (head.version.clone(), who.to_owned());
        self.record(What::Published { sequence, version, changed, by });
        tracing::info!(sequence, version = head.version, objects = objects.len(), changed, "new policy");
        let mut next = Published { head: Some((head, signed)), objects, prints, since, steps: Vec::new() };
        let base = self.base(&rollout, &current)?;
        if current.head.is_some() {
            next.steps.extend(next.message((current.sequence(), &current.prints)));
        }
        if let Some(base) = base.as_ref().filter(|base| base.sequence() != current.sequence()) {
            next.steps.extend(next.message((base.sequence(), &base.prints)));
        }
        rolling.rollout = Some(rollout);
        rolling.base = base;
        rolling.newest = Arc::new(next);
        rolling.waves = waves;
        self.policy.send_replace(Arc::new(rolling.handed()));
        Ok(())
    }

    /// A hub that was started from a copy of an older state meets an agent that holds what the source says now, signed by this
    /// fleet's hub with a higher sequence: then that is the newest policy, and what others hold of before it is past. Whether
    /// it was.
    fn adopt(&self, head: &Head, signed: &SignedHead) -> Result<bool, HubError> {
        let mut rolling = self.rolling();
        let current = self.newest();
        let same = current.head.as_ref().is_some_and(|(own, _)| own.digest == head.digest);
        if !same || head.sequence <= current.sequence() {
            return Ok(false);
        }
        let since = |(key, at): (&String, &u64)| {
            (key.clone(), if *at == current.sequence() { head.sequence } else { *at })
        };
        let since: BTreeMap<_, _> = current.since.iter().map(since).collect();
        let record = HeadRecord {
            head: signed.head.clone(),
            signature: signed.signature.clone(),
            objects: current.prints.clone(),
            since: since.clone(),
        };
        let rollout = match &rolling.rollout {
            Some(rollout) if rollout.phase != Phase::Done => rollout.clone().numbered(head.sequence),
            _ => Rollout::at_once(head.sequence),
        };
        self.store.publish(head.sequence, &record, &current.objects, &rollout)?;
        self.store.resume_over(head.sequence - 1)?;
        self.audit("hub", "adopted", format!("policy {}, which an agent holds", head.sequence))?;
        tracing::info!(sequence = head.sequence, "an agent holds this policy; it goes on from there");
        rolling.newest = Arc::new(Published {
            head: Some((head.clone(), signed.clone())),
            objects: current.objects.clone(),
            prints: current.prints.clone(),
            since,
            steps: Vec::new(),
        });
        rolling.rollout = Some(rollout);
        self.policy.send_replace(Arc::new(rolling.handed()));
        Ok(true)
    }

    /// What is known here of what an agent says it holds.
    pub(crate) fn recall(&self, hello: &proto::Hello) -> Result<Recalled, HubError> {
        let Some(held) = hello.held.as_ref().map(SignedHead::from_proto) else {
            return Ok(Recalled::Nothing);
        };
        let keys = self.trust.borrow().policy_keys.clone();
        // What another key signed is for the agent to compare; nothing here can.
        let Ok(head) = held.open(&keys, &self.place.trust_domain) else { return Ok(Recalled::Nothing) };
        if head.epoch > self.epoch {
            let by = format!("policy {}, which the agent of {} holds,", head.sequence, hello.cluster);
            return Err(self.supersede(head.epoch, &by)?.into());
        }
        let newest = self.newest();
        if !hello.resend && newest.head.as_ref().is_some_and(|(_, own)| own.head == held.head) {
            return Ok(Recalled::Same(newest));
        }
        match self.store.head(head.sequence)? {
            Some(record) if record.head == held.head && !hello.resend => {
                Ok(Recalled::Policy(head.sequence, Arc::new(record.objects)))
            }
            Some(record) if record.head == held.head => Ok(Recalled::Nothing),
            // So old that the history has forgotten it.
            None if head.sequence + MAX_HEADS <= self.newest().sequence() => {
                Ok(Recalled::Past(head.sequence))
            }
            // What a hub handed out that was superseded is past, whatever its sequence.
            _ if head.epoch < self.epoch => self.outdo(head.sequence).map(|()| Recalled::Past(head.sequence)),
            _ if self.adopt(&head, &held)? => self.recall(hello),
            _ if head.sequence <= self.store.resumed_over()? => Ok(Recalled::Past(head.sequence)),
            _ => Ok(Recalled::Unknown(head.sequence)),
        }
    }
}

/// The clusters that a policy names.
fn clusters(objects: &Objects) -> impl Iterator<Item = (&String, &PolicyObject)> {
    objects.iter().filter(|(key, _)| key.starts_with("FleetCluster "))
}

/// The waves of the clusters that a policy names.
fn waves(objects: &Objects) -> Waves {
    let clusters = objects.iter().filter_map(|(key, object)| {
        let name: ClusterName = key.strip_prefix("FleetCluster ")?.parse().ok()?;
        Some((name, SourceFile { path: key.clone(), text: object.text.clone() }))
    });
    let (names, files): (Vec<_>, Vec<_>) = clusters.unzip();
    let Some(any) = names.into_iter().next() else { return Waves::new() };
    let config = Loader::new(any).load(&files).config;
    config.clusters.iter().map(|(name, cluster)| (name.clone(), cluster.rollout_wave)).collect()
}

/// A policy of the history.
fn published(store: &Store, trust: &Trust, sequence: u64) -> Result<Option<Published>, HubError> {
    let Some((record, objects)) = store.policy(sequence)? else { return Ok(None) };
    let signed = SignedHead { head: record.head, signature: record.signature };
    let head = signed.open(&trust.policy_keys, trust.bundle.trust_domain())?;
    Ok(Some(Published {
        head: Some((head, signed)),
        objects,
        prints: record.objects,
        since: record.since,
        steps: Vec::new(),
    }))
}

/// What was handed out when the hub stopped.
pub(super) fn restore(store: &Store, trust: &Trust) -> Result<(Handed, Rolling), HubError> {
    let Some(newest) = published(store, trust, store.newest()?)? else { return Ok(Default::default()) };
    // A state folder of a version that knew no waves: everybody was handed everything.
    let rollout: Rollout = store.kept(ROLLOUT_NAME)?.unwrap_or_else(|| Rollout::at_once(newest.sequence()));
    let base = match rollout.base {
        0 => None,
        base => published(store, trust, base)?.map(Arc::new),
    };
    let rolling = Rolling {
        waves: waves(&newest.objects),
        newest: Arc::new(newest),
        rollout: Some(rollout),
        base,
        rolled_back: store.kept(ROLLED_BACK)?.unwrap_or_default(),
        reader: Reader::default(),
    };
    Ok((rolling.handed(), rolling))
}
