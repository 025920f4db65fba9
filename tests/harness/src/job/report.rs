//! Step 6: the regulator pulls a report, and another member computes the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::Member;
use crate::consortium::Consortium;
use crate::inspect::text;

/// The control set of the demonstration.
pub const CONTROL_SET: &str = "operation-baseline";

/// The forms of a report, with how a file of each ends and what stands at the end
/// of the body, where who signed begins (`docs/formats.md`).
const FORMS: [(&str, &str, &str); 3] = [
    ("html", "html", "<section id=\"signed\""),
    ("json", "json", ",\"signature\":{\"finality\":"),
    ("csv", "zip", "proof/signature.json"),
];

/// Reports that were pulled.
#[derive(Clone, Debug)]
pub struct Reports {
    /// To read.
    pub html: PathBuf,
    /// To process.
    pub json: PathBuf,
    /// For a spreadsheet, a ZIP.
    pub csv: PathBuf,
    /// The same in Chinese, to read.
    pub chinese: PathBuf,
    /// As of which height.
    pub height: u64,
    /// Findings in it.
    pub findings: u64,
    /// Findings by severity.
    pub by_severity: BTreeMap<String, u64>,
}

/// The regulator pulls all forms of a report from its own node, as of
/// `height`.
///
/// # Errors
/// What `hufu report run` said.
pub fn pull(consortium: &Consortium, height: u64) -> anyhow::Result<Reports> {
    let regulator = consortium.regulator();
    provable(consortium, regulator, height)?;
    let [html, json, csv] = pull_from(consortium, regulator, height, "report")?;
    let chinese = consortium.path("report.zh.html");
    run(consortium, regulator, height, "html", "zh", &chinese)?;
    let report: Value = serde_json::from_slice(&fs::read(&json)?)?;
    let findings = report["report"]["counts"]["findings"]
        .as_u64()
        .context("the report does not count its findings")?;
    let by_severity = serde_json::from_value(report["report"]["counts"]["by_severity"].clone())?;
    Ok(Reports { html, json, csv, chinese, height, findings, by_severity })
}

/// Has the node of `other` compute the same, and compares: the same bytes but
/// for the signature block.
///
/// # Errors
/// When they differ, or the signature blocks do not.
pub fn same_elsewhere(
    consortium: &Consortium,
    reports: &Reports,
    other: &Member,
) -> anyhow::Result<()> {
    provable(consortium, other, reports.height)?;
    let theirs = pull_from(consortium, other, reports.height, &format!("report.{}", other.name()))?;
    let ours = [&reports.html, &reports.json, &reports.csv];
    for ((ours, theirs), (form, _, marker)) in ours.into_iter().zip(&theirs).zip(FORMS) {
        let (our_body, our_signature) = split(ours, marker)?;
        let (their_body, their_signature) = split(theirs, marker)?;
        ensure!(our_body == their_body, "the {form} reports of two members differ");
        ensure!(our_signature != their_signature, "two members made the same signature");
    }
    Ok(())
}

/// Waits until the node of `of` can prove its state at `height`.
fn provable(consortium: &Consortium, of: &Member, height: u64) -> anyhow::Result<()> {
    consortium.gateway(of.name(), "regulator", "regulator")?.anchor(height)
}

fn pull_from(
    consortium: &Consortium,
    of: &Member,
    height: u64,
    name: &str,
) -> anyhow::Result<[PathBuf; 3]> {
    let paths = FORMS.map(|(_, ending, _)| consortium.path(&format!("{name}.{ending}")));
    for ((form, ..), path) in FORMS.iter().zip(&paths) {
        run(consortium, of, height, form, "en", path)?;
    }
    Ok(paths)
}

fn run(
    consortium: &Consortium,
    of: &Member,
    height: u64,
    form: &str,
    language: &str,
    out: &Path,
) -> anyhow::Result<()> {
    consortium.regulator().run(&[
        "report",
        "run",
        "--gateway",
        &of.gateway_url(),
        "--ca",
        text(&consortium.root_path())?,
        "--control-set",
        CONTROL_SET,
        "--as-of",
        &height.to_string(),
        "--format",
        form,
        "--lang",
        language,
        "--out",
        text(out)?,
    ])?;
    Ok(())
}

/// Body, and who signed.
fn split(path: &Path, marker: &str) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let file = fs::read(path).with_context(|| format!("{}", path.display()))?;
    let mut windows = file.windows(marker.len());
    let at = if path.extension().is_some_and(|ending| ending == "zip") {
        // In a ZIP the name stands in front of the content, and again in the
        // directory at the end.
        windows.position(|window| window == marker.as_bytes())
    } else {
        windows.rposition(|window| window == marker.as_bytes())
    };
    let at = at.with_context(|| format!("{} does not say who signed", path.display()))?;
    let (body, signature) = file.split_at(at);
    // The header in front of the name has the length and sum of the signature.
    let body = if path.extension().is_some_and(|ending| ending == "zip") {
        body.get(..at.saturating_sub(LOCAL_HEADER)).unwrap_or_default()
    } else {
        body
    };
    Ok((body.to_vec(), signature.to_vec()))
}

/// Bytes of an entry's header in a ZIP before its name (APPNOTE 4.3.7).
const LOCAL_HEADER: usize = 30;
