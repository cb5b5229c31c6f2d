//! JobGroup: which member lists are refused, and what becomes of a member that is written wrongly.

use kube::Api;
use kube::api::PostParams;
use rota::api::job_group::GroupPhase;
use rota::api::{JobGroup, Outcome, Reason};
use serde_json::json;

use crate::cluster::in_namespace;
use crate::operator::{Operator, Rights, until};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_template_does_not_exist_has_failed_and_stops_the_group() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        let jobs = json!([
            { "name": "transform", "templateRef": { "name": "tranform" } },
            { "name": "load", "templateRef": { "name": "load" } },
        ]);
        let spec = json!({ "mode": "Sequential", "failurePolicy": "Stop", "jobs": jobs });
        let mut group = crate::cluster::object("JobGroup", &json!({ "spec": spec }));
        group.metadata.generate_name = None;
        group.metadata.name = Some("etl".into());
        scope.objects("JobGroup").create(&PostParams::default(), &group).await.unwrap();
        let groups: Api<JobGroup> = Api::namespaced(scope.client.clone(), &scope.namespace);
        let ended = until("it ends", || async {
            let status = groups.get("etl").await.unwrap().status?;
            status.phase.is_some_and(GroupPhase::is_ended).then_some(status)
        })
        .await;
        assert_eq!(ended.phase, Some(GroupPhase::Partial));
        let outcomes: Vec<_> = ended.members.iter().map(|it| (it.outcome, it.reason)).collect();
        assert_eq!(
            outcomes,
            [
                (Some(Outcome::Failed), Some(Reason::TemplateNotFound)),
                (Some(Outcome::Skipped), Some(Reason::GroupStopped)),
            ]
        );
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
