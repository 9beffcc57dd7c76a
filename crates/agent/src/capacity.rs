//! What the own pools are declared to take, as it is told. Nothing is decided by it: the engine has its own.

use std::collections::BTreeMap;
use tidegate_engine::{Engine, Load};
use tidegate_model::{ServiceName, Time, Zone};
use tidegate_web::model::Capacity;

/// Of every own pool whose capacity is declared; what it gets is not in it.
pub(crate) fn declared(engine: &Engine, now: Time) -> BTreeMap<(ServiceName, Zone), Capacity> {
    let mut all = BTreeMap::new();
    for service in engine.services() {
        let Some(capacity) = engine.policy(service).and_then(|policy| policy.capacity.as_ref()) else {
            continue;
        };
        let per_endpoint = capacity.per_endpoint.value;
        let (part, unit) = (f64::from(capacity.target_utilization.value.ppm()) / 1e6, unit(per_endpoint));
        #[expect(clippy::cast_precision_loss, reason = "a picture needs no more than 52 bits")]
        let each = per_endpoint.thousandths() as f64 / 1e3;
        for status in engine.statuses_of(service, now) {
            let declared = each * f64::from(status.healthy);
            let capacity = Capacity { unit: unit.to_owned(), declared, budget: declared * part, load: None };
            all.insert((service.clone(), status.locality.zone), capacity);
        }
    }
    all
}

fn unit(load: Load) -> &'static str {
    match load {
        Load::Rate { .. } => "requests/s",
        Load::Concurrency { .. } => "concurrent",
    }
}

/// What it gets, of what was measured: tries a second and requests in progress.
pub(crate) fn load(capacity: &Capacity, (rate, in_progress): (f64, f64)) -> f64 {
    if capacity.unit == "concurrent" { in_progress } else { rate }
}
