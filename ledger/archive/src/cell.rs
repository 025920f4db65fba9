//! From values of the ledger to cells of a table.

use hufu_proof::{UnixMillis, Value};
use serde_json::Value as Json;

/// A cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number; a decimal in units of its last one; a time in milliseconds.
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Cell {
    pub(crate) fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    pub(crate) fn optional(value: Option<impl ToString>) -> Self {
        value.map_or(Self::Null, Self::text)
    }

    /// A height, a count or a place. None of them gets to 2^63; what does is held there.
    pub(crate) fn number(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub(crate) fn time(value: UnixMillis) -> Self {
        Self::number(value.get())
    }

    /// Bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Bool(_) => 2,
            Self::Int(_) => 9,
            Self::Text(text) => text.len() + 5,
            Self::Bytes(bytes) => bytes.len() + 5,
        }
    }

    /// As an identifier or a name that people write.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a height, a count or a place.
    pub(crate) fn as_number(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Int(number) | Value::Decimal(number) => Self::Int(*number),
            Value::Time(time) => Self::number(*time),
            Value::Text(text) | Value::Symbol(text) | Value::Id(text) | Value::Ref(text) => {
                Self::Text(text.clone())
            }
            Value::Digest(digest) => Self::text(digest),
            Value::Member(name) => Self::text(name),
            Value::Identity(identity) => Self::text(identity),
            Value::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Value::List(items) => list(items.iter()),
            Value::Set(items) => list(items.iter()),
        }
    }
}

/// A JSON array, as in queries.
fn list<'a>(items: impl Iterator<Item = &'a Value>) -> Cell {
    Cell::Text(Json::Array(items.map(json).collect()).to_string())
}

fn json(value: &Value) -> Json {
    match Cell::from(value) {
        Cell::Null => Json::Null,
        Cell::Bool(truth) => Json::from(i64::from(truth)),
        Cell::Int(number) => Json::from(number),
        Cell::Text(text) => Json::String(text),
        Cell::Bytes(bytes) => {
            Json::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
    }
}
