//! What each answer of the API server says of the outcome of a write.

use std::time::Duration;

use kube::core::Status;
use serde_json::{Value, json};

use super::super::{Meaning, WriteError};

/// An answer of the API server, as it sends it.
fn said(answer: Value) -> WriteError {
    WriteError::Api(kube::Error::Api(Box::new(serde_json::from_value::<Status>(answer).unwrap())))
}

fn status(code: u16, reason: &str, message: &str) -> WriteError {
    said(json!({ "status": "Failure", "code": code, "reason": reason, "message": message }))
}

#[test]
fn an_error_after_which_the_write_may_have_happened_says_nothing_of_its_outcome() {
    for (code, reason, message) in [
        (500, "", "etcdserver: request timed out"),
        (500, "InternalError", "Internal error occurred: etcdserver: leader changed"),
        (502, "", "Bad Gateway"),
        (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
        (504, "Timeout", "Timeout: request did not complete within requested timeout - context deadline exceeded"),
        // What a user wrote stands within quotation marks.
        (500, "", "Job.batch \"x\": rpc error: admission webhook \"y\" denied the request"),
    ] {
        assert_eq!(status(code, reason, message).meaning(), Meaning::Unknown, "{code} {message}");
    }
    assert_eq!(WriteError::Timeout.meaning(), Meaning::Unknown);
}

#[test]
fn what_was_not_judged_is_sent_again() {
    for (code, reason, message) in [
        (409, "Conflict", "Operation cannot be fulfilled on resourcequotas \"jobs\": the object has been modified"),
        (429, "TooManyRequests", "Too many requests, please try again later."),
        (401, "Unauthorized", "Unauthorized"),
    ] {
        let error = status(code, reason, message);
        assert_eq!(error.meaning(), Meaning::NotTried, "{code} {message}");
        assert!(!error.already_exists(), "{code} {message}");
    }
    assert_eq!(WriteError::NotLeading.meaning(), Meaning::NotTried);
}

#[test]
fn a_refusal_by_admission_is_for_now_whatever_its_code() {
    let policy = "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
    for (code, reason, message) in [
        (403, "Forbidden", "jobs.batch \"x\" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1"),
        (
            403,
            "Forbidden",
            "jobs.batch is forbidden: User \"rota\" cannot create resource \"jobs\" in API group \"batch\"",
        ),
        (422, "Invalid", policy),
        (401, "Unauthorized", policy),
        (413, "RequestEntityTooLarge", policy),
        (400, "", "admission webhook \"w.example.com\" denied the request: not on Fridays"),
        (409, "Conflict", "admission webhook \"w.example.com\" denied the request: not now"),
        (422, "Invalid", "admission webhook \"w.example.com\" denied the request: Job \"x\" is invalid: no"),
        (500, "InternalError", "admission webhook \"w.example.com\" denied the request: it failed"),
        (
            500,
            "InternalError",
            "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook",
        ),
        (404, "NotFound", "namespaces \"x\" not found"),
    ] {
        assert_eq!(status(code, reason, message).meaning(), Meaning::Denied, "{code} {message}");
    }
}

#[test]
fn only_what_can_never_become_right_is_final() {
    let invalid = said(json!({
        "status": "Failure", "code": 422, "reason": "Invalid",
        "message": "Job.batch \"x\" is invalid: spec.template.spec.containers[0].image: Required value",
        "details": { "name": "x", "kind": "Job", "causes": [
            { "reason": "FieldValueRequired", "message": "Required value", "field": "spec.template.spec.containers[0].image" },
        ]},
    }));
    let strict = "Job in version \"v1\" cannot be handled as a Job: strict decoding error: unknown field \"spec.x\"";
    // A user may write such words into a field.
    let quotes = "Job.batch \"x\" is invalid: spec.completionMode: Unsupported value: \"y\\\" is forbidden: \"";
    for error in [
        invalid,
        status(400, "BadRequest", strict),
        status(422, "Invalid", quotes),
        status(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
        status(500, "", "etcdserver: request is too large"),
        status(409, "AlreadyExists", "jobs.batch \"x\" already exists"),
        WriteError::Foreign { kind: "JobRun".into(), name: "x".into() },
    ] {
        assert_eq!(error.meaning(), Meaning::Never, "{error:?}");
    }
}

#[test]
fn what_the_api_server_says_of_one_object_is_no_outage() {
    for (code, reason, message) in [
        (500, "InternalError", "Internal error occurred: failed calling webhook \"x\": context deadline exceeded"),
        (500, "", "etcdserver: request is too large"),
        (413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
        (403, "Forbidden", "jobs.batch \"x\" is forbidden: you cannot do this: User \"y\" cannot create"),
        (403, "Forbidden", "admission webhook \"w\" denied the request: it is forbidden: User \"y\" cannot create"),
        (401, "Unauthorized", "admission webhook \"w\" denied the request: no"),
        (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    ] {
        assert!(!status(code, reason, message).is_outage(), "{code} {message}");
    }
    assert!(!WriteError::Timeout.is_outage());
    let without_right = "jobs.batch is forbidden: User \"rota\" cannot create resource \"jobs\" in API group \"batch\"";
    let named = "jobs.rota.dev \"x\" is forbidden: User \"rota\" cannot patch resource \"jobs/status\"";
    for (code, message) in [(401, "Unauthorized"), (403, without_right), (403, named)] {
        let error = status(code, "", message);
        assert!(error.is_outage() && !error.is_refusal(), "{code} {message}");
    }
}

#[test]
fn only_what_the_api_server_was_too_busy_for_is_sent_again_at_once() {
    assert_eq!(status(429, "", "later").is_busy(), Some(Duration::ZERO));
    for code in [401, 409, 500, 503, 504] {
        assert_eq!(status(code, "", "perhaps").is_busy(), None, "a refusal of the second would hide the first");
    }
    assert_eq!(status(429, "", "admission webhook \"w\" denied the request: no").is_busy(), None);
    let asked = json!({ "status": "Failure", "code": 429, "message": "x", "details": { "retryAfterSeconds": 3 } });
    assert_eq!(said(asked).is_busy(), Some(Duration::from_secs(3)));
    assert_eq!(WriteError::Timeout.is_busy(), None);
}
