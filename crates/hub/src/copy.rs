//! A copy of the state folder, made while the hub runs: another hub starts from it. Keys first, then the store, each whole or
//! not there, so that a copy that is cut off leaves the one before.

use crate::{office::Office, run::HubError, store::STORE};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
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

/// The file of a copy with the time at which it was last found to be the newest, in milliseconds since 1970.
pub(crate) const AS_OF: &str = "as-of";
/// The file of a copy with the epoch of the hub that writes it, or was promoted over it.
pub(crate) const EPOCH: &str = "epoch";

/// The number in a file; 0 if there is none.
pub(crate) fn number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Makes the copy, unless another hub was promoted over it.
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
    let newer = number(&folder.join(EPOCH));
    if newer > office.epoch {
        return Err(office.supersede(newer, &format!("the copy in {}", folder.display()))?.into());
    }
    keys(state, folder)?;
    let (beside, to) = (folder.join("hub.redb.new"), folder.join(STORE));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(&beside)(error)),
        _ => {}
    }
    office.store.copy(&beside)?;
    fs::rename(&beside, &to).map_err(file(&to))?;
    note(folder, EPOCH, office.epoch)?;
    newest(folder)
}

/// Notes that the copy is the newest now.
fn newest(folder: &Path) -> Result<(), HubError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis());
    note(folder, AS_OF, u64::try_from(now).unwrap_or(u64::MAX))
}

fn note(folder: &Path, name: &str, number: u64) -> Result<(), HubError> {
    let path = folder.join(name);
    write_public(&path, format!("{number}\n").as_bytes()).map_err(|source| HubError::File { path, source })
}

/// Copies what else than the store is in a state folder, where it is not the same already.
pub(crate) fn keys(state: &Path, folder: &Path) -> Result<(), HubError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        |source| HubError::File { path, source }
    };
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
    Ok(())
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
            if last == made && number(&folder.join(EPOCH)) <= office.epoch {
                newest(&folder)?;
            } else {
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
