//! Problems as a log of SARIF 2.1.0 (OASIS), which code scanning services take.

use super::from_here;
use serde_json::{Value, json};
use tidegate_api::Problem;

/// What kinds of problems there are. A result names one, by which services count and mute.
const RULES: [(&str, &str); 3] = [
    ("unreadable-file", "A file cannot be read, or is not YAML."),
    ("invalid-object", "What is written is not in force, because it is wrong."),
    ("doubtful-object", "What is written is in force, and perhaps not what was meant."),
];

/// The log of one run.
pub(super) fn log(problems: &[Problem]) -> Value {
    let rules: Vec<Value> =
        RULES.iter().map(|(id, text)| json!({"id": id, "shortDescription": {"text": text}})).collect();
    json!({
        "version": "2.1.0",
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "runs": [{
            "tool": {"driver": {
                "name": "tidegate",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            // Columns count characters, not UTF-16 units.
            "columnKind": "unicodeCodePoints",
            "results": problems.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(problem: &Problem) -> Value {
    let rule = match problem {
        it if !it.is_error() => 2,
        it if it.object.is_none() => 0,
        _ => 1,
    };
    let subject = problem.object.as_ref().map_or_else(String::new, |object| format!("{object}: "));
    let mut result = json!({
        "ruleId": RULES[rule].0,
        "ruleIndex": rule,
        "level": if problem.is_error() { "error" } else { "warning" },
        "message": {"text": format!("{subject}{}\nhint: {}", problem.message, problem.hint)},
    });
    if !problem.file.is_empty() {
        // Services show no result without a line; the first stands for a whole file.
        let mut region = json!({"startLine": problem.line.max(1)});
        if problem.column > 0 {
            region["startColumn"] = problem.column.into();
        }
        let physical = json!({"artifactLocation": {"uri": uri(&problem.file)}, "region": region});
        result["locations"] = json!([{"physicalLocation": physical}]);
    }
    result
}

/// A path as a reference of RFC 3986: relative ones stay relative.
fn uri(path: &str) -> String {
    let path = from_here(path);
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    let encoded: String = path.bytes().map(byte).collect();
    if path.starts_with('/') { format!("file://{encoded}") } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("./a b/c:d#é.yaml"), "a%20b/c%3Ad%23%C3%A9.yaml");
        assert_eq!(uri("/x/y.yaml"), "file:///x/y.yaml");
    }

    #[test]
    fn a_problem_of_no_file_has_no_place_and_one_of_a_whole_file_its_first_line() {
        let log = log(&[Problem::of_file("", "m", "h"), Problem::of_file("a.yaml", "m", "h")]);
        let results = &log["runs"][0]["results"];
        assert_eq!(results[0].get("locations"), None);
        let place = &results[1]["locations"][0]["physicalLocation"];
        assert_eq!(place["region"], json!({"startLine": 1}));
    }
}
