//! Completing batch Jobs, as the Job controller would once their pods have succeeded.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use rota::runtime::clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

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
    stream::iter(names.iter().map(|name| complete(&api, name))).buffer_unordered(AT_ONCE).collect::<()>().await;
    count
}

/// Batch Jobs are said to have ended so long ago that their pods need not be waited for, which there are none of here.
const LONG_AGO: SignedDuration = SignedDuration::from_secs(10);

async fn complete(api: &Api<BatchJob>, name: &str) {
    let patch = Patch::Merge(completed(clock::now() - LONG_AGO));
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Completes batch Jobs as they come, in the order in which they come.
pub struct Completer {
    watching: JoinHandle<()>,
    completing: JoinHandle<()>,
}

impl Completer {
    /// Completes `count` batch Jobs of a namespace; each when the one that was launched in the place of the last is there.
    pub fn one_at_a_time(client: &Client, namespace: &str, running: usize, count: usize) -> Self {
        let api: Api<BatchJob> = Api::namespaced(client.clone(), namespace);
        let (watching, mut launched) = watch(api.clone());
        let completing = tokio::spawn(async move {
            let mut waiting = std::collections::VecDeque::new();
            for number in 0..count {
                // As many run as may, as long as there are so many.
                while waiting.len() < running.min(count - number) {
                    waiting.push_back(launched.recv().await.expect("the watch goes on"));
                }
                let (_, name) = waiting.pop_front().expect("one that runs");
                complete(&api, &name).await;
            }
        });
        Self { watching, completing }
    }

    /// Completes `count` batch Jobs of all namespaces, each as soon as it is there.
    pub fn at_once(client: &Client, count: usize) -> Self {
        let (watching, launched) = watch(Api::all(client.clone()));
        let client = client.clone();
        let completing = tokio::spawn(async move {
            let launches = stream::unfold(launched, async |mut launched| Some((launched.recv().await?, launched)));
            let requests = launches.take(count).map(|(namespace, name)| {
                let api = Api::namespaced(client.clone(), &namespace);
                async move { complete(&api, &name).await }
            });
            requests.buffer_unordered(AT_ONCE).collect::<()>().await;
        });
        Self { watching, completing }
    }

    /// Waits until all are completed.
    pub async fn finish(self) {
        self.completing.await.unwrap();
        self.watching.abort();
    }
}

/// The namespace and the name of each batch Job that comes and is not complete.
fn watch(api: Api<BatchJob>) -> (JoinHandle<()>, mpsc::UnboundedReceiver<(String, String)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let watching = tokio::spawn(async move {
        let mut seen = HashSet::new();
        let mut changes = watcher::watcher(api, watcher::Config::default()).boxed();
        while let Some(change) = changes.next().await {
            match change.expect("the watch goes on") {
                Event::Apply(job) | Event::InitApply(job) => {
                    let open = job.status.as_ref().is_none_or(|status| status.completion_time.is_none());
                    if open && seen.insert(job.uid().unwrap()) {
                        let _ = sender.send((job.namespace().unwrap(), job.name_any()));
                    }
                }
                Event::Delete(_) | Event::Init | Event::InitDone => {}
            }
        }
    });
    (watching, receiver)
}
