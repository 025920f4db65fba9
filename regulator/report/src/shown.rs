//! How people read a result: titles, the form of values, words for symbols,
//! limits. It comes from the contract package and stands in the report, so that
//! whoever verifies the file renders it again without the package.

use std::collections::BTreeMap;
use std::fmt;

use hufu_proof::Name;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::model::{ControlResult, Title};

/// What the values of a column are. In JSON `{"type":"decimal","scale":3}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Form {
    /// 0 is no, 1 is yes.
    Bool,
    /// A whole number.
    Int {
        /// Its unit, as the contract writes it; `ms` is a length of time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// A number in units of its last decimal: 92408 with a scale of 3 is 92.408.
    Decimal {
        /// Decimals.
        scale: u8,
        /// Its unit, as the contract writes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// Milliseconds since 1970.
    Time,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// A JSON array.
    List,
    /// Not known: a value is shown as it is.
    #[default]
    Plain,
}

impl fmt::Display for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = match self {
            Self::Bool => ("bool", None),
            Self::Int { unit } => ("int", unit.as_ref()),
            Self::Decimal { scale, unit } => {
                write!(formatter, "decimal({scale})")?;
                ("", unit.as_ref())
            }
            Self::Time => ("time", None),
            Self::Text => ("text", None),
            Self::Bytes => ("bytes", None),
            Self::List => ("list", None),
            Self::Plain => ("plain", None),
        };
        formatter.write_str(name)?;
        unit.map_or(Ok(()), |unit| write!(formatter, " in {unit}"))
    }
}

impl Form {
    /// Whether `cell` can be a value of it. Nothing is of every form.
    pub fn fits(&self, cell: &Cell) -> bool {
        match (self, cell) {
            (Self::Plain, _) | (_, Cell::Null) => true,
            (Self::Bool, Cell::Integer(number)) => (0..=1).contains(number),
            (Self::Int { .. } | Self::Decimal { .. } | Self::Time, Cell::Integer(_)) => true,
            (Self::Text | Self::List, Cell::Text(_)) | (Self::Bytes, Cell::Bytes(_)) => true,
            _ => false,
        }
    }

    /// Whether its values are numbers, to be written to the right.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int { .. } | Self::Decimal { .. })
    }
}

/// A column of a result, or a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name for people.
    pub title: Title,
    /// What its values are.
    pub form: Form,
    /// What it says of a finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The list of words for its symbols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Name>,
    /// The column whose word tells the unit of its numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_by: Option<String>,
}

/// What a column says of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// Its name for people.
    pub title: Title,
    /// The unit of the numbers beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Values drawn beside limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The column of the lowest value, where it is another than `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The column of the highest value.
    pub to: String,
    /// What values should not be under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<Bound>,
    /// What values should not be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<Bound>,
}

/// Where a limit stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// In a column.
    Column(String),
    /// In a parameter.
    Parameter(Name),
}

/// How the result of a control is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The clause it implements, by language.
    pub clause: Title,
    /// The column of the subject.
    pub subject: String,
    /// The column that tells findings on one subject apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// The column of the member that answers for a finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The columns, in their order.
    pub columns: Vec<Column>,
    /// The parameters.
    pub parameters: BTreeMap<Name, Column>,
    /// What is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

impl Shown {
    /// Checks that it belongs to `control`: every column and parameter is there,
    /// and what it names is one of them.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(crate) fn check(&self, control: &ControlResult) -> Result<(), String> {
        if self.columns.len() != control.columns.len() {
            return Err("not every column is shown".into());
        }
        if !self.parameters.keys().eq(control.parameters.keys()) {
            return Err("not every parameter is shown".into());
        }
        let range = self.range.iter();
        let bounds = range.clone().flat_map(|range| range.low.iter().chain(&range.high));
        let mut named = vec![&self.subject];
        named.extend(self.each.iter().chain(&self.owner));
        named.extend(range.flat_map(|range| range.from.iter().chain([&range.to])));
        named.extend(self.columns.iter().filter_map(|column| column.unit_by.as_ref()));
        for bound in bounds {
            match bound {
                Bound::Column(name) => named.push(name),
                Bound::Parameter(name) if self.parameters.contains_key(name) => {}
                Bound::Parameter(name) => return Err(format!("there is no parameter `{name}`")),
            }
        }
        match named.into_iter().find(|name| !control.columns.contains(name)) {
            None => Ok(()),
            Some(name) => Err(format!("there is no column `{name}`")),
        }
    }
}
