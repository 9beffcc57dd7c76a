//! The xDS protocol, section by section, as a client sees it.
//!
//! A module per section of Envoy's page "xDS REST and gRPC protocol", in the order of that page. The client
//! (`client`) speaks only the wire: it sends and reads bytes over gRPC, and knows nothing of the server's types.
//! Sections that concern clients alone, or the file system and REST, have no module.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod client;
mod server;

mod s01_variants;
mod s02_basic_overview;
mod s03_ack_nack;
mod s04_when_to_send;
mod s05_what_to_return;
mod s06_grouping;
mod s07_deleting;
mod s08_not_existing;
mod s09_unsubscribing;
mod s10_multiple_resources;
mod s11_resource_updates;
mod s12_warming;
mod s13_make_before_break;
mod s14_ttl;
mod s15_aggregated;
mod s16_incremental;
mod s17_incremental_reconnect;
mod s18_incremental_subscribing;
mod s19_incremental_unsubscribing;
mod s20_incremental_not_existing;
mod s21_errors;
