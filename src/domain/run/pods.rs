//! What the pods of an attempt say: whether they started, ended or wait, and which container decided the outcome.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::conditions::shorten;

/// The longest sentence about a wait, in bytes.
const WAITING_BYTES_MAX: usize = 500;
/// The annotation of a pod that names its main container.
const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

/// A container of a pod, with what its pod's specification says about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container<'a> {
    pub(super) status: &'a ContainerStatus,
    pub(super) init: bool,
    sidecar: bool,
}

impl<'a> Container<'a> {
    pub(super) fn terminated(&self) -> Option<&'a ContainerStateTerminated> {
        self.status.state.as_ref()?.terminated.as_ref()
    }

    fn is_running(&self) -> bool {
        self.status.state.as_ref().is_some_and(|state| state.running.is_some())
    }

    fn started_at(&self) -> Option<Timestamp> {
        let state = self.status.state.as_ref()?;
        let running = state.running.as_ref().and_then(|running| real(running.started_at.as_ref()));
        running.or_else(|| real(self.terminated()?.started_at.as_ref()))
    }

    fn finished_at(&self) -> Option<Timestamp> {
        real(self.terminated()?.finished_at.as_ref())
    }

    /// Whether its end is made up by the kubelet, which does not know any more what became of it.
    pub(super) fn is_unknown(&self) -> bool {
        self.terminated().is_some_and(|end| end.reason.as_deref() == Some("ContainerStatusUnknown"))
    }
}

/// A container that could not start is said to have started in 1970.
fn real(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// The pod, and if it got so far the container, that decided how an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deciding<'a> {
    pub(super) pod: &'a Pod,
    pub(super) container: Option<Container<'a>>,
}

impl Deciding<'_> {
    pub(super) fn pod_name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// `node/pod`, once it has a node.
    pub(super) fn worker(&self) -> Option<String> {
        let node = self.pod.spec.as_ref()?.node_name.as_deref()?;
        Some(format!("{node}/{}", self.pod_name()))
    }

    pub(super) fn exit_code(&self) -> Option<i32> {
        let container = self.container.filter(|container| !container.is_unknown())?;
        container.terminated().map(|end| end.exit_code)
    }

    /// Where the kubelet keeps the log, below its directory of pod logs.
    pub(super) fn log_path(&self) -> Option<String> {
        let container = self.container.filter(|container| container.started_at().is_some())?;
        let metadata = &self.pod.metadata;
        let namespace = metadata.namespace.as_deref()?;
        let uid = metadata.uid.as_deref()?;
        Some(format!("{namespace}_{}_{uid}/{}/0.log", self.pod_name(), container.status.name))
    }
}

/// The containers of a pod: those of its initialization first, each kind in the order of its specification.
pub(super) fn containers(pod: &Pod) -> Vec<Container<'_>> {
    let Some(status) = &pod.status else { return Vec::new() };
    let spec = pod.spec.as_ref();
    let init = || spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let is_sidecar = |name: &str| init().any(|it| it.name == name && it.restart_policy.as_deref() == Some("Always"));
    let place = |name: &str| {
        let all = init().chain(spec.iter().flat_map(|spec| spec.containers.iter()));
        all.map(|container| container.name.as_str()).position(|other| other == name).unwrap_or(usize::MAX)
    };
    let initial = status.init_container_statuses.iter().flatten().map(|it| (it, true));
    let main = status.container_statuses.iter().flatten().map(|it| (it, false));
    let mut all: Vec<Container<'_>> = initial
        .chain(main)
        .map(|(status, init)| Container { status, init, sidecar: init && is_sidecar(&status.name) })
        .collect();
    all.sort_by_key(|container| (!container.init, place(&container.status.name)));
    all
}

fn all(pods: &[Arc<Pod>]) -> impl Iterator<Item = (&Pod, Container<'_>)> {
    pods.iter().flat_map(|pod| containers(pod).into_iter().map(move |container| (pod.as_ref(), container)))
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether a pod has ended: the kubelet says so, or none of its containers runs and all main ones have.
pub fn pod_has_ended(pod: &Pod) -> bool {
    has_ended(pod) || is_settled(pod)
}

/// Which pod, and where it is.
pub fn pod_text(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.map_or_else(|| format!("pod {name}"), |node| format!("pod {name} on node {node}"))
}

/// When the first container of the pods started, an init container included and one that has ended too.
pub fn pod_started(pods: &[Arc<Pod>]) -> Option<Timestamp> {
    all(pods).filter_map(|(_, container)| container.started_at()).min()
}

/// When the last container of the pods ended.
pub(super) fn pod_finished(pods: &[Arc<Pod>]) -> Option<Timestamp> {
    all(pods).filter_map(|(_, container)| container.finished_at()).max()
}

/// Whether all pods have ended and say how, so that a record misses nothing by being written now.
pub fn pods_settled(pods: &[Arc<Pod>]) -> bool {
    pods.iter().all(|pod| is_settled(pod))
}

fn is_settled(pod: &Pod) -> bool {
    let containers = containers(pod);
    let mut main = containers.iter().filter(|container| !container.init).peekable();
    let all_terminated = main.peek().is_some() && main.all(|container| container.terminated().is_some());
    let none_runs = !containers.iter().any(Container::is_running);
    none_runs && (all_terminated || has_ended(pod))
}

/// Since when the pods have been waiting without anything of them running, or absent if something runs, or did and has
/// ended. A pod whose init containers are done waits again, now for its main ones; `created` is when the attempt was.
pub fn waiting_since(pods: &[Arc<Pod>], created: Timestamp) -> Option<Timestamp> {
    let main_started = all(pods).any(|(_, it)| !it.init && (it.started_at().is_some() || it.terminated().is_some()));
    let init_runs = all(pods).any(|(_, it)| it.is_running() && !it.sidecar);
    let init_failed = all(pods).any(|(_, it)| it.init && it.terminated().is_some_and(|end| end.exit_code != 0));
    if main_started || init_runs || init_failed || pods.iter().any(|pod| has_ended(pod)) {
        return None;
    }
    let latest =
        all(pods).filter_map(|(_, container)| container.finished_at().or_else(|| container.started_at())).max();
    Some(latest.map_or(created, |latest| latest.max(created)))
}

/// What the pods wait for, for people: a container that cannot be started, or a pod that no node takes.
pub fn waiting_text(pods: &[Arc<Pod>]) -> Option<String> {
    waits(pods).into_iter().next().map(|(_, text)| shorten(text, WAITING_BYTES_MAX))
}

/// The same, unless it is only how every pod begins.
pub fn stuck_text(pods: &[Arc<Pod>]) -> Option<String> {
    waits(pods).into_iter().find(|(usual, _)| !usual).map(|(_, text)| shorten(text, WAITING_BYTES_MAX))
}

/// What the pods wait for, what is unusual first, each with whether it is how every pod begins.
fn waits(pods: &[Arc<Pod>]) -> Vec<(bool, String)> {
    let containers = all(pods).filter_map(|(_, container)| {
        let waiting = container.status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let text = join(&[
            &format!("container {}", container.status.name),
            reason,
            waiting.message.as_deref().unwrap_or_default(),
        ]);
        // These two are how every pod begins; they explain nothing unless something is said about them.
        let usual = matches!(reason, "" | "PodInitializing" | "ContainerCreating") && waiting.message.is_none();
        Some((usual, text))
    });
    let mut told: Vec<(bool, String)> = pods.iter().filter_map(|pod| unscheduled(pod)).map(|it| (false, it)).collect();
    told.extend(containers);
    told.sort_by_key(|(usual, _)| *usual);
    told
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "False")?;
    let why = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("no reason given");
    Some(format!("pod {} cannot be scheduled: {why}", pod.metadata.name.as_deref().unwrap_or_default()))
}

/// The parts that say something, with colons between.
pub(super) fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

/// The pod and container to blame: the first that ended with an exit code other than 0, else the first pod that failed,
/// else the main container of the pod that got furthest. A sidecar is killed when the others are done, and to blame only
/// if there is nothing else.
pub(super) fn deciding(pods: &[Arc<Pod>]) -> Option<Deciding<'_>> {
    let failed = all(pods).filter(|(_, it)| it.terminated().is_some_and(|end| end.exit_code != 0));
    let end = |container: &Container<'_>| container.finished_at().unwrap_or(Timestamp::MAX);
    let first = failed.min_by_key(|(_, container)| (container.sidecar, container.is_unknown(), end(container)));
    if let Some((pod, container)) = first.filter(|(_, container)| !container.sidecar) {
        return Some(Deciding { pod, container: Some(container) });
    }
    if let Some(pod) = pods.iter().find(|pod| phase(pod) == "Failed") {
        return Some(Deciding { pod, container: main_container(pod).filter(|it| it.terminated().is_some()) });
    }
    succeeding(pods)
}

/// The main container of the pod that got furthest.
pub(super) fn succeeding(pods: &[Arc<Pod>]) -> Option<Deciding<'_>> {
    let progress = |pod: &Pod| match phase(pod) {
        "Succeeded" => 3,
        "Running" | "Failed" => 2,
        _ => u8::from(pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())),
    };
    let pod = pods.iter().min_by_key(|pod| (Reverse(progress(pod)), pod.metadata.name.as_deref()))?;
    Some(Deciding { pod, container: main_container(pod) })
}

/// The container that the pod's annotation names, else the first of its specification.
fn main_container(pod: &Pod) -> Option<Container<'_>> {
    let named = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DEFAULT_CONTAINER_ANNOTATION));
    let main: Vec<Container<'_>> = containers(pod).into_iter().filter(|container| !container.init).collect();
    let by_name = named.and_then(|name| main.iter().find(|container| container.status.name == *name));
    by_name.or(main.first()).copied()
}
