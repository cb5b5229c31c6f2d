//! Completing batch Jobs, as the Job controller would once their pods have succeeded.

use futures::{StreamExt, stream};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use rota::runtime::clock;

use crate::completed::completed;

/// How many Jobs are completed at the same time.
const AT_ONCE: usize = 16;

/// Completes every batch Job of a namespace that is not complete yet. Says how many there were.
pub async fn complete_all(client: &Client, namespace: &str) -> usize {
    let api: Api<BatchJob> = Api::namespaced(client.clone(), namespace);
    let jobs = api.list(&ListParams::default()).await.unwrap().items;
    let open = jobs.into_iter().filter(|job| job.status.as_ref().is_none_or(|status| status.completion_time.is_none()));
    let names: Vec<_> = open.map(|job| job.name_any()).collect();
    let count = names.len();
    let requests = names.into_iter().map(|name| {
        let api = api.clone();
        async move {
            let patch = Patch::Merge(completed(clock::now()));
            api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
        }
    });
    stream::iter(requests).buffer_unordered(AT_ONCE).collect::<()>().await;
    count
}
