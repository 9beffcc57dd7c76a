//! The words of Tidegate: names, localities, shares, phases, virtual time.
//!
//! Every crate speaks with these types, so this one has no I/O, no clock and
//! hardly a dependency. It holds vocabulary, not decisions: how a phase is
//! reached is the engine's business.

mod health;
mod names;
mod quantity;
mod time;

pub use health::{PeerBoot, Phase, PoolStatus, ProbeVerdict};
pub use names::{ClusterName, GatewayName, Locality, NameError, PoolKey, Region, ServiceName, Zone};
pub use quantity::{Fraction, QuantityError, Share};
pub use time::Time;
