//! The report as one HTML page: self-contained, no scripts, printable.
//!
//! The page ends with the report itself as a data block, so that a machine
//! reads the very same file:
//!
//! ```text
//! <script type="application/json" id="hufu-report">…</script>
//! </body>
//! </html>
//! ```
//!
//! The data is canonical JSON in which `<` is written `\u003c`, so that
//! nothing in it ends the block.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Output, State};
use serde::Serialize;

use crate::canonical;
use crate::cell::Cell;
use crate::file::ReportError;
use crate::message::{Language, message};
use crate::model::{ControlResult, Report, Severity, Title};
use crate::time::iso_time;

/// Version of the page's wording and layout. A verifier that knows the version
/// renders the data again and compares; so every change of the template or the
/// catalogue counts up.
pub const PRESENTATION: u32 = 1;

const TEMPLATE: &str = include_str!("report.html.jinja");
const DATA_BEGIN: &str = "<script type=\"application/json\" id=\"hufu-report\">";
const DATA_END: &str = "</script>\n</body>\n</html>\n";
const META: &str = "<meta name=\"hufu-presentation\" content=\"";

/// Renders `report`.
///
/// # Errors
/// [`ReportError::Presentation`] when the template fails, which is a fault of
/// this program.
pub fn render(report: &Report, language: Language) -> Result<Vec<u8>, ReportError> {
    let fault = |error: minijinja::Error| ReportError::Presentation(format!("{error:#}"));
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // Our own escapes, so that a feature of the template library which another
    // crate switches on does not change the bytes.
    environment.set_formatter(escape);
    let mut page =
        environment.render_str(TEMPLATE, Serde(page(report, language))).map_err(fault)?;
    // The template's last line break, which rendering drops.
    page.push('\n');
    page.push_str(DATA_BEGIN);
    page.push_str(&embedded(report)?);
    page.push_str(DATA_END);
    Ok(page.into_bytes())
}

/// Reads the report and, where known, the language out of a page, and checks
/// that the page is exactly what this version renders; `false` where the page
/// is of another version.
///
/// # Errors
/// [`ReportError`].
pub(crate) fn parse(page: &[u8]) -> Result<(Report, bool), ReportError> {
    let malformed = |what: &str| ReportError::Malformed(what.to_owned());
    let page = std::str::from_utf8(page).map_err(|_| malformed("the page is not UTF-8"))?;
    let data = page
        .strip_suffix(DATA_END)
        .and_then(|front| front.rsplit_once(DATA_BEGIN))
        .ok_or_else(|| malformed("the page does not end with its data block"))?
        .1;
    let report: Report =
        serde_json::from_str(data).map_err(|error| ReportError::Malformed(error.to_string()))?;
    if embedded(&report)? != data {
        return Err(ReportError::Canonical(canonical::CanonicalError::Form));
    }
    let (version, language) = page
        .split_once(META)
        .and_then(|(_, rest)| rest.split_once('"'))
        .and_then(|(content, _)| content.split_once(' '))
        .ok_or_else(|| malformed("the page does not name its presentation"))?;
    if version != PRESENTATION.to_string() {
        return Ok((report, false));
    }
    let language: Language = language.parse().map_err(ReportError::Malformed)?;
    if render(&report, language)? != page.as_bytes() {
        return Err(ReportError::Presentation("the page does not show its data".into()));
    }
    Ok((report, true))
}

fn embedded(report: &Report) -> Result<String, ReportError> {
    let bytes = canonical::encode(report)?;
    // Canonical JSON is made of texts.
    let text = String::from_utf8(bytes).map_err(|_| ReportError::Malformed("not UTF-8".into()))?;
    Ok(text.replace('<', "\\u003c"))
}

fn escape(
    out: &mut Output<'_>,
    _state: &mut State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    let text = value.to_string();
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    out.write_str(&escaped)
        .map_err(|_| minijinja::Error::new(minijinja::ErrorKind::WriteFailure, "out of memory"))
}

/// The title in `language`, else in English, else in any, else `otherwise`.
pub(crate) fn title<'a>(title: &'a Title, language: Language, otherwise: &'a str) -> &'a str {
    title
        .get(language.code())
        .or_else(|| title.get("en"))
        .or_else(|| title.values().next())
        .map_or(otherwise, String::as_str)
}

#[derive(Serialize)]
struct Page<'a> {
    t: BTreeMap<&'a str, &'a str>,
    lang: &'a str,
    presentation: String,
    set_title: &'a str,
    set_name: String,
    height: u64,
    time: String,
    controls_run: u64,
    findings: u64,
    findings_word: &'a str,
    severities: Vec<SeverityCount>,
    consortium: &'a str,
    jurisdiction: &'a str,
    packages: Vec<BTreeMap<&'a str, String>>,
    genesis: String,
    controls: Vec<PageControl<'a>>,
    evidence: Vec<PageEvidence>,
    anchor: PageAnchor,
}

#[derive(Serialize)]
struct SeverityCount {
    code: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct PageControl<'a> {
    title: &'a str,
    severity: &'static str,
    id: &'a str,
    clause: &'a str,
    parameters: Vec<PageParameter<'a>>,
    result: String,
    columns: &'a [String],
    findings: Vec<PageFinding<'a>>,
}

#[derive(Serialize)]
struct PageParameter<'a> {
    name: &'a str,
    value: String,
}

#[derive(Serialize)]
struct PageFinding<'a> {
    subject: &'a str,
    row: Vec<PageCell>,
    evidence: &'a [u64],
    more: bool,
    total: u64,
}

#[derive(Serialize)]
struct PageCell {
    number: bool,
    text: String,
}

#[derive(Serialize)]
struct PageEvidence {
    index: u64,
    height: u64,
    outcome: &'static str,
    transaction: String,
}

#[derive(Serialize)]
struct PageAnchor {
    height: u64,
    digest: String,
    state_root: String,
    log_root: String,
}

/// Every key of the catalogue that the template uses.
const KEYS: &[&str] = &[
    "anchor",
    "anchor-digest",
    "anchor-height",
    "as-of",
    "block-time",
    "clause",
    "consortium",
    "control",
    "control-set",
    "controls-run",
    "count",
    "critical",
    "evidence",
    "evidence-explained",
    "finding",
    "findings",
    "genesis",
    "height",
    "high",
    "info",
    "jurisdiction",
    "log-index",
    "log-root",
    "low",
    "medium",
    "more",
    "no-findings",
    "outcome",
    "packages",
    "parameters",
    "result-digest",
    "severity",
    "state-root",
    "subject",
    "summary",
    "title",
    "transaction",
    "verify",
    "verify-title",
];

fn page(report: &Report, language: Language) -> Page<'_> {
    let counts = report.computed_counts();
    let executed = &report.anchor.header.executed;
    Page {
        t: KEYS.iter().map(|key| (*key, message(language, key))).collect(),
        lang: language.tag(),
        presentation: format!("{PRESENTATION} {language}"),
        set_title: title(&report.control_set.title, language, report.control_set.name.as_str()),
        set_name: format!("{}/{}", report.control_set.contract, report.control_set.name),
        height: report.as_of.height,
        time: iso_time(i64::try_from(report.as_of.time_ms).unwrap_or(i64::MAX)),
        controls_run: counts.controls,
        findings: counts.findings,
        findings_word: if counts.findings == 1 { "finding" } else { "findings" },
        severities: Severity::ALL
            .into_iter()
            .filter_map(|one| {
                let count = *counts.by_severity.get(&one)?;
                Some(SeverityCount { code: one.code(), count })
            })
            .collect(),
        consortium: report.consortium.as_str(),
        jurisdiction: report.jurisdiction.as_deref().unwrap_or(message(language, "all")),
        packages: report
            .packages
            .iter()
            .map(|one| {
                BTreeMap::from([
                    ("name", one.name.to_string()),
                    ("version", one.version.clone()),
                    ("digest", one.digest.to_string()),
                ])
            })
            .collect(),
        genesis: report.genesis.to_string(),
        controls: report.controls.iter().map(|one| page_control(one, language)).collect(),
        evidence: report
            .evidence
            .iter()
            .map(|one| PageEvidence {
                index: one.log_index,
                height: one.entry.height,
                outcome: one.entry.outcome.code(),
                transaction: one.entry.transaction.to_string(),
            })
            .collect(),
        anchor: PageAnchor {
            height: report.anchor.header.height,
            digest: report.anchor.digest.to_string(),
            state_root: executed.state_root.to_string(),
            log_root: executed.log_root.to_string(),
        },
    }
}

fn page_control(control: &ControlResult, language: Language) -> PageControl<'_> {
    PageControl {
        title: title(&control.title, language, control.id.as_str()),
        severity: control.severity.code(),
        id: control.id.as_str(),
        clause: &control.clause,
        parameters: control
            .parameters
            .iter()
            .map(|(name, value)| PageParameter { name: name.as_str(), value: value.to_string() })
            .collect(),
        result: control.result.to_string(),
        columns: &control.columns,
        findings: control
            .findings
            .iter()
            .map(|finding| PageFinding {
                subject: &finding.subject,
                row: finding
                    .row
                    .iter()
                    .map(|cell| PageCell {
                        number: matches!(cell, Cell::Integer(_)),
                        text: cell.to_string(),
                    })
                    .collect(),
                evidence: &finding.evidence,
                more: finding.evidence_total > finding.evidence.len() as u64,
                total: finding.evidence_total,
            })
            .collect(),
    }
}
