//! Sealing: since when all leaders have sealed their records, which the Lease says.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use crate::api::labels::SEALED_SINCE_ANNOTATION;

/// Since when all leaders have sealed their records, if the last one did. A Lease that was made anew, also from a copy, has
/// another uid and so another key: what is older than it has no seal that could be told.
pub(super) fn sealed_since(lease: &Lease) -> Option<Timestamp> {
    let said = lease.metadata.annotations.as_ref()?.get(SEALED_SINCE_ANNOTATION)?;
    let (transitions, since) = said.split_once(' ')?;
    let last = lease.spec.as_ref()?.lease_transitions?;
    let since: Timestamp = since.parse().ok().filter(|_| transitions.parse() == Ok(last))?;
    let created = lease.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Some(created.map_or(since, |created| since.max(created)))
}

/// Says that its leader seals its records, as others have done since then.
pub(super) fn say_sealed(lease: &mut Lease, since: Timestamp) {
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
    let said = format!("{transitions} {since}");
    lease.metadata.annotations.get_or_insert_default().insert(SEALED_SINCE_ANNOTATION.to_owned(), said);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn spec(transitions: i32) -> Option<LeaseSpec> {
        Some(LeaseSpec { lease_transitions: Some(transitions), ..LeaseSpec::default() })
    }

    #[test]
    fn records_are_sealed_since_the_first_of_the_leaders_in_a_row_that_do() {
        let mut lease = Lease { spec: spec(3), ..Lease::default() };
        assert_eq!(sealed_since(&lease), None, "an earlier build does not say");
        let since: Timestamp = "2026-03-01T12:05:00Z".parse().unwrap();
        say_sealed(&mut lease, since);
        assert_eq!(sealed_since(&lease), Some(since));
        let created: Timestamp = "2026-03-01T13:00:00Z".parse().unwrap();
        lease.metadata.creation_timestamp = Some(Time(created));
        assert_eq!(sealed_since(&lease), Some(created), "it was made anew from a copy");
        lease.spec = spec(4);
        assert_eq!(sealed_since(&lease), None, "an earlier build led in between");
    }
}
