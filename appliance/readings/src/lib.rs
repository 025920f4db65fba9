//! Readings from CSV (RFC 4180): a header that names the stream's columns, a row
//! a line.
//!
//! The rule for what a device signs: what is exact is taken, what could mean two
//! things is refused by name, with its line and column, and nothing is cut off.
//! Only spaces and tabs around a value, and the byte order mark of UTF-8, are
//! taken off. Names and codes that come in another normal form of Unicode are
//! sent in form C, which is said. Values are read by the contract's own types
//! (`hufu_contract::number`, `time`, `spelling`), so that what is refused here
//! and what the ledger refuses are the same.

mod file;

use anyhow::{Context as _, bail, ensure};
use hufu_contract::{ColumnDescription, Type, spelling, time};
use hufu_proof::{UnixMillis, Value};

/// Largest CSV file, in bytes.
pub const MAX_CSV: u64 = 256 * 1024 * 1024;

/// What a file of readings holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Readings {
    /// Rows, each with a value for every column in the order of the stream's.
    pub rows: Vec<Vec<Value>>,
    /// What was changed on the way, in sentences.
    pub notes: Vec<String>,
}

/// Between which times a reading is plausible.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// The device did not measure before: its certificate began.
    pub began: UnixMillis,
    /// Now, by the ledger; a column says how far a time may be ahead of it.
    pub now: UnixMillis,
}

/// Reads all rows.
///
/// # Errors
/// A sentence with the line, the column and what it takes.
pub fn from_csv(
    bytes: &[u8],
    columns: &[ColumnDescription],
    period: Period,
) -> anyhow::Result<Readings> {
    let text = file::text(bytes)?;
    file::separator(text)?;
    file::quotes(text)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().context("the header")?.clone();
    let places = file::places(&header, columns)?;
    let types = columns.iter().map(|column| column.ty().map_err(anyhow::Error::msg));
    let types = types.collect::<anyhow::Result<Vec<Type>>>()?;
    let mut readings = Readings { rows: Vec::new(), notes: Vec::new() };
    let mut respelt = vec![(0_usize, 0_u64); columns.len()];
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        ensure!(
            record.len() <= header.len(),
            "line {line} has {} fields, and the header names {}; a comma before decimals or \
             between thousands parts a number in two: write 1200.5",
            record.len(),
            header.len()
        );
        ensure!(
            record.len() == header.len(),
            "line {line} lacks a field: the header names {}, and it has {}; part them by commas",
            header.len(),
            record.len()
        );
        let mut row = Vec::with_capacity(columns.len());
        for (index, (ty, place)) in types.iter().zip(&places).enumerate() {
            let cell = trimmed(record.get(*place).unwrap_or_default());
            let value = value(cell, ty, period)
                .with_context(|| format!("line {line}, column `{}`", columns[index].name))?;
            if let Value::Symbol(kept) | Value::Id(kept) | Value::Ref(kept) = &value
                && kept != cell
            {
                let (count, first) = &mut respelt[index];
                *count += 1;
                *first = if *first == 0 { line } else { *first };
            }
            row.push(value);
        }
        readings.rows.push(row);
    }
    for (column, (count, first)) in columns.iter().zip(respelt).filter(|(_, (count, _))| *count > 0)
    {
        readings.notes.push(format!(
            "column `{}`: {count} values are written in another normal form of Unicode than C, the \
             first in line {first}; they are sent in form C, which looks the same",
            column.name
        ));
    }
    Ok(readings)
}

/// Without the spaces and tabs around it. No other space is taken off: it is
/// refused by name where it does not belong.
fn trimmed(cell: &str) -> &str {
    cell.trim_matches([' ', '\t'])
}

fn value(cell: &str, ty: &Type, period: Period) -> anyhow::Result<Value> {
    // Named for what it is, before the type says that it is none of its values.
    if !matches!(ty, Type::Text { .. }) {
        ensure!(!cell.is_empty(), "is empty; every row has a value for every column");
    }
    if let Type::Time { .. } | Type::Int { .. } | Type::Decimal { .. } = ty {
        ascii(cell)?;
    }
    let value = ty.parse(cell).map_err(anyhow::Error::msg)?;
    ty.check_time(&value, period.now).map_err(anyhow::Error::msg)?;
    if let Value::Time(measured) = value
        && measured < period.began.get()
    {
        let meant = time::guess(measured.into()).unwrap_or_default();
        bail!(
            "{measured} is {}, before the device's certificate began ({}){meant}; with \
             `--measured-from TIME` readings from before it are taken",
            time::format(measured),
            time::format(period.began.get())
        );
    }
    Ok(value)
}

/// Numbers and times are of ASCII: the types name what is wrong with a number,
/// and this what is wrong with anything else.
fn ascii(cell: &str) -> anyhow::Result<()> {
    let Some(other) = cell.chars().find(|character| !character.is_ascii()) else { return Ok(()) };
    // Characters that are not seen and spaces have one sentence everywhere.
    if !other.is_alphanumeric() {
        spelling::check(other.encode_utf8(&mut [0; 4]), 4).map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
