use super::*;
use crate::{
    drills::{DrillQuery, headroom},
    saved::SavedAgent,
};
use std::{sync::Arc, time::Duration};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_engine::FleetState;
use tidegate_model::{Phase, ProbeVerdict};
use tidegate_xds::{Change, ResourceType};

/// `web` has endpoints in both zones, `cart` in one.
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
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [127.0.1.3], zone: a}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: tidegate-edge, addresses: [{type: IPAddress, value: 127.0.0.1}], listeners: [{name: http, port: 10080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: partner, namespace: shop}
spec: {gatewayClassName: tidegate-edge, addresses: [{type: IPAddress, value: 127.0.0.1}], listeners: [{name: http, port: 10081, protocol: HTTP}]}
";

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn config() -> Arc<Config> {
    config_of(FLEET)
}

fn config_of(text: &str) -> Arc<Config> {
    let file = SourceFile { path: "f.yaml".into(), text: text.to_owned() };
    let loaded = Loader::new("east".parse().unwrap()).load(&[file]);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

/// An agent that starts at `now` of its own clock and `unix` seconds after 1970.
fn started(saved: Option<SavedAgent>, unix: u64, now: Time) -> (Core, Vec<Output>) {
    started_with(FLEET, saved, unix, now)
}

fn started_with(fleet: &str, saved: Option<SavedAgent>, unix: u64, now: Time) -> (Core, Vec<Output>) {
    let mut core = Core::new("east".parse().unwrap(), saved, now);
    core.handle(Input::WallClock(Duration::from_secs(unix)), now);
    let mut outputs = vec![core.handle(Input::Manifests(config_of(fleet)), now)];
    for (service, address) in
        [("shop/web", "127.0.1.1:8080"), ("shop/web", "127.0.1.2:8080"), ("shop/cart", "127.0.1.3:8080")]
    {
        let key = (service.parse().unwrap(), address.parse().unwrap());
        core.handle(Input::Checked(key, ProbeVerdict::Up), now);
    }
    outputs.extend(["a", "b"].map(|zone| core.handle(Input::Gateway(zone.parse().unwrap()), now)));
    (core, outputs)
}

fn query(text: &str) -> Result<Fault, String> {
    let pairs = text.split_whitespace().map(|it| it.split_once('=').unwrap());
    let value = |(name, value): (&str, &str)| {
        let value = match name {
            "percent" | "status" => serde_json::json!(value.parse::<u32>().unwrap()),
            "markedOnly" | "hub" => serde_json::json!(value == "true"),
            _ => serde_json::json!(value),
        };
        (name.to_owned(), value)
    };
    let fields: serde_json::Map<String, serde_json::Value> = pairs.map(value).collect();
    let query: DrillQuery = serde_json::from_value(fields.into()).map_err(|error| error.to_string())?;
    query.fault(&"east".parse().unwrap(), &"us-east".parse().unwrap())
}

/// A fault of drill `d1` that lasts a minute unless `text` says otherwise.
fn fault(text: &str) -> Fault {
    let mut all = text.to_owned();
    for (name, default) in [("id", "d1"), ("expires", "60s"), ("by", "test")] {
        if !text.contains(&format!("{name}=")) {
            all = format!("{all} {name}={default}");
        }
    }
    query(&all).unwrap()
}

fn begin(core: &mut Core, text: &str, now: Time) -> Output {
    let fault = fault(text);
    assert_eq!(core.against_drill(&fault, now), Ok(()));
    core.handle(Input::Drill(Box::new(fault)), now)
}

fn running(core: &Core, now: Time) -> Vec<(String, u64)> {
    core.drill_views(now).into_iter().map(|it| (it.id, it.remaining_ms)).collect()
}

fn against(core: &Core, text: &str, now: Time) -> String {
    let fault = fault(text);
    let fleet = FleetState::seen_by(core.engine().unwrap(), now);
    match core.against_drill(&fault, now).and_then(|()| headroom(fleet, &fault)).unwrap_err() {
        Refusal::Unread(why) | Refusal::Unknown(why) | Refusal::Harm(why) => why,
    }
}

fn phase(core: &Core, service: &str, zone: &str, now: Time) -> Phase {
    let pools = core.pool_views(now);
    let of = |it: &&crate::view::PoolView| it.service.to_string() == service && it.zone.as_str() == zone;
    pools.iter().find(of).unwrap().phase
}

/// The extension resources of an output, by scope and name, with their length.
fn told(output: &Output) -> Vec<(String, String, usize)> {
    let of = |change: &Change| match change {
        Change::Set { scope, kind: ResourceType::Extension, name, body } => {
            Some((format!("{scope:?}"), name.clone(), body.len()))
        }
        _ => None,
    };
    output.xds.iter().filter_map(of).collect()
}

fn reasons(output: &Output) -> Vec<&str> {
    let drills = output.records.iter().filter(|record| record.kind == "drillChanged");
    drills.map(|record| record.reason.as_str()).collect()
}

#[test]
fn a_verdict_is_decided_about_and_ends_when_its_time_is_over_whoever_is_gone() {
    let (mut core, _) = started(None, 1000, at(0));
    let output = begin(&mut core, "kind=Verdict zone=a service=shop/web", at(1));
    assert_eq!(phase(&core, "shop/web", "a", at(1)), Phase::Out);
    assert_eq!(
        reasons(&output),
        ["drill d1 started by test: shop/web in zone us-east/a counts as dead, for 60 s at most"]
    );
    let because = |it: &Record| it.kind == "poolChanged" && it.reason.contains("drill d1 of test says");
    assert!(output.records.iter().any(because), "{:?}", output.records);
    assert!(core.next_deadline().unwrap() <= at(61));
    core.handle(Input::Tick, Time::from_millis(60_999));
    assert_eq!(running(&core, at(60)), [("d1".to_owned(), 1000)]);
    let output = core.handle(Input::Tick, at(61));
    assert_eq!(reasons(&output), ["drill d1 ended: its time is over"]);
    assert_eq!((running(&core, at(61)), phase(&core, "shop/web", "a", at(61))), (vec![], Phase::Holding));
}

#[test]
fn a_fault_goes_on_after_a_restart_and_never_outlives_its_end() {
    let (mut first, _) = started(None, 1000, at(0));
    begin(&mut first, "kind=Verdict zone=a service=shop/web", at(10));
    let saved = first.save(at(30));
    assert_eq!(saved.as_ref().unwrap().drills[0].remaining, Duration::from_secs(40));
    // 10 s later by the wall clock: it was to end 1070 s after 1970.
    let (second, _) = started(saved.clone(), 1040, at(0));
    assert_eq!(running(&second, at(0)), [("d1".to_owned(), 30_000)]);
    assert_eq!(phase(&second, "shop/web", "a", at(0)), Phase::Out);
    let (set_back, _) = started(saved.clone(), 500, at(0));
    assert_eq!(running(&set_back, at(0)), [("d1".to_owned(), 40_000)], "what remained does not grow");
    let (late, _) = started(saved, 2000, at(0));
    assert_eq!(running(&late, at(0)), [], "its time passed while no agent ran");
}

#[test]
fn gateways_are_told_what_to_do_to_requests_and_only_that() {
    let (mut core, outputs) = started(None, 1000, at(0));
    let nothing: Vec<_> = outputs.iter().flat_map(told).collect();
    assert_eq!(nothing.len(), 8, "two slots of two gateways in each of two zones: {nothing:?}");
    let output = begin(&mut core, "kind=Abort status=503 percent=30 zone=b service=shop/web", at(1));
    let told_of = told(&output);
    assert_eq!(output.xds.len(), 2, "{:?}", output.xds);
    for (told, gateway) in told_of.iter().zip(["edge", "partner"]) {
        assert!(told.0.contains(&format!("faults/b/shop/{gateway}")), "{told_of:?}");
        assert_eq!(told.1, "tidegate-fault-0");
    }
    let off = nothing[0].2;
    assert!(told_of[0].2 > off);
    let ended = core.handle(Input::EndDrill { id: "d1".to_owned(), by: "by test".to_owned() }, at(2));
    assert_eq!(
        (told(&ended)[0].2, ended.xds.len(), reasons(&ended)),
        (off, 2, vec!["drill d1 ended: by test"])
    );
    // Longer than an hour cannot be said; more than the slots cannot be done.
    for (id, service) in [("x", "shop/web"), ("y", "shop/cart")] {
        begin(&mut core, &format!("id={id} kind=Delay delay=1s markedOnly=true service={service}"), at(3));
    }
    assert!(against(&core, "kind=Brownout service=shop/web", at(3)).contains("drill x touches"));
}

#[test]
fn one_gateway_breaks_requests_and_the_others_do_not() {
    let (mut core, _) = started(None, 1000, at(0));
    for kind in ["kind=Abort status=503", "kind=BlackHole", "kind=Brownout percent=30", "kind=Delay delay=1s"]
    {
        let output = begin(&mut core, &format!("{kind} gateway=shop/edge cluster=east"), at(1));
        let told_of = told(&output);
        let [a, b] = told_of.as_slice() else { panic!("{kind}: {told_of:?}") };
        assert!(a.0.contains("faults/a/shop/edge") && b.0.contains("faults/b/shop/edge"), "{told_of:?}");
        assert_eq!(output.xds.len(), 2, "{kind}: no endpoint, route or listener changes");
        assert_eq!(core.drill_views(at(1))[0].target, "gateway shop/edge of cluster east");
        let ended = core.handle(Input::EndDrill { id: "d1".to_owned(), by: "by test".to_owned() }, at(2));
        assert_eq!(told(&ended).len(), 2);
    }
}

#[test]
fn a_gateway_that_cannot_be_broken_is_refused_with_the_reason() {
    let (core, _) = started(None, 1000, at(0));
    let abort = "kind=Abort status=503";
    for (fault, said) in [
        (
            format!("{abort} gateway=shop/egde cluster=east"),
            "by no gateway shop/egde; there are: shop/edge, shop/partner",
        ),
        (format!("{abort} gateway=shop/edge cluster=west"), "there is no pool of cluster west"),
    ] {
        let why = against(&core, &fault, at(1));
        assert!(why.contains(said), "{fault}: {why}");
    }
    let query = |text: &str| query(&format!("{text} id=d expires=60s by=test")).unwrap_err();
    assert!(query("kind=Verdict gateway=shop/edge").contains("a gateway has no pools"));
    assert!(query("kind=Shift gateway=shop/edge").contains("a gateway has no pools"));
    assert!(query("kind=Abort status=503 gateway=shop/edge zone=a").contains("at most its cluster"));
    assert!(query("kind=BlackHole gateway=shop/edge via=192.0.2.7:9").contains("leave out via"));
    assert!(query("kind=Abort status=503 gateway=edge").contains("NAMESPACE/NAME"));
}

#[test]
fn the_only_gateway_is_broken_in_one_cluster_at_a_time() {
    let one = FLEET.rsplit_once("---").unwrap().0;
    let (mut core, _) = started_with(one, None, 1000, at(0));
    let why = against(&core, "kind=Abort status=503 gateway=shop/edge", at(1));
    assert!(why.contains("everything at once") && why.contains("in which cluster"), "{why}");
    // Nor where this is all there is.
    let why = against(&core, "kind=Abort status=503 gateway=shop/edge cluster=east", at(1));
    assert!(why.contains("everything at once"), "{why}");
    begin(&mut core, "kind=Abort status=503 gateway=shop/edge markedOnly=true", at(1));
}

#[test]
fn a_gateway_that_is_gone_takes_what_it_was_told_along() {
    let (mut core, _) = started(None, 1000, at(0));
    begin(&mut core, "kind=Abort status=503 gateway=shop/partner cluster=east", at(1));
    let one = FLEET.rsplit_once("---").unwrap().0;
    let output = core.handle(Input::Manifests(config_of(one)), at(2));
    let removed = |change: &&Change| matches!(change, Change::Remove { kind: ResourceType::Extension, .. });
    assert_eq!(output.xds.iter().filter(removed).count(), 4, "two slots in each of two zones");
    let output = core.handle(Input::Manifests(config()), at(3));
    assert_eq!(told(&output).len(), 4, "it is told anew, the drill goes on");
}

#[test]
fn a_black_hole_stands_where_endpoints_were_until_it_ends() {
    let (mut core, _) = started(None, 1000, at(0));
    let endpoints = |output: &Output| -> Vec<Vec<u8>> {
        let of = |change: &Change| match change {
            Change::Set { kind: ResourceType::Endpoint, name, body, .. }
                if name.starts_with("shop/web@a") =>
            {
                Some(body.to_vec())
            }
            _ => None,
        };
        output.xds.iter().filter_map(of).collect()
    };
    let has = |body: &[u8], text: &str| body.windows(text.len()).any(|it| it == text.as_bytes());
    let started = endpoints(&begin(&mut core, "kind=BlackHole zone=a service=shop/web", at(1)));
    assert!(has(&started[0], "192.0.2.1") && !has(&started[0], "127.0.1.1") && has(&started[0], "127.0.1.2"));
    let ended = endpoints(&core.handle(Input::EndDrill { id: "d1".into(), by: "test".into() }, at(2)));
    assert!(!has(&ended[0], "192.0.2.") && has(&ended[0], "127.0.1.1"));
}

#[test]
fn a_shift_of_a_drill_is_a_shift_and_ends_with_it() {
    let (mut core, _) = started(None, 1000, at(0));
    begin(&mut core, "kind=Shift percent=100 zone=a service=shop/web", at(1));
    assert_eq!(core.shift_views(at(1))[0].by, "drill");
    assert_eq!(phase(&core, "shop/web", "a", at(1)), Phase::Shifted);
    core.handle(Input::Tick, at(61));
    assert_eq!((core.shift_views(at(61)), running(&core, at(61))), (vec![], vec![]));
}

#[test]
fn what_would_do_harm_is_refused_with_the_reason() {
    let (mut core, _) = started(None, 1000, at(0));
    for (text, why) in [
        ("kind=Verdict zone=nowhere", "there is no pool of"),
        ("kind=Verdict service=shop/none", "there is no pool of"),
        (
            "kind=Verdict zone=a",
            "no headroom: without zone us-east/a shop/cart would be served by nothing healthy",
        ),
        ("kind=BlackHole zone=a", "shop/cart"),
        ("kind=Shift service=shop/web", "no headroom: without shop/web in cluster east shop/web"),
        ("kind=Verdict cluster=east", "everything at once"),
        ("kind=Abort status=503 cluster=east", "everything at once"),
    ] {
        let said = against(&core, text, at(1));
        assert!(said.contains(why), "{text}: {said}");
    }
    begin(&mut core, "id=other kind=Verdict zone=a service=shop/web", at(1));
    assert!(against(&core, "kind=Shift zone=a service=shop/web", at(1)).contains("drill other touches"));
    core.handle(Input::EndDrill { id: "other".into(), by: "test".into() }, at(2));
    begin(&mut core, "id=moves kind=Shift zone=b service=shop/web", at(200));
    core.handle(Input::EndDrill { id: "moves".into(), by: "test".into() }, at(201));
    let operator =
        Shift { name: "rack".to_owned(), by: ShiftedBy::Operator, ..shift(&fault("kind=Shift zone=b")) };
    core.handle(Input::Shift(operator), at(400));
    assert!(against(&core, "kind=Verdict zone=b service=shop/web", at(400)).contains("shift rack touches"));
}

#[test]
fn what_cannot_be_read_is_said() {
    let whole = "id=d kind=Verdict zone=a expires=60s by=test";
    assert!(query(whole).is_ok());
    for (wrong, said) in [
        ("id=d kind=Verdict zone=a by=test", "say when it ends by itself"),
        ("id=d kind=Verdict zone=a expires=61m by=test", "1s to 1h"),
        ("id=d kind=Verdict zone=a expires=60s", "say who"),
        ("kind=Verdict zone=a expires=60s by=test", "id is"),
        ("id=a/b kind=Verdict zone=a expires=60s by=test", "id is"),
        ("id=d kind=Verdict expires=60s by=test", "name one target"),
        ("id=d kind=Verdict zone=a cluster=c expires=60s by=test", "name one target"),
        ("id=d kind=Melt zone=a expires=60s by=test", "kind is Verdict"),
        ("id=d kind=Abort zone=a expires=60s by=test", "needs a status"),
        ("id=d kind=Abort status=200 zone=a expires=60s by=test", "needs a status"),
        ("id=d kind=Delay zone=a expires=60s by=test", "needs a delay"),
        ("id=d kind=Verdict status=503 zone=a expires=60s by=test", "status is for Abort only"),
        ("id=d kind=Verdict percent=30 zone=a expires=60s by=test", "leave out percent"),
        ("id=d kind=Shift percent=0 zone=a expires=60s by=test", "1 to 100"),
        ("id=d kind=Shift markedOnly=true zone=a expires=60s by=test", "leave out markedOnly"),
        ("id=d kind=Shift force=true zone=a expires=60s by=test", "unknown field"),
    ] {
        let error = query(wrong).unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}

#[test]
fn a_link_or_the_way_to_the_hub_is_cut_until_its_time_is_over() {
    let (mut core, _) = started(None, 1000, at(0));
    let output = begin(&mut core, "kind=BlackHole hub=true", at(1));
    assert_eq!((output.leaves_hub, output.cut), (Some(true), None));
    assert!(against(&core, "id=d2 kind=BlackHole hub=true", at(1)).contains("another drill keeps"));
    let output = core.handle(Input::Tick, at(61));
    assert_eq!((output.leaves_hub, running(&core, at(61))), (Some(false), vec![]));
    // Who hears is asked, and knows whom.
    let said = against(&core, "kind=BlackHole linkFrom=west linkTo=east", at(62));
    assert!(said.contains("are not in cluster east: tell its own agent"), "{said}");
    let said = against(&core, "kind=BlackHole linkFrom=east linkTo=west", at(62));
    assert!(said.contains("there is no pool of cluster west"), "{said}");
    for (text, why) in [
        ("id=d kind=Abort status=503 hub=true expires=9s by=t", "only cut"),
        ("id=d kind=BlackHole via=127.0.0.1:9 linkFrom=east linkTo=west expires=9s by=t", "only cut"),
        ("id=d kind=BlackHole linkTo=west expires=9s by=t", "linkFrom and linkTo"),
        ("id=d kind=BlackHole hub=true zone=a expires=9s by=t", "name one target"),
    ] {
        let error = query(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
