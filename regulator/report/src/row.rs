//! One finding's row, with what the report says of its columns.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::cell::Cell;
use crate::message::{Language, message, title};
use crate::model::{ControlResult, Finding, Report};
use crate::shown::{Bound, Column, Form, Role, Shown, Words};
use crate::style::{Style, word};
use hufu_proof::text::shown as visible;

/// The columns of a control's result.
pub(crate) struct Columns<'a> {
    pub(crate) control: &'a ControlResult,
    pub(crate) shown: Cow<'a, Shown>,
    pub(crate) since: Option<usize>,
    pub(crate) until: Option<usize>,
    pub(crate) times: Option<usize>,
    words: &'a BTreeMap<hufu_proof::Name, Words>,
}

/// How far a value is beyond a limit, for people.
#[derive(Serialize)]
pub(crate) struct Excess {
    value: String,
    limit: String,
    beyond: String,
}

/// Values and limits of one finding, as numbers.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) low: Option<i64>,
    pub(crate) high: Option<i64>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(report: &'a Report, control: &'a ControlResult) -> Self {
        let shown = match &control.shown {
            Some(shown) => Cow::Borrowed(shown),
            // A report of the first format says nothing of its columns.
            None => Cow::Owned(plain(control)),
        };
        let role = |role: Role| shown.columns.iter().position(|one| one.role == Some(role));
        let (since, until, times) = (role(Role::Since), role(Role::Until), role(Role::Times));
        Self { control, shown, since, until, times, words: &report.words }
    }

    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.control.columns.iter().position(|column| column == name)
    }

    pub(crate) fn cell<'f>(&self, finding: &'f Finding, name: &str) -> Option<&'f Cell> {
        finding.row.get(self.place(name)?)
    }

    pub(crate) fn title(&self, name: &str, language: Language) -> String {
        let column = self.place(name).and_then(|place| self.shown.columns.get(place));
        let text = column.map_or(name, |column| title(&column.title, language, name));
        visible(text).into_owned()
    }

    /// Columns that have no place of their own in a table of findings.
    pub(crate) fn others(&self) -> Vec<&str> {
        let shown = &self.shown;
        let range = shown.range.iter();
        let bounds = range.clone().flat_map(|range| range.low.iter().chain(&range.high));
        let mut placed: Vec<&str> = vec![&shown.subject];
        placed.extend(shown.each.iter().chain(&shown.owner).map(String::as_str));
        placed.extend(range.flat_map(|one| one.from.iter().chain([&one.to])).map(String::as_str));
        placed.extend(bounds.filter_map(|bound| match bound {
            Bound::Column(name) => Some(name.as_str()),
            Bound::Parameter(_) => None,
        }));
        let names = self.control.columns.iter().zip(&shown.columns);
        names
            .filter(|(name, column)| column.role.is_none() && !placed.contains(&name.as_str()))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The unit of a row's numbers that another column tells.
    pub(crate) fn unit_beside<'f>(
        &'f self,
        column: &Column,
        finding: &'f Finding,
    ) -> Option<&'f str> {
        let by = self.place(column.unit_by.as_deref()?)?;
        let words = self.words.get(self.shown.columns.get(by)?.words.as_ref()?)?;
        match finding.row.get(by)? {
            Cell::Text(symbol) => words.get(symbol)?.unit.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn words(&self, column: &Column) -> Option<&Words> {
        self.words.get(column.words.as_ref()?)
    }

    /// Values and limits, where there is a value.
    pub(crate) fn measured(&self, finding: &Finding) -> Option<Measured> {
        let range = self.shown.range.as_ref()?;
        let number = |name: &str| match self.cell(finding, name)? {
            Cell::Integer(number) => Some(*number),
            _ => None,
        };
        let limit = |bound: &Option<Bound>| match bound.as_ref()? {
            Bound::Column(name) => number(name),
            Bound::Parameter(name) => match self.control.parameters.get(name)? {
                Cell::Integer(number) => Some(*number),
                _ => None,
            },
        };
        let to = number(&range.to)?;
        let from = range.from.as_ref().map_or(Some(to), |name| number(name)).unwrap_or(to);
        Some(Measured { from, to, low: limit(&range.low), high: limit(&range.high) })
    }

    /// How far a finding is beyond its limit, in thousandths of the limit, so that
    /// degrees compare with millimetres.
    pub(crate) fn beyond(&self, finding: &Finding) -> i128 {
        let Some(Measured { from, to, low, high }) = self.measured(finding) else { return 0 };
        let part = |excess: i128, limit: i64| excess * 1000 / i128::from(limit).abs().max(1);
        let over = high.map(|high| part(i128::from(to) - i128::from(high), high));
        let under = low.map(|low| part(i128::from(low) - i128::from(from), low));
        over.max(under).unwrap_or(0)
    }
}

/// One row, to be read.
pub(crate) struct Row<'a> {
    pub(crate) columns: &'a Columns<'a>,
    pub(crate) finding: &'a Finding,
    pub(crate) style: Style,
}

impl Row<'_> {
    /// The value of a column, as people read it.
    pub(crate) fn text(&self, name: &str) -> String {
        self.columns.place(name).map(|place| self.at(place)).unwrap_or_default()
    }

    /// Whether a column has a value.
    pub(crate) fn says(&self, name: &str) -> bool {
        match self.columns.cell(self.finding, name) {
            None | Some(Cell::Null) => false,
            Some(Cell::Text(text)) => !text.is_empty(),
            Some(_) => true,
        }
    }

    pub(crate) fn at(&self, place: usize) -> String {
        let Some(cell) = self.finding.row.get(place) else { return String::new() };
        let Some(column) = self.columns.shown.columns.get(place) else {
            return visible(&cell.to_string()).into_owned();
        };
        if let (Cell::Text(symbol), Some(words)) = (cell, self.columns.words(column)) {
            return word(Some(words), symbol, self.style.language).into_owned();
        }
        self.style.value(cell, &column.form, self.columns.unit_beside(column, self.finding))
    }

    /// Each value that is beyond its limit, with the limit and by how much; the
    /// value alone where none is.
    pub(crate) fn excesses(&self) -> Vec<Excess> {
        let columns = self.columns;
        let (Some(measured), Some(range)) =
            (columns.measured(self.finding), columns.shown.range.as_ref())
        else {
            return Vec::new();
        };
        let Some(column) = columns.place(&range.to).and_then(|one| columns.shown.columns.get(one))
        else {
            return Vec::new();
        };
        let unit = columns.unit_beside(column, self.finding);
        let number = |number: i128| self.style.number(number, &column.form, unit);
        let limit = |key: &str, limit: i64| {
            format!("{} {}", message(self.style.language, key), number(limit.into()))
        };
        let mut found = Vec::new();
        if let Some(high) = measured.high
            && measured.to > high
        {
            let beyond = i128::from(measured.to) - i128::from(high);
            found.push(Excess {
                value: number(measured.to.into()),
                limit: limit("limit-high", high),
                beyond: format!("+{}", number(beyond)),
            });
        }
        if let Some(low) = measured.low
            && measured.from < low
        {
            let beyond = i128::from(low) - i128::from(measured.from);
            found.push(Excess {
                value: number(measured.from.into()),
                limit: limit("limit-low", low),
                beyond: format!("−{}", number(beyond)),
            });
        }
        if found.is_empty() {
            let limits = [("limit-low", measured.low), ("limit-high", measured.high)];
            let limits = limits.into_iter().filter_map(|(key, one)| Some(limit(key, one?)));
            found.push(Excess {
                value: number(measured.to.into()),
                limit: limits.collect::<Vec<_>>().join(message(self.style.language, "list")),
                beyond: String::new(),
            });
        }
        found
    }
}

/// What there is to say of columns of which nothing is said.
fn plain(control: &ControlResult) -> Shown {
    let column = |name: &str| Column {
        title: BTreeMap::from([("en".to_owned(), name.to_owned())]),
        form: Form::Plain,
        role: None,
        words: None,
        unit_by: None,
    };
    Shown {
        clause: BTreeMap::new(),
        subject: control.columns.first().cloned().unwrap_or_default(),
        each: None,
        owner: None,
        columns: control.columns.iter().map(|name| column(name)).collect(),
        parameters: control
            .parameters
            .keys()
            .map(|name| (name.clone(), column(name.as_str())))
            .collect(),
        range: None,
    }
}
