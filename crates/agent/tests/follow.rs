//! Manifests told by what changed come to the same as all of them told anew: for the engine, the gateways, the checks
//! and what is kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_agent::core::{Core, Input, Output, ProbeKey};
use tidegate_api::{Loader, SourceFile};
use tidegate_model::{ProbeVerdict, Time};
use tidegate_probe::Target;
use tidegate_xds::Change;

/// The files of a fleet, as somebody edits them; an empty text is a file that is gone.
const VERSIONS: [(&str, &[&str]); 7] = [
    (
        "clusters.yaml",
        &[
            "{apiVersion: tidegate.dev/v1alpha1, kind: FleetCluster, metadata: {name: east}, spec: {region: east}}",
            "{apiVersion: tidegate.dev/v1alpha1, kind: FleetCluster, metadata: {name: east}, spec: {region: east}}\n---\n\
             {apiVersion: tidegate.dev/v1alpha1, kind: FleetCluster, metadata: {name: west}, spec: {region: west, \
             eastWestGateways: [{address: 127.0.9.9}]}}",
            "# nothing",
        ],
    ),
    (
        "services.yaml",
        &[
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80}]}}\n---\n\
             {apiVersion: v1, kind: Service, metadata: {name: pay, namespace: shop}, spec: {ports: [{port: 80}]}}",
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80, appProtocol: \
             grpc}]}}",
            "# one line down\n{apiVersion: v1, kind: Service, metadata: {name: pay, namespace: shop}, spec: {ports: [{port: \
             80, appProtocol: tcp}]}}",
            "# nothing",
        ],
    ),
    ("web.yaml", &["a", "a!", "ab", "abc", "b!c", ""]),
    ("pay.yaml", &["a", "ab", "cd!", ""]),
    (
        "policy.yaml",
        &[
            "retry: {attempts: 2}",
            "circuitBreaker: {maxConnections: 9}",
            "failoverThreshold: {percentage: 50}",
            "healthCheck: {active: {type: None}}",
            "healthCheck: {passive: {errors: {percentage: 30}}}",
            "capacity: {concurrency: 9}",
            "",
        ],
    ),
    ("routes.yaml", &["web", "pay", "cart", ""]),
    ("shift.yaml", &["{zone: a}", "{zone: b}", ""]),
];

fn text(file: &str, version: &str) -> String {
    if version.is_empty() {
        return String::new();
    }
    match file {
        "web.yaml" | "pay.yaml" => {
            let name = file.trim_end_matches(".yaml");
            let last = if name == "web" { 0 } else { 10 };
            // Each letter is a zone with an endpoint; of one with `!` after it the endpoint is not ready.
            let letters: Vec<char> = version.chars().collect();
            let endpoints =
                (1..).zip(&letters).filter(|(_, letter)| letter.is_alphabetic()).map(|(at, zone)| {
                    let ready = letters.get(at) != Some(&'!');
                    format!(
                        "{{addresses: [127.0.1.{}], zone: {zone}, conditions: {{ready: {ready}}}}}",
                        last + at
                    )
                });
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: \
                 {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{}]\n",
                endpoints.collect::<Vec<_>>().join(", ")
            )
        }
        "policy.yaml" => format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: shop, namespace: shop}}\nspec: \
             {{targetRefs: [{{kind: Namespace, name: shop}}], {version}}}\n"
        ),
        "routes.yaml" => format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec: \
             {{gatewayClassName: tidegate-edge, listeners: [{{name: http, port: 10080, protocol: HTTP}}]}}\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: ew, namespace: shop}}\nspec: \
             {{gatewayClassName: tidegate-eastwest, listeners: [{{name: ew, port: 15443, protocol: HTTP}}]}}\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec: \
             {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: {version}, port: 80}}]}}]}}\n"
        ),
        "shift.yaml" => format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {{name: away, namespace: shop}}\nspec: \
             {{awayFrom: {version}, for: 30m, comment: test}}\n"
        ),
        _ => version.to_owned(),
    }
}

/// A core, and what its shell has done.
struct World {
    core: Core,
    xds: BTreeMap<String, Vec<u8>>,
    targets: BTreeMap<ProbeKey, Target>,
    records: Vec<String>,
    scopes: String,
    gateways: String,
}

impl World {
    fn new() -> Self {
        let core = Core::new("east".parse().unwrap(), None, Time::ZERO);
        let (xds, targets, records) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { core, xds, targets, records, scopes: String::new(), gateways: String::new() }
    }

    fn handle(&mut self, input: Input, now: Time) {
        let output = self.core.handle(input, now);
        self.carry_out(output);
    }

    /// Nothing happens until then, but what is due is done, as the agent's loop does it.
    fn until(&mut self, now: Time) {
        while let Some(due) = self.core.next_deadline().filter(|due| *due <= now) {
            self.handle(Input::Tick, due);
        }
    }

    fn carry_out(&mut self, output: Output) {
        for change in output.xds {
            match change {
                Change::Set { scope, kind, name, body } => {
                    self.xds.insert(format!("{scope:?} {kind} {name}"), body.to_vec());
                }
                Change::Remove { scope, kind, name } => {
                    self.xds.remove(&format!("{scope:?} {kind} {name}"));
                }
            }
        }
        if let Some(targets) = output.targets {
            self.targets = targets.into_iter().collect();
        }
        for (key, target) in output.changed_targets {
            match target {
                Some(target) => self.targets.insert(key, target),
                None => self.targets.remove(&key),
            };
        }
        self.records.extend(output.records.iter().map(|record| format!("{record:?}")));
        if let Some(scopes) = output.scopes {
            self.scopes = format!("{scopes:?}");
        }
        if let Some(gateways) = output.gateways {
            self.gateways = format!("{gateways:?}");
        }
    }

    /// What is checked and how; what was known when it was told is the prober's business.
    fn checks(&self) -> BTreeMap<&ProbeKey, String> {
        let check = |target: &Target| format!("{:?}", Target { known: None, ..target.clone() });
        self.targets.iter().map(|(key, target)| (key, check(target))).collect()
    }
}

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Edit(&'static str, &'static str),
    Checked(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let edits: Vec<_> =
        VERSIONS.iter().flat_map(|(file, versions)| versions.iter().map(|it| Step::Edit(file, it))).collect();
    prop_oneof![
        2 => select(edits),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, up)| Step::Checked(at, up)),
    ]
}

fn hold(steps: &[Step]) {
    let mut loader = Loader::new("east".parse().unwrap());
    let (mut whole, mut followed) = (World::new(), World::new());
    let mut files: BTreeSet<&str> = BTreeSet::new();
    for (file, versions) in VERSIONS {
        loader.set_file(&SourceFile { path: file.to_owned(), text: text(file, versions[0]) });
        files.insert(file);
    }
    loader.update();
    let first = Arc::new(loader.config().clone());
    whole.handle(Input::Manifests(Arc::clone(&first)), Time::ZERO);
    followed.handle(Input::Manifests(first), Time::ZERO);
    for zone in ["a", "b"] {
        whole.handle(Input::Gateway(zone.parse().unwrap()), Time::ZERO);
        followed.handle(Input::Gateway(zone.parse().unwrap()), Time::ZERO);
    }
    for (number, step) in (1..).zip(steps) {
        let now = Time::ZERO + Duration::from_secs(number);
        whole.until(now);
        followed.until(now);
        match step {
            Step::Edit(file, "") => loader.remove(file),
            Step::Edit(file, version) => {
                loader.set_file(&SourceFile { path: (*file).to_owned(), text: text(file, version) });
            }
            Step::Checked(at, up) => {
                let Some(key) = whole.targets.keys().nth(at % whole.targets.len().max(1)).cloned() else {
                    continue;
                };
                let verdict = if *up { ProbeVerdict::Up } else { ProbeVerdict::Down("no answer".to_owned()) };
                whole.handle(Input::Checked(key.clone(), verdict.clone()), now);
                followed.handle(Input::Checked(key, verdict), now);
            }
        }
        let change = loader.update().change;
        if !change.is_empty() {
            whole.handle(Input::Manifests(Arc::new(loader.config().clone())), now);
            followed.handle(Input::ManifestsChanged(Arc::new(change)), now);
        }
        let json = |core: &Core| serde_json::to_string(&core.save(now)).unwrap();
        assert_eq!(json(&whole.core), json(&followed.core), "what is kept");
        assert_eq!(whole.core.config(), followed.core.config());
        assert_eq!(whole.core.next_deadline(), followed.core.next_deadline());
        assert_eq!(whole.core.pending(now), followed.core.pending(now));
        assert_eq!(whole.core.judges_errors(), followed.core.judges_errors());
        assert_eq!(whole.checks(), followed.checks());
        assert_eq!(whole.records, followed.records);
        assert_eq!(whole.scopes, followed.scopes);
        assert_eq!(whole.gateways, followed.gateways);
        let differ: Vec<&String> = whole
            .xds
            .iter()
            .filter(|(key, body)| followed.xds.get(*key) != Some(*body))
            .map(|(key, _)| key)
            .collect();
        assert!(
            differ.is_empty() && whole.xds.len() == followed.xds.len(),
            "gateways are told otherwise: {differ:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_come_to_the_same_as_all_told_anew(steps in vec(step(), 1..25)) {
        hold(&steps);
    }
}
