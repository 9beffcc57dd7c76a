//! Where policy comes from: a folder, a Git repository by the command `git`, or the API of a Kubernetes cluster ([`crate::kubernetes`]).

use crate::{
    documents::{Read, below},
    kubernetes::Api,
};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_discovery::{
    kube::{AccessError, KubeAccess},
    read_once,
};
use tokio::sync::Notify;

/// A folder is compared so often when no event came: events get lost.
const POLL: Duration = Duration::from_secs(2);
/// A `git` command may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// A folder, watched.
    Folder(PathBuf),
    /// A Git repository.
    Git {
        /// Its URL or path.
        url: String,
        /// The branch.
        branch: String,
        /// The folder in it; empty for all of it.
        path: PathBuf,
        /// How often it is asked.
        interval: Duration,
        /// A file of those whose signature a commit must have, as `ssh-keygen` reads it (`allowed_signers`).
        signers: Option<PathBuf>,
    },
    /// The API of a Kubernetes cluster.
    Kubernetes(KubeAccess),
}

/// Reads policy, again and again. Blocking.
pub(crate) trait Source: Send {
    /// What is there now.
    fn read(&mut self) -> Result<Read, SourceError>;
    /// How long to wait for the next look when nobody says that something changed.
    fn interval(&self) -> Duration;
    /// Who changes it, for the audit.
    fn who(&self, read: &Read) -> String;
    /// How old is what was read last, where it is known while nothing can be read.
    fn age(&self) -> Option<Duration> {
        None
    }
}

/// Why it cannot be read now. What was read before stays.
#[derive(Debug, thiserror::Error)]
#[error("the policy cannot be read: {0}")]
pub(crate) struct SourceError(pub(crate) String);

impl PolicySource {
    /// Opens it; `changed` is told when it may have changed. With an API, also who tells its objects what became of them.
    pub(crate) async fn open(
        &self,
        state: &Path,
        changed: &Arc<Notify>,
    ) -> Result<(Box<dyn Source>, Option<Api>), AccessError> {
        let source: Box<dyn Source> = match self {
            Self::Folder(root) => {
                Box::new(Folder { root: root.clone(), _watcher: watcher(root, Arc::clone(changed)) })
            }
            Self::Git { url, branch, path, interval, signers } => Box::new(Git {
                url: url.clone(),
                branch: branch.clone(),
                path: path.clone(),
                interval: *interval,
                // git runs in the copy, which is elsewhere.
                signers: signers.as_ref().map(|it| std::path::absolute(it).unwrap_or_else(|_| it.clone())),
                copy: state.join("git"),
            }),
            Self::Kubernetes(access) => {
                let api = Api::open(access, changed).await?;
                return Ok((api.source(), Some(api)));
            }
        };
        Ok((source, None))
    }
}

struct Folder {
    root: PathBuf,
    /// It watches for as long as it lives; `None` where the system has none to give.
    _watcher: Option<RecommendedWatcher>,
}

fn watcher(root: &Path, changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let started = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    started
        .inspect_err(
            |error| tracing::warn!(%error, "no file system events; the policy is compared every 2 s"),
        )
        .ok()
}

impl Source for Folder {
    fn read(&mut self) -> Result<Read, SourceError> {
        // A folder that is gone for a moment is not a policy without objects.
        if let Err(error) = std::fs::read_dir(&self.root) {
            return Err(SourceError(format!("{}: {error}", self.root.display())));
        }
        let (files, problems) = read_once(std::slice::from_ref(&self.root));
        let (files, problems) = below(&self.root, files, problems);
        Ok(Read { files, problems, ..Read::default() })
    }

    fn interval(&self) -> Duration {
        POLL
    }

    fn who(&self, _read: &Read) -> String {
        format!("folder {}", self.root.display())
    }
}

/// A copy of one branch, one commit deep, in the state folder.
struct Git {
    url: String,
    branch: String,
    path: PathBuf,
    interval: Duration,
    signers: Option<PathBuf>,
    copy: PathBuf,
}

impl Source for Git {
    fn read(&mut self) -> Result<Read, SourceError> {
        if !self.copy.join(".git").exists() {
            std::fs::create_dir_all(&self.copy)
                .map_err(|error| SourceError(format!("{}: {error}", self.copy.display())))?;
            self.git(&["init", "--quiet"])?;
        }
        self.git(&["fetch", "--quiet", "--depth", "1", "--no-tags", "--", &self.url, &self.branch])?;
        let commit = self.git(&["rev-parse", "FETCH_HEAD"])?.trim().to_owned();
        if let Some(signers) = &self.signers {
            let signers = format!("gpg.ssh.allowedSignersFile={}", signers.display());
            // The trust is the file's alone, whatever the machine's configuration of git says.
            let ssh = ["-c", "gpg.format=ssh", "-c", &signers];
            let verified = self.git(&[&ssh[..], &["verify-commit", "FETCH_HEAD"]].concat());
            verified.map_err(|error| SourceError(format!("commit {commit} is not believed: {error}")))?;
        }
        self.git(&["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])?;
        self.git(&["clean", "--quiet", "-ffdx"])?;
        let root = self.copy.join(&self.path);
        if !root.is_dir() {
            return Err(SourceError(format!("commit {commit} has no folder {}", self.path.display())));
        }
        let (files, problems) = read_once(std::slice::from_ref(&root));
        let (files, problems) = below(&root, files, problems);
        Ok(Read { files, problems, commit: Some(commit), ..Read::default() })
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn who(&self, read: &Read) -> String {
        format!("commit {}", read.commit.as_deref().unwrap_or("unknown"))
    }
}

impl Git {
    /// Runs `git` in the copy, never asking anybody for a password, and ends it when it takes too long.
    fn git(&self, arguments: &[&str]) -> Result<String, SourceError> {
        let failed = |why: String| SourceError(format!("git {}: {why}", arguments.join(" ")));
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(&self.copy)
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("{error}; is git installed?")))?;
        let (stdout, stderr) = (gather(child.stdout.take()), gather(child.stderr.take()));
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().map_err(|error| failed(error.to_string()))? {
                Some(status) => break status,
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failed(format!("gave no answer within {} s", PATIENCE.as_secs())));
                }
            }
        };
        let text = |gathered: std::thread::JoinHandle<String>| gathered.join().unwrap_or_default();
        match status.success() {
            true => Ok(text(stdout)),
            false => Err(failed(text(stderr).trim().chars().take(500).collect())),
        }
    }
}

/// Reads a pipe to its end beside the process, so that a full one does not hold it up; what is too long is cut.
fn gather(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(1 << 20).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_branch_of_a_repository_is_followed_commit_by_commit() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository");
        std::fs::create_dir_all(repository.join("policy")).unwrap();
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
            let ran =
                Command::new("git").args(identity).args(arguments).current_dir(&repository).output().unwrap();
            assert!(ran.status.success(), "{ran:?}");
        };
        let commit = |text: &str| {
            std::fs::write(repository.join("policy/a.yaml"), text).unwrap();
            std::fs::write(repository.join("elsewhere.yaml"), text).unwrap();
            git(&["add", "-A"]);
            git(&["commit", "--quiet", "-m", "change"]);
        };
        git(&["init", "--quiet", "-b", "main"]);
        commit("# one\n");
        let source = PolicySource::Git {
            url: repository.to_str().unwrap().to_owned(),
            branch: "main".to_owned(),
            path: "policy".into(),
            interval: POLL,
            signers: None,
        };
        let (mut source, _) = source.open(folder.path(), &Arc::default()).await.unwrap();
        let first = source.read().unwrap();
        assert_eq!((first.files.len(), first.files[0].path.as_str()), (1, "a.yaml"));
        commit("# two\n");
        let second = source.read().unwrap();
        assert_eq!(second.files[0].text, "# two\n");
        assert_ne!(first.commit, second.commit);
        assert!(source.who(&second).contains(second.commit.as_deref().unwrap()));
        std::fs::remove_dir_all(&repository).unwrap();
        assert!(source.read().unwrap_err().to_string().contains("git fetch"), "a repository that is gone");
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_an_error_and_not_an_empty_policy() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("policies");
        std::fs::create_dir_all(root.join("shop")).unwrap();
        std::fs::write(root.join("shop/a.yaml"), "# a\n").unwrap();
        let source = PolicySource::Folder(root.clone());
        let (mut source, _) = source.open(folder.path(), &Arc::default()).await.unwrap();
        assert_eq!(source.read().unwrap().files[0].path, "shop/a.yaml");
        std::fs::remove_dir_all(&root).unwrap();
        assert!(source.read().is_err());
    }
}
