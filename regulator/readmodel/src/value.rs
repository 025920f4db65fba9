//! From values of the ledger to values of SQLite and of results.

use hufu_proof::Value;
use hufu_report::Cell;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use serde_json::Value as Json;

/// How a value is stored: see [`crate::ColumnType`].
pub fn cell(value: &Value) -> Cell {
    match value {
        Value::Bool(truth) => Cell::Integer(i64::from(*truth)),
        Value::Int(number) | Value::Decimal(number) => Cell::Integer(*number),
        Value::Time(time) => self::time(*time),
        Value::Text(text) | Value::Symbol(text) | Value::Id(text) | Value::Ref(text) => {
            Cell::Text(text.clone())
        }
        Value::Digest(digest) => Cell::Text(digest.to_string()),
        Value::Member(name) => Cell::Text(name.to_string()),
        Value::Identity(identity) => Cell::Text(identity.to_string()),
        Value::Bytes(bytes) => Cell::Bytes(bytes.clone()),
        Value::List(items) => json_list(items.iter().map(json)),
        Value::Set(items) => json_list(items.iter().map(json)),
    }
}

/// A time or count as SQLite holds it. What is over 2^63 - 1 cannot be a time
/// of this planet, and is held at that bound.
pub fn time(milliseconds: u64) -> Cell {
    Cell::Integer(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}

/// A JSON array of texts.
pub fn texts<T: ToString>(items: impl Iterator<Item = T>) -> Cell {
    json_list(items.map(|item| Json::String(item.to_string())))
}

fn json_list(items: impl Iterator<Item = Json>) -> Cell {
    // Without a map inside there is nothing whose order could vary.
    Cell::Text(Json::Array(items.collect()).to_string())
}

fn json(value: &Value) -> Json {
    match cell(value) {
        Cell::Null => Json::Null,
        Cell::Integer(number) => Json::from(number),
        Cell::Text(text) => Json::String(text),
        bytes @ Cell::Bytes(_) => Json::String(bytes.to_string()),
    }
}

/// A cell as a parameter of a statement.
pub struct Bound<'a>(pub &'a Cell);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Cell::Null => ValueRef::Null,
            Cell::Integer(number) => ValueRef::Integer(*number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
