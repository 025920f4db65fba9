//! How the program ends when it does not succeed, for whatever part of it says so.

use std::fmt;

/// How a command ends when it does not succeed (`hufu --help`, Exit status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The answer is no.
    No = 1,
    /// The command or the configuration is wrong.
    Usage = 2,
    /// Something cannot be reached or is busy; try again.
    Unavailable = 3,
    /// The node's token or its PIN does not open. Trying again does harm.
    Locked = 4,
}

/// An error that says how the process ends.
#[derive(Debug)]
pub struct Ending {
    /// The exit status.
    pub exit: Exit,
    /// The sentence for the operator.
    pub message: String,
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Ending {}

/// An error and its causes, each once: many a cause is in the sentence of what it
/// caused already.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if said.is_empty() {
            said = text;
        } else if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
    }
    said
}

/// The answer is no.
pub fn no(message: impl Into<String>) -> anyhow::Error {
    Ending { exit: Exit::No, message: message.into() }.into()
}

/// Try again later.
pub fn unavailable(message: impl Into<String>) -> anyhow::Error {
    Ending { exit: Exit::Unavailable, message: message.into() }.into()
}

/// The token or its PIN does not open, unless the error says how it ends or the
/// configuration is to blame.
pub fn locked(error: anyhow::Error) -> anyhow::Error {
    let configuration = matches!(
        error.downcast_ref::<hufu_keys::Error>(),
        Some(hufu_keys::Error::Config { .. } | hufu_keys::Error::Module { .. })
    );
    if configuration || error.downcast_ref::<Ending>().is_some() {
        return error;
    }
    Ending { exit: Exit::Locked, message: sentence(&error) }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("connection refused")
            .context("https://node: connection refused")
            .context("challenge");
        assert_eq!(sentence(&error), "challenge: https://node: connection refused");
    }
}
