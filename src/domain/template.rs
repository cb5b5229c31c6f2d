//! Template: whether a JobTemplate can be used, and the revisions of it that Jobs run.
//!
//! A revision is made before the status names it, and kept while a Job refers to it, also after the template is gone.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::conditions::{self, Conditions, Fact, micro};
use super::group::owner;
use super::job::{SaturatingTime, identity};
use super::plan::{Effect, Note, Plan};
use super::{launch, names, params};
use crate::api::job::TemplateSnapshot;
use crate::api::job_template::JobTemplatePhase;
use crate::api::labels::{MANAGED_BY, MANAGER, REVISION_FINALIZER, TEMPLATE};
use crate::api::{JobTemplate, JobTemplateSpec, JobTemplateStatus};

/// How long a revision that nothing refers to is kept, in milliseconds: a Job that was just resolved may be about to.
const UNUSED_REVISION_MS: i64 = 600_000;
/// The annotation of a revision with the digest of its content.
pub const DIGEST_ANNOTATION: &str = "rota.dev/digest";

/// All that a decision about a template depends on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The template.
    pub template: &'a JobTemplate,
    /// Its revisions, and whether a Job refers to each.
    pub revisions: &'a [(Arc<ControllerRevision>, bool)],
    /// What the API server said when asked whether it would accept a batch Job of it; absent: not asked yet.
    pub probe: Option<&'a Result<(), String>>,
}

/// SHA-256 of what a run depends on, in hexadecimal: the specification without its description and archived flag.
pub fn digest(spec: &JobTemplateSpec) -> String {
    let mut relevant = spec.clone();
    relevant.description.clear();
    relevant.archived = false;
    relevant.max_running = None;
    let text = serde_json::to_vec(&relevant).unwrap_or_default();
    Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which revision new Jobs of a template run.
pub fn snapshot(template: &JobTemplate) -> Option<TemplateSnapshot> {
    Some(TemplateSnapshot {
        name: template.metadata.name.clone().unwrap_or_default(),
        uid: template.metadata.uid.clone().unwrap_or_default(),
        revision: template.status.as_ref()?.current_revision.clone()?,
        digest: digest(&template.spec),
    })
}

/// Which revision that is.
pub fn snapshot_of(revision: &ControllerRevision) -> Option<TemplateSnapshot> {
    let owner = revision.metadata.owner_references.iter().flatten().find(|owner| owner.kind == "JobTemplate")?;
    Some(TemplateSnapshot {
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        revision: revision.metadata.name.clone()?,
        digest: revision.metadata.annotations.as_ref()?.get(DIGEST_ANNOTATION)?.clone(),
    })
}

/// Whether Jobs can be made of a template, and why not.
pub fn usable(template: &JobTemplate) -> Result<(), String> {
    let list = template.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    match list.iter().find(|condition| condition.type_ == conditions::READY) {
        Some(ready) if ready.status == "True" => Ok(()),
        Some(ready) => Err(ready.message.clone()),
        None => Err("it has not been read yet".into()),
    }
}

/// Whether the status of a template describes its specification as it is.
pub fn is_read(template: &JobTemplate) -> bool {
    template.status.as_ref().and_then(|status| status.observed_generation) == template.metadata.generation
        && template.metadata.generation.is_some()
}

/// Decides about one template.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Plan<JobTemplateStatus> {
    let template = facts.template;
    let mut plan = Plan::default();
    if template.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let digest = digest(&template.spec);
    let name = template.metadata.name.clone().unwrap_or_default();
    let uid = template.metadata.uid.clone().unwrap_or_default();
    let revision = names::revision(&name, &uid, &digest);
    let before = template.status.clone().unwrap_or_default();
    let unchanged = is_read(template) && conditions::holds(&before.conditions, conditions::READY);
    let declared = params::check_declarations(&template.spec.params);
    let verdict = if let Some(error) = declared.first() {
        Err(("InvalidParams", format!("spec.{error}")))
    } else if unchanged {
        Ok(())
    } else {
        match facts.probe {
            None => {
                let namespace = template.metadata.namespace.as_deref().unwrap_or_default();
                match launch::dry_run_job(namespace, &name, &template.spec.job_template, &template.spec.params) {
                    Ok(probe) => {
                        plan.effects.push(Effect::ProbeTemplate(Box::new(probe)));
                        return plan;
                    }
                    Err(error) => Err(("InvalidPodTemplate", error.to_string())),
                }
            }
            Some(Ok(())) => Ok(()),
            Some(Err(message)) => Err(("InvalidPodTemplate", format!("spec.jobTemplate: {message}"))),
        }
    };
    let exists = facts.revisions.iter().any(|(known, _)| known.metadata.name.as_deref() == Some(&revision));
    if verdict.is_ok() && !exists {
        plan.effects.push(Effect::CreateRevision(Box::new(controller_revision(template, &revision, &digest, facts))));
    }
    clean_up(facts, &revision, &mut plan, now);
    plan.status = Some(status(template, before, revision, verdict, &mut plan.notes, now));
    plan
}

fn status(
    template: &JobTemplate,
    before: JobTemplateStatus,
    revision: String,
    verdict: Result<(), (&'static str, String)>,
    notes: &mut Vec<Note>,
    now: Timestamp,
) -> JobTemplateStatus {
    let mut status = before;
    let generation = template.metadata.generation;
    if status.observed_generation != generation {
        status.updated_at = Some(micro(now));
    }
    status.observed_generation = generation;
    let mut list = Conditions::from(&status.conditions, generation, now);
    match verdict {
        Ok(()) => {
            status.current_revision = Some(revision);
            status.phase =
                Some(if template.spec.archived { JobTemplatePhase::Archived } else { JobTemplatePhase::Active });
            let (reason, message) = if template.spec.archived {
                ("Archived", "it is retired: no new Jobs are made of it")
            } else {
                ("Valid", "Jobs can be made of it")
            };
            list.set(Fact { type_: conditions::READY, holds: true, reason, message: message.into() });
            list.remove(conditions::STALLED);
        }
        Err((reason, message)) => {
            status.phase =
                Some(if template.spec.archived { JobTemplatePhase::Archived } else { JobTemplatePhase::Created });
            if !conditions::holds(&status.conditions, conditions::STALLED) {
                notes.push(Note::warning(reason, "Validate", message.clone()));
            }
            list.set(Fact { type_: conditions::READY, holds: false, reason, message: message.clone() });
            list.set(Fact { type_: conditions::STALLED, holds: true, reason, message });
        }
    }
    status.conditions = list.into_list();
    status
}

fn controller_revision(template: &JobTemplate, name: &str, digest: &str, facts: &Facts<'_>) -> ControllerRevision {
    let template_name = template.metadata.name.clone().unwrap_or_default();
    let uid = template.metadata.uid.clone().unwrap_or_default();
    let number =
        facts.revisions.iter().map(|(known, _)| known.revision.unwrap_or_default()).max().unwrap_or_default() + 1;
    ControllerRevision {
        metadata: kube::core::ObjectMeta {
            name: Some(name.into()),
            namespace: template.metadata.namespace.clone(),
            finalizers: Some(vec![REVISION_FINALIZER.into()]),
            labels: Some(
                [
                    (MANAGED_BY.to_owned(), MANAGER.to_owned()),
                    (TEMPLATE.to_owned(), names::label_value(&template_name)),
                ]
                .into(),
            ),
            annotations: Some([(DIGEST_ANNOTATION.to_owned(), digest.to_owned())].into()),
            owner_references: Some(vec![owner("JobTemplate", &template_name, &uid)]),
            ..kube::core::ObjectMeta::default()
        },
        revision: Some(number),
        data: RawExtension(json!({ "spec": portable(&template.spec) })),
    }
}

/// A specification as text that Kubernetes stores and writes back byte for byte. Its own encoder escapes these
/// characters, and takes a revision for changed whose bytes then differ.
fn portable(spec: &JobTemplateSpec) -> String {
    let text = serde_json::to_string(spec).unwrap_or_default();
    let escapes =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    escapes.iter().fold(text, |text, (character, escape)| text.replace(*character, escape))
}

/// The specification that a revision holds.
pub fn revision_spec(revision: &ControllerRevision) -> Option<JobTemplateSpec> {
    serde_json::from_str(revision.data.0.get("spec")?.as_str()?).ok()
}

fn clean_up(facts: &Facts<'_>, current: &str, plan: &mut Plan<JobTemplateStatus>, now: Timestamp) {
    let newest = facts.revisions.iter().filter_map(|(known, _)| known.revision).max();
    let superseded = facts
        .revisions
        .iter()
        .filter(|(known, _)| known.revision == newest)
        .filter_map(|(known, _)| known.metadata.creation_timestamp.as_ref())
        .map(|time| time.0.saturating_add_ms(UNUSED_REVISION_MS))
        .next();
    for (revision, used) in facts.revisions {
        if *used || revision.metadata.name.as_deref() == Some(current) || revision.revision == newest {
            continue;
        }
        match superseded {
            Some(due) if due > now => plan.wake(due),
            _ => plan.effects.push(Effect::DeleteRevision(identity(&revision.metadata))),
        }
    }
}

/// What is to be done about revisions whose template is gone: those that no Job refers to are let go.
pub fn orphans(revisions: &[(Arc<ControllerRevision>, bool)]) -> Vec<Effect> {
    revisions
        .iter()
        .filter(|(_, used)| !used)
        .map(|(revision, _)| Effect::DeleteRevision(identity(&revision.metadata)))
        .collect()
}

#[cfg(test)]
mod tests;
