//! Makes the specifications that the tests need.

use serde_json::{Value, json};

/// The image of every container; the cluster has it.
pub const IMAGE: &str = "docker.io/library/busybox:1.36";

/// A batch Job template whose only container, `main`, runs a shell script.
pub fn script(script: &str) -> Value {
    json!({ "spec": { "template": { "spec": {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        "automountServiceAccountToken": false,
        "containers": [container("main", script)],
    }}}})
}

/// A container that runs a shell script.
pub fn container(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["/bin/sh", "-c", script] })
}

/// The specification of a Job without a template that runs a shell script.
pub fn ad_hoc(text: &str) -> Value {
    json!({ "jobType": "test", "jobTemplate": script(text) })
}

/// The specification of a JobTemplate that runs a shell script.
pub fn template(text: &str) -> Value {
    json!({ "jobType": "test", "jobTemplate": script(text) })
}

/// The specification of a Job of that template.
pub fn of(template: &str) -> Value {
    json!({ "templateRef": { "name": template } })
}

/// That specification with those fields on top.
pub fn with(mut spec: Value, fields: Value) -> Value {
    let (Some(spec_fields), Value::Object(fields)) = (spec.as_object_mut(), fields) else { panic!("not objects") };
    spec_fields.extend(fields);
    spec
}

/// What `trapping` says once it would notice that it is asked to end.
pub const READY: &str = "ready";

/// A script that waits for a long time, and does this when it is asked to end. A test that asks waits for `World::ready` first:
/// what is asked before the trap is set is not heard.
pub fn trapping(on_term: &str) -> String {
    format!("trap '{on_term}' TERM; echo {READY}; sleep 600 & wait $!")
}

/// A script that runs until it is killed, and dies at once when asked to.
pub const FOR_EVER: &str = "trap 'exit 143' TERM; sleep 600 & wait $!";
