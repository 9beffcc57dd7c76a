//! Certificates of gateways: what is taken, what is told of what is not, and that no key is ever told.

use crate::{file, load, loader, told};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SignatureAlgorithm, date_time_ymd};
use std::time::Duration;
use tidegate_api::{Config, Loaded, parse_time};

/// A certificate of two days in 2026, and its key.
fn pair(algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let mut params = CertificateParams::new(["shop.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 3);
    let key = KeyPair::generate_for(algorithm).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn usual() -> (String, String) {
    pair(&rcgen::PKCS_ECDSA_P256_SHA256)
}

/// A PEM text as a block of YAML.
fn block(text: &str) -> String {
    text.lines().map(|line| format!("\n    {line}")).collect()
}

fn secret(namespace: &str, (chain, key): &(String, String)) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: shop, namespace: {namespace}}}\n\
         stringData:\n  tls.crt: |{}\n  tls.key: |{}\n---\n",
        block(chain),
        block(key)
    )
}

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec:
  gatewayClassName: tidegate-edge
  listeners:
  - {name: http, port: 10180, protocol: HTTP}
  - {name: https, port: 10443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}]}}
  - {name: other, port: 10443, protocol: HTTPS, hostname: other.example, tls: {certificateRefs: [{name: gone}]}}
  - {name: bytes, port: 10444, protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: shop, namespace: vault}]}}
";

/// The certificates of a listener, `NAME=SECRET`, and whether it is open.
fn shown(config: &Config, listener: &str) -> (String, bool) {
    let edge = &config.gateways[&"shop/door".parse().unwrap()];
    let found = edge.listeners.iter().find(|it| it.name == listener).unwrap();
    let tls = found.tls.as_ref().unwrap().certificates.iter();
    (tls.map(|(name, secret)| format!("{name}={secret}")).collect::<Vec<_>>().join(" "), found.is_open())
}

/// What of a PEM text is secret if it is a key on P-256: it holds the public key as well, which certificates do too.
fn private_parts(key: &str) -> Vec<&str> {
    let mut lines = key.lines().skip(1);
    let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
    vec![&first[48..], &second[..20]]
}

/// Nothing that is told or written down holds a part of a key.
fn assert_withheld(loaded: &Loaded, key: &str) {
    let written = serde_json::to_string(&loaded.config).unwrap();
    let printed = format!("{loaded:?} {loaded:#?} {}", told(loaded));
    for part in private_parts(key) {
        for (place, text) in [("what is written", &written), ("what is printed", &printed)] {
            assert!(!text.contains(part), "a part of the key is in {place}");
        }
    }
}

#[test]
fn listeners_show_the_certificates_of_secrets_and_what_is_missing_costs_only_its_own_name() {
    let (here, there) = (usual(), usual());
    let loaded = load(&[&secret("shop", &here), &secret("vault", &there), GATEWAY].concat());
    assert_eq!(shown(&loaded.config, "https"), ("=shop/shop".to_owned(), true));
    assert_eq!(shown(&loaded.config, "bytes"), (String::new(), false), "nobody granted it");
    let problems = told(&loaded);
    let gone = ":98: Gateway shop/door: there is no Secret shop/gone with a certificate; the listener other \
                takes no connections for it\n  hint: add a Secret";
    assert!(problems.contains(gone), "{problems}");
    let denied = "the Gateway may not use the Secret vault/shop; the listener bytes takes no connections for it\n  hint: \
                  add a ReferenceGrant in namespace vault with from {group: gateway.networking.k8s.io, kind: Gateway, \
                  namespace: shop} and to {group: \"\", kind: Secret}";
    assert!(problems.contains(denied), "{problems}");
    assert_eq!(loaded.problems.len(), 2, "{problems}");
    assert_withheld(&loaded, &here.1);

    let certificate = &loaded.config.certificates["shop/shop"];
    assert_eq!((&*certificate.chain, certificate.key.pem()), (here.0.as_str(), here.1.as_str()));
    let again: Config = serde_json::from_str(&serde_json::to_string(&loaded.config).unwrap()).unwrap();
    assert_eq!(again.certificates["shop/shop"].key.pem(), "", "what was written down has no key");
}

#[test]
fn data_in_base64_is_read_as_well_and_other_secrets_are_not_looked_at() {
    use std::fmt::Write as _;
    let (chain, key) = usual();
    let packed = |text: &str| {
        let mut bits = String::new();
        text.bytes().for_each(|byte| write!(bits, "{byte:08b}").unwrap());
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let sextets = bits.as_bytes().chunks(6).map(|bits| {
            let bits = format!("{:0<6}", std::str::from_utf8(bits).unwrap());
            alphabet[usize::from_str_radix(&bits, 2).unwrap()] as char
        });
        let text: String = sextets.collect();
        format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
    };
    let text = format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: shop, namespace: shop}}\ndata: {{tls.crt: \
         {}, tls.key: {}}}\n---\napiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata: {{name: x, namespace: shop}}\ndata: [\
         nonsense]\n---\n",
        packed(&chain),
        packed(&key)
    );
    let loaded = load(&(text + &GATEWAY[..GATEWAY.find("  - {name: other").unwrap()]));
    assert_eq!(told(&loaded), "");
    assert_eq!(loaded.config.certificates["shop/shop"].key.pem(), key);
}

#[test]
fn a_pair_that_gateways_could_not_use_is_told_at_its_half() {
    let ((chain, key), (other, _), (odd, odd_key)) = (usual(), usual(), pair(&PKCS_ED25519));
    let cut = key.replace("PRIVATE KEY", "PRIVATE KEYS");
    let garbled = format!("{}AAAA\n-----END CERTIFICATE-----\n", &chain[..(chain.len() / 2) & !3]);
    for (chain, key, line, wanted) in [
        (&other, &key, "tls.key", "tls.key does not belong to the certificate"),
        (&odd, &odd_key, "tls.key", "tls.key is of a kind that gateways do not take"),
        (&chain, &cut, "tls.key", "tls.key holds no private key as PEM"),
        (&chain, &chain, "tls.key", "tls.key holds no private key as PEM"),
        (&key, &key, "tls.crt", "tls.crt holds no certificate as PEM"),
        (&garbled, &key, "tls.crt", "tls.crt "),
    ] {
        let text = secret("shop", &(chain.clone(), key.clone()));
        let loaded = load(&text);
        let at = text.lines().position(|it| it.trim_start().starts_with(line)).unwrap() + 1;
        let problems = told(&loaded);
        assert!(problems.starts_with(&format!("case.yaml:{at}:3: Secret shop/shop: {wanted}")), "{problems}");
        assert_eq!(loaded.problems.len(), 1, "{problems}");
        assert_withheld(&loaded, key);
        // On a terminal problems come with the lines that they are about.
        let report = format!("{:?}", loaded.problems[0].report(&text));
        assert!(!private_parts(key).iter().any(|part| report.contains(part)), "{report}");
    }
}

#[test]
fn no_slip_of_the_hand_makes_anything_quote_a_key() {
    let (chain, key) = usual();
    let text = secret("shop", &(chain, key.clone()));
    let lines: Vec<&str> = text.lines().collect();
    for at in 0..lines.len() {
        for slip in ["", "  x", "tls.key: ", "- ", "stringData: ", "\"", "{", "? ", "&a *b "] {
            let mut slipped: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            slipped[at] = format!("{slip}{}", lines[at].trim_start());
            let text = slipped.join("\n");
            let loaded = load(&text);
            assert_withheld(&loaded, &key);
            for problem in &loaded.problems {
                let report = format!("{:?}", problem.report(&text));
                assert!(!private_parts(&key).iter().any(|part| report.contains(part)), "{report}");
            }
        }
    }
}

#[test]
fn a_certificate_that_becomes_wrong_stays_as_it_was_and_one_that_is_gone_closes_its_listener() {
    let (old, new) = (usual(), usual());
    let mut loader = loader();
    let base = file("base.yaml", crate::BASE);
    let mut load =
        |secret: &str| loader.load(&[base.clone(), file("a.yaml", secret), file("gateway.yaml", GATEWAY)]);
    load(&secret("shop", &old));
    let mixed = load(&secret("shop", &(old.0.clone(), new.1.clone())));
    assert!(told(&mixed).contains("does not belong to the certificate"));
    assert_eq!(mixed.config.certificates["shop/shop"].key.pem(), old.1);
    assert_eq!(load(&secret("shop", &new)).config.certificates["shop/shop"].key.pem(), new.1);
    let gone = load("# gone\n");
    assert_eq!(shown(&gone.config, "https"), (String::new(), false));
    assert!(gone.config.certificates.is_empty());
    let edge = &gone.config.gateways[&"shop/door".parse().unwrap()];
    assert!(edge.listeners[0].is_open(), "the plain one is unaffected");
}

#[test]
fn a_certificate_that_does_not_hold_now_is_told_with_its_date() {
    let text = secret("shop", &usual()) + &GATEWAY[..GATEWAY.find("  - {name: other").unwrap()];
    let config = load(&text).config;
    let at = |time: &str| {
        let problems = config.out_of_date(Duration::from_secs(parse_time(time).unwrap()));
        problems.iter().map(ToString::to_string).collect::<String>()
    };
    assert_eq!(at("2026-01-02T00:00:00Z"), "");
    let expired = at("2026-01-04T00:00:00Z");
    let wanted = "case.yaml:1:1: warning: Secret shop/shop: the certificate expired at 2026-01-03T00:00:00Z; clients refuse it";
    assert!(expired.starts_with(wanted), "{expired}");
    assert!(at("2025-12-31T00:00:00Z").contains("does not hold before 2026-01-01T00:00:00Z"));
}

#[test]
fn grants_let_routes_use_services_of_other_namespaces() {
    const ROUTES: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec: {gatewayClassName: tidegate-edge, listeners: [{name: http, port: 10180, protocol: HTTP}, {name: tcp, port: 10181, protocol: TCP}]}
---
{apiVersion: v1, kind: Service, metadata: {name: vault, namespace: bank}, spec: {ports: [{port: 80}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: loan, namespace: shop}
spec: {parentRefs: [{name: door}], rules: [{backendRefs: [{name: vault, namespace: bank, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: loan, namespace: shop}
spec: {parentRefs: [{name: door}], rules: [{backendRefs: [{name: vault, namespace: bank, port: 80}]}]}
---
";
    let grant = |version: &str, from: &str, to: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/{version}\nkind: ReferenceGrant\nmetadata: {{name: x, namespace: bank}}\n\
             spec:\n  from: [{{group: gateway.networking.k8s.io, kind: {from}, namespace: shop}}]\n  to: [{{group: \"\", \
             kind: {to}}}]\n"
        )
    };
    let backends = |grant: &str| {
        let routes = ROUTES.replacen("v1\nkind: TCPRoute", "v1alpha2\nkind: TCPRoute", 1);
        let loaded = load(&(routes + grant));
        let edge = &loaded.config.gateways[&"shop/door".parse().unwrap()];
        let http = edge.routes[0].rules[0].backends[0].service.is_some();
        (http, edge.streams[0].backends[0].service.is_some(), told(&loaded))
    };
    let (http, tcp, problems) = backends("");
    assert_eq!((http, tcp), (false, false));
    let wanted = "case.yaml:11:59: HTTPRoute shop/loan: the route may not use the Service bank/vault; its part of the requests \
                  is answered 500\n  hint: add a ReferenceGrant in namespace bank with from {group: \
                  gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop} and to {group: \"\", kind: Service}";
    assert!(problems.contains(wanted), "{problems}");
    assert!(backends(&grant("v1beta1", "HTTPRoute", "Service")).0);
    assert!(!backends(&grant("v1beta1", "HTTPRoute", "Service")).1, "that is another kind");
    assert_eq!(
        backends(&grant("v1", "TCPRoute", "Service, name: vault")),
        (false, true, problems.lines().take(2).map(|line| format!("{line}\n")).collect())
    );
    assert!(!backends(&grant("v1", "HTTPRoute", "Service, name: other")).0);
    assert!(!backends(&grant("v1", "HTTPRoute", "Secret")).0);
}
