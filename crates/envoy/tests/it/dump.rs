//! A resource as text for snapshots: what is set, with packed messages unpacked and as little nesting as can
//! be.

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::Cluster, core::v3::TypedExtensionConfig, endpoint::v3::ClusterLoadAssignment,
        listener::v3::Listener, route::v3::RouteConfiguration,
    },
    extensions::{
        filters::{
            http::{fault::v3::HttpFault, router::v3::Router, stateful_session::v3::StatefulSession},
            network::http_connection_manager::v3::HttpConnectionManager,
        },
        retry::{
            host::previous_hosts::v3::PreviousHostsPredicate,
            priority::previous_priorities::v3::PreviousPrioritiesConfig,
        },
        transport_sockets::{raw_buffer::v3::RawBuffer, tls::v3::UpstreamTlsContext},
        upstreams::http::v3::HttpProtocolOptions,
    },
    service::runtime::v3::Runtime,
};
use prost::Message;
use std::fmt::Debug;
use tidegate_envoy::Resource;
use tidegate_xds::ResourceType;

/// What fits on one line of a snapshot.
const WIDTH: usize = 110;

pub(crate) fn text(resource: &Resource) -> String {
    let tree = match resource.kind {
        ResourceType::Cluster => tree::<Cluster>(&resource.body),
        ResourceType::Endpoint => tree::<ClusterLoadAssignment>(&resource.body),
        ResourceType::Listener => tree::<Listener>(&resource.body),
        ResourceType::Route => tree::<RouteConfiguration>(&resource.body),
        ResourceType::Runtime => tree::<Runtime>(&resource.body),
        ResourceType::Extension => tree::<TypedExtensionConfig>(&resource.body),
        ResourceType::Secret => panic!("no secrets here"),
    };
    let mut lines = vec![resource.name.clone()];
    tree.print(0, &mut lines);
    lines.join("\n")
}

/// A line of debug output and what is nested in it. The head of a list or a message is its field name, if
/// any.
struct Tree {
    head: String,
    /// `{` or `[`; none for a plain value.
    bracket: Option<char>,
    parts: Vec<Tree>,
}

fn tree<T: Message + Default + Debug>(bytes: &[u8]) -> Tree {
    let text = format!("{:#?}", T::decode(bytes).unwrap());
    let mut lines = text.lines().map(|line| line.trim().trim_end_matches(','));
    let first = lines.next().unwrap();
    parse(first, &mut lines)
}

fn parse<'t>(line: &str, rest: &mut impl Iterator<Item = &'t str>) -> Tree {
    let Some(bracket) = line.chars().last().filter(|last| "{([".contains(*last)) else {
        return Tree { head: line.to_owned(), bracket: None, parts: Vec::new() };
    };
    let head = line[..line.len() - 1].trim_end();
    let mut parts = Vec::new();
    loop {
        let line = rest.next().unwrap();
        if matches!(line, "}" | ")" | "]") {
            break;
        }
        parts.push(parse(line, rest));
    }
    parts.retain(|part| part.bracket.is_some() || !is_unset(&part.head));
    parts.retain(|part| part.bracket != Some('[') || !part.parts.is_empty());
    if head.ends_with("Any") {
        return unpacked(head, &parts);
    }
    // `Some(...)` and the variant of a choice: their one part takes their place.
    if bracket == '(' && parts.len() == 1 {
        let part = parts.remove(0);
        let head = head.strip_suffix("Some").unwrap_or(head);
        let space = if head.is_empty() || head.ends_with(' ') { "" } else { " " };
        return Tree { head: format!("{head}{space}{}", part.head), ..part };
    }
    let bracket = if bracket == '(' { '{' } else { bracket };
    Tree { head: head.to_owned(), bracket: Some(bracket), parts }
}

fn unpacked(head: &str, parts: &[Tree]) -> Tree {
    let url = parts[0].head.strip_prefix("type_url: ").unwrap().trim_matches('"');
    let bytes: Vec<u8> = match parts.get(1) {
        Some(value) => value.parts.iter().map(|byte| byte.head.parse().unwrap()).collect(),
        None => Vec::new(),
    };
    let message = match url.rsplit('.').next().unwrap() {
        "HttpConnectionManager" => tree::<HttpConnectionManager>(&bytes),
        "HttpProtocolOptions" => tree::<HttpProtocolOptions>(&bytes),
        "HTTPFault" => tree::<HttpFault>(&bytes),
        "RawBuffer" => tree::<RawBuffer>(&bytes),
        "Router" => tree::<Router>(&bytes),
        "UpstreamTlsContext" => tree::<UpstreamTlsContext>(&bytes),
        "StatefulSession" => tree::<StatefulSession>(&bytes),
        "PreviousHostsPredicate" => tree::<PreviousHostsPredicate>(&bytes),
        "PreviousPrioritiesConfig" => tree::<PreviousPrioritiesConfig>(&bytes),
        other => panic!("teach the dump to unpack {other}"),
    };
    Tree { head: format!("{head} {}", message.head), ..message }
}

fn is_unset(line: &str) -> bool {
    ["None", "[]", "{}", "false", "0", "\"\""].iter().any(|value| line.ends_with(&format!(": {value}")))
}

impl Tree {
    fn print(&self, depth: usize, lines: &mut Vec<String>) {
        let indent = "  ".repeat(depth);
        let flat = self.flat();
        if self.bracket.is_none() || indent.len() + flat.len() <= WIDTH {
            lines.push(format!("{indent}{flat}"));
            return;
        }
        let (open, close) = self.brackets();
        lines.push(format!("{indent}{} {open}", self.head).replace("  {", " {"));
        for part in &self.parts {
            part.print(depth + 1, lines);
        }
        lines.push(format!("{indent}{close}"));
    }

    fn flat(&self) -> String {
        if self.bracket.is_none() {
            return self.head.clone();
        }
        let (open, close) = self.brackets();
        let parts = self.parts.iter().map(Self::flat).collect::<Vec<_>>().join(", ");
        format!("{} {open}{parts}{close}", self.head)
    }

    fn brackets(&self) -> (&str, &str) {
        if self.bracket == Some('[') { ("[", "]") } else { ("{", "}") }
    }
}
