//! The hub's objects as the files that they were cut from, so that whatever is said of them names the place where their
//! author finds it.

use std::collections::BTreeMap;
use tidegate_api::{Problem, SourceFile};
use tidegate_link::hub::{Objects, PolicyObject, proto};

/// Before the path of a file of the hub. It sorts before the paths of folders: of two objects with one name the first by path
/// is in force, and that is the hub's.
const FROM_HUB: &str = "(hub) ";

/// The most rejected objects that are told.
const MAX_REJECTED: usize = 1000;

/// The files, with each object on the lines where it was written.
pub(super) fn files(objects: &Objects) -> Vec<SourceFile> {
    let mut by_source: BTreeMap<&str, Vec<(&str, &PolicyObject)>> = BTreeMap::new();
    for (key, object) in objects {
        by_source.entry(&object.source).or_default().push((key, object));
    }
    let mut files = Vec::new();
    for (source, mut parts) in by_source {
        parts.sort_by_key(|(_, object)| object.line);
        let (mut text, mut line) = (String::new(), 1);
        for (key, object) in parts {
            // One that stayed as it last was may lie where another one is now.
            let marked = line == 1 || object.text.starts_with("---");
            if object.line < line || !marked {
                let path = format!("{FROM_HUB}{source} ({key}, as it last was)");
                files.push(SourceFile { path, text: object.text.clone() });
                continue;
            }
            let gap = object.line - line;
            text.extend(std::iter::repeat_n('\n', gap as usize));
            text.push_str(&object.text);
            if !text.ends_with('\n') {
                text.push('\n');
            }
            line = object.line + u32::try_from(object.text.lines().count()).unwrap_or(u32::MAX - object.line);
        }
        files.push(SourceFile { path: format!("{FROM_HUB}{source}"), text });
    }
    files
}

/// The hub's objects among those that something is wrong with.
pub(crate) fn rejected(problems: &[Problem]) -> Vec<proto::Rejected> {
    let ours = |problem: &&Problem| problem.is_error() && problem.file.starts_with(FROM_HUB);
    let rejected = problems.iter().filter(ours).take(MAX_REJECTED).map(|problem| proto::Rejected {
        object: problem.object.clone().unwrap_or_else(|| problem.file.clone()),
        reason: problem.to_string(),
    });
    rejected.collect()
}

/// Whether a problem says of an object that the hub's of the same name is in force.
pub(crate) fn is_from_hub(problem: &Problem) -> bool {
    problem.message.strip_prefix("the object is already in ").is_some_and(|it| it.starts_with(FROM_HUB))
}

/// Whether it says no more than that of an object of the Kubernetes API: agents mostly read the API that their hub reads, too.
pub(crate) fn is_handed_out(problem: &Problem) -> bool {
    is_from_hub(problem) && problem.file.starts_with("kubernetes: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(source: &str, line: u32, text: &str) -> PolicyObject {
        PolicyObject { source: source.to_owned(), line, text: text.to_owned() }
    }

    #[test]
    fn a_local_object_that_the_hub_has_too_is_told_from_one_that_is_there_twice() {
        let text = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: one}\nspec: {region: eu}\n";
        let of = |first: &str| {
            let file = |path: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
            let mut loader = tidegate_api::Loader::new("one".parse().unwrap());
            let problems = loader.load(&[file(first), file("z.yaml")]).problems;
            problems.iter().filter(|it| is_from_hub(it)).map(|it| it.file.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of("(hub) p.yaml"), ["z.yaml"]);
        assert_eq!(of("a.yaml"), [""; 0]);
    }

    #[test]
    fn objects_lie_on_their_own_lines_again() {
        let objects = Objects::from([
            ("A".to_owned(), object("p.yaml", 1, "kind: A\n")),
            ("C".to_owned(), object("p.yaml", 5, "---\nkind: C")),
            ("B".to_owned(), object("q.yaml", 3, "---\nkind: B\n")),
            ("D".to_owned(), object("p.yaml", 5, "---\nkind: D old\n")),
        ]);
        let files: Vec<(String, String)> = files(&objects).into_iter().map(|it| (it.path, it.text)).collect();
        let expected = [
            ("(hub) p.yaml (D, as it last was)", "---\nkind: D old\n"),
            ("(hub) p.yaml", "kind: A\n\n\n\n---\nkind: C\n"),
            ("(hub) q.yaml", "\n\n---\nkind: B\n"),
        ];
        assert_eq!(files, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert!(files.iter().all(|(path, _)| path.as_str() < "./manifests" && path.as_str() < "/etc/x"));
    }
}
