//! The invariants through crashes: random histories of a small cluster, with the operator ending after any single write,
//! users deleting Jobs and batch Jobs and turning the schedule off and on, and the clock going on.
//!
//! Whatever happens, after each step: one outcome at most for each time of the schedule (I1), one batch Job for each
//! attempt (I2), and no limit exceeded (I3); nothing fires that had passed when the schedule was enabled (I7). When the
//! operator could finish, every time that it owed has its outcome; when faults stop, everything ends, is recorded and
//! cleaned up, a restart writes nothing (I8), and writes stop (I11).

mod cluster;
mod operator;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use self::cluster::{Cluster, Crash, covered};
use self::operator::Operator;
use crate::api::job_group::{GroupMode, GroupPhase};
use crate::api::schedule::ConcurrencyPolicy;
use crate::api::{Job, JobRun, JobTemplateSpec, Outcome};
use crate::domain::job::{Recorded, attempt_name, current_attempt};
use crate::domain::retry;

/// How far apart the times of the schedule are.
const EVERY: SignedDuration = SignedDuration::from_secs(10);
/// How long finished Jobs are kept, in seconds; longer than any history.
const KEPT_SECONDS: i64 = 100_000;
/// How many attempts a Job has.
const ATTEMPTS: u32 = 2;
/// The exit code of which a rule says that no retry helps.
const FATAL: i32 = 2;
/// The exit code of which a rule says that it is no failure.
const IDLE: i32 = 77;
/// How many rounds, a second apart, the operator may take to come to rest.
const ROUNDS_MAX: usize = 60;

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// One thing that happens. Indices choose among what there is; `crash` is after how many writes the operator ends.
#[derive(Clone, Debug)]
enum Event {
    Pass { seconds: i64 },
    Round { crash: Option<u32> },
    Schedule { crash: Option<u32> },
    Group { crash: Option<u32> },
    Job { index: usize, crash: Option<u32> },
    Dispatch { crash: Option<u32> },
    Launch { index: usize, crash: Option<u32> },
    Crash,
    BatchEnds { index: usize, code: i32 },
    UserDeletesBatch { index: usize },
    PodEnds { index: usize, code: i32 },
    UserDeletes { index: usize },
    UserCancels { index: usize },
    UserToggles,
    UserCancelsGroup,
    UserStartsGroup,
    UserReordersGroup,
}

fn event() -> impl Strategy<Value = Event> {
    let crash = || prop::option::weighted(0.3, 1u32..5);
    prop_oneof![
        6 => (1i64..30).prop_map(|seconds| Event::Pass { seconds }),
        6 => crash().prop_map(|crash| Event::Round { crash }),
        4 => crash().prop_map(|crash| Event::Schedule { crash }),
        2 => crash().prop_map(|crash| Event::Group { crash }),
        5 => (0usize..9, crash()).prop_map(|(index, crash)| Event::Job { index, crash }),
        3 => crash().prop_map(|crash| Event::Dispatch { crash }),
        3 => (0usize..9, crash()).prop_map(|(index, crash)| Event::Launch { index, crash }),
        1 => Just(Event::Crash),
        5 => (0usize..9, prop_oneof![Just(0), Just(1), Just(FATAL), Just(IDLE)])
            .prop_map(|(index, code)| Event::BatchEnds { index, code }),
        2 => (0usize..9).prop_map(|index| Event::UserDeletesBatch { index }),
        2 => (0usize..9, prop_oneof![Just(0), Just(1), Just(FATAL), Just(IDLE)])
            .prop_map(|(index, code)| Event::PodEnds { index, code }),
        2 => (0usize..9).prop_map(|index| Event::UserDeletes { index }),
        1 => (0usize..9).prop_map(|index| Event::UserCancels { index }),
        1 => Just(Event::UserToggles),
        1 => Just(Event::UserCancelsGroup),
        2 => Just(Event::UserStartsGroup),
        1 => Just(Event::UserReordersGroup),
    ]
}

/// What a history starts with.
#[derive(Clone, Debug)]
struct Setting {
    schedule: String,
    group: String,
    queue_max: u32,
    template_max: Option<u32>,
    deadline: Option<i64>,
}

fn setting() -> impl Strategy<Value = Setting> {
    let policy = prop_oneof![Just("Allow"), Just("Forbid")];
    let catch_up = prop_oneof![
        Just("{policy: None}"),
        Just("{policy: Latest, windowSeconds: 60}"),
        Just("{policy: All, windowSeconds: 60, maxRuns: 2}"),
    ];
    let mode = prop_oneof![Just("Parallel"), Just("Sequential")];
    let failure = prop_oneof![Just("Continue"), Just("Stop")];
    let limits = (1u32..4, prop::option::of(1u32..3), 1u32..3, any::<bool>(), prop::option::of(5i64..60));
    (policy, catch_up, mode, failure, limits).prop_map(|(policy, catch_up, mode, failure, limits)| Setting {
        schedule: format!("concurrencyPolicy: {policy}, catchUp: {catch_up}"),
        group: format!("mode: {mode}, failurePolicy: {failure}, maxRunning: {}, started: {}", limits.2, limits.3),
        queue_max: limits.0,
        template_max: limits.1,
        deadline: limits.4,
    })
}

/// The cluster, the operator, and what is owed.
struct World {
    cluster: Cluster,
    operator: Operator,
    template: JobTemplateSpec,
    /// Since when every time is owed an outcome; absent while the schedule is, or lately was, disabled.
    owed_since: Option<Timestamp>,
    /// When the operator last saw that the schedule was disabled, and said so.
    seen_disabled: Option<Timestamp>,
}

impl World {
    fn new(setting: &Setting) -> Self {
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let schedule = yaml(&format!(
            "
metadata: {{name: often, namespace: team, uid: uid-schedule, generation: 1, creationTimestamp: '2026-03-01T00:00:00Z'}}
spec: {{templateRef: {{name: template}}, interval: 10s, enabled: true, {}}}
",
            setting.schedule
        ));
        let group = yaml(&format!(
            "
metadata: {{name: batch, namespace: team, uid: uid-group, generation: 1}}
spec:
  {{{}, jobs: [{{name: a, templateRef: {{name: template}}}}, {{name: b, templateRef: {{name: template}}}}]}}
",
            setting.group
        ));
        let mut template: JobTemplateSpec = yaml(&format!(
            "{{jobType: x, jobTemplate: {{}}, retry: {{maxAttempts: {ATTEMPTS}, backoff: {{initialSeconds: 1}}, rules: [
            {{exitCodes: [{IDLE}], action: Skip}}, {{exitCodes: [{FATAL}], reasons: [ExitCode], action: Fail}}]}}}}"
        ));
        template.max_running = setting.template_max;
        template.deadline_seconds = setting.deadline;
        template.ttl_seconds_after_finished = Some(KEPT_SECONDS);
        let mut cluster = Cluster::new(now, schedule, group, setting.queue_max);
        cluster.create_job(yaml(
            "{metadata: {name: by-hand, namespace: team, generation: 1}, spec: {templateRef: {name: template}}}",
        ));
        for member in ["batch-joins", "batch-joins-too"] {
            cluster.create_job(yaml(&format!(
                "{{metadata: {{name: {member}, namespace: team, generation: 1}}, spec: {{templateRef: {{name: template}}, groupRef: {{name: batch}}}}}}",
            )));
        }
        let operator = Operator::new(now, template.clone());
        Self { cluster, operator, template, owed_since: Some(now), seen_disabled: None }
    }

    fn restart(&mut self) {
        self.cluster.crash_after = None;
        self.operator = Operator::new(self.cluster.now, self.template.clone());
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pass { seconds } => self.pass(*seconds),
            Event::Round { crash } => {
                self.schedule(*crash);
                self.act(*crash, |operator, cluster| operator.round(cluster));
            }
            Event::Schedule { crash } => self.schedule(*crash),
            Event::Group { crash } => self.act(*crash, |operator, cluster| operator.group(cluster)),
            Event::Job { index, crash } => {
                let name = self.job(*index);
                self.act(*crash, |operator, cluster| operator.job(cluster, &name));
            }
            Event::Dispatch { crash } => self.act(*crash, |operator, cluster| operator.dispatch(cluster)),
            Event::Launch { index, crash } => {
                let name = self.job(*index);
                self.act(*crash, |operator, cluster| operator.launch(cluster, &name));
            }
            Event::Crash => self.restart(),
            Event::BatchEnds { index, code } => {
                let active = self.cluster.active_batches();
                if let Some(name) = active.get(index % active.len().max(1)) {
                    self.cluster.end_batch(name, *code);
                }
            }
            Event::UserDeletesBatch { index } => {
                let active = self.cluster.active_batches();
                let Some(name) = active.get(index % active.len().max(1)) else { return };
                let of = |job: &&Job| attempt_name(job, current_attempt(job)) == *name;
                let job = self.cluster.jobs.values().find(of).cloned();
                if let (Some(job), Some(batch)) = (job, self.cluster.delete_batch(name)) {
                    self.operator.lost_batch(batch, &job);
                }
            }
            Event::PodEnds { index, code } => {
                let running = self.cluster.running_pods();
                if let Some((name, _)) = running.get(index % running.len().max(1)) {
                    self.cluster.end_pod(name, *code);
                }
            }
            Event::UserDeletes { index } => {
                let name = self.job(*index);
                self.cluster.delete_job(&name);
            }
            Event::UserCancels { index } => {
                let name = self.job(*index);
                if let Some(job) = self.cluster.jobs.get_mut(&name) {
                    job.spec.cancel.get_or_insert_default();
                }
            }
            Event::UserToggles => self.toggle(),
            Event::UserCancelsGroup => {
                self.cluster.edit_group(|spec| _ = spec.cancel.get_or_insert_default());
            }
            Event::UserStartsGroup => self.cluster.edit_group(|spec| spec.started = Some(true)),
            Event::UserReordersGroup => self.cluster.edit_group(|spec| spec.jobs.reverse()),
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.cluster.now += SignedDuration::from_secs(seconds);
    }

    fn job(&self, index: usize) -> String {
        let names: Vec<&String> = self.cluster.jobs.keys().collect();
        names.get(index % names.len().max(1)).map(|name| (*name).clone()).unwrap_or_default()
    }

    fn enabled(&self) -> bool {
        self.cluster.schedule.spec.enabled == Some(true)
    }

    fn toggle(&mut self) {
        let enabled = !self.enabled();
        self.cluster.schedule.spec.enabled = Some(enabled);
        *self.cluster.schedule.metadata.generation.as_mut().unwrap() += 1;
        // What was due and not dealt with when it was turned off is owed no more, and may or may not have an outcome.
        self.owed_since = None;
    }

    fn act(&mut self, crash: Option<u32>, work: impl FnOnce(&mut Operator, &mut Cluster) -> Result<(), Crash>) {
        self.cluster.crash_after = crash;
        match work(&mut self.operator, &mut self.cluster) {
            Ok(()) => self.cluster.crash_after = None,
            Err(Crash) => self.restart(),
        }
    }

    /// A decision about the schedule, after which it owes nothing if it could finish.
    fn schedule(&mut self, crash: Option<u32>) {
        self.cluster.crash_after = crash;
        match self.operator.schedule(&mut self.cluster) {
            Ok(complete) => {
                self.cluster.crash_after = None;
                self.assert_invariants();
                if complete && self.enabled() {
                    self.assert_nothing_is_owed();
                    self.owed_since = Some(self.cluster.now);
                } else if complete {
                    self.seen_disabled = Some(self.cluster.now);
                }
            }
            Err(Crash) => self.restart(),
        }
    }

    /// The outcomes of each time: the Jobs ever made for it, and the records that cover it.
    fn outcomes(&self) -> BTreeMap<Timestamp, usize> {
        let mut outcomes = BTreeMap::new();
        let recorded = self.cluster.runs.values().filter(|run| run.spec.schedule_ref.is_some());
        let mut made: BTreeMap<String, Timestamp> = BTreeMap::new();
        for run in recorded {
            match (&run.spec.job_ref, &run.spec.scheduled_time) {
                (Some(job), Some(time)) => drop(made.insert(job.name.clone(), time.0)),
                _ => covered(run).into_iter().for_each(|time| *outcomes.entry(time).or_default() += 1),
            }
        }
        let live = self
            .cluster
            .jobs
            .values()
            .filter_map(|job| Some((job.metadata.name.clone()?, job.spec.scheduled_time.as_ref()?.0)));
        made.extend(live);
        for (name, time) in made {
            *outcomes.entry(time).or_default() += self.cluster.made[&name] as usize;
        }
        outcomes
    }

    fn assert_nothing_is_owed(&self) {
        let Some(since) = self.owed_since else { return };
        let outcomes = self.outcomes();
        let mut time: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        while time + EVERY <= self.cluster.now {
            time += EVERY;
            if time > since {
                assert_eq!(outcomes.get(&time), Some(&1), "I1: {time} has no outcome, though the operator was done");
            }
        }
    }

    fn assert_invariants(&mut self) {
        for (time, count) in self.outcomes() {
            assert_eq!(count, 1, "I1: {time} has more than one outcome");
            assert!(time <= self.cluster.now, "I1: {time} has not come yet");
        }
        for time in std::mem::take(&mut self.cluster.accounted) {
            let seen = self.seen_disabled;
            assert!(seen.is_none_or(|seen| time > seen), "I7: {time} fired though the schedule was off at {seen:?}");
        }
        for (name, count) in &self.cluster.made {
            assert_eq!(*count, 1, "I1, I2: {name} was created {count} times");
        }
        let mut active = self.cluster.active_batches();
        active.extend(self.cluster.running_pods().into_iter().map(|(name, _)| name));
        let limit = self.template.max_running.map_or(self.cluster.queue_max, |max| max.min(self.cluster.queue_max));
        assert!(active.len() <= limit as usize, "I3: {active:?} run, and the limit is {limit}");
        let of_group = active.iter().filter(|name| name.starts_with("batch-")).count();
        let spec = &self.cluster.group.spec;
        let group_max = if spec.mode == GroupMode::Sequential { 1 } else { spec.max_running.unwrap_or(u32::MAX) };
        assert!(of_group <= group_max as usize, "I3: {active:?} run, and the limit of the group is {group_max}");
        if self.cluster.schedule.spec.concurrency_policy == Some(ConcurrencyPolicy::Forbid) {
            let jobs = self.cluster.jobs.values().filter(|job| job.spec.schedule_ref.is_some());
            let unfinished: Vec<&Job> = jobs.filter(|job| !self.is_finished(job)).collect();
            assert!(unfinished.len() <= 1, "I3: concurrencyPolicy is Forbid: {unfinished:?}");
        }
    }

    /// Whether the last attempt of a Job is recorded.
    fn is_finished(&self, job: &Job) -> bool {
        let status = job.status.as_ref();
        if status.and_then(|status| status.phase).is_some_and(crate::api::JobPhase::is_ended) {
            return true;
        }
        let attempt = current_attempt(job);
        let run = self.cluster.runs.get(&attempt_name(job, attempt)).and_then(|run| run.status.as_ref());
        run.is_some_and(|run| {
            use crate::api::Reason::{BatchJobDeleted, Cancelled, JobDeleted, TotalDeadlineExceeded};
            let last = attempt == ATTEMPTS || job.metadata.deletion_timestamp.is_some();
            let final_ = matches!(run.reason, BatchJobDeleted | Cancelled | JobDeleted | TotalDeadlineExceeded);
            last || final_ || run.phase != Outcome::Failed || run.exit_code == Some(FATAL)
        })
    }

    /// The operator works on without faults, until it has nothing to do for a while.
    fn rest(&mut self, end_batches: bool) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            for name in self.cluster.active_batches() {
                let expired = self.cluster.batches[&name].spec.is_some();
                if end_batches || expired {
                    self.cluster.end_batch(&name, 0);
                }
            }
            for (name, asked) in self.cluster.running_pods() {
                if end_batches || asked {
                    self.cluster.end_pod(&name, 0);
                }
            }
            let before = self.cluster.requests;
            self.schedule(None);
            self.act(None, |operator, cluster| operator.round(cluster));
            self.assert_invariants();
            self.pass(1);
            // Nothing is put off for longer than this.
            quiet = if self.cluster.requests == before { quiet + 1 } else { 0 };
            if quiet == 5 {
                return;
            }
        }
        panic!("I11: the operator does not come to rest");
    }

    fn assert_restart_writes_nothing(&mut self) {
        let before = self.cluster.requests;
        self.restart();
        for _ in 0..4 {
            self.act(None, |operator, cluster| operator.round(cluster));
            self.pass(1);
        }
        assert_eq!(self.cluster.requests, before, "I8: a restart with nothing to do writes");
    }

    /// The records of each Job: which attempts followed one another, and when.
    fn assert_attempts(&self) {
        let mut of_job: BTreeMap<String, Vec<&JobRun>> = BTreeMap::new();
        for run in self.cluster.runs.values() {
            if let Some(job) = &run.spec.job_ref {
                of_job.entry(job.uid.clone()).or_default().push(run);
            }
        }
        for runs in of_job.values_mut() {
            runs.sort_by_key(|run| run.spec.attempt);
            let numbers: Vec<u32> = runs.iter().map(|run| run.spec.attempt).collect();
            assert!(
                numbers.iter().copied().eq((1..).take(numbers.len())) && numbers.len() <= ATTEMPTS as usize,
                "attempts: {numbers:?}"
            );
            runs.iter().for_each(|run| self.assert_in_time(run));
            for pair in runs.windows(2) {
                let before = pair[0].status.as_ref().unwrap();
                let may = before.phase == Outcome::Failed && !retry::is_final(before.reason);
                assert!(may && before.exit_code != Some(FATAL), "no attempt may follow this one: {before:?}");
                let name = pair[1].metadata.name.as_ref().unwrap();
                let earliest = before.finished_at.as_ref().unwrap().0 + SignedDuration::from_secs(1);
                assert!(self.cluster.launched.get(name).is_none_or(|at| *at >= earliest), "{name}: too early");
            }
        }
    }

    /// An attempt was launched within the deadline of its Job, and what a rule says of its exit code was done.
    fn assert_in_time(&self, run: &JobRun) {
        let (name, status) = (run.metadata.name.as_ref().unwrap(), run.status.as_ref().unwrap());
        let by_rule = status.reason == crate::api::Reason::SkippedByRule;
        // What a cancel ended is none of a rule's business, whatever its pod said then.
        let is_ruled = status.exit_code == Some(IDLE) && !retry::is_final(status.reason);
        assert_eq!(by_rule, is_ruled, "{status:?}");
        let queued_at = status.queued_at.as_ref().unwrap().0;
        let deadline = self.template.deadline_seconds.map(|seconds| queued_at + SignedDuration::from_secs(seconds));
        let launched = self.cluster.launched.get(name);
        let in_time = |deadline| launched.is_none_or(|at| *at < deadline);
        assert!(
            deadline.is_none_or(in_time),
            "{name} was launched at {launched:?}, and its time was over at {deadline:?}"
        );
        if status.reason == crate::api::Reason::TotalDeadlineExceeded {
            assert!(status.finished_at.as_ref().map(|time| time.0) >= deadline && deadline.is_some(), "{status:?}");
        }
    }

    fn assert_converges(&mut self) {
        self.schedule(None);
        while self.enabled() {
            // What a crash left half done is completed first.
            self.schedule(None);
            self.schedule(None);
            self.toggle();
        }
        // What runs towards its deadline is not at rest.
        if self.template.deadline_seconds.is_none() {
            self.rest(false);
            self.assert_restart_writes_nothing();
        }
        self.cluster.edit_group(|spec| spec.started = Some(true));
        self.rest(true);
        self.assert_restart_writes_nothing();
        for name in self.cluster.made.keys().filter(|name| self.cluster.batches.contains_key(*name)) {
            assert!(self.cluster.runs.contains_key(name), "I2: attempt {name} ended without a record");
        }
        self.assert_attempts();
        let group = self.cluster.group.status.as_ref().unwrap();
        assert!(group.phase.is_some_and(GroupPhase::is_ended), "I11: the group does not end: {group:?}");
        for member in group.members.iter().filter(|member| member.job_ref.is_some()) {
            let run = member.run_ref.as_ref().and_then(|run| self.cluster.runs.get(&run.name));
            // A Job whose last attempt was skipped for its deadline has failed before.
            let said = run.map(|run| Recorded::of(run, self.cluster.now).ending.outcome);
            assert_eq!(said, member.outcome, "the group says of {} what its record does not", member.name);
        }
        self.pass(KEPT_SECONDS);
        self.rest(true);
        assert_eq!(self.cluster.jobs.keys().collect::<Vec<_>>(), [""; 0], "I11: Jobs are left over");
        self.assert_restart_writes_nothing();
    }
}

/// Found by the model: the record of the first times was written before the crash, and the one that was to cover more of
/// them after it has the same name.
#[test]
fn a_record_written_before_a_crash_hides_no_later_time() {
    let mut world = World::new(&Setting {
        schedule: "catchUp: {policy: All, windowSeconds: 60, maxRuns: 2}".into(),
        group: "mode: Parallel".into(),
        queue_max: 1,
        template_max: None,
        deadline: None,
    });
    world.happen(&Event::Pass { seconds: 56 });
    world.happen(&Event::Schedule { crash: Some(1) });
    world.happen(&Event::Pass { seconds: 11 });
    world.assert_converges();
    let skipped = world.cluster.runs.values().filter(|run| run.spec.job_ref.is_none()).map(covered);
    assert_eq!(skipped.map(|times| times.len()).collect::<Vec<_>>(), [2, 1], "those of before, and the one left");
}

#[test]
fn a_member_whose_time_is_over_is_not_queued_anew_when_its_list_is_reordered_after_a_crash() {
    let mut world = World::new(&Setting {
        schedule: "concurrencyPolicy: Allow, catchUp: {policy: None}".into(),
        group: "mode: Sequential, failurePolicy: Continue, maxRunning: 1, started: false".into(),
        queue_max: 1,
        template_max: None,
        deadline: Some(5),
    });
    let events = [
        Event::Pass { seconds: 1 },
        Event::UserDeletes { index: 0 },
        Event::UserStartsGroup,
        Event::Round { crash: None },
        Event::Round { crash: None },
        Event::Pass { seconds: 5 },
        Event::Dispatch { crash: None },
        Event::Dispatch { crash: None },
        Event::Schedule { crash: None },
        Event::Round { crash: Some(2) },
        Event::UserReordersGroup,
        Event::Pass { seconds: 1 },
    ];
    for event in &events {
        world.happen(event);
        world.assert_invariants();
    }
    world.assert_converges();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_through_crashes_and_everything_converges(
        setting in setting(),
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new(&setting);
        for event in &events {
            world.happen(event);
            world.assert_invariants();
        }
        world.assert_converges();
    }
}
