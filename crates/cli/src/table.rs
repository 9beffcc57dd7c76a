//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets};
use tidegate_agent::view::PoolView;
use tidegate_engine::Shares;

/// A table with these columns.
pub(crate) fn new(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(columns);
    table
}

/// The pools, one a row.
pub(crate) fn pools(pools: &[PoolView]) -> Table {
    let mut table = new(&["SERVICE", "CLUSTER", "ZONE", "HEALTHY", "ADMIT", "PHASE", "REACH"]);
    for pool in pools {
        let phase = match pool.hold_remaining_ms {
            0 => pool.phase.to_string(),
            left => format!("{} ({:.1} s left)", pool.phase, millis(left)),
        };
        let reach = match (pool.reachable, pool.reach) {
            (false, _) => "unreachable".to_owned(),
            (true, reach) => percent(reach),
        };
        table.add_row([
            pool.service.to_string(),
            pool.cluster.to_string(),
            pool.zone.to_string(),
            format!("{}/{}", pool.healthy, pool.expected),
            percent(pool.admit),
            phase,
            reach,
        ]);
    }
    table
}

/// Shares, largest first, in one line.
pub(crate) fn shares(shares: &Shares) -> String {
    let mut rows: Vec<_> = shares.iter().collect();
    rows.sort_by(|(a, share_a), (b, share_b)| share_b.cmp(share_a).then_with(|| a.cmp(b)));
    rows.iter().map(|(target, share)| format!("{target} {share}")).collect::<Vec<_>>().join(", ")
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn millis(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}
