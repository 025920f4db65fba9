//! What the values of a query's columns are, so that `92408` is read as 92.408.
//!
//! SQLite itself tells of a column of the result which column of which table it
//! is ([`rusqlite::ColumnMetadata`]); the table's contract says what that holds.
//! Of an expression it tells nothing, so its columns are asked for one by one, in
//! a *probe*: the same FROM with the bare columns as its result, which is prepared
//! and never run. What is made of them keeps its meaning through
//!
//! - `min`, `max`, `abs`, `coalesce`, `ifnull` of values that mean the same, and
//!   `sum` of numbers;
//! - `+` and `-` of numbers that mean the same; the difference of two times is a
//!   length of time in milliseconds.
//!
//! Everything else is a plain number or text and is shown as it is. So is all of a
//! query with UNION, INTERSECT or EXCEPT, where a column has more than one origin.

use hufu_contract::Type;
use hufu_report::Form;
use rusqlite::Statement;

use crate::catalogue::{ColumnType, Table};
use crate::sql::{Kind, Tokens};

/// What an expression of the result is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// A column, by its place in the probe.
    Column(usize),
    /// Nothing: NULL, which is of every form.
    Nothing,
    /// The block's time.
    AsOfTime,
    /// A whole number that counts.
    Count,
    /// One of several values that must mean the same.
    OneOf(Vec<Made>),
    /// A sum.
    Sum(Box<Made>),
    /// `+`.
    Plus(Box<Made>, Box<Made>),
    /// `-`.
    Minus(Box<Made>, Box<Made>),
    /// Something else.
    Other,
}

/// The expressions of a query's result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expressions {
    /// What each is made of, where every column of the result is one of them.
    pub(crate) made: Vec<Made>,
    /// The columns to ask for, by their places in the text.
    pub(crate) columns: Vec<(usize, usize)>,
    /// Where the list of expressions begins and ends in the text.
    pub(crate) list: (usize, usize),
    /// Where the FROM clause ends.
    pub(crate) end: usize,
}

impl Expressions {
    /// Of a query whose outer SELECT is token number `select` and whose outer FROM
    /// token number `from`. `None` where more than one SELECT gives the rows.
    pub(crate) fn of(tokens: &Tokens<'_>, select: usize, from: usize) -> Option<Self> {
        let several = ["union", "intersect", "except"];
        if (0..tokens.tokens.len()).any(|one| several.iter().any(|word| tokens.is_word(one, word)))
        {
            return None;
        }
        let mut first = select + 1;
        if tokens.is_word(first, "distinct") || tokens.is_word(first, "all") {
            first += 1;
        }
        let clauses = ["where", "group", "having", "window", "order", "limit"];
        let end = (from + 1..tokens.tokens.len()).find(|&index| {
            tokens.tokens[index].depth == 0
                && clauses.iter().any(|clause| tokens.is_word(index, clause))
        });
        let place =
            |index: usize| tokens.tokens.get(index).map_or(tokens.text.len(), |one| one.begin);
        let mut found = Self {
            list: (place(first), place(from)),
            end: end.map_or(tokens.text.len(), place),
            ..Self::default()
        };
        for (begin, end) in split(tokens, first, from, ",") {
            let end = without_alias(tokens, begin, end);
            // A `*` stands for columns that are not counted here.
            if (begin..end).last().is_some_and(|last| tokens.is_mark(last, "*")) {
                found.made.clear();
                found.columns.clear();
                return Some(found);
            }
            let made = found.read(tokens, begin, end);
            found.made.push(made);
        }
        Some(found)
    }

    fn read(&mut self, tokens: &Tokens<'_>, begin: usize, end: usize) -> Made {
        if end <= begin {
            return Made::Other;
        }
        if closes(tokens, begin, end) {
            return self.read(tokens, begin + 1, end - 1);
        }
        if let Some(made) = self.sum(tokens, begin, end) {
            return made;
        }
        if end == begin + 1 {
            return match tokens.tokens[begin].kind {
                Kind::Word if tokens.is_word(begin, "null") => Made::Nothing,
                Kind::Word | Kind::Quoted => self.column(tokens, begin, end),
                Kind::Parameter if tokens.shown(begin) == ":as_of_time" => Made::AsOfTime,
                _ => Made::Other,
            };
        }
        let name = |index: usize| {
            tokens
                .tokens
                .get(index)
                .is_some_and(|one| matches!(one.kind, Kind::Word | Kind::Quoted))
        };
        let dotted = (begin..end).all(|index| {
            if (index - begin).is_multiple_of(2) { name(index) } else { tokens.is_mark(index, ".") }
        });
        if dotted && !(end - begin).is_multiple_of(2) {
            return self.column(tokens, begin, end);
        }
        if name(begin) && closes(tokens, begin + 1, end) {
            return self.call(tokens, begin, end);
        }
        Made::Other
    }

    fn column(&mut self, tokens: &Tokens<'_>, begin: usize, end: usize) -> Made {
        self.columns.push((tokens.tokens[begin].begin, tokens.tokens[end - 1].end));
        Made::Column(self.columns.len() - 1)
    }

    /// `name(…)`, from `begin` to `end`.
    fn call(&mut self, tokens: &Tokens<'_>, begin: usize, end: usize) -> Made {
        let arguments = split(tokens, begin + 2, end - 1, ",");
        let name = tokens.identifier(begin).unwrap_or_default();
        match (name.as_str(), arguments.as_slice()) {
            ("count" | "length" | "row_number" | "rank" | "dense_rank", _) => Made::Count,
            ("sum", &[(begin, end)]) => Made::Sum(Box::new(self.read(tokens, begin, end))),
            ("min" | "max" | "abs" | "coalesce" | "ifnull", arguments) => Made::OneOf(
                arguments.iter().map(|&(begin, end)| self.read(tokens, begin, end)).collect(),
            ),
            _ => Made::Other,
        }
    }

    /// `… + …` or `… - …` and nothing that binds otherwise.
    fn sum(&mut self, tokens: &Tokens<'_>, begin: usize, end: usize) -> Option<Made> {
        let depth = tokens.tokens[begin].depth;
        let mut at = None;
        for index in begin..end {
            let token = tokens.tokens[index];
            if token.depth != depth || token.kind != Kind::Mark {
                continue;
            }
            match tokens.shown(index) {
                "(" | ")" | "." => {}
                // With something in front, or it is a sign.
                "+" | "-" if index > begin && !is_operator(tokens, index - 1) => at = Some(index),
                _ => return Some(Made::Other),
            }
        }
        let at = at?;
        let words = begin..end;
        let keyword = |index: usize| {
            ["case", "is", "in", "not", "and", "or", "like", "between", "collate", "over", "filter"]
                .iter()
                .any(|word| tokens.tokens[index].depth == depth && tokens.is_word(index, word))
        };
        if words.into_iter().any(keyword) {
            return Some(Made::Other);
        }
        let left = Box::new(self.read(tokens, begin, at));
        let right = Box::new(self.read(tokens, at + 1, end));
        Some(if tokens.is_mark(at, "+") {
            Made::Plus(left, right)
        } else {
            Made::Minus(left, right)
        })
    }
}

fn is_operator(tokens: &Tokens<'_>, index: usize) -> bool {
    tokens.tokens[index].kind == Kind::Mark && tokens.shown(index) != ")"
}

/// Whether the tokens from `begin` to `end` are one pair of parentheses.
fn closes(tokens: &Tokens<'_>, begin: usize, end: usize) -> bool {
    if end < begin + 2 || !tokens.is_mark(begin, "(") || !tokens.is_mark(end - 1, ")") {
        return false;
    }
    let depth = tokens.tokens[begin].depth;
    (begin + 1..end - 1).all(|index| tokens.tokens[index].depth > depth)
        && tokens.tokens[end - 1].depth == depth
}

/// The parts between marks at the depth of the first token.
fn split(tokens: &Tokens<'_>, begin: usize, end: usize, mark: &str) -> Vec<(usize, usize)> {
    let Some(depth) = tokens.tokens.get(begin).map(|token| token.depth) else { return Vec::new() };
    let mut parts = Vec::new();
    let mut from = begin;
    for index in begin..end {
        if tokens.tokens[index].depth == depth && tokens.is_mark(index, mark) {
            parts.push((from, index));
            from = index + 1;
        }
    }
    if from < end {
        parts.push((from, end));
    }
    parts
}

/// Where an expression of the result ends before `AS name`, or before a name that
/// stands for itself after it.
fn without_alias(tokens: &Tokens<'_>, begin: usize, end: usize) -> usize {
    let depth = tokens.tokens.get(begin).map_or(0, |token| token.depth);
    let named = (begin + 1..end)
        .find(|&index| tokens.tokens[index].depth == depth && tokens.is_word(index, "as"));
    if let Some(named) = named {
        return named;
    }
    let name = |index: usize| matches!(tokens.tokens[index].kind, Kind::Word | Kind::Quoted);
    let bare = end >= begin + 2
        && name(end - 1)
        && !tokens.is_word(end - 1, "end")
        && !tokens.is_word(end - 1, "null")
        && (name(end - 2) || tokens.is_mark(end - 2, ")"));
    if bare { end - 1 } else { end }
}

/// What the columns of a prepared statement hold, where they are columns of
/// `tables`.
pub(crate) fn origins(statement: &Statement<'_>, tables: &[Table]) -> Vec<Option<Form>> {
    let origin = |column: rusqlite::ColumnMetadata<'_>| {
        let (physical, name) = (column.table_name()?, column.origin_name()?);
        let table = tables.iter().find(|table| table.physical == physical)?;
        let column = table.columns.iter().find(|column| column.physical == name)?;
        Some(form(&column.column_type))
    };
    statement.columns_with_metadata().map(origin).collect()
}

/// What a column's values are.
pub fn form(column: &ColumnType) -> Form {
    match column {
        ColumnType::Bool => Form::Bool,
        ColumnType::Int => Form::Int { unit: None },
        ColumnType::Decimal { scale } => Form::Decimal { scale: *scale, unit: None },
        ColumnType::Time => Form::Time,
        ColumnType::Text => Form::Text,
        ColumnType::Bytes => Form::Bytes,
        ColumnType::List => Form::List,
    }
}

/// What the values of a contract's type are.
pub fn declared(ty: &Type) -> Form {
    let unit = || {
        let unit = ty.unit();
        (!unit.is_count()).then(|| unit.to_string())
    };
    match ty {
        Type::Bool => Form::Bool,
        Type::Int { .. } => Form::Int { unit: unit() },
        Type::Decimal { scale, .. } => Form::Decimal { scale: *scale, unit: unit() },
        Type::Time { .. } => Form::Time,
        Type::Bytes { .. } => Form::Bytes,
        Type::List { .. } | Type::Set { .. } => Form::List,
        Type::Text { .. }
        | Type::Symbol
        | Type::Id
        | Type::Digest
        | Type::Member
        | Type::Identity
        | Type::Ref { .. } => Form::Text,
    }
}

/// Whether what a query gives can be what a package says that it is. What is not
/// known of it can be anything; the unit of a column is the package's to say.
pub fn fits(given: &Form, declared: &Form) -> bool {
    match (given, declared) {
        (Form::Plain, _) => true,
        (Form::Int { unit: None }, Form::Int { .. }) => true,
        (Form::Decimal { scale: one, .. }, Form::Decimal { scale: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

/// The form of what is made of columns of these forms; `None` is not known.
pub(crate) fn form_of(made: &Made, columns: &[Option<Form>]) -> Option<Form> {
    let known = |made: &Made| form_of(made, columns);
    match made {
        Made::Column(place) => columns.get(*place)?.clone(),
        Made::AsOfTime => Some(Form::Time),
        Made::Count => Some(Form::Int { unit: None }),
        Made::Nothing | Made::Other => None,
        Made::OneOf(several) => {
            let mut several = several.iter().filter(|one| **one != Made::Nothing).map(known);
            let first = several.next()??;
            several.all(|one| one.as_ref() == Some(&first)).then_some(first)
        }
        Made::Sum(of) => known(of).filter(Form::is_number),
        Made::Plus(left, right) => match (known(left)?, known(right)?) {
            (left, right) if left == right && left.is_number() => Some(left),
            (Form::Time, Form::Int { unit: Some(unit) })
            | (Form::Int { unit: Some(unit) }, Form::Time)
                if unit == "ms" =>
            {
                Some(Form::Time)
            }
            _ => None,
        },
        Made::Minus(left, right) => match (known(left)?, known(right)?) {
            (Form::Time, Form::Time) => Some(Form::Int { unit: Some("ms".into()) }),
            (Form::Time, Form::Int { unit: Some(unit) }) if unit == "ms" => Some(Form::Time),
            (left, right) if left == right && left.is_number() => Some(left),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expressions(text: &str) -> Option<Expressions> {
        let tokens = Tokens::new(text).unwrap();
        let from = tokens.top_level(0, "from").unwrap();
        Expressions::of(&tokens, tokens.top_level(0, "select").unwrap(), from)
    }

    /// The form of the only expression, where `d` and `e` are decimals, `t` and `u`
    /// times, and `n` a whole number.
    fn known(expression: &str) -> Option<Form> {
        let text = format!("SELECT {expression} FROM x WHERE 1");
        let found = expressions(&text)?;
        let columns: Vec<Option<Form>> = found
            .columns
            .iter()
            .map(|&(begin, end)| match &text[begin..end] {
                "d" | "a.d" | "e" => Some(Form::Decimal { scale: 3, unit: None }),
                "t" | "u" => Some(Form::Time),
                "n" => Some(Form::Int { unit: None }),
                _ => None,
            })
            .collect();
        form_of(found.made.first()?, &columns)
    }

    #[test]
    fn what_keeps_its_meaning_is_known() {
        let decimal = || Some(Form::Decimal { scale: 3, unit: None });
        for text in [
            "d",
            "a.d AS x",
            "max(d)",
            "max(a.d) highest",
            "MIN(d) AS d",
            "sum(d)",
            "(d)",
            "coalesce(max(d), NULL, e)",
            "d + e",
            "d - (e + d)",
            "sum(d - e) AS x",
            "abs(d - e)",
            "max(d, e)",
            "DISTINCT d",
        ] {
            assert_eq!(known(text), decimal(), "{text}");
        }
        for text in ["t", "max(t)", "coalesce(max(t), u)", ":as_of_time"] {
            assert_eq!(known(text), Some(Form::Time), "{text}");
        }
        for text in ["t - u", "max(t - u)", ":as_of_time - coalesce(max(t), u) AS silent_for"] {
            assert_eq!(known(text), Some(Form::Int { unit: Some("ms".into()) }), "{text}");
        }
    }

    #[test]
    fn what_does_not_is_not() {
        for text in [
            "d * 2",
            "d * e",
            "d / 1000",
            "d || e",
            "d + 1",
            "1 + d",
            "d + t",
            "t + u",
            "sum(t)",
            "max(d, t)",
            "-d",
            "d - -e",
            "d > e",
            "d - e > 0",
            "d = e",
            "CASE WHEN 1 THEN d END",
            "max(d) OVER ()",
            "x",
            "d + x",
            "lower(d)",
            "coalesce(d, 0)",
            "d - e + 1",
            "~d",
            "d - e AND 1",
            "d COLLATE nocase",
            "NULL",
            "(SELECT d FROM y)",
            "d - e - t",
        ] {
            assert_eq!(known(text), None, "{text}");
        }
        assert!(expressions("SELECT d FROM x UNION SELECT 1 FROM y").is_none());
        assert_eq!(expressions("SELECT *, d FROM x").unwrap().made, []);
        assert_eq!(expressions("SELECT a.*, d FROM x").unwrap().made, []);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "SELECT [-a-z(),.*+ :']{0,40} FROM x [a-z ]{0,20}") {
            if let Ok(tokens) = Tokens::new(&text)
                && let (Some(select), Some(from)) =
                    (tokens.top_level(0, "select"), tokens.top_level(0, "from"))
                && select < from
            {
                let _ = Expressions::of(&tokens, select, from);
            }
        }
    }
}
