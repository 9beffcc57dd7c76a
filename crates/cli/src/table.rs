//! Tables for people. One that is wider than the terminal is written as a block a row, so that no name is broken.

use crate::screen::Screen;
use comfy_table::{ContentArrangement, Row, Table, presets};
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

/// As it fits the screen.
pub(crate) fn shown(table: &Table, screen: Screen) -> String {
    let lines = trimmed(&table.to_string());
    let is_wide = |width: usize| lines.lines().any(|line| line.chars().count() > width);
    match screen.width().filter(|width| is_wide(*width)) {
        Some(width) => blocks(table, width),
        None => lines,
    }
}

/// Without the blanks around the columns.
pub(crate) fn trimmed(table: &str) -> String {
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect::<Vec<_>>().join("\n")
}

/// Of each row its first cell, and below it the others, each with the name of its column.
fn blocks(table: &Table, width: usize) -> String {
    let cells = |row: &Row| row.cell_iter().map(|it| it.content().replace('\n', ", ")).collect::<Vec<_>>();
    let columns = table.header().map(cells).unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    for row in table.row_iter() {
        let cells = cells(row);
        lines.push(cells.first().cloned().unwrap_or_default());
        let mut line = String::new();
        for (column, cell) in columns.iter().zip(&cells).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            let field = format!("{column} {cell}");
            if !line.is_empty() && line.chars().count() + 3 + field.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(if line.is_empty() { "  " } else { "   " });
            line.push_str(&field);
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    let wrap = |line: &String| match line.strip_prefix("  ") {
        Some(fields) if line.chars().count() > width => {
            format!("  {}", crate::screen::wrapped(fields, 4, width.saturating_sub(2)))
        }
        _ => line.clone(),
    };
    lines.iter().map(wrap).collect::<Vec<_>>().join("\n")
}

/// The pools, one a row.
pub(crate) fn pools<'a>(pools: impl IntoIterator<Item = &'a PoolView>) -> Table {
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

/// A part of one.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn millis(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_wide_is_written_as_blocks_and_no_name_is_broken() {
        let mut table = new(&["SERVICE", "ZONE", "PHASE", "WHY"]);
        let why = "2 of 4 endpoints are healthy, which is below the threshold of 70 %";
        table.add_row(["shop/checkout", "us-east-1a", "Reduced", why]);
        let at = |columns| shown(&table, Screen { size: Some((columns, 24)), ..Screen::default() });
        assert_eq!(at(200).lines().count(), 2);
        let narrow = at(40);
        assert_eq!(
            narrow,
            "shop/checkout\n  ZONE us-east-1a   PHASE Reduced\n  WHY 2 of 4 endpoints are healthy,\n    \
             which is below the threshold of 70\n    %"
        );
        assert!(narrow.lines().all(|line| line.chars().count() <= 40));
    }
}
