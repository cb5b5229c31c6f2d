//! What becomes of each time: it runs, on time or made up for, or is skipped for a reason.

use super::*;
use crate::domain::plan::Pace;
use crate::domain::run::{SkippedOccurrences, skipped_occurrences};

#[test]
fn a_record_of_thousands_of_times_leaves_out_those_that_have_a_job() {
    for (made, first, last) in
        [(1, "skip 8499 00:00:06-07:05 CatchUpLimit", 3), (4, "skip 8496 00:00:15-07:05 CatchUpLimit", 12)]
    {
        let mut case = known("interval: 3s, catchUp: {policy: None}");
        case.crash_after(made, &format!("00:00:{last:02}"));
        let told = case.step("08:00");
        assert_eq!(told[..2], [first, "skip 1094 07:05:03-07:59:42 MissedWindow"], "{made} Jobs were made");
        assert_eq!(told[2..].len(), 6, "those of the last seconds run: {told:?}");
    }
    let mut case = known("interval: 3s");
    case.crash_after(1, "00:00:03");
    case.edit_at("07:00", |schedule| schedule.spec.interval = Some("1h".into()));
    case.jobs.push(own(&job("uid-other", Some("02:00:00"))));
    let told = case.step("07:00:01");
    let expected = ["skip 2398 00:00:06-01:59:57 ScheduleEdited", "skip 6000 02:00:03-07:00 ScheduleEdited"];
    assert_eq!(told, expected);
}

#[test]
fn a_time_that_has_come_makes_a_job_and_nothing_else() {
    let mut case = hourly("params: {day: monday}, priority: 4");
    let decision = case.decide(at("01:00"));
    let job = yaml(
        "
apiVersion: rota.dev/v1alpha1
kind: Job
metadata:
  name: daily-NAME
  namespace: team
  finalizers: [rota.dev/record]
  labels: {app.kubernetes.io/managed-by: rota, app.kubernetes.io/name: nightly, app.kubernetes.io/part-of: rota, rota.dev/schedule: daily}
  annotations: {rota.dev/scheduled-time: '2026-03-01T01:00:00Z', argocd.argoproj.io/ignore-resource-updates: 'true'}
  ownerReferences:
  - {apiVersion: rota.dev/v1alpha1, kind: Schedule, name: daily, uid: uid-daily, controller: true, blockOwnerDeletion: true}
spec:
  templateRef: {name: nightly}
  params: {day: monday}
  priority: 4
  scheduleRef: {name: daily, uid: uid-daily}
  scheduledTime: '2026-03-01T01:00:00.000000Z'
"
        .replace("daily-NAME", &names::occurrence_job("daily", "uid-daily", at("01:00")))
        .as_str(),
    );
    let Plan { effects, status: Some(status), notes, wake_at } = decision.plan else { panic!("no status") };
    assert_eq!(effects, [Effect::CreateJob { job: Box::new(job), due: Some(at("01:00")), unless_run: None }]);
    let name = names::occurrence_job("daily", "uid-daily", at("01:00"));
    let fired = Note::normal("Fired", "Fire", format!("Job {name} for 2026-03-01T01:00:00Z")).at_pace(Pace::Flood);
    assert_eq!((notes, wake_at), (vec![fired], Some(at("02:00"))));
    assert_eq!(
        (status.accounted_until, status.last_trigger_time),
        (Some(micro(at("01:00"))), Some(micro(at("01:00"))))
    );
    assert_eq!((status.next_trigger_time, status.active), (Some(micro(at("02:00"))), 1));
    assert!(!decision.urgent, "the Job shows what happened, so that the status may come a little later");
    assert_eq!(case.step("01:00"), ["run 01:00"]);
    assert_eq!(case.step("01:00:01"), [""; 0]);
    case.assert_rests("01:00:02");
}

#[test]
fn nothing_is_done_before_a_time_has_come() {
    let case = hourly("");
    let decision = case.decide(at("00:59:59"));
    assert_eq!(told(&decision), [""; 0]);
    assert_eq!(decision.plan.wake_at, Some(at("01:00")));
}

#[test]
fn times_of_a_short_restart_all_run_whatever_catch_up_says() {
    for policy in ["None", "Latest", "All"] {
        let mut case = known(&format!("interval: 5s, catchUp: {{policy: {policy}}}"));
        case.leading_since = at("00:00:15");
        assert_eq!(case.step("00:00:15"), ["run 00:00:05?", "run 00:00:10?", "run 00:00:15?"], "{policy}");
    }
}

#[test]
fn missed_times_are_made_up_for_as_catch_up_says() {
    let table: [(&str, &str, &[&str]); 10] = [
        ("", "04:30", &["skip 3 01:00-03:00 MissedWindow", "run 04:00"]),
        ("", "04:00:20", &["skip 3 01:00-03:00 MissedWindow", "run 04:00"]),
        ("catchUp: {policy: Latest, windowSeconds: 86400}", "04:30", &["skip 3 01:00-03:00 CatchUpLimit", "run 04:00"]),
        (
            "catchUp: {policy: Latest, windowSeconds: 86400}",
            "04:00:05",
            &["skip 3 01:00-03:00 CatchUpLimit", "run 04:00"],
        ),
        ("catchUp: {policy: Latest, windowSeconds: 60}", "04:30", &["skip 4 01:00-04:00 MissedWindow"]),
        ("catchUp: {policy: None}", "04:30", &["skip 4 01:00-04:00 MissedWindow"]),
        ("catchUp: {policy: None}", "04:00:15", &["skip 3 01:00-03:00 MissedWindow", "run 04:00"]),
        (
            "catchUp: {policy: All, windowSeconds: 86400}",
            "04:30",
            &["run 01:00", "run 02:00", "run 03:00", "run 04:00"],
        ),
        (
            "catchUp: {policy: All, windowSeconds: 86400, maxRuns: 2}",
            "04:30",
            &["skip 2 01:00-02:00 CatchUpLimit", "run 03:00", "run 04:00"],
        ),
        (
            "catchUp: {policy: All, windowSeconds: 7200, maxRuns: 1}",
            "04:30",
            &["skip 2 01:00-02:00 MissedWindow", "skip 03:00 CatchUpLimit", "run 04:00"],
        ),
    ];
    for (spec, now, expected) in table {
        let mut case = hourly(spec);
        assert_eq!(case.step(now), expected, "{spec} at {now}");
        assert_eq!(case.status.accounted_until, Some(micro(at("04:00"))), "{spec} at {now}");
        assert_eq!(case.status.next_trigger_time, Some(micro(at("05:00"))));
        case.step(now);
        case.assert_rests(now);
    }
}

#[test]
fn skips_are_told_once_each_reason_and_shown_in_the_status() {
    let mut case = hourly("catchUp: {policy: All, windowSeconds: 7200, maxRuns: 1}");
    let notes = case.decide(at("04:30")).plan.notes;
    assert_eq!(notes.iter().map(|it| it.reason).collect::<Vec<_>>(), ["MissedWindow", "CatchUpLimit", "Fired"]);
    assert!(notes[0].message.starts_with("skipped 2 occurrence(s): "), "{}", notes[0].message);
    case.step("04:30");
    assert_eq!(case.status.last_skip_reason, Some(Reason::CatchUpLimit));
    assert_eq!(case.status.last_skip_time, Some(micro(at("03:00"))));
}

#[test]
fn a_record_of_skipped_times_does_not_reach_over_one_that_ran() {
    // The operator crashed after it made the Job of 02:00, and comes back when its window is over.
    let mut case = hourly("catchUp: {policy: None}");
    let job = case.decide(at("02:00"));
    let made = job.plan.effects.iter().find_map(|effect| match effect {
        Effect::CreateJob { job, .. } => Some(own(job)),
        _ => None,
    });
    case.jobs.extend(made);
    assert_eq!(case.step("03:30"), ["skip 01:00 MissedWindow", "skip 03:00 MissedWindow"]);
}

#[test]
fn a_year_of_downtime_costs_a_handful_of_writes_and_loses_no_time() {
    let mut case = known("interval: 1m");
    let now: Timestamp = "2027-03-01T00:00:30Z".parse().unwrap();
    let decision = case.decide(now);
    let skips: Vec<u64> = decision
        .plan
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::CreateRun(run) => Some(run.status.as_ref().unwrap().count.unwrap_or(1)),
            _ => None,
        })
        .collect();
    assert_eq!(decision.plan.effects.len() - skips.len(), 1, "the latest runs");
    assert!(skips.len() <= 3, "{skips:?}");
    assert_eq!(skips.iter().sum::<u64>() + 1, 365 * 24 * 60);
    case.status = decision.plan.status.unwrap();
    assert_eq!(case.status.accounted_until, Some(micro("2027-03-01T00:00:00Z".parse().unwrap())));
}

#[test]
fn no_more_jobs_are_made_at_once_than_catch_up_allows_however_long_the_downtime() {
    let case = known("cron: '*/10 * * * *', catchUp: {policy: All, windowSeconds: 31536000, maxRuns: 1000}");
    let decision = case.decide("2026-08-01T00:00:00Z".parse().unwrap());
    let jobs = decision.plan.effects.iter().filter(|effect| matches!(effect, Effect::CreateJob { .. })).count();
    assert_eq!(jobs, 1_001, "a thousand missed ones, and the one that is on time");
    assert!(decision.plan.effects.len() <= 1_004);
}

#[test]
fn forbid_skips_a_time_while_an_earlier_job_is_not_finished() {
    let mut case = hourly("concurrencyPolicy: Forbid");
    assert_eq!(case.step("01:00"), ["run 01:00"]);
    assert_eq!(case.step("02:00"), ["skip 02:00 OverlapForbidden"]);
    assert_eq!(case.status.last_skip_reason, Some(Reason::OverlapForbidden));
    case.end("01:00", Outcome::Completed, "02:10");
    assert_eq!(case.step("03:00"), ["run 03:00"]);
}

#[test]
fn what_forbid_waits_for_is_named() {
    let why = |case: &Case| {
        let plan = case.decide(at("03:00")).plan;
        let Some(Effect::CreateRun(run)) = plan.effects.into_iter().next() else { panic!("no record") };
        run.status.unwrap().error.unwrap()
    };
    let mut case = hourly("concurrencyPolicy: Forbid");
    case.step("01:00");
    case.step("02:00");
    let name = case.jobs[0].job.name.clone();
    let ends = ", and concurrencyPolicy is Forbid";
    assert_eq!(why(&case), format!("Job {name} of the schedule has not finished{ends}"));
    case.jobs[0].waits_for = Some("queue slow is paused: upgrade".into());
    assert_eq!(why(&case), format!("Job {name} of the schedule has not started (queue slow is paused: upgrade){ends}"));
    case.jobs.push(own(&job("by-hand", None)));
    case.jobs[0].started_at = Some(at("01:00"));
    case.jobs[1].created = Some(at("01:30"));
    assert_eq!(why(&case), format!("Job {name} and another one of the schedule has not finished{ends}"));
}

#[test]
fn that_its_jobs_wait_for_their_queue_is_said_at_once() {
    let mut case = hourly("");
    let ready = |case: &Case| {
        let plan = case.decide(at("00:10")).plan;
        let ready = plan.status.unwrap().conditions.into_iter().find(|it| it.type_ == conditions::READY).unwrap();
        (ready.status, ready.reason, ready.message, plan.wake_at)
    };
    assert_eq!(ready(&case).1, "Scheduled");
    case.queue = QueueCondition::Missing("there is no Queue \"slow\" in this namespace".into());
    let message = "it fires, and its Jobs wait: there is no Queue \"slow\" in this namespace";
    assert_eq!(ready(&case), ("True".into(), "QueueNotFound".into(), message.into(), Some(at("01:00"))));
    let first = case.decide(at("00:10"));
    assert!(!first.urgent, "thousands may say so at once");
    let paused = "queue slow is paused until 00:30: upgrade";
    case.queue = QueueCondition::Paused { message: paused.into(), until: Some(at("00:30")) };
    let message = format!("it fires, and its Jobs wait: {paused}");
    assert_eq!(ready(&case), ("True".into(), "QueuePaused".into(), message, Some(at("00:30"))));
    case.schedule.spec.enabled = Some(false);
    assert_eq!(ready(&case).1, "Disabled");
}

#[test]
fn forbid_holds_within_one_decision_too() {
    let mut case = known("interval: 5s, concurrencyPolicy: Forbid");
    assert_eq!(case.step("00:00:15"), ["run 00:00:05", "skip 2 00:00:10-00:00:15 OverlapForbidden"]);
}

#[test]
fn allow_starts_another_one_beside_an_earlier_job() {
    let mut case = hourly("");
    case.step("01:00");
    assert_eq!(case.step("02:00"), ["run 02:00"]);
    assert_eq!(case.status.active, 2);
}

#[test]
fn times_of_a_template_that_cannot_be_used_have_a_record_with_the_reason() {
    let reasons = [Reason::TemplateNotFound, Reason::TemplateArchived, Reason::TemplateInvalid, Reason::InvalidParams];
    for reason in reasons {
        let mut case = hourly("");
        case.template = Err((reason, "spec.templateRef.name: why".into()));
        let decision = case.decide(at("00:30"));
        assert!(decision.urgent);
        assert_eq!(decision.plan.notes, [Note::warning("NotReady", "Validate", "spec.templateRef.name: why")]);
        case.step("00:30");
        let why = "spec.templateRef.name: why";
        assert_eq!(case.condition("Ready"), ("False", reason.as_str(), why));
        assert_eq!(case.condition("Stalled"), ("True", reason.as_str(), why));
        let word = if reason == Reason::TemplateArchived { "skip" } else { "fail" };
        assert_eq!(case.step("01:00"), [format!("{word} 01:00 {}", reason.as_str())]);
        case.template = Ok(());
        assert_eq!(case.step("01:30"), [""; 0], "what was skipped stays skipped");
        assert_eq!(case.condition("Ready"), ("True", "Scheduled", "it fires as written"));
        assert!(!conditions::holds(&case.status.conditions, "Stalled"));
        assert_eq!(case.step("02:00"), ["run 02:00"]);
    }
}

#[test]
fn what_is_written_wrongly_is_a_failure_that_holds_the_schedule_in_the_end() {
    for (reason, failures) in [(Reason::TemplateNotFound, 1), (Reason::InvalidParams, 1), (Reason::TemplateArchived, 0)]
    {
        let mut case = hourly("pauseAfterFailures: 2");
        case.template = Err((reason, "why".into()));
        case.step("00:30");
        let decision = case.decide(at("01:00"));
        let word = if failures == 1 { "failed" } else { "skipped" };
        assert_eq!(
            decision.plan.notes,
            [Note::warning(reason.as_str(), "Skip", format!("{word} 1 occurrence(s): why")).at_pace(Pace::Flood)]
        );
        case.step("01:00");
        assert_eq!(case.status.consecutive_failures, failures, "{reason:?}");
        assert_eq!(case.status.last_outcome, (failures == 1).then_some(Outcome::Failed));
        case.step("02:00");
        assert_eq!(case.status.paused.is_some(), failures == 1, "{reason:?}");
    }
}

#[test]
fn times_that_are_skipped_for_different_causes_have_a_record_and_an_event_each() {
    let mut skips = super::super::skips::Skips::default();
    skips.push(at("01:00"), Reason::MissedWindow, "the operator was not running");
    skips.push(at("02:00"), Reason::MissedWindow, "the operator was not running");
    skips.push(at("03:00"), Reason::MissedWindow, "its Job was refused");
    assert_eq!(skips.notes().len(), 2);
    let mut case = hourly("catchUp: {policy: Latest, windowSeconds: 7200}");
    case.step("00:30");
    let told: Vec<&str> = case.decide(at("05:30")).plan.notes.iter().map(|note| note.reason).collect();
    assert_eq!(told, ["MissedWindow", "CatchUpLimit", "Fired"]);
    assert_eq!(case.step("05:30"), ["skip 3 01:00-03:00 MissedWindow", "skip 04:00 CatchUpLimit", "run 05:00"]);
}

/// What the shell does when the API server refuses an effect of a decision.
fn refuse(case: &mut Case, why: &str, time: &str) -> Vec<Note> {
    let facts = Facts {
        schedule: &case.schedule,
        status: &case.status,
        edits: case.edits,
        template: case.template.clone(),
        queue: QueueCondition::Open,
        jobs: &case.jobs,
        leading_since: case.leading_since,
    };
    let plan = refused(&facts, why, at(time));
    assert_eq!(plan.effects, []);
    case.status = plan.status.unwrap();
    plan.notes
}

#[test]
fn a_refusal_is_said_and_is_the_cause_of_what_is_skipped_then() {
    let quota = "jobs.rota.dev \"daily-1\" is forbidden: exceeded quota: few";
    let mut case = hourly("catchUp: {policy: Latest, windowSeconds: 7200}");
    case.step("00:30");
    assert_eq!(told(&case.decide(at("01:00"))), ["run 01:00"]);
    assert_eq!(refuse(&mut case, quota, "01:00"), [Note::warning("WriteRefused", "Write", quota)]);
    assert_eq!(case.condition("Ready"), ("False", "WriteRefused", quota));
    assert_eq!(case.condition("Stalled"), ("True", "WriteRefused", quota));
    assert_eq!(case.status.accounted_until, Some(micro(at("00:30").saturating_add_ms(-1_800_000))), "01:00 is owed");
    let said = case.status.clone();
    assert_eq!(refuse(&mut case, quota, "01:01"), [], "told once");
    assert_eq!(case.status, said, "nothing to write");
    for (policy, time, expected) in [
        ("Latest", "01:30", vec!["run 01:00"]),
        ("Latest", "03:10", vec!["skip 01:00", "skip 02:00", "run 03:00"]),
        ("All", "04:10", vec!["skip 2 01:00-02:00", "run 03:00", "run 04:00"]),
        ("None", "02:10", vec!["skip 2 01:00-02:00"]),
    ] {
        let mut lifted = case.clone();
        lifted.schedule.spec.catch_up = Some(yaml(&format!("{{policy: {policy}, windowSeconds: 7200}}")));
        let decision = lifted.decide(at(time));
        let words: Vec<String> = told(&decision).iter().map(|it| it.split(" M").next().unwrap().into()).collect();
        let words: Vec<&str> = words.iter().map(|it| it.split(" C").next().unwrap()).collect();
        assert_eq!(words, expected, "{policy} {time}");
        for effect in &decision.plan.effects {
            let Effect::CreateRun(run) = effect else { continue };
            let status = run.status.as_ref().unwrap();
            let error = status.error.as_deref().unwrap_or_default();
            assert!(error.contains(quota) && !error.contains("not running"), "{error}");
        }
        lifted.step(time);
        assert_eq!(lifted.condition("Ready").0, "True");
        assert!(!conditions::holds(&lifted.status.conditions, "Stalled"));
    }
}

#[test]
fn jobs_that_end_while_something_is_refused_are_counted() {
    let mut case = hourly("");
    case.step("01:00");
    case.end("01:00", Outcome::Completed, "01:30");
    refuse(&mut case, "no", "02:00");
    assert_eq!((case.status.settled.len(), case.status.last_outcome), (1, Some(Outcome::Completed)));
}

#[test]
fn a_schedule_that_will_never_fire_again_says_so() {
    let mut past = known("at: '2026-02-01T06:00:00Z'");
    past.step("00:00:01");
    let message = "spec.at: it lies before the schedule was created, so that nothing will ever run";
    assert_eq!(past.condition("Ready"), ("True", "NoMoreTimes", message));
    let mut once = known("at: '2026-03-01T06:00:00Z'");
    assert_eq!(once.condition("Ready").1, "Scheduled");
    once.step("06:00");
    assert_eq!(once.condition("Ready"), ("True", "NoMoreTimes", "its one time has passed"));
    let ended = hourly("endTime: '2026-03-01T00:30:00Z'");
    assert_eq!(ended.condition("Ready"), ("True", "NoMoreTimes", "no time comes any more"));
    let off = hourly("enabled: false");
    assert_eq!(off.condition("Ready"), ("True", "Disabled", "it is disabled, and fires nothing"));
}

#[test]
fn a_schedule_of_one_instant_fires_once() {
    let mut case = known("at: '2026-03-01T06:00:00.000000Z'");
    assert_eq!(case.decide(at("05:59")).plan.wake_at, Some(at("06:00")));
    assert_eq!(case.step("06:00"), ["run 06:00"]);
    assert_eq!(case.decide(at("06:01")).plan.wake_at, None);
    assert_eq!((case.step("07:00"), case.status.next_trigger_time.clone()), (vec![], None));
}

#[test]
fn only_times_that_an_earlier_leader_may_have_recorded_are_asked_about() {
    let mut case = known("interval: 5s");
    case.leading_since = at("00:00:11");
    assert_eq!(case.step("00:00:15"), ["run 00:00:05?", "run 00:00:10?", "run 00:00:15"]);
}

#[test]
fn a_crash_after_any_effect_is_completed_without_repeating_it() {
    let spec = "interval: 5s, concurrencyPolicy: Forbid";
    let mut case = known(spec);
    let all = case.crash_after(0, "00:00:15");
    assert_eq!(all.len(), 2);
    assert_eq!(case.crash_after(1, "00:00:15"), ["run 00:00:05?", "skip 2 00:00:10-00:00:15 OverlapForbidden"]);
    assert_eq!(case.step("00:00:15"), ["skip 2 00:00:10-00:00:15 OverlapForbidden"]);
    case.step("00:00:15");
    case.assert_rests("00:00:16");
}

#[test]
fn a_clock_that_goes_back_fires_nothing_twice() {
    let mut case = hourly("");
    case.step("03:00:05");
    let status = case.status.clone();
    let decision = case.decide(at("01:30"));
    assert_eq!(told(&decision), [""; 0]);
    assert_eq!(decision.plan.status.unwrap().accounted_until, status.accounted_until);
    assert_eq!(decision.plan.wake_at, Some(at("04:00")));
}

#[test]
fn a_record_that_an_earlier_process_wrote_says_how_far_it_goes() {
    let skip = |count: u64, last: &str| {
        let skipped = SkippedOccurrences {
            first: at("01:00"),
            last: at(last),
            count,
            reason: Reason::MissedWindow,
            why: String::new(),
        };
        Box::new(skipped_occurrences(&hourly("").schedule, &skipped, at("09:00")))
    };
    let one = Effect::CreateRun(skip(1, "01:00"));
    let three = Effect::CreateRun(skip(3, "03:00"));
    let job = hourly("").decide(at("01:00")).plan.effects.remove(0);
    let table = [
        ("the same one time", &one, skip(1, "01:00"), None),
        ("the same three times", &three, skip(3, "03:00"), None),
        ("fewer times", &three, skip(1, "01:00"), Some(at("01:00"))),
        ("more times", &one, skip(3, "03:00"), Some(at("03:00"))),
        ("instead of a Job", &job, skip(1, "01:00"), Some(at("01:00"))),
        ("instead of a Job and more", &job, skip(3, "03:00"), Some(at("03:00"))),
    ];
    for (what, effect, found, expected) in table {
        assert_eq!(recorded_until(effect, &found), expected, "{what}");
    }
}

#[test]
fn what_is_made_up_for_is_one_event_and_on_and_off_are_told_once() {
    let mut case = hourly("catchUp: {policy: All, windowSeconds: 36000, maxRuns: 10}");
    let notes = case.decide(at("03:30")).plan.notes;
    assert_eq!(notes.iter().map(|it| it.reason).collect::<Vec<_>>(), ["Fired"]);
    let name = names::occurrence_job("daily", "uid-daily", at("03:00"));
    let text =
        format!("3 Jobs for the times from 2026-03-01T01:00:00Z to 2026-03-01T03:00:00Z; the last is Job {name}");
    assert_eq!(notes[0].message, text);
    case.step("03:30");
    for (enabled, time, reason) in [(false, "03:40", "Disabled"), (true, "03:50", "Enabled")] {
        case.edit_at(time, |schedule| schedule.spec.enabled = Some(enabled));
        let notes = case.decide(at(time)).plan.notes;
        assert_eq!(notes.iter().map(|it| it.reason).collect::<Vec<_>>(), [reason]);
        case.step(time);
        assert_eq!(case.decide(at(time)).plan.notes, []);
    }
}
