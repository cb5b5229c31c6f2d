//! What `kubectl explain` says below `spec.jobTemplate`: of the fields that Rota drops, overrides or treats in its own way.
//!
//! The other fields have no description, because those of Kubernetes would make the definitions too large.

use serde_json::Value;

/// The fields, by path below the body, where `[]` stands for each item of a list; and what becomes of each.
pub(crate) const DESCRIPTIONS: &[(&str, &str)] = &[
    (
        "metadata",
        "Metadata of the batch Job. Only labels and annotations are used: Rota names the batch Job of each attempt, and owns it.",
    ),
    (
        "metadata.labels",
        "Labels of the batch Job. Rota drops those by which Argo CD, Flux and Helm recognize their objects, those that Kubernetes \
         writes itself, and those that begin with rota.dev/. It adds its own, and sets app.kubernetes.io/managed-by to rota.",
    ),
    (
        "metadata.annotations",
        "Annotations of the batch Job. Rota drops those by which Argo CD, Flux, Helm and kubectl recognize their objects, and those \
         that begin with rota.dev/. It adds its own.",
    ),
    ("metadata.name", DROPPED_NAME),
    ("metadata.generateName", DROPPED_NAME),
    ("metadata.namespace", "Rota drops it: the batch Job is in the namespace of its Job."),
    ("metadata.finalizers", DROPPED),
    ("metadata.ownerReferences", "Rota drops them: the batch Job is owned by its Job."),
    ("metadata.creationTimestamp", DROPPED),
    ("metadata.deletionGracePeriodSeconds", DROPPED),
    ("metadata.deletionTimestamp", DROPPED),
    ("metadata.generation", DROPPED),
    ("metadata.managedFields", DROPPED),
    ("metadata.resourceVersion", DROPPED),
    ("metadata.selfLink", DROPPED),
    ("metadata.uid", DROPPED),
    (
        "spec",
        "Specification of the batch Job of each attempt. Fields without a description mean what they mean to Kubernetes: \
         `kubectl explain cronjob.spec.jobTemplate.spec`.",
    ),
    (
        "spec.backoffLimit",
        "Rota overrides it with 0, so that each try is an attempt with a record of its own; retry.maxAttempts of the template or \
         the Job says how many attempts there are. Rota passes it on beside backoffLimitPerIndex or successPolicy.",
    ),
    (
        "spec.backoffLimitPerIndex",
        "Passed on. Kubernetes retries each index by itself within one attempt, and backoffLimit is passed on as well.",
    ),
    (
        "spec.maxFailedIndexes",
        "Passed on. If more indexes fail, the failure is final: no further attempt follows, unless a rule of retry says Retry.",
    ),
    (
        "spec.completionMode",
        "Passed on. One attempt is all indexes of an Indexed batch Job; it succeeds if all of them do.",
    ),
    ("spec.completions", "Passed on. One attempt is all completions; a further attempt begins with all of them again."),
    (
        "spec.parallelism",
        "Passed on. The pods of one attempt count once in the limits of Rota. With 0 no pod starts, and the attempt waits until \
         pendingTimeoutSeconds.",
    ),
    (
        "spec.activeDeadlineSeconds",
        "Counts for each attempt, as timeoutSeconds of the template or the Job does; the shorter one of both is used. \
         deadlineSeconds limits all attempts together.",
    ),
    (
        "spec.ttlSecondsAfterFinished",
        "How long the Job is kept with its batch Job and pods, unless ttlSecondsAfterFinished of the template or the Job says so. \
         Rota raises that of the batch Job itself to at least 3600, and keeps the batch Job until the attempt is recorded.",
    ),
    (
        "spec.suspend",
        "Passed on. The attempt waits until a user or a controller such as Kueue sets it to false on the batch Job; Rota does not. \
         To keep a Job waiting set spec.hold of the Job.",
    ),
    ("spec.managedBy", "Passed on. The batch Job runs and ends only if that controller is there."),
    (
        "spec.podReplacementPolicy",
        "Passed on. It applies to pods within one attempt; a further attempt is another batch Job, which starts after the one \
         before has ended.",
    ),
    (
        "spec.podFailurePolicy",
        "Passed on. FailJob is final: no further attempt follows, unless a rule of retry says Retry. What Ignore ignores is no \
         attempt of its own.",
    ),
    ("spec.successPolicy", "Passed on. The attempt succeeds when it is met, and backoffLimit is passed on as well."),
    ("spec.selector", DROPPED_SELECTOR),
    ("spec.manualSelector", DROPPED_SELECTOR),
    (
        "spec.template",
        "Template of the pods of each attempt. Fields without a description mean what they mean to Kubernetes: `kubectl explain cronjob.spec.jobTemplate.spec.template`.",
    ),
    ("spec.template.metadata", "Metadata of the pods. Rota adds labels and annotations."),
    (
        "spec.template.metadata.labels",
        "Labels of the pods. Rota drops those that Kubernetes writes itself and those that begin with rota.dev/, and adds its own.",
    ),
    (
        "spec.template.metadata.annotations",
        "Annotations of the pods. Rota drops those that begin with rota.dev/ and the one of kubectl apply, and adds the parameters.",
    ),
    (
        "spec.template.spec",
        "Specification of the pods. Fields without a description mean what they mean to Kubernetes: `kubectl explain pods.spec`.",
    ),
    (
        "spec.template.spec.restartPolicy",
        "Rota overrides it with Never: what fails is tried again in another pod, as often as retry.maxAttempts of the template or \
         the Job says.",
    ),
    (
        "spec.template.spec.volumes",
        "Volumes of the pod. Rota adds the volume rota-params with the parameter file; that name is reserved.",
    ),
    ("spec.template.spec.containers", CONTAINERS),
    ("spec.template.spec.containers[].command", SCRIPTS),
    ("spec.template.spec.containers[].args", SCRIPTS),
    ("spec.template.spec.containers[].env", ENVIRONMENT),
    ("spec.template.spec.containers[].volumeMounts", MOUNTS),
    ("spec.template.spec.containers[].terminationMessagePath", MESSAGE_PATH),
    ("spec.template.spec.containers[].terminationMessagePolicy", MESSAGE_POLICY),
    ("spec.template.spec.initContainers", INIT_CONTAINERS),
    ("spec.template.spec.initContainers[].command", SCRIPTS),
    ("spec.template.spec.initContainers[].args", SCRIPTS),
    ("spec.template.spec.initContainers[].env", ENVIRONMENT),
    ("spec.template.spec.initContainers[].volumeMounts", MOUNTS),
    ("spec.template.spec.initContainers[].terminationMessagePath", MESSAGE_PATH),
    ("spec.template.spec.initContainers[].terminationMessagePolicy", MESSAGE_POLICY),
];

const DROPPED: &str = "Rota drops it.";
const DROPPED_NAME: &str = "Rota drops it: each batch Job is named after its Job and attempt.";
const DROPPED_SELECTOR: &str = "Rota drops it: Kubernetes makes a selector for each batch Job.";
const CONTAINERS: &str = "Containers of the pod. Rota adds environment variables, the parameter file and a \
                          terminationMessagePolicy to each.";
const INIT_CONTAINERS: &str = "Init containers of the pod. Rota adds environment variables, the parameter file and a \
                               terminationMessagePolicy to each. Those with restartPolicy Always (sidecars) neither start an \
                               attempt nor decide its outcome.";
const SCRIPTS: &str = "Passed on. Kubernetes replaces $(PARAM_NAME) before the program reads it: within a script for `sh -c` a \
                       value can then run as code. Write \"$PARAM_NAME\" in scripts.";
const ENVIRONMENT: &str = "Environment variables. Rota adds PARAM_<NAME> for each parameter, and variables that begin with \
                           ROTA_; a variable that is written here overrides one of the same name.";
const MOUNTS: &str =
    "Volume mounts. Rota mounts the parameter file at /etc/rota, unless a mount is written at or below that path.";
const MESSAGE_PATH: &str = "Passed on. The record takes artifacts, a result or the error from this file.";
const MESSAGE_POLICY: &str = "Rota sets FallbackToLogsOnError where nothing is written, so that the record quotes the end of the \
                              log. It passes File on, unless terminationMessagePath /dev/termination-log is written beside it, as \
                              the API server writes both into what it stores: Rota then overrides File with \
                              FallbackToLogsOnError.";

/// Gives these fields of the schema of a body their descriptions.
pub(crate) fn describe(schema: &mut Value) {
    for (path, description) in DESCRIPTIONS {
        if let Some(Value::Object(field)) = schema.pointer_mut(&pointer(path)) {
            field.insert("description".into(), (*description).into());
        }
    }
}

/// Where a field stands in a schema.
pub(crate) fn pointer(path: &str) -> String {
    let step = |name: &str| match name.strip_suffix("[]") {
        Some(list) => format!("/properties/{list}/items"),
        None => format!("/properties/{name}"),
    };
    path.split('.').map(step).collect()
}
