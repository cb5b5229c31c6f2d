//! References: whether what an object gives fits the template that it names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::check::{Fault, Source};
use crate::api::job_template::ParamValues;
use crate::api::{DEFAULT_QUEUE, Job, JobGroup, JobTemplate, Schedule};
use crate::domain::params;

/// Templates by namespace and name; absent: it is known that there is none.
pub type Templates = BTreeMap<(String, String), Option<JobTemplate>>;

/// One use of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// Where in the object.
    pub field: String,
    /// The template's name.
    pub template: String,
    /// What is given.
    pub params: ParamValues,
}

/// The templates that an object uses.
pub fn uses(object: &Value) -> Vec<Use> {
    let one = |field: &str, template: String, params| Use { field: field.to_owned(), template, params };
    match object["kind"].as_str().unwrap_or_default() {
        "Schedule" => Schedule::deserialize(object)
            .map(|schedule| vec![one("spec", schedule.spec.template_ref.name, schedule.spec.params)])
            .unwrap_or_default(),
        "Job" => Job::deserialize(object)
            .ok()
            .and_then(|job| Some(vec![one("spec", job.spec.template_ref?.name, job.spec.params)]))
            .unwrap_or_default(),
        "JobGroup" => JobGroup::deserialize(object)
            .map(|group| {
                let members = group.spec.jobs.into_iter().enumerate();
                members
                    .map(|(index, member)| one(&format!("spec.jobs[{index}]"), member.template_ref.name, member.params))
                    .collect()
            })
            .unwrap_or_default(),
        _ => vec![],
    }
}

/// Which queues there are, by namespace and name; absent: nothing is known of it.
pub type Queues = BTreeMap<(String, String), bool>;

/// The queue that an object names, if it does: where in the object, and its name. The queue `default` is made when it is needed.
pub fn queue(object: &Value) -> Option<(&'static str, String)> {
    let is_named = matches!(object["kind"].as_str(), Some("JobTemplate" | "Schedule" | "Job"));
    let name = object["spec"]["queue"].as_str().filter(|name| is_named && *name != DEFAULT_QUEUE)?;
    Some(("spec.queue", name.to_owned()))
}

/// That the queue of an object does not exist.
pub fn check_queue(namespace: &str, object: &Value, queues: &Queues) -> Option<Fault> {
    let (field, name) = queue(object)?;
    let is_missing = queues.get(&(namespace.to_owned(), name.clone())) == Some(&false);
    let message =
        format!("there is no Queue {name:?} in the namespace {namespace:?}: its Jobs would wait until there is one");
    is_missing.then(|| Fault::new(Source::Reference, field, message))
}

/// What does not fit. A template that nothing is known of is not judged.
pub fn check(namespace: &str, object: &Value, templates: &Templates) -> Vec<Fault> {
    let mut faults = Vec::new();
    for one in uses(object) {
        let reference = format!("{}.templateRef.name", one.field);
        match templates.get(&(namespace.to_owned(), one.template.clone())) {
            None => {}
            Some(None) => faults.push(Fault::new(
                Source::Reference,
                reference,
                format!("there is no JobTemplate {:?} in the namespace {namespace:?}", one.template),
            )),
            Some(Some(template)) => {
                if template.spec.archived {
                    let message = format!("JobTemplate {:?} is archived", one.template);
                    faults.push(Fault::new(Source::Reference, reference, message));
                }
                let errors = params::resolve(&template.spec.params, &[&one.params]).err().unwrap_or_default();
                faults.extend(errors.into_iter().map(|error| {
                    let dot = if error.name.is_empty() { "" } else { "." };
                    let field = format!("{}.params{dot}{}", one.field, error.name);
                    Fault::new(Source::Reference, field, format!("{} (JobTemplate {})", error.message, one.template))
                }));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn templates(archived: bool) -> Templates {
        let template = json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "JobTemplate", "metadata": { "name": "report" },
            "spec": { "jobType": "report", "archived": archived, "params": [{ "name": "region", "required": true }], "jobTemplate": {} },
        });
        let known = |name: &str| ("default".to_owned(), name.to_owned());
        [(known("report"), serde_json::from_value(template).ok()), (known("gone"), None)].into()
    }

    fn said(object: Value, archived: bool) -> Vec<String> {
        check("default", &object, &templates(archived)).iter().map(ToString::to_string).collect()
    }

    fn object(kind: &str, spec: Value) -> Value {
        json!({ "apiVersion": "rota.dev/v1alpha1", "kind": kind, "metadata": { "name": "one" }, "spec": spec })
    }

    #[test]
    fn parameters_must_fit_the_template_that_is_named() {
        let job = |params: Value| object("Job", json!({ "templateRef": { "name": "report" }, "params": params }));
        assert_eq!(said(job(json!({ "region": "eu" })), false), Vec::<String>::new());
        assert_eq!(
            said(job(json!({})), false),
            ["spec.params.region: is required and was not given (JobTemplate report)"]
        );
        assert_eq!(
            said(job(json!({ "region": "eu", "regoin": "us" })), false),
            ["spec.params.regoin: is not a parameter of the template; did you mean region? (JobTemplate report)"]
        );
        assert_eq!(
            said(job(json!({ "region": "eu" })), true),
            ["spec.templateRef.name: JobTemplate \"report\" is archived"]
        );
    }

    #[test]
    fn a_queue_that_is_known_not_to_exist_is_a_finding() {
        let known = |name: &str, exists| (("default".to_owned(), name.to_owned()), exists);
        let queues: Queues = [known("slow", true), known("gone", false)].into();
        let said = |kind: &str, queue: &str| {
            let fault = check_queue("default", &object(kind, json!({ "queue": queue })), &queues);
            fault.map(|fault| fault.to_string())
        };
        let missing = "spec.queue: there is no Queue \"gone\" in the namespace \"default\": its Jobs would wait until there is one";
        for kind in ["JobTemplate", "Schedule", "Job"] {
            assert_eq!(said(kind, "gone").as_deref(), Some(missing), "{kind}");
            assert!(["slow", "unheard-of", "default"].iter().all(|queue| said(kind, queue).is_none()), "{kind}");
        }
    }

    #[test]
    fn each_member_of_a_group_is_looked_at() {
        let member = |name: &str, template: &str| json!({ "name": name, "templateRef": { "name": template }, "params": { "region": "eu" } });
        let group = object(
            "JobGroup",
            json!({ "mode": "Parallel", "jobs": [member("a", "report"), member("b", "gone"), member("c", "unheard-of")] }),
        );
        assert_eq!(
            said(group, false),
            ["spec.jobs[1].templateRef.name: there is no JobTemplate \"gone\" in the namespace \"default\""]
        );
    }
}
