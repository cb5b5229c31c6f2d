//! Question: what somebody asks of the API, from the method and the address of a request.

/// How many Jobs of a queue are named unless asked otherwise.
pub const LIMIT_DEFAULT: usize = 100;
/// How many may be asked for.
pub const LIMIT_MAX: usize = 1_000;
/// The longest name of a namespace, in bytes.
const NAMESPACE_BYTES_MAX: usize = 63;
/// The longest name of an object, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The namespace.
    pub namespace: String,
    /// What about it.
    pub about: About,
}

/// What is asked about a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Why a Job waits, runs or has ended.
    Why {
        /// Its name.
        job: String,
    },
    /// All queues.
    Queues,
    /// The line of one queue.
    Queue {
        /// Its name.
        queue: String,
        /// How many Jobs to name at the most.
        limit: usize,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// In a sentence.
    pub message: String,
}

impl Refusal {
    /// With this code and sentence.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a request asks. Nothing in an address is escaped: no name has a character that needs it.
pub fn read(method: &str, path: &str, query: Option<&str>) -> Result<Question, Refusal> {
    let words: Vec<&str> = path.split('/').collect();
    let ["", "v1", "namespaces", namespace, rest @ ..] = words.as_slice() else { return Err(unknown()) };
    let about = match rest {
        ["jobs", job, "why"] => About::Why { job: name(job, NAME_BYTES_MAX, "Job")? },
        ["queues"] => About::Queues,
        ["queues", queue] => {
            About::Queue { queue: name(queue, NAME_BYTES_MAX, "queue")?, limit: limit(query.unwrap_or_default())? }
        }
        _ => return Err(unknown()),
    };
    let namespace = name(namespace, NAMESPACE_BYTES_MAX, "namespace")?;
    if method != "GET" {
        return Err(Refusal::new(405, format!("{method:.16} is not known here: nothing can be changed, write GET")));
    }
    if !matches!(about, About::Queue { .. }) && query.is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::new(
            400,
            "there are no parameters here; limit is for /v1/namespaces/NAMESPACE/queues/NAME",
        ));
    }
    Ok(Question { namespace, about })
}

fn unknown() -> Refusal {
    Refusal::new(
        404,
        "there is no such address; there are /v1/namespaces/NAMESPACE/jobs/NAME/why, /v1/namespaces/NAMESPACE/queues and \
         /v1/namespaces/NAMESPACE/queues/NAME",
    )
}

/// A name as Kubernetes allows it.
fn name(text: &str, bytes_max: usize, what: &str) -> Result<String, Refusal> {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (1..=bytes_max).contains(&text.len())
        && text.bytes().all(|byte| is_alphanumeric(byte) || matches!(byte, b'-' | b'.'))
        && [text.bytes().next(), text.bytes().last()].into_iter().flatten().all(is_alphanumeric);
    let message = || {
        format!("that is no name of a {what}: 1 to {bytes_max} characters of a to z, 0 to 9, - and ., not at an end")
    };
    if fits { Ok(text.to_owned()) } else { Err(Refusal::new(400, message())) }
}

fn limit(query: &str) -> Result<usize, Refusal> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let ("limit", value) = pair.split_once('=').unwrap_or((pair, "")) else {
            return Err(Refusal::new(400, "the only parameter here is limit"));
        };
        let is_number = value.len() <= 5 && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|number| is_number && (1..=LIMIT_MAX).contains(number));
        let Some(number) = number.filter(|_| found.is_none()) else {
            return Err(Refusal::new(400, format!("limit is one number from 1 to {LIMIT_MAX}")));
        };
        found = Some(number);
    }
    Ok(found.unwrap_or(LIMIT_DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &str, path: &str, query: Option<&str>) -> u16 {
        read(method, path, query).map_or_else(|refusal| refusal.code, |_| 200)
    }

    #[test]
    fn three_addresses_are_known() {
        let question = |about| Ok(Question { namespace: "team-a".into(), about });
        let why = "/v1/namespaces/team-a/jobs/report-7x.k2/why";
        assert_eq!(read("GET", why, None), question(About::Why { job: "report-7x.k2".into() }));
        assert_eq!(read("GET", "/v1/namespaces/team-a/queues", Some("")), question(About::Queues));
        for (query, limit) in [(None, 100), (Some("limit=1"), 1), (Some("limit=1000"), 1_000), (Some("limit=007"), 7)] {
            let about = About::Queue { queue: "reports".into(), limit };
            assert_eq!(read("GET", "/v1/namespaces/team-a/queues/reports", query), question(about), "{query:?}");
        }
    }

    #[test]
    fn others_are_not() {
        for path in [
            "",
            "/",
            "/v1",
            "/v2/namespaces/a/queues",
            "/v1/namespaces/a",
            "/v1/namespaces/a/jobs",
            "/v1/namespaces/a/jobs/b",
            "/v1/namespaces/a/jobs/b/why/",
            "/v1/namespaces/a/queues/b/c",
            "//v1/namespaces/a/queues",
            "/metrics",
        ] {
            assert_eq!(code("GET", path, None), 404, "{path}");
        }
    }

    #[test]
    fn names_are_those_that_kubernetes_allows() {
        let long = "a".repeat(254);
        for name in ["", "A", "-a", "a.", "..", "a b", "a%20b", "a%2Fb", "ä", "a\n", "a\"b", long.as_str()] {
            assert_eq!(code("GET", &format!("/v1/namespaces/a/jobs/{name}/why"), None), 400, "{name}");
            assert_eq!(code("GET", &format!("/v1/namespaces/{name}/queues"), None), 400, "{name}");
        }
        assert_eq!(code("GET", &format!("/v1/namespaces/a/jobs/{}/why", &long[1..]), None), 200);
        assert_eq!(code("GET", &format!("/v1/namespaces/{}/queues", &long[..64]), None), 400);
    }

    #[test]
    fn nothing_can_be_changed_and_limits_are_limited() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"] {
            assert_eq!(code(method, "/v1/namespaces/a/queues", None), 405, "{method}");
        }
        for query in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=+5",
            "limit=",
            "limit",
            "limit=1e2",
            "limit=99999999999999999999999",
            "limit=5&limit=6",
            "max=5",
        ] {
            assert_eq!(code("GET", "/v1/namespaces/a/queues/b", Some(query)), 400, "{query}");
        }
        assert_eq!(code("GET", "/v1/namespaces/a/queues", Some("limit=5")), 400);
        assert_eq!(code("GET", "/v1/namespaces/a/jobs/b/why", Some("x=y")), 400);
    }
}
