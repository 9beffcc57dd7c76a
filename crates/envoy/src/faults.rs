//! What drills break at edge and internal gateways: requests that are answered with an error, or late.
//!
//! Each of their listeners has Envoy's fault filter [`FAULT_SLOTS`] times, which does nothing. What it does during a drill
//! comes as a resource of its own (ECDS), some hundred bytes whatever the number of services: no listener, route or cluster changes,
//! and no connection drains when a drill starts or ends. Runtime keys (RTDS) would do the same, but each route would have to name
//! those of its service, for good; and they cannot tell one drill's marked requests from another's.
//!
//! The filter stands before everything that chooses where a request goes: nothing retries what it answers.

use crate::{
    proto::{ads, any, duration},
    resource::Resource,
};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{ExtensionConfigSource, TypedExtensionConfig},
        route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    },
    extensions::filters::{
        common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier},
        http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
        network::http_connection_manager::v3::{HttpFilter, http_filter::ConfigType},
    },
    r#type::{
        matcher::v3::{StringMatcher, string_matcher::MatchPattern},
        v3::{FractionalPercent, fractional_percent::DenominatorType},
    },
};
use prost::Name;
use std::time::Duration;
use tidegate_model::ServiceName;

/// So many drills may break requests of a gateway at a time. Each costs a look at every request, so there are few.
pub const FAULT_SLOTS: usize = 2;

/// By this header a request says that it belongs to a drill; its value is the drill's id.
pub const DRILL_HEADER: &str = "x-tidegate-drill";

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is answered with this status, 200 to 599, and goes nowhere.
    Abort(u16),
    /// It waits for so long, more than nothing, and goes on.
    Delay(Duration),
}

/// What a drill does to the requests of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayFault {
    /// What.
    pub kind: FaultKind,
    /// To requests for this service only.
    pub service: Option<ServiceName>,
    /// To so many of a hundred of them.
    pub percent: u32,
    /// Only to those whose [`DRILL_HEADER`] says this.
    pub marked: Option<String>,
}

/// The filters of a listener: one for each slot.
pub(crate) fn filters() -> impl Iterator<Item = HttpFilter> {
    (0..FAULT_SLOTS).map(|slot| HttpFilter {
        name: name(slot),
        config_type: Some(ConfigType::ConfigDiscovery(ExtensionConfigSource {
            config_source: Some(ads()),
            default_config: Some(any(&HttpFault::default())),
            // A gateway that starts does not wait to hear that nothing is broken.
            apply_default_config_without_warming: true,
            type_urls: vec![HttpFault::type_url()],
        })),
        ..Default::default()
    })
}

/// A slot breaks this.
#[must_use]
pub fn gateway_fault(slot: usize, fault: &GatewayFault) -> Resource {
    let percentage = Some(FractionalPercent {
        numerator: fault.percent.min(100),
        denominator: DenominatorType::Hundred.into(),
    });
    let mut filter = HttpFault {
        upstream_cluster: fault.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        headers: fault.marked.iter().map(|id| marked(id)).collect(),
        ..HttpFault::default()
    };
    match fault.kind {
        FaultKind::Abort(status) => {
            let error_type = Some(ErrorType::HttpStatus(status.into()));
            filter.abort = Some(FaultAbort { percentage, error_type, ..FaultAbort::default() });
        }
        FaultKind::Delay(by) => {
            let fault_delay_secifier = duration(by).map(FaultDelaySecifier::FixedDelay);
            filter.delay = Some(FaultDelay { percentage, fault_delay_secifier });
        }
    }
    resource(slot, &filter)
}

/// A slot breaks nothing. Told rather than taken away: who has the one before would keep it.
#[must_use]
pub fn without_fault(slot: usize) -> Resource {
    resource(slot, &HttpFault::default())
}

fn resource(slot: usize, filter: &HttpFault) -> Resource {
    Resource::extension(&TypedExtensionConfig { name: name(slot), typed_config: Some(any(filter)) })
}

/// The names of what the slots break.
pub fn fault_names() -> impl Iterator<Item = String> {
    (0..FAULT_SLOTS).map(name)
}

fn name(slot: usize) -> String {
    format!("tidegate-fault-{slot}")
}

fn marked(id: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: DRILL_HEADER.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(id.to_owned())),
            ..Default::default()
        })),
        ..Default::default()
    }
}
