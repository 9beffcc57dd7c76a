//! Policies of a service, its namespace and the fleet, merged field by field.

use crate::load;
use std::time::Duration;
use tidegate_api::{CheckKind, HttpVersion};
use tidegate_engine::{FailbackMode, Origin, Places, Tier, Weights, WhenExhausted};
use tidegate_model::Fraction;

const POLICIES: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: fleet, namespace: platform}
spec:
  targetRefs: [{group: tidegate.dev, kind: Fleet, name: default}]
  failoverThreshold: {percentage: 20}
  whenExhausted: Shed
  failback: {holdDown: 20m, ramp: {interval: 5s}}
  retry: {attempts: 1}
  healthCheck: {active: {type: HTTP, path: /fleet, interval: 3s}}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: shop, namespace: shop}
spec:
  targetRefs: [{kind: Namespace, name: shop}]
  failback: {mode: Manual}
  retry: {attempts: 2}
  drain: {timeout: 5s}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  retry: {attempts: 3}
  healthCheck: {active: {timeout: 100ms}}
---
apiVersion: v1
kind: Service
metadata: {name: batch, namespace: jobs}
---
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
"#;

#[test]
fn the_nearest_policy_wins_for_each_field_and_is_named() {
    let loaded = load(POLICIES);
    assert_eq!(loaded.problems, []);
    let policy = |name: &str| loaded.config.services[&name.parse().unwrap()].policy.clone();
    let (web, pay, batch) = (policy("shop/web"), policy("shop/pay"), policy("jobs/batch"));
    assert_eq!((web.retry.attempts, pay.retry.attempts, batch.retry.attempts), (3, 2, 1));
    assert_eq!(web.engine.failback.mode.value, FailbackMode::Manual);
    assert_eq!(batch.engine.failback.mode.value, FailbackMode::Auto);
    assert_eq!(batch.engine.failback.mode.origin, Origin::Default);
    assert_eq!(web.engine.when_exhausted.value, WhenExhausted::Shed);
    assert_eq!(web.drain_timeout, Duration::from_secs(5));
    assert_eq!(batch.drain_timeout, Duration::from_secs(30));
    let check = web.active_check.clone().unwrap();
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(3), Duration::from_millis(100)));
    assert!(matches!(check.kind, CheckKind::Http { path, .. } if path == "/fleet"));
    assert_eq!(
        web.engine.failover_threshold.origin.to_string(),
        "FailoverPolicy platform/fleet at case.yaml:7"
    );
    // Services under the same policies share them.
    assert!(std::sync::Arc::ptr_eq(&pay, &policy("shop/cart")));
}

#[test]
fn a_default_gives_way_to_what_was_written() {
    let loaded = load(POLICIES);
    let engine = &loaded.config.services[&"jobs/batch".parse().unwrap()].policy.engine;
    assert_eq!(engine.minimum_healthy.value, Fraction::from_percentage(20.0).unwrap());
    assert_eq!(engine.failback.max_hold_down.value, Duration::from_secs(1200));
}

#[test]
fn checks_can_be_switched_off() {
    let off = POLICIES.replace("{active: {timeout: 100ms}}", "{active: {type: None}}");
    let loaded = load(&off);
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.config.services[&"shop/web".parse().unwrap()].policy.active_check, None);
    assert!(loaded.config.services[&"shop/pay".parse().unwrap()].policy.active_check.is_some());
}

#[test]
fn a_tier_with_weights_is_read_and_one_without_is_what_it_was() {
    let tiers = |tier: &str| {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
             targetRefs: [{{kind: Service, name: web}}]\n  failover: [{{to: [{tier}]}}]\n"
        );
        let loaded = load(&text);
        assert_eq!(loaded.problems, [], "{tier}");
        loaded.config.services[&"shop/web".parse().unwrap()].policy.engine.failover[0].value.to.clone()
    };
    let (east, west) = ("us-east".parse().unwrap(), "us-west".parse().unwrap());
    let places = Places { clusters: [east, west].into(), ..Places::default() };
    let weights = [("us-east".parse().unwrap(), 90), ("us-west".parse().unwrap(), 0)];
    assert_eq!(
        tiers("{type: Only, clusters: [us-east, us-west], weights: {us-west: 0, us-east: 90}}"),
        [Tier::Weighted(places.clone(), Weights::Clusters(weights.into()))]
    );
    assert_eq!(tiers("{type: Only, clusters: [us-east, us-west]}"), [Tier::Only(places)]);
}

#[test]
fn what_is_checked_is_one_decision_and_the_passive_rules_are_many() {
    let text = "apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: fleet, namespace: platform}
spec:
  targetRefs: [{group: tidegate.dev, kind: Fleet, name: default}]
  healthCheck:
    active: {type: HTTP2, tls: {insecureSkipVerify: true}}
    passive: {latency: {ratio: 2.5, minimumSiblings: 6}, errors: {percentage: 30, window: 5s}}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  healthCheck:
    active: {type: GRPC, service: shop.Web}
    passive: {latency: {minimumSiblings: 3}, errors: {minimumRequests: 7}}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: pay, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: pay}]
  healthCheck: {passive: {latency: {enabled: false}, errors: {enabled: false}}}
---
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
";
    let loaded = load(text);
    assert_eq!(loaded.problems, []);
    let policy = |name: &str| loaded.config.services[&name.parse().unwrap()].policy.clone();
    let (web, pay) = (policy("shop/web"), policy("shop/pay"));
    let check = web.active_check.clone().unwrap();
    assert_eq!(check.kind, CheckKind::Grpc { service: "shop.Web".into(), host: None });
    assert_eq!(check.tls, None, "TLS belongs to what is asked, so a nearer policy replaces both");
    let rule = web.latency_check.unwrap();
    assert_eq!((rule.ratio_percent, rule.minimum_siblings, rule.consecutive), (250, 3, 3));
    let check = pay.active_check.clone().unwrap();
    assert!(matches!(check.kind, CheckKind::Http { version: HttpVersion::Http2, .. }) && check.tls.is_some());
    assert_eq!(pay.latency_check, None);
    let rule = web.error_check.unwrap();
    assert_eq!((rule.percentage, rule.minimum_requests, rule.window.as_secs()), (30, 7, 5));
    assert_eq!(pay.error_check, None);
}
