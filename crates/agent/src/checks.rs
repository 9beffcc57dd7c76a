//! Policies as targets of the prober. Pure.

use std::sync::Arc;
use tidegate_api::{
    ActiveCheck, CheckKind, ExpectedBody, HttpMethod, HttpVersion, SYSTEM_AUTHORITIES, Service, SubjectName,
    TlsCheck, Trust, UpstreamTls,
};
use tidegate_engine::EndpointView;
use tidegate_model::ServiceName;
use tidegate_probe as probe;

/// How the endpoints of one service are checked; `None` where active checks are switched off.
pub(crate) struct Checks {
    config: probe::CheckConfig,
    latency: Option<probe::latency::LatencyRule>,
}

impl Checks {
    /// Endpoints that gateways speak to by TLS are checked by the same TLS, unless the policy says another one.
    pub(crate) fn of(service: &Service) -> Option<Self> {
        let policy = &service.policy;
        let check = policy.active_check.as_ref()?;
        let written = check.tls.as_ref().map(|tls| self::tls(tls, check));
        let config = probe::CheckConfig {
            kind: kind(&check.kind),
            tls: written.or_else(|| service.tls.as_deref().map(as_gateways)).map(Arc::new),
            interval: check.interval,
            timeout: check.timeout,
            unhealthy_threshold: check.unhealthy_threshold,
            healthy_threshold: check.healthy_threshold,
        };
        let latency = policy.latency_check.map(|rule| probe::latency::LatencyRule {
            ratio_percent: rule.ratio_percent,
            minimum_difference: rule.minimum_difference,
            max_ejected_percent: rule.max_ejection_percent,
            minimum_siblings: rule.minimum_siblings,
            consecutive: rule.consecutive,
        });
        Some(Self { config, latency })
    }

    /// An endpoint as a target. Its siblings are its pool, the endpoints of the service in its zone: the way to another
    /// zone takes longer, and that is no fault of theirs.
    pub(crate) fn target(&self, service: &ServiceName, endpoint: &EndpointView) -> probe::Target {
        let siblings = self
            .latency
            .map(|rule| probe::Siblings { group: format!("{service}/{}", endpoint.zone).into(), rule });
        probe::Target { address: endpoint.address, config: self.config.clone(), known: endpoint.up, siblings }
    }
}

fn kind(kind: &CheckKind) -> probe::CheckKind {
    match kind {
        CheckKind::Tcp => probe::CheckKind::Tcp,
        CheckKind::Grpc { service, host } => probe::CheckKind::Grpc(Arc::new(probe::GrpcCheck {
            service: service.clone(),
            authority: host.clone(),
        })),
        CheckKind::Http { version, method, path, host, headers, expected_statuses, expected_body } => {
            let check = Arc::new(probe::HttpCheck {
                method: match method {
                    HttpMethod::Get => probe::Method::Get,
                    HttpMethod::Head => probe::Method::Head,
                    HttpMethod::Options => probe::Method::Options,
                },
                path: path.clone(),
                host: host.clone(),
                headers: headers.clone(),
                expected_statuses: expected_statuses.clone(),
                expected_body: expected_body.as_ref().map(|body| match body {
                    ExpectedBody::Contains(text) => probe::ExpectedBody::Contains(text.clone()),
                    ExpectedBody::StartsWith(text) => probe::ExpectedBody::StartsWith(text.clone()),
                }),
            });
            match version {
                HttpVersion::Http1 => probe::CheckKind::Http(check),
                HttpVersion::Http2 => probe::CheckKind::Http2(check),
            }
        }
    }
}

fn tls(tls: &TlsCheck, check: &ActiveCheck) -> probe::TlsConfig {
    let host = match &check.kind {
        CheckKind::Http { host, .. } | CheckKind::Grpc { host, .. } => host.as_deref(),
        CheckKind::Tcp => None,
    };
    // With a port or as an address it is no name that a certificate bears.
    let host = host.filter(|host| !host.contains(':') && host.parse::<std::net::IpAddr>().is_err());
    probe::TlsConfig {
        server_name: tls.server_name.clone().or_else(|| host.map(str::to_owned)),
        trust: match &tls.authorities {
            Some(file) => probe::Trust::Authorities(file.into()),
            None => probe::Trust::Anybody,
        },
        names: Vec::new(),
        client: tls.client.as_ref().map(|client| probe::ClientCertificate {
            chain: (&client.chain).into(),
            key: (&client.key).into(),
        }),
    }
}

/// As gateways believe endpoints.
fn as_gateways(tls: &UpstreamTls) -> probe::TlsConfig {
    let name = |name: &SubjectName| match name {
        SubjectName::Host(host) => probe::SubjectName::Host(host.clone()),
        SubjectName::Uri(uri) => probe::SubjectName::Uri(uri.clone()),
    };
    probe::TlsConfig {
        server_name: Some(tls.server_name.clone()),
        trust: match &tls.trust {
            Trust::System => probe::Trust::Authorities(SYSTEM_AUTHORITIES.into()),
            Trust::Authorities(pem) => probe::Trust::Bundle(Arc::clone(pem)),
            Trust::Nobody => {
                probe::Trust::Nobody("its BackendTLSPolicy names no authority that is there".into())
            }
        },
        names: tls.names.iter().map(name).collect(),
        client: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tidegate_api::{ClientCertificate, LatencyCheck, Protocol, Reach, ServicePolicy};
    use tidegate_engine::Origin;

    fn service(active: ActiveCheck, latency: Option<LatencyCheck>, tls: Option<UpstreamTls>) -> Service {
        let policy =
            ServicePolicy { active_check: Some(active), latency_check: latency, ..ServicePolicy::default() };
        Service {
            endpoints: BTreeMap::new(),
            replicas: None,
            protocol: Protocol::Http1,
            tunnelled: false,
            tls: tls.map(Arc::new),
            reach: Reach::Fleet,
            policy: Arc::new(policy),
            origin: Origin::Default,
        }
    }

    #[test]
    fn the_name_that_a_certificate_must_bear_is_the_one_written_then_the_host_then_the_address() {
        let rows = [
            (Some("tls.example"), Some("web.example"), Some("tls.example")),
            (None, Some("web.example"), Some("web.example")),
            (None, Some("web.example:8443"), None),
            (None, Some("10.0.0.1"), None),
            (None, None, None),
        ];
        for (written, host, expected) in rows {
            let active = ActiveCheck {
                kind: CheckKind::Grpc { service: String::new(), host: host.map(str::to_owned) },
                tls: Some(TlsCheck {
                    server_name: written.map(str::to_owned),
                    authorities: Some("/ca.pem".into()),
                    client: Some(ClientCertificate { chain: "/tls.crt".into(), key: "/tls.key".into() }),
                }),
                ..ActiveCheck::default()
            };
            let tls = Checks::of(&service(active, None, None)).unwrap().config.tls.unwrap();
            assert_eq!(tls.server_name.as_deref(), expected);
            assert_eq!(tls.trust, probe::Trust::Authorities("/ca.pem".into()));
            assert!(tls.client.is_some());
        }
    }

    #[test]
    fn siblings_are_those_of_one_pool() {
        let checks =
            Checks::of(&service(ActiveCheck::default(), Some(LatencyCheck::default()), None)).unwrap();
        let endpoint = |zone: &str| EndpointView {
            address: ([10, 0, 0, 1], 80).into(),
            zone: zone.parse().unwrap(),
            healthy: true,
            terminating: false,
            up: Some(true),
            ejected: false,
            passes: true,
        };
        let group = |service: &str, zone: &str| {
            checks.target(&service.parse().unwrap(), &endpoint(zone)).siblings.unwrap().group
        };
        assert_eq!(group("shop/web", "a"), group("shop/web", "a"));
        assert_ne!(group("shop/web", "a"), group("shop/web", "b"));
        assert_ne!(group("shop/web", "a"), group("shop/pay", "a"));
        let rule = checks.latency.unwrap();
        assert_eq!(rule, probe::latency::LatencyRule::default(), "one default, wherever it is written");
        assert!(Checks::of(&service(ActiveCheck::default(), None, None)).unwrap().latency.is_none());
    }

    #[test]
    fn endpoints_are_believed_as_gateways_believe_them_unless_the_policy_says_otherwise() {
        let of_gateways = |trust| UpstreamTls {
            server_name: "web.example".into(),
            trust,
            names: vec![SubjectName::Uri("spiffe://example/web".into())],
            origin: Origin::Default,
        };
        let tls = |active, trust| {
            Checks::of(&service(active, None, Some(of_gateways(trust)))).unwrap().config.tls.unwrap()
        };
        let made = tls(ActiveCheck::default(), Trust::Authorities("pem".into()));
        assert_eq!(made.server_name.as_deref(), Some("web.example"));
        assert_eq!(made.trust, probe::Trust::Bundle("pem".into()));
        assert_eq!(made.names, [probe::SubjectName::Uri("spiffe://example/web".into())]);
        let nobody = tls(ActiveCheck::default(), Trust::Nobody).trust.clone();
        assert!(matches!(nobody, probe::Trust::Nobody(_)), "{nobody:?}");
        let own = TlsCheck { server_name: None, authorities: Some("/ca.pem".into()), client: None };
        let written = tls(ActiveCheck { tls: Some(own), ..ActiveCheck::default() }, Trust::System);
        assert_eq!(written.trust, probe::Trust::Authorities("/ca.pem".into()));
    }
}
