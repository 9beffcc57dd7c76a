//! `GatewayTemplate`: what gateways are made with, for a `GatewayClass` or one `Gateway`. Where both say something, the
//! gateway's own is in force, field by field.

mod extra;
mod tracing;

use crate::{
    config::{AccessLog, DrainStrategy, ListenerOptions, ProcessOptions, TlsVersion},
    fields::{Fields, Issues},
    read,
};
use std::{ops::RangeInclusive, time::Duration};

pub(crate) use tracing::TracingSpec;

/// What a template says; what is absent is as the template above it has it, or Tidegate's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TemplateSpec {
    pub(crate) listener: ListenerOptions,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) process: ProcessOptions,
    pub(crate) tracing: TracingSpec,
}

/// The suites of TLS 1.2 that gateways take; those of TLS 1.3 cannot be chosen.
const SUITES: &[(&str, &str)] = &[
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
];

pub(super) const ACCESS_LOG: &[(&str, AccessLog)] =
    &[("None", AccessLog::None), ("Errors", AccessLog::Errors), ("All", AccessLog::All)];

pub(super) fn read(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<TemplateSpec> {
    let mut spec =
        fields.required_map("spec", "add `spec:` with what is to differ from the defaults", issues)?;
    let mut template = TemplateSpec {
        access_log: spec.value("accessLog", issues, read::word(ACCESS_LOG)).map(|it| it.value),
        ..TemplateSpec::default()
    };
    let TemplateSpec { listener, process, .. } = &mut template;
    read_listener(&mut spec, listener, issues);
    read_timeouts(&mut spec, listener, issues);
    read_http(&mut spec, listener, issues);
    read_tls(&mut spec, listener, issues);
    read_process(&mut spec, process, issues);
    process.bootstrap = extra::read(&mut spec, issues);
    template.tracing = tracing::read(&mut spec, issues);
    spec.unsupported(&["scope"], issues);
    spec.finish(issues);
    Some(template)
}

fn read_listener(spec: &mut Fields<'_>, listener: &mut ListenerOptions, issues: &mut Issues) {
    let Some(mut fields) = spec.map("listener", issues) else { return };
    let whole = |range| read::integer(range);
    listener.buffer_kib = fields.value("bufferKiB", issues, whole(4..=65_536)).map(|it| it.value);
    listener.max_connections =
        fields.value("maxConnections", issues, whole(1..=10_000_000)).map(|it| it.value);
    fields.finish(issues);
}

fn read_timeouts(spec: &mut Fields<'_>, listener: &mut ListenerOptions, issues: &mut Issues) {
    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let Some(mut fields) = spec.map("timeouts", issues) else { return };
    let mut value = |name, range: RangeInclusive<Duration>| {
        fields.value(name, issues, read::duration(range)).map(|it| it.value)
    };
    listener.connection_idle = value("connectionIdle", SECOND..=DAY);
    listener.request_headers = value("requestHeaders", SECOND..=Duration::from_secs(300));
    listener.stream_idle = value("streamIdle", SECOND..=DAY);
    listener.max_connection_duration = value("maxConnectionDuration", SECOND..=30 * DAY);
    fields.finish(issues);
}

fn read_http(spec: &mut Fields<'_>, listener: &mut ListenerOptions, issues: &mut Issues) {
    let Some(mut fields) = spec.map("http", issues) else { return };
    let mut value = |name, range| fields.value(name, issues, read::integer(range)).map(|it| it.value);
    // Envoy's own limits.
    listener.max_request_headers_kib = value("maxRequestHeadersKiB", 1..=8192);
    listener.max_concurrent_streams = value("maxConcurrentStreams", 1..=(1 << 31) - 1);
    listener.trusted_hops = value("trustedHops", 0..=16);
    fields.finish(issues);
}

fn read_tls(spec: &mut Fields<'_>, listener: &mut ListenerOptions, issues: &mut Issues) {
    const VERSIONS: &[(&str, TlsVersion)] = &[("TLS1.2", TlsVersion::V1_2), ("TLS1.3", TlsVersion::V1_3)];
    let Some(mut fields) = spec.map("tls", issues) else { return };
    let min = fields.value("minVersion", issues, read::word(VERSIONS));
    let max = fields.value("maxVersion", issues, read::word(VERSIONS));
    let suites = fields.values("cipherSuites", issues, read::word(SUITES));
    fields.finish(issues);
    if let (Some(min), Some(max)) = (&min, &max)
        && min.value > max.value
    {
        issues.error(max.at, "tls.maxVersion is below tls.minVersion", "raise it, or remove one of them");
    }
    if let Some(suites) = suites.as_ref().filter(|suites| suites.value.is_empty()) {
        issues.error(suites.at, "tls.cipherSuites is empty", "remove it, or name the suites");
    }
    listener.tls_min = min.map(|it| it.value);
    listener.tls_max = max.map(|it| it.value);
    listener.cipher_suites =
        suites.map(|suites| suites.value.into_iter().map(|it| it.value.to_owned()).collect());
}

fn read_process(spec: &mut Fields<'_>, process: &mut ProcessOptions, issues: &mut Issues) {
    const STRATEGIES: &[(&str, DrainStrategy)] =
        &[("Gradual", DrainStrategy::Gradual), ("Immediate", DrainStrategy::Immediate)];
    process.concurrency = spec.value("concurrency", issues, read::integer(1..=256)).map(|it| it.value);
    if let Some(mut limits) = spec.map("limits", issues) {
        let connections = limits.value("maxConnections", issues, read::integer(1..=u32::MAX));
        let heap = limits.value("maxHeapMiB", issues, read::integer(64..=1 << 24));
        process.max_connections = connections.map(|it| it.value);
        process.max_heap_mib = heap.map(|it| it.value);
        limits.finish(issues);
    }
    if let Some(mut drain) = spec.map("drain", issues) {
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        process.drain_time = drain.value("time", issues, read::duration(range)).map(|it| it.value);
        process.drain_strategy = drain.value("strategy", issues, read::word(STRATEGIES)).map(|it| it.value);
        drain.finish(issues);
    }
}

/// Each field from the first that has it.
macro_rules! first_of {
    ($type:ident: $own:expr, $above:expr; $($field:ident),* $(,)?) => {
        $type { $($field: $own.$field.clone().or_else(|| $above.$field.clone()),)* }
    };
}

impl TemplateSpec {
    /// This one, and where it says nothing the one above it.
    pub(crate) fn over(&self, above: &Self) -> Self {
        let (own, up) = (&self.listener, &above.listener);
        let listener = first_of!(ListenerOptions: own, up; buffer_kib, max_connections, connection_idle,
            request_headers, stream_idle, max_connection_duration, max_request_headers_kib, max_concurrent_streams,
            trusted_hops, tls_min, tls_max, cipher_suites, tracing);
        let (own, up) = (&self.process, &above.process);
        let process = first_of!(ProcessOptions: own, up; concurrency, max_connections, max_heap_mib, drain_time,
            drain_strategy, bootstrap);
        let tracing = self.tracing.over(&above.tracing);
        Self { listener, access_log: self.access_log.or(above.access_log), process, tracing }
    }
}
