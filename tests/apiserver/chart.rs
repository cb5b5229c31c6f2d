//! What the chart renders for clusters that choose the user of a pod themselves.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::cluster::in_namespace;

const WITHOUT_USER: &str = "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null";

/// Renders the Deployment with these values.
fn render(values: &str) -> Output {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
    let arguments =
        ["template", "rota", chart, "--namespace", "team", "--show-only", "templates/deployment.yaml", "--set", values];
    Command::new("helm").args(arguments).output().expect("helm is in the PATH that rota-cluster gives")
}

/// The security contexts of the pod and of its container.
fn contexts(values: &str) -> [Value; 2] {
    let output = render(values);
    assert!(output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stderr));
    let deployment: Value = serde_saphyr::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    [pod["securityContext"].clone(), pod["containers"][0]["securityContext"].clone()]
}

#[test]
fn the_security_contexts_of_the_operator_can_be_set() {
    let seccomp = json!({ "type": "RuntimeDefault" });
    let pod = json!({ "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": seccomp });
    let container = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(contexts("replicas=1"), [pod, container.clone()]);
    let without = json!({ "runAsNonRoot": true, "seccompProfile": seccomp });
    assert_eq!(contexts(WITHOUT_USER), [without, container.clone()]);
    assert_eq!(contexts("podSecurityContext=null"), [Value::Null, container.clone()]);
    let [pod, own] = contexts("podSecurityContext.fsGroup=7,securityContext.runAsUser=1000");
    assert_eq!(
        (&pod["fsGroup"], &own["runAsUser"], &own["capabilities"]),
        (&json!(7), &json!(1000), &container["capabilities"])
    );
    let refused = render("podSecurityContext.runAsUser=somebody");
    assert!(!refused.status.success(), "a user is a number");
}

#[tokio::test]
async fn the_operator_fits_the_restricted_profile_also_without_a_user() {
    in_namespace(|scope| async move {
        let label = ["label", "namespace", &scope.namespace, "pod-security.kubernetes.io/warn=restricted"];
        scope.kubectl(&label).expect_success();
        let dry_run = |values: &str| {
            let deployment = String::from_utf8(render(values).stdout).unwrap();
            let deployment = deployment.replace("namespace: team", &format!("namespace: {}", scope.namespace));
            let printed = scope.kubectl_with(&["apply", "--dry-run=server", "-f", "-"], &deployment);
            assert!(printed.succeeded, "{values}: {}", printed.errors);
            printed.errors
        };
        for values in ["replicas=1", WITHOUT_USER] {
            assert_eq!(dry_run(values), "", "{values}");
        }
        assert!(dry_run("securityContext=null").contains("would violate PodSecurity"));
    })
    .await;
}
