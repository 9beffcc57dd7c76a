//! `Drill`: a fault on purpose, measured.

use super::{
    drill_fault, drill_guard,
    drill_target::{self, url},
    places::Mentions,
};
use crate::{
    drill::{self, Drill, DrillGuard, DrillLoad, DrillProtocol, DrillSteps, ExecFault},
    fields::{Fields, Issues, Wrong},
    object::Meta,
    read, time,
    yaml::{Node, Pos},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
/// What a command of a fault may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_GUARDS: usize = 16;
const MAX_URLS: usize = 64;
const MAX_OBJECTIVES: usize = 32;
const MAX_WORDS: usize = 64;
/// What a `Drill` says.
#[derive(Debug, PartialEq)]
pub(crate) struct DrillSpec {
    pub(crate) drill: Drill,
    /// Where the fault is written.
    pub(crate) fault_at: Pos,
    /// Where the target is written.
    pub(crate) target_at: Pos,
    /// The places that it names.
    pub(crate) mentions: Mentions,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<DrillSpec> {
    let hint = "add `spec: {target: ..., fault: ..., objectives: [...]}`";
    let mut spec = fields.required_map("spec", hint, issues)?;
    let mut mentions = Mentions::new();
    let hint = "name the one thing that breaks: `target: {url: https://shop.example/}`";
    let target = spec.required_map("target", hint, issues);
    let target_at = target.as_ref().map_or(spec.at, |target| target.at);
    let target = target.and_then(|target| drill_target::read(target, &mut mentions, issues));
    let hint =
        "say what breaks it and for how long at most: `fault: {type: Exec, expiresAfter: 2m, exec: {...}}`";
    let fault = spec.required_map("fault", hint, issues);
    let fault_at = fault.as_ref().map_or(spec.at, |fault| fault.at);
    let fault = fault.and_then(|fault| drill_fault::read(fault, issues));
    let steps = spec.map("steps", issues).map_or_else(DrillSteps::default, |steps| read_steps(steps, issues));
    let load = spec.map("load", issues).map_or_else(DrillLoad::default, |load| read_load(load, issues));
    let guards = spec.maps_up_to(MAX_GUARDS, "guards", issues);
    let guards = guards.into_iter().filter_map(|guard| read_guard(guard, issues)).collect();
    let objectives = spec.values("objectives", issues, |node| drill::parse(&read::text(node)?));
    let objectives = objectives.map(|it| it.value).unwrap_or_default();
    if let Some(first) = objectives.get(MAX_OBJECTIVES) {
        issues.error(first.at, format!("at most {MAX_OBJECTIVES} objectives"), "remove some");
    }
    let window = spec.map("window", issues).and_then(|window| read_window(window, issues));
    spec.finish(issues);
    let (fault, expires_after) = fault?;
    if expires_after < steps.fault {
        let message = "spec.fault expires before its step ends";
        issues.error(fault_at, message, "make fault.expiresAfter at least as long as steps.fault");
    }
    let drill = Drill {
        name: format!("{}/{}", meta.namespace, meta.name),
        target: target?,
        fault,
        expires_after,
        steps,
        load,
        guards,
        objectives: objectives.into_iter().map(|it| it.value).collect(),
        window,
    };
    Some(DrillSpec { drill, fault_at, target_at, mentions })
}

pub(super) fn read_exec(mut exec: Fields<'_>, issues: &mut Issues) -> Option<ExecFault> {
    let hint = "a list of words, the program first: `start: [./break.sh]`";
    let start = command(&mut exec, "start", hint, issues);
    let hint = "what is broken must be mended: `mend: [./mend.sh]`";
    let mend = command(&mut exec, "mend", hint, issues);
    let timeout = exec.value("timeout", issues, read::duration(MILLISECOND * 100..=HOUR));
    exec.finish(issues);
    let timeout = timeout.map_or(COMMAND_TIMEOUT, |timeout| timeout.value);
    Some(ExecFault { start: start?, mend: mend?, timeout })
}

fn command(
    exec: &mut Fields<'_>,
    name: &'static str,
    hint: &str,
    issues: &mut Issues,
) -> Option<Vec<String>> {
    exec.required(name, hint, issues)?;
    let words = exec.values(name, issues, read::any_text)?;
    let count = words.value.len();
    if !(1..=MAX_WORDS).contains(&count) || words.value[0].value.is_empty() {
        let message =
            format!("{} must be a program and its arguments, 1 to {MAX_WORDS} words", exec.path_of(name));
        issues.error(words.at, message, hint);
        return None;
    }
    Some(words.value.into_iter().map(|word| word.value).collect())
}

fn read_steps(mut steps: Fields<'_>, issues: &mut Issues) -> DrillSteps {
    let default = DrillSteps::default();
    let mut step = |name, least: Duration, or: Duration| {
        steps.value(name, issues, read::duration(least..=HOUR * 24)).map_or(or, |it| it.value)
    };
    let found = DrillSteps {
        steady: step("steady", SECOND, default.steady),
        fault: step("fault", SECOND, default.fault),
        observe: step("observe", SECOND, default.observe),
    };
    steps.finish(issues);
    found
}

fn read_load(mut load: Fields<'_>, issues: &mut Issues) -> DrillLoad {
    let default = DrillLoad::default();
    let urls = load.values("urls", issues, url).map(|urls| urls.value).unwrap_or_default();
    if let Some(beyond) = urls.get(MAX_URLS) {
        issues.error(beyond.at, format!("at most {MAX_URLS} URLs"), "remove some");
    }
    let rate = load.value("rateRps", issues, read::integer(1..=50_000));
    let protocols =
        &[("HTTP1", DrillProtocol::Http1), ("HTTP2", DrillProtocol::Http2), ("GRPC", DrillProtocol::Grpc)];
    let protocol = load.value("protocol", issues, read::word(protocols));
    let timeout = load.value("timeout", issues, read::duration(MILLISECOND..=Duration::from_secs(60)));
    let in_flight = load.value("inFlightLimit", issues, read::integer(1..=100_000));
    load.finish(issues);
    DrillLoad {
        urls: urls.into_iter().map(|it| it.value).collect(),
        rate_rps: rate.map_or(default.rate_rps, |it| it.value),
        protocol: protocol.map_or(default.protocol, |it| it.value),
        timeout: timeout.map_or(default.timeout, |it| it.value),
        in_flight_limit: in_flight.map_or(default.in_flight_limit, |it| it.value),
    }
}

fn read_guard(mut guard: Fields<'_>, issues: &mut Issues) -> Option<DrillGuard> {
    let at = guard.at;
    let check = guard.map("httpCheck", issues).map(|check| read_check(check, issues));
    let rate = guard.map("errorRate", issues).map(|rate| read_rate(rate, issues));
    let asked = guard.map("prometheus", issues).map(|asked| drill_guard::read_prometheus(asked, issues));
    let budget = guard.map("errorBudget", issues).map(|budget| drill_guard::read_budget(budget, issues));
    guard.finish(issues);
    let mut found = [check, rate, asked, budget].into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(guard), None) => guard,
        _ => {
            let hint = "write one of them: `httpCheck: {url: ...}`, `errorRate: {above: 20}`, `prometheus: {...}` or \
                        `errorBudget: {...}`";
            issues.error(at, "a guard is one thing that is watched", hint);
            None
        }
    }
}

fn read_check(mut check: Fields<'_>, issues: &mut Issues) -> Option<DrillGuard> {
    let hint = "name what must go on answering: `url: http://monitor.example/ok`";
    let url = check.required_value("url", hint, issues, url);
    let interval = check.value("interval", issues, read::duration(MILLISECOND * 50..=SECOND * 60));
    let timeout = check.value("timeout", issues, read::duration(MILLISECOND * 10..=SECOND * 60));
    let failures = check.value("failures", issues, read::integer(1..=100));
    check.finish(issues);
    Some(DrillGuard::HttpCheck {
        url: url?.value,
        interval: interval.map_or(MILLISECOND * 200, |it| it.value),
        timeout: timeout.map_or(MILLISECOND * 500, |it| it.value),
        failures: failures.map_or(2, |it| it.value),
    })
}

fn read_rate(mut rate: Fields<'_>, issues: &mut Issues) -> Option<DrillGuard> {
    let hint = "the percentage of failed requests that is too much: `above: 20`";
    let above = rate.required_value("above", hint, issues, read::percentage);
    let over = rate.value("over", issues, read::duration(MILLISECOND * 500..=HOUR));
    rate.finish(issues);
    Some(DrillGuard::ErrorRate {
        above: f64::from(above?.value.ppm()) / 1e6,
        over: over.map_or(SECOND * 5, |it| it.value),
    })
}

fn read_window(mut window: Fields<'_>, issues: &mut Issues) -> Option<(u64, u64)> {
    let hint = "write both: `window: {from: 2026-11-01T09:00:00Z, until: 2026-11-01T17:00:00Z}`";
    let from = window.required_value("from", hint, issues, instant);
    let until = window.required_value("until", hint, issues, instant);
    window.finish(issues);
    let (from, until) = (from?, until?);
    if until.value <= from.value {
        issues.error(until.at, "spec.window ends before it begins", "exchange from and until");
    }
    Some((from.value, until.value))
}

fn instant(node: &Node) -> Result<u64, Wrong> {
    let text = read::text(node)?;
    time::unix_seconds(&text)
        .ok_or_else(|| Wrong::new("a time as RFC 3339 has it", "write for example 2026-11-01T09:00:00Z"))
}
