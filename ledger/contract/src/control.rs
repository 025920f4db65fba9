//! Controls and control sets: `controls/*.sql` and `controls.toml`.
//!
//! A control's file begins with comments that say what it is:
//!
//! ```sql
//! -- id: unpaid-lease
//! -- title: Fees unpaid beyond the threshold
//! -- title-zh: 超出限额的未付费用
//! -- clause: leasing supervision rules, art. 12
//! -- clause-zh: 租赁监管规则第十二条
//! -- severity: high
//! -- subject: lease_id
//! -- owner: lessee
//! SELECT ...
//! ```
//!
//! `subject` is the column that says what a finding is about; `each` (may be left
//! out) the column that tells findings on one subject apart, so that two runs can be
//! compared; `owner` (may be left out) the column of the member that answers for it.
//!
//! `controls.toml` declares the parameters and columns of controls (see
//! [`crate::shown`]) and the control sets:
//!
//! ```toml
//! [control.unpaid-lease]
//! parameters.threshold = { title = { en = "Threshold", zh = "限额" }, type = "int", unit = "CNY 0.01", default = 0 }
//! columns.lease_id = { title = { en = "Lease", zh = "租约" }, type = "id" }
//! columns.lessee   = { title = { en = "Lessee", zh = "承租人" }, type = "member" }
//! columns.owed     = { title = { en = "Owed", zh = "欠费" }, type = "int", unit = "CNY 0.01" }
//! range = { to = "owed", high = ":threshold" }
//!
//! [set.leasing-baseline]
//! title = { en = "Leasing baseline", zh = "租赁基线" }
//! controls = ["unpaid-lease"]
//! parameters.unpaid-lease = { threshold = 500000 }
//! ```
//!
//! The SQL text is not understood here: the read model prepares it under
//! SQLite's authorizer.

use std::collections::BTreeMap;

use hufu_proof::{Name, Severity, Value};

use crate::manifest::{read_title, read_type};
use crate::package::{Package, Title};
use crate::problem::Problem;
use crate::reader::{Document, Node, Section};
use crate::shown::{self, Range, ResultColumn, Words};
use crate::sources::{CONTROLS, Sources};
use crate::types::Type;

/// Longest SQL text of a control in bytes.
pub const MAX_SQL: usize = 16 * 1024;
/// Most parameters of a control.
const MAX_PARAMETERS: usize = 32;
/// Longest clause in bytes.
const MAX_CLAUSE: usize = 500;
/// The keys in the comments in front of a control's query.
const HEADER: [&str; 9] =
    ["id", "title", "title-zh", "clause", "clause-zh", "severity", "subject", "each", "owner"];

/// One control: its rows are findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its name.
    pub id: Name,
    /// Its title.
    pub title: Title,
    /// The rule and paragraph it implements.
    pub clause: Title,
    /// How bad its findings are.
    pub severity: Severity,
    /// The column that says what a finding is about.
    pub subject: String,
    /// The column that tells findings on one subject apart.
    pub each: Option<String>,
    /// The column of the member that answers for a finding.
    pub owner: Option<String>,
    /// The columns of its result, as people read them.
    pub columns: BTreeMap<Name, ResultColumn>,
    /// Which of its values are drawn beside which limits.
    pub range: Option<Range>,
    /// The query.
    pub sql: String,
    /// Its parameters, which the query names as `:name`.
    pub parameters: BTreeMap<Name, ControlParameter>,
}

/// A parameter of a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlParameter {
    /// What people call it.
    pub title: Title,
    /// Its type.
    pub ty: Type,
    /// Its value where a control set says nothing.
    pub default: Value,
}

/// Controls that are run together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSet {
    /// Its name.
    pub name: Name,
    /// Its title.
    pub title: Title,
    /// The controls in the order of the report, each with the values of all its
    /// parameters.
    pub controls: Vec<(Name, BTreeMap<Name, Value>)>,
}

/// All controls and control sets of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controls {
    pub(crate) controls: Vec<Control>,
    pub(crate) sets: BTreeMap<Name, ControlSet>,
    pub(crate) words: BTreeMap<Name, Words>,
}

/// Reads the controls of a package.
pub(crate) fn read(sources: &Sources, package: &Package) -> Result<Controls, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut controls = BTreeMap::new();
    for (path, text) in sources.files().filter(|(path, _)| path.starts_with("controls/")) {
        match read_sql(path, text) {
            Ok(control) => {
                controls.insert(control.id.clone(), control);
            }
            Err(found) => problems.extend(found),
        }
    }
    let mut sets = BTreeMap::new();
    let mut words = BTreeMap::new();
    let text = sources.text(CONTROLS).unwrap_or_default();
    if !text.is_empty() || !controls.is_empty() {
        let document = Document::new(CONTROLS, text);
        if let Some(table) = document.parse() {
            let root = Section::root(&document, &table);
            words = shown::read_words(&root);
            read_declared(&root, package, &words, &mut controls);
            read_sets(&root, &controls, &mut sets);
            root.finish(&[("schedule", "schedules are not supported yet; remove the table")]);
        }
        problems.extend(document.into_problems());
    }
    if problems.is_empty() {
        Ok(Controls { controls: controls.into_values().collect(), sets, words })
    } else {
        Err(problems)
    }
}

/// Reads a control's file: the comments in front, then the query.
fn read_sql(path: &str, text: &str) -> Result<Control, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut header: BTreeMap<&str, (u32, &str)> = BTreeMap::new();
    let mut rest = text;
    let mut number = 0_u32;
    while let Some(comment) = rest.strip_prefix("--") {
        let (line, tail) = comment.split_once('\n').unwrap_or((comment, ""));
        number += 1;
        rest = tail;
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        if !HEADER.contains(&key) {
            let message = format!("unknown key; there are {}", HEADER.join(", "));
            problems.push(Problem::new(path, number, key, message));
        } else if header.insert(key, (number, value)).is_some() {
            problems.push(Problem::new(path, number, key, "is there twice"));
        }
    }
    let mut take = |key: &str, limit: usize| {
        let (line, value) = header.get(key).copied().unwrap_or((1, ""));
        if value.is_empty() || value.len() > limit {
            let message =
                format!("write it into the comments in front: `-- {key}: ...`, 1 to {limit} bytes");
            problems.push(Problem::new(path, line, key, message));
        }
        (line, value.to_owned())
    };
    let (id_line, id) = take("id", Name::MAX);
    let (_, en) = take("title", 200);
    let (title_line, zh) = take("title-zh", 200);
    let (_, clause_en) = take("clause", MAX_CLAUSE);
    let (clause_line, clause_zh) = take("clause-zh", MAX_CLAUSE);
    let (severity_line, severity) = take("severity", 16);
    let (subject_line, subject) = take("subject", Name::MAX);
    let (title, clause) = (Title { en, zh }, Title { en: clause_en, zh: clause_zh });
    let other = |key: &str| header.get(key).map(|(line, value)| (*line, (*value).to_owned()));
    let (each, owner) = (other("each"), other("owner"));
    let file = path.trim_start_matches("controls/").trim_end_matches(".sql");
    let mut problem = |line: u32, thing: &str, message: &str| {
        problems.push(Problem::new(path, line, thing, message));
    };
    if id != file {
        problem(id_line, "id", "must be the name of the file");
    }
    let severity = Severity::from_code(&severity).unwrap_or_else(|| {
        problem(severity_line, "severity", "must be info, low, medium, high or critical");
        Severity::Info
    });
    for (line, key, title) in
        [(title_line, "title-zh", &title), (clause_line, "clause-zh", &clause)]
    {
        if !title.zh.is_empty()
            && let Err(message) = title.check()
        {
            problem(line, key, message);
        }
    }
    let column = |line: &u32, column: &String| (*line, column.clone());
    let columns = [("each", &each), ("owner", &owner)]
        .into_iter()
        .filter_map(|(key, one)| one.as_ref().map(|(line, name)| (key, column(line, name))));
    for (key, (line, name)) in columns.chain([("subject", (subject_line, subject.clone()))]) {
        // What is missing was told above.
        if (key != "subject" || !name.is_empty()) && Name::new(&name).is_err() {
            problem(line, key, "must be a column of the query, in lower case");
        }
    }
    let sql = rest.trim();
    if sql.is_empty() || sql.len() > MAX_SQL {
        problem(number + 1, "", &format!("the query must have 1 to {MAX_SQL} bytes"));
    }
    let id = Name::new(&id);
    if let Err(error) = &id {
        problem(id_line, "id", &error.to_string());
    }
    match id {
        Ok(id) if problems.is_empty() => Ok(Control {
            id,
            title,
            clause,
            severity,
            subject,
            each: each.map(|(_, column)| column),
            owner: owner.map(|(_, column)| column),
            columns: BTreeMap::new(),
            range: None,
            sql: sql.to_owned(),
            parameters: BTreeMap::new(),
        }),
        _ => Err(problems),
    }
}

/// Reads what `controls.toml` declares of each control.
fn read_declared(
    root: &Section<'_, '_>,
    package: &Package,
    words: &BTreeMap<Name, Words>,
    controls: &mut BTreeMap<Name, Control>,
) {
    let section = root.optional("control").and_then(|node| node.table());
    let mut declared = std::collections::BTreeSet::new();
    for node in section.iter().flat_map(Section::entries) {
        let (Some(name), Some(table)) = (node.key_name(), node.table()) else { continue };
        let Some(control) = controls.get_mut(&name) else {
            node.problem(format!("no control of this name; write controls/{name}.sql"));
            continue;
        };
        if let Some(parameters) = table.optional("parameters").and_then(|node| node.table()) {
            for node in parameters.entries() {
                if control.parameters.len() >= MAX_PARAMETERS {
                    parameters.problem("", format!("more than {MAX_PARAMETERS} parameters"));
                    break;
                }
                if let Some((name, parameter)) = read_parameter(&node, package) {
                    control.parameters.insert(name, parameter);
                }
            }
        }
        shown::read_columns(&table, package, words, control);
        table.finish(&[("severity", "the severity is in the comments of the control's file")]);
        declared.insert(name);
    }
    for name in controls.keys().filter(|name| !declared.contains(*name)) {
        root.problem(
            &format!("control.{name}"),
            "is missing; declare the columns of the control's result, each with title and type",
        );
    }
}

fn read_parameter(node: &Node<'_, '_>, package: &Package) -> Option<(Name, ControlParameter)> {
    let (name, table) = (node.key_word(), node.table()?);
    let title = table.required("title").and_then(|node| read_title(&node));
    let ty = read_type(&table, package);
    let default = table.required("default").and_then(|node| {
        let json = node.json()?;
        ty.as_ref()?.from_json(&json).map_err(|message| node.problem(message)).ok()
    });
    table.finish(&[]);
    let (name, ty) = (name?, ty?);
    if name.as_str() == "as_of_time" || name.as_str() == "as_of_height" {
        return node.refuse("is given to every control; choose another name");
    }
    if !ty.is_scalar() {
        return node.refuse("a parameter is one value, not a list or set");
    }
    Some((name, ControlParameter { title: title?, ty, default: default? }))
}

fn read_sets(
    root: &Section<'_, '_>,
    controls: &BTreeMap<Name, Control>,
    sets: &mut BTreeMap<Name, ControlSet>,
) {
    let Some(section) = root.optional("set").and_then(|node| node.table()) else { return };
    for node in section.entries() {
        let (Some(name), Some(table)) = (node.key_name(), node.table()) else { continue };
        let title = table.required("title").and_then(|node| read_title(&node));
        let mut entries: Vec<(Name, BTreeMap<Name, Value>)> = Vec::new();
        if let Some(list) = table.required("controls") {
            for item in list.items().unwrap_or_default() {
                let Some(id) = item.name() else { continue };
                let Some(control) = controls.get(&id) else {
                    item.problem(format!("no valid control `{id}`; write controls/{id}.sql"));
                    continue;
                };
                if entries.iter().any(|(other, _)| *other == id) {
                    item.problem(format!("names `{id}` twice"));
                    continue;
                }
                let defaults = control
                    .parameters
                    .iter()
                    .map(|(name, parameter)| (name.clone(), parameter.default.clone()));
                entries.push((id, defaults.collect()));
            }
        }
        if let Some(values) = table.optional("parameters").and_then(|node| node.table()) {
            for node in values.entries() {
                set_values(&node, controls, &mut entries);
            }
        }
        table.finish(&[("schedule", "schedules are not supported yet; remove the key")]);
        if let Some(title) = title {
            sets.insert(name.clone(), ControlSet { name, title, controls: entries });
        }
    }
}

/// The values of one control's parameters in a set.
fn set_values(
    node: &Node<'_, '_>,
    controls: &BTreeMap<Name, Control>,
    entries: &mut [(Name, BTreeMap<Name, Value>)],
) {
    let (Some(id), Some(values)) = (node.key_name(), node.table()) else { return };
    let entry = entries.iter_mut().find(|(name, _)| *name == id);
    let (Some((_, entry)), Some(control)) = (entry, controls.get(&id)) else {
        node.problem(format!("`{id}` is not among the controls of this set"));
        return;
    };
    for node in values.entries() {
        let Some(parameter) = control.parameters.get(node.key()) else {
            node.problem(format!("control `{id}` has no such parameter"));
            continue;
        };
        let Some(json) = node.json() else { continue };
        match (parameter.ty.from_json(&json), node.key_name()) {
            (Ok(value), Some(name)) => {
                entry.insert(name, value);
            }
            (Err(message), _) => node.problem(message),
            _ => {}
        }
    }
}
