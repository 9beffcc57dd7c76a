//! Profile, labels and weights of the manifests, honoured in a simulation.

use crate::{first, root};
use std::collections::BTreeMap;
use tidegate_sim::{Fleet, Scenario, simulate};

const SCENARIO: &str = "manifests: ../weighted-regions
duration: 4m
demand: [{service: shop/report, source: us-east/us-east-1b, curve: [{at: 0s, rps: 100}]}]
faults: [{at: 20s, for: 20s, lose: cluster/us-west}, {at: 50s, for: 20s, lose: zone/us-east-1a}]
";

#[test]
fn a_tier_divides_by_weight_and_fails_over_inside_and_the_overriding_hold_down_holds() {
    let path = root().join("examples/incidents/in-a-test.yaml");
    let scenario = Scenario::parse(SCENARIO, &path).unwrap();
    let report = simulate(&scenario, &Fleet::load(&scenario.manifests).unwrap());
    let plans: Vec<(u64, BTreeMap<String, u32>)> = (report.decisions.iter())
        .filter(|it| it.cluster.as_str() == "us-east" && it.record.kind == "planChanged")
        .filter(|it| it.record.service.as_ref().is_some_and(|name| name.to_string() == "shop/report"))
        .filter(|it| it.record.source.as_deref() == Some("us-east/us-east-1b"))
        .map(|it| {
            let shares = it.record.after.iter().flatten();
            (it.at_micros / 1000, shares.map(|(to, share)| (to.to_string(), share.parts())).collect())
        })
        .collect();
    let is = |shares: &BTreeMap<String, u32>, wanted: &[(&str, u32)]| {
        shares.iter().map(|(to, parts)| (to.as_str(), *parts)).eq(wanted.iter().copied())
    };
    let whole: &[(&str, u32)] = &[("cluster eu", 1000), ("cluster us-west", 9000)];
    let until = |ms: u64| plans.iter().rfind(|(at, _)| *at < ms).map(|(_, shares)| shares).unwrap();
    assert!(is(until(20_000), whole), "{plans:#?}");
    assert!(is(until(40_000), &[("cluster eu", 10_000)]), "staging is not approved: {plans:#?}");
    assert!(is(until(240_000), whole), "{plans:#?}");
    // The profile's override of two minutes, not the default of 30 s.
    let (ramps, _) = first(&report, "us-east", 70_000, "us-east-1a: Holding to Ramping").unwrap();
    assert!((190_000..200_000).contains(&ramps), "{ramps}");
}
