//! What changes, for people: at a terminal, and as a comment at a pull request.

use super::{
    compare::{Compared, Lost},
    objects::ChangedObject,
};
use crate::table;
use std::fmt::Write as _;

/// So many rows are shown of a list; a comment at a pull request has a limit, and so have readers.
const SHOWN: usize = 60;
/// As wide as the logs of pipelines.
const WIDTH: u16 = 120;

/// One list of what changes.
struct Section {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

pub(super) fn text(compared: &Compared) -> String {
    let mut out = format!("{}\n", verdict(compared));
    for section in sections(compared) {
        let mut table = table::new(section.columns);
        table.set_width(WIDTH);
        for row in section.rows.iter().take(SHOWN) {
            table.add_row(row);
        }
        let table = table.to_string();
        let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
        let _ = write!(out, "\n{}\n{}\n{}", section.title, lines.join("\n"), more(section.rows.len()));
    }
    out
}

/// The same as Markdown, in the same order for the same change.
pub(super) fn markdown(compared: &Compared) -> String {
    let mut out = format!("### Tidegate: {}\n", escaped(&verdict(compared)));
    for section in sections(compared) {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let _ = write!(out, "\n**{}**\n\n", section.title);
        out += &line(&mut section.columns.iter().map(|it| (*it).to_owned()));
        out += &line(&mut section.columns.iter().map(|_| "---".to_owned()));
        for row in section.rows.iter().take(SHOWN) {
            out += &line(&mut row.iter().map(|cell| escaped(cell)));
        }
        let _ = write!(out, "{}", more(section.rows.len()));
    }
    out
}

fn more(rows: usize) -> String {
    match rows.saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n... and {more} more: -o json has all\n"),
    }
}

/// As the text of a cell: nothing in it is markup, a link or a mention.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => escaped.extend(['\\', letter]),
            other => escaped.push(other),
        }
    }
    escaped
}

fn verdict(compared: &Compared) -> String {
    if !compared.changed {
        return format!("nothing changes against {}", compared.against);
    }
    let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let objects = &compared.objects;
    let objects = objects.added.len() + objects.removed.len() + objects.changed.len();
    let holds = match compared.holds {
        (true, true) => "the fleet holds whatever one place is lost, as before",
        (true, false) => "THE FLEET DOES NOT HOLD ANY MORE when one place is lost",
        (false, true) => "the fleet now holds whatever one place is lost",
        (false, false) => "the fleet does not hold when some places are lost, as before",
    };
    format!(
        "{}, {}, {} of a loss against {}; {holds}",
        counted(objects, "object"),
        counted(compared.plans.len(), "plan"),
        counted(compared.losses.len(), "outcome"),
        compared.against
    )
}

fn sections(compared: &Compared) -> Vec<Section> {
    let objects = &compared.objects;
    let word = |word: &str, names: &[String]| -> Vec<Vec<String>> {
        names.iter().map(|name| vec![word.to_owned(), name.clone(), String::new()]).collect()
    };
    let changed = objects.changed.iter().map(|it| vec!["changed".to_owned(), it.object.clone(), fields(it)]);
    let object_rows =
        [word("added", &objects.added), word("removed", &objects.removed), changed.collect()].concat();
    let lost = |list: &[Lost]| -> Vec<Vec<String>> {
        list.iter().map(|it| vec![it.service.to_string(), it.lost.clone()]).collect()
    };
    let nothing = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let plans = compared.plans.iter();
    let losses = compared.losses.iter();
    let lines = |lines: &[String]| lines.iter().map(|line| vec![line.clone()]).collect::<Vec<_>>();
    let sections = [
        Section {
            title: "Newly impossible: nothing healthy would serve",
            columns: &["SERVICE", "LOST"],
            rows: lost(&compared.newly_impossible),
        },
        Section {
            title: "Possible again",
            columns: &["SERVICE", "LOST"],
            rows: lost(&compared.newly_possible),
        },
        Section {
            title: "If one place is lost",
            columns: &["SERVICE", "LOST", "BEFORE", "AFTER"],
            rows: losses
                .map(|it| vec![it.service.to_string(), it.lost.clone(), it.before.clone(), it.after.clone()])
                .collect(),
        },
        Section {
            title: "Plans, all healthy",
            columns: &["SERVICE", "FROM", "BEFORE", "AFTER"],
            rows: plans
                .map(|it| {
                    vec![it.service.to_string(), it.from.clone(), nothing(&it.before), nothing(&it.after)]
                })
                .collect(),
        },
        Section { title: "Newly found", columns: &["FINDING"], rows: lines(&compared.new_findings) },
        Section { title: "Not found any more", columns: &["FINDING"], rows: lines(&compared.gone_findings) },
        Section { title: "Objects", columns: &["", "OBJECT", "FIELDS"], rows: object_rows },
    ];
    sections.into_iter().filter(|section| !section.rows.is_empty()).collect()
}

fn fields(object: &ChangedObject) -> String {
    let field = |it: &super::objects::ChangedField| {
        let part = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
        format!("{}: {} -> {}", it.path, part(&it.before), part(&it.after))
    };
    object.fields.iter().map(field).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_in_a_cell_is_markup() {
        assert_eq!(escaped("a|b\n<i> @x `c` [d](e)"), "a\\|b &lt;i&gt; &#64;x \\`c\\` \\[d\\](e)");
    }
}
