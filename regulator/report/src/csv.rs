//! The report as CSV (RFC 4180): one line a finding, for spreadsheets.
//!
//! Columns are `control`, `severity`, `clause`, `subject`, then every column
//! of any control once, then `evidence` (transaction identifiers separated by
//! spaces). Columns of a control that bear one of those five names are written
//! with `row.` in front. Lines end with CR LF. A text that a spreadsheet would
//! take for a formula has an apostrophe in front. The last lines are comments:
//!
//! ```text
//! # hufu report v1 data: BASE64 OF THE CANONICAL JSON
//! # hufu report v1 signature: BASE64 OF THE SIGNATURE BLOCK
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::canonical;
use crate::cell::Cell;
use crate::file::ReportError;
use crate::model::Report;

/// How every CSV report begins.
pub(crate) const BEGIN: &str = "control,severity,clause,subject,";
const FRONT: [&str; 4] = ["control", "severity", "clause", "subject"];
const BACK: &str = "evidence";
const DATA: &str = "# hufu report v1 data: ";
const NEW_LINE: &str = "\r\n";

/// Writes `report`.
///
/// # Errors
/// [`ReportError`] when the report is not canonical JSON.
pub fn render(report: &Report) -> Result<Vec<u8>, ReportError> {
    let columns = columns(report);
    let transactions: BTreeMap<u64, String> = report
        .evidence
        .iter()
        .map(|one| (one.log_index, one.entry.transaction.to_string()))
        .collect();
    let mut out = String::new();
    let shown = columns.iter().map(|name| shown(name));
    let head: Vec<String> =
        FRONT.iter().map(|one| (*one).to_owned()).chain(shown).chain([BACK.to_owned()]).collect();
    line(&mut out, head.iter().map(String::as_str));
    for control in &report.controls {
        for finding in &control.findings {
            let cells: BTreeMap<&str, &Cell> =
                control.columns.iter().map(String::as_str).zip(&finding.row).collect();
            let mut fields = vec![
                guarded(control.id.as_str()),
                control.severity.code().to_owned(),
                guarded(&control.clause),
                guarded(&finding.subject),
            ];
            fields.extend(columns.iter().map(|name| match cells.get(name.as_str()) {
                Some(Cell::Text(text)) => guarded(text),
                Some(other) => other.to_string(),
                None => String::new(),
            }));
            let evidence: Vec<&str> = finding
                .evidence
                .iter()
                .filter_map(|index| transactions.get(index).map(String::as_str))
                .collect();
            fields.push(evidence.join(" "));
            line(&mut out, fields.iter().map(String::as_str));
        }
    }
    out.push_str(DATA);
    out.push_str(&STANDARD.encode(canonical::encode(report)?));
    out.push_str(NEW_LINE);
    Ok(out.into_bytes())
}

/// Reads the report out of the data line and checks that the lines before it
/// are exactly what it renders to.
pub(crate) fn parse(body: &[u8]) -> Result<Report, ReportError> {
    let malformed = |what: &str| ReportError::Malformed(what.to_owned());
    let text = std::str::from_utf8(body).map_err(|_| malformed("the CSV is not UTF-8"))?;
    let data = text
        .strip_suffix(NEW_LINE)
        .and_then(|front| front.rsplit_once(NEW_LINE))
        .and_then(|(_, last)| last.strip_prefix(DATA))
        .ok_or_else(|| malformed("the CSV does not end with its data line"))?;
    let data =
        STANDARD.decode(data).map_err(|error| malformed(&format!("the data line: {error}")))?;
    let report: Report = canonical::decode(&data)?;
    if render(&report)? != body {
        return Err(ReportError::Presentation("the lines do not show their data".into()));
    }
    Ok(report)
}

/// Every column of any control, once, in the order of first appearance.
fn columns(report: &Report) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for name in report.controls.iter().flat_map(|control| &control.columns) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    columns
}

fn shown(name: &str) -> String {
    if FRONT.contains(&name) || name == BACK { format!("row.{name}") } else { guarded(name) }
}

/// Text that a spreadsheet does not run.
fn guarded(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn line<'a>(out: &mut String, fields: impl Iterator<Item = &'a str>) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            out.push(',');
        }
        if field.contains(['"', ',', '\r', '\n', '#']) {
            out.push('"');
            out.push_str(&field.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(field);
        }
    }
    out.push_str(NEW_LINE);
}
