//! Where etcd and the API server are.

use crate::{Error, io_error, keys};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where the small server lies: beside the project.
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/kube");

/// The two programs.
#[derive(Clone, Debug)]
pub(crate) enum Binaries {
    /// As envtest has them.
    Kubebuilder(PathBuf),
    /// The small server, unpacked.
    Small(PathBuf),
}

impl Binaries {
    pub(crate) fn find() -> Result<Self, Error> {
        if let Some(folder) = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) {
            return match folder.join("kube-apiserver").exists() && folder.join("etcd").exists() {
                true => Ok(Self::Kubebuilder(folder)),
                false => Err(Error::Missing(folder)),
            };
        }
        let packed = PathBuf::from(BESIDE);
        if !packed.join("kube-test-server.xz").exists() {
            return Err(Error::Missing(packed));
        }
        let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache =
            env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(env::temp_dir);
        let unpacked = cache.join("kube-test-server");
        fs::create_dir_all(&unpacked).map_err(io_error("a folder for the small server"))?;
        for name in ["etcd", "kube-test-server"] {
            unpack(&packed.join(format!("{name}.xz")), &unpacked.join(name))?;
        }
        Ok(Self::Small(unpacked))
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        match self {
            Self::Kubebuilder(folder) | Self::Small(folder) => folder.join("etcd"),
        }
    }

    /// The API server, with what only this one needs.
    pub(crate) fn server(&self, dir: &Path) -> Result<Command, Error> {
        match self {
            Self::Small(folder) => Ok(Command::new(folder.join("kube-test-server"))),
            Self::Kubebuilder(folder) => {
                let key = dir.join("service-accounts.key");
                if !key.exists() {
                    keys::write(&key)?;
                }
                let mut command = Command::new(folder.join("kube-apiserver"));
                command
                    .args([
                        "--service-account-issuer",
                        "https://127.0.0.1/",
                        "--service-cluster-ip-range",
                        "10.0.0.0/24",
                    ])
                    .args(["--disable-admission-plugins", "ServiceAccount", "--allow-privileged=true"])
                    .arg("--service-account-key-file")
                    .arg(&key)
                    .arg("--service-account-signing-key-file")
                    .arg(&key);
                Ok(command)
            }
        }
    }
}

/// Unpacks a program unless that was done since it was packed. Others may do the same at the same time.
fn unpack(packed: &Path, unpacked: &Path) -> Result<(), Error> {
    let age = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    if age(unpacked) > age(packed) {
        return Ok(());
    }
    let folder = unpacked.parent().unwrap_or(Path::new("."));
    // Under a name of its own: the tests of one process come at the same time, too.
    let done = tempfile::NamedTempFile::new_in(folder).and_then(|beside| {
        let file = beside.reopen()?;
        let status = Command::new("xz").arg("-dc").arg(packed).stdin(Stdio::null()).stdout(file).status()?;
        status.success().then_some(()).ok_or_else(|| io::Error::other(format!("xz ended with {status}")))?;
        make_executable(beside.path())?;
        Ok(beside.into_temp_path().persist(unpacked)?)
    });
    done.map_err(io_error(&format!("unpacking {}", packed.display())))
}

fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
