//! Where attempts stand, and whose batch Jobs are.

use super::*;

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn batch(metadata: &str, status: &str) -> BatchJob {
    yaml(&format!("metadata: {{name: report-x-1, uid: uid-batch, {metadata}}}\nstatus: {{{status}}}\n"))
}

fn pod(phase: &str) -> Arc<Pod> {
    Arc::new(yaml(&format!("metadata: {{name: pod, uid: uid-pod}}\nstatus: {{phase: {phase}}}\n")))
}

const DELETED: &str = "deletionTimestamp: '2026-03-01T00:00:10Z'";
const COMPLETE: &str = "conditions: [{type: Complete, status: 'True'}]";
const ABOUT_TO: &str = "conditions: [{type: FailureTarget, status: 'True'}]";

/// A word for where an attempt stands, for a table.
fn word(stand: &Stand<'_>) -> &'static str {
    match stand {
        Stand::NotLaunched => "not launched",
        Stand::Launching => "launching",
        Stand::Running(_) => "running",
        Stand::PodsEnding(Leaving::Deleting(_), _) => "pods ending, being deleted",
        Stand::PodsEnding(Leaving::Deleted(_), _) => "pods ending, deleted",
        Stand::Gone(_) => "gone",
        Stand::Ended(_) => "ended",
    }
}

#[test]
fn an_attempt_ends_when_its_pods_have_whatever_becomes_of_its_batch_job() {
    let (there, going) = (batch("", ""), batch(DELETED, ""));
    let (ended, ended_and_going) = (batch("", COMPLETE), batch(DELETED, COMPLETE));
    let about_to = batch("", ABOUT_TO);
    let (runs, over, none) = (vec![pod("Running")], vec![pod("Succeeded"), pod("Failed")], vec![]);
    let mixed = vec![pod("Failed"), pod("Pending")];
    let sight = |batch, last, pods| Sight { batch, last, pods, launched: true, launching: false };
    let table: [(Sight<'_>, &str, bool); 15] = [
        (sight(Some(&there), None, &runs), "running", true),
        (sight(Some(&there), None, &none), "running", true),
        (sight(Some(&about_to), None, &over), "running", true),
        (sight(Some(&ended), None, &over), "ended", false),
        (sight(Some(&ended_and_going), None, &none), "ended", false),
        (sight(Some(&going), None, &runs), "pods ending, being deleted", true),
        (sight(Some(&going), None, &over), "gone", true),
        (sight(None, Some(&there), &mixed), "pods ending, deleted", true),
        (sight(None, Some(&there), &over), "gone", true),
        (sight(None, Some(&ended), &none), "ended", false),
        (sight(None, None, &none), "gone", true),
        (sight(None, None, &runs), "pods ending, deleted", true),
        (Sight { launched: false, ..sight(None, None, &runs) }, "pods ending, deleted", true),
        (Sight { launched: false, launching: true, ..sight(None, None, &none) }, "launching", true),
        (Sight { launched: false, ..sight(None, None, &none) }, "not launched", false),
    ];
    for (sight, expected, takes_place) in table {
        let stand = Stand::of(&sight);
        assert_eq!((word(&stand), stand.takes_place()), (expected, takes_place), "{sight:?}");
    }
}

#[test]
fn a_batch_job_is_known_by_uid_and_never_by_its_name() {
    let job =
        |status: &str| yaml(&format!("{{metadata: {{name: report, uid: uid-job}}, spec: {{}}, status: {{{status}}}}}"));
    let said = "batchJobRef: {name: report-x-1, uid: uid-batch}";
    let owner = |uid: &str| {
        format!(
            "ownerReferences: [{{apiVersion: rota.dev/v1alpha1, kind: Job, name: report, uid: {uid}, controller: true}}]"
        )
    };
    let labels = |uid: &str| format!("labels: {{rota.dev/job-uid: {uid}, rota.dev/attempt: '1'}}");
    let (own, others) = (owner("uid-job"), owner("uid-other"));
    let (own_labels, other_labels) = (labels("uid-job"), labels("uid-other"));
    let table = [
        (format!("{own}, {own_labels}"), "", Ownership::Owned),
        (own.clone(), "", Ownership::Disowned),
        (format!("{own}, {other_labels}"), "", Ownership::Disowned),
        (own_labels.clone(), "", Ownership::Disowned),
        (String::new(), said, Ownership::Disowned),
        (other_labels.clone(), said, Ownership::Disowned),
        (format!("{others}, {own_labels}"), said, Ownership::Foreign),
        (String::new(), "", Ownership::Foreign),
        (other_labels, "", Ownership::Foreign),
    ];
    for (metadata, status, expected) in table {
        assert_eq!(ownership(&batch(&metadata, ""), &job(status), 1), expected, "{metadata} {status}");
    }
    let found = batch(&format!("{own}, {}", labels("uid-other")), "");
    assert_eq!(job_uid(&found.metadata), Some("uid-job"), "the owner reference goes before the label");
}
