//! The rule of JobRun: nothing of it ever changes. Each of its fields is tested in `records`.

use serde_json::{Value, json};

use super::{Case, Rule};
use crate::examples::job_run;

pub fn rules() -> Vec<Rule> {
    let with = |section: &str, field: &str, value: Value| {
        let mut run = job_run();
        run[section][field] = value;
        Case::changed(job_run(), run)
    };
    let without_status = json!({ "spec": job_run()["spec"] });
    vec![Rule {
        kind: "JobRun",
        path: "",
        message: "a JobRun is an immutable record and cannot be changed",
        accepted: vec![Case::created(job_run()), Case::changed(job_run(), job_run())],
        rejected: vec![
            with("spec", "attempt", json!(2)),
            with("spec", "params", json!({ "region": "us-1" })),
            with("status", "phase", json!("Completed")),
            with("status", "result", json!({ "rows": 13 })),
            Case::changed(job_run(), without_status.clone()),
            Case::changed(without_status, job_run()),
        ],
    }]
}
