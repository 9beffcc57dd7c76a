//! Fleets written as lines of text.

use crate::fixture::{cluster, region, service, zone};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_engine::{FleetMember, FleetState, PoolFigures, Source};
use tidegate_model::{Fraction, Locality, Phase};

/// The clusters that lines may name, with their regions: `us-west` is 60 ms and `eu` 90 ms from `us-east`.
pub(crate) const FLEET: [(&str, &str); 4] =
    [("east", "us-east"), ("east-2", "us-east"), ("eu-1", "eu"), ("west", "us-west")];

/// A fleet of these pools. Each line is `SERVICE CLUSTER ZONE HEALTHY/EXPECTED [PHASE] [capacity=RPS]`; requests for
/// a service enter in every zone of a cluster that has the service, at a rate that is not known.
pub(crate) fn fleet(lines: &[&str]) -> FleetState {
    let mut state = FleetState::default();
    let mut zones: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, in_cluster, in_zone, counts, marks @ ..] = words.as_slice() else { panic!("{line}") };
        zones.entry(in_cluster).or_default().insert(in_zone);
        let (healthy, expected) = counts.split_once('/').unwrap();
        let (healthy, expected): (u32, u32) = (healthy.parse().unwrap(), expected.parse().unwrap());
        let phase = match (marks.first(), healthy, expected) {
            (Some(&"Holding"), ..) => Phase::Holding,
            (_, _, 0) => Phase::Empty,
            (_, 0, _) => Phase::Out,
            _ => Phase::Serving,
        };
        let capacity = marks.iter().find_map(|mark| mark.strip_prefix("capacity="));
        let figures = PoolFigures {
            expected,
            healthy,
            admit: if phase == Phase::Serving { Fraction::ONE } else { Fraction::ZERO },
            phase,
            capacity: capacity.map(|rps| rps.parse::<u64>().unwrap() * 1000),
        };
        let known = state.services.entry(service(name)).or_default();
        known.pools.insert((cluster(in_cluster), zone(in_zone)), figures);
    }
    for (name, in_region) in FLEET.iter().filter(|(name, _)| zones.contains_key(name)) {
        let ms = |ms| Duration::from_millis(ms);
        let distances = match *in_region {
            "us-east" => vec![("us-west", ms(60)), ("eu", ms(90))],
            "us-west" => vec![("us-east", ms(60)), ("eu", ms(150))],
            _ => vec![("us-east", ms(90)), ("us-west", ms(150))],
        };
        let distances = distances.into_iter().map(|(to, rtt)| (region(to), rtt)).collect();
        let member = FleetMember { region: region(in_region), distances, unreachable: BTreeSet::new() };
        state.clusters.insert(cluster(name), member);
        for known in state.services.values_mut() {
            if known.pools.keys().any(|(of, _)| of.as_str() == *name) {
                known.demand.extend(zones[name].iter().map(|it| (source(name, it), None)));
            }
        }
    }
    state
}

pub(crate) fn source(in_cluster: &str, in_zone: &str) -> Source {
    let (_, in_region) = FLEET.iter().find(|(name, _)| *name == in_cluster).unwrap();
    Source {
        cluster: cluster(in_cluster),
        locality: Locality { region: region(in_region), zone: zone(in_zone) },
    }
}
