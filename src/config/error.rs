use std::fmt;

/// One thing that is wrong with a configuration: the key, the value, what is allowed, and where it was read.
///
/// The values of secret keys are never in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    origin: String,
    what: String,
}

impl ConfigError {
    pub(super) fn new(origin: impl Into<String>, what: impl Into<String>) -> Self {
        Self { origin: origin.into(), what: what.into() }
    }

    /// Where the value was read: a file with its line, a variable, or a flag.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

impl std::error::Error for ConfigError {}
