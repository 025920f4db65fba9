//! What a report says, in every presentation.

use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::{Digest, Header, LogEntry, Name, Severity, merkle};
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::cell::Cell;
use crate::shown::{Shown, Words};

/// The format written now.
pub const FORMAT: &str = "hufu-report-v2";

/// The format before, without what is needed to show results to people: it is
/// still verified.
pub const FORMAT_1: &str = "hufu-report-v1";

/// Most findings one control gives before its run is refused as too wide.
pub const MAX_FINDINGS: usize = 50_000;

/// Most log entries named as evidence of one finding.
pub const MAX_EVIDENCE: usize = 32;

/// Texts for people by language (`en`, `zh`).
pub type Title = BTreeMap<String, String>;

/// A report: everything that must be the same wherever it is computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// The consortium's name.
    pub consortium: Name,
    /// Digest of its genesis file.
    pub genesis: Digest,
    /// Which controls ran.
    pub control_set: ControlSetTitle,
    /// The contract packages that the controls come from and read, as they
    /// were active at the height.
    pub packages: Vec<PackageReference>,
    /// The jurisdiction looked at; `None` is all of the consortium.
    pub jurisdiction: Option<String>,
    /// The state that was looked at.
    pub as_of: AsOf,
    /// The header that commits to it.
    pub anchor: Anchor,
    /// Results in the order of the control set.
    pub controls: Vec<ControlResult>,
    /// Everything the findings refer to, in the order of the log, each once.
    pub evidence: Vec<Evidence>,
    /// Sums.
    pub counts: Counts,
    /// How much was looked at: the tables of the packages, and their rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<Scope>,
    /// The earlier run that this one is compared with, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<AsOf>,
    /// What symbols in the results are called, by the name of their list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub words: BTreeMap<Name, Words>,
}

/// A table that the controls could look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Its name in SQL.
    pub table: String,
    /// Its name for people.
    pub title: Title,
    /// Its rows as of the height, in the jurisdiction.
    pub rows: u64,
    /// When the first and the last of them were recorded, milliseconds since
    /// 1970; of streams that have rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<(u64, u64)>,
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSetTitle {
    /// The contract that defines it.
    pub contract: Name,
    /// Its name.
    pub name: Name,
    /// Its name for people.
    pub title: Title,
}

/// A contract package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageReference {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: String,
    /// Digest of its canonical encoding.
    pub digest: Digest,
}

/// A state of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsOf {
    /// After this height.
    pub height: u64,
    /// The block's time, milliseconds since 1970.
    pub time_ms: u64,
}

/// The first header whose `executed.height` is not before the report's height:
/// its state root and log root cover everything the report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The header.
    pub header: Header,
    /// Its digest, which validators signed.
    pub digest: Digest,
}

/// One control's run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlResult {
    /// The control's identifier in its contract.
    pub id: Name,
    /// Its name for people.
    pub title: Title,
    /// The clause it implements.
    pub clause: String,
    /// How grave its findings are.
    pub severity: Severity,
    /// Digest of the control's text.
    pub text: Digest,
    /// The parameters it ran with.
    pub parameters: BTreeMap<Name, Cell>,
    /// Names of the columns of a finding's row.
    pub columns: Vec<String>,
    /// The findings, ordered.
    pub findings: Vec<Finding>,
    /// [`ControlResult::result_digest`].
    pub result: Digest,
    /// How people read it; in every report but those of [`FORMAT_1`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// What is otherwise than in the earlier run; absent where the control did
    /// not run then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// What is otherwise than in an earlier run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Places in `findings` of what was not found then, ascending.
    pub new: Vec<u32>,
    /// How many findings of then are no longer found.
    pub gone: u64,
}

/// Something that the control says must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What it is about.
    pub subject: String,
    /// The row, in the order of the control's columns.
    pub row: Vec<Cell>,
    /// Places in the log of the transactions that made the row what it is, at
    /// most [`MAX_EVIDENCE`], ascending.
    pub evidence: Vec<u64>,
    /// How many there are; at least so many where the row sums up more assets
    /// than are followed up.
    pub evidence_total: u64,
}

/// A log entry with the proof that the anchor's log root covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Its place in the log.
    pub log_index: u64,
    /// The entry.
    pub entry: LogEntry,
    /// From the entry to the anchor's log root (RFC 9162 §2.1.3).
    pub path: Vec<Digest>,
}

/// Sums over a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Controls run.
    pub controls: u64,
    /// Findings in all.
    pub findings: u64,
    /// Findings by severity; a severity without findings is absent.
    pub by_severity: BTreeMap<Severity, u64>,
    /// Log entries in evidence.
    pub evidence: u64,
}

impl ControlResult {
    /// SHA-256 of `hufu control result v1`, a zero byte, and the canonical JSON
    /// of control, parameters, columns and findings: what two members compare
    /// before they compare whole reports.
    pub fn result_digest(&self) -> Digest {
        #[derive(Serialize)]
        struct Result<'a> {
            id: &'a Name,
            text: &'a Digest,
            parameters: &'a BTreeMap<Name, Cell>,
            columns: &'a [String],
            findings: &'a [Finding],
        }
        let Self { id, text, parameters, columns, findings, .. } = self;
        let bytes = canonical::encode(&Result { id, text, parameters, columns, findings })
            // No floating number and no map with other than text keys is in it.
            .expect("a result is canonical JSON");
        Digest::of_parts(&[b"hufu control result v1\0", &bytes])
    }
}

impl Report {
    /// The sums, computed.
    pub fn computed_counts(&self) -> Counts {
        let mut counts = Counts {
            controls: self.controls.len() as u64,
            evidence: self.evidence.len() as u64,
            ..Counts::default()
        };
        for control in &self.controls {
            let found = control.findings.len() as u64;
            if found > 0 {
                counts.findings += found;
                *counts.by_severity.entry(control.severity).or_default() += found;
            }
        }
        counts
    }

    /// Checks everything that follows from the report alone: sums, digests,
    /// the form of rows, that every piece of evidence is referred to and in
    /// the log that the anchor commits to. It does not check the anchor.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.format != FORMAT && self.format != FORMAT_1 {
            return Err(format!(
                "the format is `{}`; this verifier knows {FORMAT_1} and {FORMAT}",
                self.format
            ));
        }
        self.check_presentation()?;
        if self.counts != self.computed_counts() {
            return Err("the counts are not those of its findings".into());
        }
        self.check_anchor()?;
        let mut referred = BTreeSet::new();
        for control in &self.controls {
            control.check().map_err(|problem| format!("control `{}`: {problem}", control.id))?;
            referred.extend(control.findings.iter().flat_map(|one| one.evidence.iter().copied()));
        }
        let present: Vec<u64> = self.evidence.iter().map(|one| one.log_index).collect();
        if !present.iter().copied().eq(referred.iter().copied()) {
            return Err("the evidence is not exactly what the findings refer to".into());
        }
        self.evidence.iter().try_for_each(|one| self.check_evidence(one))
    }

    /// A report of the first format says nothing of how it is shown; one of this
    /// says it of everything.
    fn check_presentation(&self) -> Result<(), String> {
        let first = self.format == FORMAT_1;
        if first && !(self.scope.is_empty() && self.compared.is_none() && self.words.is_empty()) {
            return Err(format!("{FORMAT_1} has no scope, comparison or words"));
        }
        if self.compared.is_some_and(|then| then.height >= self.as_of.height) {
            return Err("it is compared with a run that is not earlier".into());
        }
        for control in &self.controls {
            let problem = match &control.shown {
                None if first && control.change.is_none() => continue,
                Some(shown) if !first => shown.check(control),
                _ => Err(format!("is not shown as {} wants it", self.format)),
            };
            problem.map_err(|problem| format!("control `{}`: {problem}", control.id))?;
            if control.change.is_some() && self.compared.is_none() {
                return Err(format!("control `{}`: there is nothing to compare with", control.id));
            }
        }
        Ok(())
    }

    fn check_anchor(&self) -> Result<(), String> {
        let Anchor { header, digest } = &self.anchor;
        if header.digest() != *digest {
            return Err("the anchor's digest is not its header's".into());
        }
        if header.chain != self.genesis {
            return Err("the anchor is of another consortium than the report".into());
        }
        if header.executed.height.get() < self.as_of.height {
            return Err(format!(
                "the anchor commits to height {}, before the report's height {}",
                header.executed.height, self.as_of.height
            ));
        }
        if header.time_ms.get() < self.as_of.time_ms {
            return Err("the report's time is after the anchor's".into());
        }
        Ok(())
    }

    fn check_evidence(&self, evidence: &Evidence) -> Result<(), String> {
        let Evidence { log_index, entry, path } = evidence;
        if entry.height.get() > self.as_of.height {
            return Err(format!("log entry {log_index} is after the report's height"));
        }
        let executed = &self.anchor.header.executed;
        let root = merkle::root_from_path(*log_index, executed.log_size, entry.leaf(), path);
        if root != Some(executed.log_root) {
            return Err(format!("the path of log entry {log_index} leads to another log root"));
        }
        Ok(())
    }
}

impl ControlResult {
    fn check(&self) -> Result<(), String> {
        if self.findings.len() > MAX_FINDINGS {
            return Err(format!("more than {MAX_FINDINGS} findings"));
        }
        for finding in &self.findings {
            if finding.row.len() != self.columns.len() {
                return Err(format!("the row of `{}` has other columns", finding.subject));
            }
            let evidence = &finding.evidence;
            if !evidence.windows(2).all(|pair| pair[0] < pair[1]) {
                return Err(format!("the evidence of `{}` is not in order", finding.subject));
            }
            if evidence.len() > MAX_EVIDENCE || (evidence.len() as u64) > finding.evidence_total {
                return Err(format!("the evidence of `{}` is miscounted", finding.subject));
            }
        }
        if let Some(change) = &self.change {
            let there = change.new.last().is_none_or(|last| (*last as usize) < self.findings.len());
            if !there || !change.new.windows(2).all(|pair| pair[0] < pair[1]) {
                return Err("what is new is not among its findings, in order".into());
            }
        }
        if self.result != self.result_digest() {
            return Err("its result digest is not that of its findings".into());
        }
        Ok(())
    }
}
