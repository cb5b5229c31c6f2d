//! An operator that works on some namespaces and on no other.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::ListParams;
use rota::api::Job;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Proxy};

fn job() -> Value {
    json!({ "jobType": "x", "jobTemplate": pod_template() })
}

/// Waits until so many Jobs of a namespace have a batch Job.
async fn launched(scope: &Scope, many: usize) {
    until(&format!("{many} are launched in {}", scope.namespace), || async {
        let found = api::<BatchJob>(scope).list(&ListParams::default()).await.unwrap();
        (found.items.len() == many).then_some(())
    })
    .await;
}

/// A test with three namespaces; the operator is to work on the first two.
async fn in_three<Running>(test: impl FnOnce(Scope, Scope, Scope) -> Running + Send + 'static)
where
    Running: Future<Output = ()> + Send + 'static,
{
    in_namespace(|first| async move {
        in_namespace(|second| async move { in_namespace(|third| test(first, second, third)).await }).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_on_the_namespaces_it_is_given_with_rights_in_no_other() {
    in_three(|first, second, third| async move {
        create(&third, "Job", "before", job()).await;
        create(&second, "Job", "before", job()).await;
        let rights = Rights::in_namespaces(&first, &[&first.namespace, &second.namespace]);
        let more = format!("--namespace={},{}", second.namespace, first.namespace);
        let operator = Operator::start_with(&first, rights.kubeconfig(), "only", &[&more]);
        operator.leads().await;
        create(&first, "Job", "after", job()).await;
        launched(&first, 1).await;
        launched(&second, 1).await;
        create(&second, "Job", "after", job()).await;
        launched(&second, 2).await;
        let (code, text) = operator.endpoint("/readyz").await;
        assert_eq!(code, 200, "{text}");
        let other = api::<Job>(&third).get("before").await.unwrap();
        // The API server makes a status of that generation up.
        assert!(
            other.status.is_none_or(|status| status.observed_generation == Some(-1)),
            "it works on another namespace"
        );
        drop(operator);
        rights.remove();
    })
    .await;
}

/// What goes on in one namespace hides no watch of another one that went silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_one_namespace_that_goes_silent_is_noticed_while_another_one_goes_on() {
    in_three(|first, second, _| async move {
        let rights = Rights::in_namespaces(&first, &[&first.namespace, &second.namespace]);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let more = format!("--namespace={}", second.namespace);
        let operator = Operator::start_with(&first, proxy.kubeconfig(), "only", &[&more, "--watch-quiet-seconds=5"]);
        operator.leads().await;
        create(&second, "Job", "seen", job()).await;
        launched(&second, 1).await;
        let path = format!("/namespaces/{}/jobs", second.namespace);
        let is_watched = move |it: &Asked| it.is_watch() && it.path.contains("rota.dev") && it.path.ends_with(&path);
        // The watch that is open goes silent; the next one tells.
        proxy.order(is_watched, Fate::Swallow);
        proxy.clear();
        create(&second, "Job", "unseen", job()).await;
        let mut number = 0;
        until("it is launched all the same", || {
            number += 1;
            let (first, second, name) = (first.clone(), second.clone(), format!("job-{number}"));
            async move {
                create(&first, "Job", &name, job()).await;
                let found = api::<BatchJob>(&second).list(&ListParams::default()).await.unwrap();
                (found.items.len() == 2).then_some(())
            }
        })
        .await;
        drop(operator);
        rights.remove();
    })
    .await;
}
