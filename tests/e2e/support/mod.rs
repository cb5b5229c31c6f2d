//! A world for each test: a namespace of its own on a real cluster, with an operator process that sees only it.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, Resource, ResourceExt};
use rota::api::labels::JOB_UID;
use rota::api::{Job, JobRun, crds};
use rota::runtime::lease::LEASE_NAME;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock};
use tokio::time::Instant;

pub mod dump;
pub mod history;
pub mod make;
pub mod occurrences;
pub mod operator;
pub mod wall_clock;
pub mod work;

use operator::{Operator, Start};
use wall_clock::WallClock;

/// How long a condition may take to come true unless the test says otherwise: pods of many tests share two cores.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a definition may take to be served.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);
/// How long a namespace may take to go, with all that is in it.
const GONE_WITHIN: Duration = Duration::from_secs(90);

const HOW_TO_RUN: &str = "ROTA_TEST_KUBECONFIG is not set. These tests need a real cluster with real pods: run them with \
    `make test`, or with `target/debug/rota-cluster run --node real -- cargo test --test e2e -- --test-threads=3`";

/// The kubeconfig of the cluster under test.
pub fn kubeconfig() -> PathBuf {
    PathBuf::from(std::env::var_os("ROTA_TEST_KUBECONFIG").unwrap_or_else(|| panic!("{HOW_TO_RUN}")))
}

/// A client of the cluster under test, as its administrator.
pub async fn client() -> Client {
    let path = kubeconfig();
    let file = Kubeconfig::read_from(&path).unwrap_or_else(|error| panic!("{path:?} is no kubeconfig: {error}"));
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Installs CRDs, as an administrator's server-side apply does: those of this build, unless others are given.
pub async fn install_kinds(client: Client, others: Option<Vec<CustomResourceDefinition>>) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let parameters = PatchParams::apply("rota-test/install").force();
    let of_this_build = || crds::all().into_iter().map(|(_, definition)| definition).collect();
    for definition in others.unwrap_or_else(of_this_build) {
        let name = definition.name_any();
        let applied = api.patch(&name, &parameters, &Patch::Apply(&definition)).await;
        applied.unwrap_or_else(|error| panic!("the API server refuses {name}: {error}"));
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        let within = tokio::time::timeout(ESTABLISHED_WITHIN, established).await;
        within.unwrap_or_else(|_| panic!("{name} is not served after {ESTABLISHED_WITHIN:?}")).unwrap();
    }
}

/// Held alone by a test whose operator sees the whole cluster: the operator of another test would see the same Jobs.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// Runs a test in a world of its own. When it fails, what is in the namespace and what the operator said is printed. The
/// namespace has to go afterwards while the operator runs: nothing that Rota left may hold it.
pub async fn in_world(name: &str, test: impl AsyncFnOnce(&World)) {
    in_world_at(name, None, None, test).await;
}

/// The same with an operator of another build.
pub async fn in_world_of(name: &str, program: PathBuf, test: impl AsyncFnOnce(&World)) {
    in_world_at(name, None, Some(program), test).await;
}

/// The same with an operator whose wall clock can be set; at first it is so far ahead of the machine's, or behind it.
pub async fn in_world_with_clock(name: &str, ahead: SignedDuration, test: impl AsyncFnOnce(&World)) {
    in_world_at(name, Some(ahead), None, test).await;
}

async fn in_world_at(
    name: &str,
    ahead: Option<SignedDuration>,
    program: Option<PathBuf>,
    test: impl AsyncFnOnce(&World),
) {
    let _shared = CLUSTER.read().await;
    let client = client_with_kinds().await;
    let namespace = new_namespace(&client, name).await;
    let operator = Arc::new(Mutex::new(operator_in(&namespace, "e2e", ahead, None, program)));
    let worlds = [World { client, namespace, operator }];
    run(&worlds, async |worlds: &[World; 1]| test(&worlds[0]).await).await;
}

/// Runs a test alone, in namespaces of its own with one operator, which sees the whole cluster and runs at most so many Jobs
/// in it.
pub async fn in_whole_cluster<const N: usize>(names: [&str; N], most: u32, test: impl AsyncFnOnce(&[World; N])) {
    let _alone = CLUSTER.write().await;
    let client = client_with_kinds().await;
    let mut namespaces = Vec::new();
    for name in names {
        namespaces.push(new_namespace(&client, name).await);
    }
    let operator = Arc::new(Mutex::new(operator_in(&namespaces[0], "e2e", None, Some(most), None)));
    let world = |namespace| World { client: client.clone(), namespace, operator: operator.clone() };
    let worlds = namespaces.into_iter().map(world).collect::<Vec<_>>().try_into();
    run(&worlds.unwrap_or_else(|_| panic!("a world for each name")), test).await;
}

async fn client_with_kinds() -> Client {
    static KINDS: OnceCell<()> = OnceCell::const_new();
    let client = client().await;
    KINDS.get_or_init(|| install_kinds(client.clone(), None)).await;
    client
}

/// Runs a test in worlds that have one operator.
async fn run<const N: usize>(worlds: &[World; N], test: impl AsyncFnOnce(&[World; N])) {
    let outcome = AssertUnwindSafe(test(worlds)).catch_unwind().await;
    if outcome.is_err() {
        for world in worlds {
            dump::print(&world.client, &world.namespace).await;
        }
        worlds[0].operator().print_log();
    }
    // The lease is in the first.
    let mut gone = Ok(());
    for world in worlds.iter().rev() {
        gone = gone.and(AssertUnwindSafe(world.end()).catch_unwind().await);
    }
    worlds[0].operator().kill();
    if outcome.is_ok() && gone.is_ok() {
        worlds[0].operator().remove_log();
    }
    outcome.and(gone).unwrap_or_else(|panic| resume_unwind(panic));
}

async fn new_namespace(client: &Client, name: &str) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = json!({ "generateName": format!("e2e-{name}-"), "labels": { "rota.dev/test": "e2e" } });
    let wanted = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
    namespaces.create(&PostParams::default(), &wanted).await.unwrap().name_any()
}

fn operator_in(
    namespace: &str,
    identity: &'static str,
    ahead: Option<SignedDuration>,
    in_all: Option<u32>,
    program: Option<PathBuf>,
) -> Operator {
    let file = |kind: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{namespace}-{identity}.{kind}"));
    Operator::start(Start {
        program,
        kubeconfig: kubeconfig(),
        namespace: namespace.to_owned(),
        in_all,
        identity,
        log: file("log"),
        clock: ahead.map(|ahead| WallClock::new(file("clock"), ahead)),
    })
}

/// A namespace with an operator that sees only it, or with others the whole cluster.
pub struct World {
    /// A client with the rights of an administrator.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    operator: Arc<Mutex<Operator>>,
}

impl World {
    /// Starts another replica, whose wall clock is so far ahead of the machine's, or behind it.
    pub fn replica(&self, identity: &'static str, ahead: SignedDuration) -> Operator {
        operator_in(&self.namespace, identity, Some(ahead), None, None)
    }

    /// Deletes the namespace and waits until it is gone, with the operator still at work: the lease, which is there too, is
    /// kept until all else that Rota holds is gone, so that the operator leads for as long as that takes.
    async fn end(&self) {
        if !self.operator().is_running() {
            self.operator().restart();
        }
        self.hold_lease(true).await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await.unwrap();
        let let_go = async || {
            let held = [self.held::<Job>().await, self.held::<ControllerRevision>().await].concat();
            held.is_empty().then_some(())
        };
        self.within(GONE_WITHIN, "Rota holds nothing", let_go).await;
        self.hold_lease(false).await;
        let gone = async || namespaces.get_opt(&self.namespace).await.unwrap().is_none().then_some(());
        self.within(GONE_WITHIN, "the namespace is gone", gone).await;
    }

    /// Keeps the lease from being deleted, or lets it go.
    async fn hold_lease(&self, held: bool) {
        let finalizers = if held { json!(["rota.dev/test"]) } else { json!(null) };
        if self.api::<Lease>().get_opt(LEASE_NAME).await.unwrap().is_some() {
            self.patch::<Lease>(LEASE_NAME, json!({ "metadata": { "finalizers": finalizers } })).await;
        }
    }

    /// The names of the objects of a kind that a finalizer of Rota's holds.
    async fn held<K>(&self) -> Vec<String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let is_held = |object: &K| object.finalizers().iter().any(|it| it.starts_with("rota.dev/"));
        self.all::<K>().await.iter().filter(|it| is_held(it)).map(ResourceExt::name_any).collect()
    }

    /// The operator process.
    pub fn operator(&self) -> MutexGuard<'_, Operator> {
        self.operator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object from its name and specification.
    pub async fn create<K>(&self, name: &str, spec: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + serde::Serialize
            + Clone
            + Debug,
    {
        self.create_whole(json!({ "metadata": { "name": name }, "spec": spec })).await
    }

    /// Creates an object from all of it but its kind.
    pub async fn create_whole<K>(&self, mut object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + serde::Serialize
            + Clone
            + Debug,
    {
        object["apiVersion"] = K::api_version(&()).into();
        object["kind"] = K::kind(&()).into();
        let typed: K = serde_json::from_value(object).unwrap();
        let made = self.api().create(&PostParams::default(), &typed).await;
        made.unwrap_or_else(|error| panic!("{} {} was refused: {error}", K::kind(&()), typed.name_any()))
    }

    /// Changes an object by a merge patch.
    pub async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let patched = self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.unwrap_or_else(|error| panic!("the patch of {} {name} was refused: {error}", K::kind(&())));
    }

    /// Asks for an object's deletion.
    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        self.api::<K>().delete(name, &DeleteParams::background()).await.unwrap();
    }

    /// All objects of a kind.
    pub async fn all<K>(&self) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        self.api::<K>().list(&ListParams::default()).await.unwrap().items
    }

    /// Waits until `look` finds something.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
        self.within(PATIENCE, what, look).await
    }

    /// Waits until `look` finds something, for that long at the most.
    pub async fn within<T>(&self, patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "waited {patience:?} in vain until {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until an object is as it should be.
    pub async fn until_object<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let api = self.api::<K>();
        let what = format!("{} {name} {what}", K::kind(&()));
        self.until(&what, async || api.get_opt(name).await.unwrap().filter(&is)).await
    }

    /// Waits until a Job has ended.
    pub async fn ended(&self, name: &str) -> Job {
        let has_ended = |job: &Job| job.status.as_ref().and_then(|it| it.phase).is_some_and(|it| it.is_ended());
        self.until_object(name, "has ended", has_ended).await
    }

    /// Waits until a Job's first container has started.
    pub async fn running(&self, name: &str) -> Job {
        let runs = |job: &Job| job.status.as_ref().and_then(|it| it.phase) == Some(rota::api::JobPhase::Running);
        self.until_object(name, "is running", runs).await
    }

    /// Waits until the program of a Job, made by `make::trapping`, would notice that it is asked to end.
    pub async fn ready(&self, name: &str) -> Job {
        let job = self.running(name).await;
        let uid = job.uid().unwrap();
        let is_ready = async || {
            let pod = self.pods_of(&uid).await.first()?.name_any();
            let log = self.api::<Pod>().logs(&pod, &LogParams::default()).await.ok()?;
            log.contains(make::READY).then_some(())
        };
        self.until(&format!("the program of Job {name} has set its traps"), is_ready).await;
        job
    }

    /// Waits until a Job waits, and says what for and in which sentence.
    pub async fn waiting(&self, name: &str) -> (rota::api::job::WaitingFor, String) {
        let waits = |job: &Job| job.status.as_ref().is_some_and(|status| status.waiting_for.is_some());
        let job = self.until_object(name, "waits for something", waits).await;
        let status = job.status.unwrap();
        let sentence = status.conditions.iter().find(|it| it.type_ == "Dispatched").unwrap().message.clone();
        (status.waiting_for.unwrap(), sentence)
    }

    /// The records of a Job, in the order of its attempts.
    pub async fn runs_of(&self, job_uid: &str) -> Vec<JobRun> {
        let mut runs = self.all::<JobRun>().await;
        runs.retain(|run| run.spec.job_ref.as_ref().is_some_and(|job| job.uid == job_uid));
        runs.sort_by_key(|run| run.spec.attempt);
        runs
    }

    /// Waits until a Job has ended, and returns its only record.
    pub async fn only_run(&self, name: &str) -> JobRun {
        let job = self.ended(name).await;
        let mut runs = self.runs_of(&job.uid().unwrap()).await;
        assert_eq!(runs.len(), 1, "Job {name} has {} records: {runs:#?}", runs.len());
        runs.remove(0)
    }

    /// The pods of a Job.
    pub async fn pods_of(&self, job_uid: &str) -> Vec<Pod> {
        self.labelled(job_uid).await
    }

    /// The batch Jobs of a Job.
    pub async fn batch_jobs_of(&self, job_uid: &str) -> Vec<BatchJob> {
        self.labelled(job_uid).await
    }

    async fn labelled<K>(&self, job_uid: &str) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let of_job = ListParams::default().labels(&format!("{JOB_UID}={job_uid}"));
        self.api::<K>().list(&of_job).await.unwrap().items
    }
}
