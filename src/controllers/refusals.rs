//! What the API server refuses to an object is said in the object itself: a quota, an admission policy, a name that somebody
//! else has taken. One way for all kinds: the condition Stalled, and Ready where a kind has it, with the API server's own
//! sentence, and an event. The next status that is written says that it is over.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;
use crate::api::{Job, JobGroup, JobGroupStatus, JobStatus, JobTemplate, JobTemplateStatus};
use crate::apply::{StoreOf, WriteError};
use crate::domain::conditions::{self, Conditions};
use crate::domain::plan::Note;
use crate::runtime::clock::now;
use crate::runtime::store::Stored;
use crate::runtime::stores::Prune;

/// A kind whose status has conditions.
pub trait Conditioned: HasStatus<Status: Clone + Default + PartialEq + Serialize> {
    /// Whether it has the condition Ready.
    const HAS_READY: bool;
    /// The conditions of a status.
    fn conditions(status: &mut Self::Status) -> &mut Vec<Condition>;
}

macro_rules! conditioned {
    ($($kind:ty, $status:ty, $ready:literal);* $(;)?) => {
        $(impl Conditioned for $kind {
            const HAS_READY: bool = $ready;
            fn conditions(status: &mut $status) -> &mut Vec<Condition> {
                &mut status.conditions
            }
        })*
    };
}

conditioned! {
    JobTemplate, JobTemplateStatus, true;
    JobGroup, JobGroupStatus, false;
    Job, JobStatus, false;
}

/// Says in an object what the API server refused, if that is what went wrong.
pub async fn say<K>(context: &Context, object: Option<&K>, error: &WriteError)
where
    K: Conditioned + Stored + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + StoreOf + Prune,
{
    let Some(object) = object else { return };
    say_beside(context, object, object.status().cloned().unwrap_or_default(), error).await;
}

/// Says what the API server refused beside what else there is to say in the status of an object.
pub async fn say_beside<K>(context: &Context, object: &K, mut status: K::Status, error: &WriteError)
where
    K: Conditioned + Stored + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + StoreOf + Prune,
{
    let Some(why) = error.refusal() else { return };
    let list = K::conditions(&mut status);
    let mut said = Conditions::continuing(list, object.meta().generation, now());
    conditions::refuse(&mut said, K::HAS_READY, &why);
    *list = said.into_list();
    if object.status() == Some(&status) {
        return;
    }
    let before = object.status().cloned().map(|mut it| std::mem::take(K::conditions(&mut it))).unwrap_or_default();
    if conditions::refused(&before).is_none() {
        context.tell(object, vec![Note::warning(conditions::WRITE_REFUSED, "Write", why)]);
    }
    if let Err(error) = context.writer.status(object, &status).await {
        tracing::warn!(error = %error.text(), "what was refused cannot be said in the status");
    }
}
