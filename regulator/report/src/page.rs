//! What a page shows, before it is HTML: the summary, and of each control its
//! findings by owner, each with its subject, what it is, by how much, since when
//! and how often. Everything is computed from the report with whole numbers, so
//! that it is the same everywhere.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::cell::Cell;
use crate::chart::{Chart, Drawing};
use crate::message::{Language, message, messages, outcome, title};
use crate::model::{ControlResult, Finding, Report};
use crate::row::{Columns, Excess, Row};
use crate::style::Style;
use hufu_proof::Severity;
use hufu_proof::text::shown as visible;

/// Most findings of one control that a page lists; all of them are in its data.
pub const MAX_LISTED: usize = 200;
/// Most owners in the summary's table.
const MAX_OWNERS: usize = 12;
/// Most places of evidence that a finding links to.
const MAX_LINKS: usize = 3;

/// Everything that the template names.
#[derive(Serialize)]
pub(crate) struct Page<'a> {
    t: BTreeMap<&'static str, &'static str>,
    lang: &'static str,
    presentation: String,
    title: Cow<'a, str>,
    set: String,
    as_of: String,
    height: u64,
    headline: String,
    comparison: String,
    consortium: &'a str,
    jurisdiction: Cow<'a, str>,
    severities: Vec<SeverityCount>,
    scope: Vec<ScopeRow<'a>>,
    owners: Vec<OwnerRow>,
    controls: Vec<ControlPage<'a>>,
    evidence: Vec<EvidenceRow<'a>>,
    packages: Vec<PackageRow<'a>>,
    genesis: String,
    anchor: AnchorPage,
}

#[derive(Clone, Serialize)]
struct SeverityCount {
    code: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct ScopeRow<'a> {
    title: Cow<'a, str>,
    rows: u64,
    period: Option<[String; 2]>,
}

#[derive(Serialize)]
struct OwnerRow {
    name: String,
    counts: Vec<u64>,
    sum: u64,
}

#[derive(Serialize)]
struct ControlPage<'a> {
    id: &'a str,
    title: Cow<'a, str>,
    clause: Cow<'a, str>,
    severity: &'static str,
    count: usize,
    new: Option<usize>,
    gone: Option<u64>,
    parameters: Vec<Named<'a>>,
    result: String,
    chart: Chart,
    columns: Shape,
    capped: String,
    groups: Vec<Group>,
}

/// Which columns the findings of a control have.
#[derive(Serialize)]
struct Shape {
    subject: String,
    what: bool,
    range: bool,
    since: bool,
    until: bool,
    times: bool,
}

#[derive(Serialize)]
struct Named<'a> {
    title: Cow<'a, str>,
    value: String,
}

#[derive(Serialize)]
struct Group {
    owner: String,
    count: usize,
    findings: Vec<FindingRow>,
}

#[derive(Serialize)]
struct FindingRow {
    new: bool,
    subject: String,
    each: Vec<Pair>,
    what: Vec<Pair>,
    drawing: Option<Drawing>,
    excesses: Vec<Excess>,
    since: Vec<String>,
    until: Vec<String>,
    times: String,
    evidence: Vec<u64>,
    evidence_total: u64,
}

#[derive(Serialize)]
struct Pair {
    title: String,
    value: String,
}

#[derive(Serialize)]
struct EvidenceRow<'a> {
    index: u64,
    height: u64,
    outcome: &'a str,
    transaction: String,
}

#[derive(Serialize)]
struct PackageRow<'a> {
    name: &'a str,
    version: Cow<'a, str>,
    digest: String,
}

#[derive(Serialize)]
struct AnchorPage {
    height: u64,
    digest: String,
    state_root: String,
    log_root: String,
}

pub(crate) fn page(report: &Report, style: Style, presentation: u32) -> Page<'_> {
    let language = style.language;
    let counts = report.computed_counts();
    let executed = &report.anchor.header.executed;
    let severities: Vec<SeverityCount> = Severity::ALL
        .into_iter()
        .map(|one| SeverityCount {
            code: one.code(),
            count: counts.by_severity.get(&one).copied().unwrap_or(0),
        })
        .collect();
    let mut linked = BTreeSet::new();
    let controls =
        report.controls.iter().map(|one| control_page(report, one, style, &mut linked)).collect();
    let evidence = report.evidence.iter().filter(|one| linked.contains(&one.log_index));
    let set = &report.control_set;
    Page {
        t: messages(language),
        lang: language.tag(),
        presentation: format!("{presentation} {language} {}", style.utc_offset),
        title: visible(title(&set.title, language, set.name.as_str())),
        set: format!("{}/{}", set.contract, set.name),
        as_of: style
            .with_more(&moment(style, report.as_of.time_ms), &format!("UTC{}", style.utc_offset)),
        height: report.as_of.height,
        headline: headline(language, counts.controls, counts.findings),
        comparison: comparison(report, style),
        consortium: report.consortium.as_str(),
        jurisdiction: visible(report.jurisdiction.as_deref().unwrap_or(message(language, "all"))),
        severities,
        scope: scope(report, style),
        owners: owners(report, style),
        controls,
        evidence: evidence
            .map(|one| EvidenceRow {
                index: one.log_index,
                height: one.entry.height.get(),
                outcome: outcome(language, one.entry.outcome.code()),
                transaction: one.entry.transaction.to_string(),
            })
            .collect(),
        packages: report
            .packages
            .iter()
            .map(|one| PackageRow {
                name: one.name.as_str(),
                version: visible(&one.version),
                digest: one.digest.to_string(),
            })
            .collect(),
        genesis: report.genesis.to_string(),
        anchor: AnchorPage {
            height: report.anchor.header.height.get(),
            digest: report.anchor.digest.to_string(),
            state_root: executed.state_root.to_string(),
            log_root: executed.log_root.to_string(),
        },
    }
}

fn moment(style: Style, time_ms: u64) -> String {
    let (date, time) = style.utc_offset.date_and_time(i64::try_from(time_ms).unwrap_or(i64::MAX));
    format!("{date} {time}")
}

fn headline(language: Language, controls: u64, findings: u64) -> String {
    match (language, findings) {
        (Language::En, 0) => format!("{} ran and found nothing.", count(controls, "control")),
        (Language::En, _) => {
            format!("{} ran and gave {}.", count(controls, "control"), count(findings, "finding"))
        }
        (Language::Zh, 0) => format!("共执行 {controls} 项控制，未发现问题。"),
        (Language::Zh, _) => format!("共执行 {controls} 项控制，发现 {findings} 项问题。"),
    }
}

fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn comparison(report: &Report, style: Style) -> String {
    let Some(then) = report.compared else {
        return message(style.language, "no-earlier").to_owned();
    };
    let (mut new, mut gone) = (0, 0);
    for change in report.controls.iter().filter_map(|control| control.change.as_ref()) {
        new += change.new.len();
        gone += change.gone;
    }
    let (height, time) = (then.height, moment(style, then.time_ms));
    match style.language {
        Language::En => format!(
            "Since the run as of height {height} ({time}): {new} new, {gone} no longer found."
        ),
        Language::Zh => {
            format!("与截至高度 {height}（{time}）的前次核查相比：新增 {new} 项，消除 {gone} 项。")
        }
    }
}

fn scope(report: &Report, style: Style) -> Vec<ScopeRow<'_>> {
    let row = |one: &'_ crate::model::Scope| {
        let period = one.recorded.map(|(first, last)| [moment(style, first), moment(style, last)]);
        (one.rows, period)
    };
    report
        .scope
        .iter()
        .map(|one| {
            let (rows, period) = row(one);
            ScopeRow { title: visible(title(&one.title, style.language, &one.table)), rows, period }
        })
        .collect()
}

/// Findings by owner and severity, those with most first.
fn owners(report: &Report, style: Style) -> Vec<OwnerRow> {
    let mut counts: BTreeMap<String, [u64; Severity::ALL.len()]> = BTreeMap::new();
    let mut any = false;
    for control in &report.controls {
        let columns = Columns::of(report, control);
        any |= columns.shown.owner.is_some();
        let place = Severity::ALL.iter().position(|one| *one == control.severity).unwrap_or(0);
        for finding in &control.findings {
            counts.entry(owner(&columns, finding)).or_default()[place] += 1;
        }
    }
    if !any {
        return Vec::new();
    }
    let mut rows: Vec<OwnerRow> = counts
        .into_iter()
        .map(|(name, counts)| OwnerRow {
            name: if name.is_empty() { message(style.language, "unowned").into() } else { name },
            counts: counts.to_vec(),
            sum: counts.iter().sum(),
        })
        .collect();
    rows.sort_by(|one, other| other.sum.cmp(&one.sum).then_with(|| one.name.cmp(&other.name)));
    if rows.len() > MAX_OWNERS {
        let rest = rows.split_off(MAX_OWNERS);
        let mut counts = vec![0; Severity::ALL.len()];
        for row in &rest {
            for (sum, count) in counts.iter_mut().zip(&row.counts) {
                *sum += count;
            }
        }
        let name =
            style.with_more(message(style.language, "other-owners"), &rest.len().to_string());
        rows.push(OwnerRow { name, sum: counts.iter().sum(), counts });
    }
    rows
}

/// The member that answers for a finding, or nothing.
fn owner(columns: &Columns<'_>, finding: &Finding) -> String {
    match columns.shown.owner.as_ref().and_then(|name| columns.cell(finding, name)) {
        None | Some(Cell::Null) => String::new(),
        Some(cell) => visible(&cell.to_string()).into_owned(),
    }
}

fn control_page<'a>(
    report: &'a Report,
    control: &'a ControlResult,
    style: Style,
    linked: &mut BTreeSet<u64>,
) -> ControlPage<'a> {
    let language = style.language;
    let columns = Columns::of(report, control);
    let listed = listed(&columns, control);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for finding in &control.findings {
        let owner = owner(&columns, finding);
        let group = groups.entry(owner.clone());
        group.or_insert_with(|| Group { owner, count: 0, findings: Vec::new() }).count += 1;
    }
    for &index in &listed {
        let finding = &control.findings[index];
        let row = finding_row(&columns, finding, style, is_new(control, index));
        linked.extend(row.evidence.iter().copied());
        if let Some(group) = groups.get_mut(&owner(&columns, finding)) {
            group.findings.push(row);
        }
    }
    let capped = if listed.len() < control.findings.len() {
        capped(language, listed.len(), control.findings.len())
    } else {
        String::new()
    };
    let subject = columns.shown.subject.clone();
    let clause = &columns.shown.clause;
    let clause = match clause.get(language.code()).or_else(|| clause.get("en")) {
        Some(text) => visible(text).into_owned(),
        None => visible(&control.clause).into_owned(),
    };
    let parameters = control.parameters.iter().map(|(name, cell)| {
        let shown = columns.shown.parameters.get(name);
        Named {
            title: Cow::Owned(match shown {
                Some(column) => visible(title(&column.title, language, name.as_str())).into_owned(),
                None => name.to_string(),
            }),
            value: style.value(cell, &shown.map(|one| one.form.clone()).unwrap_or_default(), None),
        }
    });
    ControlPage {
        id: control.id.as_str(),
        title: visible(title(&control.title, language, control.id.as_str())),
        clause: Cow::Owned(clause),
        severity: control.severity.code(),
        count: control.findings.len(),
        new: control.change.as_ref().map(|change| change.new.len()),
        gone: control.change.as_ref().map(|change| change.gone),
        parameters: parameters.collect(),
        result: control.result.to_string(),
        chart: Chart::of(report, control, &columns, style),
        columns: Shape {
            subject: columns.title(&subject, language),
            what: !columns.others().is_empty(),
            range: columns.shown.range.is_some(),
            since: columns.since.is_some(),
            until: columns.until.is_some(),
            times: columns.times.is_some(),
        },
        capped,
        groups: groups.into_values().filter(|group| !group.findings.is_empty()).collect(),
    }
}

fn is_new(control: &ControlResult, index: usize) -> bool {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    control.change.as_ref().is_some_and(|change| change.new.binary_search(&index).is_ok())
}

/// The findings that a page lists, in their order: all, or the new ones and those
/// farthest beyond their limits.
fn listed(columns: &Columns<'_>, control: &ControlResult) -> Vec<usize> {
    let mut places: Vec<usize> = (0..control.findings.len()).collect();
    if places.len() > MAX_LISTED {
        let grave = |index: usize| columns.beyond(&control.findings[index]);
        places.sort_by_cached_key(|&index| {
            (!is_new(control, index), std::cmp::Reverse(grave(index)), index)
        });
        places.truncate(MAX_LISTED);
        places.sort_unstable();
    }
    places
}

fn capped(language: Language, listed: usize, all: usize) -> String {
    match language {
        Language::En => format!(
            "Listed here are {listed} of {all} findings: the new ones and those farthest beyond \
             their limits first. All of them are in the CSV and JSON forms of this report."
        ),
        Language::Zh => format!(
            "此处列出 {all} 项发现中的 {listed} 项，新增及超限最多者优先。全部发现见本报告的 CSV 与 \
             JSON 形式。"
        ),
    }
}

fn finding_row(columns: &Columns<'_>, finding: &Finding, style: Style, new: bool) -> FindingRow {
    let row = Row { columns, finding, style };
    let pair =
        |name: &str| Pair { title: columns.title(name, style.language), value: row.text(name) };
    let time = |place: Option<usize>| -> Vec<String> {
        let Some(Cell::Integer(time)) = place.map(|place| &finding.row[place]) else {
            return Vec::new();
        };
        let (date, time) = style.utc_offset.date_and_time(*time);
        vec![date, time]
    };
    let shown = &columns.shown;
    FindingRow {
        new,
        subject: visible(&finding.subject).into_owned(),
        each: shown.each.iter().map(|name| pair(name)).collect(),
        what: columns.others().into_iter().filter(|name| row.says(name)).map(pair).collect(),
        drawing: Drawing::of(&row),
        excesses: row.excesses(),
        since: time(columns.since),
        until: time(columns.until),
        times: columns.times.map(|place| row.at(place)).unwrap_or_default(),
        evidence: links(&finding.evidence),
        evidence_total: finding.evidence_total,
    }
}

/// The first, which created it, and the latest.
fn links(evidence: &[u64]) -> Vec<u64> {
    match evidence.split_first() {
        Some((first, rest)) if evidence.len() > MAX_LINKS => {
            let latest = &rest[rest.len() + 1 - MAX_LINKS..];
            std::iter::once(*first).chain(latest.iter().copied()).collect()
        }
        _ => evidence.to_vec(),
    }
}
