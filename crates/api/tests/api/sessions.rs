//! `sessionPersistence` as it is lowered.

use crate::load;
use std::time::Duration;
use tidegate_api::{Session, SessionKind};

fn sessions(rules: &str) -> Vec<Option<Session>> {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
{rules}"
    );
    let loaded = load(&text);
    assert_eq!(loaded.problems, []);
    let gateways = loaded.config.gateways.values();
    let routes = gateways.flat_map(|gateway| &gateway.routes).filter(|route| route.name == "shop/web");
    routes.flat_map(|route| &route.rules).map(|rule| rule.session.clone()).collect()
}

#[test]
fn a_session_is_a_cookie_of_the_client_s_session_unless_it_says_more() {
    let found = sessions(
        "  - {sessionPersistence: {}, backendRefs: [{name: web}]}
  - sessionPersistence: {sessionName: s, absoluteTimeout: 12h, cookieConfig: {lifetimeType: Permanent}}
    backendRefs: [{name: web}]
  - {sessionPersistence: {type: Header, sessionName: X-S}, backendRefs: [{name: web}]}
  - {matches: [{path: {value: /free}}], backendRefs: [{name: web}]}
",
    );
    let cookie = |name: Option<&str>, lifetime| {
        Some(Session { name: name.map(str::to_owned), kind: SessionKind::Cookie { lifetime } })
    };
    let header = Some(Session { name: Some("X-S".to_owned()), kind: SessionKind::Header });
    let twelve = Some(Duration::from_secs(12 * 3600));
    assert_eq!(found, [cookie(None, None), cookie(Some("s"), twelve), header, None]);
}
