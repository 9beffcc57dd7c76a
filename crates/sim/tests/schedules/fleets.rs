//! The fleets that schedules are drawn for: small, and each of another shape.

use std::{fmt::Write, fs, path::Path};
use tidegate_sim::Fleet;

/// The seconds of a hold-down, of each of the two steps of a ramp, and what failback takes at most after one fault.
const FAILBACK: &str = "failback: {holdDown: 2s, ramp: {steps: [50, 100], interval: 1s}}";

/// The clusters, each with its region.
pub(crate) const CLUSTERS: [(&str, &str); 3] = [("c1", "east"), ("c2", "east"), ("c3", "west")];
pub(crate) const ZONES: [&str; 2] = ["a", "b"];

/// A service, and the clusters that it is in.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) clusters: &'static [&'static str],
    /// The only region that may serve it, if there is such a rule.
    pub(crate) region: Option<&'static str>,
}

/// One at home everywhere, one that the west has to send for, one that c1 has to, and one that must not leave the east.
pub(crate) const SERVICES: [Service; 4] = [
    Service { name: "web", clusters: &["c1", "c2", "c3"], region: None },
    Service { name: "front", clusters: &["c1", "c2"], region: None },
    Service { name: "desk", clusters: &["c2", "c3"], region: None },
    Service { name: "kept", clusters: &["c1", "c2", "c3"], region: Some("east") },
];

/// What tells fleets apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// 2 or 3.
    pub(crate) clusters: usize,
    /// 1 or 2 in each cluster.
    pub(crate) zones: usize,
    /// East-west gateways of each cluster, 1 or 2.
    pub(crate) gateways: usize,
}

impl Shape {
    /// A fleet of two clusters has one in each region.
    pub(crate) fn clusters(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        CLUSTERS.into_iter().filter(move |(name, _)| self.clusters == 3 || *name != "c2")
    }

    pub(crate) fn zones(self) -> &'static [&'static str] {
        &ZONES[..self.zones]
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [2, 3].into_iter().flat_map(|clusters| {
            let with = move |zones| [1, 2].map(|gateways| Self { clusters, zones, gateways });
            [1, 2].into_iter().flat_map(with)
        })
    }

    /// Loads its manifests.
    pub(crate) fn fleet(self) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let fleet = folder.path().join("fleet");
        fs::create_dir(&fleet).unwrap();
        fs::write(fleet.join("fleet.yaml"), self.shared()).unwrap();
        for (cluster, _) in self.clusters() {
            self.write_cluster(folder.path(), cluster);
        }
        Fleet::load(folder.path()).unwrap()
    }

    fn shared(self) -> String {
        let mut text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: fleet, namespace: infra}}\nspec:\n  \
             targetRefs: [{{group: tidegate.dev, kind: Fleet, name: default}}]\n  \
             healthCheck: {{active: {{type: HTTP, path: /healthz}}}}\n  {FAILBACK}\n"
        );
        for service in SERVICES {
            let Some(region) = service.region else { continue };
            let name = service.name;
            write!(
                text,
                "---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
                 spec:\n  targetRefs: [{{kind: Service, name: {name}}}]\n  residency: {{regions: [{region}]}}\n"
            )
            .unwrap();
        }
        for (cluster, region) in self.clusters() {
            let number = &cluster[1..];
            let gateways: Vec<String> = (1..=self.gateways)
                .map(|it| format!("{{address: 10.0.{number}.{it}, port: 15443}}"))
                .collect();
            let other = if region == "east" { "west" } else { "east" };
            write!(
                text,
                "---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: {cluster}}}\nspec:\n  \
                 region: {region}\n  eastWestGateways: [{}]\n  proximity: [{{region: {other}, rtt: 60ms}}]\n",
                gateways.join(", ")
            )
            .unwrap();
        }
        text
    }

    fn write_cluster(self, folder: &Path, cluster: &str) {
        let number = &cluster[1..];
        let mut text = String::new();
        let mut port = 8000;
        for service in SERVICES {
            port += 1;
            let name = service.name;
            write!(
                text,
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
                 ports: [{{name: http, port: 80, targetPort: {port}}}]\n"
            )
            .unwrap();
            if !service.clusters.contains(&cluster) {
                continue;
            }
            write!(
                text,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  namespace: shop\n  \
                 labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports: [{{name: http, port: {port}}}]\nendpoints:\n"
            )
            .unwrap();
            for (index, zone) in (1..).zip(self.zones()) {
                for endpoint in [1, 2] {
                    writeln!(
                        text,
                        "- {{addresses: [10.1.{number}.{index}{endpoint}], zone: {cluster}{zone}}}"
                    )
                    .unwrap();
                }
            }
        }
        // Sources are where clients enter.
        write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: infra}}\nspec:\n  \
             gatewayClassName: tidegate-edge\n  addresses: [{{type: IPAddress, value: 10.0.{number}.9}}]\n  \
             listeners: [{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{from: All}}}}}}]\n"
        )
        .unwrap();
        fs::create_dir(folder.join(cluster)).unwrap();
        fs::write(folder.join(cluster).join("all.yaml"), text).unwrap();
    }
}
