//! A Kubernetes API for `kubectl`: the one that `TIDEGATE_TEST_KUBECONFIG` names, or as much of one as these tests need, within the
//! test. What is in it is read and written by `kubectl` in both cases. That one may lack Deployments and NetworkPolicies: then they
//! are made as custom resources (of another group, as `apps` is no name for one).

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

const APPS: &str = "/apis/apps/v1";
const NETWORKING: &str = "/apis/networking.k8s.io/v1";
/// Of the kubeconfig within the test; not its current one, which leads nowhere.
const CONTEXT: &str = "test";

pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) context: String,
    pub(crate) namespace: String,
}

impl Cluster {
    /// With a Deployment `web` of so many replicas.
    pub(crate) fn start(replicas: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let named = env::var_os("TIDEGATE_TEST_KUBECONFIG").map(PathBuf::from);
        let is_real = named.is_some();
        let kubeconfig = named.unwrap_or_else(|| {
            let path = folder.path().join("kubeconfig");
            fs::write(&path, kubeconfig(stand_in())).unwrap();
            path
        });
        let id = folder.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let namespace = format!("shop-{}", id.trim_start_matches('.'));
        let mut cluster = Self { folder, kubeconfig, context: CONTEXT.to_owned(), namespace };
        let mut group = "apps/v1".to_owned();
        if is_real {
            cluster.context = cluster.current_context();
            group = cluster.prepare();
        }
        let pods = json!({ "metadata": { "labels": { "app": "web" } },
                           "spec": { "containers": [{ "name": "web", "image": "web" }] } });
        cluster.create(&json!({
            "apiVersion": group, "kind": "Deployment", "metadata": { "name": "web" },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": pods },
        }));
        cluster
    }

    fn current_context(&self) -> String {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).args(["config", "current-context"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
    }

    /// Makes what a bare API lacks, and says of which group a Deployment is.
    fn prepare(&self) -> String {
        let known = self.kubectl(&["api-resources", "--output=name"]);
        let mut definitions = Vec::new();
        if !known.lines().any(|it| it == "networkpolicies.networking.k8s.io") {
            definitions.push(definition("networking.k8s.io", "networkpolicies", "NetworkPolicy", &json!({})));
        }
        let builtin = known.lines().any(|it| it == "deployments.apps");
        if !builtin && !known.lines().any(|it| it == "deployments.apps.test.example") {
            let scale = json!({ "scale": { "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas" } });
            definitions.push(definition("apps.test.example", "deployments", "Deployment", &scale));
        }
        for definition in definitions {
            self.apply(&definition);
            let name = definition["metadata"]["name"].as_str().unwrap();
            self.kubectl(&["wait", "--for=condition=established", &format!("crd/{name}")]);
        }
        self.kubectl(&["create", "namespace", &self.namespace]);
        if builtin { "apps/v1".to_owned() } else { "apps.test.example/v1".to_owned() }
    }

    fn create(&self, object: &Value) {
        self.hand_over(&["create", "--validate=false", "--filename=-"], object);
    }

    /// Two tests may make the same.
    fn apply(&self, object: &Value) {
        self.hand_over(&["apply", "--server-side", "--force-conflicts", "--filename=-"], object);
    }

    fn hand_over(&self, words: &[&str], object: &Value) {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{words:?}");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.folder.path());
        command.arg(format!("--context={}", self.context));
        command.arg(format!("--namespace={}", self.namespace)).args(words);
        command
    }

    /// What it says; it must succeed.
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        let ran = self.command(words).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.kubectl(&["get", "deployment/web", "--output=jsonpath={.spec.replicas}"]).parse().unwrap()
    }

    /// As JSON.
    pub(crate) fn policies(&self) -> Vec<Value> {
        let list: Value =
            serde_json::from_str(&self.kubectl(&["get", "networkpolicies", "--output=json"])).unwrap();
        list["items"].as_array().unwrap().clone()
    }
}

fn definition(group: &str, plural: &str, kind: &str, more: &Value) -> Value {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let mut subresources = json!({ "status": {} });
    subresources.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}"),
                      "annotations": { "api-approved.kubernetes.io": "unapproved, for a test" } },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": open, "status": open } } },
                "subresources": subresources,
            }],
        },
    })
}

fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "elsewhere",
        "clusters": [{ "name": "it", "cluster": { "server": format!("http://{address}") } },
                     { "name": "elsewhere", "cluster": { "server": "http://127.0.0.1:1" } }],
        "users": [{ "name": "me", "user": {} }],
        "contexts": [{ "name": CONTEXT, "context": { "cluster": "it", "user": "me" } },
                     { "name": "elsewhere", "context": { "cluster": "elsewhere", "user": "me" } }],
    })
    .to_string()
}

/// Objects by their paths.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// Ends with the test's process.
fn stand_in() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let objects = Objects::default();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let objects = Arc::clone(&objects);
            thread::spawn(move || serve(&stream, &objects));
        }
    });
    address
}

/// Answers until the client leaves.
fn serve(mut stream: &TcpStream, objects: &Objects) {
    let mut from = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        for line in from.by_ref().lines().map_while(Result::ok) {
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let Some(first) = head.first() else { return };
        let mut words = first.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let length =
            head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        from.read_exact(&mut body).unwrap();
        let (status, answer) = answer(method, path, serde_json::from_slice(&body).ok(), objects);
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if stream.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(method: &str, path: &str, body: Option<Value>, objects: &Objects) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(found) = discovery(path) {
        return (200, found);
    }
    let mut objects = objects.lock().unwrap();
    let (item, is_scale) = path.strip_suffix("/scale").map_or((path, false), |item| (item, true));
    let missing = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                          "message": format!("{path} not found") });
    match (method, body) {
        ("POST", Some(mut object)) => {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            object["metadata"]["uid"] = name.clone().into();
            objects.insert(format!("{path}/{name}"), object.clone());
            (201, object)
        }
        ("PUT" | "PATCH", Some(wanted)) if is_scale => match objects.get_mut(item) {
            Some(object) => {
                // None is written as nothing.
                object["spec"]["replicas"] = wanted["spec"]["replicas"].as_u64().unwrap_or(0).into();
                (200, scale(object))
            }
            None => (404, missing),
        },
        ("DELETE", _) => match objects.remove(item) {
            Some(_) => (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" })),
            None => (404, missing),
        },
        ("GET", _) => match objects.get(item) {
            Some(object) if is_scale => (200, scale(object)),
            Some(object) => (200, object.clone()),
            None if path.ends_with('s') => (200, list(path, query, &objects)),
            None => (404, missing),
        },
        _ => (405, missing),
    }
}

fn scale(object: &Value) -> Value {
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": object["metadata"],
            "spec": { "replicas": object["spec"]["replicas"] }, "status": { "replicas": 0 } })
}

/// All of a kind, or the one that `fieldSelector=metadata.name=NAME` asks for.
fn list(path: &str, query: &str, objects: &BTreeMap<String, Value>) -> Value {
    let name = query.split('&').find_map(|it| it.strip_prefix("fieldSelector=metadata.name%3D"));
    let items = objects.iter().filter(|(at, _)| {
        at.strip_prefix(path)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| name.is_none_or(|name| name == rest))
    });
    let items: Vec<&Value> = items.map(|(_, object)| object).collect();
    json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items })
}

/// What there is, as far as these tests use it.
fn discovery(path: &str) -> Option<Value> {
    let resource = |name: &str, kind: &str| {
        json!({ "name": name, "singularName": kind.to_lowercase(), "namespaced": true, "kind": kind,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"] })
    };
    let resources = |group: &str, resources: Value| json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources });
    let group = |name: &str| {
        let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
        json!({ "name": name, "versions": [version], "preferredVersion": version })
    };
    match path {
        "/api" => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => Some(json!({ "kind": "APIGroupList", "apiVersion": "v1",
                                "groups": [group("apps"), group("networking.k8s.io")] })),
        "/api/v1" => Some(resources("v1", json!([]))),
        APPS => {
            let mut scale = resource("deployments/scale", "Scale");
            scale["group"] = "autoscaling".into();
            scale["version"] = "v1".into();
            Some(resources("apps/v1", json!([resource("deployments", "Deployment"), scale])))
        }
        NETWORKING => {
            Some(resources("networking.k8s.io/v1", json!([resource("networkpolicies", "NetworkPolicy")])))
        }
        _ => None,
    }
}
