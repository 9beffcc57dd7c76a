//! Failover beside others: the same endpoints, the same faults and the same load behind Tidegate with its Envoy and
//! behind other proxies, measured by the same rules. `cargo xtask bench failover` runs it.
//!
//! A service has four endpoints in each of two zones. The gateway stands in zone a, which is preferred; zone b stands by.
//! All that a contestant is told lies in `configs/`, one file or two for each. Nothing is read from the proxies: what
//! moved, and when, is seen in the answers, which name the endpoint that gave them. So a move means the same for all.
//!
//! | module | what it is |
//! |---|---|
//! | [`contestant`] | who is measured: where its program is, and how it is started |
//! | [`config`] | its configuration, with the addresses filled in |
//! | [`fault`] | what is done to zone a |
//! | [`course`] | one fault on one contestant, under load |
//! | [`traffic`] | from the answers to moves; pure |
//! | [`report`] | the results as a table, as JSON and as a page |

pub mod config;
pub mod contestant;
pub mod course;
pub mod fault;
pub mod report;
pub mod traffic;

/// The zone that is preferred, and that faults strike.
pub const ZONE_A: &str = "us-east-1a";
/// The zone that stands by.
pub const ZONE_B: &str = "us-east-1b";
/// Endpoints in each zone.
pub const ENDPOINTS: usize = 4;
/// The service.
pub const SERVICE: &str = "shop/web";
