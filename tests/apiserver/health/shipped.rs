//! The files under gitops/argocd: what the health checks say of the objects beside them, and that the ConfigMap has the same checks.

use std::fs;

use serde_json::Value;

use super::{gitops, judged};
use crate::examples::KINDS;

fn read(path: &str) -> String {
    let path = gitops("argocd").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn beside(kind: &str, file: &str) -> String {
    format!("resource_customizations/rota.dev/{kind}/{file}")
}

#[test]
fn the_config_map_has_the_health_checks_of_the_files() {
    let map = yaml("argocd-cm.yaml");
    for kind in KINDS {
        let check = &map["data"][format!("resource.customizations.health.rota.dev_{kind}")];
        assert_eq!(check.as_str(), Some(read(&beside(kind, "health.lua")).as_str()), "{kind}");
    }
}

/// The files are laid out as Argo CD's own, so that they can be given to it.
#[test]
fn the_health_checks_say_of_each_example_what_is_written_beside_it() {
    for kind in KINDS {
        let tests = yaml(&beside(kind, "health_test.yaml"));
        let tests = tests["tests"].as_array().unwrap();
        let input = |test: &Value| test["inputPath"].as_str().unwrap().to_owned();
        let objects: Vec<Value> = tests.iter().map(|test| yaml(&beside(kind, &input(test)))).collect();
        for (test, said) in tests.iter().zip(judged(&objects)) {
            assert_eq!(said["argocd"], test["healthStatus"], "{kind}, {}", input(test));
        }
        let examples = fs::read_dir(gitops("argocd").join(beside(kind, "testdata"))).unwrap().count();
        assert_eq!(examples, tests.len(), "{kind}: an example that no test names, or two that name one");
    }
}
