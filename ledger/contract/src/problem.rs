//! What is wrong with a package, in words that say how to mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing wrong with a package. A check reports all of them at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file, relative to the package.
    pub file: String,
    /// The line, from 1; 0 when the problem is not at one.
    pub line: u32,
    /// What is wrong: `fields.rate_per_hour.unit`, `policy0`, ...
    pub thing: String,
    /// What is wrong with it, and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with all its parts.
    pub fn new(
        file: impl Into<String>,
        line: u32,
        thing: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), line, thing: thing.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.line > 0 {
            write!(formatter, ":{}", self.line)?;
        }
        if self.thing.is_empty() {
            write!(formatter, ": {}", self.message)
        } else {
            write!(formatter, ": {}: {}", self.thing, self.message)
        }
    }
}

impl std::error::Error for Problem {}
