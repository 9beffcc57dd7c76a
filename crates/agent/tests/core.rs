//! The agent's core, driven by hand: manifests, verdicts and peers in, resources and words out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_agent::{
    core::{Core, Input, Output, PeerState, Publish, START_LIMIT, UNHEARD_LIMIT, gateway_names},
    hearing::{Heard, heard},
    saved::SavedAgent,
};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_link::{PeerEvent, RoundTrip};
use tidegate_model::{Fraction, Locality, Phase, PoolStatus, ProbeVerdict, Time};
use tidegate_probe::pacing::START_GAP;
use tidegate_xds::{Change, ResourceType};

const FLEET: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: east}
spec: {region: east, proximity: [{region: west, rtt: 60ms}]}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: west}
spec: {region: west, eastWestGateways: [{address: 127.0.9.9, port: 15443}]}
";

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [127.0.1.1], zone: a}
- {addresses: [127.0.1.2], zone: b}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: tidegate-edge, listeners: [{name: http, port: 10080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ew, namespace: infra}
spec: {gatewayClassName: tidegate-eastwest, listeners: [{name: ew, port: 15443, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}
";

fn config(files: &[&str]) -> Arc<Config> {
    let files: Vec<SourceFile> = files
        .iter()
        .enumerate()
        .map(|(number, text)| SourceFile { path: format!("{number}.yaml"), text: (*text).to_owned() })
        .collect();
    let loaded = Loader::new("east".parse().unwrap()).load(&files);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn start(saved: Option<SavedAgent>) -> (Core, Output) {
    let mut core = Core::new("east".parse().unwrap(), saved, ms(0));
    let output = core.handle(Input::Manifests(config(&[FLEET, WEB])), ms(0));
    (core, output)
}

/// Gateways come in both zones.
fn look(core: &mut Core, at: Time) -> Vec<Output> {
    ["a", "b"].map(|zone| core.handle(Input::Gateway(zone.parse().unwrap()), at)).into()
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, last], 8080))
}

fn check(core: &mut Core, last: u8, up: bool, at: Time) -> Output {
    let verdict = if up { ProbeVerdict::Up } else { ProbeVerdict::Down("connection refused".to_owned()) };
    core.handle(Input::Checked(("shop/web".parse().unwrap(), address(last)), verdict), at)
}

fn west_pool(healthy: u32) -> Vec<PoolStatus> {
    vec![PoolStatus {
        service: "shop/web".parse().unwrap(),
        locality: Locality { region: "west".parse().unwrap(), zone: "w".parse().unwrap() },
        expected: 2,
        present: 2,
        healthy,
        admit: Fraction::ONE,
        phase: Phase::Serving,
        hold_remaining: Duration::ZERO,
    }]
}

/// A core that knows all it wants to know, with gateways in both zones.
fn settled() -> Core {
    let (mut core, _) = start(None);
    look(&mut core, ms(5));
    check(&mut core, 1, true, ms(10));
    check(&mut core, 2, true, ms(11));
    let west = "west".parse().unwrap();
    core.handle(Input::RemotePools(west, west_pool(2)), ms(12));
    assert!(core.is_ready());
    core
}

/// Who serves the requests of a zone, and how much, as text.
fn plan(core: &Core, zone: &str) -> String {
    let plans = core.plan_views();
    let plan = plans.iter().find(|plan| plan.source == format!("east/{zone}")).unwrap();
    let shares: Vec<String> = plan.shares.iter().map(|(target, share)| format!("{target} {share}")).collect();
    shares.join(", ")
}

fn resources(output: &Output, kind: ResourceType) -> Vec<String> {
    let named = output.xds.iter().filter_map(|change| match change {
        Change::Set { scope, kind: of, name, .. } if *of == kind => Some(format!("{scope}: {name}")),
        _ => None,
    });
    named.collect()
}

#[test]
fn a_new_agent_is_ready_when_it_knows_its_endpoints_and_its_peers() {
    let (mut core, _) = start(None);
    assert_eq!(core.pending(ms(0)), ["the first check of 2 endpoints", "the first word of cluster west"]);
    assert!(check(&mut core, 1, true, ms(10)).publish.is_none());
    let output = check(&mut core, 2, false, ms(20));
    let Some(Publish::All(statuses)) = output.publish else { panic!("{output:?}") };
    assert_eq!(statuses.len(), 2, "peers are told of both pools, though they have not spoken yet");
    assert_eq!(core.pending(ms(20)), ["the first word of cluster west"]);
    assert!(!core.is_ready() && output.records.is_empty());
    let output = core.handle(Input::RemotePools("west".parse().unwrap(), west_pool(2)), ms(30));
    assert!(core.is_ready());
    assert_eq!(output.records.len(), 2, "the plans of both zones are in the timeline");
}

#[test]
fn a_new_agent_waits_no_longer_than_its_limit() {
    let (mut core, _) = start(None);
    let deadline = core.next_deadline().unwrap();
    assert_eq!(deadline, Time::ZERO + START_LIMIT + 2 * START_GAP, "two endpoints have a first check each");
    core.handle(Input::Tick, deadline);
    assert!(core.is_ready());
}

const FAR: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: far}
spec: {region: far, eastWestGateways: [{address: 127.0.9.8, port: 15443}]}
";

/// An edge cluster: it has the service, its gateway and route, but no endpoints.
fn start_edge() -> Core {
    let slice = WEB.find("---\napiVersion: discovery").unwrap();
    let (services, rest) = WEB.split_at(slice);
    let gateways = &rest[rest.find("---\napiVersion: gateway").unwrap()..];
    let mut core = Core::new("east".parse().unwrap(), None, ms(0));
    let config = config(&[FLEET, FAR, &format!("{services}{gateways}")]);
    core.handle(Input::Manifests(config), ms(0));
    look(&mut core, ms(5));
    core
}

fn never_heard(core: &mut Core, peer: &str, at: Time) {
    core.handle(Input::Unreachable(peer.parse().unwrap(), "not heard since it was named".to_owned()), at);
}

#[test]
fn an_agent_whose_services_live_elsewhere_waits_for_its_peers_before_it_answers_503() {
    let mut core = start_edge();
    never_heard(&mut core, "west", ms(900));
    never_heard(&mut core, "far", ms(900));
    let awaited = ["the first word of cluster far", "the first word of cluster west"];
    assert_eq!(core.pending(ms(900)), awaited, "that nothing was heard yet says nothing of them");
    let limit = Time::ZERO + START_LIMIT;
    core.handle(Input::Tick, limit);
    assert!(!core.is_ready(), "all that it could say is 503");
    let deadline = core.next_deadline().unwrap();
    assert_eq!(deadline, limit + UNHEARD_LIMIT, "and it is not woken in vain");

    core.handle(Input::RemotePools("west".parse().unwrap(), west_pool(2)), ms(2500));
    assert!(core.is_ready(), "one of them is enough after so long");
}

#[test]
fn an_agent_whose_services_live_elsewhere_plans_with_all_peers_that_come_in_time() {
    let mut core = start_edge();
    never_heard(&mut core, "west", ms(900));
    never_heard(&mut core, "far", ms(900));
    core.handle(Input::RemotePools("west".parse().unwrap(), west_pool(2)), ms(1200));
    assert_eq!(core.pending(ms(1200)), ["the first word of cluster far"]);
    assert_eq!(core.next_deadline(), Some(Time::ZERO + START_LIMIT));
    core.handle(Input::RemotePools("far".parse().unwrap(), vec![]), ms(1300));
    assert!(core.is_ready());
}

#[test]
fn a_peer_that_has_nothing_healthy_ends_no_wait_for_the_one_that_has() {
    for nothing in [vec![], west_pool(0)] {
        let mut core = start_edge();
        core.handle(Input::RemotePools("west".parse().unwrap(), nothing), ms(300));
        never_heard(&mut core, "far", ms(900));
        core.handle(Input::Tick, Time::ZERO + START_LIMIT);
        assert_eq!(core.pending(Time::ZERO + START_LIMIT), ["the first word of cluster far"]);
        core.handle(Input::RemotePools("far".parse().unwrap(), west_pool(2)), ms(2500));
        assert!(core.is_ready());
    }
}

#[test]
fn an_agent_that_hears_no_peer_at_all_answers_after_its_limit() {
    let mut core = start_edge();
    core.handle(Input::Tick, Time::ZERO + START_LIMIT + UNHEARD_LIMIT);
    assert!(core.is_ready());
}

#[test]
fn before_it_is_ready_an_agent_calls_nothing_dead() {
    let (mut core, output) = start(None);
    assert!(output.publish.is_none() && output.records.is_empty());
    let output = check(&mut core, 1, false, ms(5));
    assert!(output.publish.is_none() && output.records.is_empty());
}

#[test]
fn an_agent_that_restarts_is_ready_at_once_with_the_plans_it_had() {
    let mut core = settled();
    check(&mut core, 1, false, ms(100));
    assert_eq!(plan(&core, "a"), "zone b 100 %");
    let saved = core.save(ms(200)).unwrap();
    let (restarted, output) = start(Some(saved));
    assert!(restarted.is_ready());
    assert_eq!(plan(&restarted, "a"), "zone b 100 %");
    let known: BTreeMap<_, _> =
        output.targets.unwrap().into_iter().map(|((_, address), target)| (address, target.known)).collect();
    assert_eq!(known, BTreeMap::from([(address(1), Some(false)), (address(2), Some(true))]));
}

#[test]
fn a_restart_keeps_what_was_left_of_a_hold_down() {
    let mut core = settled();
    check(&mut core, 1, false, ms(100));
    check(&mut core, 1, true, ms(1_000));
    let (restarted, _) = start(Some(core.save(ms(11_000)).unwrap()));
    let pool = restarted.pool_views(ms(0)).into_iter().find(|pool| pool.zone.as_str() == "a").unwrap();
    assert_eq!((pool.phase, pool.hold_remaining_ms), (Phase::Holding, 20_000));
    assert_eq!(plan(&restarted, "a"), "zone b 100 %");
}

#[test]
fn a_gateway_in_a_new_zone_is_answered_only_once_its_plans_are_made() {
    let mut core = settled();
    let output = core.handle(Input::Gateway("c".parse().unwrap()), ms(100));
    assert_eq!(resources(&output, ResourceType::Endpoint).last().unwrap(), "edge/c: shop/web@c");
    assert!(resources(&output, ResourceType::Cluster).contains(&"edge/c: shop/web".to_owned()));
    let declared: Vec<String> = output.scopes.unwrap().iter().map(ToString::to_string).collect();
    assert!(declared.contains(&"edge/c".to_owned()), "{declared:?}");
    core.handle(Input::Tick, ms(150));
    let again = core.handle(Input::Gateway("c".parse().unwrap()), ms(200));
    assert!(again.xds.is_empty() && again.scopes.is_none(), "what is known is not made again");
    let (mut restarted, output) = start(Some(core.save(ms(300)).unwrap()));
    assert_eq!(plan(&restarted, "c"), "zone a 50 %, zone b 50 %");
    assert!(!output.scopes.unwrap().iter().any(|scope| scope.as_str() == "edge/c"), "nobody looks yet");
    let output = restarted.handle(Input::Gateway("c".parse().unwrap()), ms(400));
    assert!(output.scopes.as_ref().unwrap().iter().any(|scope| scope.as_str() == "edge/c"));
    assert!(resources(&output, ResourceType::Endpoint).contains(&"edge/c: shop/web@c".to_owned()));
}

#[test]
fn an_east_west_gateway_that_comes_later_is_told_of_every_service() {
    let mut core = Core::new("east".parse().unwrap(), None, ms(0));
    let (before, after) = WEB
        .split_once("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: ew")
        .unwrap();
    let without = format!("{before}{}", after.split_once("---\n").unwrap().1);
    let output = core.handle(Input::Manifests(config(&[FLEET, &without])), ms(0));
    assert!(!output.scopes.unwrap().iter().any(|scope| scope.as_str() == "eastwest"));
    look(&mut core, ms(5));
    let output = core.handle(Input::Manifests(config(&[FLEET, WEB])), ms(10));
    assert!(resources(&output, ResourceType::Cluster).contains(&"eastwest: shop/web".to_owned()));
    assert!(resources(&output, ResourceType::Endpoint).contains(&"eastwest: shop/web@local".to_owned()));
    assert!(output.scopes.unwrap().iter().any(|scope| scope.as_str() == "eastwest"));
}

#[test]
fn a_health_change_touches_no_cluster_and_no_listener() {
    let mut core = settled();
    let output = check(&mut core, 1, false, ms(100));
    assert_eq!(resources(&output, ResourceType::Cluster), Vec::<String>::new());
    assert_eq!(resources(&output, ResourceType::Listener), Vec::<String>::new());
    assert_eq!(
        resources(&output, ResourceType::Endpoint),
        ["eastwest: shop/web@local", "edge/a: shop/web@a", "edge/b: shop/web@b"]
    );
}

#[test]
fn a_silent_peer_moves_nothing_before_it_is_unreachable() {
    let mut core = settled();
    check(&mut core, 1, false, ms(50));
    check(&mut core, 2, false, ms(51));
    assert_eq!(plan(&core, "a"), "cluster west 100 %");
    let west = || "west".parse().unwrap();
    core.handle(Input::Reachable { peer: west(), quick: true, detail: "heard".to_owned() }, ms(60));
    // That nobody serves is told at its own pace.
    core.handle(Input::Tick, ms(300));
    let output = core.handle(Input::Suspect(west()), ms(400));
    assert!(output.xds.is_empty());
    assert_eq!(core.peers()[&west()], PeerState::Suspect);
    core.handle(Input::Unreachable(west(), "silent".to_owned()), ms(1_000));
    // Nothing allowed is healthy any more: the own endpoints are tried all the same.
    assert_eq!(plan(&core, "a"), "zone a 50 %, zone b 50 %");
    core.handle(Input::Reachable { peer: west(), quick: true, detail: "heard".to_owned() }, ms(2_000));
    assert_eq!(plan(&core, "a"), "cluster west 100 %");
}

#[test]
fn a_zone_that_is_left_drains_and_a_cluster_out_of_reach_does_not() {
    let draining = |core: &Core, at: Time| -> Vec<String> {
        let of_a = core.drain_views(at).into_iter().filter(|it| it.source == "east/a");
        of_a.map(|it| it.target.to_string()).collect()
    };
    let mut core = settled();
    check(&mut core, 1, false, ms(50));
    check(&mut core, 2, false, ms(51));
    assert_eq!(plan(&core, "a"), "cluster west 100 %");
    assert_eq!(draining(&core, ms(60)), ["zone a", "zone b"]);
    core.handle(Input::Unreachable("west".parse().unwrap(), "silent".to_owned()), ms(1_000));
    assert_eq!(plan(&core, "a"), "zone a 50 %, zone b 50 %");
    assert_eq!(draining(&core, ms(1_000)), Vec::<String>::new());
}

#[test]
fn what_is_told_of_a_cluster_that_no_manifest_names_is_not_listened_to() {
    let mut core = settled();
    core.take_unsaved(usize::MAX, true, ms(100));
    let output = core.handle(Input::RemotePools("north".parse().unwrap(), west_pool(2)), ms(100));
    assert!(output.xds.is_empty() && output.records.is_empty() && core.unsaved() == 0);
}

#[test]
fn a_service_that_leaves_the_manifests_leaves_the_gateways() {
    let mut core = settled();
    let output = core.handle(Input::Manifests(config(&[FLEET])), ms(100));
    let removed: Vec<String> = output
        .xds
        .iter()
        .filter_map(|change| match change {
            Change::Remove { scope, kind, name } => Some(format!("{scope}: {kind:?} {name}")),
            Change::Set { .. } => None,
        })
        .collect();
    assert_eq!(
        removed,
        [
            "eastwest: Cluster shop/web",
            "eastwest: Endpoint shop/web@local",
            "edge/a: Cluster shop/web",
            "edge/a: Endpoint shop/web@a",
            "edge/b: Cluster shop/web",
            "edge/b: Endpoint shop/web@b",
            "faults/a/shop/edge: Extension tidegate-fault-0",
            "faults/a/shop/edge: Extension tidegate-fault-1",
            "faults/b/shop/edge: Extension tidegate-fault-0",
            "faults/b/shop/edge: Extension tidegate-fault-1",
            "gateway/infra/ew: Listener infra/ew/ew",
            "gateway/infra/ew: Route infra/ew/ew",
            "gateway/infra/ew: Runtime tidegate-health",
            "gateway/shop/edge: Cluster tidegate-health",
            "gateway/shop/edge: Listener shop/edge/_health",
            "gateway/shop/edge: Listener shop/edge/http",
            "gateway/shop/edge: Route shop/edge/_health",
            "gateway/shop/edge: Route shop/edge/http",
        ]
    );
    assert_eq!(output.targets.unwrap(), []);
}

#[test]
fn manifests_that_lose_the_own_cluster_change_nothing() {
    let mut core = settled();
    let mut broken = (*config(&[FLEET, WEB])).clone();
    broken.clusters.clear();
    broken.services.clear();
    let output = core.handle(Input::Manifests(Arc::new(broken)), ms(100));
    assert!(output.xds.is_empty() && output.targets.is_none());
    assert_eq!(plan(&core, "a"), "zone a 100 %");
}

/// With thousands of services, what one of them costs must not grow with the others.
#[test]
fn a_change_of_one_service_is_told_of_that_service_only() {
    let mut core = settled();
    let cart = WEB.replace("name: web", "name: cart").replace("service-name: web", "service-name: cart");
    let cart = cart.replace("web-1", "cart-1").replace("127.0.1.", "127.0.2.");
    let cart = cart.split("---").take(2).collect::<Vec<_>>().join("---");
    let both = config(&[FLEET, WEB, &cart]);
    let output = core.handle(Input::Manifests(both.clone()), ms(20));
    let told = resources(&output, ResourceType::Endpoint);
    assert!(!told.is_empty() && told.iter().all(|it| it.contains("cart")), "{told:?}");
    for last in [1, 2] {
        let key = ("shop/cart".parse().unwrap(), SocketAddr::from(([127, 0, 2, last], 8080)));
        core.handle(Input::Checked(key, ProbeVerdict::Up), ms(30));
    }
    let output = check(&mut core, 1, false, ms(40));
    let Some(Publish::Changed(services)) = output.publish else { panic!("{output:?}") };
    assert_eq!(services.keys().map(ToString::to_string).collect::<Vec<_>>(), ["shop/web"]);
    assert_eq!(services.values().map(Vec::len).sum::<usize>(), 2, "all its pools, changed or not");
    let again = core.handle(Input::Manifests(both), ms(50));
    assert!(resources(&again, ResourceType::Cluster).is_empty(), "the same manifests are no news");
    let output = core.handle(Input::Manifests(config(&[FLEET, WEB])), ms(60));
    let Some(Publish::Changed(services)) = output.publish else { panic!("{output:?}") };
    assert_eq!(services, [("shop/cart".parse().unwrap(), vec![])].into());
}

#[test]
fn round_trips_of_the_peer_links_change_the_order_where_a_policy_goes_by_them() {
    let (mut core, _) = start(None);
    assert!(!core.measures(), "what is declared decides unless a policy says otherwise");
    let north = FLEET
        .replace("region: west, rtt: 60ms", "region: west, rtt: 60ms}, {region: north, rtt: 90ms")
        + "---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: north}\nspec: {region: north, \
           eastWestGateways: [{address: 127.0.9.10, port: 15443}]}\n";
    let policy = "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {name: web, namespace: shop}\nspec: \
                  {targetRefs: [{kind: Service, name: web}], proximity: {by: Measured}, failover: [{to: [{type: AnyExcept, \
                  regions: [east]}]}]}\n";
    core.handle(Input::Manifests(config(&[&north, WEB, policy])), ms(0));
    assert!(core.measures());
    for last in [1, 2] {
        check(&mut core, last, true, ms(10));
    }
    for (name, region) in [("west", "west"), ("north", "north")] {
        let mut pools = west_pool(2);
        pools[0].locality.region = region.parse().unwrap();
        core.handle(Input::RemotePools(name.parse().unwrap(), pools), ms(12));
    }
    assert_eq!(plan(&core, "a"), "cluster west 100 %");
    for second in 1..=62 {
        for (peer, rtt) in [("west", 60), ("north", 20)] {
            let rtt = Duration::from_millis(rtt);
            let told = PeerEvent::Rtt(RoundTrip { smoothed: rtt, min: rtt });
            let Heard::RoundTrip(input) = heard(peer.parse().unwrap(), &told) else { panic!("{told:?}") };
            core.handle(input, ms(second * 1000));
        }
    }
    assert_eq!(plan(&core, "a"), "cluster north 100 %");
}

#[test]
fn gateways_behind_a_name_are_those_that_it_led_to_last() {
    let named =
        FLEET.replace("{address: 127.0.9.9, port: 15443}", "{address: lb.west.example}, {address: 10.9.9.9}");
    let manifests = config(&[&named, WEB]);
    assert_eq!(
        gateway_names(&manifests, &"east".parse().unwrap()).into_iter().collect::<Vec<_>>(),
        ["lb.west.example"]
    );
    let (mut core, now) = (Core::new("east".parse().unwrap(), None, ms(0)), ms(1));
    let ways = |output: &Output| -> Option<Vec<String>> {
        output.peers.as_ref().map(|it| it.values().flatten().map(ToString::to_string).collect())
    };
    let found = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
        Input::Resolved([("lb.west.example".to_owned(), addresses)].into())
    };
    // Written addresses serve meanwhile.
    let output = core.handle(Input::Manifests(Arc::clone(&manifests)), ms(0));
    assert_eq!(ways(&output).unwrap(), ["10.9.9.9:15443"]);
    let output = core.handle(found(&["127.0.9.2", "127.0.9.1"]), now);
    assert_eq!(ways(&output).unwrap(), ["10.9.9.9:15443", "127.0.9.1:15443", "127.0.9.2:15443"]);
    check(&mut core, 1, true, ms(2));
    check(&mut core, 2, true, ms(2));
    core.handle(Input::RemotePools("west".parse().unwrap(), west_pool(2)), ms(3));

    // What leads nowhere, or to the same, changes nothing; another address reaches the gateways at once.
    for nothing in [found(&[]), found(&["127.0.9.1", "127.0.9.2"])] {
        let output = core.handle(nothing, ms(4));
        assert!(output.peers.is_none() && output.xds.is_empty());
    }
    let output = core.handle(found(&["127.0.9.1", "127.0.9.3"]), ms(5));
    assert_eq!(ways(&output).unwrap(), ["10.9.9.9:15443", "127.0.9.1:15443", "127.0.9.3:15443"]);
    let told: Vec<&Change> = output.xds.iter().collect();
    assert!(!resources(&output, ResourceType::Endpoint).is_empty(), "{told:?}");

    // An agent that restarts while no name is answered goes on with them.
    let saved = core.save(ms(6));
    let mut core = Core::new("east".parse().unwrap(), saved, ms(0));
    let output = core.handle(Input::Manifests(manifests), ms(0));
    assert_eq!(ways(&output).unwrap(), ["10.9.9.9:15443", "127.0.9.1:15443", "127.0.9.3:15443"]);
    // A name that is in no manifest any more is forgotten.
    core.handle(Input::Manifests(config(&[FLEET, WEB])), ms(1));
    assert!(core.save(ms(2)).unwrap().resolved.is_empty());
}
