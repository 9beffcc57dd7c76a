//! What a question to the hub needs, away from its own machine; who asks is known by `tidegate_link::access`.

use axum::http::Method;
use tidegate_link::access::{Needed, Role, is_page};

/// By method and path. `None` for what everybody may ask.
pub(crate) fn needed(method: &Method, path: &str) -> Option<Needed> {
    match (method == Method::GET, path) {
        (true, "/healthz" | "/readyz") => None,
        (true, "/api/v1/rollout" | "/api/v1/clusters" | "/api/v1/rollout/history" | "/api/v1/standby") => {
            Some(Needed::of(Role::Viewer))
        }
        // Half of a policy would be taken for the whole.
        (true, "/metrics" | "/api/v1/audit" | "/api/v1/policy" | "/api/v1/contingency" | "/api/v1/fleet") => {
            Some(Needed::everywhere(Role::Viewer))
        }
        (true, "/api/v1/services" | "/api/v1/shifts") => Some(Needed::of(Role::Viewer)),
        (true, path) if path.starts_with("/api/v1/explain/") || path.starts_with("/api/v1/page/") => {
            Some(Needed::of(Role::Viewer))
        }
        // Who may not begin it need not be told first what it would do.
        (true, "/api/v1/shift-preview") | (false, "/api/v1/shifts") => Some(Needed::of(Role::Operator)),
        (false, path) if path.starts_with("/api/v1/shifts/") => Some(Needed::of(Role::Operator)),
        (true, "/api/v1/drill-reports" | "/api/v1/drill-keys" | "/api/v1/drill-schedules") => {
            Some(Needed::of(Role::Viewer))
        }
        (true, path) if path.starts_with("/api/v1/clusters/") => Some(Needed::of(Role::Viewer)),
        (true, "/api/v1/drills") => Some(Needed::of(Role::Viewer)),
        (true, path) if path.starts_with("/api/v1/drills/") => Some(Needed::of(Role::Viewer)),
        // A fault may be felt by whoever shares the place.
        (false, "/api/v1/drills") => Some(Needed::everywhere(Role::Operator)),
        (false, path) if path.starts_with("/api/v1/drills/") => Some(Needed::everywhere(Role::Operator)),
        (true, path) if path.starts_with("/api/v1/drill-reports/") => Some(Needed::of(Role::Viewer)),
        (false, "/api/v1/drill-reports") => Some(Needed::of(Role::Operator)),
        (false, "/api/v1/reload") => Some(Needed::of(Role::Operator)),
        (false, "/api/v1/rollout/resume" | "/api/v1/rollout/rollback") => {
            Some(Needed::everywhere(Role::Operator))
        }
        // The page; what of it belongs to other namespaces it leaves out.
        (true, path) if is_page(path) => Some(Needed::of(Role::Viewer)),
        (false, path) if method == Method::POST && is_page(path) => Some(Needed::of(Role::Operator)),
        // Whatever is not named is an admin's.
        _ => Some(Needed::everywhere(Role::Admin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_drill_is_begun_and_ended_by_operators_of_the_whole_fleet_and_watched_by_viewers() {
        let operator = Some(Needed::everywhere(Role::Operator));
        assert_eq!(needed(&Method::POST, "/api/v1/drills"), operator);
        assert_eq!(needed(&Method::DELETE, "/api/v1/drills/drill-1"), operator);
        assert_eq!(needed(&Method::POST, "/api/v1/drill-reports"), Some(Needed::of(Role::Operator)));
        for path in [
            "drills",
            "drills/drill-1",
            "drill-reports",
            "drill-reports/drill-1",
            "drill-keys",
            "drill-schedules",
        ] {
            assert_eq!(
                needed(&Method::GET, &format!("/api/v1/{path}")),
                Some(Needed::of(Role::Viewer)),
                "{path}"
            );
        }
    }

    #[test]
    fn what_nobody_thought_of_needs_the_most() {
        // Half of a policy would be compared as if it were all of it.
        let whole = Some(Needed::everywhere(Role::Viewer));
        assert_eq!(needed(&Method::GET, "/api/v1/policy"), whole);
        let admin = Some(Needed::everywhere(Role::Admin));
        for (method, path) in [
            (Method::POST, "/api/v1/new"),
            (Method::POST, "/api/v1/tokens"),
            (Method::GET, "/api/v1/access"),
            (Method::DELETE, "/api/v1/rollout"),
        ] {
            assert_eq!(needed(&method, path), admin, "{method} {path}");
        }
        assert_eq!(needed(&Method::GET, "/healthz"), None);
        for method in [Method::POST, Method::DELETE] {
            assert_eq!(needed(&method, "/api/v1/shifts/zone-a"), Some(Needed::of(Role::Operator)));
        }
    }

    /// What `.route(PATH, METHODS)` says in a source, as the document has it.
    fn routes(source: &str) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for route in source.split(".route(").skip(1) {
            let path = route.split('"').nth(1).unwrap();
            let line = route.split(".route(").next().unwrap().lines().next().unwrap();
            for method in ["get", "post", "delete"] {
                let is_one = line.contains(&format!(" {method}(")) || line.contains(&format!(").{method}("));
                if is_one {
                    let path = match (path.strip_suffix("/{*name}"), method) {
                        (Some(above), "post") => format!("{above}/{{name}}/extend"),
                        (Some(above), _) => format!("{above}/{{name}}"),
                        (None, _) => path.to_owned(),
                    };
                    found.insert((path, method.to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn the_document_has_every_route_with_its_role_and_no_other() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../../../docs/api/hub.json")).unwrap();
        let mut told = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                told.insert((path.clone(), method.clone()));
                let needs = needed(&method.to_uppercase().parse().unwrap(), &path.replace(['{', '}'], ""));
                let role = needs.map_or("anybody".to_owned(), |it| {
                    let everywhere =
                        if it.whole_fleet && it.role != Role::Admin { " of the whole fleet" } else { "" };
                    format!("{}{everywhere}", it.role)
                });
                assert_eq!(operation["x-role"], role, "{method} {path}");
            }
        }
        let sources =
            [include_str!("admin.rs"), include_str!("drills/admin.rs"), include_str!("page/admin.rs")];
        let there: BTreeSet<_> = sources.into_iter().flat_map(routes).collect();
        assert_eq!(there, told);
    }
}
