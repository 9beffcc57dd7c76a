//! A copy of the state folder, made while the hub runs: another hub starts from it. Keys first, then the store, each whole or
//! not there, so that a copy that is cut off leaves the one before.

use crate::{office::Office, run::HubError};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidegate_link::identity::{write_public, write_secret};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Where the hub keeps a copy of its state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCopy {
    /// The folder; it is a state folder itself.
    pub folder: PathBuf,
    /// How often it is made anew, if anything changed. After a revocation it is at once.
    pub every: Duration,
}

/// What else than the store is in a state folder: the name, whether it is a secret, whether it may be missing.
const FILES: [(&str, bool, bool); 4] = [
    ("trust-domain", false, false),
    ("policy.key", true, false),
    // An authority that was brought is for whoever brought it to keep.
    ("ca/tls.key", true, true),
    ("ca/tls.crt", false, true),
];

/// Makes the copy.
pub(crate) fn write(office: &Office, state: &Path, folder: &Path) -> Result<(), HubError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        |source| HubError::File { path, source }
    };
    fs::create_dir_all(folder.join("ca")).map_err(file(folder))?;
    if folder.canonicalize().ok() == state.canonicalize().ok() {
        let source = io::Error::other("is the state folder itself; name another for the copy");
        return Err(HubError::File { path: folder.to_owned(), source });
    }
    for (name, secret, optional) in FILES {
        let (from, to) = (state.join(name), folder.join(name));
        let bytes = match fs::read(&from) {
            Err(error) if optional && error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(file(&from))?,
        };
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        let written = if secret { write_secret(&to, &bytes) } else { write_public(&to, &bytes) };
        written.map_err(file(&to))?;
    }
    let (beside, to) = (folder.join("hub.redb.new"), folder.join("hub.redb"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(&beside)(error)),
        _ => {}
    }
    office.store.copy(&beside)?;
    fs::rename(&beside, &to).map_err(file(&to))
}

/// Makes it again and again, where something changed.
pub(crate) async fn follow(office: Arc<Office>, state: PathBuf, copy: StateCopy, stop: CancellationToken) {
    let mut made = None;
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = office.copy_now.notified() => false,
            () = sleep(copy.every) => false,
        };
        let (office, state, folder) = (Arc::clone(&office), state.clone(), copy.folder.clone());
        let work = tokio::task::spawn_blocking(move || {
            let last = office.store.audited(1)?.first().map(|(number, _)| *number);
            if last != made {
                write(&office, &state, &folder)?;
            }
            Ok::<_, HubError>(last)
        });
        match work.await {
            Ok(Ok(last)) => made = last,
            Ok(Err(error)) => tracing::error!(%error, "the copy of the state stays as it was"),
            Err(error) => tracing::error!(%error, "the copy of the state stays as it was"),
        }
        if stopped {
            return;
        }
    }
}
