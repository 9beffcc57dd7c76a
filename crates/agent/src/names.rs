//! Looking up the names of other clusters' east-west gateways: load balancers often have no address that stays.
//!
//! Each name is looked up every few seconds: in the [`Hosts`] that the agent was given, and else as the machine's resolver does it
//! (`/etc/hosts`, DNS). What a name led to last stays in force while it leads nowhere: a name server that fails is no reason to
//! leave a cluster.

mod hosts;

pub(crate) use hosts::Hosts;
pub use hosts::HostsError;

use crate::saved::Resolved;
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::lookup_host,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Resolvers keep answers for their time to live, so asking often costs little.
const EVERY: Duration = Duration::from_secs(5);
/// Whoever does not answer by then is asked again.
const WITHIN: Duration = Duration::from_secs(2);
/// A starting agent waits so long for the first answers: all that a start may wait for is two seconds.
const AT_START: Duration = Duration::from_millis(500);
/// Addresses of one name, the lowest ones: each is a link, and an endpoint of every service.
const MAX_ADDRESSES: usize = 16;

/// Who looks names up.
#[derive(Debug)]
pub(crate) struct Names {
    wanted: watch::Sender<BTreeSet<String>>,
    hosts: Arc<Hosts>,
    failing: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Names {
    /// Begins; what is found and differs from what was found before goes to `found`.
    pub(crate) fn start(hosts: Hosts, found: mpsc::Sender<Resolved>, stop: CancellationToken) -> Self {
        let (wanted, names) = watch::channel(BTreeSet::new());
        let (hosts, failing) = (Arc::new(hosts), Arc::new(Mutex::new(BTreeMap::new())));
        let follow = follow(names, Arc::clone(&hosts), found, Arc::clone(&failing));
        tokio::spawn(stop.run_until_cancelled_owned(follow));
        Self { wanted, hosts, failing }
    }

    /// Where these names lead, for an agent that starts.
    pub(crate) async fn first(&self, names: &BTreeSet<String>) -> Resolved {
        if names.is_empty() {
            return Resolved::new();
        }
        timeout(AT_START, look_up(names, &self.hosts)).await.map(|(found, _)| found).unwrap_or_default()
    }

    /// These are the names from now on.
    pub(crate) fn want(&self, names: BTreeSet<String>) {
        self.wanted.send_if_modified(|wanted| {
            let news = *wanted != names;
            *wanted = names;
            news
        });
    }

    /// A line for each name that leads nowhere now.
    pub(crate) fn problems(&self) -> Vec<String> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(host, why): (&String, &String)| {
            format!(
                "error: the east-west gateway {host} is not found: {why}; the addresses that it had last stay in force"
            )
        };
        failing.iter().map(line).collect()
    }
}

async fn follow(
    mut wanted: watch::Receiver<BTreeSet<String>>,
    hosts: Arc<Hosts>,
    found: mpsc::Sender<Resolved>,
    failing: Arc<Mutex<BTreeMap<String, String>>>,
) {
    let mut known = Resolved::new();
    loop {
        let names = wanted.borrow_and_update().clone();
        let (answers, failed) = look_up(&names, &hosts).await;
        known.retain(|name, _| names.contains(name));
        let news: Resolved = answers.into_iter().filter(|(name, it)| known.get(name) != Some(it)).collect();
        known.extend(news.clone());
        tell(&failing, failed);
        if !news.is_empty() && found.send(news).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(EVERY), if !names.is_empty() => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// Writes down what began to fail, and what is back.
fn tell(failing: &Mutex<BTreeMap<String, String>>, failed: BTreeMap<String, String>) {
    let mut before = failing.lock().unwrap_or_else(PoisonError::into_inner);
    for (host, why) in failed.iter().filter(|(host, _)| !before.contains_key(*host)) {
        tracing::warn!(host, why, "an east-west gateway's name leads nowhere; its last addresses stay");
    }
    for host in before.keys().filter(|host| !failed.contains_key(*host)) {
        tracing::info!(host, "an east-west gateway's name is found again");
    }
    *before = failed;
}

async fn look_up(names: &BTreeSet<String>, hosts: &Hosts) -> (Resolved, BTreeMap<String, String>) {
    let answers = join_all(names.iter().map(|name| async move {
        match hosts.addresses(name).cloned().and_then(chosen) {
            Some(written) => (name, Ok(written)),
            None => (name, addresses(name).await),
        }
    }))
    .await;
    let (mut found, mut failed) = (Resolved::new(), BTreeMap::new());
    for (name, answer) in answers {
        match answer {
            Ok(addresses) => found.insert(name.clone(), addresses).map(drop),
            Err(why) => failed.insert(name.clone(), why).map(drop),
        };
    }
    (found, failed)
}

async fn addresses(name: &str) -> Result<BTreeSet<IpAddr>, String> {
    let found = timeout(WITHIN, lookup_host((name, 0))).await;
    let found = found.map_err(|_| format!("no answer within {} s", WITHIN.as_secs()))?;
    let found: BTreeSet<IpAddr> = found.map_err(|error| error.to_string())?.map(|it| it.ip()).collect();
    chosen(found).ok_or_else(|| "it has no address".to_owned())
}

/// Of IPv4 if there are any: a host without IPv6 is given such addresses too.
fn chosen(found: BTreeSet<IpAddr>) -> Option<BTreeSet<IpAddr>> {
    let usable = found.into_iter().filter(|address| !address.is_unspecified());
    let (four, six): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) = usable.partition(IpAddr::is_ipv4);
    let of = if four.is_empty() { six } else { four };
    (!of.is_empty()).then(|| of.into_iter().take(MAX_ADDRESSES).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn ipv4_comes_first_and_their_number_is_limited() {
        assert_eq!(chosen(set(&["::1", "10.0.0.2", "0.0.0.0"])), Some(set(&["10.0.0.2"])));
        assert_eq!(chosen(set(&["::1", "::"])), Some(set(&["::1"])));
        assert_eq!(chosen(set(&["0.0.0.0"])), None);
        let many: BTreeSet<IpAddr> = (1..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(chosen(many).unwrap().len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn names_are_found_as_the_machine_finds_them_and_failures_are_told() {
        let (sender, mut found) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let hosts = Hosts::parse("127.0.9.1 here.invalid").unwrap();
        let names = Names::start(hosts, sender, stop.clone());
        let _stop = stop.drop_guard();
        names.want(["localhost", "nowhere.invalid", "here.invalid"].map(str::to_owned).into());
        let answer = found.recv().await.unwrap();
        assert_eq!(answer["localhost"], set(&["127.0.0.1"]));
        assert_eq!(answer["here.invalid"], set(&["127.0.9.1"]));
        let problems = names.problems();
        assert!(problems.len() == 1 && problems[0].contains("nowhere.invalid is not found"), "{problems:?}");
        names.want(BTreeSet::new());
        // Forgotten with the next round, which begins at once.
        while !names.problems().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
