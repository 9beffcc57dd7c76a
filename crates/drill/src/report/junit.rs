//! JUnit's XML, as pipelines read it: a test case for each objective, and one for the drill itself.

use super::{Report, escaped};
use crate::course::Ending;
use std::fmt::Write as _;

/// The report as JUnit's XML.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut cases: Vec<(String, Option<String>)> = vec![("runs to its end".to_owned(), ended(report))];
    if report.mended.is_some() {
        let error = match (&report.mend_error, report.mended) {
            (Some(error), _) => Some(error.clone()),
            (None, Some(false)) => Some("the target does not answer well after it was mended".to_owned()),
            (None, _) => None,
        };
        cases.push(("is mended".to_owned(), error));
    }
    for it in &report.objectives {
        let failure = (!it.passed).then(|| format!("measured: {}", it.measured));
        cases.push((it.objective.clone(), failure));
    }
    let failures = cases.iter().filter(|(_, failure)| failure.is_some()).count();
    let seconds = report.moments.done_ms.unwrap_or(0.0) / 1000.0;
    let (name, count) = (escaped(&report.drill), cases.len());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{count}\" failures=\"{failures}\">\n  \
         <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" \
         time=\"{seconds:.3}\" timestamp=\"{}\">\n",
        escaped(report.started_at.trim_end_matches('Z'))
    );
    for (case, failure) in cases {
        let case = escaped(&case);
        let _ = match failure {
            None => writeln!(text, "    <testcase classname=\"{name}\" name=\"{case}\"/>"),
            Some(why) => writeln!(
                text,
                "    <testcase classname=\"{name}\" name=\"{case}\">\n      <failure message=\"{}\"/>\n    </testcase>",
                escaped(&why)
            ),
        };
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn ended(report: &Report) -> Option<String> {
    match &report.ending {
        Ending::Completed => None,
        Ending::NotStarted(why) => Some(format!("not started: {why}")),
        Ending::Stopped(why) => Some(format!("stopped: {why}")),
    }
}
