//! The regulator's report at the end of a story, and whether it finds what the story
//! says: that, and of the story's names nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::time::SystemTime;

use super::file::{Report, Story, pair};
use super::names::Names;
use super::stage::Stage;

/// A report, and what it shows of a story.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As of which height.
    pub height: u64,
    /// To read.
    pub html: PathBuf,
    /// To read, in Chinese.
    pub chinese: PathBuf,
    /// To process and to verify.
    pub json: PathBuf,
    /// Findings, in the order of the story.
    pub found: Vec<Found>,
}

impl Shown {
    /// How many findings of the story there are.
    pub fn findings(&self) -> usize {
        self.found.iter().map(|one| one.subjects.len()).sum()
    }
}

/// Findings of one control.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the control is called, by language.
    pub title: BTreeMap<String, String>,
    /// How grave they are.
    pub severity: String,
    /// What they are about.
    pub subjects: Vec<String>,
}

/// The regulator runs a control set on its own node, and what it finds is compared.
///
/// # Errors
/// When it finds something else.
pub fn run(
    stage: &Stage<'_>,
    story: &Story,
    report: &Report,
    names: &Names,
    height: u64,
) -> anyhow::Result<Shown> {
    stage.regulator.anchor(height)?;
    let folder = stage.consortium.path("stories");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (_, set) = pair(&report.set)?;
    let file =
        |ending: &str| folder.join(format!("{}.{set}.{}.{ending}", story.name, names.ending));
    let [html, chinese, json] = ["html", "zh.html", "json"].map(file);
    for (path, format, language) in
        [(&html, "html", "en"), (&chinese, "html", "zh"), (&json, "json", "en")]
    {
        let asked = json!({
            "control_set": report.set,
            "as_of": height,
            "parameters": report.params,
            "format": format,
            "language": language,
        });
        let bytes = stage.regulator.report(&asked)?;
        fs::write(path, bytes).with_context(|| path.display().to_string())?;
    }
    let whole: Value = serde_json::from_slice(&fs::read(&json)?)?;
    let found = compare(&whole["report"]["controls"], report, names)?;
    Ok(Shown { height, html, chinese, json, found })
}

/// What of the controls' results is the story's.
fn compare(controls: &Value, report: &Report, names: &Names) -> anyhow::Result<Vec<Found>> {
    let now = SystemTime::now();
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for finding in &report.finding {
        let subjects = finding.subjects.iter().map(|one| names.text(one, now));
        expected.insert(&finding.control, subjects.collect::<Result<_, _>>()?);
    }
    let mut by_control = BTreeMap::new();
    for control in controls.as_array().context("a report has controls")? {
        let id = control["id"].as_str().context("a control has a name")?;
        let findings = control["findings"].as_array().into_iter().flatten();
        let all: Vec<String> =
            findings.filter_map(|one| one["subject"].as_str().map(str::to_owned)).collect();
        let wanted = expected.get(id).cloned().unwrap_or_default();
        // Findings on members may be of other plays, too: they are to be among all.
        let (mut own, others): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|subject| names.owns(subject));
        let mut found: Vec<String> =
            all.iter().filter(|subject| names.owns(subject)).cloned().collect();
        own.sort();
        found.sort();
        ensure!(found == own, "{id} finds {found:?}, the story says {own:?}");
        if let Some(missing) = others.iter().find(|one| !all.contains(one)) {
            anyhow::bail!("{id} does not find {missing}; it finds {all:?}");
        }
        by_control.insert(id, control);
    }
    let mut shown = Vec::new();
    for finding in &report.finding {
        let control = by_control.get(finding.control.as_str());
        let control = control.with_context(|| format!("{} did not run", finding.control))?;
        shown.push(Found {
            title: serde_json::from_value(control["title"].clone())?,
            severity: control["severity"].as_str().unwrap_or_default().to_owned(),
            subjects: expected.get(finding.control.as_str()).cloned().unwrap_or_default(),
        });
    }
    Ok(shown)
}
