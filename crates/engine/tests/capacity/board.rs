//! A fleet with declared capacity, written as a few lines of text.

use crate::fixture::{cluster, percent, region, service, zone};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_engine::{
    Arrivals, Candidate, CandidatePool, Capacity, FleetPool, FleetQuestion, FleetSource, Load, Plan, Policy,
    Source, Target, plan_fleet,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, Region};

/// A fleet in the regions `us-east`, `us-west` and `eu`, 60, 90 and 140 ms apart.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    pub(crate) policy: Policy,
    pub(crate) pools: Vec<FleetPool>,
    pub(crate) demand: BTreeMap<Source, u64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) cut: BTreeSet<(ClusterName, ClusterName)>,
    pub(crate) reach: BTreeMap<ClusterName, Fraction>,
}

fn region_of(name: &str) -> Region {
    region(match name.split('-').next().unwrap() {
        "east" => "us-east",
        "west" => "us-west",
        other => other,
    })
}

pub(crate) fn source(place: &str) -> Source {
    let (own, in_zone) = place.split_once('/').unwrap();
    Source { cluster: cluster(own), locality: Locality { region: region_of(own), zone: zone(in_zone) } }
}

pub(crate) fn distances(from: &Region) -> BTreeMap<Region, Duration> {
    let all = [("us-east", "us-west", 60), ("us-east", "eu", 90), ("us-west", "eu", 140)];
    let ends = all.into_iter().flat_map(|(a, b, ms)| [(a, b, ms), (b, a, ms)]);
    ends.filter(|(a, _, _)| *a == from.as_str())
        .map(|(_, b, ms)| (region(b), Duration::from_millis(ms)))
        .collect()
}

impl Board {
    /// 100 requests/s per endpoint, 80 % of it planned with. Each line is a pool and its zone's demand:
    /// `CLUSTER/ZONE HEALTHY/EXPECTED[@ADMIT%] [PHASE] [DEMAND]`; the cluster's name begins with its region's.
    pub(crate) fn new(lines: &[&str]) -> Self {
        let mut board = Self {
            policy: Policy {
                capacity: Some(Capacity::per_endpoint(Load::Rate { rps: 100_000 })),
                ..Policy::default()
            },
            pools: Vec::new(),
            demand: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            cut: BTreeSet::new(),
            reach: BTreeMap::new(),
        };
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let [place, counts, marks @ ..] = words.as_slice() else { panic!("{line}: too short") };
            let at = source(place);
            let (counts, admit) = counts.split_once('@').unwrap_or((counts, ""));
            let (healthy, expected) = counts.split_once('/').unwrap();
            let (healthy, expected) = (healthy.parse().unwrap(), expected.parse().unwrap());
            let admit = match admit.trim_end_matches('%') {
                "" if healthy == 0 => Fraction::ZERO,
                "" => Fraction::ONE,
                written => percent(written.parse().unwrap()),
            };
            let phase = match marks.iter().find(|mark| mark.parse::<u64>().is_err()) {
                Some(&"Holding") => Phase::Holding,
                Some(&"Ramping") => Phase::Ramping,
                Some(&"Shifted") => Phase::Shifted,
                Some(&"Reduced") => Phase::Reduced,
                Some(other) => panic!("{line}: {other}"),
                None if admit.is_one() => Phase::Serving,
                None => Phase::Out,
            };
            let demand = marks.iter().find_map(|mark| mark.parse::<u64>().ok()).unwrap_or(0);
            board.demand.insert(at.clone(), demand * 1000);
            board.pools.push(FleetPool {
                cluster: at.cluster,
                locality: at.locality,
                expected,
                healthy,
                admit,
                phase,
            });
        }
        board
    }

    pub(crate) fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    pub(crate) fn capacity(self, change: impl FnOnce(&mut Capacity)) -> Self {
        self.policy(|policy| change(policy.capacity.as_mut().unwrap()))
    }

    /// What arrives at a cluster from another, in requests/s.
    pub(crate) fn arrive(mut self, at: &str, from: &str, rps: u64) -> Self {
        self.arrivals.entry(cluster(at)).or_default().insert(cluster(from), rps * 1000);
        self
    }

    /// Neither of two clusters hears or reaches the other.
    pub(crate) fn cut(mut self, a: &str, b: &str) -> Self {
        self.cut.extend([(cluster(a), cluster(b)), (cluster(b), cluster(a))]);
        self
    }

    fn unreachable(&self, from: &ClusterName) -> BTreeSet<ClusterName> {
        self.cut.iter().filter(|(a, _)| a == from).map(|(_, b)| b.clone()).collect()
    }

    /// What a cluster can send to.
    pub(crate) fn seen_from(&self, own: &ClusterName) -> Vec<Candidate> {
        let mut seen: BTreeMap<Target, Candidate> = BTreeMap::new();
        let mut pools: Vec<&FleetPool> = self.pools.iter().collect();
        pools.sort_by_key(|pool| (&pool.cluster, &pool.locality));
        for pool in pools {
            let target = if pool.cluster == *own {
                Target::Zone(pool.locality.zone.clone())
            } else {
                Target::Cluster(pool.cluster.clone())
            };
            let reach = self.reach.get(&pool.cluster).filter(|_| pool.cluster != *own);
            let admit = pool.admit.times(reach.copied().unwrap_or(Fraction::ONE));
            let it = seen.entry(target.clone()).or_insert_with(|| Candidate {
                target,
                cluster: pool.cluster.clone(),
                region: pool.locality.region.clone(),
                pools: BTreeMap::new(),
                phase: pool.phase,
                hold: None,
                reachable: !self.unreachable(own).contains(&pool.cluster),
            });
            let FleetPool { expected, healthy, .. } = *pool;
            it.pools.insert(
                pool.locality.zone.clone(),
                CandidatePool { expected, present: expected, healthy, admit },
            );
        }
        seen.into_values().collect()
    }

    /// The plans of a cluster's sources.
    pub(crate) fn plans(&self, own: &str, previous: &BTreeMap<Source, Plan>) -> BTreeMap<Source, Plan> {
        let own = cluster(own);
        let candidates = self.seen_from(&own);
        let deaf = self.unreachable(&own);
        let heard = self.demand.iter().filter(|(source, _)| !deaf.contains(&source.cluster));
        let views: Vec<_> = heard
            .map(|(source, demand)| {
                (source, *demand, distances(&source.locality.region), self.unreachable(&source.cluster))
            })
            .collect();
        let sources: Vec<FleetSource<'_>> = views
            .iter()
            .map(|(source, demand, distances, unreachable)| FleetSource {
                source,
                demand: *demand,
                distances,
                unreachable,
            })
            .collect();
        let question = FleetQuestion {
            service: &service("web"),
            policy: &self.policy,
            capacity: self.policy.capacity.as_ref().unwrap(),
            own: &own,
            candidates: &candidates,
            pools: &self.pools,
            sources: &sources,
            reach: &self.reach,
            arrivals: &self.arrivals,
        };
        plan_fleet(&question, previous)
    }

    pub(crate) fn plan(&self, place: &str) -> Plan {
        let at = source(place);
        self.plans(at.cluster.as_str(), &BTreeMap::new()).remove(&at).unwrap()
    }

    /// The shares of a source, as text, with what is shed.
    pub(crate) fn shares(&self, place: &str) -> String {
        told(&self.plan(place))
    }
}

pub(crate) fn told(plan: &Plan) -> String {
    let shed = (!plan.shed.is_none()).then(|| format!("shed {}", plan.shed.parts()));
    let shares = (!plan.shares.is_empty()).then(|| crate::fixture::text(&plan.shares));
    shares.into_iter().chain(shed).collect::<Vec<_>>().join(", ")
}
