//! The tables of a report as CSV (RFC 4180), for spreadsheets and for Python.
//!
//! UTF-8 with a byte order mark, without which a spreadsheet reads Chinese as
//! something else; lines end with CR LF. Headings are in the report's language
//! and name the unit. Numbers are bare and exact, with a point; lengths of time
//! are in seconds; times are to the second, and the heading has the offset of the
//! report's local time.
//! A text that a spreadsheet would take for a formula has an apostrophe in front,
//! what is not seen is written as its code point, and no cell has more than
//! [`MAX_CELL`] UTF-16 units: what is longer is cut, says so, and stands whole in
//! `proof/report.json`.

use crate::cell::Cell;
use crate::message::{Language, message, outcome, title};
use crate::model::{ControlResult, Finding, Report};
use crate::row::Columns;
use crate::shown::{Column, Form};
use crate::style::{Style, decimal, scale, scaled, unit, word};
use hufu_proof::text::shown as visible;

/// Most UTF-16 code units that spreadsheets keep of a cell.
pub const MAX_CELL: usize = 32_767;

const MARK: &str = "\u{feff}";
const NEW_LINE: &str = "\r\n";

/// The files that people read.
pub(crate) fn tables(report: &Report, style: Style) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("README.txt".to_owned(), readme(report, style)),
        ("summary.csv".to_owned(), summary(report, style)),
    ];
    for control in &report.controls {
        // A control's name has only letters, digits, `-` and `_`; one that is
        // called like a table of ours is told apart.
        let id = control.id.as_str();
        let name =
            if matches!(id, "summary" | "evidence") { format!("control-{id}") } else { id.into() };
        files.push((format!("{name}.csv"), findings(report, control, style)));
    }
    files.push(("evidence.csv".to_owned(), evidence(report, style)));
    files
}

fn readme(report: &Report, style: Style) -> Vec<u8> {
    let say = |key| message(style.language, key);
    let set = &report.control_set;
    let (date, time) =
        style.utc_offset.date_and_time(i64::try_from(report.as_of.time_ms).unwrap_or(i64::MAX));
    let name = visible(title(&set.title, style.language, set.name.as_str()));
    let height = report.as_of.height;
    let colon = if style.language == Language::Zh { "：" } else { ": " };
    let mut lines = vec![
        format!("{} – {name}", say("kicker")),
        format!(
            "{} {date} {time} (UTC{}), {} {height}",
            say("as-of"),
            style.utc_offset,
            say("height")
        ),
        String::new(),
    ];
    for (file, key) in [
        ("summary.csv", "summary-file"),
        ("*.csv", "control-file"),
        ("evidence.csv", "evidence-file"),
        ("proof/", "proof-file"),
    ] {
        lines.push(format!("{file}{colon}{}", say(key)));
    }
    lines.push(String::new());
    lines.push(say("times-in-tables").to_owned());
    lines.push(format!("{}{colon}{}", say("how-verified"), say("verify-command-zip")));
    let text = format!("{MARK}{}{NEW_LINE}", lines.join(NEW_LINE));
    text.into_bytes()
}

fn summary(report: &Report, style: Style) -> Vec<u8> {
    let say = |key| message(style.language, key).to_owned();
    let mut table = Table::new(
        ["control", "title", "severity", "clause", "findings", "csv-new", "gone", "result-digest"]
            .map(say),
    );
    for control in &report.controls {
        let columns = Columns::of(report, control);
        let clause = title(&columns.shown.clause, style.language, &control.clause);
        let change = control.change.as_ref();
        table.line([
            text(control.id.as_str()),
            text(title(&control.title, style.language, control.id.as_str())),
            say(control.severity.code()),
            text(clause),
            control.findings.len().to_string(),
            change.map(|change| change.new.len().to_string()).unwrap_or_default(),
            change.map(|change| change.gone.to_string()).unwrap_or_default(),
            control.result.to_string(),
        ]);
    }
    table.end()
}

fn findings(report: &Report, control: &ControlResult, style: Style) -> Vec<u8> {
    let language = style.language;
    let say = |key| message(language, key).to_owned();
    let columns = Columns::of(report, control);
    let shown = &columns.shown;
    let by_unit = shown.columns.iter().find(|column| column.unit_by.is_some());
    let mut heading: Vec<String> = control
        .columns
        .iter()
        .zip(&shown.columns)
        .map(|(name, column)| {
            let called = title(&column.title, language, name);
            match style.heading_unit(&column.form) {
                Some(unit) => text(&style.with_more(called, &unit)),
                None => text(called),
            }
        })
        .collect();
    heading.extend(by_unit.map(|_| say("csv-unit")));
    heading.extend(control.change.as_ref().map(|_| say("csv-new")));
    heading.extend([say("csv-evidence"), say("csv-evidence-total")]);
    let mut table = Table::new(heading);
    for (index, finding) in control.findings.iter().enumerate() {
        let cells = finding.row.iter().zip(&shown.columns);
        let mut line: Vec<String> =
            cells.map(|(one, column)| cell(&columns, column, one, style)).collect();
        if let Some(column) = by_unit {
            line.push(unit_of(&columns, column, finding, style));
        }
        if let Some(change) = &control.change {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let new = change.new.binary_search(&index).is_ok();
            line.push(say(if new { "csv-new-yes" } else { "csv-new-no" }));
        }
        let places: Vec<String> = finding.evidence.iter().map(u64::to_string).collect();
        line.extend([places.join(" "), finding.evidence_total.to_string()]);
        table.line(line);
    }
    table.end()
}

fn unit_of(columns: &Columns<'_>, column: &Column, finding: &Finding, style: Style) -> String {
    columns
        .unit_beside(column, finding)
        .map(|unit| text(&style.unit(unit, false)))
        .unwrap_or_default()
}

fn evidence(report: &Report, style: Style) -> Vec<u8> {
    let say = |key| message(style.language, key).to_owned();
    let mut table = Table::new(["log-index", "col-block", "outcome", "transaction"].map(say));
    for one in &report.evidence {
        table.line([
            one.log_index.to_string(),
            one.entry.height.to_string(),
            outcome(style.language, one.entry.outcome.code()).to_owned(),
            one.entry.transaction.to_string(),
        ]);
    }
    table.end()
}

/// A value as a spreadsheet reads it.
fn cell(columns: &Columns<'_>, column: &Column, cell: &Cell, style: Style) -> String {
    match (&column.form, cell) {
        (_, Cell::Null) => String::new(),
        (Form::Time, Cell::Integer(time)) => style.utc_offset.cell(*time),
        (Form::Bool, Cell::Integer(truth)) if (0..=1).contains(truth) => {
            if *truth == 1 {
                "TRUE".into()
            } else {
                "FALSE".into()
            }
        }
        (form, Cell::Integer(number)) => {
            let scale = match unit(form) {
                Some("ms") => scale(form).saturating_add(3),
                unit => scaled(scale(form), unit).0,
            };
            decimal((*number).into(), scale)
        }
        (Form::List, list @ Cell::Text(_)) => text(&style.value(list, &Form::List, None)),
        (_, Cell::Text(symbol)) => text(&word(columns.words(column), symbol, style.language)),
        (_, bytes @ Cell::Bytes(_)) => text(&bytes.to_string()),
    }
}

/// Text that is seen, that a spreadsheet does not run, and that it keeps.
fn text(text: &str) -> String {
    let mut shown = visible(text).into_owned();
    if begins_a_formula(&shown) {
        shown.insert(0, '\'');
    }
    if shown.encode_utf16().count() <= MAX_CELL {
        return shown;
    }
    let tail = format!("… ({} characters)", text.chars().count());
    let mut room = MAX_CELL - tail.chars().count();
    let kept = shown
        .char_indices()
        .find(|(_, character)| match room.checked_sub(character.len_utf16()) {
            Some(left) => {
                room = left;
                false
            }
            None => true,
        })
        .map_or(shown.len(), |(at, _)| at);
    shown.truncate(kept);
    shown + &tail
}

/// Whether what comes after blanks is a sign by which a spreadsheet tells a
/// formula, in any of its widths and heights.
fn begins_a_formula(text: &str) -> bool {
    let first = text.trim_start().chars().next();
    first.is_some_and(|first| {
        matches!(
            first,
            '=' | '+'
                | '-'
                | '@'
                | '＝'
                | '＋'
                | '－'
                | '＠'
                | '﹦'
                | '﹢'
                | '﹣'
                | '﹫'
                | '⁼'
                | '⁺'
                | '⁻'
                | '₌'
                | '₊'
                | '₋'
                | '−'
                | '‐'..='―'
        )
    })
}

struct Table(String);

impl Table {
    fn new(heading: impl IntoIterator<Item = String>) -> Self {
        let mut table = Self(MARK.to_owned());
        table.line(heading);
        table
    }

    fn line(&mut self, fields: impl IntoIterator<Item = String>) {
        for (index, field) in fields.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            if field.contains(['"', ',', ';', '\r', '\n']) || field.trim() != field {
                self.0.push('"');
                self.0.push_str(&field.replace('"', "\"\""));
                self.0.push('"');
            } else {
                self.0.push_str(&field);
            }
        }
        self.0.push_str(NEW_LINE);
    }

    fn end(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_a_formula() {
        for formula in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            " =1+1",
            "\u{3000}=1",
            "＝1+1",
            "　＋1",
            "－1",
            "＠a",
            "﹦1",
            "−1",
            "  @a",
        ] {
            assert!(text(formula).starts_with('\''), "{formula}");
        }
        // A blank in front hides nothing; what is not seen is an escape.
        assert_eq!(text("\u{a0}=1"), "'\u{a0}=1");
        for formula in ["\t=1", "\r=1", "\n=1", "\u{feff}=1", "\u{200b}=1", "\0=1"] {
            assert!(text(formula).starts_with('\\'), "{formula:?}");
        }
        for plain in ["a=1", "1-2", "中", "'=1", ""] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn no_cell_is_longer_than_a_spreadsheet_keeps() {
        for one in ["a", "中", "😀", "\u{202e}"] {
            let long = text(&one.repeat(40_000));
            assert!(long.encode_utf16().count() <= MAX_CELL, "{one}");
            assert!(long.ends_with("… (40000 characters)"));
            assert!(long.encode_utf16().count() > MAX_CELL - 20);
        }
        assert_eq!(text(&"a".repeat(MAX_CELL)).len(), MAX_CELL);
    }
}
