//! From the names a query uses to the views of one height.
//!
//! `FROM equipment_leasing.lease` becomes
//! `FROM "hufu:equipment_leasing.lease" AS lease`, and
//! `equipment_leasing.lease.state` becomes `lease.state`. The views' names can
//! not be written in a query, so that what the authorizer lets through a view
//! cannot be had by naming something else alike.

use std::collections::BTreeSet;

use crate::catalogue::{Table, quote};
use crate::error::Problem;
use crate::infer::{Expressions, Made};
use crate::sql::{Kind, Tokens};

/// The aggregate function that tells the numbers of a group's rows: a name that
/// a query cannot write ([`crate::sql::RESERVED`]).
pub(crate) const ROWS: &str = "hufu:rows";

/// Words that can follow a table in FROM without being its alias.
const AFTER_TABLE: &[&str] = &[
    "natural",
    "left",
    "right",
    "full",
    "inner",
    "cross",
    "outer",
    "join",
    "on",
    "using",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "window",
    "union",
    "intersect",
    "except",
    "indexed",
    "not",
];

const AGGREGATES: &[&str] = &[
    "avg",
    "count",
    "group_concat",
    "json_group_array",
    "json_group_object",
    "max",
    "min",
    "string_agg",
    "sum",
    "total",
];

/// A query with its tables replaced.
#[derive(Debug)]
pub struct Rewritten {
    /// The text for SQLite.
    pub sql: String,
    /// The same, with a column for each table of the outer FROM that tells its
    /// rows; absent where rows cannot be told (DISTINCT, compound queries, no
    /// contract table in the outer FROM).
    pub traced: Option<Traced>,
    /// Places in the given list of the tables it uses.
    pub used: BTreeSet<usize>,
    /// Names of its parameters.
    pub parameters: Vec<String>,
    /// Its outer ORDER BY names these identifiers.
    pub ordered_by: Vec<String>,
    /// Whether it has an outer LIMIT.
    pub limited: bool,
    /// What tells what its columns hold; absent where more than one SELECT gives
    /// the rows.
    pub(crate) probe: Option<Probe>,
}

/// See [`crate::infer`].
#[derive(Debug)]
pub(crate) struct Probe {
    /// A query that gives the bare columns of which the result is made.
    pub(crate) sql: String,
    /// What each column of the result is made of; empty where they are not told
    /// apart.
    pub(crate) made: Vec<Made>,
}

/// See [`Rewritten::traced`].
#[derive(Debug)]
pub struct Traced {
    /// The text for SQLite. Its last columns, one for each of `tables`, tell
    /// rows; those before are the query's own, with a `_row` for each table
    /// that a `*` shows.
    pub sql: String,
    /// Places in the given list of tables, in the order of those columns.
    pub tables: Vec<usize>,
}

/// Replaces the tables of `text`, which are among `tables`.
///
/// # Errors
/// [`Problem`] when the text is not one query.
pub fn rewrite(text: &str, tables: &[Table]) -> Result<Rewritten, Problem> {
    let tokens = Tokens::new(text)?;
    let text = tokens.text();
    let first = tokens.identifier(0).unwrap_or_default();
    if first != "select" && first != "with" {
        let message = "a query begins with SELECT or WITH".into();
        return Err(Problem::Syntax {
            at: tokens.tokens.first().map_or(0, |one| one.begin),
            message,
        });
    }
    let (mut edits, outer, used) = replace(&tokens, tables);
    let sql = apply(text, &edits);
    let select = tokens.top_level(0, "select");
    let probe = select.and_then(|select| {
        let found = Expressions::of(&tokens, select, outer_from(&tokens, select)?)?;
        Some(probe(text, &edits, found))
    });
    let traced = select.filter(|_| !outer.is_empty()).and_then(|select| {
        let aggregate = tell_rows(&tokens, select)?;
        let at = tokens.tokens[outer_from(&tokens, select)?].begin;
        let columns: Vec<String> = outer
            .iter()
            .map(|(_, alias)| {
                if aggregate {
                    format!("{}({alias}._row)", quote(ROWS))
                } else {
                    format!("{alias}._row")
                }
            })
            .collect();
        // At the end, so that ORDER BY 1 and GROUP BY 1 still mean the same.
        edits.push(Edit { begin: at, end: at, text: format!(", {} ", columns.join(", ")) });
        edits.sort_by_key(|edit| edit.begin);
        Some(Traced { sql: apply(text, &edits), tables: outer.iter().map(|one| one.0).collect() })
    });
    let order = select.and_then(|select| {
        let order = tokens.top_level(select, "order")?;
        tokens.is_word(order + 1, "by").then_some(order + 2)
    });
    let limit = select.and_then(|select| tokens.top_level(select, "limit"));
    let ordered_by = order.map_or_else(Vec::new, |order| {
        let end = limit.unwrap_or(tokens.tokens.len());
        (order..end)
            .filter(|&index| tokens.tokens[index].depth == 0)
            .filter_map(|index| tokens.identifier(index))
            .collect()
    });
    Ok(Rewritten {
        sql,
        traced,
        used,
        parameters: tokens.parameters().into_iter().map(str::to_owned).collect(),
        ordered_by,
        limited: limit.is_some(),
        probe,
    })
}

/// The query with its bare columns as the result, and nothing after its FROM.
fn probe(text: &str, edits: &[Edit], found: Expressions) -> Probe {
    let within = |begin: usize, end: usize| {
        let inside = edits.iter().filter(|edit| edit.begin >= begin && edit.end <= end);
        let moved: Vec<Edit> = inside
            .map(|edit| Edit {
                begin: edit.begin - begin,
                end: edit.end - begin,
                text: edit.text.clone(),
            })
            .collect();
        apply(&text[begin..end], &moved)
    };
    let (begin, from) = found.list;
    let columns: Vec<String> =
        found.columns.iter().map(|&(begin, end)| within(begin, end)).collect();
    let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
    let sql = format!("{}{columns} {}", within(0, begin), within(from, found.end));
    Probe { sql, made: found.made }
}

struct Edit {
    begin: usize,
    end: usize,
    text: String,
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len() + 64 * edits.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(&text[at..edit.begin]);
        out.push_str(&edit.text);
        at = edit.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Edits in order; tables of the outer FROM with their aliases; tables used.
type Replaced = (Vec<Edit>, Vec<(usize, String)>, BTreeSet<usize>);

fn replace(tokens: &Tokens<'_>, tables: &[Table]) -> Replaced {
    let (mut edits, mut outer, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    let from = tokens.top_level(0, "select").and_then(|select| outer_from(tokens, select));
    let mut index = 0;
    while index < tokens.tokens.len() {
        let Some(table) = table_at(tokens, index, tables) else {
            index += 1;
            continue;
        };
        let begin = tokens.tokens[index].begin;
        let end = tokens.tokens[index + 2].end;
        let alias = quote(&tables[table].sql_name);
        if tokens.is_mark(index + 3, ".") {
            // schema.table.column
            edits.push(Edit { begin, end, text: alias });
            index += 5;
            continue;
        }
        used.insert(table);
        let view = quote(&tables[table].view());
        let own = own_alias(tokens, index + 3);
        let text = if own.is_some() || (index > 0 && tokens.is_word(index - 1, "in")) {
            view
        } else {
            format!("{view} AS {alias}")
        };
        edits.push(Edit { begin, end, text });
        if tokens.tokens[index].depth == 0 && from.is_some_and(|from| from < index) {
            outer.push((table, own.map_or(alias, |own| quote(&own))));
        }
        index += 3;
    }
    (edits, outer, used)
}

/// The FROM of the outer query, which is not that of `IS DISTINCT FROM`.
fn outer_from(tokens: &Tokens<'_>, select: usize) -> Option<usize> {
    let mut from = tokens.top_level(select, "from")?;
    while tokens.is_word(from - 1, "distinct") {
        from = tokens.top_level(from + 1, "from")?;
    }
    Some(from)
}

/// The table that `schema . table` at token `index` names.
fn table_at(tokens: &Tokens<'_>, index: usize, tables: &[Table]) -> Option<usize> {
    let after_dot = index > 0 && tokens.is_mark(index - 1, ".");
    if after_dot || !tokens.is_mark(index + 1, ".") {
        return None;
    }
    let (schema, name) = (tokens.identifier(index)?, tokens.identifier(index + 2)?);
    tables.iter().position(|table| table.sql_schema == schema && table.sql_name == name)
}

/// The alias that the query gives to the table before token `index`.
fn own_alias(tokens: &Tokens<'_>, index: usize) -> Option<String> {
    if tokens.is_word(index, "as") {
        return tokens.identifier(index + 1);
    }
    let word = tokens.identifier(index)?;
    let keyword = tokens.tokens[index].kind == Kind::Word && AFTER_TABLE.contains(&word.as_str());
    (!keyword).then_some(word)
}

/// Whether rows are told by an aggregate; `None` when they cannot be told.
fn tell_rows(tokens: &Tokens<'_>, select: usize) -> Option<bool> {
    let untold = ["union", "intersect", "except"]
        .iter()
        .any(|word| tokens.top_level(select, word).is_some())
        || tokens.is_word(select + 1, "distinct");
    if untold {
        return None;
    }
    let grouped = tokens.top_level(select, "group").is_some();
    Some(grouped || (select..tokens.tokens.len()).any(|index| is_aggregate(tokens, index)))
}

/// Whether an aggregate function of the outer query is called at token `index`:
/// not of a nested query, not over a window, not the scalar `min(a, b)`.
fn is_aggregate(tokens: &Tokens<'_>, index: usize) -> bool {
    let Some(word) = tokens.identifier(index) else { return false };
    if !AGGREGATES.contains(&word.as_str()) || !tokens.is_mark(index + 1, "(") {
        return false;
    }
    let depth = tokens.tokens[index].depth;
    // Any open parenthesis around it that a SELECT follows is a nested query.
    let mut around = depth;
    for before in (0..index).rev() {
        if around == 0 {
            break;
        }
        if tokens.is_mark(before, "(") && tokens.tokens[before].depth + 1 == around {
            if tokens.is_word(before + 1, "select") || tokens.is_word(before + 1, "with") {
                return false;
            }
            around -= 1;
        }
    }
    let Some(close) = (index + 2..tokens.tokens.len())
        .find(|&at| tokens.is_mark(at, ")") && tokens.tokens[at].depth == depth)
    else {
        return false;
    };
    let commas = (index + 2..close)
        .filter(|&at| tokens.is_mark(at, ",") && tokens.tokens[at].depth == depth + 1)
        .count();
    if commas > 0 && (word == "min" || word == "max") {
        return false;
    }
    let mut after = close + 1;
    if tokens.is_word(after, "filter") {
        after = (after + 2..tokens.tokens.len())
            .find(|&at| tokens.is_mark(at, ")") && tokens.tokens[at].depth == depth)
            .map_or(after, |at| at + 1);
    }
    !tokens.is_word(after, "over")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{ColumnType, TableKind, TableSpec, reserved_schemas, standalone};
    use hufu_proof::Name;

    fn tables() -> Vec<Table> {
        let name = |text: &str| Name::new(text).unwrap();
        let spec = |table: &str, kind| TableSpec {
            name: name(table),
            kind,
            columns: vec![("id".into(), ColumnType::Text), ("paid".into(), ColumnType::Int)],
            telling: hufu_contract::Telling::default(),
        };
        let specs = [spec("lease", TableKind::Asset), spec("reading", TableKind::Stream)];
        standalone(&name("equipment-leasing"), &specs, &mut reserved_schemas(), &mut 0)
    }

    fn sql(text: &str) -> String {
        rewrite(text, &tables()).unwrap().sql
    }

    fn traced(text: &str) -> Option<String> {
        rewrite(text, &tables()).unwrap().traced.map(|traced| traced.sql)
    }

    const LEASE: &str = "\"hufu:equipment_leasing.lease\"";

    #[test]
    fn tables_become_views_with_their_names() {
        assert_eq!(
            sql(
                "SELECT lease.id, equipment_leasing.lease.paid FROM Equipment_Leasing.\"lease\" WHERE 1"
            ),
            format!("SELECT lease.id, \"lease\".paid FROM {LEASE} AS \"lease\" WHERE 1")
        );
        assert_eq!(
            sql("SELECT * FROM equipment_leasing.lease l, equipment_leasing.lease AS m"),
            format!("SELECT * FROM {LEASE} l, {LEASE} AS m")
        );
        assert_eq!(
            sql("SELECT 1 WHERE 1 IN equipment_leasing.lease"),
            format!("SELECT 1 WHERE 1 IN {LEASE}")
        );
        assert_eq!(
            sql("SELECT 'equipment_leasing.lease' -- equipment_leasing.lease"),
            "SELECT 'equipment_leasing.lease' -- equipment_leasing.lease"
        );
        assert_eq!(sql("SELECT * FROM main.t1"), "SELECT * FROM main.t1");
    }

    #[test]
    fn rows_are_told_where_they_can_be() {
        let from = "FROM equipment_leasing.lease l";
        assert_eq!(
            traced(&format!("SELECT id {from}")).unwrap(),
            format!("SELECT id , \"l\"._row FROM {LEASE} l")
        );
        assert_eq!(
            traced(&format!("SELECT id, max(paid, 1) {from} GROUP BY id")).unwrap(),
            format!(
                "SELECT id, max(paid, 1) , \"hufu:rows\"(\"l\"._row) FROM {LEASE} l GROUP BY id"
            )
        );
        for aggregate in ["count(*)", "1 + sum(paid)", "max(paid)", "count(*) FILTER (WHERE 1)"] {
            let told = traced(&format!("SELECT {aggregate} {from}")).unwrap();
            assert!(told.contains(ROWS), "{told}");
        }
        for plain in [
            "max(paid, 1)",
            "(SELECT count(*) FROM equipment_leasing.reading)",
            "sum(paid) OVER (PARTITION BY id)",
            "count(*) FILTER (WHERE 1) OVER ()",
        ] {
            let told = traced(&format!("SELECT {plain} {from}")).unwrap();
            assert!(!told.contains(ROWS), "{told}");
        }
        for untold in [
            "SELECT DISTINCT id FROM equipment_leasing.lease",
            "SELECT id FROM equipment_leasing.lease UNION SELECT 1",
            "SELECT 1",
            "WITH x AS (SELECT * FROM equipment_leasing.lease) SELECT * FROM x",
        ] {
            assert!(traced(untold).is_none(), "{untold}");
        }
        let both = rewrite(
            "WITH x AS (SELECT 1) SELECT 1 FROM equipment_leasing.lease JOIN equipment_leasing.reading",
            &tables(),
        );
        assert_eq!(both.unwrap().traced.unwrap().tables, [0, 1]);
    }

    #[test]
    fn order_and_limit_of_the_outer_query() {
        let rewritten = rewrite(
            "SELECT (SELECT 1 LIMIT 1) FROM equipment_leasing.lease ORDER BY paid DESC, \"id\"",
            &tables(),
        )
        .unwrap();
        assert_eq!(rewritten.ordered_by, ["paid", "desc", "id"]);
        assert!(!rewritten.limited);
        let rewritten = rewrite("SELECT 1 ORDER BY 1 LIMIT :n", &tables()).unwrap();
        assert!(rewritten.limited);
        assert_eq!(rewritten.parameters, ["n"]);
        assert!(rewrite("DELETE FROM equipment_leasing.lease", &tables()).is_err());
        assert!(rewrite("", &tables()).is_err());
    }
}
