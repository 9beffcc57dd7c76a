//! The page: what a hub shows of its fleet, and an agent of its cluster, in a browser. The same facts as JSON.
//!
//! [`model`] has the facts as plain data, [`Source`] is who knows them: the hub and the agent each implement it. This crate decides
//! nothing, asks no network, and knows neither of them. Everything that changes something goes through [`Source::act`], in the name of
//! a [`Visitor`].

pub mod compose;
pub mod model;
mod source;

pub use source::{Action, Loss, ShiftAsked, Source, Trouble, Visitor};
