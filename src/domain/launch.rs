//! Launch: the batch Job of one attempt, from what was resolved when its Job was queued.
//!
//! The manifest is built and kept as JSON, so that fields newer than this build reach the cluster. What the user wrote is
//! passed on except where Rota's promises depend on it: one attempt is one batch Job without retries of its own (but for
//! those of single indexes), and it stays until it is recorded; [`super::pasted`] lists all of that for people. Of the rota
//! Job's own metadata only what Kueue reads of a Job is copied. No tracking label of a GitOps tool gets onto a batch Job,
//! which that tool would prune.

use serde_json::{Map, Value, json};

use super::job::attempt_names;
use super::{names, params, pinned};
use crate::api::job::TemplateSnapshot;
use crate::api::job_template::{Param, ParamType, ParamValues};
use crate::api::labels::{
    ARGO_IGNORE_ANNOTATION, ATTEMPT, CONTENT, CRONJOB_TIME_ANNOTATION, GROUP, JOB, JOB_NAME_ANNOTATION, JOB_UID,
    KUEUE_PRIORITY, KUEUE_QUEUE, LAST_APPLIED_ANNOTATION, LAUNCHED_ANNOTATION, MANAGED_BY, MANAGER, PARAMS_ANNOTATION,
    PARAMS_FILE, QUEUE, RECORD_FINALIZER, SCHEDULE, SCHEDULED_TIME_ANNOTATION, TEMPLATE, TEMPLATE_REVISION_ANNOTATION,
};
use crate::api::{API_VERSION, DEFAULT_QUEUE, Job};

/// The volume that holds the parameter file.
const PARAMS_VOLUME: &str = "rota-params";
/// The directory of the parameter file.
const PARAMS_DIRECTORY: &str = "/etc/rota";
/// The parameter file within its volume.
const PARAMS_FILE_NAME: &str = "params.json";
/// Where the API server says that a termination message is, unless somebody said it.
const MESSAGE_PATH_DEFAULT: &str = "/dev/termination-log";
/// Fields of a batch Job's specification that are the API server's to decide.
pub(super) const SPEC_FIELDS_DROPPED: [&str; 2] = ["selector", "manualSelector"];
/// How long Kubernetes is to keep an ended batch Job at least, in seconds, where its body says how long: an operator that
/// is away for less finds its end, and records it.
pub const BATCH_TTL_SECONDS_MIN: i64 = 3_600;
/// How the labels and annotations begin by which tools tell what is theirs, and would prune what is made of it.
const BEGINNINGS_THAT_TRACK: [&str; 6] = [
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "app.kubernetes.io/instance",
    LAST_APPLIED_ANNOTATION,
];
/// Labels that Kubernetes writes on batch Jobs and pods, and refuses where they are those of another one.
const KEYS_OF_KUBERNETES: [&str; 4] =
    ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];
/// The beginning of Rota's own labels and annotations.
const OWN_PREFIX: &str = "rota.dev/";

/// All that a batch Job is made of.
#[derive(Clone, Copy, Debug)]
pub struct LaunchInput<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Type of work.
    pub job_type: &'a str,
    /// The batch Job template: the same shape as a CronJob's.
    pub template_job: &'a Value,
    /// The template that it comes from, if it does.
    pub template: Option<&'a TemplateSnapshot>,
    /// The parameters that the template declares.
    pub declared: &'a [Param],
    /// The parameters in force.
    pub params: &'a ParamValues,
    /// The queue.
    pub queue: &'a str,
    /// How long the attempt may run, in seconds.
    pub timeout_seconds: Option<i64>,
}

/// Why no batch Job can be made of a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct LaunchError {
    /// The field to correct.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// The batch Job of an attempt. `is_taken` says that somebody else's object has its name, so that it gets its other one.
pub fn batch_job(input: &LaunchInput<'_>, is_taken: bool) -> Result<Value, LaunchError> {
    let metadata = &input.job.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let [own, other] = attempt_names(input.job, input.attempt);
    let mut manifest = manifest(input, &own)?;
    if is_taken || own.len() + index_length(&manifest) > names::NAME_MAX {
        manifest = self::manifest(input, &other)?;
    }
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("ownerReferences".into(), json!([owner(name, uid)]));
    }
    Ok(manifest)
}

/// What Kubernetes appends to the name of an Indexed batch Job for its last pod, in characters: the whole has to be a label
/// (`ValidateJobSpec` of Kubernetes).
fn index_length(manifest: &Value) -> usize {
    let spec = |field: &str| manifest.pointer(&format!("/spec/{field}"));
    let indexed = spec("completionMode").and_then(Value::as_str) == Some("Indexed");
    let last = spec("completions").and_then(Value::as_i64).unwrap_or(1).saturating_sub(1).max(0);
    if indexed { last.to_string().len() + 1 } else { 0 }
}

/// The owner reference by which a batch Job belongs to a Job.
pub fn owner(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "Job", "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A batch Job as a template would make it, for asking the API server whether it would accept one. It has no owner, and
/// must not be created.
pub fn dry_run_job(
    namespace: &str,
    template_name: &str,
    job_template: &Value,
    declared: &[Param],
) -> Result<Value, LaunchError> {
    let mut job = Job::new(template_name, crate::api::JobSpec::default());
    job.metadata.namespace = Some(namespace.to_owned());
    job.metadata.uid = Some("00000000-0000-4000-8000-000000000000".to_owned());
    let params = samples(declared);
    let template = TemplateSnapshot { name: template_name.to_owned(), ..TemplateSnapshot::default() };
    let input = LaunchInput {
        job: &job,
        attempt: 1,
        job_type: "probe",
        template_job: job_template,
        template: Some(&template),
        declared,
        params: &params,
        queue: DEFAULT_QUEUE,
        timeout_seconds: None,
    };
    // The length of a name says nothing about a template: that of an attempt is made to fit.
    manifest(&input, &names::other_attempt(template_name, "probe", 1))
}

/// Values that the parameters could have: their defaults, where they have one.
pub fn samples(declared: &[Param]) -> ParamValues {
    declared.iter().map(|param| (param.name.clone(), sample(param))).collect()
}

/// A value that a parameter could have.
fn sample(param: &Param) -> String {
    let own = param.default.as_ref().or(param.enum_.first());
    own.cloned().unwrap_or_else(|| match param.type_.unwrap_or_default() {
        ParamType::String => "sample".into(),
        ParamType::Integer | ParamType::Number => param.minimum.or(param.maximum).unwrap_or_default().to_string(),
        ParamType::Boolean => "true".into(),
    })
}

fn manifest(input: &LaunchInput<'_>, batch_name: &str) -> Result<Value, LaunchError> {
    let path = Path::root("spec.jobTemplate");
    let template = object(Some(input.template_job), &path)?;
    let mut spec = object(required(&template, "spec", &path)?, &path.field("spec"))?;
    let user = metadata(&template, &path, |key| stays_everywhere(key) && !tracks(key))?;
    let spec_path = path.field("spec");
    SPEC_FIELDS_DROPPED.iter().for_each(|field| drop(spec.remove(*field)));
    if !counts_failures_itself(&spec) {
        spec.insert("backoffLimit".into(), json!(0));
    }
    let stays = whole_number(&spec, "ttlSecondsAfterFinished", &spec_path)?.filter(|own| *own >= 0);
    if let Some(own) = stays {
        spec.insert("ttlSecondsAfterFinished".into(), json!(own.max(BATCH_TTL_SECONDS_MIN)));
    }
    if let Some(timeout) = input.timeout_seconds {
        let own = whole_number(&spec, "activeDeadlineSeconds", &spec_path)?;
        spec.insert("activeDeadlineSeconds".into(), json!(own.map_or(timeout, |own| own.min(timeout))));
    }
    let pod_path = spec_path.field("template");
    let pod = object(required(&spec, "template", &spec_path)?, &pod_path)?;
    spec.insert("template".into(), Value::Object(pod_template(input, batch_name, pod, &pod_path)?));
    let mut labels = what_runs(input);
    labels.extend(user.labels);
    labels.extend(batch_labels(input));
    let mut annotations = user.annotations;
    annotations.extend(batch_annotations(input));
    let mut metadata = json!({
        "name": batch_name,
        "namespace": input.job.metadata.namespace.as_deref().unwrap_or_default(),
        "labels": labels,
        "annotations": annotations,
    });
    if stays.is_some() {
        // Kubernetes would delete it by itself, also while no operator is there to record how it ended.
        metadata["finalizers"] = json!([RECORD_FINALIZER]);
    }
    Ok(json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec }))
}

/// Whether a batch Job's own limit of failures stays: where each index has retries of its own, a limit of 0 over all of
/// them would cut those short; and where a few indexes are enough for success, the first failure of another one must not
/// end them all.
pub fn counts_failures_itself(spec: &Map<String, Value>) -> bool {
    ["backoffLimitPerIndex", "successPolicy"].iter().any(|field| spec.get(*field).is_some_and(|value| !value.is_null()))
}

/// The labels that tell whose pod and whose batch Job this is.
pub fn identity_labels(name: &str, uid: &str, attempt: u32) -> Map<String, Value> {
    strings([
        (MANAGED_BY, MANAGER.to_owned()),
        (JOB, names::label_value(name)),
        (JOB_UID, uid.to_owned()),
        (ATTEMPT, attempt.to_string()),
    ])
}

fn own_labels(input: &LaunchInput<'_>) -> Map<String, Value> {
    let metadata = &input.job.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    identity_labels(name, metadata.uid.as_deref().unwrap_or_default(), input.attempt)
}

/// The labels that Kubernetes recommends, in whose place a user's own stand.
fn what_runs(input: &LaunchInput<'_>) -> Map<String, Value> {
    let template = input.template.map(|template| template.name.as_str());
    let labels = names::recommended_labels(template.unwrap_or(input.job_type));
    labels.into_iter().map(|(key, value)| (key, Value::String(value))).collect()
}

fn batch_labels(input: &LaunchInput<'_>) -> Map<String, Value> {
    let spec = &input.job.spec;
    let owners = [
        (TEMPLATE, input.template.map(|template| template.name.as_str())),
        (SCHEDULE, spec.schedule_ref.as_ref().map(|schedule| schedule.name.as_str())),
        (GROUP, spec.group_ref.as_ref().map(|group| group.name.as_str())),
        (QUEUE, Some(input.queue)),
    ];
    let mut labels = own_labels(input);
    labels.extend(strings(pinned::content(input.job).map(|content| (CONTENT, content))));
    let own = input.job.metadata.labels.as_ref();
    let of_kueue = [KUEUE_QUEUE, KUEUE_PRIORITY].map(|label| Some((label, own?.get(label)?.clone())));
    labels.extend(strings(of_kueue.into_iter().flatten()));
    labels.extend(strings(owners.into_iter().filter_map(|(key, name)| Some((key, names::label_value(name?))))));
    labels
}

fn batch_annotations(input: &LaunchInput<'_>) -> Map<String, Value> {
    let name = input.job.metadata.name.clone().unwrap_or_default();
    let mut annotations = strings([
        (JOB_NAME_ANNOTATION, name),
        (LAUNCHED_ANNOTATION, pinned::annotation(input.job)),
        (ARGO_IGNORE_ANNOTATION, "true".to_owned()),
    ]);
    if let Some(template) = input.template {
        annotations.extend(strings([(TEMPLATE_REVISION_ANNOTATION, template.revision.clone())]));
    }
    if let Some(time) = &input.job.spec.scheduled_time {
        let time = time.0.to_string();
        annotations.extend(strings([(SCHEDULED_TIME_ANNOTATION, time.clone()), (CRONJOB_TIME_ANNOTATION, time)]));
    }
    annotations
}

fn pod_template(
    input: &LaunchInput<'_>,
    batch_name: &str,
    mut pod: Map<String, Value>,
    path: &Path,
) -> Result<Map<String, Value>, LaunchError> {
    // Tenants select pods by their labels, and of the tools that track only kubectl prunes pods.
    let user = metadata(&pod, path, stays_on_pods)?;
    let mut metadata = match pod.get("metadata") {
        Some(Value::Object(metadata)) => metadata.clone(),
        _ => Map::new(),
    };
    let mut labels = what_runs(input);
    labels.extend(user.labels);
    let managed_by = labels.remove(MANAGED_BY);
    labels.extend(own_labels(input));
    labels.extend(managed_by.map(|managed_by| (MANAGED_BY.to_owned(), managed_by)));
    let mut annotations = user.annotations;
    annotations.extend(strings([(PARAMS_ANNOTATION, params::json(input.declared, input.params).to_string())]));
    metadata.insert("labels".into(), Value::Object(labels));
    metadata.insert("annotations".into(), Value::Object(annotations));
    pod.insert("metadata".into(), Value::Object(metadata));
    let spec_path = path.field("spec");
    let mut spec = object(required(&pod, "spec", path)?, &spec_path)?;
    spec.insert("restartPolicy".into(), json!("Never"));
    let environment = environment(input, batch_name);
    required(&spec, "containers", &spec_path)?;
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        let field_path = spec_path.field(field);
        let mut containers = list(spec.get(field), &field_path)?;
        for (index, container) in containers.iter_mut().enumerate() {
            mounted |= prepare(container, &environment, &field_path.index(index))?;
        }
        if !containers.is_empty() || spec.contains_key(field) {
            spec.insert(field.into(), Value::Array(containers));
        }
    }
    if mounted {
        add_volume(&mut spec, &spec_path)?;
    }
    pod.insert("spec".into(), Value::Object(spec));
    Ok(pod)
}

/// Gives a container its environment, the parameter file and a termination message. Returns whether it mounts the file.
fn prepare(container: &mut Value, environment: &[(String, String)], path: &Path) -> Result<bool, LaunchError> {
    let Value::Object(container) = container else { return Err(path.wrong("must be an object")) };
    let mut mounts = list(container.get("volumeMounts"), &path.field("volumeMounts"))?;
    let taken = mounts.iter().filter_map(|mount| mount.get("mountPath")?.as_str()).any(is_params_directory);
    if !taken {
        mounts.push(json!({ "name": PARAMS_VOLUME, "mountPath": PARAMS_DIRECTORY, "readOnly": true }));
        container.insert("volumeMounts".into(), Value::Array(mounts));
    }
    let own = list(container.get("env"), &path.field("env"))?;
    let is_own = |name: &str| own.iter().any(|variable| variable.get("name").and_then(Value::as_str) == Some(name));
    let file = (!taken).then(|| ("ROTA_PARAMS_FILE".to_owned(), PARAMS_FILE.to_owned()));
    let ours = environment.iter().chain(file.as_ref()).filter(|(name, _)| !is_own(name));
    // Kubernetes replaces $(NAME) in values and makes $ of $$; a value is to arrive as it was given.
    let ours = ours.map(|(name, value)| json!({ "name": name, "value": value.replace('$', "$$") }));
    let all: Vec<Value> = ours.chain(own.iter().cloned()).collect();
    container.insert("env".into(), Value::Array(all));
    if !wants_own_message(container) {
        container.insert("terminationMessagePolicy".into(), json!("FallbackToLogsOnError"));
    }
    Ok(!taken)
}

/// Whether the writer of a container wants no end of its log as its termination message. The API server writes that
/// default into what it stores, always with the default path: `File` with it comes from a copy of a live object.
fn wants_own_message(container: &Map<String, Value>) -> bool {
    let field = |field: &str| container.get(field).and_then(Value::as_str);
    match field("terminationMessagePolicy") {
        None => false,
        Some("File") => field("terminationMessagePath") != Some(MESSAGE_PATH_DEFAULT),
        Some(_) => true,
    }
}

/// Whether something mounted at this path would be at or below the directory of the parameter file.
fn is_params_directory(path: &str) -> bool {
    let below = path.strip_prefix(PARAMS_DIRECTORY);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

fn add_volume(spec: &mut Map<String, Value>, path: &Path) -> Result<(), LaunchError> {
    let mut volumes = list(spec.get("volumes"), &path.field("volumes"))?;
    if volumes.iter().any(|volume| volume.get("name").and_then(Value::as_str) == Some(PARAMS_VOLUME)) {
        return Err(path
            .field("volumes")
            .wrong(&format!("the name {PARAMS_VOLUME} is reserved for the parameter file")));
    }
    let field = format!("metadata.annotations['{PARAMS_ANNOTATION}']");
    volumes.push(json!({
        "name": PARAMS_VOLUME,
        "downwardAPI": { "items": [{ "path": PARAMS_FILE_NAME, "fieldRef": { "fieldPath": field } }] },
    }));
    spec.insert("volumes".into(), Value::Array(volumes));
    Ok(())
}

/// The parameters, and then who runs this.
fn environment(input: &LaunchInput<'_>, batch_name: &str) -> Vec<(String, String)> {
    let metadata = &input.job.metadata;
    let spec = &input.job.spec;
    let group = super::group::reference(input.job);
    let group = group.as_ref();
    let identity = [
        ("ROTA_JOB", metadata.name.clone()),
        ("ROTA_JOB_UID", metadata.uid.clone()),
        ("ROTA_JOB_TYPE", Some(input.job_type.to_owned())),
        ("ROTA_ATTEMPT", Some(input.attempt.to_string())),
        ("ROTA_RUN", Some(batch_name.to_owned())),
        ("ROTA_NAMESPACE", metadata.namespace.clone()),
        ("ROTA_QUEUE", Some(input.queue.to_owned())),
        ("ROTA_TEMPLATE", input.template.map(|template| template.name.clone())),
        ("ROTA_SCHEDULE", spec.schedule_ref.as_ref().map(|schedule| schedule.name.clone())),
        ("ROTA_SCHEDULED_TIME", spec.scheduled_time.as_ref().map(|time| time.0.to_string())),
        ("ROTA_GROUP", group.map(|group| group.name.clone())),
        ("ROTA_MEMBER", group.map(|group| group.member.clone())),
    ];
    let identity = identity.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    params::environment(input.params).into_iter().chain(identity).collect()
}

/// The user's labels and annotations that are passed on.
struct Metadata {
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
}

fn metadata(parent: &Map<String, Value>, path: &Path, stays: impl Fn(&str) -> bool) -> Result<Metadata, LaunchError> {
    let path = path.field("metadata");
    let metadata = match parent.get("metadata") {
        None | Some(Value::Null) => Map::new(),
        found => object(found, &path)?,
    };
    let read = |field: &str| match metadata.get(field) {
        None | Some(Value::Null) => Ok(Map::new()),
        found => object(found, &path.field(field)).map(|map| map.into_iter().filter(|(key, _)| stays(key)).collect()),
    };
    Ok(Metadata { labels: read("labels")?, annotations: read("annotations")? })
}

/// Whether a tool tells by this label or annotation that an object is its own.
pub fn tracks(key: &str) -> bool {
    BEGINNINGS_THAT_TRACK.iter().any(|beginning| key.starts_with(beginning))
}

/// Whether pods get a label or annotation of their template.
fn stays_on_pods(key: &str) -> bool {
    stays_everywhere(key) && key != LAST_APPLIED_ANNOTATION
}

/// Whether a label or annotation is the user's to write.
fn stays_everywhere(key: &str) -> bool {
    !key.starts_with(OWN_PREFIX) && !KEYS_OF_KUBERNETES.contains(&key)
}

fn strings<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect()
}

/// Where a value stands, for messages.
struct Path(String);

impl Path {
    fn root(field: &str) -> Self {
        Self(field.to_owned())
    }

    fn field(&self, field: &str) -> Self {
        Self(format!("{}.{field}", self.0))
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn wrong(&self, message: &str) -> LaunchError {
        LaunchError { field: self.0.clone(), message: message.to_owned() }
    }
}

fn required<'a>(parent: &'a Map<String, Value>, field: &str, path: &Path) -> Result<Option<&'a Value>, LaunchError> {
    match parent.get(field) {
        None | Some(Value::Null) => Err(path.field(field).wrong("is required")),
        found => Ok(found),
    }
}

fn object(value: Option<&Value>, path: &Path) -> Result<Map<String, Value>, LaunchError> {
    match value {
        Some(Value::Object(object)) => Ok(object.clone()),
        _ => Err(path.wrong("must be an object")),
    }
}

/// How many bytes the annotations of the pods would take, keys and values together.
pub fn pod_annotation_bytes(template_job: &Value, declared: &[Param], params: &ParamValues) -> usize {
    let own = template_job.pointer("/spec/template/metadata/annotations").and_then(Value::as_object);
    let own = own.into_iter().flatten().filter(|(key, _)| stays_on_pods(key));
    let own: usize = own.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    own + PARAMS_ANNOTATION.len() + params::json(declared, params).to_string().len()
}

/// How many containers get the parameters in their environment.
pub fn container_count(template_job: &Value) -> usize {
    let count = |field: &str| {
        let path = format!("/spec/template/spec/{field}");
        template_job.pointer(&path).and_then(Value::as_array).map_or(0, Vec::len)
    };
    count("containers") + count("initContainers")
}

fn list(value: Option<&Value>, path: &Path) -> Result<Vec<Value>, LaunchError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(_) => Err(path.wrong("must be a list")),
    }
}

fn whole_number(parent: &Map<String, Value>, field: &str, path: &Path) -> Result<Option<i64>, LaunchError> {
    match parent.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| path.field(field).wrong("must be a whole number")),
    }
}

#[cfg(test)]
mod tests;
