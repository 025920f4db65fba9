//! How grave a finding of a control is: what contracts declare and reports show.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How grave a finding is. The order of declaration is the order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// To be mended in time.
    Low,
    /// To be mended soon.
    Medium,
    /// To be mended now.
    High,
    /// Stop and mend.
    Critical,
}

impl Severity {
    /// All of them, gravest first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Info];

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_is_written_as_its_code() {
        for one in Severity::ALL {
            assert_eq!(Severity::from_code(one.code()), Some(one));
            assert_eq!(serde_json::to_value(one).unwrap(), one.code());
        }
        assert!(Severity::ALL.is_sorted_by(|graver, other| graver > other));
    }
}
