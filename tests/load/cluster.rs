//! The cluster under test: its kinds, namespaces, objects, and somebody who ends batch Jobs.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, Resource, ResourceExt};
use rota::api::crds;
use rota::domain::run::{BatchState, batch_outcome};
use rota::runtime::clock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::completed::completed;

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many requests are made at the same time.
const AT_ONCE: usize = 16;

/// The kubeconfig of the cluster under test.
pub fn kubeconfig() -> String {
    std::env::var("ROTA_TEST_KUBECONFIG").expect("ROTA_TEST_KUBECONFIG is not set: run these tests with `make test`")
}

/// A client, with the kinds installed.
pub async fn client() -> Client {
    let file = Kubeconfig::read_from(kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (_, definition) in crds::all() {
        let name = definition.name_any();
        let parameters = PatchParams::apply("rota-test/install").force();
        definitions.patch(&name, &parameters, &Patch::Apply(&definition)).await.unwrap();
        await_condition(definitions.clone(), &name, conditions::is_crd_established()).await.unwrap();
    }
    client
}

/// Makes a namespace whose name begins so.
pub async fn namespace(client: &Client, name: &str) -> String {
    let wanted = json!({ "metadata": { "generateName": format!("load-{name}-") } });
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(wanted).unwrap()).await.unwrap().name_any()
}

/// Creates objects of a kind, each with its name and specification, many at a time.
pub async fn create<K>(client: &Client, namespace: &str, objects: Vec<(String, Value)>)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let requests = objects.into_iter().map(|(name, spec)| {
        let api = api.clone();
        async move {
            let object = json!({
                "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name }, "spec": spec,
            });
            api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        }
    });
    stream::iter(requests).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Changes an object by a merge patch.
pub async fn patch<K>(client: &Client, namespace: &str, name: &str, patch: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// A template whose batch Jobs nobody runs.
pub fn template(fields: &Value) -> Value {
    let mut spec = json!({
        "jobType": "load",
        "ttlSecondsAfterFinished": 0,
        "jobTemplate": { "spec": {
            "managedBy": "rota.dev/test",
            "template": { "spec": {
                "restartPolicy": "Never",
                "containers": [{ "name": "main", "image": "busybox", "command": ["true"] }],
            } },
        } },
    });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

/// Ends batch Jobs that have existed for a moment, a few at each look, until this is dropped.
pub struct Worker(JoinHandle<()>);

impl Worker {
    /// Ends at most so many at each look.
    pub fn start(client: &Client, namespaces: Vec<String>, at_once: usize) -> Self {
        let client = client.clone();
        Self(tokio::spawn(async move {
            loop {
                for namespace in &namespaces {
                    end_some(&client, namespace, at_once).await;
                }
                tokio::time::sleep(LOOK_EVERY / 4).await;
            }
        }))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn end_some(client: &Client, namespace: &str, at_once: usize) {
    let api: Api<BatchJob> = Api::namespaced(client.clone(), namespace);
    let found = api.list(&ListParams::default()).await.unwrap().items;
    let open: Vec<String> = found
        .iter()
        .filter(|it| batch_outcome(it) == BatchState::Active)
        .map(ResourceExt::name_any)
        .take(at_once)
        .collect();
    let requests = open.into_iter().map(|name| {
        let api = api.clone();
        async move {
            let patch = Patch::Merge(completed(clock::now()));
            match api.patch_status(&name, &PatchParams::default(), &patch).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => panic!("{name} cannot be completed: {error}"),
            }
        }
    });
    stream::iter(requests).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look).await
}

/// Waits until `look` finds something, for that long at the most.
pub async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain until {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Numbers that look random, and are the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    /// One with the seed that is asked for, else one that nobody has tried.
    pub fn thrown() -> Self {
        let given = std::env::var("ROTA_TEST_SEED").ok().map(|seed| seed.parse().expect("ROTA_TEST_SEED is a number"));
        let seed = given.unwrap_or_else(|| clock::now().as_millisecond().unsigned_abs());
        println!("ROTA_TEST_SEED={seed}");
        Self(seed)
    }

    /// One of two.
    pub fn one_of(&mut self, words: [&'static str; 2]) -> &'static str {
        words[usize::from(self.roll(2) == 1)]
    }

    /// A number below that.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }
}
