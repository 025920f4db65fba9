//! Readings from a CSV file, as rows of the stream
//! `operation-supervision/reading`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use hufu_proof::transaction::Batch;
use hufu_proof::{Name, Sequence, Value};

use crate::binaries;

/// The columns, as the file's header must name them.
const HEADER: &str = "metric,value,measured_at";

/// Digits after the point that the stream keeps.
const SCALE: usize = 3;

/// One reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What was measured.
    pub metric: String,
    /// In thousandths.
    pub value: i64,
    /// Milliseconds since 1970.
    pub measured_at: u64,
}

impl Reading {
    /// Its columns in the order of their names.
    pub fn row(&self) -> Vec<Value> {
        vec![
            Value::Time(self.measured_at),
            Value::Symbol(self.metric.clone()),
            Value::Decimal(self.value),
        ]
    }
}

/// The readings that ship with the demonstration, as if the last had been measured
/// a minute ago.
///
/// # Errors
/// When the file is not there or not one of readings.
pub fn recent() -> anyhow::Result<Vec<Reading>> {
    let mut readings = load(&binaries::workspace().join("tests/harness/data/readings.csv"))?;
    let last = readings.iter().map(|reading| reading.measured_at).max().unwrap_or_default();
    let end = now_ms()?.saturating_sub(60_000);
    for reading in &mut readings {
        reading.measured_at = end.saturating_sub(last - reading.measured_at);
    }
    Ok(readings)
}

/// Writes `readings` as a file that [`load`] and the agent read.
///
/// # Errors
/// When it cannot be written.
pub fn save(readings: &[Reading], path: &Path) -> anyhow::Result<()> {
    let mut text = format!("{HEADER}\n");
    for Reading { metric, value, measured_at } in readings {
        let sign = if *value < 0 { "-" } else { "" };
        let size = value.unsigned_abs();
        text += &format!("{metric},{sign}{}.{:03},", size / 1000, size % 1000);
        let time = der::DateTime::from_unix_duration(Duration::from_millis(*measured_at))?;
        text += &format!("{time}\n");
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Milliseconds since 1970.
///
/// # Errors
/// When the clock is before 1970.
pub fn now_ms() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Reads a file of readings.
///
/// # Errors
/// The line and the column that is wrong.
pub fn load(path: &Path) -> anyhow::Result<Vec<Reading>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

/// A batch of `readings`, the `sequence`th of its device.
///
/// # Errors
/// Never, the names are names.
pub fn batch(readings: &[Reading], sequence: Sequence) -> anyhow::Result<Batch> {
    Ok(Batch {
        contract: Name::new("operation-supervision")?,
        stream: Name::new("reading")?,
        sequence,
        rows: readings.iter().map(Reading::row).collect(),
    })
}

fn parse(text: &str) -> anyhow::Result<Vec<Reading>> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default().trim();
    ensure!(header == HEADER, "the first line must be `{HEADER}`, not `{header}`");
    let mut readings = Vec::new();
    for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let reading = parse_line(line).with_context(|| format!("line {}", index + 2))?;
        readings.push(reading);
    }
    ensure!(!readings.is_empty(), "there are no readings");
    Ok(readings)
}

fn parse_line(line: &str) -> anyhow::Result<Reading> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [metric, value, measured_at] = fields[..] else {
        bail!("there are {} fields; `{HEADER}` has 3", fields.len());
    };
    ensure!(!metric.is_empty() && metric.len() <= Value::MAX_SYMBOL, "metric: 1 to 64 bytes");
    Ok(Reading {
        metric: metric.to_owned(),
        value: parse_decimal(value).context("value")?,
        measured_at: parse_time(measured_at).context("measured_at")?,
    })
}

/// `-12.5` in thousandths.
fn parse_decimal(text: &str) -> anyhow::Result<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    ensure!(fraction.len() <= SCALE, "`{text}` has more than {SCALE} digits after the point");
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(
        !whole.is_empty() && all_digits(whole) && all_digits(fraction),
        "`{text}` is not a number such as 12.5"
    );
    let number: i64 = format!("{whole}{fraction:0<SCALE$}").parse()?;
    Ok(sign * number)
}

/// `2024-03-01T08:00:00Z` (RFC 3339, UTC) in milliseconds.
fn parse_time(text: &str) -> anyhow::Result<u64> {
    let time: der::DateTime = text
        .parse()
        .map_err(|_| anyhow::anyhow!("`{text}` is not a time such as 2024-03-01T08:00:00Z"))?;
    Ok(u64::try_from(time.unix_duration().as_millis())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_readings_are_of_the_last_day() -> anyhow::Result<()> {
        let readings = recent()?;
        assert!(readings.len() >= 100);
        assert!(readings.windows(2).all(|pair| pair[0].measured_at <= pair[1].measured_at));
        let (first, last) = (readings[0].measured_at, readings[readings.len() - 1].measured_at);
        let now = now_ms()?;
        assert!(last < now && now - first < 86_400_000);
        let file = tempfile::NamedTempFile::new()?;
        save(&readings, file.path())?;
        let seconds = |readings: &[Reading]| -> Vec<_> {
            readings
                .iter()
                .map(|one| (one.metric.clone(), one.value, one.measured_at / 1000))
                .collect()
        };
        assert_eq!(seconds(&load(file.path())?), seconds(&readings));
        Ok(())
    }

    #[test]
    fn wrong_lines_are_named() {
        let error = |text: &str| format!("{:#}", parse(text).expect_err(text));
        assert!(error("value\n").contains("first line"));
        assert!(error("metric,value,measured_at\n").contains("no readings"));
        assert!(
            error("metric,value,measured_at\nt,1,2024-03-01T08:00:00Z\nt,1\n").contains("line 3")
        );
        assert!(
            error("metric,value,measured_at\nt,1.2345,2024-03-01T08:00:00Z\n").contains("digits")
        );
        assert!(error("metric,value,measured_at\nt,1e3,2024-03-01T08:00:00Z\n").contains("1e3"));
        assert!(error("metric,value,measured_at\nt,1,yesterday\n").contains("yesterday"));
    }

    #[test]
    fn numbers_and_times_are_exact() -> anyhow::Result<()> {
        assert_eq!(parse_decimal("-0.05")?, -50);
        assert_eq!(parse_decimal("12")?, 12_000);
        assert_eq!(parse_time("1970-01-02T00:00:01Z")?, 86_401_000);
        Ok(())
    }
}
