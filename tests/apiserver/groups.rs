//! JobGroup: which member lists are refused.

use serde_json::json;

use crate::cluster::in_namespace;

#[tokio::test]
async fn the_members_of_a_group_need_names_of_their_own_and_templates() {
    in_namespace(|scope| async move {
        let member = json!({ "name": "one", "templateRef": { "name": "report" } });
        for (jobs, complaint) in [
            (json!([member, member]), "spec.jobs[1]: Duplicate value"),
            (json!([{ "name": "One", "templateRef": { "name": "report" } }]), "spec.jobs[0].name in body should match"),
            (json!([{ "name": "one" }]), "spec.jobs[0].templateRef: Required value"),
        ] {
            let group = json!({ "spec": { "mode": "Parallel", "jobs": jobs } });
            let status = scope.try_create("JobGroup", &group).await.expect_err(complaint);
            assert!(status.message.contains(complaint), "{}", status.message);
        }
    })
    .await;
}

#[tokio::test]
async fn a_dependency_between_members_is_refused_by_name_because_there_is_no_such_field() {
    in_namespace(|scope| async move {
        let manifest = r"
apiVersion: rota.dev/v1alpha1
kind: JobGroup
metadata: { name: circle }
spec:
  mode: Parallel
  jobs:
    - { name: one, templateRef: { name: report }, dependsOn: [two] }
    - { name: two, templateRef: { name: report }, dependsOn: [one] }
";
        let errors = scope.kubectl_with(&["create", "-f", "-"], manifest).expect_failure();
        assert!(errors.contains(r#"unknown field "spec.jobs[0].dependsOn""#), "{errors}");
    })
    .await;
}
