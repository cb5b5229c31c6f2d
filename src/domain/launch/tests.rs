//! The batch Job that is made of a Job.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::ObjectReference;
use crate::api::job::GroupReference;

const UID: &str = "6f1e1d2c-9d3b-4a6e-8f7a-0b1c2d3e4f50";
const BATCH_NAME: &str = "nightly-8wtkh-2";

fn job() -> Job {
    let mut job = Job::new("nightly", crate::api::JobSpec::default());
    job.metadata.namespace = Some("team".into());
    job.metadata.uid = Some(UID.into());
    job.metadata.labels = Some([("app.kubernetes.io/instance".into(), "argo".into())].into());
    job.metadata.annotations = Some([("own".into(), "not copied".into())].into());
    job
}

fn scheduled_member() -> Job {
    let mut job = job();
    job.spec.schedule_ref = Some(ObjectReference { name: "every-night".into(), uid: "s".into() });
    job.spec.scheduled_time = Some(MicroTime("2026-11-23T09:00:00Z".parse().unwrap()));
    job.spec.group_ref = Some(GroupReference { name: "batch".into(), uid: "g".into(), member: "first".into() });
    job
}

fn minimal() -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "busybox" }] } } } })
}

fn launch_with(
    job: &Job,
    template_job: &Value,
    params: &[(&str, &str)],
    timeout: Option<i64>,
) -> Result<Value, LaunchError> {
    let snapshot =
        TemplateSnapshot { name: "report".into(), revision: "report-1".into(), ..TemplateSnapshot::default() };
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let declared: Vec<Param> = serde_json::from_value(json!([{ "name": "count", "type": "integer" }])).unwrap();
    let input = LaunchInput {
        job,
        attempt: 2,
        job_type: "report",
        template_job,
        template: Some(&snapshot),
        declared: &declared,
        params: &params,
        queue: "default",
        timeout_seconds: timeout,
    };
    batch_job(&input, false)
}

fn launch(template_job: &Value) -> Value {
    launch_with(&job(), template_job, &[("count", "7")], None).unwrap()
}

fn main_container(manifest: &Value) -> &Value {
    &manifest["spec"]["template"]["spec"]["containers"][0]
}

fn environment_of(container: &Value) -> Vec<(&str, &str)> {
    let variables = container["env"].as_array().unwrap().iter();
    variables.map(|it| (it["name"].as_str().unwrap(), it["value"].as_str().unwrap_or("(from elsewhere)"))).collect()
}

#[test]
fn the_whole_manifest_of_a_minimal_template() {
    let expected = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": BATCH_NAME,
            "namespace": "team",
            "labels": {
                "app.kubernetes.io/name": "report", "app.kubernetes.io/part-of": "rota",
                "app.kubernetes.io/managed-by": "rota",
                "rota.dev/job": "nightly",
                "rota.dev/job-uid": UID, "rota.dev/attempt": "2",
                "rota.dev/template": "report",
                "rota.dev/queue": "default",
            },
            "annotations": {
                "rota.dev/job-name": "nightly",
                "rota.dev/launched": pinned::annotation(&job()),
                "argocd.argoproj.io/ignore-resource-updates": "true",
                "rota.dev/template-revision": "report-1",
            },
            "ownerReferences": [{
                "apiVersion": "rota.dev/v1alpha1", "kind": "Job", "name": "nightly", "uid": UID,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {
                    "labels": {
                        "app.kubernetes.io/name": "report", "app.kubernetes.io/part-of": "rota",
                        "app.kubernetes.io/managed-by": "rota",
                        "rota.dev/job": "nightly",
                        "rota.dev/job-uid": UID, "rota.dev/attempt": "2",
                    },
                    "annotations": { "rota.dev/params": "{\"count\":7}" },
                },
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{
                        "name": "main",
                        "image": "busybox",
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "env": [
                            { "name": "PARAM_COUNT", "value": "7" },
                            { "name": "ROTA_JOB", "value": "nightly" },
                            { "name": "ROTA_JOB_UID", "value": UID },
                            { "name": "ROTA_JOB_TYPE", "value": "report" },
                            { "name": "ROTA_ATTEMPT", "value": "2" },
                            { "name": "ROTA_RUN", "value": BATCH_NAME },
                            { "name": "ROTA_NAMESPACE", "value": "team" },
                            { "name": "ROTA_QUEUE", "value": "default" },
                            { "name": "ROTA_TEMPLATE", "value": "report" },
                            { "name": "ROTA_PARAMS_FILE", "value": "/etc/rota/params.json" },
                        ],
                        "volumeMounts": [{ "name": "rota-params", "mountPath": "/etc/rota", "readOnly": true }],
                    }],
                    "volumes": [{
                        "name": "rota-params",
                        "downwardAPI": { "items": [
                            { "path": "params.json", "fieldRef": { "fieldPath": "metadata.annotations['rota.dev/params']" } },
                        ] },
                    }],
                },
            },
        },
    });
    assert_eq!(launch(&minimal()), expected);
}

#[test]
fn the_manifest_is_a_batch_job() {
    let batch: BatchJob = serde_json::from_value(launch(&minimal())).unwrap();
    assert_eq!(batch.spec.unwrap().backoff_limit, Some(0));
}

#[test]
fn a_scheduled_member_says_where_it_comes_from() {
    let manifest = launch_with(&scheduled_member(), &minimal(), &[], None).unwrap();
    let labels = &manifest["metadata"]["labels"];
    assert_eq!(
        (labels["rota.dev/schedule"].as_str(), labels["rota.dev/group"].as_str()),
        (Some("every-night"), Some("batch"))
    );
    let annotations = &manifest["metadata"]["annotations"];
    for key in ["rota.dev/scheduled-time", "batch.kubernetes.io/cronjob-scheduled-timestamp"] {
        assert_eq!(annotations[key], "2026-11-23T09:00:00Z", "{key}");
    }
    let environment = environment_of(main_container(&manifest));
    let expected = [
        ("ROTA_SCHEDULE", "every-night"),
        ("ROTA_SCHEDULED_TIME", "2026-11-23T09:00:00Z"),
        ("ROTA_GROUP", "batch"),
        ("ROTA_MEMBER", "first"),
    ];
    assert!(expected.iter().all(|variable| environment.contains(variable)), "{environment:?}");
}

#[test]
fn what_the_user_wrote_is_passed_on_except_what_rota_must_decide() {
    let template = json!({
        "metadata": {
            "name": "ignored",
            "finalizers": ["ignored"],
            "labels": {
                "team": "data", "kueue.x-k8s.io/queue-name": "gpu", "app.kubernetes.io/managed-by": "Helm",
                "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/instance": "x", "argocd.argoproj.io/instance": "x", "job-name": "old",
                "kustomize.toolkit.fluxcd.io/name": "x", "helm.toolkit.fluxcd.io/name": "x", "rota.dev/schedule": "forged",
                "batch.kubernetes.io/controller-uid": "old",
            },
            "annotations": {
                "note": "kept", "meta.helm.sh/release-name": "x", "argocd.argoproj.io/sync-wave": "1",
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "rota.dev/job-name": "forged",
            },
        },
        "spec": {
            "backoffLimit": 6, "ttlSecondsAfterFinished": 1, "selector": {}, "manualSelector": true, "suspend": true,
            "parallelism": 3, "aFieldOfTomorrow": { "a": [1] },
            "template": {
                "metadata": {
                    "labels": { "app": "report", "app.kubernetes.io/name": "own", "app.kubernetes.io/instance": "x", "controller-uid": "old", "rota.dev/job": "forged" },
                    "annotations": { "sidecar.istio.io/inject": "false", "argocd.argoproj.io/tracking-id": "x", "rota.dev/params": "forged" },
                },
                "spec": { "restartPolicy": "OnFailure", "another": true, "containers": [{ "name": "main", "terminationMessagePolicy": "File" }] },
            },
        },
    });
    let manifest = launch(&template);
    let metadata = &manifest["metadata"];
    assert_eq!(metadata["name"], BATCH_NAME);
    // Its own, for the time to live: not those of the body.
    assert_eq!(metadata["finalizers"], json!([RECORD_FINALIZER]));
    let keys = |map: &Value| map.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&metadata["labels"]),
        [
            "app.kubernetes.io/managed-by",
            "app.kubernetes.io/name",
            "app.kubernetes.io/part-of",
            "kueue.x-k8s.io/queue-name",
            "rota.dev/attempt",
            "rota.dev/job",
            "rota.dev/job-uid",
            "rota.dev/queue",
            "rota.dev/template",
            "team",
        ]
    );
    assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "rota");
    assert_eq!(recommended(metadata), ["report", "shop"]);
    assert_eq!(
        keys(&metadata["annotations"]),
        [
            "argocd.argoproj.io/ignore-resource-updates",
            "note",
            "rota.dev/job-name",
            "rota.dev/launched",
            "rota.dev/template-revision"
        ]
    );
    assert_eq!(metadata["annotations"]["rota.dev/job-name"], "nightly");
    assert_eq!(
        keys(&manifest["spec"]),
        ["aFieldOfTomorrow", "backoffLimit", "parallelism", "suspend", "template", "ttlSecondsAfterFinished"]
    );
    assert_eq!(manifest["spec"]["backoffLimit"], 0);
    the_pod_template_is_passed_on(&manifest["spec"]["template"]);
    assert_eq!(main_container(&manifest)["terminationMessagePolicy"], "File");
}

fn recommended(metadata: &Value) -> [Value; 2] {
    ["name", "part-of"].map(|label| metadata["labels"][format!("app.kubernetes.io/{label}")].clone())
}

fn the_pod_template_is_passed_on(pod: &Value) {
    assert_eq!(recommended(&pod["metadata"]), ["own", "rota"]);
    let keys = |map: &Value| map.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&pod["metadata"]["labels"]),
        [
            "app",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
            "app.kubernetes.io/name",
            "app.kubernetes.io/part-of",
            "rota.dev/attempt",
            "rota.dev/job",
            "rota.dev/job-uid"
        ]
    );
    assert_eq!(pod["metadata"]["labels"]["rota.dev/job"], "nightly");
    assert_eq!(
        keys(&pod["metadata"]["annotations"]),
        ["argocd.argoproj.io/tracking-id", "rota.dev/params", "sidecar.istio.io/inject"]
    );
    assert_eq!(pod["metadata"]["annotations"]["rota.dev/params"], "{\"count\":7}");
    assert_eq!((&pod["spec"]["restartPolicy"], &pod["spec"]["another"]), (&json!("Never"), &json!(true)));
}

#[test]
fn the_shorter_deadline_counts() {
    let with_own = |own: Value| {
        let mut template = minimal();
        template["spec"]["activeDeadlineSeconds"] = own;
        template
    };
    let table = [
        (json!(null), None, json!(null)),
        (json!(null), Some(30), json!(30)),
        (json!(60), None, json!(60)),
        (json!(60), Some(30), json!(30)),
        (json!(20), Some(30), json!(20)),
    ];
    for (own, timeout, expected) in table {
        let manifest = launch_with(&job(), &with_own(own.clone()), &[], timeout).unwrap();
        assert_eq!(manifest["spec"]["activeDeadlineSeconds"], expected, "{own} {timeout:?}");
    }
    let wrong = launch_with(&job(), &with_own(json!("60")), &[], Some(30)).unwrap_err();
    assert_eq!(wrong.to_string(), "spec.jobTemplate.spec.activeDeadlineSeconds: must be a whole number");
}

#[test]
fn a_variable_that_the_user_defined_stays_the_users() {
    let mut template = minimal();
    let own = json!([
        { "name": "PARAM_COUNT", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "ROTA_JOB", "value": "mine" },
        { "name": "LINE", "value": "$(PARAM_OTHER)" },
    ]);
    template["spec"]["template"]["spec"]["containers"][0]["env"] = own;
    let manifest = launch_with(&job(), &template, &[("count", "7"), ("other", "x")], None).unwrap();
    let environment = environment_of(main_container(&manifest));
    assert_eq!(environment.first(), Some(&("PARAM_OTHER", "x")));
    assert_eq!(
        environment[environment.len() - 3..],
        [("PARAM_COUNT", "(from elsewhere)"), ("ROTA_JOB", "mine"), ("LINE", "$(PARAM_OTHER)")]
    );
    assert_eq!(environment.iter().filter(|(name, _)| *name == "PARAM_COUNT" || *name == "ROTA_JOB").count(), 2);
}

/// Kubernetes would replace $(ROTA_JOB), and make one dollar of two.
#[test]
fn a_value_reaches_the_container_as_it_was_given() {
    let manifest = launch_with(&job(), &minimal(), &[("price", "$5 $$ $(ROTA_JOB)")], None).unwrap();
    assert_eq!(environment_of(main_container(&manifest))[0], ("PARAM_PRICE", "$$5 $$$$ $$(ROTA_JOB)"));
    let file = &manifest["spec"]["template"]["metadata"]["annotations"]["rota.dev/params"];
    assert_eq!(file, r#"{"price":"$5 $$ $(ROTA_JOB)"}"#);
}

#[test]
fn init_containers_are_prepared_too() {
    let mut template = minimal();
    template["spec"]["template"]["spec"]["initContainers"] = json!([{ "name": "fetch" }]);
    let manifest = launch(&template);
    let fetch = &manifest["spec"]["template"]["spec"]["initContainers"][0];
    for field in ["env", "volumeMounts", "terminationMessagePolicy"] {
        assert_eq!(fetch[field], main_container(&manifest)[field], "{field}");
    }
}

#[test]
fn a_directory_that_the_user_mounts_is_left_alone() {
    for (path, taken) in
        [("/etc/rota", true), ("/etc/rota/", true), ("/etc/rota/params.json", true), ("/etc/rotary", false)]
    {
        let mut template = minimal();
        template["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "own", "mountPath": path }]);
        let manifest = launch(&template);
        let container = main_container(&manifest);
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert_eq!(mounts[0]["name"], "own");
        assert_eq!(mounts.len(), if taken { 1 } else { 2 }, "{path}");
        let told = environment_of(container).iter().any(|(name, _)| *name == "ROTA_PARAMS_FILE");
        assert_eq!(told, !taken, "{path}");
        assert_eq!(manifest["spec"]["template"]["spec"].get("volumes").is_some(), !taken, "{path}");
    }
}

#[test]
fn a_malformed_template_is_refused_by_field() {
    let pod = |spec: Value| json!({ "spec": { "template": { "spec": spec } } });
    let table = [
        (json!(null), "spec.jobTemplate: must be an object"),
        (json!([]), "spec.jobTemplate: must be an object"),
        (json!({}), "spec.jobTemplate.spec: is required"),
        (json!({ "spec": 1 }), "spec.jobTemplate.spec: must be an object"),
        (json!({ "metadata": "x", "spec": {} }), "spec.jobTemplate.metadata: must be an object"),
        (json!({ "metadata": { "labels": [] }, "spec": {} }), "spec.jobTemplate.metadata.labels: must be an object"),
        (json!({ "spec": {} }), "spec.jobTemplate.spec.template: is required"),
        (json!({ "spec": { "template": [] } }), "spec.jobTemplate.spec.template: must be an object"),
        (json!({ "spec": { "template": {} } }), "spec.jobTemplate.spec.template.spec: is required"),
        (pod(json!({})), "spec.jobTemplate.spec.template.spec.containers: is required"),
        (pod(json!({ "containers": {} })), "spec.jobTemplate.spec.template.spec.containers: must be a list"),
        (pod(json!({ "containers": ["x"] })), "spec.jobTemplate.spec.template.spec.containers[0]: must be an object"),
        (
            pod(json!({ "containers": [], "initContainers": 1 })),
            "spec.jobTemplate.spec.template.spec.initContainers: must be a list",
        ),
        (
            pod(json!({ "containers": [{}, { "env": "x" }] })),
            "spec.jobTemplate.spec.template.spec.containers[1].env: must be a list",
        ),
        (
            pod(json!({ "containers": [{ "volumeMounts": 1 }] })),
            "spec.jobTemplate.spec.template.spec.containers[0].volumeMounts: must be a list",
        ),
        (
            pod(json!({ "containers": [{}], "volumes": {} })),
            "spec.jobTemplate.spec.template.spec.volumes: must be a list",
        ),
        (
            pod(json!({ "containers": [{}], "volumes": [{ "name": "rota-params" }] })),
            "spec.jobTemplate.spec.template.spec.volumes: the name rota-params is reserved for the parameter file",
        ),
    ];
    for (template, expected) in table {
        let error = launch_with(&job(), &template, &[], None).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn nulls_are_as_good_as_nothing() {
    let template = json!({ "metadata": null, "spec": { "activeDeadlineSeconds": null, "template": { "metadata": { "labels": null },
        "spec": { "initContainers": null, "volumes": null, "containers": [
            { "name": "main", "image": "busybox", "env": null, "volumeMounts": null, "terminationMessagePolicy": null },
        ] } } } });
    let manifest = launch(&template);
    assert_eq!(main_container(&manifest), main_container(&launch(&minimal())));
}

#[test]
fn a_probe_is_like_a_launch_without_an_owner() {
    let declared: Vec<Param> = serde_json::from_value(json!([
        { "name": "size", "enum": ["small"], "required": true }, { "name": "count", "type": "integer", "minimum": 3 },
        { "name": "text", "default": "d" }, { "name": "dry", "type": "boolean" }, { "name": "free", "required": true },
    ]))
    .unwrap();
    let probe = dry_run_job("team", "report", &minimal(), &declared).unwrap();
    assert_eq!(probe["metadata"].get("ownerReferences"), None);
    assert_eq!(probe["metadata"]["namespace"], "team");
    assert_eq!(
        probe["spec"]["template"]["metadata"]["annotations"]["rota.dev/params"],
        r#"{"count":3,"dry":true,"free":"sample","size":"small","text":"d"}"#
    );
    let _: BatchJob = serde_json::from_value(probe).unwrap();
    assert!(dry_run_job("team", "report", &json!({}), &[]).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "metadata",
        "labels",
        "annotations",
        "spec",
        "template",
        "containers",
        "initContainers",
        "env",
        "volumeMounts",
        "volumes",
        "name",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,5}".prop_map(Value::from)
    ];
    leaf.prop_recursive(7, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_shape_makes_it_panic(template in any_json(), spec in any_json(), pod in any_json(), containers in any_json()) {
        let _ = launch_with(&job(), &template, &[("a", "b")], Some(1));
        let _ = launch_with(&job(), &json!({ "spec": spec }), &[("a", "b")], Some(1));
        let _ = launch_with(&job(), &json!({ "spec": { "template": { "spec": pod } } }), &[("a", "b")], None);
        let pod = json!({ "spec": { "template": { "spec": { "containers": containers.clone(), "volumes": containers } } } });
        let _ = launch_with(&job(), &pod, &[("a", "b")], None);
    }
}

#[test]
fn what_kueue_reads_of_a_job_is_the_jobs_own_else_the_templates() {
    for name in ["kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"] {
        let mut template = minimal();
        template["metadata"] = json!({ "labels": { name: "of-template" } });
        let label = |job: &Job, template: &Value| {
            launch_with(job, template, &[], None).unwrap()["metadata"]["labels"][name].as_str().map(str::to_owned)
        };
        let mut own = job();
        own.metadata.labels.get_or_insert_default().insert(name.into(), "own".into());
        assert_eq!(label(&job(), &minimal()), None);
        assert_eq!(label(&job(), &template).as_deref(), Some("of-template"));
        assert_eq!(label(&own, &template).as_deref(), Some("own"));
        assert_eq!(label(&own, &minimal()).as_deref(), Some("own"));
    }
}

#[test]
fn a_failure_ends_the_attempt_unless_each_index_has_retries_of_its_own() {
    let limit = |fields: Value| {
        let mut template = minimal();
        template["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        launch(&template)["spec"]["backoffLimit"].clone()
    };
    assert_eq!(limit(json!({ "backoffLimit": 6 })), json!(0));
    assert_eq!(limit(json!({ "backoffLimitPerIndex": null })), json!(0));
    assert_eq!(limit(json!({ "backoffLimitPerIndex": 1 })), json!(null));
    assert_eq!(limit(json!({ "backoffLimitPerIndex": 1, "backoffLimit": 6 })), json!(6));
    let policy = json!({ "rules": [{ "succeededCount": 1 }] });
    assert_eq!(limit(json!({ "successPolicy": policy })), json!(null));
    assert_eq!(limit(json!({ "successPolicy": policy, "backoffLimit": 3 })), json!(3));
    assert_eq!(limit(json!({ "successPolicy": null })), json!(0));
}

#[test]
fn what_the_api_server_wrote_into_a_live_object_is_no_wish_for_a_record_without_a_log() {
    let policy = |fields: Value| {
        let mut template = minimal();
        let container = template.pointer_mut("/spec/template/spec/containers/0").unwrap();
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        main_container(&launch(&template))["terminationMessagePolicy"].clone()
    };
    let (file, log) = (json!("File"), json!("FallbackToLogsOnError"));
    let defaults = json!({ "terminationMessagePolicy": "File", "terminationMessagePath": "/dev/termination-log" });
    assert_eq!(policy(defaults), log);
    assert_eq!(policy(json!({ "terminationMessagePath": "/dev/termination-log" })), log);
    assert_eq!(policy(json!({ "terminationMessagePolicy": "File" })), file, "somebody wrote this");
    assert_eq!(policy(json!({ "terminationMessagePolicy": "File", "terminationMessagePath": "/out/report" })), file);
}

/// By labels of pods NetworkPolicies, affinity and other tools of theirs select them: what a tenant wrote there stays.
#[test]
fn the_labels_of_pods_stay_as_they_are_but_for_those_of_rota_and_kubernetes() {
    let mut template = minimal();
    let labels = json!({
        "app.kubernetes.io/instance": "x", "app.kubernetes.io/managed-by": "Helm", "argocd.argoproj.io/instance": "x",
        "helm.toolkit.fluxcd.io/name": "x", "job-name": "of another", "rota.dev/job": "forged",
    });
    template["metadata"] = json!({ "labels": labels });
    template["spec"]["template"]["metadata"] = json!({ "labels": labels, "annotations": {
        "meta.helm.sh/release-name": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}",
    } });
    let manifest = launch(&template);
    let pod = &manifest["spec"]["template"]["metadata"];
    for (key, value) in labels.as_object().unwrap() {
        let found = &pod["labels"][key];
        match key.as_str() {
            "job-name" => assert!(found.is_null(), "Kubernetes writes this one"),
            "rota.dev/job" => assert_eq!(found, "nightly"),
            _ => assert_eq!(found, value, "{key}"),
        }
    }
    assert_eq!(pod["annotations"]["meta.helm.sh/release-name"], "x");
    assert!(
        pod["annotations"].get("kubectl.kubernetes.io/last-applied-configuration").is_none(),
        "kubectl prunes by it"
    );
    // The batch Job is Rota's, and no tool's to prune.
    let batch = &manifest["metadata"]["labels"];
    assert_eq!(batch["app.kubernetes.io/managed-by"], "rota");
    for key in ["app.kubernetes.io/instance", "argocd.argoproj.io/instance", "helm.toolkit.fluxcd.io/name"] {
        assert!(batch.get(key).is_none(), "{key}");
    }
}

/// A policy that asks for it is satisfied, and Kubernetes does not remove what an operator that was away has not recorded.
#[test]
fn how_long_an_ended_batch_job_stays_is_passed_on_but_never_less_than_recording_needs() {
    for (own, expected) in [
        (json!(null), json!(null)),
        (json!(0), json!(3_600)),
        (json!(3_599), json!(3_600)),
        (json!(86_400), json!(86_400)),
        // Kubernetes says of this one what is wrong with it.
        (json!(-1), json!(-1)),
    ] {
        let mut template = minimal();
        template["spec"]["ttlSecondsAfterFinished"] = own.clone();
        let manifest = launch(&template);
        assert_eq!(manifest["spec"]["ttlSecondsAfterFinished"], expected, "{own}");
        let is_held = manifest["metadata"].get("finalizers").is_some();
        assert_eq!(is_held, expected.as_i64().is_some_and(|seconds| seconds >= 0), "{own}");
    }
}

/// Kubernetes appends the index of a pod to the name of an Indexed batch Job: what a template says is right whatever its
/// own name is.
#[test]
fn the_name_of_a_template_does_not_make_it_invalid() {
    for name in ["x".repeat(63), "x.".repeat(100) + "x", "report".to_owned()] {
        let probe = dry_run_job("team", &name, &minimal(), &[]).unwrap();
        let hostname = format!("{}-{}", probe["metadata"]["name"].as_str().unwrap(), i32::MAX);
        assert!(hostname.len() <= 63 && !hostname.contains('.'), "{hostname}");
    }
}
