//! The jobTemplate of templates and ad hoc Jobs: a CronJob's body pastes in, and mistakes in it are found.

use crate::cluster::in_namespace;

/// The body of a CronJob as people have it, with quantities as bare numbers and most of what a pod can have.
const CRON_JOB_BODY: &str = r#"
    metadata:
      labels: { app: report }
      annotations: { example.com/owner: blue }
    spec:
      parallelism: 1
      completions: 1
      backoffLimit: 3
      activeDeadlineSeconds: 600
      ttlSecondsAfterFinished: 3600
      podFailurePolicy:
        rules:
          - action: Ignore
            onPodConditions: [{ type: DisruptionTarget, status: "True" }]
      template:
        metadata:
          labels: { app: report }
        spec:
          restartPolicy: Never
          serviceAccountName: report
          securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: RuntimeDefault } }
          nodeSelector: { kubernetes.io/os: linux }
          tolerations: [{ key: batch, operator: Exists, effect: NoSchedule }]
          affinity:
            nodeAffinity:
              preferredDuringSchedulingIgnoredDuringExecution:
                - weight: 1
                  preference: { matchExpressions: [{ key: zone, operator: In, values: [a, b] }] }
          initContainers:
            - { name: sidecar, image: "proxy:1", restartPolicy: Always }
          containers:
            - name: report
              image: report:1.2
              command: [/bin/report]
              args: ["--region", "$(PARAM_REGION)"]
              env:
                - { name: TOKEN, valueFrom: { secretKeyRef: { name: report, key: token } } }
                - { name: CORES, valueFrom: { resourceFieldRef: { resource: limits.cpu, divisor: 1 } } }
                - { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
              envFrom: [{ configMapRef: { name: report } }]
              resources:
                requests: { cpu: 1, memory: 128Mi, example.com/gpu: 2 }
                limits: { cpu: 1.5, memory: 1Gi, example.com/gpu: 2 }
              ports: [{ containerPort: 8080 }]
              startupProbe: { httpGet: { path: /ready, port: 8080 } }
              livenessProbe: { tcpSocket: { port: http } }
              securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
              volumeMounts: [{ name: scratch, mountPath: /scratch }]
          volumes:
            - { name: scratch, emptyDir: { sizeLimit: 1Gi } }
            - { name: small, emptyDir: { sizeLimit: 1000000 } }
            - name: claim
              ephemeral:
                volumeClaimTemplate:
                  spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 5Gi } } }
"#;

fn cron_job() -> String {
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{ name: report }}\nspec:\n  schedule: '0 9 * * *'\n  jobTemplate:{CRON_JOB_BODY}"
    )
}

fn job_template() -> String {
    format!(
        "apiVersion: rota.dev/v1alpha1\nkind: JobTemplate\nmetadata: {{ name: report }}\nspec:\n  jobType: report\n  jobTemplate:{CRON_JOB_BODY}"
    )
}

fn ad_hoc_job() -> String {
    format!(
        "apiVersion: rota.dev/v1alpha1\nkind: Job\nmetadata: {{ name: report }}\nspec:\n  jobType: report\n  jobTemplate:{CRON_JOB_BODY}"
    )
}

#[tokio::test]
async fn the_body_of_a_cron_job_pastes_into_a_template_and_into_an_ad_hoc_job_and_keeps_every_field() {
    in_namespace(|scope| async move {
        let stored = |manifest: &str, resource: &str| {
            scope.kubectl_with(&["create", "-f", "-"], manifest).expect_success();
            let output = "--output=jsonpath={.spec.jobTemplate.spec.template.spec.containers[0].resources}";
            scope.kubectl(&["get", resource, "report", output]).expect_success()
        };
        // The CronJob itself shows that the body is one Kubernetes accepts.
        scope.kubectl_with(&["create", "-f", "-"], &cron_job()).expect_success();
        for resources in [stored(&job_template(), "rtmpl"), stored(&ad_hoc_job(), "rjob")] {
            let value: serde_json::Value = serde_json::from_str(&resources).unwrap();
            let expected = serde_json::json!({
                "requests": { "cpu": 1, "memory": "128Mi", "example.com/gpu": 2 },
                "limits": { "cpu": 1.5, "memory": "1Gi", "example.com/gpu": 2 },
            });
            assert_eq!(value, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_field_that_pods_do_not_have_is_refused_by_name() {
    in_namespace(|scope| async move {
        for (right, wrong, field) in [
            ("image: report:1.2", "imagee: report:1.2", "template.spec.containers[0].imagee"),
            ("backoffLimit: 3", "backofLimit: 3", "jobTemplate.spec.backofLimit"),
            ("serviceAccountName: report", "serviceAcountName: report", "template.spec.serviceAcountName"),
        ] {
            for manifest in [job_template(), ad_hoc_job()] {
                let mistaken = manifest.replace(right, wrong);
                let errors = scope.kubectl_with(&["create", "-f", "-"], &mistaken).expect_failure();
                assert!(errors.contains("unknown field") && errors.contains(field), "{field}: {errors}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_value_of_the_wrong_type_inside_the_pod_is_refused_at_its_field() {
    in_namespace(|scope| async move {
        for (right, wrong, field) in [
            ("command: [/bin/report]", "command: /bin/report", "containers[0].command"),
            ("parallelism: 1", "parallelism: many", "jobTemplate.spec.parallelism"),
            ("cpu: 1,", "cpu: [1],", "requests.cpu"),
            ("cpu: 1.5", "cpu: { cores: 1 }", "limits.cpu"),
            ("memory: 128Mi", "memory: 128 MB", "requests.memory"),
            ("sizeLimit: 1Gi", "sizeLimit: large", "volumes[0].emptyDir.sizeLimit"),
        ] {
            let mistaken = job_template().replace(right, wrong);
            let errors = scope.kubectl_with(&["create", "-f", "-"], &mistaken).expect_failure();
            assert!(errors.contains(field), "{field}: {errors}");
        }
    })
    .await;
}
