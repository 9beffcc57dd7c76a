//! What other replicas of this agent say, on its way into the engine.
//!
//! - **Verdicts** are votes: the engine counts them while they are fresh.
//! - **Demand** adds up: each replica measures its own gateways. What a replica measured that is silent counts for
//!   [`KEPT`] more, until its gateways have come to another one and are measured there.
//! - **How pools stand** is taken over by a replica that starts, or that was frozen: it saw nothing meanwhile. One that ran all
//!   the time goes by what it saw. Else one replica that was cut off and came back would drain everything with its word.

use super::{Core, Input, Output, ProbeKey, Record};
use crate::replicas::Said;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{Event, Load, News, Snapshot, Source, Verdicts};
use tidegate_model::{Locality, ServiceName, Time, Zone};

/// A gateway finds another replica within 4 s, by its keepalive; two more seconds make a measurement there.
const KEPT: Duration = Duration::from_secs(6);
/// Who did nothing for so long was frozen: with replicas there is a word to take in four times a second.
const FROZEN: Duration = Duration::from_secs(3);
/// So long after it was frozen a replica takes over what the others say: their links take a second to be made anew.
const THAWS: Duration = Duration::from_secs(10);

type Rates = BTreeMap<ServiceName, Load>;

/// One replica's word.
#[derive(Debug)]
struct Word {
    verdicts: Verdicts,
    demand: BTreeMap<Zone, Rates>,
    heard: Time,
    /// Since when it is silent.
    silent: Option<Time>,
}

/// What is known of the other replicas, and what we ourselves add to it.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    words: BTreeMap<Arc<str>, Word>,
    /// What the own gateways are asked for.
    own: BTreeMap<Zone, Rates>,
    /// How the pools stand, from before the first manifests.
    early: Vec<Snapshot>,
    last_input: Time,
    thaws_until: Option<Time>,
}

impl Replicas {
    /// When the demand of a silent replica is forgotten.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.words.values().filter_map(|word| word.silent).min().map(|silent| silent + KEPT)
    }

    /// Whoever was away for long takes over what the others say.
    pub(super) fn watch(&mut self, now: Time) {
        if !self.words.is_empty() && now.since(self.last_input) >= FROZEN {
            self.thaws_until = Some(now + THAWS);
        }
        self.last_input = now;
    }

    /// What is asked for in a zone: by all replicas together, each once.
    fn demand(&self, zone: &Zone) -> Rates {
        let parts = self.words.values().filter_map(|word| word.demand.get(zone));
        let mut sum = Rates::new();
        for (service, load) in self.own.get(zone).into_iter().chain(parts).flatten() {
            let all = sum.entry(service.clone()).or_insert(load.like(0));
            // One unit is declared for a service; a replica that has not heard of a new one yet is not counted.
            if std::mem::discriminant(all) == std::mem::discriminant(load) {
                *all = load.like(all.thousandths().saturating_add(load.thousandths()));
            }
        }
        sum
    }
}

impl Core {
    pub(super) fn hear_replica(&mut self, replica: &Arc<str>, said: Said, now: Time, output: &mut Output) {
        match said {
            Said::News { full, checked, demand, gateways } => {
                let news: Vec<News> = match full {
                    true => Vec::new(),
                    false => checked.iter().map(|((of, at), up)| (of.clone(), *at, *up)).collect(),
                };
                let zones = self.replicas.take(replica, full, (checked, demand), now, output);
                match full {
                    true => self.observed(replica, now, output),
                    false => self.renewed(replica, news, now, output),
                }
                for zone in gateways {
                    self.add_source(zone, now, output);
                }
                self.tell_demand(zones, now, output);
            }
            Said::Holds => {
                if let Some(word) = self.replicas.words.get_mut(replica) {
                    word.heard = now;
                    self.renewed(replica, Vec::new(), now, output);
                }
            }
            Said::Pools(snapshot) if self.engine.is_none() => {
                // As many as there may be replicas.
                if self.replicas.early.len() < tidegate_engine::MAX_REPLICAS {
                    self.replicas.early.push(snapshot);
                }
            }
            Said::Pools(snapshot) => {
                let thaws = self.replicas.thaws_until.is_some_and(|until| now < until);
                if !self.ready || thaws {
                    self.tell(Event::Merge(snapshot), now, output);
                }
            }
            Said::Silent(why) => {
                if let Some(word) = self.replicas.words.get_mut(replica) {
                    word.silent = Some(now);
                    output.records.push(record(replica, "Silent", &why));
                }
            }
        }
    }

    /// Tells a new engine what the replicas said before it was there; before its services, which begin with that.
    pub(super) fn tell_replicas(&mut self, now: Time, output: &mut Output) {
        let replicas: Vec<Arc<str>> = self.replicas.words.keys().cloned().collect();
        for replica in &replicas {
            self.observed(replica, now, output);
        }
        for snapshot in std::mem::take(&mut self.replicas.early) {
            self.tell(Event::Merge(snapshot), now, output);
        }
    }

    /// Gives the engine a replica's votes, as fresh as they are.
    fn observed(&mut self, replica: &Arc<str>, now: Time, output: &mut Output) {
        let Some(word) = self.replicas.words.get(replica).filter(|word| word.silent.is_none()) else {
            return;
        };
        let (replica, verdicts, at) = (Arc::clone(replica), word.verdicts.clone(), word.heard);
        self.tell(Event::ReplicaObserved { replica, verdicts, at }, now, output);
    }

    /// Gives it what is new of them. A word that came late finds them stale: then all of them.
    fn renewed(&mut self, replica: &Arc<str>, news: Vec<News>, now: Time, output: &mut Output) {
        if self.engine.as_ref().is_some_and(|engine| engine.hears(replica)) {
            let replica = Arc::clone(replica);
            self.tell(Event::ReplicaTold { replica, news, at: now }, now, output);
        } else {
            self.observed(replica, now, output);
        }
    }

    /// What the own gateways of a zone are asked for.
    pub(super) fn measured(&mut self, zone: Zone, rates: Rates, now: Time, output: &mut Output) {
        self.replicas.own.insert(zone.clone(), rates);
        self.tell_demand(BTreeSet::from([zone]), now, output);
    }

    /// Forgets whose gateways have gone elsewhere by now.
    pub(super) fn forget_replicas(&mut self, now: Time, output: &mut Output) {
        let over = |word: &Word| word.silent.is_some_and(|silent| now.since(silent) >= KEPT);
        let over: Vec<Word> =
            self.replicas.words.extract_if(.., |_, word| over(word)).map(|(_, word)| word).collect();
        let zones = over.into_iter().flat_map(|word| word.demand.into_keys()).collect();
        self.tell_demand(zones, now, output);
    }

    fn tell_demand(&mut self, zones: BTreeSet<Zone>, now: Time, output: &mut Output) {
        let Some(region) = self.region().cloned() else { return };
        for zone in zones {
            let rates = self.replicas.demand(&zone);
            let locality = Locality { region: region.clone(), zone };
            let source = Source { cluster: self.own.clone(), locality };
            self.tell(Event::Demand { source, rates }, now, output);
        }
    }

    /// How the own pools stand, for a replica that starts; nothing from one that does not know yet.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Option<Snapshot> {
        self.engine.as_ref().filter(|_| self.ready).map(|engine| engine.snapshot(now))
    }

    /// The other replicas that are heard.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas.words.values().filter(|word| word.silent.is_none()).count()
    }

    /// What a replay has to be told of the other replicas to go on from here.
    pub(crate) fn replica_inputs(&self) -> impl Iterator<Item = Input> {
        let own = self.replicas.own.iter();
        let own = own.map(|(zone, rates)| Input::Demand { zone: zone.clone(), rates: rates.clone() });
        let words = self.replicas.words.iter().filter(|(_, word)| word.silent.is_none());
        let words = words.map(|(replica, word)| Input::Replica {
            replica: Arc::clone(replica),
            said: Said::News {
                full: true,
                checked: word.verdicts.iter().flat_map(keys).collect(),
                demand: word.demand.iter().map(|(zone, it)| (zone.clone(), Some(it.clone()))).collect(),
                gateways: BTreeSet::new(),
            },
        });
        words.chain(own)
    }
}

type Found<'a> = (&'a ServiceName, &'a BTreeMap<std::net::SocketAddr, bool>);

fn keys<'a>((service, found): Found<'a>) -> impl Iterator<Item = (ProbeKey, Option<bool>)> + use<'a> {
    found.iter().map(|(address, up)| ((service.clone(), *address), Some(*up)))
}

type Facts = (Vec<(ProbeKey, Option<bool>)>, Vec<(Zone, Option<Rates>)>);

impl Replicas {
    /// Takes in what a replica says; the zones whose demand is another now.
    fn take(
        &mut self,
        replica: &Arc<str>,
        full: bool,
        (checked, demand): Facts,
        now: Time,
        output: &mut Output,
    ) -> BTreeSet<Zone> {
        let known = self.words.get(replica);
        if known.is_none() && self.words.len() >= tidegate_engine::MAX_REPLICAS {
            return BTreeSet::new();
        }
        if known.is_none_or(|word| word.silent.is_some()) {
            output.records.push(record(replica, "Heard", "another replica of this agent is heard"));
        }
        let new = || Word { verdicts: Verdicts::new(), demand: BTreeMap::new(), heard: now, silent: None };
        let word = self.words.entry(Arc::clone(replica)).or_insert_with(new);
        (word.heard, word.silent) = (now, None);
        let mut zones = BTreeSet::new();
        if full {
            word.verdicts.clear();
            zones.extend(std::mem::take(&mut word.demand).into_keys());
        }
        for ((service, address), up) in checked {
            let found = word.verdicts.entry(service.clone()).or_default();
            match up {
                Some(up) => found.insert(address, up),
                None => found.remove(&address),
            };
            if found.is_empty() {
                word.verdicts.remove(&service);
            }
        }
        for (zone, rates) in demand {
            zones.insert(zone.clone());
            match rates {
                Some(rates) => word.demand.insert(zone, rates),
                None => word.demand.remove(&zone),
            };
        }
        zones
    }
}

fn record(replica: &Arc<str>, state: &'static str, reason: &str) -> Record {
    let reason = format!("replica {replica}: {reason}");
    Record { kind: "replicaChanged", state: Some(state), reason, ..Record::default() }
}
