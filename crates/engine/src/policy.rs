//! What a user decided for a service, in the form that the engine uses: checked,
//! complete, and with the place where each field was written.
//!
//! Reading YAML, merging policies and applying their precedence is the business
//! of the crate `api`.

use crate::capacity::Capacity;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, Fraction, Region, Share, Zone};

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SpelledOrigin", into = "SpelledOrigin")]
pub enum Origin {
    /// Nobody wrote it: the default applies.
    #[default]
    Default,
    /// In a file.
    File {
        /// The object that holds it.
        place: Arc<WrittenIn>,
        /// The line, from 1.
        line: u32,
    },
    /// In a `FailoverProfile`, for the whole fleet.
    Profile {
        /// Which half of it.
        part: ProfilePart,
        /// The object that holds it.
        place: Arc<WrittenIn>,
        /// The line, from 1.
        line: u32,
    },
}

/// An object and where it was read from; shared by all that was written there, as every reason of every plan names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenIn {
    /// The object, as `Kind namespace/name` or `Kind name`.
    pub object: Arc<str>,
    /// The file, as it was given to the loader.
    pub file: Arc<str>,
}

impl Origin {
    /// A line of an object in a file.
    #[must_use]
    pub fn file(object: &str, file: &str, line: u32) -> Self {
        Self::File { place: Arc::new(WrittenIn { object: object.into(), file: file.into() }), line }
    }
}

/// An origin as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SpelledOrigin {
    Default,
    File { object: Arc<str>, file: Arc<str>, line: u32 },
    Profile { part: ProfilePart, object: Arc<str>, file: Arc<str>, line: u32 },
}

impl From<SpelledOrigin> for Origin {
    fn from(spelled: SpelledOrigin) -> Self {
        let place = |object, file| Arc::new(WrittenIn { object, file });
        match spelled {
            SpelledOrigin::Default => Self::Default,
            SpelledOrigin::File { object, file, line } => Self::File { place: place(object, file), line },
            SpelledOrigin::Profile { part, object, file, line } => {
                Self::Profile { part, place: place(object, file), line }
            }
        }
    }
}

impl From<Origin> for SpelledOrigin {
    fn from(origin: Origin) -> Self {
        let of = |place: &WrittenIn| (Arc::clone(&place.object), Arc::clone(&place.file));
        match origin {
            Origin::Default => Self::Default,
            Origin::File { place, line } => {
                let (object, file) = of(&place);
                Self::File { object, file, line }
            }
            Origin::Profile { part, place, line } => {
                let (object, file) = of(&place);
                Self::Profile { part, object, file, line }
            }
        }
    }
}

/// The halves of a `FailoverProfile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProfilePart {
    /// No policy may change it.
    Override,
    /// It holds where no policy says anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { place, line } => write!(f, "{} at {}:{line}", place.object, place.file),
            Self::Profile { part, place, line } => {
                let part = match part {
                    ProfilePart::Override => "override",
                    ProfilePart::Default => "default",
                };
                write!(f, "{part} of {} at {}:{line}", place.object, place.file)
            }
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

impl<T> Written<T> {
    /// A value that nobody wrote.
    pub const fn default_value(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
}

/// The failover policy in force for one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The order of tiers per caller; the first rule whose `from` matches applies. None matches: [`Tier::DEFAULT`].
    pub failover: Vec<Written<OrderRule>>,
    /// Health below this part of what is expected reduces a pool.
    pub failover_threshold: Written<Fraction>,
    /// Health below this part of what is expected takes a pool out.
    pub minimum_healthy: Written<Fraction>,
    /// How long a partial loss lasts before it counts; a total loss counts at once.
    pub partial_loss_delay: Written<Duration>,
    /// The only places that may serve; `None` allows all. Nothing overrides it.
    pub residency: Option<Written<Residency>>,
    /// What an endpoint takes; `None` when nobody said: then nothing is ever too much for a pool that admits it.
    pub capacity: Option<Capacity>,
    /// How a pool gets its load back.
    pub failback: Failback,
    /// What to do when no allowed pool has a healthy endpoint.
    pub when_exhausted: Written<WhenExhausted>,
    /// By which distances the nearest region is found.
    #[serde(default)]
    pub proximity: Written<Proximity>,
    /// A plan changes only when a share moves by more than this, or a pool enters or leaves.
    pub dead_band: Share,
    /// How long the high-water mark of a pool is kept.
    pub retention: Duration,
}

/// How a pool gets its load back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failback {
    /// By itself, or by an operator's word.
    pub mode: Written<FailbackMode>,
    /// How long health must be steady first.
    pub hold_down: Written<Duration>,
    /// The limit to which relapses double the hold-down.
    pub max_hold_down: Written<Duration>,
    /// Each quiet time of this length halves a doubled hold-down.
    pub quiet: Duration,
    /// The steps after the hold-down, rising, the last one the whole.
    pub ramp_steps: Written<Vec<Fraction>>,
    /// How long each step lasts.
    pub ramp_interval: Written<Duration>,
    /// Whether a step waits until the pool's healthy endpoints can take its share of the demand. Means something
    /// only with declared capacity and known demand.
    pub require_headroom: Written<bool>,
}

/// Who lets traffic back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailbackMode {
    /// The governor, after the hold-down.
    #[default]
    Auto,
    /// An operator.
    Manual,
}

/// What to do when no allowed pool has a healthy endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenExhausted {
    /// Try all endpoints of the allowed pools: health checks may be wrong.
    #[default]
    Spread,
    /// Answer 503 at the gateway.
    Shed,
}

/// By which distances the nearest region is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proximity {
    /// Those that manifests declare.
    #[default]
    Declared,
    /// Those that are measured over the peer links, where they differ from the declared ones for long (`proximity`).
    Measured,
}

/// Which tiers, in order, serve the callers of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRule {
    /// The callers; an empty selector means all.
    pub from: Places,
    /// The tiers. After the last one comes nothing.
    pub to: Vec<Tier>,
}

/// A set of pools, as a caller sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// The caller's zone, in the caller's cluster.
    SameZone,
    /// The caller's region: other zones of its cluster, other clusters of the region.
    SameRegion,
    /// These places.
    Only(Places),
    /// These places, dividing what reaches them by weight.
    Weighted(Places, Weights),
    /// All places but these, the nearest region first.
    AnyExcept(Places),
    /// All places, the nearest region first.
    Any,
}

impl Tier {
    /// Local first: the default order (DESIGN, section 7).
    pub const DEFAULT: [Self; 3] = [Self::SameZone, Self::SameRegion, Self::Any];
}

/// The weights of the members of a tier, 0 to 1000000, not all 0: what share each is to have of what reaches the tier
/// while all are whole. What else they mean is told in `planner::weights`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Weights {
    /// By region, over all its clusters.
    Regions(BTreeMap<Region, u32>),
    /// By zone, of whichever cluster. Another cluster counts as the sum of its zones that are named.
    Zones(BTreeMap<Zone, u32>),
    /// By cluster, over all its zones.
    Clusters(BTreeMap<ClusterName, u32>),
}

/// The only places that may serve. Both parts must allow a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Residency {
    /// The regions; `None` allows all.
    pub regions: Option<BTreeSet<Region>>,
    /// The clusters, as their labels say; `None` allows all.
    #[serde(default)]
    pub clusters: Option<BTreeSet<ClusterName>>,
}

impl Residency {
    /// Whether a cluster in a region may serve.
    #[must_use]
    pub fn allows(&self, region: &Region, cluster: &ClusterName) -> bool {
        self.regions.as_ref().is_none_or(|only| only.contains(region))
            && self.clusters.as_ref().is_none_or(|only| only.contains(cluster))
    }
}

impl FromIterator<Region> for Residency {
    fn from_iter<I: IntoIterator<Item = Region>>(regions: I) -> Self {
        Self { regions: Some(regions.into_iter().collect()), clusters: None }
    }
}

impl<const N: usize> From<[Region; N]> for Residency {
    fn from(regions: [Region; N]) -> Self {
        regions.into_iter().collect()
    }
}

/// Places by name. A field that is empty does not restrict; the fields together must all match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Regions.
    pub regions: BTreeSet<Region>,
    /// Zones.
    pub zones: BTreeSet<Zone>,
    /// Clusters.
    pub clusters: BTreeSet<ClusterName>,
}

impl Policy {
    /// What so many healthy endpoints are declared to take at once, in thousandths of a request per second; `None` if it is
    /// not declared, or in another unit.
    #[must_use]
    pub fn carries(&self, healthy: u32) -> Option<u64> {
        match self.capacity.as_ref()?.per_endpoint.value {
            crate::Load::Rate { rps } => Some(rps.saturating_mul(healthy.into())),
            crate::Load::Concurrency { .. } => None,
        }
    }
}

impl Default for Policy {
    /// The defaults of DESIGN section 7, each with its reason there.
    fn default() -> Self {
        let percent = |value: u32| Fraction::from_ppm(value * 10_000).unwrap_or(Fraction::ONE);
        Self {
            failover: Vec::new(),
            failover_threshold: Written::default_value(percent(70)),
            minimum_healthy: Written::default_value(percent(25)),
            partial_loss_delay: Written::default_value(Duration::from_secs(2)),
            residency: None,
            capacity: None,
            failback: Failback {
                mode: Written::default_value(FailbackMode::Auto),
                hold_down: Written::default_value(Duration::from_secs(30)),
                max_hold_down: Written::default_value(Duration::from_secs(600)),
                quiet: Duration::from_secs(600),
                ramp_steps: Written::default_value(vec![percent(10), percent(50), percent(100)]),
                ramp_interval: Written::default_value(Duration::from_secs(10)),
                require_headroom: Written::default_value(true),
            },
            when_exhausted: Written::default_value(WhenExhausted::Spread),
            proximity: Written::default_value(Proximity::Declared),
            dead_band: Share::new(100).unwrap_or(Share::NONE),
            retention: Duration::from_secs(600),
        }
    }
}
