//! Where manifests come from: watched files and folders, what is handed to them, and the API of a Kubernetes cluster.
//!
//! [`Folder::watch`] gives a [`Snapshot`] of what the manifests say, and then an [`Update`] whenever they change;
//! [`Sources::watch`] does so for all sources together. What a
//! manifest means is the business of the crate `api`; here is only the reading: which files there are (`scan`), which
//! of them to read again (`reader`), when to do so (`watch`), what an API tells ([`kube`]), and how what changed gets to
//! whoever follows (`updates`).

mod events;
pub mod kube;
mod reader;
mod scan;
mod updates;
mod watch;

pub use scan::{MAX_FILES, read_once};
pub use updates::{Snapshot, Update, Updates};
pub use watch::{Error, Folder, Given, Sources};
