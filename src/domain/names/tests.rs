//! Names: valid, distinct, and the same for ever.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn is_dns_label(name: &str) -> bool {
    let ends = name.chars().next().zip(name.chars().next_back());
    ends.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
}

fn is_label_value(value: &str) -> bool {
    let ends = value.chars().next().zip(value.chars().next_back());
    value.len() <= 63
        && ends.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && value.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.'))
}

/// If this fails, an upgrade would forget what runs: names that were given must be given again.
#[test]
fn names_never_change() {
    const UID: &str = "6f1e1d2c-9d3b-4a6e-8f7a-0b1c2d3e4f50";
    let long = "a".repeat(80);
    let table = [
        ("an empty text", short_hash(""), "mk2wz"),
        ("a uid", short_hash(UID), "8wtkh"),
        ("an occurrence", occurrence_job("nightly", UID, second(1_767_225_600)), "nightly-8wtkh-1767225600"),
        ("a skipped one", skipped_run("nightly", UID, second(1_767_225_600)), "nightly-8wtkh-1767225600-skipped"),
        ("a member", member_job("batch", UID, "import"), "batch-import-s9xqd"),
        ("an attempt", attempt("nightly", UID, 1), "nightly-8wtkh-1"),
        ("an attempt of a dotted name", attempt("a.b", UID, 12), "a-b-8wtkh-12"),
        (
            "an attempt of a long name",
            attempt(&long, UID, 1),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-r87f9-8wtkh-1",
        ),
        ("its other name", other_attempt("nightly", UID, 1), "nightly-8wtkhtgkxm-1"),
        ("a dotted other name", other_attempt("a.b", UID, 12), "a-b-8wtkhtgkxm-12"),
        ("a long other name", other_attempt(&long, UID, 1), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-r87f9-8wtkhtgkxm-1"),
        ("a revision", revision("report", UID, "00ff"), "report-8wtkh-2s7z57fql9"),
        ("a shortened name", shorten(&long, 20), "aaaaaaaaaaaaaa-r87f9"),
    ];
    for (what, is, was) in table {
        assert_eq!(is, was, "{what}");
    }
}

#[test]
fn a_name_that_fits_stays_as_it_is() {
    let table = [("nightly", "nightly"), ("a.b-c", "a.b-c"), ("7up", "7up")];
    for (name, expected) in table {
        assert_eq!(shorten(name, 63), expected);
        assert_eq!(label_value(name), expected);
    }
    assert_eq!(label_value("Type_A.1"), "Type_A.1");
    assert_eq!(label_value(""), "");
}

#[test]
fn a_name_is_not_cut_at_a_separator() {
    let name = format!("{}-.{}", "a".repeat(56), "b".repeat(20));
    assert_eq!(shorten(&name, 64), format!("{}-{}", "a".repeat(56), short_hash(&name)));
}

#[test]
fn dots_and_dashes_of_owners_do_not_mix() {
    assert_ne!(member_job("g", "u", "a.b"), member_job("g", "u", "a-b"));
    assert_ne!(member_job("a", "u1", "b-c"), member_job("a-b", "u2", "c"));
    assert_ne!(attempt("a.b", "u1", 1), attempt("a-b", "u2", 1));
}

#[test]
fn a_time_before_1970_makes_a_valid_name() {
    assert!(is_dns_label(&occurrence_job("s", "u", second(-5))));
}

fn object_name() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
}

fn uid() -> impl Strategy<Value = String> {
    "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
}

proptest! {
    #[test]
    fn every_name_is_a_label_of_bounded_length(
        name in object_name(), uid in uid(), member in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        time in -62_000_000_000i64..253_402_207_200, number: u32,
    ) {
        let table = [
            (occurrence_job(&name, &uid, second(time)), JOB_NAME_MAX),
            (skipped_run(&name, &uid, second(time)), NAME_MAX),
            (member_job(&name, &uid, &member), JOB_NAME_MAX),
            (attempt(&name, &uid, number), NAME_MAX),
            (other_attempt(&name, &uid, number), ATTEMPT_NAME_MAX),
            (revision(&name, &uid, "digest"), NAME_MAX),
        ];
        for (made, max) in table {
            prop_assert!(is_dns_label(&made), "{made}");
            prop_assert!(made.len() <= max, "{made}");
        }
        prop_assert!(is_label_value(&label_value(&name)));
        // The hostname of the last pod of an Indexed batch Job with as many completions as there can be.
        let hostname = format!("{}-{}", other_attempt(&name, &uid, number), i32::MAX - 1);
        prop_assert!(is_dns_label(&hostname) && hostname.len() <= NAME_MAX, "{hostname}");
    }

    #[test]
    fn any_text_makes_a_valid_name(text in ".{0,300}", max in 0usize..300) {
        prop_assert!(is_dns_label(&attempt(&text, &text, 1)));
        prop_assert!(text.is_empty() || is_label_value(&label_value(&text)));
        let short = shorten(&text, max);
        prop_assert!(short.len() <= max, "{short}");
        prop_assert!(max == 0 || (trim(&short) == short && !short.is_empty()), "{short}");
    }

    #[test]
    fn owners_of_the_same_name_get_different_names(name in object_name(), one in uid(), other in uid()) {
        prop_assume!(one != other);
        prop_assert_ne!(occurrence_job(&name, &one, second(7)), occurrence_job(&name, &other, second(7)));
        prop_assert_ne!(member_job(&name, &one, "m"), member_job(&name, &other, "m"));
        prop_assert_ne!(attempt(&name, &one, 1), attempt(&name, &other, 1));
        prop_assert_ne!(revision(&name, &one, "d"), revision(&name, &other, "d"));
    }

    #[test]
    fn names_that_share_a_long_beginning_stay_apart(
        beginning in "[a-z0-9]{70,200}", one in "[a-z0-9]{1,50}", other in "[a-z0-9]{1,50}", uid in uid(),
    ) {
        prop_assume!(one != other);
        let (one, other) = (beginning.clone() + &one, beginning + &other);
        prop_assert_ne!(shorten(&one, 52), shorten(&other, 52));
        prop_assert_ne!(label_value(&one), label_value(&other));
        prop_assert_ne!(attempt(&one, &uid, 1), attempt(&other, &uid, 1));
        prop_assert_ne!(occurrence_job(&one, &uid, second(7)), occurrence_job(&other, &uid, second(7)));
        prop_assert_ne!(member_job("g", &uid, &one), member_job("g", &uid, &other));
    }

    #[test]
    fn attempts_and_times_of_one_owner_stay_apart(name in object_name(), uid in uid(), one: u32, other: u32) {
        prop_assume!(one != other);
        prop_assert_ne!(attempt(&name, &uid, one), attempt(&name, &uid, other));
        let (one, other) = (second(i64::from(one)), second(i64::from(other)));
        prop_assert_ne!(occurrence_job(&name, &uid, one), occurrence_job(&name, &uid, other));
    }
}

#[test]
fn two_times_within_one_second_have_names_of_their_own() {
    const UID: &str = "6f1e1d2c-9d3b-4a6e-8f7a-0b1c2d3e4f50";
    let time = |micros: i64| Timestamp::from_microsecond(1_767_225_600_000_000 + micros).unwrap();
    let names: std::collections::BTreeSet<String> =
        [0, 1, 200_000, 700_000, 999_999].map(|micros| occurrence_job("nightly", UID, time(micros))).into();
    assert_eq!(names.len(), 5);
    assert!(names.iter().all(|name| name.len() <= JOB_NAME_MAX && name.starts_with("nightly-")), "{names:?}");
    assert!(is_occurrence_job("nightly-8wtkh-1767225600", "nightly", UID, time(200_000)), "as it was named before");
    assert!(!is_occurrence_job("nightly-8wtkh-1767225601", "nightly", UID, time(200_000)));
}
