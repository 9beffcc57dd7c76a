//! How old streams and connections may become. Nothing in Envoy ends a stream because its host drains, and nothing but a failed
//! active check ends a connection that is passed on: each ends by its own age instead. So they move at the pace at
//! which they began, whatever the agent knows or does, and none is pinned to a pool for longer.

use std::time::Duration;
use tidegate_api::{Backend, ServicePolicy};
use tidegate_model::ServiceName;

/// The least of what the policies of the backends allow; `None` where none of them says anything.
pub(crate) fn max_age<'a>(
    backends: &[Backend],
    policy_of: &dyn Fn(&ServiceName) -> Option<&'a ServicePolicy>,
) -> Option<Duration> {
    let used = backends.iter().filter(|it| it.weight > 0).filter_map(|it| it.service.as_ref());
    used.filter_map(|service| policy_of(service)?.drain_max_age).min()
}
