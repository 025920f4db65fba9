//! How a control's result is shown to people: what its columns are called, what
//! their values are, and which of them are drawn beside which limits.
//!
//! ```toml
//! [words.metric]                 # what symbols are called, and in which unit they measure
//! temperature = { title = { en = "Temperature", zh = "温度" }, unit = "°C" }
//!
//! [control.over-limit]
//! columns.device  = { title = { en = "Device", zh = "设备" }, type = "id" }
//! columns.metric  = { title = { en = "Metric", zh = "指标" }, type = "symbol", words = "metric" }
//! columns.highest = { title = { en = "Highest", zh = "最高值" }, type = "decimal", scale = 3, unit_by = "metric" }
//! columns.high    = { title = { en = "Upper limit", zh = "上限" }, type = "decimal", scale = 3, unit_by = "metric" }
//! columns.began   = { title = { en = "Since", zh = "起始时间" }, type = "time", role = "since" }
//! columns.times   = { title = { en = "Readings", zh = "读数次数" }, type = "int", role = "times" }
//! range = { to = "highest", high = "high" }
//! ```
//!
//! Every column of the result has a title in both languages and a type; that the
//! query gives exactly these columns, of these types, is told by the read model,
//! which understands SQL. Here the declarations are checked against each other.
//!
//! A *range* is drawn: from the value in `from` (or `to` alone) to that in `to`,
//! beside the limits `low` and `high`, each a column or, with `:` in front, a
//! parameter. What is drawn together has one type, scale and unit.

use std::collections::BTreeMap;

use hufu_proof::Name;

use crate::control::Control;
use crate::manifest::{read_title, read_type};
use crate::package::{Package, Title};
use crate::problem::Problem;
use crate::reader::{Node, Section};
use crate::sources::CONTRACT;
use crate::types::Type;
use crate::unit::Unit;

/// Most columns of a result, and most words of a list.
const MAX_ENTRIES: usize = 64;

/// A column of a control's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    /// What people call it.
    pub title: Title,
    /// What its values are.
    pub ty: Type,
    /// What it says of a finding.
    pub role: Option<ColumnRole>,
    /// The list of words for its symbols.
    pub words: Option<Name>,
    /// The column whose word tells the unit of its numbers.
    pub unit_by: Option<Name>,
}

/// What a column says of a finding, beside its subject and owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRole {
    /// Since when it is so.
    Since,
    /// Until when it was last seen.
    Until,
    /// How often it was seen.
    Times,
}

/// What symbols are called.
pub type Words = BTreeMap<String, Word>;

/// What a symbol is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its name for people.
    pub title: Title,
    /// The unit of the numbers beside it.
    pub unit: Option<Unit>,
}

/// Values drawn beside limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The column of the lowest value, where it is another than `to`.
    pub from: Option<Name>,
    /// The column of the highest value.
    pub to: Name,
    /// What values should not be under.
    pub low: Option<Bound>,
    /// What values should not be over.
    pub high: Option<Bound>,
}

/// Where a limit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// In a column.
    Column(Name),
    /// In a parameter.
    Parameter(Name),
}

/// Everything a package shows without a title, for the check that its author
/// runs: contracts execute without, people need it.
pub fn missing_titles(package: &Package) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut need = |thing: String, title: &Option<Title>| {
        if title.is_none() {
            let message = "lacks a title; write title = { en = \"...\", zh = \"...\" }";
            problems.push(Problem::new(CONTRACT, 0, thing, message));
        }
    };
    for (name, role) in &package.roles {
        need(format!("roles.{name}"), &role.title);
    }
    for (name, asset) in &package.assets {
        need(format!("asset.{name}"), &asset.title);
        need(format!("asset.{name}.fields.{}", asset.key), &asset.key_title);
        for (field, declared) in &asset.fields {
            need(format!("asset.{name}.fields.{field}"), &declared.title);
        }
    }
    for (name, action) in &package.actions {
        need(format!("action.{name}"), &action.title);
    }
    for (name, stream) in &package.streams {
        need(format!("stream.{name}"), &stream.title);
        for column in stream.columns.keys() {
            let title = stream.column_titles.get(column).cloned();
            need(format!("stream.{name}.rows.{column}"), &title);
        }
    }
    problems
}

/// Reads the lists of words.
pub(crate) fn read_words(root: &Section<'_, '_>) -> BTreeMap<Name, Words> {
    let mut lists = BTreeMap::new();
    let Some(section) = root.optional("words").and_then(|node| node.table()) else { return lists };
    for node in section.entries() {
        let (Some(name), Some(table)) = (node.key_name(), node.table()) else { continue };
        let mut words = Words::new();
        for node in table.entries() {
            if words.len() >= MAX_ENTRIES {
                table.problem("", format!("more than {MAX_ENTRIES} words"));
                break;
            }
            if let Some(word) = read_word(&node) {
                words.insert(node.key().to_owned(), word);
            }
        }
        lists.insert(name, words);
    }
    lists
}

fn read_word(node: &Node<'_, '_>) -> Option<Word> {
    let table = node.table()?;
    let title = table.required("title").and_then(|node| read_title(&node));
    let unit = match table.optional("unit") {
        None => Some(None),
        Some(node) => {
            Unit::parse(node.text()?).map_err(|message| node.problem(message)).ok().map(Some)
        }
    };
    table.finish(&[]);
    Some(Word { title: title?, unit: unit? })
}

/// Reads the columns and the range of a control, whose parameters are there.
pub(crate) fn read_columns(
    table: &Section<'_, '_>,
    package: &Package,
    words: &BTreeMap<Name, Words>,
    control: &mut Control,
) {
    if let Some(columns) = table.required("columns").and_then(|node| node.table()) {
        for node in columns.entries() {
            if control.columns.len() >= MAX_ENTRIES {
                columns.problem("", format!("more than {MAX_ENTRIES} columns"));
                break;
            }
            if let Some((name, column)) = read_column(&node, package, words) {
                control.columns.insert(name, column);
            }
        }
        check_columns(&columns, words, control);
    }
    if let Some(node) = table.optional("range") {
        control.range = read_range(&node, control);
    }
}

fn read_column(
    node: &Node<'_, '_>,
    package: &Package,
    words: &BTreeMap<Name, Words>,
) -> Option<(Name, ResultColumn)> {
    let (name, table) = (node.key_name(), node.table()?);
    let title = table.required("title").and_then(|node| read_title(&node));
    let ty = read_type(&table, package);
    let role = table.optional("role").map(|node| {
        let role = match node.text()? {
            "since" => ColumnRole::Since,
            "until" => ColumnRole::Until,
            "times" => ColumnRole::Times,
            _ => return node.refuse("is no role; there are since, until and times"),
        };
        let fits = match role {
            ColumnRole::Times => matches!(ty, Some(Type::Int { .. })),
            ColumnRole::Since | ColumnRole::Until => matches!(ty, Some(Type::Time { .. })),
        };
        if !fits && ty.is_some() {
            return node
                .refuse("does not fit the type: since and until are times, times is an int");
        }
        Some(role)
    });
    let list = table.optional("words").and_then(|node| {
        let list = node.name()?;
        if !words.contains_key(&list) {
            return node.refuse(format!("there is no [words.{list}]"));
        }
        if !matches!(ty, None | Some(Type::Symbol | Type::Text { .. })) {
            return node.refuse("words are for symbols and texts");
        }
        Some(list)
    });
    let unit_by = table.optional("unit_by").and_then(|node| {
        let bare = matches!(&ty, Some(Type::Int { unit, .. } | Type::Decimal { unit, .. }) if unit.is_count());
        if !bare && ty.is_some() {
            return node.refuse("is for a number without a unit of its own");
        }
        node.name()
    });
    table.finish(&[("private", "what is private does not come into a control's result")]);
    let (role, words) = (role.unwrap_or_default(), list);
    Some((name?, ResultColumn { title: title?, ty: ty?, role, words, unit_by }))
}

/// What one column says of another.
fn check_columns(section: &Section<'_, '_>, words: &BTreeMap<Name, Words>, control: &Control) {
    let named = [
        ("subject", Some(&control.subject)),
        ("each", control.each.as_ref()),
        ("owner", control.owner.as_ref()),
    ];
    for (key, column) in named {
        if let Some(column) = column
            && !control.columns.contains_key(column.as_str())
        {
            section.problem(
                column,
                format!(
                    "is missing, or not valid; `-- {key}: {column}` in the control's file names it"
                ),
            );
        }
    }
    for (name, column) in &control.columns {
        let Some(by) = &column.unit_by else { continue };
        let list = control.columns.get(by).and_then(|column| column.words.as_ref());
        if !list.is_some_and(|list| words.contains_key(list)) {
            section.problem(
                &format!("{name}.unit_by"),
                format!("`{by}` is not a column with words, which tell the unit"),
            );
        }
    }
    for role in [ColumnRole::Since, ColumnRole::Until, ColumnRole::Times] {
        let with = control.columns.iter().filter(|(_, column)| column.role == Some(role));
        if let Some((name, _)) = with.skip(1).last() {
            section.problem(&format!("{name}.role"), "is the role of another column already");
        }
    }
}

fn read_range(node: &Node<'_, '_>, control: &Control) -> Option<Range> {
    let table = node.table()?;
    let column = |node: Node<'_, '_>| {
        let name = node.name()?;
        if control.columns.contains_key(&name) {
            return Some(name);
        }
        node.refuse(format!("there is no column `{name}`"))
    };
    let bound = |key: &'static str| {
        table.optional(key).map(|node| {
            let text = node.text()?;
            let Some(parameter) = text.strip_prefix(':') else {
                return column(node).map(Bound::Column);
            };
            match Name::new(parameter) {
                Ok(name) if control.parameters.contains_key(&name) => Some(Bound::Parameter(name)),
                _ => node.refuse(format!("there is no parameter `{parameter}`")),
            }
        })
    };
    let from = table.optional("from").map(column);
    let to = table.required("to").and_then(column);
    let (low, high) = (bound("low"), bound("high"));
    table.finish(&[]);
    let range = Range {
        from: match from {
            None => None,
            Some(from) => Some(from?),
        },
        to: to?,
        low: match low {
            None => None,
            Some(low) => Some(low?),
        },
        high: match high {
            None => None,
            Some(high) => Some(high?),
        },
    };
    if range.low.is_none() && range.high.is_none() {
        return node.refuse("needs a limit: `low`, `high` or both");
    }
    let number = &control.columns[&range.to];
    if !matches!(number.ty, Type::Int { .. } | Type::Decimal { .. }) {
        return node.refuse("is drawn from numbers; `to` must be an int or a decimal");
    }
    let other = |name: &Name| {
        let column = &control.columns[name];
        column.ty.same_meaning(&number.ty) && column.unit_by == number.unit_by
    };
    let fits = range.from.iter().all(other)
        && range.low.iter().chain(&range.high).all(|bound| match bound {
            Bound::Column(name) => other(name),
            Bound::Parameter(name) => control.parameters[name].ty.same_meaning(&number.ty),
        });
    if !fits {
        return node.refuse("draws together what has other types, scales or units");
    }
    Some(range)
}
