//! What objects in a Kubernetes API are told: their `status`, events about them, and which of several agents or hubs tells it.
//!
//! - [`lease`] is the election, pure; [`leader`] runs it on a `Lease`. Nothing that decides about traffic waits for it: it says who
//!   writes, and no more.
//! - [`conditions`] says what a status becomes, pure; [`queue`] which object is written next, pure; [`writer`] writes, by server-side
//!   apply, and only what differs.
//! - [`flood`] says which events are told, pure; [`events`] tells them to the API, [`webhook`] to other systems, with or without such an API.
//!   [`metrics`] says how much was told. [`otlp`] sends traces.
//!
//! - [`statuses`] says what the status of each kind of object is, from what is wrong with it and how far it got; pure.

pub mod conditions;
pub mod events;
pub mod flood;
pub mod leader;
pub mod lease;
pub mod metrics;
pub mod otlp;
pub mod queue;
pub mod statuses;
pub mod webhook;
pub mod writer;
