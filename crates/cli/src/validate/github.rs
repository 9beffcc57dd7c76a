//! Problems as workflow commands of GitHub Actions: `::error file=...,line=...,col=...,title=...::message`.
//!
//! A command ends with its line, so line breaks are written as `%0A`; in properties a colon and a comma end one, too.

use super::{from_here, report::Report};
use tidegate_api::Problem;

/// One line for each problem, and one for all notes together.
pub(super) fn commands(report: &Report) -> Vec<String> {
    let notes = report.all_notes();
    let notice = (!notes.is_empty()).then(|| format!("::notice title=tidegate::{}", data(&notes.join("\n"))));
    report.problems.iter().map(command).chain(notice).collect()
}

fn command(problem: &Problem) -> String {
    let word = if problem.is_error() { "error" } else { "warning" };
    let mut properties = Vec::new();
    if !problem.file.is_empty() {
        properties.push(format!("file={}", property(from_here(&problem.file))));
    }
    if problem.line > 0 {
        properties.push(format!("line={}", problem.line));
        properties.push(format!("col={}", problem.column.max(1)));
    }
    properties.push(format!("title={}", property(problem.object.as_deref().unwrap_or("tidegate"))));
    let message = data(&format!("{}\nhint: {}", problem.message, problem.hint));
    format!("::{word} {}::{message}", properties.join(","))
}

/// As the text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As the value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_message_or_a_name_ends_a_command() {
        let mut problem =
            Problem::of_file("a,b:c%\n.yaml", "100 % of it::\r\n::error::x", "write, for example, 80");
        (problem.line, problem.column) = (3, 0);
        problem.object = Some("FailoverPolicy shop/web, and: more".to_owned());
        assert_eq!(
            command(&problem),
            "::error file=a%2Cb%3Ac%25%0A.yaml,line=3,col=1,title=FailoverPolicy shop/web%2C and%3A more::100 %25 of it::\
             %0D%0A::error::x%0Ahint: write, for example, 80"
        );
    }
}
