//! The page: what a hub shows of its fleet, and an agent of its cluster, in a browser. The same facts as JSON.
//!
//! [`model`] has the facts as plain data, [`Source`] is who knows them: the hub and the agent each implement it. [`router`] is what they
//! mount at `/`; who visits is told by an `axum::Extension` of [`Visitor`] that their access layer puts into each request. This crate
//! decides nothing, asks no network, and knows neither of them. Everything that changes something goes through [`Source::act`], in the
//! name of a [`Visitor`].
//!
//! A page is made in three steps: what is asked for (`query`, pure), what the visitor may see of the facts (`sight`, pure), and what is
//! drawn (`pages` with `templates/`, and `picture`, pure but for the questions to the source). `router` is the shell around them.

mod answer;
mod assets;
mod cache;
pub mod compose;
mod guard;
mod live;
pub mod model;
mod pages;
mod picture;
mod query;
mod router;
mod sentence;
mod sight;
mod source;
mod words;

pub use router::{Options, router};
pub use source::{Action, Loss, ShiftAsked, Source, Trouble, Visitor};
