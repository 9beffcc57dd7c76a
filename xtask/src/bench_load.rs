//! `cargo xtask bench load`: what the generator of drills sends on time, against its goals, beside `wrk` and `hey`.

use crate::{
    command::{cargo, run as run_command},
    metadata, table,
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{fs, path::Path};

/// The name by which it is asked for.
pub(crate) const NAME: &str = "load";

/// Runs it and shows the results; a goal that is missed is told, and no failure: the machine decides, too.
pub(crate) fn run(root: &Path, json: Option<&Path>, args: &[String]) -> Result<()> {
    let results = metadata::target_directory(root)?.join("xtask/bench-load.json");
    if let Some(folder) = results.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let mut bench = cargo(root);
    bench.args(["bench", "--package", "tidegate-drill", "--bench", "load", "--"]).args(args);
    run_command(bench.env("TIDEGATE_BENCH_RESULTS", &results))?;
    let text = fs::read_to_string(&results).with_context(|| format!("reading {}", results.display()))?;
    let measured: Value = serde_json::from_str(&text)?;
    print!("\n{}", show(&measured));
    if let Some(path) = json {
        fs::write(path, serde_json::to_string_pretty(&measured)? + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
        println!("Written to {}.", path.display());
    }
    Ok(())
}

fn show(results: &Value) -> String {
    let of = |at: &str| results.pointer(at).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let mut rows = vec![["one generator on one core", "measured", "goal", ""].map(str::to_owned).to_vec()];
    let mut row = |what: &str, measured: String, goal: &str, met: bool| {
        let verdict = if met { "met" } else { "missed" };
        rows.push(vec![what.to_owned(), measured, goal.to_owned(), verdict.to_owned()]);
    };
    let (due, succeeded) = (of("/steady/due"), of("/steady/succeeded"));
    row("requests that succeeded, of those due", format!("{succeeded} of {due}"), "all", succeeded >= due);
    let late = of("/steady/late_us/p99");
    row("late, p99", format!("{late} us"), "at most 1000 us", late <= 1000.0);
    let (least, most) = (of("/steady/resident_kb/min"), of("/steady/resident_kb/max"));
    let since = of("/steady/resident_kb/from_second");
    let memory = format!("{least} to {most} KB");
    row(&format!("memory, from second {since} on"), memory, "1024 KB apart", most - least <= 1024.0);
    for other in ["wrk", "hey"] {
        for what in ["rate", "p50_ms", "p99_ms"] {
            let (own, theirs) =
                (of(&format!("/compared/own/{what}")), of(&format!("/compared/{other}/{what}")));
            let apart = (own / theirs - 1.0).abs() * 100.0;
            let text = format!("{own:.2}, {theirs:.2}: {apart:.1} %");
            row(&format!("{what}, own and of {other}"), text, "within 5 %", apart <= 5.0);
        }
    }
    let load = |at: &str| results.pointer(at).and_then(Value::as_str).unwrap_or("not known").to_owned();
    let (before, after) = (load("/steady/machine_load/0"), load("/steady/machine_load/1"));
    let compared = load("/compared/machine_load/1");
    format!(
        "{}\nLoad of the machine (1, 5, 15 min): {before} before, {after} after, {compared} when all were compared.\n",
        table::render(&rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_measured_is_not_met() {
        let text = show(&json!({
            "steady": {"due": 10, "succeeded": 10, "late_us": {"p99": 1001}, "resident_kb": {"from_second": 3, "min": 1, "max": 9}, "machine_load": ["9 8 7", "1 2 3"]},
            "compared": {"own": {"rate": 96.0, "p50_ms": 100.0, "p99_ms": 6.0}, "wrk": {"rate": 100.0, "p50_ms": 104.0, "p99_ms": 5.0}, "hey": null},
        }));
        let verdicts: Vec<&str> = text
            .lines()
            .filter_map(|line| line.rsplit("  ").next())
            .filter(|it| it.ends_with("met") || *it == "missed")
            .collect();
        assert_eq!(
            verdicts,
            ["met", "missed", "met", "met", "met", "missed", "missed", "missed", "missed"],
            "{text}"
        );
    }
}
