//! Steps: those of a crontab expression that mean what they say and are surely not meant so.
//!
//! A step begins anew with each field: `*/90` in the minutes is minute 0 of each hour. The chart's admission policy says the
//! same sentences.

/// What a field counts: its name, the letter of such an interval, in what it begins anew, and its least and greatest value.
struct Unit {
    name: &'static str,
    interval: Option<char>,
    within: &'static str,
    span: u32,
}

const UNITS: [Unit; 6] = [
    Unit { name: "second", interval: Some('s'), within: "minute", span: 59 },
    Unit { name: "minute", interval: Some('m'), within: "hour", span: 59 },
    Unit { name: "hour", interval: Some('h'), within: "day", span: 23 },
    Unit { name: "day of the month", interval: None, within: "month", span: 30 },
    Unit { name: "month", interval: None, within: "year", span: 11 },
    Unit { name: "day of the week", interval: None, within: "week", span: 6 },
];

/// What is to be said of the steps of a schedule's expression, with the field.
pub fn sentences(cron: Option<&str>) -> Vec<String> {
    warnings(cron.unwrap_or_default()).into_iter().map(|message| format!("spec.cron: {message}")).collect()
}

/// What is to be said of the steps of an expression, a sentence a part.
pub fn warnings(cron: &str) -> Vec<String> {
    if !cron.contains('/') {
        return Vec::new();
    }
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let Some(first) = UNITS.len().checked_sub(fields.len()).filter(|first| *first <= 1) else { return Vec::new() };
    let units = UNITS.iter().skip(first);
    units.zip(fields).flat_map(|(unit, field)| field.split(',').filter_map(|part| warning(unit, part))).collect()
}

fn warning(unit: &Unit, part: &str) -> Option<String> {
    let (range, step) = part.split_once('/')?;
    let step: u32 = step.parse().ok()?;
    let name = unit.name;
    let instead = unit.interval.map(|letter| format!("; interval: {step}{letter} is every {step} {name}s"));
    let instead = instead.unwrap_or_default();
    let whole = matches!(range, "*" | "H");
    let span = match range.split_once('-') {
        Some((from, to)) => to.parse::<u32>().ok()?.checked_sub(from.parse().ok()?)?,
        None if whole || range.parse::<u32>().is_ok() => unit.span,
        None => return None,
    };
    if step > span {
        return Some(format!(
            "{part} in the field of the {name} goes beyond the field, and is its first value only{instead}"
        ));
    }
    let size = span + 1;
    (whole && unit.interval.is_some() && step * 2 > size).then(|| {
        let rest = size - step;
        format!(
            "{part} in the field of the {name} begins anew with each {}, so its two values are {step} and {rest} {name}s \
             apart{instead}",
            unit.within
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_beyond_its_field_is_named_with_what_was_meant() {
        let table = [
            (
                "*/90 * * * *",
                "*/90 in the field of the minute goes beyond the field, and is its first value only; interval: 90m is every 90 minutes",
            ),
            (
                "0 */36 * * *",
                "*/36 in the field of the hour goes beyond the field, and is its first value only; interval: 36h is every 36 hours",
            ),
            (
                "*/60 * * * *",
                "*/60 in the field of the minute goes beyond the field, and is its first value only; interval: 60m is every 60 minutes",
            ),
            (
                "*/90 * * * * *",
                "*/90 in the field of the second goes beyond the field, and is its first value only; interval: 90s is every 90 seconds",
            ),
            (
                "0 0 */31 * *",
                "*/31 in the field of the day of the month goes beyond the field, and is its first value only",
            ),
            ("0 0 1 */12 *", "*/12 in the field of the month goes beyond the field, and is its first value only"),
            (
                "0 0 * * */7",
                "*/7 in the field of the day of the week goes beyond the field, and is its first value only",
            ),
            (
                "10-20/15 * * * *",
                "10-20/15 in the field of the minute goes beyond the field, and is its first value only; interval: 15m is every 15 minutes",
            ),
            (
                "5,H/75 * * * *",
                "H/75 in the field of the minute goes beyond the field, and is its first value only; interval: 75m is every 75 minutes",
            ),
            (
                "*/45 * * * *",
                "*/45 in the field of the minute begins anew with each hour, so its two values are 45 and 15 minutes apart; interval: 45m is every 45 minutes",
            ),
            (
                "0  */18\t* * *",
                "*/18 in the field of the hour begins anew with each day, so its two values are 18 and 6 hours apart; interval: 18h is every 18 hours",
            ),
        ];
        for (cron, expected) in table {
            assert_eq!(warnings(cron), [expected], "{cron}");
        }
        assert_eq!(warnings("*/90 */48 * * *").len(), 2);
    }

    #[test]
    fn usual_steps_are_left_alone() {
        for cron in [
            "*/5 * * * *",
            "*/30 * * * *",
            "*/7 * * * *",
            "*/29 * * * *",
            "0 */12 * * *",
            "0 0 */2 * *",
            "10-40/30 * * * *",
            "0 0 1 */3 *",
            "0 9 * * MON-FRI/2",
            "H(0-29)/10 * * * *",
            "@hourly",
            "",
            "* *",
            "*/x * * * *",
            "5-1/3 * * * *",
        ] {
            assert_eq!(warnings(cron), Vec::<String>::new(), "{cron}");
        }
    }
}
