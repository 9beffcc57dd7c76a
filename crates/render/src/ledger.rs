//! What became of each field of policy. A field that somebody wrote and no rule accounts for is lost when its page is closed.

use crate::Target;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tidegate_api::{Config, GatewayRole};
use tidegate_engine::{Origin, ProfilePart};
use tidegate_model::ServiceName;

/// What became of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", tag = "fate", content = "how")]
pub enum Fate {
    /// The target cannot say it: why, and what it does instead.
    Lost(String),
    /// The target has something like it: what, and how it differs.
    Approximated(String),
    /// The target means the same by this field.
    Said(String),
}

/// A field, and what became of it for some services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The field, by its path in a `FailoverPolicy`; or a behaviour that nobody has to ask for.
    pub field: String,
    /// Who wrote it, as `FailoverPolicy shop/web`, or which half of a profile; `default` where nobody did.
    pub written: String,
    /// The file; empty where nobody wrote it, or it is not known.
    pub file: String,
    /// The line, from 1; 0 where nobody wrote it, or it is not known.
    pub line: u32,
    /// Whether nobody wrote it.
    pub default: bool,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
    /// For which services, in order; empty if it is about none.
    pub services: Vec<ServiceName>,
}

/// What became of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The accounts: what was written first, by file and line, then what nobody wrote.
    pub accounts: Vec<Account>,
    /// What has to be so for the objects to mean what they should.
    pub assumptions: Vec<String>,
}

impl Report {
    /// What somebody wrote and the target cannot say.
    pub fn lost(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter().filter(|it| !it.default && matches!(it.fate, Fate::Lost(_)))
    }
}

/// By which accounts are sorted and made one: defaults last, then file, object and line, field and fate.
type Key = (bool, String, String, u32, String, Fate);

/// The accounts, while they are made.
pub(crate) struct Ledger {
    target: Target,
    accounts: BTreeMap<Key, BTreeSet<ServiceName>>,
    assumptions: BTreeSet<String>,
}

/// The fields of one service.
pub(crate) struct Page<'l> {
    ledger: &'l mut Ledger,
    service: &'l ServiceName,
    written: BTreeMap<&'static str, &'l Origin>,
    accounted: BTreeSet<&'static str>,
}

impl Ledger {
    pub(crate) const fn new(target: Target) -> Self {
        Self { target, accounts: BTreeMap::new(), assumptions: BTreeSet::new() }
    }

    /// The page of a service, with what was written for it.
    pub(crate) fn page<'l>(
        &'l mut self,
        service: &'l ServiceName,
        written: &'l [(&'static str, Origin)],
    ) -> Page<'l> {
        let written = written.iter().map(|(field, origin)| (*field, origin)).collect();
        Page { ledger: self, service, written, accounted: BTreeSet::new() }
    }

    /// Says what has to be so.
    pub(crate) fn assume(&mut self, what: impl Into<String>) {
        self.assumptions.insert(what.into());
    }

    /// What is in force beside policies, and is not rendered.
    pub(crate) fn around(&mut self, target: Target, config: &Config) {
        for name in config.shifts.keys() {
            let fate = Fate::Lost(format!("{} moves nothing by an object with an end", target.title()));
            let object = format!("TrafficShift {name}");
            self.add((false, String::new(), object, 0, "traffic shift".to_owned(), fate), None);
        }
        for gateway in config.gateways.values() {
            let why = match (target, gateway.role) {
                (Target::Istio, _) => "is not rendered: Istio's own gateways and sidecars stand in its place",
                (_, GatewayRole::EastWest) => "is not rendered: routes are for the gateways that clients use",
                _ => "is not rendered: give one of its name a class of the target, the routes refer to it",
            };
            self.assume(format!("{} {why}", gateway.origin));
        }
    }

    fn add(&mut self, key: Key, service: Option<&ServiceName>) {
        self.accounts.entry(key).or_default().extend(service.cloned());
    }

    /// All of it.
    pub(crate) fn close(self) -> Report {
        let account =
            |((default, file, written, line, field, fate), services): (Key, BTreeSet<ServiceName>)| Account {
                field,
                written,
                file,
                line,
                default,
                fate,
                services: services.into_iter().collect(),
            };
        Report {
            accounts: self.accounts.into_iter().map(account).collect(),
            assumptions: self.assumptions.into_iter().collect(),
        }
    }
}

impl Page<'_> {
    /// Whether somebody wrote the field.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.written.contains_key(field)
    }

    /// The target means the same by a field of its own.
    pub(crate) fn said(&mut self, field: &'static str, by: &str) {
        self.account(field, Fate::Said(by.to_owned()));
    }

    /// The target has something like it.
    pub(crate) fn approximated(&mut self, field: &'static str, how: impl Into<String>) {
        self.account(field, Fate::Approximated(how.into()));
    }

    /// The target cannot say it.
    pub(crate) fn lost(&mut self, field: &'static str, why: impl Into<String>) {
        self.account(field, Fate::Lost(why.into()));
    }

    /// Something that holds although nobody wrote it.
    pub(crate) fn by_default(&mut self, behaviour: &str, fate: Fate) {
        let service = self.service;
        let key = (true, String::new(), "default".to_owned(), 0, behaviour.to_owned(), fate);
        self.ledger.add(key, Some(service));
    }

    /// Nothing of the service is rendered, at least somewhere.
    pub(crate) fn all_lost(&mut self, why: &str) {
        let fields: Vec<&'static str> = self.written.keys().copied().collect();
        for field in fields {
            self.lost(field, why);
        }
        self.by_default("everything", Fate::Lost(why.to_owned()));
    }

    /// Ends it: what was written and not accounted for is lost.
    pub(crate) fn close(mut self) {
        let fields: Vec<&'static str> = self.written.keys().copied().collect();
        let why = format!("nothing in {} stands for it", self.ledger.target.title());
        for field in fields.into_iter().filter(|field| !self.accounted.contains(field)).collect::<Vec<_>>() {
            self.lost(field, why.clone());
        }
    }

    fn account(&mut self, field: &'static str, fate: Fate) {
        let Some(origin) = self.written.get(field) else { return };
        self.accounted.insert(field);
        let (file, line, written) = match origin {
            Origin::Default => (String::new(), 0, "default".to_owned()),
            Origin::File { place, line } => (place.file.to_string(), *line, place.object.to_string()),
            Origin::Profile { part, place, line } => {
                let half = match part {
                    ProfilePart::Default => "defaults",
                    ProfilePart::Override => "overrides",
                };
                (place.file.to_string(), *line, format!("{}, {half}", place.object))
            }
        };
        let key = (false, file, written, line, field.to_owned(), fate);
        self.ledger.add(key, Some(self.service));
    }
}
