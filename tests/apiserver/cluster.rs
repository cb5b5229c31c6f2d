//! The API server under test: a client, the definitions installed once, a namespace for each test, and kubectl.

use std::future::Future;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use rota::api::crds;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// How long the API server may take to serve a definition that it has accepted.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

const HOW_TO_RUN: &str = "ROTA_TEST_KUBECONFIG is not set. These tests need a real API server: \
    run them with `make test`, or with `target/debug/rota-cluster run --node none -- cargo test --test apiserver`";

/// The kubeconfig of the API server under test.
pub fn kubeconfig() -> String {
    std::env::var("ROTA_TEST_KUBECONFIG").unwrap_or_else(|_| panic!("{HOW_TO_RUN}"))
}

/// A client, and the kinds installed.
pub async fn client() -> Client {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let path = kubeconfig();
    let file = Kubeconfig::read_from(&path).unwrap_or_else(|error| panic!("{path} is no kubeconfig: {error}"));
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    INSTALLED.get_or_init(|| install(client.clone())).await;
    client
}

async fn install(client: Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let parameters = PatchParams::apply("rota-test/install").force();
    for (file, definition) in definitions() {
        let name = definition.name_any();
        api.patch(&name, &parameters, &Patch::Apply(definition))
            .await
            .unwrap_or_else(|error| panic!("the API server refuses {file}: {error}"));
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISHED_WITHIN, established)
            .await
            .unwrap_or_else(|_| panic!("{name} is not served after {ESTABLISHED_WITHIN:?}"))
            .unwrap();
    }
}

/// Runs a test in a namespace of its own, which is deleted however the test ends.
pub async fn in_namespace<Test, Running>(test: Test)
where
    Test: FnOnce(Scope) -> Running,
    Running: Future<Output = ()> + Send + 'static,
{
    let client = client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let wanted = json!({ "metadata": { "generateName": "apiserver-", "labels": { "rota.dev/test": "apiserver" } } });
    let made = namespaces.create(&PostParams::default(), &serde_json::from_value(wanted).unwrap()).await.unwrap();
    let namespace = made.name_any();
    let ended = tokio::spawn(test(Scope { client, namespace: namespace.clone() })).await;
    namespaces.delete(&namespace, &DeleteParams::background()).await.unwrap();
    if let Err(failed) = ended {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// A test's namespace, and the ways to reach it.
#[derive(Clone)]
pub struct Scope {
    pub client: Client,
    pub namespace: String,
}

impl Scope {
    /// The objects of one of our kinds, by its singular in CamelCase.
    pub fn objects(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// Creates an object with a generated name.
    pub async fn create(&self, kind: &str, content: &Value) -> kube::Result<DynamicObject> {
        self.objects(kind).create(&PostParams::default(), &object(kind, content)).await
    }

    /// Asks whether an object would be accepted, without creating it.
    pub async fn try_create(&self, kind: &str, content: &Value) -> Result<DynamicObject, Status> {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        refusal(self.objects(kind).create(&dry_run, &object(kind, content)).await)
    }

    /// Sets the status of an object as the operator does, through the subresource.
    pub async fn set_status(&self, kind: &str, name: &str, status: &Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.objects(kind).patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Asks whether a merge patch would be accepted, without applying it.
    pub async fn try_patch(&self, kind: &str, name: &str, patch: &Value) -> Result<DynamicObject, Status> {
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        refusal(self.objects(kind).patch(name, &dry_run, &Patch::Merge(patch)).await)
    }

    /// Asks whether an object could be replaced by this content, without doing it.
    pub async fn try_replace(
        &self,
        kind: &str,
        existing: &DynamicObject,
        new: &Value,
    ) -> Result<DynamicObject, Status> {
        let mut wanted = object(kind, new);
        wanted.metadata = existing.metadata.clone();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        refusal(self.objects(kind).replace(&existing.name_any(), &dry_run, &wanted).await)
    }

    /// Runs kubectl in the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Printed {
        kubectl(&[&["--namespace", &self.namespace], arguments].concat(), "")
    }

    /// Runs kubectl in the namespace with a manifest on its standard input.
    pub fn kubectl_with(&self, arguments: &[&str], manifest: &str) -> Printed {
        kubectl(&[&["--namespace", &self.namespace], arguments].concat(), manifest)
    }
}

/// The objects of a kind in a test's namespace.
pub fn api<K>(scope: &Scope) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(scope.client.clone(), &scope.namespace)
}

/// Creates an object of one of our kinds with that name.
pub async fn create(scope: &Scope, kind: &str, name: &str, spec: Value) {
    let mut object = object(kind, &json!({ "spec": spec }));
    object.metadata.generate_name = None;
    object.metadata.name = Some(name.into());
    scope.objects(kind).create(&PostParams::default(), &object).await.unwrap();
}

/// The API server's answer: the object, or the refusal. Anything else is a broken test.
#[allow(clippy::result_large_err)] // The caller looks into it right away.
fn refusal(answer: kube::Result<DynamicObject>) -> Result<DynamicObject, Status> {
    match answer {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(*status),
        Err(error) => panic!("the API server does not answer: {error}"),
    }
}

/// How one of our kinds is addressed.
fn resource(kind: &str) -> ApiResource {
    let definition = definition(kind);
    ApiResource {
        group: definition.spec.group.clone(),
        version: definition.spec.versions[0].name.clone(),
        api_version: format!("{}/{}", definition.spec.group, definition.spec.versions[0].name),
        kind: definition.spec.names.kind.clone(),
        plural: definition.spec.names.plural.clone(),
    }
}

/// The definition of one of our kinds.
pub fn definition(kind: &str) -> &'static CustomResourceDefinition {
    let mut all = definitions().iter().map(|(_, definition)| definition);
    all.find(|definition| definition.spec.names.kind == kind)
        .unwrap_or_else(|| panic!("{kind} is not one of our kinds"))
}

/// All definitions with their files. They take a while to make, so they are made once.
pub fn definitions() -> &'static [(&'static str, CustomResourceDefinition)] {
    static DEFINITIONS: LazyLock<Vec<(&'static str, CustomResourceDefinition)>> = LazyLock::new(crds::all);
    &DEFINITIONS
}

/// A whole object of a kind from its spec (and status), with a generated name.
pub fn object(kind: &str, content: &Value) -> DynamicObject {
    let mut whole =
        json!({ "apiVersion": rota::api::API_VERSION, "kind": kind, "metadata": { "generateName": "case-" } });
    for (key, value) in content.as_object().expect("content is a JSON object") {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

/// What a program printed, and whether it succeeded.
pub struct Printed {
    pub succeeded: bool,
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl Printed {
    /// Its standard output, when it succeeded.
    pub fn expect_success(self) -> String {
        assert!(self.succeeded, "kubectl failed: {}{}", self.output, self.errors);
        self.output
    }

    /// What it complained of, when it failed.
    pub fn expect_failure(self) -> String {
        assert!(!self.succeeded, "kubectl succeeded: {}", self.output);
        self.errors
    }
}

/// Runs kubectl with this text on its standard input.
pub fn kubectl(arguments: &[&str], input: &str) -> Printed {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig()).args(arguments);
    run(command, input)
}

/// Runs a verb of the plugin against the API server, with this text on its standard input.
pub fn plugin(verb: &str, arguments: &[&str], input: &str) -> Printed {
    run(plugin_command(&kubeconfig(), verb, arguments), input)
}

/// A verb of the plugin, to be run with that kubeconfig.
pub fn plugin_command(kubeconfig: &str, verb: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-rota"));
    command.arg(verb).arg("--kubeconfig").arg(kubeconfig).args(arguments);
    command
}

/// Runs a program with this text on its standard input.
pub fn run(mut command: Command, input: &str) -> Printed {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program is there: kubectl is in the PATH that rota-cluster gives");
    let mut pipe = child.stdin.take().expect("its standard input is a pipe");
    // A program that refuses its arguments ends before it has read everything, and is judged by its status.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    let output = child.wait_with_output().expect("the program ends");
    Printed {
        succeeded: output.status.success(),
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
