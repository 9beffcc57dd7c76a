//! Folders of manifests that somebody works on: objects of few names, so that they meet, and every kind of mishap.

use proptest::prelude::*;
use std::{collections::BTreeMap, sync::OnceLock};
use tidegate_api::SourceFile;

/// A document, by what is drawn of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doc {
    pub kind: u8,
    pub namespace: u8,
    pub name: u8,
    /// What it says; every kind makes of it what it can.
    pub says: [u8; 4],
}

/// What happens to the folder.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Add(u8, u8, Doc),
    Replace(u8, u8, Doc),
    /// The same object says something else.
    Edit(u8, u8, [u8; 4]),
    Remove(u8, u8),
    Move(u8, u8, u8),
    Break(u8, &'static str),
    Mend(u8),
    Rename(u8, u8),
    Delete(u8),
}

/// The folder: files that hold documents, or what somebody wrote instead.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<u8, File>,
}

#[derive(Clone, Debug, Default)]
struct File {
    docs: Vec<Doc>,
    instead: Option<&'static str>,
}

const FILES: u8 = 5;

pub(super) fn doc() -> impl Strategy<Value = Doc> {
    // Services and slices are most of a fleet.
    let kind = prop_oneof![2 => 0..22u8, 1 => 3..5u8];
    (kind, 0..2u8, 0..3u8, any::<[u8; 4]>()).prop_map(|(kind, namespace, name, says)| Doc {
        kind,
        namespace,
        name,
        says,
    })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let (file, at) = (0..FILES, any::<u8>());
    prop_oneof![
        6 => (file.clone(), at, doc()).prop_map(|(file, at, doc)| Op::Add(file, at, doc)),
        2 => (file.clone(), at, doc()).prop_map(|(file, at, doc)| Op::Replace(file, at, doc)),
        6 => (file.clone(), at, any::<[u8; 4]>()).prop_map(|(file, at, says)| Op::Edit(file, at, says)),
        2 => (file.clone(), at).prop_map(|(file, at)| Op::Remove(file, at)),
        2 => (file.clone(), at, file.clone()).prop_map(|(file, at, to)| Op::Move(file, at, to)),
        1 => (file.clone(), prop::sample::select(BROKEN.to_vec())).prop_map(|(file, text)| Op::Break(file, text)),
        2 => file.clone().prop_map(Op::Mend),
        1 => (file.clone(), file.clone()).prop_map(|(file, to)| Op::Rename(file, to)),
        1 => file.prop_map(Op::Delete),
    ]
}

const BROKEN: [&str; 5] = ["", "{", "a: b: c", "# nothing\n", "kind: Service\napiVersion: v1\n"];

impl Folder {
    pub(super) fn act(&mut self, op: &Op) {
        match op {
            Op::Add(file, at, doc) => {
                let docs = &mut self.files.entry(*file).or_default().docs;
                let at = usize::from(*at) % (docs.len() + 1);
                docs.insert(at, *doc);
            }
            Op::Replace(file, at, doc) => self.with(*file, *at, |docs, at| docs[at] = *doc),
            Op::Edit(file, at, says) => self.with(*file, *at, |docs, at| docs[at].says = *says),
            Op::Remove(file, at) => self.with(*file, *at, |docs, at| {
                docs.remove(at);
            }),
            Op::Move(file, at, to) => {
                let mut moved = None;
                self.with(*file, *at, |docs, at| moved = Some(docs.remove(at)));
                self.files.entry(*to).or_default().docs.extend(moved);
            }
            Op::Break(file, text) => self.files.entry(*file).or_default().instead = Some(text),
            Op::Mend(file) => {
                if let Some(file) = self.files.get_mut(file) {
                    file.instead = None;
                }
            }
            Op::Rename(file, to) => {
                if let Some(moved) = self.files.remove(file) {
                    self.files.insert(*to, moved);
                }
            }
            Op::Delete(file) => {
                self.files.remove(file);
            }
        }
    }

    fn with(&mut self, file: u8, at: u8, act: impl FnOnce(&mut Vec<Doc>, usize)) {
        let docs = self.files.get_mut(&file).map(|file| &mut file.docs);
        if let Some(docs) = docs.filter(|docs| !docs.is_empty()) {
            let at = usize::from(at) % docs.len();
            act(docs, at);
        }
    }

    pub(super) fn files(&self) -> Vec<SourceFile> {
        let text = |file: &File| match file.instead {
            Some(text) => text.to_owned(),
            None => file.docs.iter().map(Doc::text).collect::<Vec<_>>().join("---\n"),
        };
        let file = |(name, file)| SourceFile { path: format!("{name}.yaml"), text: text(file) };
        self.files.iter().map(file).collect()
    }
}

/// Two certificates with their keys: made once, because what a document says must stay the same.
fn pairs() -> &'static [(String, String); 2] {
    static PAIRS: OnceLock<[(String, String); 2]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        [(); 2].map(|()| {
            let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        })
    })
}

impl Doc {
    /// The document. `a`, `b`, `c` and `d` are what it says.
    fn text(&self) -> String {
        let [a, b, c, d] = self.says;
        let of = |list: &[&'static str], by: u8| list[usize::from(by) % list.len()];
        let names = ["web", "wab", "pay"];
        let (namespace, name) = (["shop", "bank"][usize::from(self.namespace % 2)], of(&names, self.name));
        let created = of(
            &["", ", creationTimestamp: 2026-01-01T00:00:00Z", ", creationTimestamp: 2026-01-02T00:00:00Z"],
            d,
        );
        let meta =
            |more: &str| format!("metadata: {{name: {name}, namespace: {namespace}{created}{more}}}\n");
        let cluster_wide = |more: &str| format!("metadata: {{name: {name}{created}{more}}}\n");
        let service = of(&names, a);
        let zone = of(&["za", "zb", "zc"], b);
        let ours = "apiVersion: tidegate.dev/v1alpha1\nkind:";
        let gateway_api = "apiVersion: gateway.networking.k8s.io/v1\nkind:";
        let parents =
            format!("parentRefs: [{{name: {}, namespace: {}}}]", of(&names, b), of(&["shop", "bank"], d));
        let elsewhere = of(&["", "", ", namespace: bank"], c / 8);
        let backend = format!("{{name: {service}, port: {}{elsewhere}}}", of(&["80", "81"], c / 4));
        match self.kind {
            0 | 15 => {
                let name = of(&["us-east", "us-west"], self.name);
                let labels = of(&["", ", labels: {tier: gold}", ", labels: {tier: gold, law: eu}"], a);
                let region = of(&["east", "west", ""], b);
                format!(
                    "{ours} FleetCluster\nmetadata: {{name: {name}{labels}}}\nspec: {{region: {region}}}\n"
                )
            }
            1 => {
                let defaults = of(
                    &["{retry: {attempts: 2}}", "{spread: Spray}", "{minimumHealthy: {percentage: 90}}"],
                    a,
                );
                let overrides =
                    of(&["{}", "{failoverThreshold: {percentage: 50}}", "{failback: {holdDown: 9s}}"], b);
                format!(
                    "{ours} FailoverProfile\n{}spec: {{defaults: {defaults}, overrides: {overrides}}}\n",
                    cluster_wide("")
                )
            }
            2 => {
                let target = match a % 4 {
                    0 | 1 => format!("{{kind: Service, name: {}}}", of(&names, b)),
                    2 => format!("{{kind: Namespace, name: {namespace}}}"),
                    _ => "{group: tidegate.dev, kind: Fleet, name: default}".to_owned(),
                };
                let says = of(
                    &[
                        "failoverThreshold: {percentage: 60}",
                        "failoverThreshold: {percentage: 160}",
                        "minimumHealthy: {percentage: 80}",
                        "spread: Spray",
                        "residency: {matchLabels: {tier: gold}}",
                        "failover: [{to: [{type: Only, zones: [za]}]}]",
                        "failover: [{to: [{type: Only, matchLabels: {law: eu}}]}]",
                        "failback: {holdDown: 20m}",
                        "healthCheck: {active: {type: None}}",
                    ],
                    c,
                );
                format!("{ours} FailoverPolicy\n{}spec: {{targetRefs: [{target}], {says}}}\n", meta(""))
            }
            3 => {
                let port = of(
                    &[
                        "{port: 80}",
                        "{port: 80, name: http}",
                        "{port: 81}",
                        "{port: 80, appProtocol: grpc}",
                        "{port: 80, protocol: UDP}",
                    ],
                    a,
                );
                let selector = of(&["", ", selector: {app: web}", ", selector: {app: web, tier: x}"], b);
                format!("apiVersion: v1\nkind: Service\n{}spec: {{ports: [{port}]{selector}}}\n", meta(""))
            }
            4 | 14 => {
                let labels = format!(", labels: {{kubernetes.io/service-name: {service}}}");
                let endpoint = |n: u8| {
                    let node = of(&["", ", nodeName: web", ", nodeName: pay"], b / 3 + n);
                    let zone = if c % 16 == n { String::new() } else { format!(", zone: {zone}") };
                    let ready = of(&["", ", conditions: {ready: false}"], c / 16 + n);
                    format!("{{addresses: [10.0.0.{}]{zone}{node}{ready}}}", d % 4 + n)
                };
                let endpoints: Vec<String> = (0..c % 4).map(endpoint).collect();
                let port = of(&["{port: 8080}", "{port: 8080, name: http}", ""], d);
                format!(
                    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{}addressType: IPv4\nports: [{port}]\nendpoints: [{}]\n",
                    meta(&labels),
                    endpoints.join(", ")
                )
            }
            5 => {
                let class = of(&["tidegate-edge", "tidegate-internal", "tidegate-eastwest", "foreign"], a);
                let protocol = match b % 4 {
                    0 => format!(
                        "HTTPS, tls: {{certificateRefs: [{{name: {}, namespace: shop}}]}}",
                        of(&names, d)
                    ),
                    1 => "HTTP".to_owned(),
                    _ => "TCP".to_owned(),
                };
                let from = of(&["All", "Same"], c);
                let own = "  infrastructure: {parametersRef: {group: tidegate.dev, kind: GatewayTemplate, name: web}}\n";
                let own = if d % 4 == 0 { own } else { "" };
                format!(
                    "{gateway_api} Gateway\n{}spec:\n  gatewayClassName: {class}\n{own}  listeners: [{{name: a, port: 80, protocol: \
                     {protocol}, allowedRoutes: {{namespaces: {{from: {from}}}}}}}, {{name: b, port: 81, protocol: HTTP}}]\n",
                    meta("")
                )
            }
            6 | 7 => {
                let kind = if self.kind == 6 { "HTTPRoute" } else { "GRPCRoute" };
                let wrong = of(&["", "", ", {retry: {codes: [1]}, backendRefs: []}"], c);
                format!(
                    "{gateway_api} {kind}\n{}spec: {{{parents}, rules: [{{backendRefs: [{backend}]}}{wrong}]}}\n",
                    meta("")
                )
            }
            8 => format!(
                "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\n{}spec: {{{parents}, rules: [{{backendRefs: \
                 [{backend}]}}]}}\n",
                meta("")
            ),
            9 => {
                let place = of(
                    &["{zone: za}", "{cluster: us-west}", "{region: mars}", "{zone: za, service: shop/web}"],
                    a,
                );
                let lasts = of(&["30m", "200h"], b / 2);
                format!(
                    "{ours} TrafficShift\n{}spec: {{awayFrom: {place}, for: {lasts}, comment: test}}\n",
                    meta("")
                )
            }
            10 => {
                let ready = of(&["\"True\"", "\"False\"", "Unknown"], a);
                format!(
                    "apiVersion: v1\nkind: Node\n{}status: {{conditions: [{{type: Ready, status: {ready}}}]}}\n",
                    cluster_wide("")
                )
            }
            11 => {
                let replicas = of(&["replicas: 3, ", "replicas: 5, ", ""], a);
                let labels = of(&["{app: web}", "{app: web, tier: x}", "{app: other}"], b);
                format!(
                    "apiVersion: apps/v1\nkind: Deployment\n{}spec: {{{replicas}template: {{metadata: {{labels: {labels}}}}}}}\n",
                    meta("")
                )
            }
            12 => "apiVersion: v1\nkind: Service\nmetadata: {namespace: shop}\n".to_owned(),
            16 => {
                let [one, other] = pairs();
                let (chain, _) = if a % 2 == 0 { one } else { other };
                let (_, key) = if b % 8 == 0 { other } else { one };
                format!(
                    "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n{}stringData: {{tls.crt: {chain:?}, tls.key: {key:?}{}}}\n",
                    meta(""),
                    if c % 2 == 0 { format!(", ca.crt: {chain:?}") } else { String::new() }
                )
            }
            20 => {
                let [(one, _), (other, _)] = pairs();
                let authorities = [one.as_str(), other.as_str(), "none"][usize::from(a % 3)];
                format!("apiVersion: v1\nkind: ConfigMap\n{}data: {{ca.crt: {authorities:?}}}\n", meta(""))
            }
            21 => {
                let port = of(&["", "", ", sectionName: http"], b);
                let also = of(&["", ", {kind: Service, name: web}"], b / 4);
                let trust = match c % 4 {
                    0 => "wellKnownCACertificates: System".to_owned(),
                    1 => format!("caCertificateRefs: [{{kind: Secret, name: {}}}]", of(&names, c / 4)),
                    _ => format!("caCertificateRefs: [{{kind: ConfigMap, name: {}}}]", of(&names, c / 4)),
                };
                format!(
                    "{gateway_api} BackendTLSPolicy\n{}spec: {{targetRefs: [{{kind: Service, name: {service}{port}}}{also}], validation: \
                     {{hostname: a.example, {trust}}}}}\n",
                    meta("")
                )
            }
            18 => {
                let says = of(
                    &[
                        "{concurrency: 2}",
                        "{accessLog: All}",
                        "{tracing: {collector: {address: 10.0.0.9}, samplingPercentage: 5}}",
                        "{tls: {maxVersion: TLS1.2}}",
                        "{concurrency: 0}",
                    ],
                    a,
                );
                format!("{ours} GatewayTemplate\n{}spec: {says}\n", meta(""))
            }
            19 => {
                let class = of(&["tidegate-edge", "tidegate-internal", "other"], a);
                let template = format!(
                    "{{group: tidegate.dev, kind: GatewayTemplate, name: {service}, namespace: shop}}"
                );
                format!(
                    "{gateway_api} GatewayClass\nmetadata: {{name: {class}}}\nspec: {{controllerName: tidegate.dev/gateways, parametersRef: {template}}}\n"
                )
            }
            17 => {
                let (kind, to) =
                    (of(&["Gateway", "HTTPRoute", "TCPRoute"], a), of(&["Secret", "Service"], b));
                let from = of(&["shop", "bank"], c);
                format!(
                    "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\n{}spec: {{from: [{{group: \
                     gateway.networking.k8s.io, kind: {kind}, namespace: {from}}}], to: [{{group: \"\", kind: {to}}}]}}\n",
                    meta("")
                )
            }
            _ => "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolcy\nmetadata: {name: x}\n".to_owned(),
        }
    }
}
