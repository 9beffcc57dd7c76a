//! A machine for the commands of a page: a network, processes and a root folder of its own, in which the page's names, addresses and
//! folders are there. What a command writes outside of the test's folder is gone with it, and so is all that still runs.
//!
//! The root has the folders of this machine but for `/etc` (a copy), `/run` and `/var` (empty); all addresses are on loopback, and
//! `hub-2.example` is a site of its own behind a cable, for a second hub at the same ports.

use super::support::{LIMIT, PAUSE, TIDEGATE, envoy, skipped};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::{self, File},
    io::Write as _,
    os::{fd::AsFd as _, unix::fs::symlink},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Instant,
};
use tempfile::TempDir;

/// Makes the root in `$1` and goes on as a shell in `$2`, which reads commands.
const SETUP: &str = r#"
set -e
root=$1
mount -t tmpfs none "$root"
for path in /*; do
    case $path in /etc|/run|/var|/proc) continue;; esac
    if [ -L "$path" ]; then cp -a "$path" "$root/"
    elif [ -d "$path" ]; then mkdir "$root$path"; mount --rbind "$path" "$root$path"; fi
done
mkdir -p "$root"/{etc,run/tidegate,var/lib,proc,shared}
cp -a /etc/. "$root/etc"
mkdir -p "$root/etc/tidegate"
ln -s /run "$root/var/run"
mount -t proc proc "$root/proc"
cat > "$root/etc/hosts" <<END
127.0.0.1 localhost
192.0.2.7 hub.example
192.0.2.1 hub-1.example
192.0.2.2 hub-2.example
END
ip link set lo up
for address in 192.0.2.7 192.0.2.9 10.0.0.5; do ip addr add $address/32 dev lo; done
exec chroot "$root" bash -c 'cd "$1"; ip netns add two
ip link add cable type veth peer name cable netns two
ip addr add 192.0.2.1/30 dev cable; ip link set cable up
ip -n two addr add 192.0.2.2/30 dev cable; ip -n two link set cable up; ip -n two link set lo up
exec bash -s' room "$2"
"#;

/// What a command printed, and the code that it ended with.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) printed: String,
}

/// The machine. Dropping it ends all that runs in it.
pub(crate) struct Sandbox {
    shell: Child,
    folder: TempDir,
    commands: usize,
}

/// A command that runs in the background.
#[must_use]
pub(crate) struct Served {
    name: String,
}

impl Sandbox {
    /// `None` after saying that the test was skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped(test, "namespaces need root");
            return None;
        }
        for (program, ask) in
            [("ip", "-V"), ("unshare", "-V"), ("curl", "-V"), ("git", "--version"), ("python3", "-V")]
        {
            if !Command::new(program).arg(ask).output().is_ok_and(|it| it.status.success()) {
                skipped(test, &format!("no {program}"));
                return None;
            }
        }
        let envoy = envoy(test)?;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["root", "home", "bin", "log"] {
            fs::create_dir(at(name)).unwrap();
        }
        symlink(TIDEGATE, at("bin/tidegate")).unwrap();
        symlink(envoy, at("bin/envoy")).unwrap();
        // An answer of 503 is no answer here, and no meter is wanted.
        fs::write(at(".curlrc"), "fail\nsilent\nshow-error\n").unwrap();
        fs::write(at("git"), format!("[url \"{}/\"]\n  insteadOf = https://git.example/\n[init]\n  defaultBranch = main\n[user]\n  name = somebody\n  email = somebody@example.org\n", at("home").display())).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [at("bin")].into_iter().chain(std::env::split_paths(&path));
        let log = File::create(at("log/shell")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", SETUP, "room"]);
        command.args([at("root"), at("home")]).env("PATH", std::env::join_paths(path).unwrap());
        command.env("CURL_HOME", folder.path()).env("GIT_CONFIG_GLOBAL", at("git")).env("NO_COLOR", "1");
        for variable in
            ["TIDEGATE_ENVOY", "TIDEGATE_ADMIN", "TIDEGATE_HUB_ADMIN", "TIDEGATE_LOG", "TIDEGATE_TOKEN"]
        {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        Some(Self { shell: command.spawn().unwrap(), folder, commands: 0 })
    }

    /// A file or folder in the folder where commands run.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("home").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), text).unwrap();
    }

    /// The logs of this machine, for whoever reads a failure.
    fn logs(&self) -> String {
        let mut logs = String::new();
        for entry in fs::read_dir(self.folder.path().join("log")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap_or_default();
            logs += &format!("--- {}\n{text}", path.file_name().unwrap().display());
        }
        logs
    }

    fn tell(&mut self, line: &str) {
        let told = writeln!(self.shell.stdin.as_mut().unwrap(), "{line}");
        assert!(told.is_ok(), "the shell is gone: {told:?}\n{}", self.logs());
    }

    /// Runs a command to its end, whatever that is.
    pub(crate) fn finish(&mut self, command: &str) -> Ran {
        self.commands += 1;
        let [out, done] =
            ["out", "done"].map(|it| self.folder.path().join(format!("{}.{it}", self.commands)));
        let (out, done) = (out.display(), done.display());
        self.tell(&format!(
            "{{ {command}\n}} > '{out}' 2>&1 < /dev/null; echo $? > '{done}.new'; mv '{done}.new' '{done}'"
        ));
        let done = done.to_string();
        self.wait(&format!("the end of {command}"), || fs::read_to_string(&done).ok());
        let code = fs::read_to_string(&done).unwrap().trim().parse().unwrap();
        Ran { code, printed: fs::read_to_string(out.to_string()).unwrap() }
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let ran = self.finish(command);
        assert_eq!(ran.code, 0, "{command}\n{}\n{}", ran.printed, self.logs());
        ran.printed
    }

    /// Runs a command until it succeeds and prints this.
    pub(crate) fn until_printed(&mut self, command: &str, words: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let ran = self.finish(command);
            if ran.code == 0 && ran.printed.contains(words) {
                return ran.printed;
            }
            assert!(
                Instant::now() < end,
                "{command} does not print {words}\n{}\n{}",
                ran.printed,
                self.logs()
            );
            sleep(10 * PAUSE);
        }
    }

    /// Starts a command that runs on, and waits until it says this.
    pub(crate) fn serve(&mut self, command: &str, ready: &str) -> Served {
        self.commands += 1;
        let served = Served { name: format!("{:02}", self.commands) };
        let log = self.log(&served);
        // A comment behind the command ends with its line.
        self.tell(&format!(
            "{{ exec {command}\n}} > '{0}' 2>&1 < /dev/null & echo $! > '{0}.id'",
            log.display()
        ));
        self.until_said(&served, ready);
        served
    }

    fn log(&self, served: &Served) -> PathBuf {
        self.folder.path().join("log").join(&served.name)
    }

    pub(crate) fn said(&self, served: &Served) -> String {
        fs::read_to_string(self.log(served)).unwrap_or_default()
    }

    pub(crate) fn is_running(&mut self, served: &Served) -> bool {
        let id = format!("$(cat '{}.id')", self.log(served).display());
        self.finish(&format!("kill -0 {id}")).code == 0
    }

    pub(crate) fn until_said(&self, served: &Served, words: &str) {
        self.wait(&format!("{words:?} by {}", served.name), || {
            self.said(served).contains(words).then_some(())
        });
    }

    /// Ends it by a signal, and waits for its end.
    pub(crate) fn end(&mut self, served: Served, signal: &str) {
        let id = format!("$(cat '{}.id')", self.log(&served).display());
        self.finish(&format!("kill -{signal} {id}; wait {id}"));
        drop(served);
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(Instant::now() < end, "after {LIMIT:?} still waiting for: {what}\n{}", self.logs());
            sleep(PAUSE);
        }
    }

    /// From now on, what this thread starts is in the network of this machine.
    pub(crate) fn enter(&mut self) {
        // The namespace is there once the shell answers.
        self.run("true");
        let id = self.shell.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let network = File::open(format!("/proc/{}/ns/net", children.trim())).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // `unshare` takes the first process of the namespace with it, and that one all others.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
