//! The Job controller of these tests: it completes each batch Job as soon as it sees it, and remembers what it saw.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use rota::api::labels::JOB_NAME_ANNOTATION;
use rota::domain::run::{BatchState, batch_outcome};
use rota::runtime::clock::now;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::completed::completed;
use crate::support::World;

/// How many batch Jobs are completed at the same time.
const AT_ONCE: usize = 16;

/// What the watch saw.
#[derive(Default)]
struct Seen {
    /// The names of the Jobs whose batch Jobs were created, in the order of creation.
    launched: Vec<String>,
    uids: HashSet<String>,
    active: HashSet<String>,
    most: usize,
}

/// Completes the batch Jobs of a world until it is dropped.
pub struct Controller {
    seen: Arc<Mutex<Seen>>,
    tasks: [JoinHandle<()>; 2],
}

impl Controller {
    pub fn start(world: &World) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (sender, receiver) = mpsc::unbounded_channel();
        let api = world.api::<BatchJob>();
        let tasks = [tokio::spawn(watch(api.clone(), seen.clone(), sender)), tokio::spawn(complete(api, receiver))];
        Self { seen, tasks }
    }

    /// The names of the Jobs that were launched, in order.
    pub fn launched(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).launched.clone()
    }

    /// How many batch Jobs were unfinished at once, at the most.
    pub fn most_at_once(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).most
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn watch(api: Api<BatchJob>, seen: Arc<Mutex<Seen>>, sender: mpsc::UnboundedSender<String>) {
    let mut changes = watcher::watcher(api, watcher::Config::default()).boxed();
    while let Some(change) = changes.next().await {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Ok(Event::Apply(batch) | Event::InitApply(batch)) => {
                let uid = batch.uid().unwrap();
                if seen.uids.insert(uid.clone()) {
                    seen.launched.push(batch.annotations()[JOB_NAME_ANNOTATION].clone());
                    let _ = sender.send(batch.name_any());
                }
                if batch_outcome(&batch) == BatchState::Active {
                    seen.active.insert(uid);
                } else {
                    seen.active.remove(&uid);
                }
                seen.most = seen.most.max(seen.active.len());
            }
            Ok(Event::Delete(batch)) => drop(seen.active.remove(&batch.uid().unwrap())),
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => println!("the test's own watch was interrupted: {error}"),
        }
    }
}

async fn complete(api: Api<BatchJob>, receiver: mpsc::UnboundedReceiver<String>) {
    let names = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let requests = names.map(|name| {
        let api = api.clone();
        async move {
            // A while ago, so that nobody waits for pods to be seen.
            let patch = Patch::Merge(completed(now() - SignedDuration::from_secs(10)));
            api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
        }
    });
    requests.buffer_unordered(AT_ONCE).collect::<()>().await;
}
