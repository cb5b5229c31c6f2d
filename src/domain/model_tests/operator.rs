//! The operator of the model: it observes, decides and applies as the controllers and the dispatcher do, one at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;

use super::cluster::{Cluster, Crash};
use crate::api::job::TemplateSnapshot;
use crate::api::queue::InFlight;
use crate::api::{Job, JobTemplateSpec, ObjectReference, ScheduleStatus};
use crate::domain::attempt::{Sight, Stand};
use crate::domain::group::{self, Gate, MemberJob};
use crate::domain::job::{self, Memory, attempt_name, current_attempt};
use crate::domain::plan::Ending;
use crate::domain::queue::snapshot::{Snapshot, decide};
use crate::domain::queue::{Limit, Occupant, QueueCondition, Settings};
use crate::domain::resolve::{Source, resolve};
use crate::domain::schedule::{self, OwnJob};

/// How many Jobs one round admits.
const ADMISSIONS_MAX: usize = 2;

/// What one process remembers.
pub struct Operator {
    memories: BTreeMap<String, Memory>,
    unwritten: Option<(ScheduleStatus, Timestamp)>,
    leading_since: Timestamp,
    taken_over: bool,
    template: JobTemplateSpec,
    snapshot: TemplateSnapshot,
}

fn uid(job: &Job) -> &str {
    job.metadata.uid.as_deref().unwrap_or_default()
}

impl Operator {
    pub fn new(now: Timestamp, template: JobTemplateSpec) -> Self {
        let revision = "template-r1".to_owned();
        let snapshot = TemplateSnapshot { name: "template".into(), revision, ..TemplateSnapshot::default() };
        Self { memories: BTreeMap::new(), unwritten: None, leading_since: now, taken_over: false, template, snapshot }
    }

    /// Everything once, in the order in which news usually travel.
    pub fn round(&mut self, cluster: &mut Cluster) -> Result<(), Crash> {
        self.schedule(cluster)?;
        self.group(cluster)?;
        self.jobs(cluster)?;
        self.dispatch(cluster)?;
        for name in cluster.jobs.keys().cloned().collect::<Vec<_>>() {
            self.launch(cluster, &name)?;
        }
        self.jobs(cluster)
    }

    fn jobs(&mut self, cluster: &mut Cluster) -> Result<(), Crash> {
        cluster.jobs.keys().cloned().collect::<Vec<_>>().iter().try_for_each(|name| self.job(cluster, name))
    }

    /// The watch tells that a batch Job is gone.
    pub fn lost_batch(&mut self, batch: BatchJob, job: &Job) {
        if let Some(memory) = self.memories.get_mut(uid(job)) {
            memory.gone_batch = Some(Arc::new(batch));
        }
    }

    fn ending(&self, job: &Job) -> Option<Ending> {
        job::ending(job, self.memories.get(uid(job)))
    }

    /// As controllers/schedule.rs. Returns whether every time that is due was dealt with.
    pub fn schedule(&mut self, cluster: &mut Cluster) -> Result<bool, Crash> {
        let written = cluster.schedule.status.clone().unwrap_or_default();
        let before = self.unwritten.as_ref().map_or(&written, |(status, _)| status).clone();
        let own = cluster.jobs.values().filter(|job| job.spec.schedule_ref.is_some()).map(|job| OwnJob {
            job: ObjectReference { name: job.metadata.name.clone().unwrap(), uid: uid(job).to_owned() },
            created: job.metadata.creation_timestamp.as_ref().map(|time| time.0),
            scheduled_time: schedule::occurrence(job),
            start_by: job.spec.start_by.as_ref().map(|time| time.0),
            started_at: job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0),
            waits_for: None,
            cancelled: job.spec.cancel.is_some(),
            held: job::is_held(job),
            ending: self.ending(job),
        });
        let jobs: Vec<OwnJob> = own.collect();
        let object = cluster.schedule.clone();
        let facts = schedule::Facts {
            schedule: &object,
            status: &before,
            edits: schedule::EditTimes::default(),
            template: Ok(()),
            queue: QueueCondition::Open,
            jobs: &jobs,
            leading_since: self.leading_since,
        };
        let decision = schedule::decide(&facts, cluster.now);
        let Some(status) = decision.plan.status else { return Ok(true) };
        for effect in &decision.plan.effects {
            let found = cluster.apply(effect)?;
            if let Some(until) = found.and_then(|run| schedule::recorded_until(effect, &run)) {
                let accounted_until = Some(crate::domain::conditions::micro(until));
                cluster.schedule.status = Some(ScheduleStatus { accounted_until, ..before });
                self.unwritten = None;
                cluster.request()?;
                return Ok(false);
            }
        }
        if status == written {
            self.unwritten = None;
            return Ok(true);
        }
        let since = self.unwritten.as_ref().map_or(cluster.now, |(_, since)| *since);
        if decision.urgent || cluster.now >= schedule::status_due(since, false) {
            cluster.schedule.status = Some(status);
            cluster.request()?;
            self.unwritten = None;
        } else {
            self.unwritten = Some((status, since));
        }
        Ok(true)
    }

    /// As controllers/job_group.rs.
    pub fn group(&mut self, cluster: &mut Cluster) -> Result<(), Crash> {
        let members = self.members(cluster);
        let plan = group::decide(&cluster.group, &members, None, &|_| None, cluster.now);
        for effect in &plan.effects {
            cluster.apply(effect)?;
        }
        if plan.status.is_some() && plan.status != cluster.group.status {
            cluster.group.status = plan.status;
            cluster.request()?;
        }
        Ok(())
    }

    fn members(&self, cluster: &Cluster) -> Vec<MemberJob> {
        let named = cluster.jobs.values().filter(|job| job.spec.group_ref.is_some());
        named.filter_map(|job| group::member(job, &cluster.group, self.ending(job))).collect()
    }

    fn gate(&self, cluster: &Cluster, job: &Job) -> Option<Gate> {
        let standing = group::standing(&cluster.group, &self.members(cluster), &|_| None);
        group::gate(job, Some((&cluster.group, &standing)))
    }

    /// As controllers/job.rs.
    pub fn job(&mut self, cluster: &mut Cluster, name: &str) -> Result<(), Crash> {
        let Some(object) = cluster.jobs.get(name).cloned() else { return Ok(()) };
        let now = cluster.now;
        let memory = self.memories.entry(uid(&object).to_owned()).or_insert_with(|| Memory::new(now));
        if memory.queueable_since.is_none() {
            let waited = object.status.as_ref().is_some_and(|status| status.phase.is_some());
            memory.queueable_since = Some(if waited { now } else { memory.first_seen });
        }
        let mut memory = memory.clone();
        let ending = self.ending(&object);
        let gate = self.gate(cluster, &object);
        let batch_name = attempt_name(&object, current_attempt(&object));
        let pods = cluster.pods.get(&batch_name).cloned().unwrap_or_default();
        let facts = |memory, looked: bool| job::Facts {
            job: &object,
            source: Source::Template { spec: &self.template, snapshot: &self.snapshot },
            gate: gate.as_ref(),
            schedule_settled: object.spec.schedule_ref.is_none()
                || cluster.schedule.status.as_ref().is_some_and(|status| schedule::has_settled(status, &object)),
            group_settled: group::is_settled(Some(&cluster.group), &object, ending.as_ref()),
            batch: cluster.batches.get(&batch_name),
            disowned: false,
            pods: &pods,
            kept_batches: &[],
            pods_there: &pods,
            looked,
            duplicate_of: None,
            superseded_by: None,
            kept_by_schedule: false,
            busy: false,
            memory,
        };
        let attempt = current_attempt(&object);
        let before = memory.clone();
        memory.see(attempt, &facts(&before, false).stand(), now);
        let first = memory.clone();
        let mut decision = job::decide(&facts(&first, false), now);
        memory.absent = Some(attempt).filter(|_| decision.look && !cluster.batches.contains_key(&batch_name));
        let second = memory.clone();
        if decision.look {
            decision = job::decide(&facts(&second, true), now);
        }
        let seen = (memory.absent, memory.end_seen, memory.asked_seen);
        let memory = self.memories.get_mut(uid(&object)).unwrap();
        (memory.absent, memory.end_seen, memory.asked_seen) = seen;
        memory.looked_at = true;
        memory.candidate = decision.candidate;
        for effect in &decision.plan.effects {
            if let Some(run) = cluster.apply(effect)? {
                memory.recorded = Some(job::Recorded::of(&run, now));
            }
        }
        if let (Some(status), Some(job)) = (decision.plan.status, cluster.jobs.get_mut(name))
            && job.status.as_ref() != Some(&status)
        {
            job.status = Some(status);
            cluster.request()?;
        }
        Ok(())
    }

    /// As a round of dispatcher.rs.
    pub fn dispatch(&mut self, cluster: &mut Cluster) -> Result<(), Crash> {
        let unfinished = |job: &&Job| {
            let phase = job.status.as_ref().and_then(|status| status.phase);
            !phase.is_some_and(crate::api::JobPhase::is_ended)
        };
        let known: Vec<Job> = cluster.jobs.values().filter(unfinished).cloned().collect();
        if known.iter().any(|job| self.memories.get(uid(job)).is_none_or(|memory| !memory.looked_at)) {
            return Ok(());
        }
        self.take_over(cluster, &known);
        let snapshot = self.snapshot(cluster, &known);
        let round = decide(snapshot, ADMISSIONS_MAX, cluster.now);
        let admitted = &round.admitted;
        if !admitted.is_empty() {
            let pending = cluster.in_flight.iter().filter(|entry| {
                self.memories.get(&entry.uid).and_then(|memory| memory.launching) == Some(entry.attempt)
            });
            let mut in_flight: Vec<InFlight> = pending.cloned().collect();
            in_flight.extend(admitted.iter().map(|candidate| InFlight {
                job: candidate.rank.name.to_string(),
                uid: candidate.uid.to_string(),
                attempt: candidate.attempt,
            }));
            cluster.in_flight = in_flight;
            self.taken_over = true;
            cluster.request()?;
            for candidate in admitted {
                let memory = self.memories.get_mut(candidate.uid.as_ref()).unwrap();
                memory.launching = Some(candidate.attempt);
                (memory.candidate, memory.blocker, memory.refusal) = (None, None, None);
            }
        }
        for (uid, blocker) in round.blocked {
            self.memories.get_mut(&uid).unwrap().blocker = Some(blocker);
        }
        Ok(())
    }

    fn take_over(&mut self, cluster: &Cluster, known: &[Job]) {
        if self.taken_over {
            return;
        }
        for entry in &cluster.in_flight {
            let Some(job) = known.iter().find(|job| uid(job) == entry.uid) else { continue };
            let attempt = current_attempt(job);
            let launched = stand(cluster, job, &self.memories[&entry.uid]).was_launched();
            let memory = self.memories.get_mut(&entry.uid).unwrap();
            if entry.attempt == attempt && !launched && memory.launching.is_none() && memory.recorded.is_none() {
                memory.launching = Some(attempt);
            }
        }
    }

    fn snapshot(&self, cluster: &Cluster, known: &[Job]) -> Snapshot {
        let queue = Settings { max_running: Some(cluster.queue_max), ..Settings::default() };
        let mut snapshot = Snapshot { queues: HashMap::from([("default".into(), queue)]), ..Snapshot::default() };
        let of_template = self.template.max_running.map(|max| (Limit::Template("template".into()), max));
        let of_group = group::max_running(&cluster.group.spec);
        let of_group = of_group.map(|max| (Limit::Group(cluster.group.metadata.uid.clone().unwrap_or_default()), max));
        snapshot.limits.extend(of_template.into_iter().chain(of_group));
        for job in known {
            let memory = &self.memories[uid(job)];
            let attempt = current_attempt(job);
            let stand = stand(cluster, job, memory);
            let recorded = memory.recorded.as_ref().is_some_and(|it| it.attempt == attempt);
            if stand.takes_place() && !recorded {
                snapshot.occupants.push(occupant(job));
            }
            if memory.launching == Some(attempt) {
                continue;
            }
            let launched = memory.launched.is_some_and(|(launched, _)| launched == attempt);
            let candidate = memory.candidate.as_ref().filter(|it| it.attempt == attempt && !launched);
            snapshot.candidates.extend(candidate.cloned());
        }
        snapshot
    }

    /// As the launcher in dispatcher.rs.
    pub fn launch(&mut self, cluster: &mut Cluster, name: &str) -> Result<(), Crash> {
        let Some(object) = cluster.jobs.get(name).cloned() else { return Ok(()) };
        let attempt = current_attempt(&object);
        let gate = self.gate(cluster, &object);
        let Some(memory) = self.memories.get_mut(uid(&object)) else { return Ok(()) };
        if memory.launching != Some(attempt) {
            return Ok(());
        }
        let cancelled = object.metadata.deletion_timestamp.is_some()
            || object.spec.cancel.is_some()
            || gate.is_some_and(|gate| gate.cancel.is_some());
        let source = Source::Template { spec: &self.template, snapshot: &self.snapshot };
        let known = resolve(&object, source, None).unwrap();
        if !cancelled && job::may_launch(&object, memory, &known, cluster.now) {
            cluster.launch(&object, &attempt_name(&object, attempt));
            cluster.request()?;
            memory.launched = Some((attempt, cluster.now));
        }
        memory.launching = None;
        Ok(())
    }
}

/// As controllers/job/attempt.rs.
fn stand<'a>(cluster: &'a Cluster, job: &Job, memory: &'a Memory) -> Stand<'a> {
    let name = attempt_name(job, current_attempt(job));
    Stand::of(&Sight {
        launching: memory.launching == Some(current_attempt(job)),
        launched: job::was_launched(job, Some(memory)),
        batch: cluster.batches.get(&name),
        last: memory.last_batch_of(job),
        pods: cluster.pods.get(&name).map(Vec::as_slice).unwrap_or_default(),
    })
}

fn occupant(job: &Job) -> Occupant {
    Occupant {
        name: job.metadata.name.as_deref().unwrap_or_default().into(),
        queue: "default".into(),
        limits: job::limits(job),
    }
}
