//! HAProxy before two nginx, one of which can be killed and started again by a shell command.

use super::stage::wait_for;
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
    time::Duration,
};
use tidegate_lab::net::Loopback;

const NGINX: &str = "/usr/sbin/nginx";
/// Each has an address of its own.
const PORT: u16 = 18_080;
const HAPROXY: &str = "/usr/sbin/haproxy";

pub(crate) struct Balanced {
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    haproxy: Child,
    _loopback: Loopback,
}

fn listens(at: SocketAddr) -> bool {
    TcpStream::connect(at).is_ok()
}

impl Balanced {
    pub(crate) fn start() -> Self {
        for program in [NGINX, HAPROXY] {
            assert!(Path::new(program).exists(), "this test needs {program}: run `cargo xtask setup`");
        }
        let folder = tempfile::tempdir().unwrap();
        let loopback = Loopback::claim();
        let [one, two, front] = [(); 3].map(|()| SocketAddr::new(loopback.next_ip(), PORT));
        let at = folder.path().display();
        for (name, address) in [("one", one), ("two", two)] {
            let text = format!(
                "daemon on; master_process off; pid {at}/{name}.pid; error_log {at}/{name}.log;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{ access_log off; client_body_temp_path {at}/{name}-b; proxy_temp_path {at}/{name}-p;\n\
                 fastcgi_temp_path {at}/{name}-f; uwsgi_temp_path {at}/{name}-u; scgi_temp_path {at}/{name}-s;\n\
                 server {{ listen {address}; location / {{ return 200 {name}; }} }} }}\n"
            );
            fs::write(folder.path().join(format!("{name}.conf")), text).unwrap();
            assert!(nginx(folder.path(), name).status().unwrap().success());
            wait_for("backend", || listens(address));
        }
        // Without retries, and with a backup instead of turns: every request fails from the fault until HAProxy notices, so
        // that two clients with different rates see the same.
        let text = format!(
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\n  retries 0\n\
             frontend in\n  bind {front}\n  default_backend out\n\
             backend out\n  default-server check inter 200ms fall 3 rise 2\n  \
             server one {one}\n  server two {two} backup\n"
        );
        fs::write(folder.path().join("haproxy.cfg"), text).unwrap();
        let haproxy =
            Command::new(HAPROXY).args(["-db", "-f"]).arg(folder.path().join("haproxy.cfg")).spawn().unwrap();
        wait_for("HAProxy", || listens(front));
        Self { folder, address: front, haproxy, _loopback: loopback }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Writes down when it breaks, too.
    pub(crate) fn break_command(&self) -> String {
        let at = self.folder.path().display();
        format!("date +%s%N > {at}/broken-at; kill -9 $(cat {at}/one.pid)")
    }

    pub(crate) fn mend_command(&self) -> String {
        let at = self.folder.path().display();
        format!("{NGINX} -p {at} -e {at}/one.log -c {at}/one.conf && date +%s%N > {at}/mended-at")
    }

    fn time(&self, name: &str) -> Duration {
        Duration::from_nanos(fs::read_to_string(self.path(name)).unwrap().trim().parse().unwrap())
    }

    /// Since 1970, as the command itself saw it.
    pub(crate) fn broken_at(&self) -> Duration {
        self.time("broken-at")
    }

    pub(crate) fn mended_at(&self) -> Duration {
        self.time("mended-at")
    }

    pub(crate) fn is_whole(&self) -> bool {
        ["one", "two"].iter().all(|name| {
            pid(self.folder.path(), name).is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
        })
    }
}

fn nginx(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(NGINX);
    command.arg("-p").arg(folder).arg("-e").arg(folder.join(format!("{name}.log")));
    command.arg("-c").arg(folder.join(format!("{name}.conf")));
    command
}

fn pid(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(format!("{name}.pid"))).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Drop for Balanced {
    fn drop(&mut self) {
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
        for pid in ["one", "two"].into_iter().filter_map(|name| pid(self.folder.path(), name)) {
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
    }
}
