//! Access logs: a line of JSON on Envoy's standard output for a request or a connection, with the pool that served it and
//! why the plan names that pool.

use crate::proto::{any, merged};
use envoy_types::pb::{
    envoy::{
        config::{
            accesslog::v3::{
                AccessLog as EnvoyLog, AccessLogFilter, ComparisonFilter, OrFilter, ResponseFlagFilter,
                StatusCodeFilter, access_log, access_log_filter::FilterSpecifier, comparison_filter,
            },
            core::v3::{
                Metadata, RuntimeUInt32, SubstitutionFormatString, TypedExtensionConfig,
                substitution_format_string::Format,
            },
        },
        extensions::{
            access_loggers::stream::v3::{StdoutAccessLog, stdout_access_log},
            formatter::cel::v3::Cel,
        },
    },
    google::protobuf::{Any, ListValue, Struct, Value, value::Kind},
};
use std::collections::HashMap;
use tidegate_api::AccessLog;
use tidegate_engine::{Plan, Target};

/// Where a locality's metadata say who it is and why it serves.
const METADATA: &str = "tidegate";

/// What is told of both.
const COMMON: [(&str, &str); 10] = [
    ("time", "%START_TIME%"),
    ("duration_ms", "%DURATION%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("service", "%UPSTREAM_CLUSTER%"),
    ("endpoint", "%UPSTREAM_HOST%"),
    ("pool", "%CEL(xds.upstream_host_locality_metadata.filter_metadata['tidegate']['served'][0])%"),
    ("reason", "%CEL(xds.upstream_host_locality_metadata.filter_metadata['tidegate']['served'][1])%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
];

const OF_REQUESTS: [(&str, &str); 9] = [
    ("method", "%REQ(:METHOD)%"),
    ("host", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("route", "%ROUTE_NAME%"),
];

const OF_CONNECTIONS: [(&str, &str); 2] =
    [("server_name", "%REQUESTED_SERVER_NAME%"), ("failure", "%UPSTREAM_TRANSPORT_FAILURE_REASON%")];

/// The log of a listener for requests.
pub(crate) fn of_requests(which: AccessLog) -> Vec<EnvoyLog> {
    let failed = FilterSpecifier::StatusCodeFilter(StatusCodeFilter {
        comparison: Some(ComparisonFilter {
            op: comparison_filter::Op::Ge.into(),
            value: Some(RuntimeUInt32 {
                default_value: 500,
                // Envoy wants a name by which it could be changed at run time.
                runtime_key: "tidegate.access_log.status".to_owned(),
            }),
        }),
    });
    let either = FilterSpecifier::OrFilter(OrFilter { filters: vec![filter(failed), filter(flagged())] });
    log(which, either, COMMON.into_iter().chain(OF_REQUESTS))
}

/// The log of a listener for connections.
pub(crate) fn of_connections(which: AccessLog) -> Vec<EnvoyLog> {
    log(which, flagged(), COMMON.into_iter().chain(OF_CONNECTIONS))
}

/// Any flag at all.
fn flagged() -> FilterSpecifier {
    FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter { flags: Vec::new() })
}

fn filter(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter { filter_specifier: Some(specifier) }
}

fn log(
    which: AccessLog,
    failed: FilterSpecifier,
    fields: impl Iterator<Item = (&'static str, &'static str)>,
) -> Vec<EnvoyLog> {
    let filter = match which {
        AccessLog::None => return Vec::new(),
        AccessLog::Errors => Some(filter(failed)),
        AccessLog::All => None,
    };
    vec![EnvoyLog {
        name: "envoy.access_loggers.stdout".to_owned(),
        filter,
        config_type: Some(access_log::ConfigType::TypedConfig(line(fields))),
    }]
}

fn line(fields: impl Iterator<Item = (&'static str, &'static str)>) -> Any {
    let with = |format: SubstitutionFormatString| StdoutAccessLog {
        access_log_format: Some(stdout_access_log::AccessLogFormat::LogFormat(format)),
    };
    let formatter = TypedExtensionConfig {
        name: "envoy.formatter.cel".to_owned(),
        typed_config: Some(any(&Cel::default())),
    };
    let first = SubstitutionFormatString { formatters: vec![formatter], ..Default::default() };
    let each = fields.map(|(name, value)| SubstitutionFormatString {
        format: Some(Format::JsonFormat(Struct {
            fields: HashMap::from([(name.to_owned(), string(value))]),
        })),
        ..Default::default()
    });
    merged(std::iter::once(first).chain(each).map(with))
}

fn string(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// What a locality of a plan says of itself: its target, and the rule by which it has its share. A list, because a
/// mapping would be encoded in any order.
pub(crate) fn served(plan: &Plan, target: &Target) -> Option<Metadata> {
    let reason = plan.reasons.iter().find(|reason| reason.target == *target)?;
    let list = ListValue { values: vec![string(&target.to_string()), string(&format!("{:?}", reason.rule))] };
    let list = Value { kind: Some(Kind::ListValue(list)) };
    Some(Metadata {
        filter_metadata: HashMap::from([(
            METADATA.to_owned(),
            Struct { fields: HashMap::from([("served".to_owned(), list)]) },
        )]),
        ..Default::default()
    })
}
