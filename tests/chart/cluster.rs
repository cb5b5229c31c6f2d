//! kubectl and helm as a user types them, on the cluster under test.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const HOW_TO_RUN: &str =
    "is not set. This test needs a cluster with real pods and the operator's static binary: run it with `make test`";
/// How long anything may take: many pods share few cores.
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The cluster under test.
pub struct Cluster;

/// One namespace of it.
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} {HOW_TO_RUN}"))
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.unwrap_or_default().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?} failed:\n{said}\n{complaint}");
    said
}

impl Cluster {
    /// The cluster that `rota-cluster run` started this test on.
    pub fn from_environment() -> Self {
        variable("ROTA_TEST_KUBECONFIG");
        assert_eq!(variable("ROTA_CLUSTER_NODE"), "real", "this test needs real pods");
        Self
    }

    /// Makes an image of the operator's static binary and puts it on the node.
    pub fn import_operator_image(&self, name: &str) {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/debug/rota-cluster");
        let binary = variable("ROTA_TEST_BINARY");
        run(program, &["image", "--tag", name, "--binary", &binary, "--entrypoint", "/rota"], None);
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        run("kubectl", arguments, None)
    }

    /// Runs helm.
    pub fn helm(&self, arguments: &[&str]) -> String {
        run("helm", arguments, None)
    }

    /// Gets objects as JSON.
    pub fn get(&self, namespace: Option<&str>, what: &[&str]) -> Value {
        let mut arguments = vec!["get", "-o", "json"];
        arguments.extend(namespace.iter().flat_map(|name| ["--namespace", *name]));
        arguments.extend(what);
        serde_json::from_str(&self.kubectl(&arguments)).unwrap()
    }

    /// Applies an object.
    pub fn apply(&self, object: &Value) {
        run("kubectl", &["apply", "-f", "-"], Some(&object.to_string()));
    }

    /// Whether somebody may do something, in all namespaces.
    pub fn may(&self, who: &str, verb: &str, resource: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, if resource == "*" { "*" } else { "" }));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": who, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": "default",
            }},
        });
        let said = run("kubectl", &["create", "-o", "json", "-f", "-"], Some(&review.to_string()));
        serde_json::from_str::<Value>(&said).unwrap()["status"]["allowed"] == json!(true)
    }

    /// Creates a namespace, with the restricted Pod Security profile if asked.
    pub fn namespace(&self, name: &str, restricted: bool) -> Namespace<'_> {
        let profile = if restricted { "restricted" } else { "privileged" };
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": profile } },
        }));
        Namespace { cluster: self, name: name.into() }
    }

    /// Where the API server is.
    pub fn server(&self) -> SocketAddr {
        let server = self.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
        server.trim_start_matches("https://").parse().unwrap_or_else(|error| panic!("{server}: {error}"))
    }
}

impl Namespace<'_> {
    /// Runs kubectl in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["--namespace", self.name.as_str()];
        all.extend(arguments);
        self.cluster.kubectl(&all)
    }

    /// Gets objects of this namespace as JSON.
    pub fn get(&self, what: &[&str]) -> Value {
        self.cluster.get(Some(&self.name), what)
    }

    /// Applies an object in this namespace.
    pub fn apply(&self, object: &Value) {
        run("kubectl", &["--namespace", &self.name, "apply", "-f", "-"], Some(&object.to_string()));
    }

    /// Waits for a condition as `kubectl wait` knows it.
    pub fn wait(&self, condition: &str, object: &str) {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", &format!("--for={condition}"), &timeout, object]);
    }

    /// Looks again and again until something is so.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.kubectl(&["get", "rota", "-o", "wide"]));
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The records of a Job.
    pub fn runs_of(&self, job: &str) -> Vec<Value> {
        let all = self.get(&["rrun"]);
        let of_job = |run: &&Value| run["spec"]["jobRef"]["name"] == json!(job);
        all["items"].as_array().unwrap().iter().filter(of_job).cloned().collect()
    }

    /// The record of a Job that has exactly one.
    pub fn only_run_of(&self, job: &str) -> Value {
        let runs = self.runs_of(job);
        assert_eq!(runs.len(), 1, "records of {job}: {runs:?}");
        runs[0].clone()
    }
}
