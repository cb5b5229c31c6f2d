//! Prints what is in a namespace when a test fails there.

use std::fmt::Debug;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Queue, Schedule};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How many events are printed, the latest ones.
const EVENTS_PRINTED: usize = 60;

/// Prints every object that tells something.
pub async fn print(client: &Client, namespace: &str) {
    println!("--- namespace {namespace}");
    objects::<JobTemplate>(client, namespace, &["status"]).await;
    objects::<Schedule>(client, namespace, &["status"]).await;
    objects::<Queue>(client, namespace, &["spec", "status"]).await;
    objects::<JobGroup>(client, namespace, &["status"]).await;
    objects::<Job>(client, namespace, &["spec", "status"]).await;
    objects::<JobRun>(client, namespace, &["spec", "status"]).await;
    objects::<BatchJob>(client, namespace, &["status"]).await;
    objects::<Pod>(client, namespace, &["status"]).await;
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let Ok(events) = events.list(&ListParams::default()).await else { return };
    for event in events.items.iter().rev().take(EVENTS_PRINTED).rev() {
        let about = &event.involved_object;
        let name = about.name.as_deref().unwrap_or_default();
        let reason = event.reason.as_deref().unwrap_or_default();
        println!(
            "Event {}/{name} {reason}: {}",
            about.kind.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default()
        );
    }
}

async fn objects<K>(client: &Client, namespace: &str, parts: &[&str])
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let kind = K::kind(&());
    match api.list(&ListParams::default()).await {
        Ok(list) => {
            for object in list.items {
                let value = serde_json::to_value(&object).unwrap_or_default();
                let meta = object.meta();
                let deleting = if meta.deletion_timestamp.is_some() { " (being deleted)" } else { "" };
                println!("{kind} {}{deleting} finalizers {:?}", object.name_any(), object.finalizers());
                for part in parts {
                    println!("  {part}: {}", value.get(*part).unwrap_or(&Value::Null));
                }
            }
        }
        Err(error) => println!("{kind}: {error}"),
    }
}
