//! Sites that are network namespaces of their own, and a router between them, itself a namespace, in which links are cut.
//!
//! Nothing outside of these namespaces is touched: the cables too are made inside. All names begin with `tgp-` and the number
//! of this process; what a killed test left behind is removed by the next one.

use super::{delay::Late, support::skipped};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

const NAMED: &str = "/run/netns";
const PREFIX: &str = "tgp-";
/// Where the router drops what is cut: on its way through, and where it carries bytes itself.
const CHAIN: &str = "add table ip cuts\nadd chain ip cuts between\n\
     add chain ip cuts through { type filter hook forward priority 0; policy accept; }\nadd rule ip cuts through jump between\n\
     add chain ip cuts in { type filter hook input priority 0; policy accept; }\nadd rule ip cuts in jump between\n\
     add chain ip cuts out { type filter hook output priority 0; policy accept; }\nadd rule ip cuts out jump between\n";
/// Nets of this process, for their names.
static NETS: AtomicU32 = AtomicU32::new(0);

/// The address of a site: each has 10.77.N.0/24, and the router is .1 in it.
pub(crate) fn address(site: &str, host: u8) -> String {
    format!("10.77.{}.{host}", number(site))
}

fn number(site: &str) -> u8 {
    match site {
        "hub" => 100,
        _ => site.trim_start_matches('c').parse().unwrap(),
    }
}

/// What is wrong between sites. A cut swallows packets; nobody is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// Nothing passes, either way.
    Cut(&'static str, &'static str),
    /// Nothing passes from the first to the second.
    OneWay(&'static str, &'static str),
    /// So many of a hundred packets are lost, each way.
    Loss(&'static str, &'static str, u8),
    /// The site hears nobody and is heard by nobody.
    Alone(&'static str),
}

impl Trouble {
    fn rules(self) -> Vec<String> {
        let net = |site| format!("10.77.{}.0/24", number(site));
        let way = |from, to, which: &str| {
            format!("ip saddr {} ip daddr {} {which} counter drop", net(from), net(to))
        };
        match self {
            Self::Cut(one, other) => vec![way(one, other, ""), way(other, one, "")],
            Self::OneWay(from, to) => vec![way(from, to, "")],
            Self::Loss(one, other, percent) => {
                let drawn = format!("numgen random mod 100 < {percent}");
                vec![way(one, other, &drawn), way(other, one, &drawn)]
            }
            Self::Alone(site) => {
                vec![
                    format!("ip saddr {0} counter drop", net(site)),
                    format!("ip daddr {0} counter drop", net(site)),
                ]
            }
        }
    }
}

/// A namespace, and threads that live in it: sockets that they open are its own.
pub(crate) struct Namespace {
    name: String,
    runtime: Option<Runtime>,
}

impl Namespace {
    fn new(name: String) -> Self {
        ran("ip", &["netns", "add", &name]);
        let mut own = Self { name, runtime: None };
        ran("ip", &["-n", &own.name, "link", "set", "lo", "up"]);
        let path = Path::new(NAMED).join(&own.name);
        // A worker that cannot enter would never answer: find out here.
        let first = path.clone();
        std::thread::spawn(move || enter(&first)).join().unwrap();
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().on_thread_start(move || enter(&path));
        own.runtime = Some(runtime.build().unwrap());
        own
    }

    /// Does something inside, and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(runtime.spawn(work)).unwrap()
    }

    /// The same command, inside. It keeps its process id.
    pub(crate) fn command(&self, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.stdin(Stdio::null());
        inside
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        remove(&self.name);
    }
}

fn enter(path: &Path) {
    let namespace = File::open(path).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn remove(name: &str) {
    let removed = Command::new("ip").args(["netns", "del", name]).output();
    if !removed.is_ok_and(|it| it.status.success()) {
        eprintln!("the namespace {name} could not be removed; `ip netns del {name}` does it");
    }
}

/// Runs a command that must succeed.
fn ran(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The sites and the router. Each site has a route to every other one, and to nothing else.
pub(crate) struct Net {
    router: Namespace,
    sites: BTreeMap<&'static str, Namespace>,
}

impl Net {
    /// `None` after saying that the test was skipped.
    pub(crate) fn new(test: &str, sites: &[&'static str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped(test, "network namespaces need root");
            return None;
        }
        for (program, ask) in [("ip", "-V"), ("nft", "-v")] {
            if !Command::new(program).arg(ask).output().is_ok_and(|it| it.status.success()) {
                skipped(test, &format!("`{program}` is not there (packages iproute2 and nftables)"));
                return None;
            }
        }
        remove_left_behind();
        let own = format!("{PREFIX}{}-{}", std::process::id(), NETS.fetch_add(1, Ordering::Relaxed));
        let router = Namespace::new(format!("{own}-router"));
        ran("ip", &["netns", "exec", &router.name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        let mut net = Self { router, sites: BTreeMap::new() };
        net.filter(CHAIN);
        for site in sites {
            let namespace = Namespace::new(format!("{own}-{site}"));
            net.wire(site, &namespace);
            net.sites.insert(site, namespace);
        }
        Some(net)
    }

    fn wire(&self, site: &str, namespace: &Namespace) {
        let (router, inside, port) = (&self.router.name, &namespace.name, format!("to-{site}"));
        let here = address(site, 1);
        ran(
            "ip",
            &["-n", router, "link", "add", &port, "type", "veth", "peer", "name", "wan0", "netns", inside],
        );
        ran("ip", &["-n", router, "addr", "add", &format!("{here}/24"), "dev", &port]);
        ran("ip", &["-n", router, "link", "set", &port, "up"]);
        // Of several addresses the first is the one that it speaks from.
        for there in [2, 3, 4].map(|host| address(site, host)) {
            ran("ip", &["-n", inside, "addr", "add", &format!("{there}/24"), "dev", "wan0"]);
        }
        ran("ip", &["-n", inside, "link", "set", "wan0", "up"]);
        ran("ip", &["-n", inside, "route", "add", "10.77.0.0/16", "via", &here]);
    }

    pub(crate) fn site(&self, name: &str) -> &Namespace {
        &self.sites[name]
    }

    /// From now on, new connections between the east-west gateways of these sites are as late as is said.
    pub(crate) fn lengthen(&self, one: &str, other: &str, port: u16, first: Duration) -> Late {
        let late = Late::default();
        late.set(first);
        self.filter("add table ip far\nadd chain ip far in { type nat hook prerouting priority -100; }\n");
        for (from, to) in [(one, other), (other, one)] {
            let (from, target) = (address(from, 0), address(to, 2));
            let own = 20_000 + u16::from(number(to));
            self.filter(&format!(
                "add rule ip far in ip saddr {from}/24 ip daddr {target} tcp dport {port} redirect to :{own}\n"
            ));
            let target = SocketAddr::new(target.parse().unwrap(), port);
            self.router.run(super::delay::carry(own, target, late.clone()));
        }
        late
    }

    /// Puts exactly this trouble in force, all of it at once.
    pub(crate) fn trouble(&self, troubles: &[Trouble]) {
        let rules = troubles.iter().flat_map(|it| it.rules());
        let rules: String = rules.map(|rule| format!("add rule ip cuts between {rule}\n")).collect();
        self.filter(&format!("flush chain ip cuts between\n{rules}"));
    }

    /// Ends all trouble, and says how many packets it has swallowed.
    pub(crate) fn heal(&self) -> u64 {
        let list = ["netns", "exec", &self.router.name, "nft", "list", "chain", "ip", "cuts", "between"];
        let rules = ran("ip", &list);
        self.trouble(&[]);
        let words: Vec<&str> = rules.split_whitespace().collect();
        let counts = words.windows(2).filter(|it| it[0] == "packets");
        counts.map(|it| it[1].parse::<u64>().unwrap()).sum()
    }

    fn filter(&self, commands: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.router.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "nft: {commands}");
    }
}

/// Removes the namespaces of tests that were killed.
fn remove_left_behind() {
    for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(PREFIX).and_then(|it| it.split('-').next()) else { continue };
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            remove(&name);
        }
    }
}
