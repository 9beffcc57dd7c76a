//! `cargo xtask setup`: the system packages that the tests need.

use anyhow::{Result, bail};
use std::process::{Command, Stdio};

/// A Debian package, and a command that succeeds where it is not needed any more.
struct Package {
    name: &'static str,
    present: &'static [&'static str],
}

/// Only what tests use today: for fetching Envoy, for networks with cut links, for drills, their guards and their pages, for the
/// schemas of other data planes.
const PACKAGES: &[Package] = &[
    Package { name: "python3", present: &["python3", "--version"] },
    Package { name: "python3-pip", present: &["python3", "-m", "pip", "--version"] },
    Package { name: "xz-utils", present: &["xz", "--version"] },
    Package { name: "iproute2", present: &["ip", "-V"] },
    Package { name: "nftables", present: &["nft", "-v"] },
    Package { name: "nginx", present: &["/usr/sbin/nginx", "-v"] },
    Package { name: "haproxy", present: &["/usr/sbin/haproxy", "-v"] },
    Package { name: "npm", present: &["npm", "--version"] },
    Package { name: "chromium", present: &["chromium", "--version"] },
    Package { name: "kubernetes-client", present: &["kubectl", "version", "--client"] },
    Package { name: "man-db", present: &["man", "--version"] },
    Package { name: "prometheus", present: &["prometheus", "--version"] },
    Package { name: "openssl", present: &["openssl", "version"] },
    Package { name: "curl", present: &["curl", "--version"] },
];

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().filter(|p| !succeeds(p.present)).map(|p| p.name).collect();
    if missing.is_empty() {
        println!("No system package is missing.");
        return Ok(());
    }
    let names = missing.join(" ");
    if !succeeds(&["apt-get", "--version"]) {
        bail!("missing: {names}. There is no apt-get here; install them with this system's package manager");
    }
    if !is_root() {
        bail!(
            "missing: {names}. Install them with:\n  sudo apt-get update && sudo apt-get install --yes {names}"
        );
    }
    println!("Installing {names} ...");
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat())
}

fn apt_get(args: &[&str]) -> Result<()> {
    crate::command::run(
        Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()),
    )
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn succeeds(command: &[&str]) -> bool {
    let [program, args @ ..] = command else { return false };
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
