//! What a question to the agent needs, away from its own machine. Who asks is known by `tidegate_link::access`, by the tokens that
//! the hub told of; they lie on disk with the identity, so they work while the hub is away. What belongs to a namespace is
//! judged where it is known, by the handlers (`admin`).

use crate::view::Status;
use axum::http::Method;
use tidegate_link::access::{Caller, Needed, Role, is_page};
use tidegate_model::ServiceName;

/// By method and path. `None` for what everybody may ask.
pub(crate) fn needed(method: &Method, path: &str) -> Option<Needed> {
    match (method, path) {
        (&Method::GET, "/healthz" | "/readyz") => None,
        // These tell of everything at once.
        (
            &Method::GET,
            "/metrics" | "/api/v1/decisions" | "/api/v1/contingency" | "/api/v1/drills" | "/api/v1/fleet",
        ) => Some(Needed::everywhere(Role::Viewer)),
        (&Method::GET, _) => Some(Needed::of(Role::Viewer)),
        (&Method::POST, "/api/v1/shifts" | "/api/v1/release") => Some(Needed::of(Role::Operator)),
        (&Method::DELETE | &Method::POST, path) if path.starts_with("/api/v1/shifts/") => {
            Some(Needed::of(Role::Operator))
        }
        // A fault may be felt by whoever shares the place.
        (&Method::POST, "/api/v1/drills") => Some(Needed::everywhere(Role::Operator)),
        (&Method::DELETE, path) if path.starts_with("/api/v1/drills/") => {
            Some(Needed::everywhere(Role::Operator))
        }
        // The page; what of it belongs to other namespaces it leaves out.
        (&Method::POST, path) if is_page(path) => Some(Needed::of(Role::Operator)),
        // Whatever is not named is an admin's.
        _ => Some(Needed::everywhere(Role::Admin)),
    }
}

/// Whether somebody sees what concerns this service; `None` is a place with all its services.
pub(crate) fn sees(caller: &Caller, service: Option<&ServiceName>) -> bool {
    service.is_none_or(|it| caller.may_in(Some(it.namespace())).is_ok())
}

/// The status as somebody may see it.
pub(crate) fn limited(mut status: Status, caller: &Caller) -> Status {
    if caller.namespaces.is_none() {
        return status;
    }
    status.pools.retain(|it| sees(caller, Some(&it.service)));
    status.plans.retain(|it| sees(caller, Some(&it.service)));
    status.draining.retain(|it| sees(caller, Some(&it.service)));
    status.shifts.retain(|it| sees(caller, it.service.as_ref()));
    for shift in &mut status.shifts {
        shift.refused.retain(|it| sees(caller, Some(it)));
    }
    // These may name anything.
    status.certificates.clear();
    status.drills.clear();
    status.problems.clear();
    status.gateways.clear();
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_nobody_thought_of_needs_the_most() {
        let admin = Some(Needed::everywhere(Role::Admin));
        for (method, path) in [
            (Method::POST, "/api/v1/new"),
            (Method::PUT, "/api/v1/shifts"),
            (Method::DELETE, "/api/v1/status"),
            (Method::HEAD, "/api/v1/status"),
        ] {
            assert_eq!(needed(&method, path), admin, "{method} {path}");
        }
        assert_eq!(needed(&Method::DELETE, "/api/v1/shifts/zone-a"), Some(Needed::of(Role::Operator)));
        let extend = needed(&Method::POST, "/api/v1/shifts/zone-a/extend");
        assert_eq!(extend, Some(Needed::of(Role::Operator)));
        assert_eq!(needed(&Method::GET, "/api/v1/shift-preview"), Some(Needed::of(Role::Viewer)));
        for (method, path) in [(Method::POST, "/api/v1/drills"), (Method::DELETE, "/api/v1/drills/one")] {
            assert_eq!(needed(&method, path), Some(Needed::everywhere(Role::Operator)), "{method} {path}");
        }
        assert_eq!(needed(&Method::GET, "/readyz"), None);
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
            serde_json::from_str(include_str!("../../../docs/api/agent.json")).unwrap();
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
        let sources = [include_str!("admin.rs"), include_str!("page/mod.rs")];
        let there: BTreeSet<_> = sources.into_iter().flat_map(routes).collect();
        assert_eq!(there, told);
    }
}
