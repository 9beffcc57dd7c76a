//! From files to policy: which objects there are, which of them are good, and which version of each is handed out.
//!
//! Rules, the same as those by which an agent reads its own folder: an object with a mistake stays as it last was good, and
//! one that never was is left out; a file that cannot be read keeps all that it had, and so does one with a document of which
//! kind or name cannot be told. An object travels as the text of its document, with the line that it begins at, so that
//! whatever a cluster says of it names the place where its author finds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};
use tidegate_api::{Listed, Loader, Problem, Severity, SourceFile, inventory};
use tidegate_discovery::kube::FleetObject;
use tidegate_link::hub::{MAX_OBJECTS, MAX_POLICY_BYTES, Objects, PolicyObject};
use tidegate_model::ClusterName;

/// What the source holds at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    /// Files by their path below the source.
    pub(crate) files: Vec<SourceFile>,
    /// What is wrong in finding and reading them.
    pub(crate) problems: Vec<Problem>,
    /// The commit, where there is one.
    pub(crate) commit: Option<String>,
    /// The objects of an API, of which the files are the texts: each of its own.
    pub(crate) objects: Vec<Arc<FleetObject>>,
}

/// What is to be handed out, and what is wrong with the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) objects: Objects,
    pub(crate) problems: Vec<Problem>,
}

/// What was read of files the last time, so that a change of one costs no look into the others.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    files: BTreeMap<String, Content>,
    /// For the cluster that it stands in.
    loader: Option<(ClusterName, Loader)>,
}

/// A file as it was read.
#[derive(Debug)]
struct Content {
    text: String,
    /// None if not all of its objects can be told.
    listed: Option<Vec<Listed>>,
}

impl Reader {
    /// Reads what is new.
    fn read(&mut self, files: &[SourceFile]) {
        let there: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        self.files.retain(|path, _| there.contains(path.as_str()));
        for file in files {
            if self.files.get(&file.path).is_none_or(|content| content.text != file.text) {
                let content = Content { text: file.text.clone(), listed: inventory(file).ok() };
                self.files.insert(file.path.clone(), content);
            }
        }
    }

    /// What is wrong with all of them together, as an agent would say it. What only a cluster can know (is there such a
    /// service?) is a warning there, and not told here.
    fn judge(&mut self, files: &[SourceFile]) -> Vec<Problem> {
        let listed = || self.files.values().filter_map(|content| content.listed.as_ref()).flatten();
        let cluster = listed().find_map(|it| it.object.as_ref()?.strip_prefix("FleetCluster ")?.parse().ok());
        // Without a cluster there is nothing to stand in; the name is never shown.
        let Some(cluster) = cluster.or_else(|| "none".parse().ok()) else { return Vec::new() };
        let loader = match self.loader.take() {
            Some((of, loader)) if of == cluster => loader,
            _ => Loader::new(cluster.clone()),
        };
        let (_, loader) = self.loader.insert((cluster, loader));
        let mut problems = loader.load(files).problems;
        // Keys are never handed out, so the certificates of a fleet's gateways are in each cluster.
        let is_elsewhere = |problem: &Problem| problem.message.starts_with("there is no Secret ");
        problems.retain(|it| it.is_error() && !it.file.is_empty() && !is_elsewhere(it));
        problems
    }
}

/// Decides which version of each object is handed out; `previous` is what was so far.
pub(crate) fn choose(reader: &mut Reader, read: &Read, previous: &Objects) -> Chosen {
    reader.read(&read.files);
    let mut judged = reader.judge(&read.files);
    judged.extend(read.problems.iter().cloned());
    let wrong = Wrong::of(&judged);
    let mut problems = judged.clone();
    let mut objects = Objects::new();
    let mut told = BTreeSet::new();
    // Files of which not all objects can be told.
    let mut obscure: BTreeSet<&str> = BTreeSet::new();
    obscure.extend(read.problems.iter().filter(|it| it.is_error()).map(|it| it.file.as_str()));
    for file in &read.files {
        let listed = reader.files.get(&file.path).and_then(|content| content.listed.as_ref());
        let Some(listed) = listed else {
            obscure.insert(&file.path);
            continue;
        };
        let chunks = split(&file.text);
        for (at, object) in listed.iter().enumerate() {
            let Some(key) = &object.object else {
                obscure.insert(&file.path);
                continue;
            };
            if !object.policy {
                problems.push(elsewhere(file, object));
                continue;
            }
            let chunk = chunks.iter().rfind(|chunk| chunk.line <= object.line);
            let Some(chunk) = chunk else { continue };
            if !told.insert(key.clone()) {
                continue;
            }
            let shared = listed.iter().enumerate().any(|(other, it)| other != at && chunk.holds(it.line));
            if shared {
                problems.push(in_a_list(file, object));
            }
            let text = chunk.text.to_owned();
            let new = PolicyObject { source: file.path.clone(), line: chunk.line, text };
            let good = !shared && !wrong.touches(&file.path, key, chunk);
            let kept = if good { Some(new) } else { previous.get(key).cloned() };
            objects.extend(kept.map(|object| (key.clone(), object)));
        }
    }
    for (key, object) in previous {
        if !told.contains(key) && obscure.contains(object.source.as_str()) {
            objects.insert(key.clone(), object.clone());
        }
    }
    problems.sort_by(|a, b| {
        (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
    });
    problems.dedup();
    within_limits(objects, previous, problems)
}

/// What cannot be handed out as a whole is not handed out at all.
fn within_limits(objects: Objects, previous: &Objects, mut problems: Vec<Problem>) -> Chosen {
    let bytes: usize = objects.values().map(|object| object.text.len()).sum();
    if objects.len() <= MAX_OBJECTS && bytes <= MAX_POLICY_BYTES {
        return Chosen { objects, problems };
    }
    let message = format!("there are {} objects with {bytes} bytes of policy", objects.len());
    let hint = format!(
        "at most {MAX_OBJECTS} with {MAX_POLICY_BYTES} bytes are handed out; the policy stays as it was"
    );
    problems.push(Problem::of_file("", message, hint));
    Chosen { objects: previous.clone(), problems }
}

fn elsewhere(file: &SourceFile, object: &Listed) -> Problem {
    let message = "is left out: the hub hands out policy only";
    let hint = "services, endpoints, routes and secrets belong to the manifests of their own cluster, and so does a Gateway without the annotation tidegate.dev/scope: Fleet";
    placed(Severity::Warning, file, object, message, hint)
}

fn in_a_list(file: &SourceFile, object: &Listed) -> Problem {
    let hint = "write each object as a document of its own, with --- between them";
    placed(Severity::Error, file, object, "shares its document with other objects", hint)
}

fn placed(severity: Severity, file: &SourceFile, object: &Listed, message: &str, hint: &str) -> Problem {
    let problem = Problem::of_file(&file.path, message, hint);
    Problem { severity, line: object.line, column: 1, object: object.object.clone(), ..problem }
}

/// Where the mistakes are.
struct Wrong<'p> {
    /// Files that are wrong as a whole.
    files: BTreeSet<&'p str>,
    lines: BTreeMap<&'p str, BTreeSet<u32>>,
    /// Objects of which no line is known.
    objects: BTreeSet<(&'p str, &'p str)>,
}

impl<'p> Wrong<'p> {
    fn of(problems: &'p [Problem]) -> Self {
        let mut wrong = Self { files: BTreeSet::new(), lines: BTreeMap::new(), objects: BTreeSet::new() };
        for problem in problems.iter().filter(|problem| problem.is_error()) {
            let file = problem.file.as_str();
            match (problem.line, &problem.object) {
                (0, None) => drop(wrong.files.insert(file)),
                (0, Some(object)) => drop(wrong.objects.insert((file, object))),
                (line, _) => drop(wrong.lines.entry(file).or_default().insert(line)),
            }
        }
        wrong
    }

    fn touches(&self, file: &str, key: &str, chunk: &Chunk<'_>) -> bool {
        let line =
            self.lines.get(file).is_some_and(|lines| lines.range(chunk.line..chunk.end).next().is_some());
        line || self.files.contains(file) || self.objects.contains(&(file, key))
    }
}

/// A document of a file.
#[derive(Debug, PartialEq, Eq)]
struct Chunk<'t> {
    /// The line that it begins at, from 1.
    line: u32,
    /// The line after it.
    end: u32,
    text: &'t str,
}

impl Chunk<'_> {
    fn holds(&self, line: u32) -> bool {
        (self.line..self.end).contains(&line)
    }
}

/// Cuts a file at its document markers, which belong to what follows. YAML allows them nowhere else at the start of a line.
fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut first, mut at, mut line) = (0, 1, 0, 1);
    for content in text.split_inclusive('\n') {
        let rest = content.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) && at > start {
            chunks.push(Chunk { line: first, end: line, text: &text[start..at] });
            (start, first) = (at, line);
        }
        at += content.len();
        line += 1;
    }
    chunks.push(Chunk { line: first, end: line.max(first + 1), text: &text[start..] });
    chunks
}

/// Paths below the source's root, so that a name says the same wherever the hub keeps its copy.
pub(crate) fn below(
    root: &Path,
    files: Vec<SourceFile>,
    problems: Vec<Problem>,
) -> (Vec<SourceFile>, Vec<Problem>) {
    let short = |path: String| match Path::new(&path).strip_prefix(root) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.to_string_lossy().into_owned(),
        _ => path,
    };
    let files = files.into_iter().map(|file| SourceFile { path: short(file.path), text: file.text });
    let problems = problems.into_iter().map(|problem| Problem { file: short(problem.file), ..problem });
    (files.collect(), problems.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(read: &Read, previous: &Objects) -> Chosen {
        let fresh = super::choose(&mut Reader::default(), read, previous);
        // One that has read something else before decides the same.
        let mut reader = Reader::default();
        let other = SourceFile { path: "other.yaml".to_owned(), text: CLUSTERS.to_owned() };
        super::choose(&mut reader, &Read { files: vec![other], ..Read::default() }, previous);
        assert_eq!(super::choose(&mut reader, read, previous), fresh);
        assert_eq!(super::choose(&mut reader, read, previous), fresh);
        fresh
    }

    const CLUSTERS: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: eu-west}
spec: {region: eu}
";

    fn policy(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  targetRefs: [{{kind: Service, name: {name}}}]\n{spec}"
        )
    }

    fn read(files: &[(&str, &str)]) -> Read {
        let file =
            |(path, text): &(&str, &str)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() };
        Read { files: files.iter().map(file).collect(), ..Read::default() }
    }

    fn keys(objects: &Objects) -> Vec<&str> {
        objects.keys().map(String::as_str).collect()
    }

    #[test]
    fn each_object_travels_as_its_own_document_with_its_line() {
        let chosen = choose(&read(&[("fleet/clusters.yaml", CLUSTERS)]), &Objects::new());
        assert_eq!(chosen.problems, []);
        assert_eq!(keys(&chosen.objects), ["FleetCluster eu-west", "FleetCluster us-east"]);
        let eu = &chosen.objects["FleetCluster eu-west"];
        assert_eq!((eu.line, eu.source.as_str()), (5, "fleet/clusters.yaml"));
        assert!(eu.text.starts_with("---\napiVersion") && eu.text.ends_with("{region: eu}\n"), "{}", eu.text);
        assert!(!chosen.objects["FleetCluster us-east"].text.contains("eu-west"));
    }

    #[test]
    fn a_bad_object_stays_as_it_was_and_the_others_go_out() {
        let good = [policy("a", ""), policy("b", "  failback: {holdDown: 10s}\n")].join("---\n");
        let first = choose(&read(&[("p.yaml", &good), ("c.yaml", CLUSTERS)]), &Objects::new());
        assert_eq!(first.problems, []);
        let edited = good.replace("holdDown: 10s", "holdDwon: 20s").replace("name: a}]", "name: other}]");
        let second = choose(&read(&[("p.yaml", &edited), ("c.yaml", CLUSTERS)]), &first.objects);
        let [problem] = &second.problems[..] else { panic!("{:?}", second.problems) };
        assert_eq!(
            (problem.file.as_str(), problem.object.as_deref()),
            ("p.yaml", Some("FailoverPolicy shop/b"))
        );
        assert_eq!(second.objects["FailoverPolicy shop/b"], first.objects["FailoverPolicy shop/b"]);
        assert!(second.objects["FailoverPolicy shop/a"].text.contains("name: other"));
        // One that never was good is left out.
        let fresh = choose(&read(&[("p.yaml", &edited)]), &Objects::new());
        assert_eq!(keys(&fresh.objects), ["FailoverPolicy shop/a"]);
        // One that is gone is gone.
        let gone = choose(&read(&[("c.yaml", CLUSTERS)]), &second.objects);
        assert_eq!(keys(&gone.objects), ["FleetCluster eu-west", "FleetCluster us-east"]);
    }

    #[test]
    fn what_cannot_be_read_keeps_what_it_had() {
        let good = [policy("a", ""), policy("b", "")].join("---\n");
        let first = choose(&read(&[("p.yaml", &good)]), &Objects::new());
        let kept = |text: &str| {
            let chosen = choose(&read(&[("p.yaml", text)]), &first.objects);
            assert!(!chosen.problems.is_empty(), "{text}");
            keys(&chosen.objects).join(", ")
        };
        let both = "FailoverPolicy shop/a, FailoverPolicy shop/b";
        assert_eq!(kept("kind: [FailoverPolicy\n"), both);
        assert_eq!(kept(&good.replacen("kind: FailoverPolicy", "kind: FailoverPolcy", 1)), both);
        assert_eq!(kept(&good.replacen("metadata: {name: a,", "metadata: {nmae: a,", 1)), both);
        let unreadable = Read {
            problems: vec![Problem::of_file("p.yaml", "cannot be read", "check it")],
            ..Read::default()
        };
        assert_eq!(choose(&unreadable, &first.objects).objects, first.objects);
    }

    #[test]
    fn twins_conflicts_lists_and_what_belongs_to_a_cluster_are_told() {
        let twin = policy("a", "");
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: tidegate.dev/v1alpha1\n  kind: FleetCluster\n  \
                    metadata: {name: x}\n  spec: {region: r}\n- apiVersion: tidegate.dev/v1alpha1\n  kind: FleetCluster\n  \
                    metadata: {name: y}\n  spec: {region: r}\n";
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";
        let files = [("a.yaml", twin.as_str()), ("b.yaml", &twin), ("l.yaml", list), ("s.yaml", service)];
        let chosen = choose(&read(&files), &Objects::new());
        assert_eq!(keys(&chosen.objects), ["FailoverPolicy shop/a"]);
        assert_eq!(chosen.objects["FailoverPolicy shop/a"].source, "a.yaml");
        let told: Vec<String> = chosen.problems.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        for text in [
            "b.yaml:1:1: FailoverPolicy shop/a: the object is already in a.yaml:1",
            "FleetCluster x: shares its document",
            "FleetCluster y: shares its document",
            "s.yaml:1:1: warning: Service default/web: is left out: the hub hands out policy only",
        ] {
            assert!(told.contains(text), "{text} is not in\n{told}");
        }
    }

    #[test]
    fn templates_classes_and_gateways_of_the_fleet_go_out_and_keys_never_do() {
        let gateway = |name: &str, scope: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: shop, annotations: \
                 {{tidegate.dev/scope: {scope}}}}}\nspec:\n  gatewayClassName: tidegate-edge\n  listeners: [{{name: https, port: \
                 {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: shop}}]}}}}]\n",
                port = 443 + name.len()
            )
        };
        let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: tidegate-edge}\nspec: \
                     {controllerName: tidegate.dev/gateways}\n";
        let template = "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayTemplate\nmetadata: {name: t, namespace: shop}\nspec: \
                        {concurrency: 2}\n";
        let secret = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: key, namespace: \
                      shop}\nstringData: {tls.crt: x, tls.key: SECRETSECRET}\n";
        let (fleet, own) = (gateway("all", "Fleet"), gateway("mine", "Cluster"));
        let files = [
            ("a.yaml", fleet.as_str()),
            ("b.yaml", &own),
            ("c.yaml", class),
            ("d.yaml", template),
            ("e.yaml", secret),
        ];
        let chosen = choose(&read(&files), &Objects::new());
        let out = ["Gateway shop/all", "GatewayClass tidegate-edge", "GatewayTemplate shop/t"];
        assert_eq!(keys(&chosen.objects), out, "{:?}", chosen.problems);
        let told = chosen.problems.iter().map(|it| format!("{it}\n")).collect::<String>();
        assert!(
            told.contains("Gateway shop/mine: is left out") && told.contains("Secret shop/key: is left out"),
            "{told}"
        );
        assert!(!told.contains("SECRETSECRET") && !format!("{chosen:?}").contains("SECRETSECRET"));
        // One that becomes wrong stays as it was.
        let broken = fleet.replace("port: 446", "port: nonsense");
        let after = choose(&read(&[("a.yaml", &broken)]), &chosen.objects);
        assert_eq!(after.objects["Gateway shop/all"], chosen.objects["Gateway shop/all"]);
    }

    #[test]
    fn files_are_cut_at_markers_only() {
        let cut = |text| split(text).iter().map(|it| (it.line, it.end, it.text)).collect::<Vec<_>>();
        assert_eq!(cut(""), [(1, 2, "")]);
        assert_eq!(cut("a\n"), [(1, 2, "a\n")]);
        assert_eq!(cut("--- # one\na\n---\nb"), [(1, 3, "--- # one\na\n"), (3, 5, "---\nb")]);
        assert_eq!(cut("a: |\n  ---\n----\n---x\n"), [(1, 5, "a: |\n  ---\n----\n---x\n")]);
    }
}
