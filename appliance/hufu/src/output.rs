//! What commands print, and how they end.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;

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
    Ending { exit: Exit::Locked, message: format!("{error:#}") }.into()
}

/// Prints `value` as JSON when asked for, else the text.
///
/// # Errors
/// When `value` does not serialise, which is a fault of this program.
pub fn print<T: Serialize>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let said = if json { serde_json::to_string_pretty(value)? } else { text(value) };
    raw(&format!("{}\n", said.trim_end()))
}

/// Prints text as it is. Whoever reads may have heard enough (`| head`): that is
/// no error.
///
/// # Errors
/// When standard output does not take it for another reason.
pub fn raw(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Columns, padded.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}
