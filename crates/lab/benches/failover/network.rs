//! A network of the benchmark's own. A black hole is made by dropping packets: in a network namespace that nobody else
//! sees, and that is gone with the benchmark, rules and all.

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

/// Says to the process that replaces us where it is.
const OWN: &str = "TIDEGATE_BENCH_NETWORK";

/// Whose network we are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Our own: packets may be dropped.
    Own,
    /// Everybody's, and why.
    Shared(String),
}

/// Becomes the same program in a network of its own, where that can be had: as root, with `unshare`, `ip` and `nft`. Its
/// children end with it.
pub(crate) fn of_its_own() -> Network {
    match env::var(OWN).as_deref() {
        Ok("own") => return Network::Own,
        Ok(why) => return Network::Shared(why.to_owned()),
        Err(_) => {}
    }
    let ready = "unshare --net ip link set lo up && nft --version";
    let tried = Command::new("sh").args(["-c", ready]).stdin(Stdio::null()).output();
    if !tried.is_ok_and(|it| it.status.success()) {
        return Network::Shared("it needs root and the programs unshare, ip and nft".to_owned());
    }
    let Ok(own) = env::current_exe() else {
        return Network::Shared("this program does not find itself".to_owned());
    };
    let failed = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c"])
        .arg("ip link set lo up && exec \"$0\" \"$@\"")
        .arg(own)
        .args(env::args_os().skip(1))
        .env(OWN, "own")
        .exec();
    Network::Shared(format!("unshare did not start: {failed}"))
}
