//! Names: the deterministic names of what Rota creates. They are its locks.
//!
//! Whoever creates an object for an occurrence or an attempt, however often and from however many processes, uses the
//! same name, so that the API server lets one creation through. A name is made of a readable part and of a hash of the
//! owner's uid, which tells the owner from a later one of the same name. Changing anything here orphans what already
//! runs; the golden tests say so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::api::labels::{APP_NAME, APP_PART_OF, MANAGED_BY, MANAGER};

/// The longest name of a Job that Rota creates, as of a CronJob: room for the suffixes of what is made of it.
pub const JOB_NAME_MAX: usize = 52;
/// The longest name of a batch Job (its pods carry it as a label) and of what shares its name.
pub const NAME_MAX: usize = 63;

/// The longest name of an attempt of any batch Job: Kubernetes appends the index of a pod to the name of an Indexed batch Job, a dash and up to
/// ten digits, and the whole has to be a label.
pub const ATTEMPT_NAME_MAX: usize = NAME_MAX - 11;

/// Letters and digits that spell no words, and that are not mistaken for one another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// The length of a short hash, in characters.
const SHORT_HASH_LENGTH: usize = 5;
/// The length of the hash in the other name of an attempt, in characters.
const ATTEMPT_HASH_LENGTH: usize = 10;
/// The length of the hash in the name of a template revision, in characters.
const REVISION_HASH_LENGTH: usize = 10;
/// The length of the hash in the name of a record whose own name is taken, in characters.
const OTHER_HASH_LENGTH: usize = 15;
/// The length of the hash of what a Job asks for, in characters.
const REQUEST_HASH_LENGTH: usize = 20;
/// The length of a hash that is the value of a label, in characters.
const LABEL_HASH_LENGTH: usize = 20;

/// Five characters that stand for a text: the same in every build and on every machine.
pub fn short_hash(text: &str) -> String {
    hash(text, SHORT_HASH_LENGTH)
}

/// Twenty characters that stand for a text, as the value of a label: two texts that have the same are not to be expected,
/// and whoever decides by it compares the texts as well where it has them.
pub fn label_hash(text: &str) -> String {
    hash(text, LABEL_HASH_LENGTH)
}

/// A number that stands for a text: the same in every build and on every machine.
pub fn number(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The name as it is if it fits, else its beginning and a hash of it, in at most `max` characters. The result starts
/// and ends with a letter or digit. Below seven characters there is room for the hash only.
pub fn shorten(name: &str, max: usize) -> String {
    fit(name, max, |character| matches!(character, '-' | '.'))
}

/// The labels that Kubernetes recommends for whatever is made by a tool, for what runs something of that name.
pub fn recommended_labels(name: &str) -> BTreeMap<String, String> {
    let name = Some(name).filter(|name| !name.is_empty()).map(|name| (APP_NAME, label_value(name)));
    let made = [(APP_PART_OF, MANAGER.to_owned()), (MANAGED_BY, MANAGER.to_owned())];
    name.into_iter().chain(made).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A name as the value of a label: at most 63 characters, and as it is wherever that is possible.
pub fn label_value(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    fit(name, NAME_MAX, |character| matches!(character, '-' | '.' | '_') || character.is_ascii_uppercase())
}

/// The name of the Job of an occurrence of a schedule.
pub fn occurrence_job(schedule_name: &str, schedule_uid: &str, nominal: Timestamp) -> String {
    let seconds = seconds_word(nominal);
    // Two times may lie within one second when an interval has another anchor than before.
    let part = match nominal.subsec_microsecond().unsigned_abs() {
        0 => String::new(),
        part => format!("u{part:06}"),
    };
    with_suffix(schedule_name, &format!("{}-{seconds}{part}", short_hash(schedule_uid)), JOB_NAME_MAX)
}

/// Whether that is the name of the Job of an occurrence, or was one before times within one second were told apart.
pub fn is_occurrence_job(name: &str, schedule_name: &str, schedule_uid: &str, nominal: Timestamp) -> bool {
    let coarse = || {
        let suffix = format!("{}-{}", short_hash(schedule_uid), seconds_word(nominal));
        with_suffix(schedule_name, &suffix, JOB_NAME_MAX)
    };
    name == occurrence_job(schedule_name, schedule_uid, nominal) || name == coarse()
}

/// The seconds since 1970 in a name. A minus sign would double the separator; no real schedule is owed anything before 1970.
fn seconds_word(nominal: Timestamp) -> String {
    nominal.as_second().to_string().replace('-', "n")
}

/// The name of the JobRun of an occurrence that was skipped before a Job was made.
pub fn skipped_run(schedule_name: &str, schedule_uid: &str, nominal: Timestamp) -> String {
    format!("{}-skipped", occurrence_job(schedule_name, schedule_uid, nominal))
}

/// The name of the Job of a member of a group.
pub fn member_job(group_name: &str, group_uid: &str, member: &str) -> String {
    let suffix = short_hash(&format!("{group_uid}/{member}"));
    with_suffix(&format!("{group_name}-{member}"), &suffix, JOB_NAME_MAX)
}

/// The name of the batch Job of an attempt, and of the JobRun of that attempt.
pub fn attempt(job_name: &str, job_uid: &str, attempt: u32) -> String {
    with_suffix(job_name, &format!("{}-{attempt}", short_hash(job_uid)), NAME_MAX)
}

/// The name of an attempt whose own name is taken by somebody else's object, or is too long for what Kubernetes makes of it.
/// Builds that know only [`attempt`] find all others, so that a downgrade repeats nothing.
pub fn other_attempt(job_name: &str, job_uid: &str, attempt: u32) -> String {
    with_suffix(job_name, &format!("{}-{attempt}", hash(job_uid, ATTEMPT_HASH_LENGTH)), ATTEMPT_NAME_MAX)
}

/// The name of a record whose own name is taken, from something that stands for it.
pub fn other_run(name: &str, word: &str) -> String {
    with_suffix(name, &hash(word, OTHER_HASH_LENGTH), NAME_MAX)
}

/// A word for what a Job asks for: two that would run the same with the same parameters have the same.
pub fn request(spec: &crate::api::JobSpec) -> String {
    let asked = (&spec.template_ref, &spec.job_template, &spec.job_type, &spec.params);
    hash(&serde_json::to_string(&asked).unwrap_or_default(), REQUEST_HASH_LENGTH)
}

/// The name of the ControllerRevision that holds a template's specification with that digest.
pub fn revision(template_name: &str, template_uid: &str, digest: &str) -> String {
    let digest = hash(digest, REVISION_HASH_LENGTH);
    with_suffix(template_name, &format!("{}-{digest}", short_hash(template_uid)), NAME_MAX)
}

/// `{name}-{suffix}` as a DNS label of at most `max` characters.
fn with_suffix(name: &str, suffix: &str, max: usize) -> String {
    let room = max.saturating_sub(suffix.len() + 1);
    format!("{}-{suffix}", fit(name, room, |character| character == '-'))
}

/// The text in at most `max` characters, all of them lower-case letters, digits or `allowed`, with a letter or digit
/// at either end. Where that changes more than dots, a hash of the text keeps it apart from its neighbours.
fn fit(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> String {
    let usable = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || allowed(character);
    let cleaned: String = text.chars().map(|character| if usable(character) { character } else { '-' }).collect();
    let trimmed = trim(&cleaned);
    let intact = cleaned.len() == text.len()
        && trimmed.len() == text.len()
        && cleaned.chars().zip(text.chars()).all(|(new, old)| new == old || old == '.');
    if intact && !text.is_empty() && text.len() <= max {
        return cleaned;
    }
    let room = max.saturating_sub(SHORT_HASH_LENGTH + 1);
    let beginning: String = trimmed.chars().take(room).collect();
    match trim(&beginning) {
        "" => hash(text, SHORT_HASH_LENGTH.min(max)),
        beginning => format!("{beginning}-{}", short_hash(text)),
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches(|character: char| !character.is_ascii_alphanumeric())
}

/// The first characters of the SHA-256 of a text, in [`ALPHABET`].
fn hash(text: &str, length: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut number = digest.iter().take(16).fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
    let base = ALPHABET.len() as u128;
    let mut characters = String::with_capacity(length);
    for _ in 0..length {
        let index = usize::try_from(number % base).unwrap_or_default();
        characters.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'b')));
        number /= base;
    }
    characters
}

/// The day of an instant in UTC, as the label of a record says it.
pub fn day(instant: jiff::Timestamp) -> String {
    instant.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

#[cfg(test)]
mod tests;
