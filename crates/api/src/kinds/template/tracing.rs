//! `tracing` of a template: where the spans of requests go, of how many requests, and what they say.

use crate::{
    config::{Collector, GatewayRole, TraceTag, Tracing},
    fields::{Fields, Issues},
    kinds::route::header_name,
    read,
};
use std::collections::BTreeSet;
use tidegate_model::Fraction;

/// What collectors take OTLP over gRPC at.
const OTLP_PORT: u16 = 4317;

/// A span with more is a log.
const MAX_TAGS: usize = 32;

/// What one template says; what is absent is as the template above it has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TracingSpec {
    collector: Option<Collector>,
    sampling: Option<Fraction>,
    service_name: Option<String>,
    tags: Option<Vec<TraceTag>>,
}

impl TracingSpec {
    /// This one, and where it says nothing the one above it.
    pub(super) fn over(&self, above: &Self) -> Self {
        Self {
            collector: self.collector.clone().or_else(|| above.collector.clone()),
            sampling: self.sampling.or(above.sampling),
            service_name: self.service_name.clone().or_else(|| above.service_name.clone()),
            tags: self.tags.clone().or_else(|| above.tags.clone()),
        }
    }

    /// Whether it says how to trace and not where to.
    pub(crate) fn lacks_collector(&self) -> bool {
        self.collector.is_none() && *self != Self::default()
    }

    /// What a gateway does; `None` where there is no collector.
    pub(crate) fn lowered(&self, role: GatewayRole) -> Option<Tracing> {
        Some(Tracing {
            collector: self.collector.clone()?,
            sampling: self.sampling.unwrap_or(Tracing::DEFAULT_SAMPLING),
            service_name: self.service_name.clone(),
            follows_callers: role != GatewayRole::Edge,
            tags: self.tags.clone().unwrap_or_default(),
        })
    }
}

pub(super) fn read(spec: &mut Fields<'_>, issues: &mut Issues) -> TracingSpec {
    let Some(mut fields) = spec.map("tracing", issues) else { return TracingSpec::default() };
    let tracing = TracingSpec {
        collector: read_collector(&mut fields, issues),
        sampling: fields.value("samplingPercentage", issues, read::percentage).map(|it| it.value),
        service_name: fields.value("serviceName", issues, read::text).map(|it| it.value),
        tags: read_tags(&mut fields, issues),
    };
    fields.finish(issues);
    tracing
}

fn read_collector(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<Collector> {
    let mut collector = fields.map("collector", issues)?;
    let hint = "the IP address or the host name of what takes OTLP over gRPC";
    let address = collector.required_value("address", hint, issues, read::host);
    let port = collector.value("port", issues, read::port).map_or(OTLP_PORT, |port| port.value);
    collector.finish(issues);
    let host = match address?.value {
        read::Host::Ip(address) => address.to_string(),
        read::Host::Name(name) => name,
    };
    Some(Collector { host, port })
}

fn read_tags(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<Vec<TraceTag>> {
    fields.node("tags")?;
    let (mut tags, mut names) = (Vec::new(), BTreeSet::new());
    for mut entry in fields.maps_up_to(MAX_TAGS, "tags", issues) {
        let at = entry.at;
        let name = entry.required_value("name", "the name of the attribute in the span", issues, read::text);
        let literal = entry.value("literal", issues, read::text).map(|it| it.value);
        let header = entry.value("header", issues, header_name).map(|it| it.value.to_ascii_lowercase());
        let default = entry.value("default", issues, read::text);
        entry.finish(issues);
        let Some(name) = name else { continue };
        if let Some(default) = default.as_ref().filter(|_| literal.is_some()) {
            issues.error(default.at, "a literal needs no default", "remove it");
        }
        if !names.insert(name.value.clone()) {
            issues.error(name.at, format!("the tag {} is listed twice", name.value), "remove one");
        }
        let (name, default) = (name.value, default.map(|it| it.value));
        match (literal, header) {
            (Some(value), None) => tags.push(TraceTag::Literal { name, value }),
            (None, Some(header)) => tags.push(TraceTag::Header { name, header, default }),
            _ => issues.error(
                at,
                format!("the tag {name} must have either literal or header"),
                "write `literal: TEXT`, or `header: NAME` for what the request says",
            ),
        }
    }
    Some(tags)
}
