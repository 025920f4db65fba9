//! What the node says of itself: `hufu status`, `/healthz`, `/readyz`,
//! `/metrics`.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use hufu_configuration::time::now_ms;
use hufu_proof::UnixMillis;
use serde::Serialize;

/// The node's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It opens its token and its store.
    Starting,
    /// It does everything it is configured for.
    Operational,
    /// It runs, but something that it needs is missing.
    Degraded,
    /// It runs, and its token does not take the PIN any more.
    Locked,
    /// It was told to stop and ends what it has begun.
    Stopping,
    /// It cannot go on.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Starting => "starting",
            Self::Operational => "operational",
            Self::Degraded => "degraded",
            Self::Locked => "locked",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        })
    }
}

/// A state, since when, why, and what to do.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    /// The state.
    pub state: State,
    /// Since when.
    pub since_ms: UnixMillis,
    /// Why; empty when all is well.
    pub reasons: Vec<String>,
    /// What does not keep the node from anything yet.
    pub warnings: Vec<String>,
}

/// Keeps the node's condition.
pub struct Health(Mutex<Condition>);

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(Condition {
            state: State::Starting,
            since_ms: now_ms(),
            reasons: vec!["opening the token and the store".to_owned()],
            warnings: Vec::new(),
        }))
    }
}

impl Health {
    /// Says how the node is now. The time of the last change is kept when the
    /// state stays.
    pub fn report(&self, state: State, reasons: Vec<String>) {
        let mut condition = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A node that stops or failed does not recover by itself.
        if matches!(condition.state, State::Stopping | State::Failed)
            && !matches!(state, State::Stopping | State::Failed)
        {
            return;
        }
        if condition.state != state {
            tracing::info!(from = %condition.state, to = %state, ?reasons, "state changed");
            condition.state = state;
            condition.since_ms = now_ms();
        }
        for reason in &reasons {
            if !condition.reasons.iter().any(|known| same_but_figures(known, reason)) {
                tracing::warn!("{reason}");
            }
        }
        condition.reasons = reasons;
    }

    /// Says what people are to be warned of; what is new goes to the log.
    pub fn warn(&self, warnings: Vec<String>) {
        let mut condition = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in &warnings {
            if !condition.warnings.iter().any(|known| same_but_figures(known, warning)) {
                tracing::warn!("{warning}");
            }
        }
        condition.warnings = warnings;
    }

    /// How the node is.
    pub fn condition(&self) -> Condition {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether two sentences differ in nothing but figures, which change all the
/// time and are no news.
fn same_but_figures(one: &str, other: &str) -> bool {
    let words =
        |text: &str| -> String { text.chars().filter(|one| !one.is_ascii_digit()).collect() };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_stops_does_not_become_operational_again() {
        let health = Health::default();
        assert_eq!(health.condition().state, State::Starting);
        health.report(State::Operational, Vec::new());
        health.report(State::Stopping, vec!["told to".into()]);
        health.report(State::Operational, Vec::new());
        assert_eq!(health.condition().state, State::Stopping);
    }
}
