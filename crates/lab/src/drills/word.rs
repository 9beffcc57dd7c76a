//! What the runner of a drill says to a lab, and what that means for the lab's fleet. Pure.

use crate::{
    fleet::{
        Fault, Part, Process, ProcessFault,
        manifests::{EAST_WEST, EDGE, INFRA},
    },
    toy::ToyMode,
    wan::Site,
};
use std::{collections::BTreeMap, time::Duration};
use tidegate_api::{LabFault, LabProcess, parse_duration};
use tidegate_model::ClusterName;

/// As at agents.
const MAX_EXPIRY: Duration = Duration::from_secs(3600);
/// Of an id, or of who it was, in bytes.
const MAX_TEXT: usize = 200;

/// A fault that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: String,
    pub(super) by: String,
    /// What is done, in words.
    pub(super) what: LabFault,
    pub(super) target: Target,
    pub(super) expires: Duration,
    /// Whether it is only asked for whether it may begin.
    pub(super) dry_run: bool,
}

/// What it is done to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Part(Part),
    /// The gateway of this name of a cluster.
    Gateway(String, ClusterName),
    Link(ClusterName, ClusterName),
    Hub,
}

/// Reads the fields of a query; those that only agents have a use for are left alone.
pub(super) fn read(query: &str) -> Result<Wanted, String> {
    let fields = fields(query);
    let text = |name: &str| fields.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let short = |name: &'static str| match text(name) {
        Some(text) if text.len() <= MAX_TEXT => Ok(text.to_owned()),
        Some(_) => Err(format!("{name} is longer than {MAX_TEXT} bytes")),
        None => Err(format!("{name} is missing")),
    };
    if text("kind") != Some("Lab") {
        let kind = text("kind").unwrap_or_default();
        return Err(format!(
            "a lab carries out faults of type Lab, not {kind:?}; for others name the agents: --agent ADDR"
        ));
    }
    let expires = text("expires").and_then(parse_duration);
    let within = |it: &Duration| !it.is_zero() && *it <= MAX_EXPIRY;
    Ok(Wanted {
        id: short("id")?,
        by: short("by").unwrap_or_default(),
        what: short("lab")?.parse()?,
        target: target(text)?,
        expires: expires.filter(within).ok_or("expires is a time up to 1h: 60s")?,
        dry_run: text("dryRun") == Some("true"),
    })
}

fn target<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Result<Target, String> {
    fn name<T: std::str::FromStr<Err: std::fmt::Display>>(found: Option<&str>) -> Result<Option<T>, String> {
        found.map(|text| text.parse().map_err(|error: T::Err| error.to_string())).transpose()
    }
    if text("hub") == Some("true") {
        return Ok(Target::Hub);
    }
    if let (Some(from), Some(to)) = (name(text("linkFrom"))?, name(text("linkTo"))?) {
        return Ok(Target::Link(from, to));
    }
    if let Some(gateway) = text("gateway") {
        let cluster = name(text("cluster"))?
            .ok_or("say in which cluster the gateway is: `target: {gateway: shop/edge, cluster: us-east}`")?;
        return Ok(Target::Gateway(gateway.to_owned(), cluster));
    }
    let part = Part {
        service: name(text("service"))?,
        region: name(text("region"))?,
        cluster: name(text("cluster"))?,
        zone: name(text("zone"))?,
    };
    if part == Part::default() {
        return Err("the target is missing".to_owned());
    }
    Ok(Target::Part(part))
}

/// What has to happen to the fleet of these clusters.
pub(super) fn faults(wanted: &Wanted, clusters: &[ClusterName]) -> Result<Vec<Fault>, String> {
    let mode = match wanted.what {
        LabFault::Kill(process) => return strike(&wanted.target, process, ProcessFault::Kill),
        LabFault::Pause(process) => return strike(&wanted.target, process, ProcessFault::Freeze),
        LabFault::Cut => {
            if let Target::Part(part) = &wanted.target
                && let Part { service: None, region: Some(region), cluster: None, zone: None } = part
            {
                return Ok(vec![Fault::Region { region: region.clone() }]);
            }
            let ways = ways(&wanted.target, clusters)?;
            return Ok(ways.into_iter().map(|between| Fault::Link { between }).collect());
        }
        LabFault::Delay(by) => {
            let ways = ways(&wanted.target, clusters)?;
            return Ok(ways.into_iter().map(|between| Fault::Far { between, by }).collect());
        }
        LabFault::Refuse | LabFault::Flap(_) => ToyMode::Refuse,
        LabFault::Hang => ToyMode::Hang,
        LabFault::Status => ToyMode::Status503,
        LabFault::Slow(by) => ToyMode::Slow(by),
    };
    match &wanted.target {
        Target::Part(part) => Ok(vec![Fault::Workloads { of: part.clone(), mode }]),
        _ => Err(format!(
            "{} is about workloads: the target is a service, a zone, a cluster or a region",
            wanted.what
        )),
    }
}

fn strike(target: &Target, process: Option<LabProcess>, fault: ProcessFault) -> Result<Vec<Fault>, String> {
    match (target, process) {
        (Target::Gateway(gateway, cluster), None) => {
            let process = match gateway.strip_prefix(INFRA).and_then(|rest| rest.strip_prefix('/')) {
                Some(EDGE) => Process::Edge,
                Some(EAST_WEST) => Process::EastWest,
                _ => return Err(format!("this lab has no gateway {gateway}: there are {INFRA}/{EDGE} and {INFRA}/{EAST_WEST}")),
            };
            Ok(vec![Fault::Process { cluster: cluster.clone(), process, fault }])
        }
        (Target::Hub, None) => Ok(vec![Fault::Hub { fault }]),
        (
            Target::Part(Part { service: None, region: None, cluster: Some(cluster), zone: None }),
            Some(process),
        ) => {
            let process = match process {
                LabProcess::Agent => Process::Agent,
                LabProcess::Edge => Process::Edge,
                LabProcess::EastWest => Process::EastWest,
            };
            Ok(vec![Fault::Process { cluster: cluster.clone(), process, fault }])
        }
        _ => Err("a process is killed or paused in a cluster: `target: {cluster: us-east}` with `process: Agent`, Edge or EastWest; or a gateway, `target: {gateway: infra/edge, cluster: us-east}`, or the hub, `target: {hub: true}`, without".to_owned()),
    }
}

/// The links that are meant.
fn ways(target: &Target, clusters: &[ClusterName]) -> Result<Vec<[Site; 2]>, String> {
    match target {
        Target::Link(from, to) => Ok(vec![[Site::Cluster(from.clone()), Site::Cluster(to.clone())]]),
        Target::Hub => {
            Ok(clusters.iter().map(|cluster| [Site::Cluster(cluster.clone()), Site::Hub]).collect())
        }
        Target::Part(_) | Target::Gateway(..) => Err("links are cut or delayed: `target: {peerLink: {from: us-east, to: us-west}}` or {hub: true}; a whole region can be cut".to_owned()),
    }
}

/// The fields of a query, decoded. The last of several with one name counts.
pub(super) fn fields(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

/// `%XX` as bytes; what is no such thing stays.
pub(super) fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        let hex = |at: usize| more.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &more[2..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::spec::known;

    fn meant(query: &str) -> Result<Vec<Fault>, String> {
        let clusters = [known("us-east"), known("us-west")];
        faults(&read(&format!("id=drill-1&kind=Lab&expires=60000ms&{query}"))?, &clusters)
    }

    #[test]
    fn what_a_runner_says_is_a_fault_of_the_fleet() {
        let of = Part { zone: Some(known("a")), region: Some(known("us-east")), ..Part::default() };
        let slow = Fault::Workloads { of, mode: ToyMode::Slow(Duration::from_millis(1200)) };
        assert_eq!(meant("lab=Slow%201200ms&zone=a&region=us-east"), Ok(vec![slow]));
        let cluster = known("us-east");
        let kill = Fault::Process { cluster, process: Process::Edge, fault: ProcessFault::Kill };
        assert_eq!(meant("lab=Kill%20Edge&cluster=us-east"), Ok(vec![kill]));
        let of = |process| Fault::Process { cluster: known("us-east"), process, fault: ProcessFault::Kill };
        assert_eq!(meant("lab=Kill&gateway=infra%2Fedge&cluster=us-east"), Ok(vec![of(Process::Edge)]));
        assert_eq!(
            meant("lab=Kill&gateway=infra%2Feastwest&cluster=us-east"),
            Ok(vec![of(Process::EastWest)])
        );
        assert_eq!(meant("lab=Pause&hub=true"), Ok(vec![Fault::Hub { fault: ProcessFault::Freeze }]));
        assert_eq!(meant("lab=Cut&region=us-east"), Ok(vec![Fault::Region { region: known("us-east") }]));
        assert_eq!(meant("lab=Cut&hub=true").unwrap().len(), 2, "every cluster's way to it");
        let between = [Site::Cluster(known("us-east")), Site::Cluster(known("us-west"))];
        let far = Fault::Far { between, by: Duration::from_millis(200) };
        assert_eq!(meant("lab=Delay%20200ms&linkFrom=us-east&linkTo=us-west"), Ok(vec![far]));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (query, said) in [
            ("lab=Melt&zone=a", "nothing that a lab does"),
            ("lab=Refuse", "target is missing"),
            ("lab=Refuse&hub=true", "is about workloads"),
            ("lab=Kill%20Edge&zone=a", "in a cluster"),
            ("lab=Kill&cluster=us-east", "in a cluster"),
            ("lab=Kill&gateway=infra%2Fedge", "in which cluster"),
            ("lab=Kill&gateway=shop%2Fedge&cluster=us-east", "no gateway shop/edge"),
            ("lab=Refuse&gateway=infra%2Fedge&cluster=us-east", "is about workloads"),
            ("lab=Delay%2010ms&cluster=us-east", "links are cut or delayed"),
            ("lab=Refuse&zone=a%20b", "'"),
            ("lab=Refuse&zone=a&expires=2h", "up to 1h"),
            ("lab=Refuse&zone=a&id=", "id is missing"),
            ("kind=Abort&zone=a", "--agent ADDR"),
        ] {
            let error = meant(query).unwrap_err();
            assert!(error.contains(said), "{query}: {error}");
        }
    }

    #[test]
    fn texts_are_decoded_as_they_were_encoded() {
        assert_eq!(decoded("a%20b%2Fc"), "a b/c");
        assert_eq!(decoded("%zz%2"), "%zz%2");
        assert_eq!(decoded("%C3%A9"), "\u{e9}");
    }
}
