//! `cargo xtask bench`: the benchmarks, by time and by instructions, and their results as one table.

mod instructions;

use crate::{
    command::{cargo, run as run_command},
    metadata::{self, Metadata},
    table,
};
use anyhow::{Context, Result, bail};
use instructions::Counted;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The packages with benchmarks.
const PACKAGES: [&str; 2] = ["tidegate-engine", "tidegate-envoy"];

/// One benchmark's result. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Measured {
    name: String,
    mean_ns: f64,
    low_ns: f64,
    high_ns: f64,
    /// How sure it is that the mean lies between the two, 0 to 1.
    confidence: f64,
}

/// The benchmark of whole fleets in virtual time: it takes minutes and prints a table of its own, so it is run by its name
/// alone.
const FLEETS: &str = "sim";

/// Runs the benchmarks, all or those that `name` chooses, and shows what this run measured. Instructions are counted when
/// all benchmarks or that target are asked for.
pub(crate) fn run(root: &Path, name: Option<&str>, json: Option<&Path>) -> Result<()> {
    if name == Some(FLEETS) {
        if json.is_some() {
            bail!("`bench {FLEETS}` prints a table only; leave --json out");
        }
        return run_command(cargo(root).args(["bench", "--package", "tidegate-sim", "--bench", "scale"]));
    }
    let graph = metadata::load(root, &[])?;
    let missing = instructions::missing(&graph);
    let only_counts = name == Some(instructions::TARGET);
    if only_counts && !missing.is_empty() {
        bail!("to count instructions, these are missing: {}", missing.join(", "));
    }
    let measured = if only_counts { Vec::new() } else { measure(root, &graph, name)? };
    let counts = (name.is_none() || only_counts) && missing.is_empty();
    let counted = if counts { instructions::count(root, &graph.target_directory)? } else { Vec::new() };
    print!("\n{}", show(&measured, &counted));
    if name.is_none() && !missing.is_empty() {
        println!("Instructions were not counted, these are missing: {}.", missing.join(", "));
    }
    if let Some(path) = json {
        let measured = measured.iter().map(serde_json::to_value);
        let all: Vec<_> =
            measured.chain(counted.iter().map(serde_json::to_value)).collect::<Result<_, _>>()?;
        let text = serde_json::to_string_pretty(&all)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("Written to {}.", path.display());
    }
    Ok(())
}

/// Runs the benchmarks of criterion.
fn measure(root: &Path, graph: &Metadata, name: Option<&str>) -> Result<Vec<Measured>> {
    let benches: Vec<&str> = graph
        .members()
        .filter(|package| PACKAGES.contains(&package.name.as_str()))
        .flat_map(|package| &package.targets)
        .filter(|target| target.kind.iter().any(|kind| kind == "bench"))
        .map(|target| target.name.as_str())
        .filter(|target| *target != instructions::TARGET)
        .collect();
    if benches.is_empty() {
        bail!("{} have no benchmarks; add a [[bench]] to one of them", PACKAGES.join(" and "));
    }
    let (chosen, filter) = match name {
        Some(name) if benches.contains(&name) => (vec![name], None),
        name => (benches.clone(), name),
    };
    let results = graph.target_directory.join("criterion");
    let mut bench = cargo(root);
    bench.arg("bench").env("CRITERION_HOME", &results);
    for package in PACKAGES {
        bench.args(["--package", package]);
    }
    // Naming them leaves the unit tests out, which would stumble over criterion's arguments.
    for bench_target in chosen {
        bench.args(["--bench", bench_target]);
    }
    if let Some(filter) = filter {
        bench.args(["--", filter]);
    }
    let started = SystemTime::now();
    run_command(&mut bench)?;
    let measured = read(&results, started)?;
    if measured.is_empty() {
        bail!(
            "no benchmark's name contains `{}`; benchmark targets are {} and {}",
            name.unwrap_or_default(),
            benches.join(", "),
            instructions::TARGET
        );
    }
    Ok(measured)
}

/// The results under `folder` that were written since `since`, by name.
fn read(folder: &Path, since: SystemTime) -> Result<Vec<Measured>> {
    #[derive(Deserialize)]
    struct Estimates {
        mean: Estimate,
    }
    #[derive(Deserialize)]
    struct Estimate {
        point_estimate: f64,
        confidence_interval: Interval,
    }
    #[derive(Deserialize)]
    struct Interval {
        confidence_level: f64,
        lower_bound: f64,
        upper_bound: f64,
    }
    let mut measured = Vec::new();
    for path in estimates(folder)? {
        let at = |path: &Path| format!("reading {}", path.display());
        if fs::metadata(&path).and_then(|m| m.modified()).with_context(|| at(&path))? < since {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| at(&path))?;
        let Estimates { mean } = serde_json::from_str(&text).with_context(|| at(&path))?;
        let Interval { confidence_level, lower_bound, upper_bound } = mean.confidence_interval;
        measured.push(Measured {
            name: benchmark_name(folder, &path),
            mean_ns: mean.point_estimate,
            low_ns: lower_bound,
            high_ns: upper_bound,
            confidence: confidence_level,
        });
    }
    measured.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(measured)
}

/// All files `new/estimates.json` under `folder`.
fn estimates(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("new/estimates.json") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The full name that criterion wrote beside the estimates; without it, the folder's.
fn benchmark_name(folder: &Path, estimates: &Path) -> String {
    #[derive(Deserialize)]
    struct Benchmark {
        full_id: String,
    }
    let named = fs::read_to_string(estimates.with_file_name("benchmark.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<Benchmark>(&text).ok());
    match named {
        Some(benchmark) => benchmark.full_id,
        None => {
            let home = estimates.ancestors().nth(2).unwrap_or(estimates);
            home.strip_prefix(folder).unwrap_or(home).display().to_string()
        }
    }
}

fn show(measured: &[Measured], counted: &[Counted]) -> String {
    let mut header = vec!["benchmark", "mean", "low", "high", "confidence"];
    if !counted.is_empty() {
        header.push("instructions");
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
    rows.extend(measured.iter().map(|m| {
        vec![
            m.name.clone(),
            time(m.mean_ns),
            time(m.low_ns),
            time(m.high_ns),
            format!("{:.0} %", m.confidence * 100.0),
        ]
    }));
    rows.extend(counted.iter().map(|it| {
        let mut row = vec![String::new(); 6];
        row[0].clone_from(&it.name);
        row[5] = it.instructions.to_string();
        row
    }));
    table::render(&rows)
}

/// A time with three or more digits that matter.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ESTIMATES: &str = r#"{"mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":1000.0,
        "upper_bound":3000000.0},"point_estimate":2000.0,"standard_error":1.0},"median":{}}"#;

    #[test]
    fn this_runs_results_are_read_and_shown() {
        let home = tempfile::tempdir().unwrap();
        for (folder, id) in [("planner/fleet_10", Some("planner/fleet/10")), ("eds", None)] {
            let new = home.path().join(folder).join("new");
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join("estimates.json"), ESTIMATES).unwrap();
            if let Some(id) = id {
                fs::write(new.join("benchmark.json"), format!("{{\"full_id\":\"{id}\"}}")).unwrap();
            }
            let base = home.path().join(folder).join("base");
            fs::create_dir_all(&base).unwrap();
            fs::write(base.join("estimates.json"), "{}").unwrap();
        }
        let measured = read(home.path(), SystemTime::UNIX_EPOCH).unwrap();
        let table = "  benchmark            mean      low     high  confidence\n  \
                     eds               2.00 µs  1.00 µs  3.00 ms        95 %\n  \
                     planner/fleet/10  2.00 µs  1.00 µs  3.00 ms        95 %\n";
        assert_eq!(show(&measured, &[]), table);
        let counted = Counted { name: "plan".to_owned(), instructions: 1234 };
        let table = "  benchmark     mean      low     high  confidence  instructions\n  \
                     eds        2.00 µs  1.00 µs  3.00 ms        95 %\n  \
                     plan                                                      1234\n";
        assert_eq!(show(&measured[..1], &[counted]), table);
        let later = SystemTime::now() + Duration::from_secs(3600);
        assert_eq!(read(home.path(), later).unwrap(), []);
    }

    #[test]
    fn times_have_fitting_units() {
        assert_eq!(time(12.345), "12.35 ns");
        assert_eq!(time(2.5e6), "2.50 ms");
        assert_eq!(time(3e9), "3.00 s");
    }
}
