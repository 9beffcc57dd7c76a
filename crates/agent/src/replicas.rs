//! What replicas of one agent say to each other, between the core's inputs and the words of a link. Pure.
//!
//! *Facts* are what this replica's own checks found, what its own gateways are asked for, and where these stand. *News* is what
//! they observed just now: each replica is told once, and takes it in as if its own gateways had said it. The *welcome* is how
//! the pools stand, for a replica that starts.
//!
//! The link carries names and bytes; what a name or value cannot be is refused here, the whole word with it. A kind of fact
//! that is not known is passed over: a newer version may say more.

use crate::{
    actions::Action,
    core::{Input, Output, ProbeKey},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};
use tidegate_engine::{Load, Snapshot, ToldBy};
use tidegate_link::{LastingWord, ReplicaWord};
use tidegate_model::{PeerBoot, ServiceName, Zone};

/// A fact as the link carries it: its name, and what is so; nothing if it is so no more.
pub type Fact = (String, Option<Vec<u8>>);

/// What another replica said, as the core takes it in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// All of it, or what is new.
    News {
        /// Whether what it said before is to be forgotten.
        full: bool,
        /// What its checks found of endpoints; nothing: it checks them no more.
        checked: Vec<(ProbeKey, Option<bool>)>,
        /// What its gateways in these zones are asked for; nothing: it has none there any more.
        demand: Vec<(Zone, Option<BTreeMap<ServiceName, Load>>)>,
        /// Where it has gateways.
        gateways: BTreeSet<Zone>,
    },
    /// All of it still holds.
    Holds,
    /// How the pools stand by its word, for a replica that starts.
    Pools(Snapshot),
    /// It is not heard any more, and why.
    Silent(String),
}

/// What a replica that begins to listen is told once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Welcome {
    /// From one that is ready.
    pools: Option<Snapshot>,
}

/// The name of a life, in the core.
#[must_use]
pub fn name_of(replica: PeerBoot) -> Arc<str> {
    format!("{:016x}", replica.0).into()
}

/// What is said to a replica that begins to listen: how the pools stand, if that is known.
#[must_use]
pub fn welcome(pools: Option<Snapshot>) -> Vec<u8> {
    // Names and numbers only: nothing that JSON has no words for.
    serde_json::to_vec(&Welcome { pools }).unwrap_or_default()
}

/// What a word means to the core, in order.
///
/// # Errors
/// What is wrong with it.
pub fn heard(replica: PeerBoot, word: &ReplicaWord) -> Result<Vec<Input>, String> {
    let mut inputs = vec![said(word)?];
    if let Some(bytes) = &word.welcome {
        let welcome: Welcome =
            serde_json::from_slice(bytes).map_err(|error| format!("the welcome: {error}"))?;
        // Whoever's word it says it is: it came from a replica.
        inputs.extend(welcome.pools.map(|mut pools| {
            pools.by = ToldBy::Replica;
            Said::Pools(pools)
        }));
    }
    let replica = name_of(replica);
    let mut inputs: Vec<Input> =
        inputs.into_iter().map(|said| Input::Replica { replica: Arc::clone(&replica), said }).collect();
    inputs.extend(actions(&word.lasting)?);
    for bytes in &word.news {
        let input: Input = serde_json::from_slice(bytes).map_err(|error| format!("news: {error}"))?;
        if !is_news(&input) {
            return Err("news of a kind that replicas do not tell".to_owned());
        }
        inputs.push(input);
    }
    Ok(inputs)
}

/// What was done about shifts elsewhere, as a link carries it; nothing if it says nothing.
///
/// # Errors
/// What is wrong with it.
pub fn actions(lasting: &[LastingWord]) -> Result<Option<Input>, String> {
    let actions = lasting.iter().map(|(value, remaining)| Action::from_bytes(value, *remaining));
    let actions: Vec<Action> = actions.collect::<Result<_, _>>()?;
    Ok((!actions.is_empty()).then_some(Input::Actions(actions)))
}

/// The same as a link takes it.
#[must_use]
pub fn lasting(actions: &[Action]) -> Vec<(String, LastingWord)> {
    actions.iter().map(|action| (action.name(), (action.to_bytes(), action.remaining()))).collect()
}

fn said(word: &ReplicaWord) -> Result<Said, String> {
    if !word.full && word.facts.is_empty() {
        return Ok(Said::Holds);
    }
    let (mut checked, mut demand, mut gateways) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (name, value) in &word.facts {
        let unreadable = |what: String| format!("fact {name:?}: {what}");
        match name.split_once(' ') {
            Some((CHECKED, target)) => {
                let (service, address) = target.split_once(' ').unwrap_or((target, ""));
                let service = service.parse().map_err(|error| unreadable(format!("{error}")))?;
                let address: SocketAddr = address.parse().map_err(|error| unreadable(format!("{error}")))?;
                let up = match value.as_deref() {
                    Some(b"up") => Some(true),
                    Some(b"down") => Some(false),
                    None => None,
                    Some(_) => return Err(unreadable("neither up nor down".to_owned())),
                };
                checked.push(((service, address), up));
            }
            Some((DEMAND, zone)) => {
                let zone = zone.parse().map_err(|error| unreadable(format!("{error}")))?;
                let rates = value.as_deref().map(serde_json::from_slice).transpose();
                demand.push((zone, rates.map_err(|error| unreadable(error.to_string()))?));
            }
            Some((GATEWAYS, zone)) => {
                gateways.insert(zone.parse().map_err(|error| unreadable(format!("{error}")))?);
            }
            _ => {}
        }
    }
    Ok(Said::News { full: word.full, checked, demand, gateways })
}

const CHECKED: &str = "checked";
const DEMAND: &str = "demand";
const GATEWAYS: &str = "gateways";

/// What the gateways of one replica observe, and what an operator asks of one, is known to all.
const fn is_news(input: &Input) -> bool {
    matches!(input, Input::Requests(_) | Input::Succeeded(_) | Input::InFlight { .. } | Input::Release(..))
}

/// What this replica says: kept as far as is needed to take it back.
#[derive(Debug, Default)]
pub struct Telling {
    checked: BTreeSet<ProbeKey>,
}

impl Telling {
    /// What an input of this replica's own says to others: facts, and news.
    pub fn of(&mut self, input: &Input) -> (Vec<Fact>, Option<Vec<u8>>) {
        let fact = match input {
            Input::Checked(key, verdict) => {
                self.checked.insert(key.clone());
                let up = matches!(verdict, tidegate_model::ProbeVerdict::Up);
                (checked(key), Some(if up { b"up".to_vec() } else { b"down".to_vec() }))
            }
            Input::Demand { zone, rates } => (format!("{DEMAND} {zone}"), serde_json::to_vec(rates).ok()),
            Input::Gateway(zone) => (format!("{GATEWAYS} {zone}"), Some(Vec::new())),
            news if is_news(news) => return (Vec::new(), serde_json::to_vec(news).ok()),
            _ => return (Vec::new(), None),
        };
        (vec![fact], None)
    }

    /// What is checked no more is not said any more.
    pub fn retract(&mut self, output: &Output) -> Vec<Fact> {
        let mut gone: Vec<ProbeKey> = Vec::new();
        if let Some(targets) = &output.targets {
            let targets: BTreeSet<&ProbeKey> = targets.iter().map(|(key, _)| key).collect();
            gone.extend(self.checked.extract_if(.., |key| !targets.contains(key)));
        }
        for (key, _) in output.changed_targets.iter().filter(|(_, target)| target.is_none()) {
            gone.extend(self.checked.take(key));
        }
        gone.iter().map(|key| (checked(key), None)).collect()
    }
}

fn checked((service, address): &ProbeKey) -> String {
    format!("{CHECKED} {service} {address}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::ProbeVerdict;

    const OTHER: PeerBoot = PeerBoot(0xab);

    fn key(port: u16) -> ProbeKey {
        ("shop/web".parse().unwrap(), SocketAddr::from(([10, 0, 0, 1], port)))
    }

    #[test]
    fn what_one_says_is_what_the_other_hears() {
        let mut telling = Telling::default();
        let rates = BTreeMap::from([("shop/web".parse().unwrap(), Load::Rate { rps: 1500 })]);
        let demand = Input::Demand { zone: "a".parse().unwrap(), rates: rates.clone() };
        let mut facts = telling.of(&Input::Checked(key(1), ProbeVerdict::Up)).0;
        facts.extend(telling.of(&Input::Checked(key(2), ProbeVerdict::Down("x".to_owned()))).0);
        facts.extend(telling.of(&demand).0);
        facts.extend(telling.of(&Input::Gateway("b".parse().unwrap())).0);
        let succeeded = Input::Succeeded(BTreeSet::from([(key(1).0, "a".parse().unwrap())]));
        let news = telling.of(&succeeded).1.into_iter().collect();
        let word = ReplicaWord { full: true, facts, news, welcome: Some(welcome(None)), lasting: vec![] };
        let said = Said::News {
            full: true,
            checked: vec![(key(1), Some(true)), (key(2), Some(false))],
            demand: vec![("a".parse().unwrap(), Some(rates))],
            gateways: BTreeSet::from(["b".parse().unwrap()]),
        };
        let replica = name_of(OTHER);
        assert_eq!(heard(OTHER, &word).unwrap(), [Input::Replica { replica, said }, succeeded]);
        assert_eq!(telling.of(&Input::Tick), (vec![], None));
    }

    #[test]
    fn what_is_checked_no_more_is_taken_back_once() {
        let mut telling = Telling::default();
        for port in 1..=3 {
            telling.of(&Input::Checked(key(port), ProbeVerdict::Up));
        }
        let mut output = Output::default();
        output.changed_targets = vec![(key(1), None), (key(9), None)];
        let gone = telling.retract(&output);
        assert_eq!(gone, [("checked shop/web 10.0.0.1:1".to_owned(), None)]);
        let mut all = Output::default();
        all.targets = Some(Vec::new());
        assert_eq!((telling.retract(&all).len(), telling.retract(&all).len()), (2, 0));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_it_is() {
        let fact = |name: &str, value: &[u8]| ReplicaWord {
            facts: vec![(name.to_owned(), Some(value.to_vec()))],
            ..ReplicaWord::default()
        };
        let news =
            |text: &str| ReplicaWord { news: vec![text.as_bytes().to_vec()], ..ReplicaWord::default() };
        let welcome = ReplicaWord { welcome: Some(b"[".to_vec()), ..ReplicaWord::default() };
        for (what, word) in [
            ("NAMESPACE/NAME", fact("checked web 1.2.3.4:1", b"up")),
            ("checked shop/web 1.2.3.4", fact("checked shop/web 1.2.3.4", b"up")),
            ("neither up nor down", fact("checked shop/web 1.2.3.4:1", b"")),
            ("demand a", fact("demand a", b"{")),
            ("gateways", fact("gateways ", b"")),
            ("the welcome", welcome),
            ("news", news("{}")),
            ("do not tell", news(r#"{"kind":"tick"}"#)),
        ] {
            let error = heard(OTHER, &word).unwrap_err();
            assert!(error.contains(what), "{what}: {error}");
        }
        let newer = heard(OTHER, &fact("newer thing", b"x")).unwrap();
        assert_eq!(newer.len(), 1, "a newer version may say more");
    }
}
