//! Readings from CSV: a header that names the stream's columns, a row a line.

use anyhow::Context as _;
use hufu_proof::{Digest, IdentityId, Name, Value};
use serde::Deserialize;

/// Largest CSV file, in bytes.
pub const MAX_CSV: u64 = 256 * 1024 * 1024;

/// A column of a stream, as a gateway describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: Name,
    /// Its type, as contracts write it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digits after the point, for a decimal.
    #[serde(default)]
    pub scale: Option<u8>,
}

/// Reads all rows, each with a value for every column in the order of
/// `columns`.
///
/// # Errors
/// A sentence with the line, the column and what it takes.
pub fn from_csv(text: &[u8], columns: &[Column]) -> anyhow::Result<Vec<Vec<Value>>> {
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers().context("the header")?.clone();
    let mut places = Vec::new();
    for column in columns {
        let place = header.iter().position(|name| name.trim() == column.name.as_str());
        places.push(place.with_context(|| {
            format!("the header lacks `{}`: it must name every column of the stream", column.name)
        })?);
    }
    for name in &header {
        anyhow::ensure!(
            columns.iter().any(|column| column.name.as_str() == name.trim()),
            "the stream has no column `{name}`"
        );
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut row = Vec::with_capacity(columns.len());
        for (column, place) in columns.iter().zip(&places) {
            let cell = record.get(*place).unwrap_or_default().trim();
            row.push(
                value(cell, &column.kind, column.scale)
                    .with_context(|| format!("line {line}, column `{}`", column.name))?,
            );
        }
        rows.push(row);
    }
    Ok(rows)
}

/// A value of a contract type from text.
///
/// # Errors
/// A sentence that says what the type takes.
pub fn value(text: &str, kind: &str, scale: Option<u8>) -> anyhow::Result<Value> {
    Ok(match kind {
        "bool" => Value::Bool(text.parse().context("takes true or false")?),
        "int" => Value::Int(text.parse().context("takes a whole number of 64 bits")?),
        "decimal" => Value::Decimal(decimal(text, scale.unwrap_or(0))?),
        "text" => Value::Text(text.to_owned()),
        "symbol" => Value::Symbol(text.to_owned()),
        "id" => Value::Id(text.to_owned()),
        "bytes" => Value::Bytes(hex::decode(text).context("takes hexadecimal digits")?),
        "digest" => Value::Digest(text.parse::<Digest>()?),
        "time" => Value::Time(hufu_contract::time::parse(text).map_err(anyhow::Error::msg)?),
        "member" => Value::Member(text.parse::<Name>()?),
        "identity" => Value::Identity(text.parse::<IdentityId>()?),
        "ref" => Value::Ref(text.to_owned()),
        other => anyhow::bail!("values of type `{other}` cannot be given as text"),
    })
}

/// `-12.5` with scale 3 is -12500. No digit is dropped.
fn decimal(text: &str, scale: u8) -> anyhow::Result<i64> {
    let takes = || format!("takes a decimal number with at most {scale} digits after the point");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    anyhow::ensure!(
        !whole.is_empty()
            && fraction.len() <= usize::from(scale)
            && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()),
        takes()
    );
    let padded = format!("{whole}{fraction:0<width$}", width = usize::from(scale));
    let units: i64 =
        format!("{}{padded}", if negative { "-" } else { "" }).parse().with_context(takes)?;
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        serde_json::from_str(
            r#"[{"name":"measured_at","type":"time"},
                {"name":"metric","type":"symbol"},
                {"name":"value","type":"decimal","scale":3}]"#,
        )
        .unwrap()
    }

    #[test]
    fn rows_come_in_the_order_of_the_streams_columns() {
        let text = b"metric,value,measured_at\ntemperature,-71.5,1700000000000\n";
        assert_eq!(
            from_csv(text, &columns()).unwrap(),
            [[
                Value::Time(1_700_000_000_000),
                Value::Symbol("temperature".into()),
                Value::Decimal(-71_500)
            ]]
        );
    }

    #[test]
    fn what_does_not_fit_is_named_with_line_and_column() {
        for (text, words) in [
            ("metric,value\nx,1\n", "measured_at"),
            ("metric,value,measured_at,colour\nx,1,2,3\n", "no column `colour`"),
            ("metric,value,measured_at\nx,1.2345,2\n", "line 2, column `value`"),
            ("metric,value,measured_at\nx,1,soon\n", "line 2, column `measured_at`"),
            ("metric,value,measured_at\nx,.5,1\n", "at most 3 digits"),
            ("metric,value,measured_at\nx,99999999999999999999,1\n", "column `value`"),
        ] {
            let error = format!("{:#}", from_csv(text.as_bytes(), &columns()).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal("0.001", 3).unwrap(), 1);
        assert_eq!(decimal("12", 3).unwrap(), 12_000);
        assert_eq!(decimal("-0.5", 1).unwrap(), -5);
        assert!(decimal("1e3", 3).is_err());
        assert!(decimal("", 3).is_err());
        assert!(decimal("--1", 3).is_err());
    }
}
