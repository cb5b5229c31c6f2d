//! What fits and what does not, with the sums.

use serde_json::json;

use super::*;
use crate::api::{JobGroupSpec, JobSpec};

fn values(count: usize, value: &str) -> ParamValues {
    (0..count).map(|number| (format!("p{number}"), value.to_owned())).collect()
}

fn template(containers: usize) -> Value {
    let container = json!({ "name": "main", "image": "busybox" });
    json!({ "spec": { "template": { "spec": { "containers": vec![container; containers] } } } })
}

fn job(spec: JobSpec) -> Job {
    Job::new("report", spec)
}

#[test]
fn parameters_that_do_not_fit_into_the_annotations_of_a_pod_are_refused_with_the_sum() {
    let emoji = values(9, &"😀".repeat(8_192));
    let why = check_launch(&template(1), &[], &emoji).unwrap_err();
    assert!(why.starts_with("spec.params: ") && why.contains("take 295000 bytes") && why.contains("262144"), "{why}");
    assert_eq!(check_launch(&template(1), &[], &values(31, &"a".repeat(8_192))), Ok(()));
    // In JSON a quote takes two bytes, and a control character six.
    assert!(check_launch(&template(1), &[], &values(17, &"\"".repeat(8_192))).is_err());
    assert!(check_launch(&template(1), &[], &values(6, &"\u{1}".repeat(8_192))).is_err());
    let mut annotated = template(1);
    annotated["spec"]["template"]["metadata"] = json!({ "annotations": { "note": "n".repeat(200_000) } });
    assert!(check_launch(&annotated, &[], &values(8, &"a".repeat(8_192))).is_err());
    annotated["spec"]["template"]["metadata"] =
        json!({ "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "n".repeat(200_000) } });
    assert_eq!(check_launch(&annotated, &[], &values(8, &"a".repeat(8_192))), Ok(()), "that one is not passed on");
}

#[test]
fn every_container_has_the_parameters_in_its_environment() {
    let many = values(24, &"a".repeat(8_192));
    assert_eq!(check_launch(&template(5), &[], &many), Ok(()));
    let why = check_launch(&template(10), &[], &many).unwrap_err();
    assert!(why.contains("of each of 10 containers") && why.contains("at most 1540096"), "{why}");
}

#[test]
fn a_job_must_have_room_for_its_status() {
    let mut large = template(1);
    large["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x".repeat(1_200_000)]);
    let params = values(20, &"a".repeat(8_192));
    let spec = JobSpec { job_template: Some(large.clone()), params: params.clone(), ..JobSpec::default() };
    let why = check(&job(spec), &large, &[], &params).unwrap_err();
    assert!(why.starts_with("spec: ") && why.contains("at most 1540096 together"), "{why}");
    large["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x".repeat(1_300_000)]);
    let spec = JobSpec { job_template: Some(large.clone()), ..JobSpec::default() };
    let mut applied = job(spec);
    assert_eq!(check(&applied, &large, &[], &ParamValues::new()), Ok(()));
    let copy = (LAST_APPLIED_ANNOTATION.to_owned(), String::new());
    applied.metadata.annotations = Some([copy].into());
    assert!(check(&applied, &large, &[], &ParamValues::new()).is_err(), "kubectl keeps a copy");
}

#[test]
fn the_status_of_a_group_must_fit_beside_its_members() {
    let group = |value: &str| {
        let member = |number: usize| json!({ "name": format!("m{number}"), "templateRef": { "name": "t" }, "params": { "text": value } });
        let jobs: Vec<Value> = (0..1_000).map(member).collect();
        let spec: JobGroupSpec = serde_json::from_value(json!({ "mode": "Parallel", "jobs": jobs })).unwrap();
        JobGroup::new("large", spec)
    };
    assert_eq!(check_group(&group(&"a".repeat(900)), 0), Ok(()));
    let why = check_group(&group(&"a".repeat(1_200)), 0).unwrap_err();
    assert!(why.starts_with("spec.jobs: ") && why.contains("for 1000 members"), "{why}");
    assert_eq!(check_group(&group(&"a".repeat(900)), 5_000), Ok(()), "no more than 1,000 are listed");
}

#[test]
fn a_record_holds_what_can_be_stored() {
    let usual = values(64, &"a".repeat(8_192));
    assert_eq!(for_record(usual.clone()), (usual, false));
    let mut huge = values(63, &"😀".repeat(8_192));
    huge.insert("n".repeat(500_000), "v".into());
    let (kept, is_cut) = for_record(huge);
    assert!(is_cut && stored_bytes(&kept) < 64 * 1_024 && kept.len() == 64);
    assert!(kept["p1"].ends_with('…'));
}

#[test]
fn markup_is_counted_as_it_is_stored() {
    assert_eq!(stored_bytes(&"ab"), 4);
    assert_eq!(stored_bytes(&"<&>"), 20);
    assert_eq!(stored_bytes(&"\\u003c"), 9);
}
