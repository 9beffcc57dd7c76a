//! What gateways are made with: templates of classes and of gateways, and what internal gateways lead to by themselves.

use crate::{load, told};
use std::time::Duration;
use tidegate_api::{AccessLog, Collector, DrainStrategy, Gateway, GatewayRole, Loaded, TlsVersion, TraceTag};
use tidegate_model::Fraction;

const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: tidegate-edge}
spec:
  controllerName: tidegate.dev/gateways
  parametersRef: {group: tidegate.dev, kind: GatewayTemplate, name: fleet, namespace: infra}
---
apiVersion: tidegate.dev/v1alpha1
kind: GatewayTemplate
metadata: {name: fleet, namespace: infra}
spec:
  listener: {bufferKiB: 64, maxConnections: 1000}
  tls: {minVersion: TLS1.2, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}
  limits: {maxConnections: 20000, maxHeapMiB: 1024}
  timeouts: {connectionIdle: 10m, requestHeaders: 5s, streamIdle: 1m, maxConnectionDuration: 1h}
  http: {maxRequestHeadersKiB: 96, maxConcurrentStreams: 50, trustedHops: 1}
  accessLog: None
  drain: {time: 90s, strategy: Immediate}
  concurrency: 2
  bootstrap: {static_resources: {clusters: [{name: collector}]}, enable_dispatcher_stats: true}
---
";

const DOOR: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec:
  gatewayClassName: tidegate-edge
  listeners: [{name: http, port: 10180, protocol: HTTP}]
";

const OWN: &str = "  infrastructure: {parametersRef: {group: tidegate.dev, kind: GatewayTemplate, name: own}}
---
apiVersion: tidegate.dev/v1alpha1
kind: GatewayTemplate
metadata: {name: own, namespace: shop}
spec: {accessLog: All, concurrency: 4, tls: {minVersion: TLS1.3}, timeouts: {streamIdle: 2m}}
";

fn door(loaded: &Loaded) -> &Gateway {
    &loaded.config.gateways[&"shop/door".parse().unwrap()]
}

#[test]
fn a_template_of_the_class_is_in_force_and_that_of_a_gateway_wins_field_by_field() {
    let loaded = load(&[CLASS, DOOR].concat());
    assert_eq!(told(&loaded), "");
    let gateway = door(&loaded);
    let (listener, process) = (&gateway.listeners[0], &gateway.process);
    let options = &listener.options;
    assert_eq!(listener.access_log, AccessLog::None);
    assert_eq!((options.buffer_kib, options.max_connections), (Some(64), Some(1000)));
    assert_eq!(options.stream_idle, Some(Duration::from_secs(60)));
    assert_eq!((options.tls_min, options.tls_max), (Some(TlsVersion::V1_2), None));
    assert_eq!((process.concurrency, process.max_heap_mib), (Some(2), Some(1024)));
    assert_eq!(process.drain_strategy, Some(DrainStrategy::Immediate));
    let extra = process.bootstrap.as_ref().unwrap();
    assert_eq!(extra["static_resources"]["clusters"][0]["name"], "collector");

    let loaded = load(&[CLASS, DOOR, OWN].concat());
    assert_eq!(told(&loaded), "");
    let gateway = door(&loaded);
    let options = &gateway.listeners[0].options;
    assert_eq!(gateway.listeners[0].access_log, AccessLog::All);
    assert_eq!(
        (options.stream_idle, options.request_headers),
        (Some(Duration::from_secs(120)), Some(Duration::from_secs(5)))
    );
    assert_eq!(options.tls_min, Some(TlsVersion::V1_3));
    assert_eq!((gateway.process.concurrency, gateway.process.max_connections), (Some(4), Some(20_000)));

    // The annotation of the gateway is nearest; a gateway of another class has another template.
    let annotated =
        DOOR.replace("namespace: shop}", "namespace: shop, annotations: {tidegate.dev/access-log: Errors}}");
    let loaded = load(&[CLASS, &annotated, OWN].concat());
    assert_eq!(door(&loaded).listeners[0].access_log, AccessLog::Errors);
    let loaded = load(&[CLASS, &DOOR.replace("tidegate-edge", "tidegate-internal")].concat());
    assert_eq!(door(&loaded).process.concurrency, None);
}

#[test]
fn what_a_template_may_not_say_is_told_with_its_place() {
    for (spec, wanted) in [
        (
            "{concurency: 2}",
            "case.yaml:4:8: GatewayTemplate shop/x: spec has no field \"concurency\"\n  hint: did you mean \"concurrency\"?",
        ),
        ("{concurrency: 0}", "spec.concurrency must be a whole number from 1 to 256, not 0"),
        (
            "{timeouts: {streamIdle: 2d}}",
            "spec.timeouts.streamIdle must be a duration from 1s to 24h, not \"2d\"",
        ),
        ("{http: {maxRequestHeadersKiB: 9000}}", "must be a whole number from 1 to 8192, not 9000"),
        ("{tls: {minVersion: TLS1.1}}", "spec.tls.minVersion must be TLS1.2 or TLS1.3"),
        ("{tls: {minVersion: TLS1.3, maxVersion: TLS1.2}}", "tls.maxVersion is below tls.minVersion"),
        ("{tls: {cipherSuites: [RC4]}}", "spec.tls.cipherSuites[0] must be ECDHE"),
        ("{accessLog: Some}", "spec.accessLog must be None, Errors or All"),
        ("{limits: {maxHeapMiB: 1}}", "spec.limits.maxHeapMiB must be a whole number from 64"),
        ("{bootstrap: {admin: {}}}", "spec.bootstrap.admin is Tidegate's own"),
        ("{bootstrap: {node: {id: x}}}", "spec.bootstrap.node is Tidegate's own"),
        ("{bootstrap: {dynamic_resources: {}}}", "spec.bootstrap.dynamic_resources is Tidegate's own"),
        (
            "{bootstrap: {static_resource: {}}}",
            "no field \"static_resource\" that may be added to\n  hint: did you mean \"static_resources\"?",
        ),
        (
            "{bootstrap: {static_resources: {clusters: [{name: tidegate-agent}]}}}",
            "the cluster tidegate-agent is Tidegate's own",
        ),
        ("{bootstrap: [1]}", "spec.bootstrap must be a mapping"),
        ("{tracing: {collector: {}}}", "spec.tracing.collector.address is missing"),
        (
            "{tracing: {collector: {address: 'otel:4317'}}}",
            "spec.tracing.collector.address must be an IP address or a host name",
        ),
        (
            "{tracing: {samplingPercentage: 101}}",
            "spec.tracing.samplingPercentage must be a number from 0 to 100",
        ),
        ("{tracing: {samplingRate: 1}}", "spec.tracing has no field \"samplingRate\""),
        ("{tracing: {tags: [{name: a}]}}", "the tag a must have either literal or header"),
        ("{tracing: {tags: [{name: a, literal: b, header: c}]}}", "must have either literal or header"),
        ("{tracing: {tags: [{name: a, literal: b, default: c}]}}", "a literal needs no default"),
        ("{tracing: {tags: [{name: a, header: 'x y'}]}}", "spec.tracing.tags[0].header must be"),
        (
            "{tracing: {tags: [{name: a, literal: b}, {name: a, header: c}]}}",
            "the tag a is listed twice\n  hint: remove one",
        ),
    ] {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayTemplate\nmetadata: {{name: x, namespace: shop}}\nspec: {spec}\n"
        );
        let loaded = load(&text);
        let problems = told(&loaded);
        assert!(problems.contains(wanted) && problems.starts_with("case.yaml:4:"), "{spec}: {problems}");
    }
}

#[test]
fn a_template_that_is_missing_costs_nothing_but_itself() {
    let loaded = load(&[DOOR, &OWN.replace("name: own, ", "name: owl, ")].concat());
    let wanted = "Gateway shop/door: there is no GatewayTemplate shop/own; the defaults are in force\n  hint: did you mean \"owl\"?";
    assert!(told(&loaded).contains(wanted), "{}", told(&loaded));
    assert_eq!(door(&loaded).process.concurrency, None);
    let class = CLASS.replace("name: fleet, namespace: infra}", "name: gone, namespace: infra}").replacen(
        "name: gone, namespace: infra}\nspec",
        "name: x, namespace: infra}\nspec",
        1,
    );
    let loaded = load(&[&class, DOOR].concat());
    assert!(
        told(&loaded).contains("GatewayClass tidegate-edge: there is no GatewayTemplate infra/gone"),
        "{}",
        told(&loaded)
    );
    // A class between gateway and template can leave nothing.
    let loaded = load(&[&CLASS.replace("minVersion: TLS1.2", "maxVersion: TLS1.2"), DOOR, OWN].concat());
    assert!(told(&loaded).contains("leave no version of TLS"), "{}", told(&loaded));
    let options = &door(&loaded).listeners[0].options;
    assert_eq!((options.tls_min, options.tls_max), (Some(TlsVersion::V1_3), Some(TlsVersion::V1_3)));
}

#[test]
fn a_class_of_somebody_else_is_left_alone() {
    let class = |name: &str, controller: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {name}}}\nspec: {{controllerName: {controller}, parametersRef: {{group: x, kind: Y, name: z}}}}\n"
        )
    };
    assert_eq!(told(&load(&class("other", "example.com/x"))), "");
    assert!(
        told(&load(&class("tidegate-edge", "example.com/x")))
            .contains("is not the controller of tidegate-edge")
    );
    assert!(
        told(&load(&class("tidegate-edg", "tidegate.dev/gateways")))
            .contains("did you mean \"tidegate-edge\"?")
    );
}

#[test]
fn an_internal_gateway_leads_to_every_service_at_its_port_and_routes_come_first() {
    const INTERNAL: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: inside, namespace: infra}
spec:
  gatewayClassName: tidegate-internal
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: odd, port: 8081, protocol: HTTP, hostname: odd.bank.svc.clusterset.local}
---
{apiVersion: v1, kind: Service, metadata: {name: odd, namespace: bank}, spec: {ports: [{port: 8081}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: even, namespace: bank}, spec: {ports: [{port: 8081}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: away, namespace: bank}, spec: {ports: [{port: 9999}]}}
---
";
    const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: bank}
spec:
  parentRefs: [{name: inside, namespace: infra, sectionName: http}]
  hostnames: [web.shop.svc.clusterset.local]
  rules: [{matches: [{path: {value: /odd}}], backendRefs: [{name: odd, port: 8081}]}]
";
    let loaded = load(&[INTERNAL, ROUTE].concat());
    assert_eq!(told(&loaded), "");
    let inside = &loaded.config.gateways[&"infra/inside".parse().unwrap()];
    assert_eq!(inside.role, GatewayRole::Internal);
    let matches = inside.matches();
    let found: Vec<String> = matches
        .iter()
        .map(|it| {
            let route = it.route;
            let service = it.rule.backends[0].service.as_ref().unwrap();
            format!("{:?} {:?} {:?} {service}", route.listeners, route.hostnames, it.matching.path)
        })
        .collect();
    let wanted = [
        "{\"http\"} [\"web.shop.svc.clusterset.local\"] Prefix(\"/odd\") bank/odd",
        "{\"odd\"} [\"odd.bank.svc.clusterset.local\"] Prefix(\"/\") bank/odd",
        "{\"http\"} [\"web.shop.svc.clusterset.local\"] Prefix(\"/\") shop/web",
    ];
    for wanted in wanted {
        assert!(found.iter().any(|it| it == wanted), "{wanted}: {found:#?}");
    }
    assert!(!found.iter().any(|it| it.contains("bank/away") || it.contains("bank/even")), "{found:#?}");
    let first = |service: &str| found.iter().position(|it| it.contains("web.shop") && it.ends_with(service));
    assert!(first("bank/odd") < first("shop/web"), "{found:#?}");
}

#[test]
fn requests_are_traced_where_a_template_names_a_collector() {
    const TRACED: &str = "  tracing:
    collector: {address: otel.watch.svc, port: 14317}
    tags: [{name: team, literal: shop}, {name: tenant, header: X-Tenant, default: none}]
";
    const OWN: &str =
        "  infrastructure: {parametersRef: {group: tidegate.dev, kind: GatewayTemplate, name: own}}
---
apiVersion: tidegate.dev/v1alpha1
kind: GatewayTemplate
metadata: {name: own, namespace: shop}
spec: {tracing: {samplingPercentage: 12.5, serviceName: door}}
";
    let class = CLASS.replace("  concurrency: 2\n", &["  concurrency: 2\n", TRACED].concat());
    let tracing = |loaded: &Loaded| door(loaded).listeners[0].options.tracing.clone();
    let loaded = load(&[&class, DOOR].concat());
    assert_eq!(told(&loaded), "");
    let of_class = tracing(&loaded).unwrap();
    assert_eq!(of_class.collector, Collector { host: "otel.watch.svc".to_owned(), port: 14_317 });
    assert_eq!((of_class.sampling, of_class.service_name), (Fraction::from_ppm(10_000).unwrap(), None));
    let (team, tenant) = ("team".to_owned(), "tenant".to_owned());
    let tags = [
        TraceTag::Literal { name: team, value: "shop".to_owned() },
        TraceTag::Header { name: tenant, header: "x-tenant".to_owned(), default: Some("none".to_owned()) },
    ];
    assert_eq!(of_class.tags, tags);

    // A gateway says what differs.
    let loaded = load(&[&class, DOOR, OWN].concat());
    assert_eq!(told(&loaded), "");
    let own = tracing(&loaded).unwrap();
    assert_eq!((own.collector, own.tags), (of_class.collector, of_class.tags));
    assert_eq!(
        (own.sampling, own.service_name),
        (Fraction::from_ppm(125_000).unwrap(), Some("door".to_owned()))
    );

    // Without the class there is nowhere to send to.
    let loaded = load(&[DOOR, OWN].concat());
    assert!(
        told(&loaded).contains(
            "Gateway shop/door: the templates of the Gateway and its class say how requests are traced"
        ),
        "{}",
        told(&loaded)
    );
    assert_eq!(tracing(&loaded), None);
}
