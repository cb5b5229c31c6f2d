//! Why manifests are not read with `serde_yaml`: it reads YAML 1.2, and kubectl reads YAML 1.1. A test that fails here because the
//! crate got better is a reason to look at it again.

use serde_json::{Value, json};

use super::check::Linter;
use super::documents::split;

/// A manifest that kubectl applies as it is meant.
const SCHEDULE: &str = "\
apiVersion: rota.dev/v1alpha1
kind: Schedule
metadata: { name: nightly }
spec:
  templateRef: { name: report }
  cron: 0 2 * * *
  enabled: off
";

const TEMPLATE: &str = "\
apiVersion: rota.dev/v1alpha1
kind: JobTemplate
metadata: { name: report }
spec:
  jobType: report
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{ name: main, image: busybox, volumeMounts: [{ name: keys, mountPath: /keys }] }]
          volumes: [{ name: keys, secret: { secretName: keys, defaultMode: 0400 } }]
";

fn ours(text: &str) -> Result<Value, String> {
    split("f", text).remove(0).content
}

fn theirs(text: &str) -> Result<Value, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// What lint finds in an object.
fn faults(object: &Value) -> Vec<String> {
    Linter::new().check(&mut object.clone(), None).into_iter().map(|fault| fault.message).collect()
}

#[test]
fn serde_yaml_takes_words_and_octal_numbers_of_manifests_for_strings() {
    for (text, place, meant) in [
        (SCHEDULE, "/spec/enabled", json!(false)),
        (TEMPLATE, "/spec/jobTemplate/spec/template/spec/volumes/0/secret/defaultMode", json!(0o400)),
    ] {
        let (ours, theirs) = (ours(text).unwrap(), theirs(text).unwrap());
        assert_eq!(ours.pointer(place), Some(&meant));
        assert!(theirs.pointer(place).unwrap().is_string(), "{theirs}");
        assert_eq!(faults(&ours), [""; 0]);
    }
    let found = faults(&theirs(SCHEDULE).unwrap());
    assert!(!found.is_empty(), "lint would find fault with what kubectl applies");
}

#[test]
fn serde_yaml_lets_the_second_of_two_equal_keys_win_without_a_word() {
    let twice = SCHEDULE.replace("  enabled: off\n", "  cron: 0 3 * * *\n");
    assert_eq!(theirs(&twice).unwrap()["spec"]["cron"], "0 3 * * *");
    let error = ours(&twice).unwrap_err();
    assert!(error.contains("line 7 column 3") && error.contains("duplicate mapping key: cron"), "{error}");
}

#[test]
fn serde_yaml_leaves_merge_keys_as_keys() {
    let text = "common: &common { region: eu }\nparams:\n  <<: *common\n  day: monday\n";
    assert_eq!(ours(text).unwrap()["params"], json!({ "region": "eu", "day": "monday" }));
    assert_eq!(theirs(text).unwrap()["params"], json!({ "<<": { "region": "eu" }, "day": "monday" }));
}
