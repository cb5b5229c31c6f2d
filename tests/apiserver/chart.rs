//! What the chart renders for clusters that choose the user of a pod themselves.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::cluster::in_namespace;

const WITHOUT_USER: &str = "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null";

/// Renders the Deployment with these values.
fn render(values: &str) -> Output {
    render_only("deployment", &["--set", values])
}

/// Renders one file of the chart with these arguments, such as values.
fn render_only(file: &str, more: &[&str]) -> Output {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
    let file = format!("templates/{file}.yaml");
    let arguments = [&["template", "rota", chart, "--namespace", "team", "--show-only", &file], more].concat();
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

/// The Roles, each with where it is, and the names of the ClusterRoles.
fn roles(values: &[&str]) -> Vec<String> {
    let output = render_only("rbac", values);
    assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text.split("\n---\n").map(|it| serde_saphyr::from_str::<Value>(it).unwrap());
    let roles = documents.filter(|it| it["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")));
    let word = |role: &Value, field: &str| role["metadata"][field].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<String> = roles.map(|it| format!("{}/{}", word(&it, "namespace"), word(&it, "name"))).collect();
    found.sort();
    found
}

#[test]
fn there_is_a_role_for_each_namespace_that_the_operator_works_on_or_one_for_all() {
    let of = |more: &[&str]| {
        more.iter().chain(&["team/rota-leader-election"]).map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(roles(&[]), of(&["/rota"]));
    let one = of(&["/rota-a", "a/rota"]);
    for values in
        ["watchNamespaces={a}", "watchNamespaces=a", "watchNamespace=a", "watchNamespaces=null,watchNamespace=a"]
    {
        assert_eq!(roles(&["--set", values]), one, "{values}");
    }
    let two = ["--set-json", r#"watchNamespaces=["b", "a"]"#];
    assert_eq!(roles(&two), of(&["/rota-from-team", "a/rota", "b/rota"]));
    let said = |file| String::from_utf8(render_only(file, &two).stdout).unwrap();
    assert!(said("deployment").contains("- --namespace=b,a\n"));
    assert!(said("policies").contains(r#"values: ["b","a"]"#));
    let reads_queues = |values: &str| {
        let rules = String::from_utf8(render_only("rbac", &["--set", values]).stdout).unwrap();
        rules.contains("To see whether a Queue here pauses everything")
    };
    assert!(
        reads_queues("watchNamespaces={a}") && !reads_queues("watchNamespaces={a,team}") && !reads_queues("replicas=1")
    );
}

#[test]
fn what_is_no_list_of_namespaces_is_refused_in_one_sentence() {
    for (values, sentence) in [
        (r#"watchNamespaces=["a","a"]"#, r#"watchNamespaces: "a" is listed twice; list each namespace once"#),
        (r#"watchNamespaces=["a",""]"#, "watchNamespaces: an entry is empty; write the names of namespaces, or"),
        (
            r#"watchNamespaces=["Team A"]"#,
            r#"watchNamespaces: "Team A" is no namespace; a namespace is named by at most 63"#,
        ),
        (r#"watchNamespaces="a,b""#, r#"watchNamespaces: "a,b" is no namespace; a namespace is named by at most 63"#),
        (r#"watchNamespaces=[1]"#, "watchNamespaces: 1 is no text; write the names of namespaces, in quotes"),
        (
            r#"watchNamespaces=["a"],watchNamespace="b""#,
            r#"watchNamespace: "b" is given beside watchNamespaces; list it"#,
        ),
    ] {
        let output = render_only("deployment", &["--set-json", values]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{values}: {said}");
    }
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
