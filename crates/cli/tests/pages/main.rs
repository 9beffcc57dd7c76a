//! The commands of pages for people who run a fleet, run as they stand there, each section on a machine of its own (`sandbox.rs`).
//!
//! Each test takes every command of its section from the page's text: one that it does not know fails it, and so does one that the page
//! does not show any more. `docs.rs` holds that each section of these pages has its test here. What stands for something of the
//! reader's (`...`, `FILE`, `NAME`) is replaced where it is run. They need root, Envoy, `ip`, `curl`, `git` and `python3`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod fleet;
mod gateways;
mod hub;
mod kubernetes;
mod sandbox;
mod scene;
mod standby;
#[path = "../support/mod.rs"]
mod support;
