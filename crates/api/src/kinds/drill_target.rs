//! The one thing that a drill breaks.

use super::places::{Mention, Mentions};
use crate::{
    drill::DrillTarget,
    fields::{Fields, Issues, Wrong},
    read,
    yaml::Node,
};
use tidegate_model::{ClusterName, Region, Zone};

const KEYS: [&str; 8] = ["url", "service", "zone", "cluster", "region", "gateway", "peerLink", "hub"];

pub(super) fn read(
    mut target: Fields<'_>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> Option<DrillTarget> {
    let at = target.at;
    let named: Vec<&str> = KEYS.into_iter().filter(|key| target.node(key).is_some()).collect();
    // A zone may name its region, and a gateway its cluster; everything else is one thing.
    if named != ["zone", "region"] && named != ["cluster", "gateway"] && named.len() != 1 {
        let hint = "a drill breaks one thing, so that what is measured has one cause; write a Drill for each";
        let message = match named.as_slice() {
            [] => "spec.target names nothing".to_owned(),
            several => format!("spec.target names {}", several.join(", ")),
        };
        issues.error(at, message, hint);
        return None;
    }
    let key = if named.contains(&"gateway") { "gateway" } else { named[0] };
    let found = read_one(&mut target, key, mentions, issues);
    target.finish(issues);
    found
}

fn read_one(
    target: &mut Fields<'_>,
    key: &str,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> Option<DrillTarget> {
    match key {
        "url" => target.value("url", issues, url).map(|it| DrillTarget::Url(it.value)),
        "service" => {
            let name = target.value("service", issues, namespaced)?;
            name.value.parse().ok().map(DrillTarget::Service)
        }
        "zone" => {
            let region = target.value("region", issues, read::name("region", Region::new));
            let zone = target.value("zone", issues, read::name("zone", Zone::new))?;
            mentions.extend(region.iter().map(|it| (it.at, Mention::Region(it.value.clone()))));
            mentions.push((zone.at, Mention::Zone(zone.value.clone())));
            Some(DrillTarget::Zone(region.map(|it| it.value), zone.value))
        }
        "cluster" => read_cluster(target, mentions, issues).map(DrillTarget::Cluster),
        "region" => {
            let region = target.value("region", issues, read::name("region", Region::new))?;
            mentions.push((region.at, Mention::Region(region.value.clone())));
            Some(DrillTarget::Region(region.value))
        }
        "gateway" => {
            let cluster = read_cluster(target, mentions, issues);
            let name = target.value("gateway", issues, namespaced)?;
            Some(DrillTarget::Gateway(name.value, cluster))
        }
        "peerLink" => read_link(target, mentions, issues),
        _ => {
            let hub = target.value("hub", issues, read::boolean)?;
            if !hub.value {
                issues.error(hub.at, "spec.target.hub must be true", "write hub: true, or another target");
            }
            Some(DrillTarget::Hub)
        }
    }
}

fn read_cluster(
    target: &mut Fields<'_>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> Option<ClusterName> {
    let cluster = target.value("cluster", issues, read::name("cluster", ClusterName::new))?;
    mentions.push((cluster.at, Mention::Cluster(cluster.value.clone())));
    Some(cluster.value)
}

fn read_link(target: &mut Fields<'_>, mentions: &mut Mentions, issues: &mut Issues) -> Option<DrillTarget> {
    let mut link = target.map("peerLink", issues)?;
    let hint = "name both ends: `peerLink: {from: us-east, to: us-west}`";
    let from = link.required_value("from", hint, issues, read::name("cluster", ClusterName::new));
    let to = link.required_value("to", hint, issues, read::name("cluster", ClusterName::new));
    link.finish(issues);
    let (from, to) = (from?, to?);
    if from.value == to.value {
        issues.error(to.at, "spec.target.peerLink leads from a cluster to itself", hint);
    }
    for end in [&from, &to] {
        mentions.push((end.at, Mention::Cluster(end.value.clone())));
    }
    Some(DrillTarget::PeerLink(from.value, to.value))
}

/// Something to ask: the load says more exactly what is wrong with it.
pub(super) fn url(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if rest
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
    {
        return Ok(text);
    }
    Err(Wrong::new("a URL", "write for example https://shop.example/health"))
}

fn namespaced(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    match text.parse::<tidegate_model::ServiceName>() {
        Ok(_) => Ok(text),
        Err(_) => Err(Wrong::new("NAMESPACE/NAME", "write for example shop/web")),
    }
}
