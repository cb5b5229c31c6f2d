//! The one error type of this crate: a sentence which a person can act on.

use std::fmt;

/// Something went wrong while building, starting or stopping a cluster.
///
/// Its text is a whole sentence: what failed, the reason where one is known, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// The result of anything in this crate which can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Says what was being done when a lower error occurred.
pub trait Explain<T> {
    /// Turns the lower error into "`doing` failed: lower error".
    ///
    /// # Errors
    /// The lower error, explained.
    fn explain(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Explain<T> for std::result::Result<T, E> {
    fn explain(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error(format!("{} failed: {error}", doing())))
    }
}
