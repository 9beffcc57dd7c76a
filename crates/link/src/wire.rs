//! Pool status between the model and the wire. What comes from the wire is checked here, once.

use crate::proto::{self, demand};
use std::time::Duration;
use tidegate_engine::Load;
use tidegate_model::{
    Fraction, Locality, NameError, Phase, PoolStatus, QuantityError, Region, ServiceName, Zone,
};

/// The largest update that is sent or taken: room for more than 100,000 pools.
pub(crate) const MAX_UPDATE_BYTES: usize = 16 << 20;

/// The name of a pool within its cluster. A cluster lies in one region, so the zone says where.
pub(crate) type PoolName = (ServiceName, Zone);

/// What is wrong with a message. Whoever sent it is at fault, and sending it again does not help.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("pool {pool}: {source}")]
    Quantity { pool: String, source: QuantityError },
    #[error("pool {pool}: phase {phase} is unknown")]
    Phase { pool: String, phase: i32 },
}

/// Where something is asked for, within a cluster: of a service, in a zone.
pub(crate) type Asked = PoolName;

pub(crate) fn encode_demand((service, zone): &Asked, load: Option<Load>) -> proto::Demand {
    proto::Demand {
        service: service.to_string(),
        zone: zone.to_string(),
        load: load.map(|load| match load {
            Load::Rate { rps } => demand::Load::Rps(rps),
            Load::Concurrency { requests } => demand::Load::Requests(requests),
        }),
    }
}

pub(crate) fn decode_demand(demand: &proto::Demand) -> Result<(ServiceName, Zone, Option<Load>), WireError> {
    let load = demand.load.map(|load| match load {
        demand::Load::Rps(rps) => Load::Rate { rps },
        demand::Load::Requests(requests) => Load::Concurrency { requests },
    });
    Ok((demand.service.parse()?, demand.zone.parse()?, load))
}

pub(crate) fn encode_name((service, zone): &PoolName) -> proto::PoolName {
    proto::PoolName { service: service.to_string(), zone: zone.to_string() }
}

pub(crate) fn decode_name(name: &proto::PoolName) -> Result<PoolName, WireError> {
    Ok((name.service.parse()?, name.zone.parse()?))
}

/// `age` is how long ago `status` was true: its hold-down is that much shorter by now.
pub(crate) fn encode(status: &PoolStatus, own_region: &Region, age: Duration) -> proto::Pool {
    let region = &status.locality.region;
    let remaining = status.hold_remaining.saturating_sub(age);
    proto::Pool {
        service: status.service.to_string(),
        zone: status.locality.zone.to_string(),
        region: if region == own_region { String::new() } else { region.to_string() },
        expected: status.expected,
        present: status.present,
        healthy: status.healthy,
        admit_ppm: status.admit.ppm(),
        phase: encode_phase(status.phase).into(),
        hold_remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
    }
}

pub(crate) fn decode(pool: &proto::Pool, region: &Region) -> Result<PoolStatus, WireError> {
    let named = || format!("{} in zone {}", pool.service, pool.zone);
    let quantity = |error: QuantityError| WireError::Quantity { pool: named(), source: error };
    let region = if pool.region.is_empty() { region.clone() } else { pool.region.parse()? };
    Ok(PoolStatus {
        service: pool.service.parse()?,
        locality: Locality { region, zone: pool.zone.parse()? },
        expected: pool.expected,
        present: pool.present,
        healthy: pool.healthy,
        admit: Fraction::from_ppm(pool.admit_ppm).map_err(quantity)?,
        phase: decode_phase(pool.phase)
            .ok_or_else(|| WireError::Phase { pool: named(), phase: pool.phase })?,
        hold_remaining: Duration::from_millis(pool.hold_remaining_ms),
    })
}

const fn encode_phase(phase: Phase) -> proto::Phase {
    match phase {
        Phase::Serving => proto::Phase::Serving,
        Phase::Reduced => proto::Phase::Reduced,
        Phase::Out => proto::Phase::Out,
        Phase::Holding => proto::Phase::Holding,
        Phase::Ramping => proto::Phase::Ramping,
        Phase::Shifted => proto::Phase::Shifted,
        Phase::Empty => proto::Phase::Empty,
    }
}

fn decode_phase(phase: i32) -> Option<Phase> {
    Some(match proto::Phase::try_from(phase).ok()? {
        proto::Phase::Unspecified => return None,
        proto::Phase::Serving => Phase::Serving,
        proto::Phase::Reduced => Phase::Reduced,
        proto::Phase::Out => Phase::Out,
        proto::Phase::Holding => Phase::Holding,
        proto::Phase::Ramping => Phase::Ramping,
        proto::Phase::Shifted => Phase::Shifted,
        proto::Phase::Empty => Phase::Empty,
    })
}
