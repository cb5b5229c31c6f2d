//! What is decided about a template: probe, revision, status, and the clean-up of revisions.

use super::*;

fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    start.saturating_add_ms(second * 1_000)
}

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn said(answer: Answer, second: i64) -> Probe {
    Probe::next(None, answer, at(second))
}

/// A template, its revisions in the cluster, and what the API server says of it.
struct Case {
    template: JobTemplate,
    revisions: Vec<(Arc<ControllerRevision>, bool)>,
    queue: QueueCondition,
    probe: Option<Probe>,
}

fn case() -> Case {
    let template = yaml(
        "
metadata: {name: nightly, namespace: team, uid: uid-nightly, generation: 1}
spec:
  jobType: report
  params: [{name: day, default: sunday, pattern: '[a-z]+'}]
  jobTemplate: {spec: {template: {spec: {containers: [{name: main, image: busybox}]}}}}
",
    );
    Case { template, revisions: Vec::new(), queue: QueueCondition::Open, probe: None }
}

impl Case {
    fn decide(&self, now: Timestamp) -> Plan<JobTemplateStatus> {
        let reading = Reading::of(&self.template);
        let (template, revisions) = (&self.template, &self.revisions);
        super::decide(
            &Facts { template, reading: &reading, revisions, queue: self.queue.clone(), probe: self.probe.as_ref() },
            now,
        )
    }

    /// Decides, does what was decided, and names the effects.
    fn step(&mut self, second: i64) -> Vec<String> {
        let plan = self.decide(at(second));
        let mut told = Vec::new();
        for effect in plan.effects {
            told.push(match effect {
                Effect::ProbeTemplate(_) => "probe".to_owned(),
                Effect::CreateRevision(mut revision) => {
                    revision.metadata.creation_timestamp =
                        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second)));
                    let number = revision.revision.unwrap();
                    self.revisions.push((Arc::new(*revision), false));
                    format!("create {number}")
                }
                Effect::DeleteRevision(gone) => {
                    let index = self.revisions.iter().position(|(it, _)| it.metadata.name.as_ref() == Some(&gone.name));
                    format!("delete {}", self.revisions.remove(index.unwrap()).0.revision.unwrap())
                }
                other => panic!("a template never does this: {other:?}"),
            });
        }
        if plan.status.is_some() {
            self.template.status = plan.status;
        }
        told
    }

    /// A template that was probed and has its first revision.
    fn active() -> Self {
        let mut case = case();
        case.accept(0);
        case
    }

    /// The API server accepts it as it is now.
    fn accept(&mut self, second: i64) {
        self.probe = None;
        assert_eq!(self.step(second), ["probe"]);
        self.probe = Some(said(Answer::Accepted, 0));
        self.step(second);
    }

    fn edit(&mut self, change: impl FnOnce(&mut JobTemplateSpec)) {
        change(&mut self.template.spec);
        let generation = self.template.metadata.generation.unwrap_or_default();
        self.template.metadata.generation = Some(generation + 1);
        self.probe = None;
    }

    fn status(&self) -> &JobTemplateStatus {
        self.template.status.as_ref().unwrap()
    }

    #[track_caller]
    fn condition(&self, type_: &str) -> (&str, &str, &str) {
        let found = self.status().conditions.iter().find(|condition| condition.type_ == type_);
        let found = found.unwrap_or_else(|| panic!("no condition {type_}"));
        (&found.status, &found.reason, &found.message)
    }

    #[track_caller]
    fn assert_rests(&self, second: i64) {
        let again = self.decide(at(second));
        assert_eq!((again.effects, again.notes), (vec![], vec![]));
        assert_eq!(again.status, self.template.status);
    }
}

#[test]
fn a_new_template_is_first_shown_to_the_api_server_and_nothing_else_is_done() {
    let plan = case().decide(at(0));
    assert!(matches!(plan.effects.as_slice(), [Effect::ProbeTemplate(_)]));
    assert_eq!((plan.status, plan.notes, plan.wake_at), (None, vec![], None));
}

#[test]
fn the_revision_is_made_in_the_plan_whose_status_first_names_it() {
    let mut case = case();
    case.probe = Some(said(Answer::Accepted, 0));
    let plan = case.decide(at(0));
    let [Effect::CreateRevision(revision)] = plan.effects.as_slice() else { panic!("{:?}", plan.effects) };
    assert_eq!(plan.status.unwrap().current_revision, revision.metadata.name);
    assert_eq!(revision_spec(revision), Some(case.template.spec.clone()));
    assert_eq!(revision.revision, Some(1));
    let metadata = &revision.metadata;
    assert_eq!(
        metadata.finalizers,
        Some(vec![REVISION_FINALIZER.to_owned()]),
        "it outlives the template while it is used"
    );
    assert_eq!(metadata.owner_references.as_ref().unwrap()[0].uid, "uid-nightly");
    assert_eq!(metadata.annotations.as_ref().unwrap()[DIGEST_ANNOTATION], digest(&case.template.spec));
    assert_eq!((plan.notes, plan.wake_at), (vec![], None));
}

#[test]
fn an_accepted_template_is_active_and_rests_also_after_a_restart() {
    let mut case = Case::active();
    let status = case.status();
    assert_eq!((status.phase, status.observed_generation), (Some(JobTemplatePhase::Active), Some(1)));
    assert_eq!(status.updated_at, Some(micro(at(0))));
    assert_eq!(case.condition("Ready"), ("True", "Valid", "Jobs can be made of it"));
    assert!(is_read(&case.template) && usable(&case.template).is_ok());
    let revision = case.revisions[0].0.metadata.name.clone().unwrap();
    assert_eq!(case.status().current_revision, Some(revision));
    case.assert_rests(1);
    case.probe = None;
    case.assert_rests(1_000_000);
}

#[test]
fn an_edit_makes_a_new_revision_and_the_old_one_stays_for_those_about_to_use_it() {
    let mut case = Case::active();
    case.edit(|spec| spec.job_type = "other".into());
    assert!(!is_read(&case.template));
    case.accept(100);
    assert_eq!(case.revisions.len(), 2);
    assert_eq!(case.status().current_revision, case.revisions[1].0.metadata.name);
    assert_eq!((case.status().updated_at.clone(), case.status().observed_generation), (Some(micro(at(100))), Some(2)));
    assert_eq!(case.decide(at(101)).wake_at, Some(at(700)));
    case.assert_rests(699);
    assert_eq!(case.step(700), ["delete 1"]);
    case.assert_rests(701);
}

#[test]
fn a_revision_that_a_job_refers_to_is_kept_until_it_does_no_more() {
    let mut case = Case::active();
    case.revisions[0].1 = true;
    case.edit(|spec| spec.job_type = "other".into());
    case.accept(100);
    case.assert_rests(10_000);
    case.revisions[0].1 = false;
    assert_eq!(case.step(10_001), ["delete 1"]);
}

#[test]
fn an_edit_of_what_no_run_depends_on_makes_no_revision() {
    let edits: [fn(&mut JobTemplateSpec); 3] = [
        |spec| spec.description = "what this is for".into(),
        |spec| spec.archived = true,
        |spec| spec.max_running = Some(3),
    ];
    for edit in edits {
        let mut case = Case::active();
        let revision = case.status().current_revision.clone();
        case.edit(edit);
        case.accept(100);
        assert_eq!((case.revisions.len(), &case.status().current_revision), (1, &revision));
        assert_eq!(case.status().observed_generation, Some(2));
        case.assert_rests(10_000);
    }
}

#[test]
fn an_edit_of_anything_that_a_run_depends_on_changes_the_digest() {
    let edits: [fn(&mut JobTemplateSpec); 8] = [
        |spec| spec.job_type = "other".into(),
        |spec| spec.params[0].default = Some("monday".into()),
        |spec| spec.queue = Some("other".into()),
        |spec| spec.priority = Some(1),
        |spec| spec.retry = Some(yaml("{maxAttempts: 2}")),
        |spec| spec.timeout_seconds = Some(1),
        |spec| spec.pending_timeout_seconds = Some(1),
        |spec| spec.job_template["spec"]["suspend"] = true.into(),
    ];
    let mut digests = vec![digest(&case().template.spec)];
    for edit in edits {
        let mut spec = case().template.spec;
        edit(&mut spec);
        digests.push(digest(&spec));
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), edits.len() + 1);
}

#[test]
fn going_back_to_an_earlier_content_uses_its_revision_again() {
    let mut case = Case::active();
    let first = case.status().current_revision.clone();
    case.edit(|spec| spec.priority = Some(1));
    case.accept(100);
    case.edit(|spec| spec.priority = None);
    case.accept(200);
    assert_eq!((case.revisions.len(), &case.status().current_revision), (2, &first));
    case.assert_rests(10_000);
}

#[test]
fn a_retired_template_says_so_and_comes_back() {
    let mut case = Case::active();
    case.edit(|spec| spec.archived = true);
    case.accept(10);
    assert_eq!(case.status().phase, Some(JobTemplatePhase::Archived));
    assert_eq!(case.condition("Ready"), ("True", "Archived", "it is retired: no new Jobs are made of it"));
    case.edit(|spec| spec.archived = false);
    case.accept(20);
    assert_eq!(case.status().phase, Some(JobTemplatePhase::Active));
}

#[test]
fn declarations_that_make_no_sense_are_told_without_asking_the_api_server() {
    let mut case = case();
    case.template.spec.params[0].pattern = Some("(".into());
    assert_eq!(case.step(0), [""; 0]);
    assert_eq!((case.status().phase, &case.status().current_revision), (Some(JobTemplatePhase::Created), &None));
    let (status, reason, message) = case.condition("Ready");
    assert_eq!((status, reason), ("False", "InvalidParams"));
    assert!(message.starts_with("spec.params.day: "), "{message}");
    assert_eq!(case.condition("Stalled").0, "True");
    assert!(usable(&case.template).is_err());
    case.assert_rests(100);
}

#[test]
fn a_pod_template_that_cannot_be_launched_is_told_with_its_field() {
    let mut local = case();
    local.template.spec.job_template = serde_json::json!({ "spec": { "template": { "spec": {} } } });
    assert_eq!(local.step(0), [""; 0]);
    assert_eq!(local.condition("Ready").1, "InvalidPodTemplate");
    assert!(local.condition("Ready").2.starts_with("spec.jobTemplate.spec.template.spec.containers: "));
    let mut remote = case();
    remote.probe = Some(said(Answer::Invalid("spec.template.spec.containers[0].image: Required value".into()), 0));
    let notes = remote.decide(at(0)).notes;
    assert_eq!(notes.len(), 1);
    assert_eq!(remote.step(0), [""; 0]);
    let message = "spec.jobTemplate: spec.template.spec.containers[0].image: Required value";
    assert_eq!(remote.condition("Stalled"), ("True", "InvalidPodTemplate", message));
    remote.assert_rests(100);
}

#[test]
fn a_template_that_becomes_invalid_keeps_the_revision_of_its_queued_jobs_and_recovers() {
    let mut case = Case::active();
    case.revisions[0].1 = true;
    case.edit(|spec| spec.params[0].pattern = Some("(".into()));
    assert_eq!(case.step(100), [""; 0]);
    assert!(usable(&case.template).is_err());
    case.assert_rests(100_000);
    case.edit(|spec| spec.params[0].pattern = Some("[a-z]+".into()));
    case.accept(100_001);
    assert!(usable(&case.template).is_ok());
    assert!(!conditions::holds(&case.status().conditions, "Stalled"));
    assert_eq!(case.revisions.len(), 1);
}

#[test]
fn a_revision_that_somebody_deleted_is_made_again() {
    let mut case = Case::active();
    case.revisions.clear();
    assert_eq!(case.step(50), ["create 1"]);
    case.assert_rests(51);
}

#[test]
fn a_crash_between_the_revision_and_the_status_makes_no_second_one() {
    let mut case = case();
    case.probe = Some(said(Answer::Accepted, 0));
    case.step(0);
    case.template.status = None;
    case.probe = None;
    case.accept(5);
    assert_eq!(case.revisions.len(), 1);
}

#[test]
fn revisions_of_a_template_that_is_gone_are_let_go_when_no_job_refers_to_them() {
    let mut case = Case::active();
    case.edit(|spec| spec.priority = Some(1));
    case.accept(100);
    case.revisions[0].1 = true;
    let gone = Effect::DeleteRevision(identity(&case.revisions[1].0.metadata));
    assert_eq!(orphans(&case.revisions), [gone]);
}

#[test]
fn a_template_that_is_being_deleted_lets_its_revisions_go_and_says_what_keeps_it() {
    let mut case = Case::active();
    case.edit(|spec| spec.priority = Some(1));
    case.template.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(9)));
    // Deleted in the foreground, it goes when its revisions have gone.
    let gone = Effect::DeleteRevision(identity(&case.revisions[0].0.metadata));
    assert_eq!(case.decide(at(10)), Plan { effects: vec![gone], ..Plan::default() });
    case.revisions[0].1 = true;
    let said = |plan: Plan<JobTemplateStatus>| {
        let conditions = plan.status.unwrap().conditions;
        let ready = conditions.iter().find(|it| it.type_ == "Ready").unwrap();
        (ready.status.clone(), ready.reason.clone(), ready.message.clone())
    };
    let used = case.decide(at(10));
    assert_eq!(used.effects, []);
    let (status, reason, message) = said(used);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Deleted"));
    assert_eq!(message, "it was deleted: no Job is made of it, and Jobs still use 1 of its revisions");
    case.revisions.clear();
    case.template.metadata.finalizers = Some(vec!["example.com/hook".into()]);
    let (_, _, message) = said(case.decide(at(10)));
    assert!(message.contains("stays until somebody takes off its finalizer \"example.com/hook\""), "{message}");
}

const DENIED: &str = "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";

/// What refuses batch Jobs for a while says nothing about the template: its Jobs wait for Admission as for a quota, and it is
/// asked again until that is over.
#[test]
fn a_refusal_by_admission_is_said_and_asked_again_until_it_is_gone() {
    let mut case = case();
    case.probe = Some(said(Answer::Refused(DENIED.into()), 0));
    let notes = case.decide(at(0)).notes;
    assert_eq!(notes.iter().map(|note| note.reason).collect::<Vec<_>>(), ["AdmissionRefused"]);
    assert_eq!(case.step(0), ["create 1"]);
    assert!(usable(&case.template).is_ok() && is_read(&case.template), "Jobs can be made of it");
    let (status, reason, message) = case.condition("AdmissionRefused");
    assert_eq!((status, reason), ("True", "Refused"));
    assert!(message.ends_with(DENIED), "{message}");
    assert!(!conditions::holds(&case.status().conditions, "Stalled"));
    case.assert_rests(9);
    let mut delays = Vec::new();
    for _ in 0..7 {
        let due = case.decide(case.probe.as_ref().unwrap().at).wake_at.unwrap();
        let asked = case.probe.clone().unwrap();
        delays.push(due.duration_since(asked.at).as_secs());
        let second = due.duration_since(at(0)).as_secs();
        assert_eq!(case.step(second), ["probe"]);
        case.probe = Some(Probe::next(Some(&asked), Answer::Refused(DENIED.into()), due));
        case.assert_rests(second);
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    case.probe = Some(said(Answer::Accepted, 5_000));
    assert_eq!(case.step(5_000), [""; 0]);
    assert!(!conditions::holds(&case.status().conditions, "AdmissionRefused"));
    assert_eq!(case.decide(at(5_000)).wake_at, None);
}

/// What an earlier process was told is asked again: the policy may be gone, and nobody tells.
#[test]
fn a_refusal_that_an_earlier_process_was_told_is_asked_again_at_once() {
    let mut case = case();
    case.probe = Some(said(Answer::Refused(DENIED.into()), 0));
    case.step(0);
    case.probe = None;
    assert_eq!(case.step(1), ["probe"]);
}

/// A webhook that does not answer leaves nobody the wiser: the template is not read yet, and that is said.
#[test]
fn an_answer_that_is_none_is_no_verdict() {
    let failed = "failed calling webhook \"w\": context deadline exceeded";
    for mut case in [case(), Case::active()] {
        case.edit(|spec| spec.job_type = "other".into());
        let before = case.template.status.clone().unwrap_or_default();
        case.probe = Some(said(Answer::Unknown(failed.into()), 0));
        assert_eq!(case.step(0), [""; 0]);
        assert!(!is_read(&case.template), "its Jobs wait");
        assert_eq!(case.status().current_revision, before.current_revision);
        let (status, reason, message) = case.condition("Ready");
        assert_eq!((status, reason), ("False", "Unchecked"));
        assert!(message.ends_with(failed), "{message}");
        assert!(!conditions::holds(&case.status().conditions, "Stalled"));
        case.assert_rests(9);
        assert_eq!(case.step(10), ["probe"]);
        case.probe = Some(said(Answer::Accepted, 10));
        case.step(10);
        assert!(is_read(&case.template) && usable(&case.template).is_ok());
    }
}

/// What is invalid stays so until somebody changes it, or the cluster is another one.
#[test]
fn an_invalid_template_is_asked_about_again_much_later() {
    let mut case = case();
    case.probe = Some(said(Answer::Invalid("no".into()), 0));
    case.step(0);
    case.assert_rests(3_599);
    assert_eq!(case.step(3_600), ["probe"]);
}

#[test]
fn what_is_not_used_as_it_is_written_is_said_and_no_matter_of_health() {
    let mut case = case();
    case.template.spec.job_template["spec"]["backoffLimit"] = 3.into();
    case.accept(0);
    let (status, reason, message) = case.condition("Warning");
    assert_eq!((status, reason), ("True", "NotAsWritten"));
    assert!(message.starts_with("spec.jobTemplate.spec.backoffLimit: 3 is not used; "), "{message}");
    assert_eq!(case.condition("Ready").0, "True");
    case.edit(|spec| spec.retry = Some(yaml("{maxAttempts: 4}")));
    case.accept(10);
    assert!(case.status().conditions.iter().all(|it| it.type_ != "Warning"));
}

#[test]
fn a_template_whose_revision_cannot_be_stored_is_told_so_with_the_sum() {
    let mut case = case();
    case.template.spec.job_template["spec"]["template"]["spec"]["containers"][0]["args"] =
        serde_json::json!(["<\"".repeat(180_000)]);
    assert_eq!(case.step(0), [""; 0]);
    let (status, reason, message) = case.condition("Ready");
    assert_eq!((status, reason), ("False", "TooLarge"));
    assert!(
        message.starts_with("spec: a revision of it takes 1980") && message.contains("at most 1540096"),
        "{message}"
    );
    case.assert_rests(100);
}

#[test]
fn a_template_is_read_anew_when_it_is_edited_or_another_one_of_its_name() {
    let case = case();
    let reading = Reading::of(&case.template);
    assert!(reading.is_of(&case.template));
    let mut edited = case.template.clone();
    edited.metadata.generation = Some(2);
    let mut other = case.template.clone();
    other.metadata.uid = Some("other".into());
    assert!(!reading.is_of(&edited) && !reading.is_of(&other));
}

#[test]
fn that_its_queue_does_not_exist_is_said_and_keeps_nobody_from_using_it() {
    let mut case = Case::active();
    case.queue = QueueCondition::Missing("there is no Queue \"slow\" in this namespace".into());
    let ready = |case: &Case| {
        let status = case.decide(at(1)).status.unwrap();
        let ready = status.conditions.into_iter().find(|it| it.type_ == conditions::READY).unwrap();
        (ready.status, ready.reason, ready.message)
    };
    let message = "Jobs can be made of it, and wait: spec.queue: there is no Queue \"slow\" in this namespace";
    assert_eq!(ready(&case), ("True".into(), "QueueNotFound".into(), message.into()));
    case.queue = QueueCondition::Open;
    assert_eq!(ready(&case).1, "Valid");
}
