//! A profile around policies: its defaults below them, its overrides above.

use crate::{BASE, file, load, loader, told};
use std::time::Duration;
use tidegate_api::{Loaded, ServicePolicy};
use tidegate_engine::{FailbackMode, Origin, WhenExhausted};
use tidegate_model::Fraction;

const PROFILE: &str =
    "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverProfile\nmetadata: {name: fleet}\nspec:\n";

const POLICIES: &str = "---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy
metadata: {name: all, namespace: platform}
spec: {targetRefs: [{kind: Fleet, name: default}], whenExhausted: Shed, retry: {attempts: 7}}
---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy
metadata: {name: shop, namespace: shop}
spec: {targetRefs: [{kind: Namespace, name: shop}], failback: {mode: Manual, holdDown: 40s}}
---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec: {targetRefs: [{kind: Service, name: web}], failback: {holdDown: 50s}}
";

fn web(loaded: &Loaded) -> ServicePolicy {
    (*loaded.config.services[&"shop/web".parse().unwrap()].policy).clone()
}

fn with(profile: &str) -> Loaded {
    load(&format!("{PROFILE}{profile}{POLICIES}"))
}

#[test]
fn a_default_holds_where_no_policy_says_anything() {
    let loaded = with(
        "  defaults: {failback: {holdDown: 1s, maxHoldDown: 90s}, whenExhausted: Spread, drain: {timeout: 1s}}\n",
    );
    assert_eq!(told(&loaded), "");
    let policy = web(&loaded);
    assert_eq!(policy.engine.failback.hold_down.value, Duration::from_secs(50));
    assert_eq!(policy.engine.failback.max_hold_down.value, Duration::from_secs(90));
    assert_eq!(policy.engine.when_exhausted.value, WhenExhausted::Shed);
    assert_eq!(policy.drain_timeout, Duration::from_secs(1));
    let origin = policy.engine.failback.max_hold_down.origin.to_string();
    assert_eq!(origin, "default of FailoverProfile fleet at case.yaml:5");
    assert_eq!(policy.engine.failover_threshold.origin, Origin::Default);
}

#[test]
fn an_override_beats_every_policy_and_each_of_them_is_told() {
    let loaded = with("  overrides:\n    failback: {holdDown: 2m, mode: Auto}\n    retry: {attempts: 2}\n");
    let policy = web(&loaded);
    assert_eq!(policy.engine.failback.hold_down.value, Duration::from_secs(120));
    assert_eq!(policy.engine.failback.mode.value, FailbackMode::Auto);
    assert_eq!(policy.retry.attempts, 2);
    let origin = policy.engine.failback.hold_down.origin.to_string();
    assert_eq!(origin, "override of FailoverProfile fleet at case.yaml:6");
    let warned: Vec<String> =
        loaded.problems.iter().map(|it| format!("{}:{} {}", it.line, it.column, it.message)).collect();
    let by = |line: u32| format!("has no effect: FailoverProfile fleet overrides it at case.yaml:{line}");
    assert_eq!(
        warned,
        [
            format!("12:91 spec.retry.attempts {} (spec.overrides.retry.attempts)", by(7)),
            format!("17:70 spec.failback.mode {} (spec.overrides.failback.mode)", by(6)),
            format!("17:88 spec.failback.holdDown {} (spec.overrides.failback.holdDown)", by(6)),
            format!("22:71 spec.failback.holdDown {} (spec.overrides.failback.holdDown)", by(6)),
        ]
    );
    assert!(loaded.problems.iter().all(|problem| !problem.is_error()));
}

#[test]
fn a_limit_that_is_an_override_does_not_give_way() {
    let loaded = with("  overrides: {failback: {maxHoldDown: 30s}, minimumHealthy: {percentage: 80}}\n");
    let engine = web(&loaded).engine;
    let eighty = Fraction::from_percentage(80.0).unwrap();
    assert_eq!((engine.minimum_healthy.value, engine.failover_threshold.value), (eighty, eighty));
    let half_a_minute = Duration::from_secs(30);
    assert_eq!(
        (engine.failback.max_hold_down.value, engine.failback.hold_down.value),
        (half_a_minute, half_a_minute)
    );
    let said = told(&loaded);
    let why = "holdDown (50s) is above the maxHoldDown in force (30s, override of FailoverProfile fleet at case.yaml:5)";
    assert!(said.contains(why), "{said}");
    assert!(
        !said.contains("failoverThreshold"),
        "a default that nobody wrote gives way without a word: {said}"
    );
}

#[test]
fn what_a_service_is_under_is_told_with_its_place() {
    let policy = web(&with(
        "  overrides: {failback: {holdDown: 2m}}\n  defaults: {residency: {regions: [us-east]}}\n",
    ));
    let lines = policy.sentences();
    let has = |line: &str| assert!(lines.iter().any(|it| it == line), "{line}: {lines:#?}");
    has("failback.holdDown 2m, by override of FailoverProfile fleet at case.yaml:5");
    has("residency region us-east, by default of FailoverProfile fleet at case.yaml:6");
    has("whenExhausted Shed, by FailoverPolicy platform/all at case.yaml:11");
    has("failoverThreshold 70 %, by default");
    has("proximity.by Declared, by default");
}

#[test]
fn the_order_of_files_decides_nothing() {
    let profile = |name: &str, hold: &str| {
        let text = PROFILE.replace("fleet", name);
        file(&format!("{name}.yaml"), &format!("{text}  overrides: {{failback: {{holdDown: {hold}}}}}\n"))
    };
    let files =
        [file("base.yaml", BASE), file("policies.yaml", POLICIES), profile("a", "3s"), profile("b", "4s")];
    let forwards = loader().load(&files);
    for turn in 1..files.len() {
        let mut turned = files.clone();
        turned.rotate_left(turn);
        assert_eq!(loader().load(&turned), forwards);
        turned.reverse();
        assert_eq!(loader().load(&turned), forwards);
    }
    assert_eq!(web(&forwards).engine.failback.hold_down.value, Duration::from_secs(3));
    let told = told(&forwards);
    assert!(
        told.contains(
            "b.yaml:1:1: FailoverProfile b: the fleet already has a profile: FailoverProfile a at a.yaml:1"
        ),
        "{told}"
    );
}

#[test]
fn a_profile_that_becomes_wrong_stays_as_it_was() {
    let profile =
        |hold: &str| file("p.yaml", &format!("{PROFILE}  overrides: {{failback: {{holdDown: {hold}}}}}\n"));
    let mut loader = loader();
    loader.load(&[file("base.yaml", BASE), profile("5s")]);
    let wrong = loader.load(&[file("base.yaml", BASE), profile("soon")]);
    assert_eq!(web(&wrong).engine.failback.hold_down.value, Duration::from_secs(5));
    assert!(told(&wrong).contains("stays in force as it last was"));
    let gone = loader.load(&[file("base.yaml", BASE)]);
    assert_eq!(web(&gone).engine.failback.hold_down.value, Duration::from_secs(30));
}

/// Every field there is, once as `SIDE` says and once otherwise.
const ALL: [&str; 2] = [
    "{failover: [{to: [{type: SameZone}]}], failoverThreshold: {percentage: 80}, minimumHealthy: {percentage: 50}, \
     failoverDelay: {partialLoss: 5s}, residency: {regions: [us-east]}, capacity: {requestsPerSecond: 10, \
     targetUtilization: 60}, spread: Spray, healthCheck: {active: {type: HTTP, path: /profile, interval: 3s, timeout: 2s, \
     unhealthyThreshold: 5, healthyThreshold: 6}}, failback: {mode: Manual, holdDown: 1m, maxHoldDown: 5m, ramp: {steps: \
     [20, 100], interval: 7s}, requireHeadroom: false}, drain: {timeout: 8s}, retry: {perTryTimeout: 9ms, attempts: 9, \
     budget: {percentage: 9, minimum: 9}}, circuitBreaker: {maxConnections: 9, maxPendingRequests: 9, \
     maxParallelRequests: 9, maxRequestsPerConnection: 9}, slowStart: {window: 9s}, \
     whenExhausted: Shed, proximity: {by: Measured}}",
    "{failover: [{to: [{type: Any}]}], failoverThreshold: {percentage: 90}, minimumHealthy: {percentage: 10}, \
     failoverDelay: {partialLoss: 6s}, residency: {regions: [us-west]}, capacity: {concurrency: 3, \
     targetUtilization: 70}, spread: Waterfall, healthCheck: {active: {type: None, interval: 4s, timeout: 1s, \
     unhealthyThreshold: 7, healthyThreshold: 8}}, failback: {mode: Auto, holdDown: 2m, maxHoldDown: 6m, ramp: {steps: \
     [30, 100], interval: 9s}, requireHeadroom: true}, drain: {timeout: 7s}, retry: {perTryTimeout: 8ms, attempts: 8, \
     budget: {percentage: 8, minimum: 8}}, circuitBreaker: {maxConnections: 8, maxPendingRequests: 8, \
     maxParallelRequests: 8, maxRequestsPerConnection: 8}, slowStart: {window: 8s}, \
     whenExhausted: Spread, proximity: {by: Declared}}",
];

/// The policy of `shop/web` under a profile's half and policies of all three levels that set every field; what is said.
fn under(half: &str, of_profile: &str, of_policies: &str, targets: &[&str]) -> (ServicePolicy, Loaded) {
    let mut text = format!("{PROFILE}  {half}: {of_profile}\n");
    for (at, target) in targets.iter().enumerate() {
        let fields = of_policies.trim_start_matches('{');
        text += &format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: p{at}, namespace: shop}}\n\
             spec: {{targetRefs: [{target}], {fields}\n"
        );
    }
    let loaded = load(&text);
    (web(&loaded), loaded)
}

#[test]
fn an_override_of_any_field_wins_at_every_level_and_a_default_of_any_field_gives_way() {
    let [service, namespace, fleet] =
        ["{kind: Service, name: web}", "{kind: Namespace, name: shop}", "{kind: Fleet, name: default}"];
    let values = |mut policy: ServicePolicy| {
        let lines = policy.sentences().into_iter().map(|line| line.split(", by ").next().unwrap().to_owned());
        let lines: Vec<String> = lines.collect();
        policy.engine = Default::default();
        (lines, policy)
    };
    for [profile, policies] in [ALL, [ALL[1], ALL[0]]] {
        let (alone, said) = under("overrides", profile, policies, &[]);
        assert_eq!(told(&said), "");
        assert!(alone.sentences().iter().all(|line| line.contains("by override of FailoverProfile fleet")));
        for targets in [&[service][..], &[namespace], &[fleet], &[service, namespace, fleet]] {
            let (overridden, said) = under("overrides", profile, policies, targets);
            assert_eq!(overridden, alone, "{targets:?}");
            // Each of the 31 fields of each policy is told, as a warning with both places.
            assert_eq!(said.problems.len(), 31 * targets.len(), "{}", told(&said));
            let both = |it: &tidegate_api::Problem| {
                it.line > 5 && it.message.contains(" overrides it at case.yaml:5 ")
            };
            assert!(said.problems.iter().all(|it| !it.is_error() && both(it)), "{}", told(&said));
            let (changed, said) = under("defaults", profile, policies, targets);
            assert_eq!(told(&said), "");
            let (wanted, _) = under("overrides", policies, profile, &[]);
            assert_eq!(values(changed), values(wanted), "{targets:?}");
        }
    }
}
