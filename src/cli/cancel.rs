//! `kubectl rota cancel`: asks for the end of a Job or of a group, waiting or running.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::cluster::NamespaceArguments;
use super::objects::{Connection, Kind, Live, is_code, refused};
use super::plugin::{Answer, LATE, OK, PluginError};
use super::print::{self, DryRun, Format, dry};
use super::target::{Found, Target, TargetKind};
use crate::api::job_group::GroupPhase;
use crate::api::{Cancel, Job, JobGroup, JobPhase};

/// How often a write is tried again after somebody else's came first.
const CONFLICTS_MAX: usize = 5;

/// What to cancel, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A cancel cannot be taken back. What waits is recorded as Skipped, what runs is ended with its grace period and \
    recorded as Failed, both with the reason Cancelled. Who cancelled is recorded as well.\n\nExit codes: 0 cancelled, or was so \
    already; 1 not found or refused; 2 wrong arguments; 3 it has ended already; 5 no cluster.\n\nExamples:\n  kubectl rota cancel \
    report-7xk2p --reason 'wrong month'\n  kubectl rota cancel group/month-end --force --wait"
)]
pub struct Arguments {
    /// Job or group: NAME, job/NAME or group/NAME.
    #[arg(value_name = "JOB|GROUP")]
    pub target: Target,
    /// Why, for people; it is written into the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Kill running pods at once instead of giving them their grace period. May be added to an earlier cancel.
    #[arg(long)]
    pub force: bool,
    /// Wait until it has ended.
    #[arg(long)]
    pub wait: bool,
    /// Only ask the API server whether it would accept it.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub dry_run: Option<DryRun>,
    /// text for people, or json: the object as it is then.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

/// What can be cancelled.
trait Cancellable: Kind + serde::Serialize {
    const WORD: &'static str;
    fn cancel(&self) -> Option<&Cancel>;
    /// How it ended, if it has.
    fn end(&self) -> Option<String>;
}

impl Cancellable for Job {
    const WORD: &'static str = "job";

    fn cancel(&self) -> Option<&Cancel> {
        self.spec.cancel.as_ref()
    }

    fn end(&self) -> Option<String> {
        let status = self.status.as_ref().filter(|status| status.phase.is_some_and(JobPhase::is_ended))?;
        let reason = status.reason.map(|reason| format!(", {}", reason.as_str())).unwrap_or_default();
        Some(format!("{}{reason}", status.outcome.map_or("Cancelled", |outcome| outcome.as_str())))
    }
}

impl Cancellable for JobGroup {
    const WORD: &'static str = "group";

    fn cancel(&self) -> Option<&Cancel> {
        self.spec.cancel.as_ref()
    }

    fn end(&self) -> Option<String> {
        let phase = self.status.as_ref()?.phase.filter(|phase| phase.is_ended())?;
        Some(match phase {
            GroupPhase::Completed => "Completed".into(),
            GroupPhase::Partial => "Partial".into(),
            GroupPhase::Cancelled | GroupPhase::Created | GroupPhase::Queued | GroupPhase::Running => {
                "Cancelled".into()
            }
        })
    }
}

/// Answers.
pub async fn run(arguments: &Arguments) -> Result<Answer, PluginError> {
    let connection = Connection::open(&arguments.place, arguments.wait).await?;
    match arguments.target.find(&connection, &[TargetKind::Job, TargetKind::Group]).await? {
        Found::Job(job) => cancel(arguments, &connection, *job).await,
        Found::Group(group) => cancel(arguments, &connection, *group).await,
        Found::Schedule(_) => Err(PluginError::Usage("a schedule is not cancelled: set spec.enabled to false".into())),
    }
}

async fn cancel<K: Cancellable>(
    arguments: &Arguments,
    connection: &Connection,
    mut object: K,
) -> Result<Answer, PluginError> {
    let api: Api<K> = connection.api();
    let what = format!("{}/{}", K::WORD, object.name_any());
    let asker = asker(connection).await;
    for _ in 0..CONFLICTS_MAX {
        if let Some(end) = object.end() {
            let output = if arguments.output == Format::Json { print::json(&object)? } else { String::new() };
            return Ok(Answer { output, remarks: format!("{what} has ended already: {end}\n"), exit_code: LATE });
        }
        let Some(patch) = patch(object.cancel(), arguments, asker.as_deref()) else {
            let message = format!("{what} was cancelled already{}", before(object.cancel()));
            return finish(arguments, api, object, message).await;
        };
        let mut guarded = patch;
        guarded["metadata"] = json!({ "resourceVersion": object.resource_version() });
        let parameters = PatchParams { dry_run: arguments.dry_run.is_some(), ..PatchParams::default() };
        match api.patch(&object.name_any(), &parameters, &Patch::Merge(&guarded)).await {
            Ok(cancelled) => {
                let how = if cancelled.cancel().is_some_and(|it| it.force) { " by force" } else { "" };
                return finish(
                    arguments,
                    api,
                    cancelled,
                    format!("{what} is cancelled{how}{}", dry(arguments.dry_run)),
                )
                .await;
            }
            Err(error) if is_code(&error, 409) => object = connection.get(&object.name_any()).await?,
            Err(error) => return Err(refused(error)),
        }
    }
    Err(PluginError::Failed(format!("{what} is changed by others all the time; try again")))
}

/// A request for the end of Jobs in the caller's name, for that reason.
pub async fn request(connection: &Connection, reason: &str) -> Cancel {
    Cancel { reason: reason.to_owned(), requested_by: asker(connection).await, ..Cancel::default() }
}

/// What has to be written, if anything.
fn patch(before: Option<&Cancel>, arguments: &Arguments, asker: Option<&str>) -> Option<Value> {
    match before {
        Some(before) if before.force || !arguments.force => None,
        Some(_) => Some(json!({ "spec": { "cancel": { "force": true } } })),
        None => {
            let mut cancel = serde_json::Map::new();
            if !arguments.reason.is_empty() {
                cancel.insert("reason".into(), arguments.reason.as_str().into());
            }
            if arguments.force {
                cancel.insert("force".into(), true.into());
            }
            if let Some(asker) = asker {
                cancel.insert("requestedBy".into(), asker.into());
            }
            Some(json!({ "spec": { "cancel": cancel } }))
        }
    }
}

fn before(cancel: Option<&Cancel>) -> String {
    let by = cancel.and_then(|it| it.requested_by.as_deref()).map(|by| format!(" by {by}")).unwrap_or_default();
    let why = cancel.map(|it| it.reason.as_str()).filter(|why| !why.is_empty());
    format!("{by}{}", why.map(|why| format!(": {why}")).unwrap_or_default())
}

/// The caller's name as the API server knows it. Where that may not be asked, a cancel goes without.
async fn asker(connection: &Connection) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(connection.client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
    review.status?.user_info?.username.filter(|name| !name.is_empty())
}

async fn finish<K: Cancellable>(
    arguments: &Arguments,
    api: Api<K>,
    mut object: K,
    message: String,
) -> Result<Answer, PluginError> {
    let mut message = message;
    if arguments.wait && arguments.dry_run.is_none() {
        let name = object.name_any();
        let mut live = Live::of(api, object.clone());
        loop {
            match live.objects.get(&name) {
                Some(seen) => object = seen.clone(),
                None => break message += " and gone",
            }
            if let Some(end) = object.end() {
                break message += &format!(" and has ended: {end}");
            }
            live.changed().await?;
        }
    }
    Ok(match arguments.output {
        Format::Json => Answer { output: print::json(&object)?, remarks: String::new(), exit_code: OK },
        Format::Text => Answer { output: format!("{message}\n"), remarks: String::new(), exit_code: OK },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &[&str]) -> Arguments {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        <Line as clap::Parser>::parse_from([&["cancel", "a"], text].concat()).arguments
    }

    #[test]
    fn a_cancel_is_written_once_and_force_may_be_added() {
        let plain = arguments(&["--reason", "wrong month"]);
        let forced = arguments(&["--force"]);
        let expected = json!({ "spec": { "cancel": { "reason": "wrong month", "requestedBy": "jane" } } });
        assert_eq!(patch(None, &plain, Some("jane")), Some(expected));
        assert_eq!(patch(None, &forced, None), Some(json!({ "spec": { "cancel": { "force": true } } })));
        let earlier = Cancel { reason: "first".into(), ..Cancel::default() };
        assert_eq!(patch(Some(&earlier), &plain, Some("jane")), None, "what was said first stays");
        assert_eq!(
            patch(Some(&earlier), &forced, Some("jane")),
            Some(json!({ "spec": { "cancel": { "force": true } } }))
        );
        let by_force = Cancel { force: true, ..earlier };
        assert_eq!(patch(Some(&by_force), &forced, None), None);
    }
}
