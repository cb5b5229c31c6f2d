//! Template: whether a JobTemplate can be used, and the revisions of it that Jobs run.
//!
//! A revision is made before the status names it, and kept while a Job refers to it, also after the template is gone.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::conditions::{self, Conditions, Fact, micro};
use super::group::owner;
use super::job::{SaturatingTime, identity};
use super::pasted::{self, Body};
use super::plan::{Effect, Note, Plan};
use super::queue::QueueCondition;
use super::{launch, names, params, sizes};
use crate::api::job::TemplateSnapshot;
use crate::api::job_template::JobTemplatePhase;
use crate::api::labels::{REVISION_FINALIZER, TEMPLATE};
use crate::api::{JobTemplate, JobTemplateSpec, JobTemplateStatus};

/// How long a revision that nothing refers to is kept, in milliseconds: a Job that was just resolved may be about to.
const UNUSED_REVISION_MS: i64 = 600_000;
/// How long after the first refusal the API server is asked again, in seconds; twice as long after each further one.
const AGAIN_SECONDS: i64 = 10;
/// The longest such delay, in seconds.
const AGAIN_SECONDS_MAX: i64 = 300;
/// The delay after it said that a template is invalid, in seconds.
const INVALID_AGAIN_SECONDS: i64 = 3_600;
/// The reason of a template whose batch Job Kubernetes could not run.
const INVALID_POD_TEMPLATE: &str = "InvalidPodTemplate";
/// The reason of a template of which the API server could not say whether it accepts batch Jobs of it.
const UNCHECKED: &str = "Unchecked";
/// The annotation of a revision with the digest of its content.
pub const DIGEST_ANNOTATION: &str = "rota.dev/digest";

/// All that a decision about a template depends on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The template.
    pub template: &'a JobTemplate,
    /// What reading its specification found.
    pub reading: &'a Reading,
    /// Its revisions, and whether a Job refers to each.
    pub revisions: &'a [(Arc<ControllerRevision>, bool)],
    /// Whether Jobs in its queue are started.
    pub queue: QueueCondition,
    /// What the API server said when asked whether it would accept a batch Job of it as it is; absent: not asked yet.
    pub probe: Option<&'a Probe>,
}

/// What the API server said of a batch Job of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It would accept it.
    Accepted,
    /// Something refuses it that has to do with the moment and not with the template: an admission policy, a webhook, a
    /// quota.
    Refused(String),
    /// It is no batch Job that Kubernetes can run.
    Invalid(String),
    /// It could not say: it did not answer, or something it asked did not.
    Unknown(String),
}

/// When the API server was asked, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it said last.
    pub answer: Answer,
    /// When.
    pub at: Timestamp,
    /// How often it was asked about the template as it is.
    pub times: u32,
}

impl Probe {
    /// The next answer about the same template.
    pub fn next(before: Option<&Self>, answer: Answer, at: Timestamp) -> Self {
        Self { answer, at, times: before.map_or(0, |before| before.times).saturating_add(1) }
    }

    /// When to ask again; absent: what was said stays true.
    fn again_at(&self) -> Option<Timestamp> {
        let seconds = match self.answer {
            Answer::Accepted => return None,
            // What is invalid may be valid for another version of Kubernetes.
            Answer::Invalid(_) => INVALID_AGAIN_SECONDS,
            Answer::Refused(_) | Answer::Unknown(_) => {
                let doubled = 1_i64.checked_shl(self.times.saturating_sub(1)).filter(|factor| *factor > 0);
                AGAIN_SECONDS.saturating_mul(doubled.unwrap_or(i64::MAX)).min(AGAIN_SECONDS_MAX)
            }
        };
        Some(self.at.saturating_add_ms(seconds * 1_000))
    }

    /// Whether it is time to ask again, also when the clock was set back meanwhile.
    fn is_due(&self, now: Timestamp) -> bool {
        self.again_at().is_some_and(|again| now >= again || now < self.at)
    }
}

/// What is decided about a template as it is.
enum Verdict {
    Valid,
    /// It is valid, and admission refuses its batch Jobs now.
    Refused(String),
    /// Somebody has to change it: a reason and a sentence.
    Invalid(&'static str, String),
    /// Nobody can say yet.
    Unknown(String),
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

/// What reading the specification of a template found. It may take a while, so it is remembered for each edit of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    uid: Option<String>,
    generation: Option<i64>,
    /// The digest of what a run depends on.
    pub digest: String,
    /// What is wrong with the declarations of its parameters.
    declarations: Result<(), String>,
    /// What does not fit into what is made of it.
    sizes: Result<(), String>,
}

impl Reading {
    /// Reads it.
    pub fn of(template: &JobTemplate) -> Self {
        let spec = &template.spec;
        let declared = params::check_declarations(&spec.params);
        Self {
            uid: template.metadata.uid.clone(),
            generation: template.metadata.generation,
            digest: digest(spec),
            declarations: declared.first().map_or(Ok(()), |error| Err(format!("spec.{error}"))),
            sizes: check_sizes(spec),
        }
    }

    /// Whether it is of the specification as it is.
    pub fn is_of(&self, template: &JobTemplate) -> bool {
        self.uid == template.metadata.uid && self.generation == template.metadata.generation && self.uid.is_some()
    }
}

/// Whether a revision can be stored and a Job with nothing but defaults can be launched.
pub fn check_sizes(spec: &JobTemplateSpec) -> Result<(), String> {
    let bytes = sizes::stored_bytes(&portable(spec));
    if bytes > sizes::OBJECT_BYTES_MAX {
        return Err(format!(
            "spec: a revision of it takes {bytes} bytes, at most {} can be stored (a quote or line break takes 3 or 4 bytes \
             there, and each of <, > and & takes 7); put large texts into a ConfigMap",
            sizes::OBJECT_BYTES_MAX
        ));
    }
    sizes::check_launch(&spec.job_template, &spec.params, &launch::samples(&spec.params))
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

/// Why it is not known yet whether a template can be used, if that is so because the API server could not say, or refuses for now
/// what is to be written for it.
pub fn unchecked(template: &JobTemplate) -> Option<&str> {
    let list = template.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let is_unchecked = |reason: &str| matches!(reason, UNCHECKED | conditions::WRITE_REFUSED);
    let ready = list.iter().find(|it| it.type_ == conditions::READY && is_unchecked(&it.reason))?;
    (ready.observed_generation == template.metadata.generation).then_some(ready.message.as_str())
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
        return deleting(facts, now);
    }
    let digest = &facts.reading.digest;
    let name = template.metadata.name.clone().unwrap_or_default();
    let uid = template.metadata.uid.clone().unwrap_or_default();
    let revision = names::revision(&name, &uid, digest);
    let before = template.status.clone().unwrap_or_default();
    let Some(verdict) = judge(facts, &name, &before, &mut plan, now) else { return plan };
    let exists = facts.revisions.iter().any(|(known, _)| known.metadata.name.as_deref() == Some(&revision));
    if matches!(verdict, Verdict::Valid | Verdict::Refused(_)) && !exists {
        plan.effects.push(Effect::CreateRevision(Box::new(controller_revision(template, &revision, digest, facts))));
    }
    clean_up(facts, &revision, &mut plan, now);
    plan.status = Some(status(facts, before, revision, verdict, &mut plan.notes, now));
    plan
}

/// A template that is being deleted: no Job is made of it, and its revisions go as soon as no Job uses them. Where it is deleted
/// in the foreground, it waits for these. If something else keeps it, it says so.
fn deleting(facts: &Facts<'_>, now: Timestamp) -> Plan<JobTemplateStatus> {
    let metadata = &facts.template.metadata;
    let mut plan = Plan { effects: orphans(facts.revisions), ..Plan::default() };
    let used = facts.revisions.iter().filter(|(_, used)| *used).count();
    let keepers = conditions::keepers(metadata);
    if keepers.is_none() && used == 0 {
        return plan;
    }
    let mut status = facts.template.status.clone().unwrap_or_default();
    let mut list = Conditions::from(&status.conditions, metadata.generation, now);
    let message = match used {
        0 => "it was deleted: no Job is made of it".to_owned(),
        used => format!("it was deleted: no Job is made of it, and Jobs still use {used} of its revisions"),
    };
    list.set(Fact { type_: conditions::READY, holds: false, reason: "Deleted", message });
    list.remove(conditions::STALLED);
    if let Some(keepers) = keepers {
        list.say_kept(conditions::READY, &keepers);
    }
    status.conditions = list.into_list();
    plan.status = Some(status);
    plan
}

/// What is to be thought of a template; absent: the API server has to be asked first.
fn judge(
    facts: &Facts<'_>,
    name: &str,
    before: &JobTemplateStatus,
    plan: &mut Plan<JobTemplateStatus>,
    now: Timestamp,
) -> Option<Verdict> {
    let template = facts.template;
    if let Err(error) = &facts.reading.declarations {
        return Some(Verdict::Invalid("InvalidParams", error.clone()));
    }
    let said = |type_| conditions::holds(&before.conditions, type_);
    if facts.probe.is_none() && is_read(template) && said(conditions::READY) && !said(conditions::ADMISSION_REFUSED) {
        return Some(Verdict::Valid);
    }
    if let Err(error) = &facts.reading.sizes {
        return Some(Verdict::Invalid("TooLarge", error.clone()));
    }
    let Some(probe) = facts.probe.filter(|probe| !probe.is_due(now)) else {
        let namespace = template.metadata.namespace.as_deref().unwrap_or_default();
        return match launch::dry_run_job(namespace, name, &template.spec.job_template, &template.spec.params) {
            Ok(probe) => {
                plan.effects.push(Effect::ProbeTemplate(Box::new(probe)));
                None
            }
            Err(error) => Some(Verdict::Invalid(INVALID_POD_TEMPLATE, error.to_string())),
        };
    };
    probe.again_at().iter().for_each(|again| plan.wake(*again));
    Some(match &probe.answer {
        Answer::Accepted => Verdict::Valid,
        Answer::Refused(message) => Verdict::Refused(message.clone()),
        Answer::Invalid(message) => Verdict::Invalid(INVALID_POD_TEMPLATE, format!("spec.jobTemplate: {message}")),
        Answer::Unknown(message) => Verdict::Unknown(message.clone()),
    })
}

fn status(
    facts: &Facts<'_>,
    before: JobTemplateStatus,
    revision: String,
    verdict: Verdict,
    notes: &mut Vec<Note>,
    now: Timestamp,
) -> JobTemplateStatus {
    let (template, queue) = (facts.template, &facts.queue);
    let mut status = before;
    let generation = template.metadata.generation;
    let mut list = Conditions::from(&status.conditions, generation, now);
    list.warn(&pasted::sentences(&Body::of_template(&template.spec)));
    if let Verdict::Unknown(message) = verdict {
        // It is not read: its Jobs wait until somebody can say.
        let message =
            format!("the API server could not say whether it accepts batch Jobs of it, and is asked again: {message}");
        list.set(Fact { type_: conditions::READY, holds: false, reason: UNCHECKED, message });
        list.remove(conditions::STALLED);
        list.remove(conditions::ADMISSION_REFUSED);
        status.phase = status.phase.or(Some(JobTemplatePhase::Created));
        status.conditions = list.into_list();
        return status;
    }
    if status.observed_generation != generation {
        status.updated_at = Some(micro(now));
    }
    status.observed_generation = generation;
    let archived = template.spec.archived;
    let refused = match verdict {
        Verdict::Invalid(reason, message) => {
            status.phase = Some(if archived { JobTemplatePhase::Archived } else { JobTemplatePhase::Created });
            if !conditions::holds(&status.conditions, conditions::STALLED) {
                notes.push(Note::warning(reason, "Validate", message.clone()));
            }
            list.set(Fact { type_: conditions::READY, holds: false, reason, message: message.clone() });
            list.set(Fact { type_: conditions::STALLED, holds: true, reason, message });
            None
        }
        verdict => {
            status.current_revision = Some(revision);
            status.phase = Some(if archived { JobTemplatePhase::Archived } else { JobTemplatePhase::Active });
            let (reason, message) = if archived {
                ("Archived", "it is retired: no new Jobs are made of it")
            } else {
                ("Valid", "Jobs can be made of it")
            };
            let (reason, message) = match queue {
                QueueCondition::Missing(why) if !archived => {
                    ("QueueNotFound", format!("{message}, and wait: spec.queue: {why}"))
                }
                _ => (reason, message.to_owned()),
            };
            list.set(Fact { type_: conditions::READY, holds: true, reason, message });
            list.remove(conditions::STALLED);
            if let Verdict::Refused(message) = verdict { Some(message) } else { None }
        }
    };
    say_refused(&mut list, &status.conditions, refused, notes);
    status.conditions = list.into_list();
    status
}

/// Says that admission refuses batch Jobs of a template, as long as it does.
fn say_refused(list: &mut Conditions, before: &[Condition], refused: Option<String>, notes: &mut Vec<Note>) {
    let Some(why) = refused else { return list.remove(conditions::ADMISSION_REFUSED) };
    let message = format!("batch Jobs of it are refused at the moment, so its Jobs wait for Admission: {why}");
    if !conditions::holds(before, conditions::ADMISSION_REFUSED) {
        notes.push(Note::warning("AdmissionRefused", "Validate", message.clone()));
    }
    list.set(Fact { type_: conditions::ADMISSION_REFUSED, holds: true, reason: "Refused", message });
}

fn controller_revision(template: &JobTemplate, name: &str, digest: &str, facts: &Facts<'_>) -> ControllerRevision {
    let template_name = template.metadata.name.clone().unwrap_or_default();
    let uid = template.metadata.uid.clone().unwrap_or_default();
    let number =
        facts.revisions.iter().map(|(known, _)| known.revision.unwrap_or_default()).max().unwrap_or_default() + 1;
    let mut labels = names::recommended_labels(&template_name);
    labels.insert(TEMPLATE.to_owned(), names::label_value(&template_name));
    ControllerRevision {
        metadata: kube::core::ObjectMeta {
            name: Some(name.into()),
            namespace: template.metadata.namespace.clone(),
            finalizers: Some(vec![REVISION_FINALIZER.into()]),
            labels: Some(labels),
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
