//! Faults of this machine as refusals; their codes are in the doors' one table.

use hufu_door::{Code, Problem};

/// A fault of this machine: told in the log, and to the operator in short.
pub fn internal(error: &anyhow::Error) -> Problem {
    tracing::error!(error = format!("{error:#}"), "a fault of this machine");
    Problem::new(Code::Internal, format!("{error:#}"))
}
