//! What goes into the engine, and what comes out.

use crate::{
    capacity::Load,
    declared::FleetView,
    location::LocationDecision,
    merge::{News, Snapshot, Verdicts},
    plan::{Plan, Shares, Source, Target},
    policy::Policy,
    pool::EndpointFacts,
    shift::{Shift, ShiftDecision, ShiftTarget},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, Phase, PoolKey, PoolStatus, Region, ServiceName, Time, Zone};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Other clusters, or the ways to them, are these now.
    Topology {
        /// The other clusters, with their regions.
        clusters: BTreeMap<ClusterName, Region>,
        /// Round-trip times from the own region.
        distances: BTreeMap<Region, Duration>,
    },
    /// Requests enter at these places now.
    Sources(BTreeSet<Source>),
    /// A service is there, or changed.
    Service {
        /// Its name.
        name: ServiceName,
        /// The policy in force.
        policy: Arc<Policy>,
        /// All its endpoints in the own cluster.
        endpoints: BTreeMap<SocketAddr, (Zone, EndpointFacts)>,
        /// How many its workload wants in the own cluster, if that is known.
        replicas: Option<u32>,
    },
    /// A service is gone from the own cluster's manifests.
    ServiceRemoved(ServiceName),
    /// A check changed its mind about an endpoint. An unknown endpoint means nothing (it may just have gone).
    Checked {
        /// The service for which it was checked.
        service: ServiceName,
        /// The endpoint.
        address: SocketAddr,
        /// Whether it is up.
        up: bool,
        /// Why, for people.
        detail: String,
    },
    /// An endpoint that may pass its checks is ejected for what requests found there, or let back. An unknown endpoint means
    /// nothing.
    Ejected {
        /// The service.
        service: ServiceName,
        /// The endpoint.
        address: SocketAddr,
        /// Whether it is out.
        ejected: bool,
        /// Why, for people.
        reason: String,
    },
    /// The agents of another cluster told of these pools: all of them, per service and zone.
    RemotePools {
        /// The cluster.
        cluster: ClusterName,
        /// All its pools.
        pools: Vec<PoolStatus>,
    },
    /// The agents of another cluster told what is new of its pools; the others are as they were.
    RemotePoolsChanged {
        /// The cluster.
        cluster: ClusterName,
        /// Pools that are new or changed.
        changed: Vec<PoolStatus>,
        /// Pools that are gone; one that is in `changed` too is there.
        removed: Vec<(ServiceName, Zone)>,
    },
    /// Another cluster came in reach. `quick`: it was the same agent all the time and it never fell, so
    /// the silence was no fault.
    Reachable {
        /// The cluster.
        cluster: ClusterName,
        /// Whether to return without hold-down.
        quick: bool,
    },
    /// Another cluster went out of reach.
    Unreachable(ClusterName),
    /// A round trip to another cluster was measured, about once a second. Means something only where a policy finds the
    /// nearest region by what is measured.
    RoundTrip {
        /// The cluster.
        cluster: ClusterName,
        /// The round trip of its nearest gateway.
        rtt: Duration,
    },
    /// What one of the own sources asks for was measured: *downstream* requests, each counted once however often a
    /// gateway retried it. Neither retries nor what arrives at an east-west gateway are demand. A source or service that
    /// is not known, or a unit other than that of the declared capacity, means nothing. Only services whose demand
    /// moved are planned anew.
    Demand {
        /// Where the requests enter.
        source: Source,
        /// What they ask for, and how much.
        rates: BTreeMap<ServiceName, Load>,
    },
    /// The agents of another cluster told what its sources ask for ([`Engine::demand`] there), and how it sees the
    /// fleet. What is not named goes missing: it holds its last value for 60 s, then its peak, for an hour.
    RemoteDemand {
        /// The cluster.
        cluster: ClusterName,
        /// How it sees the fleet.
        view: FleetView,
        /// All its demand, per service and zone.
        demand: BTreeMap<ServiceName, BTreeMap<Zone, Load>>,
    },
    /// What arrives at the east-west gateways of a cluster (the own or another) from others, per service: all of it.
    /// Needed only for what comes from clusters that this one cannot hear.
    Arrivals {
        /// The cluster that serves.
        at: ClusterName,
        /// From where, and how much.
        from: BTreeMap<ServiceName, BTreeMap<ClusterName, Load>>,
    },
    /// An operator lets traffic back to a target that waits for a word.
    Release {
        /// The service.
        service: ServiceName,
        /// The target.
        target: Target,
    },
    /// Requests were seen to succeed: of these services, in these zones of the own cluster. It matters only while a place
    /// is in doubt ([`Engine::doubted`]).
    ///
    /// [`Engine::doubted`]: crate::Engine::doubted
    Succeeded {
        /// Which, and where.
        pools: BTreeSet<(ServiceName, Zone)>,
        /// When.
        at: Time,
    },
    /// Traffic is moved away from a place. One that cannot be in force is refused by a decision.
    Shift(Shift),
    /// The shifts of this name end.
    ShiftEnded(String),
    /// A drill says that a place is dead: the own pools there, of one service or of all, are decided about as if it were.
    Verdict {
        /// By which it is ended; a later one of the same name replaces it.
        name: String,
        /// What is dead.
        target: ShiftTarget,
        /// Why, for people.
        why: Arc<str>,
    },
    /// The verdict of this name ends.
    VerdictEnded(String),
    /// Another replica of this agent told all that its checks found.
    ReplicaObserved {
        /// Its name.
        replica: Arc<str>,
        /// What it found.
        verdicts: Verdicts,
        /// When, by our own clock.
        at: Time,
    },
    /// Another replica told what is new of that; all the rest still holds. It means nothing once the replica's word is stale
    /// ([`Engine::hears`]).
    ///
    /// [`Engine::hears`]: crate::Engine::hears
    ReplicaTold {
        /// Its name.
        replica: Arc<str>,
        /// What is new.
        news: Vec<News>,
        /// When, by our own clock.
        at: Time,
    },
    /// Somebody else's word on the own pools, for an agent that starts or joins.
    Merge(Snapshot),
}

impl Event {
    /// Whether it may change what is kept of the fleet as a whole.
    pub(super) const fn is_of_the_fleet(&self) -> bool {
        matches!(
            self,
            Self::Topology { .. }
                | Self::Reachable { .. }
                | Self::Unreachable(_)
                | Self::Shift(_)
                | Self::ShiftEnded(_)
        )
    }
}

/// Something that the engine decided, for the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Decision {
    /// An endpoint is healthy or not.
    #[serde(rename = "endpointChanged")]
    Endpoint {
        /// The service.
        service: ServiceName,
        /// The endpoint.
        address: SocketAddr,
        /// Its zone.
        zone: Zone,
        /// Whether it is up.
        up: bool,
        /// Why.
        reason: String,
    },
    /// A pool's phase or admit changed.
    #[serde(rename = "poolChanged")]
    Pool {
        /// The pool.
        pool: PoolKey,
        /// The phase before; `None` for a new pool.
        before: Option<Phase>,
        /// How it stands now.
        status: PoolStatus,
        /// What acts on it besides its health, if anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<Arc<str>>,
    },
    /// A plan's shares changed.
    #[serde(rename = "planChanged")]
    Plan {
        /// The shares before; `None` for a new plan.
        before: Option<Shares>,
        /// The plan now.
        after: Arc<Plan>,
    },
    /// A place is declared out, or is not any more.
    #[serde(rename = "locationChanged")]
    Location(LocationDecision),
    /// A shift began, ended or was refused.
    #[serde(rename = "shiftChanged")]
    Shift(ShiftDecision),
}

/// What an event brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Services whose plans or endpoints changed: their gateways must be told.
    pub changed: BTreeSet<ServiceName>,
    /// Services that are gone.
    pub removed: BTreeSet<ServiceName>,
    /// Services whose own pools have other statuses than before, or are gone: peers must be told.
    pub statuses_changed: BTreeSet<ServiceName>,
    /// What was decided, in order.
    pub decisions: Vec<Decision>,
}
