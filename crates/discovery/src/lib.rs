//! Where manifests come from: watched files and folders, and what is handed to them.
//!
//! [`Folder::watch`] gives a [`Snapshot`] of what the manifests say, and a new one whenever they change. What a
//! manifest means is the business of the crate `api`; here is only the reading: which files there are (`scan`), and
//! when to look again (`watch`).

mod scan;
mod watch;

pub use scan::{MAX_FILES, read_once};
pub use watch::{Error, Folder, Given, Snapshot};
