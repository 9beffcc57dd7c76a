//! A proxy on its own: its files, its endpoints, the links to those in another region.

use super::{
    ENDPOINTS, HOME_CLUSTER, Layout, SERVICE,
    config::Places,
    contestant::{ContestError, Contestant, START_LIMIT},
};
use crate::{
    clock::LabClock,
    fetch,
    fleet::{FleetSpec, hostname, spec::known},
    net::Loopback,
    process::{Child, ChildSpec},
    toy::{Ledger, Toy, ToyError, ToySpec},
    wan::{Shape, WanLink},
};
use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// Answers in a row after which it serves.
const ANSWERS: u32 = 20;
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// A proxy and its endpoints.
#[derive(Debug)]
pub struct Proxy {
    // First, so that it is gone before what it talks to.
    pub(super) child: Child,
    pub(super) contestant: Contestant,
    _links: Vec<WanLink>,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) toys: Vec<Toy>,
    pub(super) clock: LabClock,
    _files: TempDir,
    _loopback: Loopback,
}

impl Proxy {
    /// Starts its endpoints, then itself.
    pub(super) fn start(
        contestant: Contestant,
        layout: Layout,
        program: PathBuf,
    ) -> Result<Self, ContestError> {
        let failed = |what| move |cause| ContestError::Io { what, cause };
        let files = tempfile::Builder::new()
            .prefix("tidegate-contest-")
            .tempdir()
            .map_err(failed("cannot make a temporary folder"))?;
        let (loopback, clock) = (Loopback::claim(), LabClock::start());
        let toys = start_toys(layout, &loopback, clock)?;
        let links =
            start_links(&toys, &loopback).map_err(failed("cannot start the links between regions"))?;
        let reserve = || loopback.reserve().map_err(failed("cannot reserve an address"));
        let (listen, admin) = (reserve()?, reserve()?);
        // An endpoint elsewhere is reached by its link.
        let reached = |number: usize| {
            let toy: &Toy = &toys[number];
            let link = links.iter().find(|link| link.target() == toy.address());
            link.map_or_else(|| toy.address(), WanLink::address)
        };
        let places = Places {
            listen: listen.address(),
            admin: admin.address(),
            folder: files.path(),
            home: std::array::from_fn(reached),
            standby: std::array::from_fn(|number| reached(ENDPOINTS + number)),
        };
        for template in contestant.templates() {
            fs::write(files.path().join(template.name), template.fill(&places))
                .map_err(failed("cannot write a configuration"))?;
        }
        let first = contestant.templates().first().map_or("", |template| template.name);
        let spec = ChildSpec {
            name: contestant.name().to_owned(),
            program,
            args: contestant.arguments(&files.path().join(first)),
            log_dir: files.path().to_owned(),
        };
        let (address, admin_address) = (listen.address(), admin.address());
        // The proxy binds these now.
        drop((listen, admin));
        Ok(Self {
            child: Child::start(spec)?,
            contestant,
            _links: links,
            listen: address,
            admin: admin_address,
            toys,
            clock,
            _files: files,
            _loopback: loopback,
        })
    }

    /// Waits until it has answered some times in a row.
    pub(super) async fn ready(&mut self) -> Result<(), ContestError> {
        let end = self.clock.now() + START_LIMIT;
        let mut in_a_row = 0;
        while in_a_row < ANSWERS {
            self.child.check()?;
            let host = hostname(&known(SERVICE));
            let answer = fetch::get(self.listen, Some(&host), "/", Duration::from_secs(1)).await;
            if answer.is_ok_and(|(status, _)| status.is_success()) {
                in_a_row += 1;
                continue;
            }
            in_a_row = 0;
            if self.clock.now() > end {
                let contestant = self.contestant;
                return Err(ContestError::Silent { contestant, tail: self.child.tail() });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// The endpoints at home, then those that stand by.
fn start_toys(layout: Layout, loopback: &Loopback, clock: LabClock) -> Result<Vec<Toy>, ToyError> {
    let ledger = Ledger::new();
    let (places, each) = layout.places();
    let mut toys = Vec::new();
    for (cluster, zone) in &places {
        for number in 0..each {
            let spec = ToySpec {
                service: known(SERVICE),
                cluster: cluster.clone(),
                zone: zone.clone(),
                name: format!("web-{zone}-{number}"),
                ip: loopback.next_ip(),
            };
            toys.push(Toy::start(spec, &ledger, clock)?);
        }
    }
    Ok(toys)
}

/// A link to each endpoint in another region, as far as those of Tidegate's fleet are long.
fn start_links(toys: &[Toy], loopback: &Loopback) -> io::Result<Vec<WanLink>> {
    let demo = FleetSpec::demo();
    let far = toys.iter().filter(|toy| toy.spec().cluster.as_str() != HOME_CLUSTER);
    far.map(|toy| {
        let rtt = demo.rtt(&known(HOME_CLUSTER), &known(toy.spec().cluster.as_str())).unwrap_or_default();
        let shape = Shape { delay: rtt / 2, jitter: demo.jitter, handshake: true };
        WanLink::start(loopback.next_ip(), toy.address(), shape)
    })
    .collect()
}
