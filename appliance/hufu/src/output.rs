//! What commands print.
//!
//! Much of it was written by others: on the ledger, by a server, in a file. It
//! is shown and never obeyed ([`hufu_proof::text`]): everything that goes to a
//! terminal goes through this module.

use std::borrow::Cow;
use std::io::Write as _;

use hufu_proof::text::{shown, shown_json, shown_lines};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

pub use hufu_configuration::{no, unavailable};

/// Prints `value` as JSON when asked for, else the text.
///
/// # Errors
/// When `value` does not serialise, which is a fault of this program.
pub fn print<T: Serialize>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    if json {
        return write(&format!("{}\n", shown_json(&serde_json::to_string_pretty(value)?)));
    }
    lines(&format!("{}\n", text(value).trim_end()))
}

/// Prints text of several lines.
///
/// # Errors
/// When standard output does not take it.
pub fn lines(text: &str) -> anyhow::Result<()> {
    write(&shown_lines(text))
}

/// Tells whoever runs the command something beside its answer.
pub fn note(text: &str) {
    eprintln!("hufu: {}", shown_lines(text));
}

/// Whoever reads may have heard enough (`| head`): that is no error.
fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Columns, padded. A cell is one line, whatever is in it.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<Cow<'_, str>> = header.iter().map(|cell| shown(cell)).collect();
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect()).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.width()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |cells: &[Cow<'_, str>]| {
        // A Chinese character takes two columns of a terminal.
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&header)];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_in_its_place_whatever_is_in_it() {
        let rows = [
            vec!["D1".to_owned(), "\x1b]0;pwned\x07\x1b[31mred\n=1+1".to_owned()],
            vec!["D2\u{202e}".to_owned(), "温度".to_owned()],
            vec!["三号泵".to_owned(), "热".to_owned()],
        ];
        let text = table(&["DEVICE", "REASON"], &rows);
        assert_eq!(
            text,
            "DEVICE      REASON\n\
             D1          \\u{1b}]0;pwned\\u{7}\\u{1b}[31mred\\n=1+1\n\
             D2\\u{202e}  温度\n\
             三号泵      热"
        );
    }
}
