//! The answers as text of at most 80 columns where names allow.

use crate::{screen::Screen, table};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};
use tidegate_engine::{
    Clients, Contingency, Fate, Finding, Foresight, PoolLoad, ServiceOutcome, Source, SourceOutcome, Unit,
};
use tidegate_model::{ClusterName, Zone};

/// Text is no wider.
const WIDTH: usize = 80;

/// Every contingency, one a row, then who is stranded.
pub(super) fn all(all: &[Contingency], pairs: bool) -> String {
    let services = || all.first().into_iter().flat_map(|it| &it.services);
    let clusters: BTreeSet<&ClusterName> =
        services().flat_map(|service| &service.pools).map(|pool| &pool.cluster).collect();
    let pools: usize = services().map(|service| service.pools.len()).sum();
    let seen = format!(
        "{}, {}, {}",
        counted(clusters.len(), "cluster"),
        counted(services().count(), "service"),
        counted(pools, "pool"),
    );
    let places = if pairs { "two places were" } else { "one place were" };
    let question = wrapped(&format!("If {places} lost{}:", all.first().map_or("", clients)), 0);
    let mut text = format!("{seen}\n{question}\n");
    let mut table = table::new(&["LOST", "FAIL OVER", "STRANDED", "WORST POOL", "HOLDS"]);
    for it in all {
        table.add_row([
            lost(it, "\n"),
            it.count(Fate::FailsOver).to_string(),
            it.count(Fate::Stranded).to_string(),
            worst(it),
            if it.holds() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    let _ = writeln!(text, "{}", table::shown(&table, Screen::stdout()));
    text.push_str(&stranded(all));
    text.push_str(&overloaded(all));
    text
}

/// One contingency in full.
pub(super) fn one(it: &Contingency) -> String {
    let question = format!("If {} were lost{}:", lost(it, " and "), clients(it));
    wrapped(&question, 0) + "\n" + &before_and_after(it)
}

/// Of every service where its requests go, and what its pools carry, before and after.
pub(crate) fn before_and_after(it: &Contingency) -> String {
    let mut table = table::new(&["SERVICE", "FROM", "BEFORE", "AFTER"]);
    for service in &it.services {
        for source in &service.sources {
            table.add_row([
                service.service.to_string(),
                source.source.to_string(),
                lines(&table::shares(&source.before)),
                after(source),
            ]);
        }
    }
    let mut text = table::shown(&table, Screen::stdout()) + "\n";
    let mut table = table::new(&["SERVICE", "POOL", "CARRIES", "FACTOR", "USED"]);
    for service in &it.services {
        for pool in service.pools.iter().filter(|pool| !pool.lost) {
            table.add_row([
                service.service.to_string(),
                place(&pool.cluster, &pool.locality.zone),
                loads(service.unit, pool.before, pool.after),
                pool.factor.map_or_else(|| "-".to_owned(), factor),
                used(pool.utilization_before.zip(pool.utilization_after)),
            ]);
        }
    }
    let _ = writeln!(text, "\n{}", table::shown(&table, Screen::stdout()));
    text.push_str(&places(it));
    if it.services.iter().any(|service| service.unit == Unit::Endpoints) {
        text.push_str("\n(no demand known: one endpoint's load is what it carries while nothing is lost)\n");
    }
    text.push_str(&shed(&it.services));
    text.push_str(&stranded(std::slice::from_ref(it)));
    text.push_str(&overloaded(std::slice::from_ref(it)));
    text
}

/// What holds without any loss.
pub(super) fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let lines: String = findings.iter().map(|finding| item(&finding.to_string())).collect();
    format!("\nFOUND with nothing lost\n{lines}")
}

/// The answer in one line.
pub(super) fn verdict(foresight: &Foresight) -> String {
    let (all, holds, down_now) = (&foresight.contingencies, foresight.holds, foresight.is_down_now());
    let failing = all.iter().filter(|it| !it.holds()).count();
    match (all.len(), holds) {
        (1, true) => "It holds.".to_owned(),
        (count, true) => format!("It holds: each of {count} losses leaves everything served."),
        (_, false) if failing == 0 && down_now => "It does not hold: something is down already.".to_owned(),
        (1, false) => "It does not hold.".to_owned(),
        (count, false) => format!(
            "It does not hold: {failing} of {count} losses leave something unserved.\nMore of one: add --lose LOCATION"
        ),
    }
}

fn clients(it: &Contingency) -> &'static str {
    match it.clients {
        Clients::Move => ", clients coming in at the nearest place left",
        Clients::Gone => ", clients gone with it",
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn lost(it: &Contingency, between: &str) -> String {
    it.lost.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

fn place(cluster: &ClusterName, zone: &Zone) -> String {
    format!("{cluster}/{zone}")
}

/// Utilization says more than a factor; where no capacity is known, the factor is all there is.
fn worst(it: &Contingency) -> String {
    if let Some((_, pool, part)) = it.worst_utilization() {
        return format!("{} {}", percent(part), place(&pool.cluster, &pool.locality.zone));
    }
    match it.worst_factor() {
        Some((_, pool, part)) if part > 0 => {
            format!("{} {}", factor(part), place(&pool.cluster, &pool.locality.zone))
        }
        _ => "-".to_owned(),
    }
}

fn after(source: &SourceOutcome) -> String {
    if source.lost {
        let at: BTreeSet<String> = source.moves_to.iter().map(|to| entrance(&source.source, to)).collect();
        let at = at.into_iter().collect::<Vec<_>>().join("\n");
        return if at.is_empty() { "lost".to_owned() } else { format!("lost, clients at\n{at}") };
    }
    let mut text = lines(&table::shares(&source.after));
    if !source.shed.is_none() {
        let _ = write!(text, "{}503 {}", if text.is_empty() { "" } else { "\n" }, source.shed);
    }
    if source.last_resort {
        text.push_str("\n(unhealthy)");
    }
    if source.before == source.after && source.shed.is_none() { "same".to_owned() } else { text }
}

/// Where clients come in instead.
fn entrance(from: &Source, to: &Source) -> String {
    if from.cluster == to.cluster {
        format!("zone {}", to.locality.zone)
    } else {
        format!("cluster {}", to.cluster)
    }
}

fn lines(list: &str) -> String {
    list.replace(", ", "\n")
}

/// Loads of places, all services together.
fn places(it: &Contingency) -> String {
    let mut table = table::new(&["PLACE", "CARRIES", "FACTOR", "USED"]);
    for load in &it.locations {
        for (unit, (before, after)) in [(Unit::Rate, load.rate), (Unit::Endpoints, load.endpoints)] {
            if before > 0 || after > 0 {
                let grows = (before > 0).then(|| u128::from(after) * 1_000_000 / u128::from(before));
                table.add_row([
                    load.location.to_string(),
                    loads(unit, before, after),
                    grows.and_then(|it| u64::try_from(it).ok()).map_or_else(|| "new".to_owned(), factor),
                    used(load.utilization.filter(|_| unit == Unit::Rate)),
                ]);
            }
        }
    }
    if table.row_count() == 0 {
        return String::new();
    }
    format!("\n{}\n", table::shown(&table, Screen::stdout()))
}

/// Before and after, in units that people know.
fn loads(unit: Unit, before: u64, after: u64) -> String {
    let word = match unit {
        Unit::Rate => "rps",
        Unit::Endpoints => "endpoints",
    };
    if before == after {
        format!("{} {word}", thousandths(before))
    } else {
        format!("{} -> {} {word}", thousandths(before), thousandths(after))
    }
}

/// With at most one digit after the point.
fn thousandths(value: u64) -> String {
    let tenths = (u128::from(value) + 50) / 100;
    match tenths % 10 {
        0 => format!("{}", tenths / 10),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

fn factor(ppm: u64) -> String {
    let hundredths = (u128::from(ppm) + 5_000) / 10_000;
    format!("{}.{:02}x", hundredths / 100, hundredths % 100)
}

fn percent(ppm: u64) -> String {
    match ppm {
        u64::MAX => "no capacity".to_owned(),
        // Above a limit is never shown as at it.
        ppm if ppm > 1_000_000 => format!("{} %", ppm.div_ceil(10_000)),
        ppm => format!("{} %", ppm / 10_000),
    }
}

fn used(parts: Option<(u64, u64)>) -> String {
    parts.map_or_else(
        || "-".to_owned(),
        |(before, after)| format!("{} -> {}", percent(before), percent(after)),
    )
}

fn shed(services: &[ServiceOutcome]) -> String {
    let word = |unit| if unit == Unit::Rate { "rps" } else { "endpoints' load" };
    let line =
        |it: &ServiceOutcome| item(&format!("{}: {} {}", it.service, thousandths(it.shed), word(it.unit)));
    let lines: String = services.iter().filter(|it| it.shed > 0).map(line).collect();
    if lines.is_empty() { lines } else { format!("\nSHED, answered with 503\n{lines}") }
}

/// Of the losses that strand somebody so many are named; a pair says little that its places did not say.
const NAMED: usize = 6;

/// Who is stranded: for each service and reason, from where and by which losses.
fn stranded(all: &[Contingency]) -> String {
    let mut by_reason: BTreeMap<(String, String), (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for it in all {
        for stranded in &it.stranded {
            let key = (stranded.service.to_string(), stranded.why.to_string());
            let (sources, losses) = by_reason.entry(key).or_default();
            sources.insert(
                stranded.source.as_ref().map_or_else(|| "everywhere".to_owned(), ToString::to_string),
            );
            losses.insert(lost(it, " + "));
        }
    }
    if by_reason.is_empty() {
        return String::new();
    }
    let mut text = "\nSTRANDED\n".to_owned();
    let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    for ((service, why), (sources, losses)) in &by_reason {
        text.push_str(&item(&format!("{service}: {why}")));
        text.push_str(&wrapped(&format!("from {}", list(sources)), 4));
        if all.len() > 1 {
            let named: BTreeSet<String> = losses.iter().take(NAMED).cloned().collect();
            let more = match losses.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            text.push_str(&wrapped(&format!("by losing {}{more}", list(&named)), 4));
        }
    }
    text
}

fn overloaded(all: &[Contingency]) -> String {
    let mut text = String::new();
    for it in all {
        for (service, pool) in it.overloaded() {
            let PoolLoad { cluster, locality, .. } = pool;
            let part = pool.utilization_after.map(percent).unwrap_or_default();
            // Of a shift nothing is lost.
            let by =
                if it.lost.is_empty() { String::new() } else { format!(" by losing {}", lost(it, " + ")) };
            text.push_str(&item(&format!("{service}: {part} in {}{by}", place(cluster, &locality.zone))));
        }
    }
    if text.is_empty() { text } else { format!("\nABOVE 100 %\n{text}") }
}

fn item(text: &str) -> String {
    format!("- {}", wrapped(text, 2).trim_start())
}

/// Broken between words before column 80, or where the terminal ends, every line indented.
fn wrapped(text: &str, indent: usize) -> String {
    let width = Screen::stdout().width().map_or(WIDTH, |it| it.min(WIDTH));
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{:indent$}{word}", "")),
        }
    }
    lines.join("\n") + "\n"
}
