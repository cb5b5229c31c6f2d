//! Snapshot: what the main containers of an attempt ran, so that its record says so when the template's revision is gone.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::Value;

use crate::api::job_run::ContainerSnapshot;
use crate::domain::conditions::shorten;
use crate::domain::words::printable;

/// How much of the name of a container a record has, in bytes: more than Kubernetes allows.
const NAME_BYTES_MAX: usize = 253;
/// How many containers a record names.
const CONTAINERS_MAX: usize = 8;
/// How many words of a command, or of its arguments, a record has.
const WORDS_MAX: usize = 20;
/// How much of one word, or of the name of an image, a record has, in bytes.
const WORD_BYTES_MAX: usize = 512;
/// How much of all words of a command, or of its arguments, a record has, in bytes.
const WORDS_BYTES_MAX: usize = 512;

/// The main containers of a batch Job template as they are written.
pub fn written(template_job: &Value) -> Option<Vec<ContainerSnapshot>> {
    let containers = template_job.pointer("/spec/template/spec/containers")?.as_array()?;
    Some(containers.iter().take(CONTAINERS_MAX).map(of_template).collect())
}

/// Those containers; of `pods` those that come first tell which images ran. Where it is not known how they were written, the pods tell
/// alone.
pub(super) fn containers(written: Option<Vec<ContainerSnapshot>>, pods: &[&Pod]) -> Vec<ContainerSnapshot> {
    let Some(mut containers) = written else {
        let statuses = pods.first().map(|pod| statuses(pod)).unwrap_or_default();
        return statuses.iter().take(CONTAINERS_MAX).map(|status| of_status(status)).collect();
    };
    for container in &mut containers {
        let mut all = pods.iter().flat_map(|pod| statuses(pod));
        let ran = all.find(|it| it.name == container.name && !it.image_id.is_empty());
        container.image_id = ran.map(|status| cut(&status.image_id));
    }
    containers
}

fn of_template(container: &Value) -> ContainerSnapshot {
    let text = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default();
    ContainerSnapshot {
        name: shorten(printable(text("name")), NAME_BYTES_MAX),
        image: Some(text("image")).filter(|image| !image.is_empty()).map(cut),
        image_id: None,
        command: words(container.get("command")),
        args: words(container.get("args")),
    }
}

fn of_status(status: &ContainerStatus) -> ContainerSnapshot {
    let said = |text: &str| Some(text).filter(|text| !text.is_empty()).map(cut);
    ContainerSnapshot {
        name: shorten(printable(&status.name), NAME_BYTES_MAX),
        image: said(&status.image),
        image_id: said(&status.image_id),
        ..ContainerSnapshot::default()
    }
}

fn statuses(pod: &Pod) -> Vec<&ContainerStatus> {
    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()).collect()
}

/// The words of a command, as many and as much of them as a record has room for. That some are left out is said by a last `…`.
fn words(list: Option<&Value>) -> Vec<String> {
    let all = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut kept = Vec::new();
    let mut room = WORDS_BYTES_MAX;
    for (index, word) in all.iter().enumerate() {
        if room == 0 || (kept.len() + 1 == WORDS_MAX && index + 1 < all.len()) {
            kept.push("…".to_owned());
            break;
        }
        let word = shorten(printable(word.as_str().unwrap_or_default()), WORD_BYTES_MAX.min(room.max('…'.len_utf8())));
        room = room.saturating_sub(word.len());
        kept.push(word);
    }
    kept
}

fn cut(text: &str) -> String {
    shorten(printable(text), WORD_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::pruned::tests::pod;

    fn body(containers: &Value) -> Value {
        json!({ "spec": { "template": { "spec": {
            "containers": containers, "initContainers": [{ "name": "proxy", "image": "p", "restartPolicy": "Always" }],
        }}}})
    }

    fn ran(statuses: &Value) -> Arc<Pod> {
        pod(
            json!({ "metadata": { "name": "a" }, "spec": { "containers": [] }, "status": { "containerStatuses": statuses } }),
        )
    }

    #[test]
    fn a_record_says_which_images_and_commands_ran() {
        let body = body(&json!([
            { "name": "main", "image": "busybox:1", "command": ["sh", "-c"], "args": ["echo $(PARAM_REGION)"], "env": [] },
            { "name": "second", "image": "busybox:2" },
        ]));
        let status = |image_id: &str| {
            json!([{
                "name": "main", "image": "docker.io/library/busybox:1", "imageID": image_id, "ready": false, "restartCount": 0,
            }])
        };
        let (pending, ended) = (ran(&status("")), ran(&status("busybox@sha256:12")));
        let found = containers(written(&body), &[&pending, &ended]);
        let main = ContainerSnapshot {
            name: "main".into(),
            image: Some("busybox:1".into()),
            image_id: Some("busybox@sha256:12".into()),
            command: vec!["sh".into(), "-c".into()],
            args: vec!["echo $(PARAM_REGION)".into()],
        };
        let second = ContainerSnapshot {
            name: "second".into(),
            image: Some("busybox:2".into()),
            ..ContainerSnapshot::default()
        };
        assert_eq!(found, [main, second]);
        // Of an attempt of which nobody can tell any more what it was made of, the pods tell what they can.
        let found = containers(None, &[&ended]);
        assert_eq!(found[0].image.as_deref(), Some("docker.io/library/busybox:1"));
        assert_eq!((found.len(), found[0].image_id.as_deref()), (1, Some("busybox@sha256:12")));
        assert_eq!(containers(None, &[]), []);
    }

    #[test]
    fn what_is_long_is_cut_and_fits_the_schema() {
        let many: Vec<Value> =
            (0..30).map(|_| json!({ "name": "n".repeat(300), "image": "i".repeat(2_000) })).collect();
        let found = containers(written(&body(&json!(many))), &[]);
        assert_eq!(found.len(), 8);
        assert!(found.iter().all(|it| it.name.len() == 253));
        assert!(
            found.iter().all(|it| it.image.as_ref().is_some_and(|image| image.len() == 512 && image.ends_with('…')))
        );
        let of = |words: Value| written(&body(&json!([{ "name": "a", "args": words }]))).unwrap().remove(0).args;
        let long = of(json!(["a".repeat(5_000), "b"]));
        assert_eq!((long.len(), long[0].len(), long[1].as_str()), (2, 512, "…"));
        let numbers: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let found = of(json!(numbers));
        assert_eq!((found.len(), found[0].as_str(), found[19].as_str()), (20, "0", "…"));
        assert_eq!(of(json!(numbers[..20])).last().map(String::as_str), Some("19"));
        assert_eq!(of(json!(["\u{1b}[2J", 5])), [printable("\u{1b}[2J"), String::new()]);
    }
}
