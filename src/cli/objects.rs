//! Objects: the objects of a namespace, listed once in pages and kept up to date by watches that start where the list ended.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cluster::NamespaceArguments;
use super::plugin::PluginError;
use crate::domain::words::{is_unprintable, printable};

/// How many objects one page of a list holds.
const PAGE: u32 = 500;
/// Selects the Jobs that have not ended.
pub const UNFINISHED: &str = "status.phase!=Finished,status.phase!=Cancelled";

/// What can be listed and watched here.
pub trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + 'static
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + 'static
{
}

/// A namespace of a cluster, with the caller's own rights.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Connection {
    /// Connects; `streams` for verbs that watch or follow.
    pub async fn open(arguments: &NamespaceArguments, streams: bool) -> Result<Self, PluginError> {
        let cluster = &arguments.cluster;
        let (client, own) = if streams { cluster.connect_to_stream().await? } else { cluster.connect().await? };
        Ok(Self { client, namespace: arguments.namespace.clone().unwrap_or(own) })
    }

    /// The objects of a kind in the namespace.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An object that has to be there.
    pub async fn get<K: Kind>(&self, name: &str) -> Result<K, PluginError> {
        self.find(name).await?.ok_or_else(|| self.missing(&K::kind(&()), name))
    }

    /// An object, if it is there.
    pub async fn find<K: Kind>(&self, name: &str) -> Result<Option<K>, PluginError> {
        Ok(self.api().get_opt(name).await.map_err(refused)?.map(shown))
    }

    /// There is no such object.
    pub fn missing(&self, kind: &str, name: &str) -> PluginError {
        PluginError::Failed(format!("there is no {kind} {name:?} in the namespace {:?}", self.namespace))
    }
}

/// What an error of the API server or of the way to it means for the caller.
pub fn refused(error: kube::Error) -> PluginError {
    match &error {
        kube::Error::Api(status) if status.code == 403 => PluginError::Failed(format!(
            "{}; `kubectl auth can-i --list` tells what you may do, and an administrator of the namespace may allow more",
            status.message
        )),
        kube::Error::Api(status)
            if status.code == 404 && status.details.as_ref().is_none_or(|it| it.name.is_empty()) =>
        {
            PluginError::Failed(format!("{}: are Rota's CRDs installed (kubectl apply -f crds/)?", status.message))
        }
        kube::Error::Api(status) => PluginError::Failed(status.message.clone()),
        other => PluginError::failed(other),
    }
}

/// Whether the API server answered with this code.
pub fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// An object of the cluster as it may be shown: what tenants wrote into it cannot control the terminal of the reader. Every
/// object that a verb gets goes through here.
pub fn shown<K: Serialize + DeserializeOwned>(object: K) -> K {
    let Ok(mut content) = serde_json::to_value(&object) else { return object };
    if !write_out(&mut content) {
        return object;
    }
    serde_json::from_value(content).unwrap_or(object)
}

/// Writes out what acts on a terminal in all strings of a document. Says whether there was any.
fn write_out(content: &mut Value) -> bool {
    match content {
        Value::String(text) => {
            let acts = text.chars().any(is_unprintable);
            if acts {
                *text = printable(text);
            }
            acts
        }
        Value::Array(items) => items.iter_mut().map(write_out).filter(|acts| *acts).count() > 0,
        Value::Object(fields) => fields.values_mut().map(write_out).filter(|acts| *acts).count() > 0,
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// All objects that are selected, in pages, and the version from which a watch goes on.
pub async fn list<K: Kind>(api: &Api<K>, selected: &ListParams) -> Result<(Vec<K>, String), PluginError> {
    let mut page = selected.clone().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let answer = api.list(&page).await.map_err(refused)?;
        all.extend(answer.items.into_iter().map(shown));
        match answer.metadata.continue_.filter(|it| !it.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok((all, answer.metadata.resource_version.unwrap_or_default())),
        }
    }
}

/// Objects as they are now: listed once, then watched.
pub struct Live<K> {
    api: Api<K>,
    selected: ListParams,
    version: String,
    changes: Option<BoxStream<'static, kube::Result<WatchEvent<K>>>>,
    /// The objects by name.
    pub objects: BTreeMap<String, K>,
}

impl<K: Kind> Live<K> {
    /// Lists the objects that are selected.
    pub async fn list(api: Api<K>, selected: ListParams) -> Result<Self, PluginError> {
        let (objects, version) = list(&api, &selected).await?;
        Ok(Self { api, selected, version, changes: None, objects: by_name(objects) })
    }

    /// One object that is known already; nothing is listed.
    pub fn of(api: Api<K>, object: K) -> Self {
        let selected = ListParams::default().fields(&format!("metadata.name={}", object.name_any()));
        let version = object.resource_version().unwrap_or_default();
        Self { api, selected, version, changes: None, objects: by_name(vec![object]) }
    }

    /// No objects, of which there never are any.
    pub fn none(api: Api<K>) -> Self {
        Self { api, selected: ListParams::default(), version: String::new(), changes: None, objects: BTreeMap::new() }
    }

    /// Begins to watch, so that waiting for several kinds at once does not begin it again and again.
    pub async fn watch(&mut self) -> Result<(), PluginError> {
        match self.api.watch(&self.watched(), &self.version).await {
            Ok(changes) => self.changes = Some(changes.boxed()),
            Err(error) if is_code(&error, 410) => self.list_again().await?,
            Err(error) => return Err(refused(error)),
        }
        Ok(())
    }

    /// Waits until something changed, and takes in all that changed meanwhile. May be dropped and called again.
    pub async fn changed(&mut self) -> Result<(), PluginError> {
        self.one_change().await?;
        while let Some(change) = self.one_change().now_or_never() {
            change?;
        }
        Ok(())
    }

    async fn one_change(&mut self) -> Result<(), PluginError> {
        loop {
            let Some(changes) = &mut self.changes else {
                match self.api.watch(&self.watched(), &self.version).await {
                    Ok(changes) => self.changes = Some(changes.boxed()),
                    Err(error) if is_code(&error, 410) => return self.list_again().await,
                    Err(error) => return Err(refused(error)),
                }
                continue;
            };
            match changes.next().await {
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    let object = shown(object);
                    self.version = object.resource_version().unwrap_or_default();
                    self.objects.insert(object.name_any(), object);
                    return Ok(());
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    self.version = object.resource_version().unwrap_or_default();
                    self.objects.remove(&object.name_any());
                    return Ok(());
                }
                Some(Ok(WatchEvent::Bookmark(mark))) => self.version = mark.metadata.resource_version,
                Some(Ok(WatchEvent::Error(status))) if status.code == 410 => return self.list_again().await,
                Some(Ok(WatchEvent::Error(status))) => return Err(PluginError::Failed(status.message)),
                // The API server ends each watch after a while; the next one goes on where it was.
                Some(Err(_)) | None => self.changes = None,
            }
        }
    }

    fn watched(&self) -> WatchParams {
        WatchParams {
            label_selector: self.selected.label_selector.clone(),
            field_selector: self.selected.field_selector.clone(),
            ..WatchParams::default()
        }
    }

    /// The version is too old for the API server to tell what changed since.
    async fn list_again(&mut self) -> Result<(), PluginError> {
        let (objects, version) = list(&self.api, &self.selected).await?;
        self.objects = by_name(objects);
        self.version = version;
        self.changes = None;
        Ok(())
    }
}

fn by_name<K: Kind>(objects: Vec<K>) -> BTreeMap<String, K> {
    objects.into_iter().map(|object| (object.name_any(), object)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::JobRun;

    #[test]
    fn what_a_tenant_wrote_does_not_act_on_the_terminal_of_who_looks() {
        let run = |error: &str| {
            let status = serde_json::json!({ "phase": "Failed", "reason": "ExitCode", "error": error });
            let content = serde_json::json!({
                "apiVersion": "rota.dev/v1alpha1", "kind": "JobRun", "metadata": { "name": "a" }, "spec": { "attempt": 1 }, "status": status,
            });
            serde_json::from_value::<JobRun>(content).unwrap()
        };
        let error = |run: JobRun| shown(run).status.unwrap().error.unwrap();
        assert_eq!(error(run("first\n\u{1b}[2Jsecond")), "first\n\\x1b[2Jsecond");
        assert_eq!(error(run("first\nsecond")), "first\nsecond");
    }
}
