//! Which kinds the API serves, and in which version: asked at the start, then at a bounded pace, because resource definitions
//! come and go.

use super::{
    board,
    kinds::{ALL, Watched, group_address},
    request,
    shelf::Told,
    state::Failure,
    watch::Shared,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// However often somebody asks to look again, so long is between two looks.
const LEAST: Duration = Duration::from_secs(1);
/// The name under which what is wrong with looking is told.
const NAME: &str = "API";

/// The kinds that are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served(BTreeMap<&'static str, &'static str>);

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    kind: String,
}

impl Served {
    /// The version in which a kind is served.
    pub(super) fn version(&self, kind: &Watched) -> Option<&'static str> {
        self.0.get(kind.kind).copied()
    }

    /// What follows from which resources each `group/version` has.
    fn of(found: &BTreeMap<(&str, &str), BTreeSet<(String, String)>>) -> Self {
        let has = |kind: &Watched, version: &str| {
            let resources = found.get(&(kind.group, version));
            resources.is_some_and(|it| it.contains(&(kind.plural.to_owned(), kind.kind.to_owned())))
        };
        let best = |kind: &'static Watched| kind.versions.iter().copied().find(|version| has(kind, version));
        Self(ALL.iter().filter_map(|kind| Some((kind.kind, best(kind)?))).collect())
    }
}

/// Looks until nobody follows any more.
pub(super) async fn follow(shared: Shared, served: watch::Sender<Option<Served>>) {
    let mut failures: u32 = 0;
    while !shared.told.is_closed() {
        let pause = match look(&shared).await {
            Ok(found) => {
                failures = 0;
                shared.board.heard();
                served.send_if_modified(|known| {
                    let news = known.as_ref() != Some(&found);
                    *known = Some(found);
                    news
                });
                tell(&shared, None).await;
                shared.pace.discovery
            }
            Err(failure) => {
                failures = failures.saturating_add(1);
                tell(&shared, Some(&failure)).await;
                shared.pace.pause(failures, Some(&failure), rand::random())
            }
        };
        let next = Instant::now() + pause;
        sleep(pause.min(LEAST)).await;
        tokio::select! {
            () = sleep_until(next) => {}
            () = shared.look_again.notified() => {}
            () = shared.told.closed() => {}
        }
    }
}

async fn tell(shared: &Shared, failure: Option<&Failure>) {
    let problem = failure.and_then(|failure| board::problem(shared.kinds, &shared.url, None, failure));
    if shared.board.fails(NAME, problem.as_ref()) {
        // Whoever is gone needs not be told.
        let _ = shared.told.send(Told::Failing(NAME, problem)).await;
    }
}

async fn look(shared: &Shared) -> Result<Served, Failure> {
    let read = ALL.iter().filter(|kind| shared.kinds.has(kind));
    let places = read.flat_map(|kind| kind.versions.iter().map(|version| (kind.group, *version)));
    let mut found = BTreeMap::new();
    for (group, version) in places.collect::<BTreeSet<_>>() {
        let address = group_address(group, version);
        let bytes = match request::get(&shared.client, &address, shared.pace.answer).await {
            Err(Failure::NotServed) => continue,
            answer => answer?,
        };
        let Resources { resources } = request::parse(&bytes)?;
        found.insert((group, version), resources.into_iter().map(|it| (it.name, it.kind)).collect());
    }
    Ok(Served::of(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_from_the_best_version_that_is_served() {
        let routes = |names: &[(&str, &str)]| -> BTreeSet<(String, String)> {
            names.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
        };
        let group = "gateway.networking.k8s.io";
        let found = BTreeMap::from([
            ((group, "v1alpha2"), routes(&[("tcproutes", "TCPRoute"), ("tlsroutes", "TLSRoute")])),
            ((group, "v1"), routes(&[("tlsroutes", "TLSRoute"), ("tlsroutes/status", "TLSRoute")])),
        ]);
        let served = Served::of(&found);
        let version = |kind: &str| served.version(ALL.iter().find(|it| it.kind == kind).unwrap());
        assert_eq!(version("TLSRoute"), Some("v1"));
        assert_eq!(version("TCPRoute"), Some("v1alpha2"));
        assert_eq!(version("Gateway"), None);
    }
}
