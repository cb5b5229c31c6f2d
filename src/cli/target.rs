//! Target: which object an argument such as `NAME` or `group/NAME` means.

use std::str::FromStr;

use super::objects::Connection;
use super::plugin::PluginError;
use crate::api::{Job, JobGroup, Schedule};

/// A kind that an argument may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A Job.
    Job,
    /// A JobGroup.
    Group,
    /// A Schedule.
    Schedule,
    /// A Queue.
    Queue,
    /// A JobTemplate.
    Template,
    /// A JobRun.
    Record,
}

/// What a kind is called before the `/`, in lower case: the first word is the one that messages use.
const WORDS: [(TargetKind, &[&str]); 6] = [
    (TargetKind::Job, &["job", "rjob", "jobs", "job.rota.dev", "jobs.rota.dev"]),
    (TargetKind::Group, &["group", "rgroup", "jobgroup", "jobgroups", "jobgroup.rota.dev", "jobgroups.rota.dev"]),
    (TargetKind::Schedule, &["schedule", "rsched", "schedules", "schedule.rota.dev", "schedules.rota.dev"]),
    (TargetKind::Queue, &["queue", "rq", "queues", "queue.rota.dev", "queues.rota.dev"]),
    (
        TargetKind::Template,
        &["template", "rtmpl", "jobtemplate", "jobtemplates", "jobtemplate.rota.dev", "jobtemplates.rota.dev"],
    ),
    (TargetKind::Record, &["record", "rrun", "jobrun", "jobruns", "run", "jobrun.rota.dev", "jobruns.rota.dev"]),
];

impl TargetKind {
    /// The word before the `/`.
    pub fn word(self) -> &'static str {
        WORDS.iter().find(|(kind, _)| *kind == self).and_then(|(_, words)| words.first()).copied().unwrap_or_default()
    }
}

/// An argument that names an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its kind, if the argument says it.
    pub kind: Option<TargetKind>,
    /// Its name.
    pub name: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            None => (None, text),
            Some((word, name)) => {
                let word = word.to_ascii_lowercase();
                let kind = WORDS.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(kind, _)| *kind);
                (
                    Some(kind.ok_or_else(|| {
                        format!("{word:?} is not one of job, group, schedule, queue, template and record")
                    })?),
                    name,
                )
            }
        };
        if name.is_empty() || name.contains('/') {
            return Err("write NAME, or a kind and a name such as group/NAME".into());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

/// An object that an argument means.
#[derive(Clone, Debug)]
pub enum Found {
    /// A Job.
    Job(Box<Job>),
    /// A JobGroup.
    Group(Box<JobGroup>),
    /// A Schedule.
    Schedule(Box<Schedule>),
}

impl Target {
    /// The object, which is of one of these kinds. A name that more than one of them has is refused.
    pub async fn find(&self, connection: &Connection, kinds: &[TargetKind]) -> Result<Found, PluginError> {
        if let Some(kind) = self.kind.filter(|kind| !kinds.contains(kind)) {
            let words = kinds.iter().map(|kind| format!("{}/NAME", kind.word())).collect::<Vec<_>>().join(" or ");
            return Err(PluginError::Usage(format!("this is not done to a {}: write {words}", kind.word())));
        }
        let mut found = Vec::new();
        for kind in kinds.iter().filter(|kind| self.kind.is_none_or(|wanted| wanted == **kind)) {
            let name = self.name.as_str();
            let object = match kind {
                TargetKind::Job => connection.find(name).await?.map(|job| Found::Job(Box::new(job))),
                TargetKind::Group => connection.find(name).await?.map(|group| Found::Group(Box::new(group))),
                TargetKind::Schedule => connection.find(name).await?.map(|it| Found::Schedule(Box::new(it))),
                TargetKind::Queue | TargetKind::Template | TargetKind::Record => None,
            };
            found.extend(object.map(|object| (*kind, object)));
        }
        if found.len() > 1 {
            let words = found.iter().map(|(kind, _)| format!("{}/{}", kind.word(), self.name)).collect::<Vec<_>>();
            let message = format!("{:?} is the name of more than one: write {}", self.name, words.join(" or "));
            return Err(PluginError::Usage(message));
        }
        found.pop().map(|(_, object)| object).ok_or_else(|| {
            let kinds = kinds.iter().filter(|kind| self.kind.is_none_or(|wanted| wanted == **kind));
            let kinds = kinds.map(|kind| kind.word()).collect::<Vec<_>>().join(" or ");
            connection.missing(&kinds, &self.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_a_name_or_a_kind_and_a_name() {
        let parsed = |text: &str| text.parse::<Target>().map(|target| (target.kind, target.name));
        assert_eq!(parsed("nightly"), Ok((None, "nightly".into())));
        assert_eq!(parsed("job/nightly"), Ok((Some(TargetKind::Job), "nightly".into())));
        assert_eq!(parsed("rgroup/nightly"), Ok((Some(TargetKind::Group), "nightly".into())));
        assert_eq!(parsed("Schedules.rota.dev/nightly"), Ok((Some(TargetKind::Schedule), "nightly".into())));
        for wrong in ["", "job/", "pod/a", "job/a/b"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
