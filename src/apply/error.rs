//! What went wrong with a write, and what that says of its outcome.

use std::time::Duration;

use kube::core::Status;

use super::REQUEST_TIMEOUT;
use crate::runtime::visibility::Blind;

/// How the HTTP library says that there is no connection.
const NOT_CONNECTED: &str = "client error (Connect)";

/// Why a write did not happen, or is not known to have.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another process leads, or may.
    #[error("failed to write: this process does not lead")]
    NotLeading,
    /// What it rests on is not seen well enough now.
    #[error(transparent)]
    Blind(#[from] Blind),
    /// No answer in time; the write may have happened.
    #[error("failed to write: no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The API server said no, or could not be reached.
    #[error("failed to write")]
    Api(#[from] kube::Error),
    /// Somebody else changed the object after this was decided about it: it has to be decided again.
    #[error("failed to write the status of {kind} {name:?}: somebody else changed it meanwhile")]
    Changed {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// An object of ours should have that name, and somebody else's has.
    #[error("failed to create {kind} {name:?}: another object has that name and is left alone")]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// What an error says of the outcome of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing: it may have happened, or happen still. Whatever was set aside for it stays so until that is known.
    Unknown,
    /// It did not happen, and nobody judged it: it is sent again.
    NotTried,
    /// It did not happen: a quota, a policy, a webhook or the operator's rights are against it. The same may be accepted
    /// later.
    Denied,
    /// It did not happen and never will: it is not valid, or its name is taken.
    Never,
}

impl WriteError {
    /// The API server's status code, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            Self::Api(_)
            | Self::NotLeading
            | Self::Blind(_)
            | Self::Timeout
            | Self::Changed { .. }
            | Self::Foreign { .. } => None,
        }
    }

    /// What the API server said, or what went wrong otherwise.
    pub fn text(&self) -> String {
        match self {
            Self::Api(kube::Error::Api(status)) => status.message.clone(),
            other => crate::runtime::lease::chain(other),
        }
    }

    /// What it says of the outcome of the write.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::NotLeading | Self::Blind(_) | Self::Changed { .. } => Meaning::NotTried,
            Self::Timeout => Meaning::Unknown,
            Self::Foreign { .. } => Meaning::Never,
            Self::Api(kube::Error::Api(status)) => meaning(status),
            Self::Api(kube::Error::BuildRequest(_)) => Meaning::NotTried,
            // Also an answer that cannot be read is one.
            Self::Api(_) => Meaning::Unknown,
        }
    }

    /// Whether it says that this process cannot write at all, and nothing about the one object: the API server cannot be
    /// reached, does not know who this is, or grants too little. An object that is too large, or a webhook of one namespace that
    /// fails or hangs, is no outage, however long it lasts: whether the API server writes anything, the lease tells.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::NotLeading | Self::Blind(_) | Self::Timeout | Self::Changed { .. } | Self::Foreign { .. } => false,
            Self::Api(kube::Error::Api(status)) => status.code == 401 && !is_denied(status) || is_without_right(status),
            // A connection that breaks on the way may be about the one request.
            Self::Api(error) => crate::runtime::lease::chain(error).contains(NOT_CONNECTED),
        }
    }

    /// How long the API server asks to wait before the same is asked again, if it was too busy to look at it.
    pub(super) fn is_busy(&self) -> Option<Duration> {
        match self {
            Self::Api(kube::Error::Api(status)) if status.code == 429 && !is_denied(status) => {
                let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                Some(Duration::from_secs(seconds.into()))
            }
            _ => None,
        }
    }

    /// Whether the API server judged the write and said no, for now or for good.
    pub fn is_refusal(&self) -> bool {
        !self.is_outage() && matches!(self.meaning(), Meaning::Denied | Meaning::Never)
    }

    /// What is to be said where people look: the sentence in which it was refused, if it was.
    pub fn refusal(&self) -> Option<String> {
        let refused = matches!(self.meaning(), Meaning::Denied | Meaning::Never) && !self.is(404);
        refused.then(|| self.text())
    }

    /// Whether an object of that name is there already. A quota that is asked by many at once conflicts too.
    pub fn already_exists(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.is_already_exists())
    }

    /// Whether a create failed because the namespace is being deleted.
    pub(super) fn is_terminating(&self) -> bool {
        self.is(403) && self.text().contains("because it is being terminated")
            || self.is(404) && self.text().contains("namespaces")
    }

    pub(super) fn is(&self, code: u16) -> bool {
        self.code() == Some(code)
    }
}

/// What an answer of the API server says. Policies and webhooks choose the code of their refusals, so the shape of the answer
/// goes before its code.
fn meaning(status: &Status) -> Meaning {
    if is_denied(status) {
        return Meaning::Denied;
    }
    if is_too_large(status) {
        return Meaning::Never;
    }
    match status.code {
        // What etcd says in an emergency reaches the client as 500, after the write was sent there.
        500.. => Meaning::Unknown,
        401 | 429 => Meaning::NotTried,
        409 if status.is_already_exists() => Meaning::Never,
        409 => Meaning::NotTried,
        400 => Meaning::Never,
        422 if is_invalid(status) => Meaning::Never,
        _ => Meaning::Denied,
    }
}

/// Whether the rights of the operator do not allow it: said before anybody looks at the object.
fn is_without_right(status: &Status) -> bool {
    let why = status.message.split_once(" is forbidden: ").map(|(_, why)| why);
    let is_right = why.is_some_and(|why| why.starts_with("User \"") && why.contains("\" cannot "));
    status.code == 403 && is_right && !status.message.starts_with("admission webhook ")
}

/// Whether somebody who is asked before anything is written said no, or could not be asked.
fn is_denied(status: &Status) -> bool {
    let said = status.message.strip_prefix("Internal error occurred: ").unwrap_or(&status.message);
    // A message starts with what the API server says; what a user wrote comes later, in quotation marks.
    let by_webhook = said.starts_with("admission webhook ") && said.contains(" denied the request");
    let unreachable = said.starts_with("failed calling webhook ") || said.starts_with("failed to call webhook");
    by_webhook || unreachable || names_and_says(said, " is forbidden: ")
}

/// Whether the fields of the object are wrong, in the judgement of the API server itself: it names each with a reason.
fn is_invalid(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    names_and_says(&status.message, " is invalid: ") && causes.iter().all(|cause| !cause.reason.is_empty())
}

/// Whether a message is `KIND "NAME"` followed by that.
fn names_and_says(message: &str, says: &str) -> bool {
    let after = message.split_once(" \"").and_then(|(_, rest)| rest.split_once('"')).map(|(_, after)| after);
    after.is_some_and(|after| after.starts_with(says))
}

/// Whether it does not fit into etcd or into a request: said before anything is written.
fn is_too_large(status: &Status) -> bool {
    status.code == 413
        || status.code >= 500
            && (status.message.contains("request is too large")
                || status.message.contains("trying to send message larger than max"))
}

#[cfg(test)]
mod tests;
