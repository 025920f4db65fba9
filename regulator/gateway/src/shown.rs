//! From what a contract package says of its results to what a report says of
//! them.

use std::collections::BTreeMap;

use hufu_contract::shown::{self as package, ColumnRole};
use hufu_contract::{Contract, Control};
use hufu_proof::Name;
use hufu_query::{AsOf, Session};
use hufu_readmodel::infer::declared as form;
use hufu_readmodel::{Limits, Problem, Table, TableKind};
use hufu_report::model::{Scope, Title};
use hufu_report::shown::{Bound, Column, Form, Range, Role, Shown, Word, Words};
use hufu_report::{Cell, Report};

/// A contract's title, by language.
pub fn title(title: &hufu_contract::package::Title) -> Title {
    Title::from([("en".to_owned(), title.en.clone()), ("zh".to_owned(), title.zh.clone())])
}

/// How the result of `control`, which has these columns, is shown.
pub fn shown(control: &Control, columns: &[String]) -> Shown {
    let named = |name: &Name| name.to_string();
    let column = |name: &String| match control.columns.get(name.as_str()) {
        Some(column) => result_column(column),
        // The check of a package refuses what is not declared; nodes deploy what
        // enough members approved.
        None => plain(name),
    };
    let parameter = |(name, declared): (&Name, &hufu_contract::control::ControlParameter)| {
        let column = Column {
            title: title(&declared.title),
            form: form(&declared.ty),
            role: None,
            words: None,
            unit_by: None,
        };
        (name.clone(), column)
    };
    let bound = |bound: &package::Bound| match bound {
        package::Bound::Column(name) => Bound::Column(named(name)),
        package::Bound::Parameter(name) => Bound::Parameter(name.clone()),
    };
    let range = |range: &package::Range| Range {
        from: range.from.as_ref().map(named),
        to: named(&range.to),
        low: range.low.as_ref().map(bound),
        high: range.high.as_ref().map(bound),
    };
    let there = |name: &Option<String>| name.clone().filter(|name| columns.contains(name));
    Shown {
        clause: title(&control.clause),
        subject: control.subject.clone(),
        each: there(&control.each),
        owner: there(&control.owner),
        columns: columns.iter().map(column).collect(),
        parameters: control.parameters.iter().map(parameter).collect(),
        range: control.range.as_ref().map(range),
    }
}

fn result_column(column: &package::ResultColumn) -> Column {
    Column {
        title: title(&column.title),
        form: form(&column.ty),
        role: column.role.map(|role| match role {
            ColumnRole::Since => Role::Since,
            ColumnRole::Until => Role::Until,
            ColumnRole::Times => Role::Times,
        }),
        words: column.words.clone(),
        unit_by: column.unit_by.as_ref().map(Name::to_string),
    }
}

fn plain(name: &str) -> Column {
    Column {
        title: Title::from([("en".to_owned(), name.to_owned())]),
        form: Form::Plain,
        role: None,
        words: None,
        unit_by: None,
    }
}

/// The lists of words that the results in `report` use.
pub fn words(contract: &Contract, report: &Report) -> BTreeMap<Name, Words> {
    let columns = report.controls.iter().filter_map(|control| control.shown.as_ref());
    let used = columns.flat_map(|shown| &shown.columns).filter_map(|column| column.words.as_ref());
    let list = |name: &Name| {
        let words = contract.words().get(name)?.iter().map(|(symbol, word)| {
            let unit = word.unit.as_ref().map(ToString::to_string);
            (symbol.clone(), Word { title: title(&word.title), unit })
        });
        Some((name.clone(), words.collect()))
    };
    used.filter_map(list).collect()
}

/// How much there is to look at: the rows of those `tables` that are of `contract`
/// or of those it requires.
///
/// # Errors
/// [`Problem`].
pub fn scope(
    session: &mut Session,
    as_of: &AsOf,
    tables: &[Table],
    contract: &Contract,
) -> Result<Vec<Scope>, Problem> {
    let contracts = contract.dependencies().values().map(AsRef::as_ref).chain([contract]);
    let mut counted = Vec::new();
    for contract in contracts {
        for table in tables.iter().filter(|table| table.contract == *contract.name()) {
            let called = match table.kind {
                TableKind::Asset => {
                    contract.asset_type(table.name.as_str()).and_then(|one| one.title.as_ref())
                }
                TableKind::Stream => {
                    contract.stream(table.name.as_str()).and_then(|one| one.title.as_ref())
                }
            };
            let name = format!("{}.{}", table.sql_schema, table.sql_name);
            counted.push((name, table.kind, called.map(title).unwrap_or_default()));
        }
    }
    let count = |(table, kind, title): (String, TableKind, Title)| {
        let times = match kind {
            TableKind::Asset => "NULL, NULL",
            TableKind::Stream => "min(recorded_time), max(recorded_time)",
        };
        let sql = format!("SELECT count(*), {times} FROM {table}");
        let answer = session.query(as_of, &sql, &BTreeMap::new(), &Limits::CONTROL)?;
        let number = |place: usize| match answer.rows.first().and_then(|row| row.get(place)) {
            Some(Cell::Integer(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        let recorded = number(1).zip(number(2));
        Ok(Scope { table, title, rows: number(0).unwrap_or(0), recorded })
    };
    counted.into_iter().map(count).collect()
}
