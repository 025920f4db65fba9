use hufu_proof::Value;
use proptest::prelude::*;

use super::*;

/// 2026-11-20T15:00:00Z, as the files of the cases have it.
const NOON: u64 = 1_795_186_800_000;

fn columns() -> Vec<ColumnDescription> {
    serde_json::from_str(
        r#"[{"name":"measured_at","type":"time","min":"2020-01-01T00:00:00Z","max_ahead":3600000},
            {"name":"metric","type":"symbol"},
            {"name":"value","type":"decimal","scale":3}]"#,
    )
    .unwrap()
}

fn read(text: impl AsRef<[u8]>) -> anyhow::Result<Readings> {
    let period = Period { began: UnixMillis(NOON - 86_400_000), now: UnixMillis(NOON) };
    from_csv(text.as_ref(), &columns(), period)
}

fn refused(text: impl AsRef<[u8]>) -> String {
    format!("{:#}", read(text).unwrap_err())
}

/// The values of a file with one number a row.
fn values(numbers: &[&str]) -> Vec<i64> {
    let mut text = "measured_at,metric,value\n".to_owned();
    for number in numbers {
        text += &format!("{NOON},temperature,{number}\n");
    }
    let value = |row: Vec<Value>| match row[2] {
        Value::Decimal(value) => value,
        _ => panic!("{row:?}"),
    };
    read(text).unwrap().rows.into_iter().map(value).collect()
}

#[test]
fn rows_come_in_the_order_of_the_streams_columns() {
    let text = format!("\u{feff}metric, value ,measured_at\r\n\"temperature\", -71.5\t,{NOON}\r\n");
    assert_eq!(
        read(text).unwrap(),
        Readings {
            rows: vec![vec![
                Value::Time(NOON),
                Value::Symbol("temperature".into()),
                Value::Decimal(-71_500)
            ]],
            notes: vec![],
        }
    );
}

#[test]
fn what_is_exact_is_taken() {
    assert_eq!(
        values(&["1.2000", "+20.5", "2.05e+01", ".5", "-0.0", "5."]),
        [1_200, 20_500, 20_500, 500, 0, 5_000]
    );
}

#[test]
fn a_time_with_its_offset_is_taken() {
    for text in ["2026-11-20T23:00:00+08:00", "2026-11-20 15:00:00Z", "2026-11-20T15:00:00.000Z"] {
        let rows = read(format!("measured_at,metric,value\n{text},t,1\n")).unwrap().rows;
        assert_eq!(rows[0][0], Value::Time(NOON), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_line_and_column() {
    for (text, words) in [
        ("metric,value\nx,1\n", "the header lacks `measured_at`"),
        ("metric,value,measured_at,colour\n", "no column `colour` (column 4)"),
        ("metric,value,mesured_at\n", "is `measured_at` meant?"),
        ("Metric,value,measured_at\n", "is `metric` meant?"),
        ("metric,value,measured-at\n", "is `measured_at` meant?"),
        ("metric,value,measured_at,\n", "no column without a name"),
        ("measured_at,metric,value,value\n", "names `value` twice, as columns 3 and 4"),
        ("measured_at;metric;value\r\n1795186800000;t;20,5\r\n", "semicolons (`;`)"),
        ("measured_at\tmetric\tvalue\n", "tabs (`\\t`)"),
        ("sep=;\nmeasured_at;metric;value\n", "take the line out"),
        ("metric,value,measured_at\nx,1.2345,1795186800000\n", "line 2, column `value`: `1.2345`"),
        ("metric,value,measured_at\nx,1,soon\n", "line 2, column `measured_at`: `soon`"),
        ("metric,value,measured_at\nx,20,5,1795186800000\n", "line 2 has 4 fields"),
        ("metric,value,measured_at\nx,1\n", "line 2 lacks a field"),
        ("metric,value,measured_at\n   \n", "line 2 lacks a field"),
        ("metric,value,measured_at\n,,\n", "is empty"),
        ("metric,value,measured_at\nx,\"1,000\",1795186800000\n", "thousands"),
        ("metric,value,measured_at\nx,1 000,1795186800000\n", "between or after"),
        ("metric,value,measured_at\nx,1\u{a0}000,1795186800000\n", "U+00A0"),
        ("metric,value,measured_at\nx,20.5\u{3000},1795186800000\n", "U+3000"),
        ("metric,value,measured_at\nx,\u{2212}5,1795186800000\n", "U+2212"),
        ("metric,value,measured_at\nx,５,1795186800000\n", "U+FF15"),
        ("metric,value,measured_at\nx,1,１795186800000\n", "１795186800000"),
        ("metric,value,measured_at\nx,0x10,1795186800000\n", "another base"),
        ("metric,value,measured_at\nx,NaN,1795186800000\n", "finite"),
        (
            "metric,value,measured_at\nx\u{a0},1,1795186800000\n",
            "line 2, column `metric`: has a space",
        ),
        ("metric,value,measured_at\nx\u{200b},1,1795186800000\n", "U+200B"),
        ("metric,value,measured_at\nｘ,1,1795186800000\n", "half width"),
        ("metric,value,measured_at\nx,1,\"1795186800000\n", "line 2: a quote is opened"),
        ("metric,value,measured_at\nx\"y,1,1795186800000\n", "line 2: a quote in the middle"),
        ("metric,value,measured_at\n\"x\"y,1,1795186800000\n", "line 2: something follows"),
        ("", "the header lacks"),
    ] {
        let error = refused(text);
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[test]
fn a_time_is_plausible_or_refused() {
    for (time, words) in [
        ("1795186800", "in seconds it would be 2026-11-20T15:00:00Z"),
        ("1795186800000000", "in microseconds it would be 2026-11-20T15:00:00Z"),
        ("1795186800000000000", "in nanoseconds it would be 2026-11-20T15:00:00Z"),
        ("9999999999999", "more than 3600 s ahead"),
        ("20261120", "the date 2026-11-20 without separators"),
        ("20261120150000", "the date 2026-11-20 without separators"),
        ("2026-11-20T15:00:00", "no offset"),
        ("2026-11-20T14:59:60Z", "leap second"),
        ("2026-11-19T14:59:59Z", "before the device's certificate began"),
        ("2026-11-20T16:00:01Z", "more than 3600 s ahead"),
    ] {
        let error = refused(format!("measured_at,metric,value\n{time},t,1\n"));
        assert!(error.contains(words) && error.contains("line 2"), "{time}: {error}");
    }
}

#[test]
fn another_encoding_is_named() {
    for (text, words) in [
        (&b"measured_at,metric,value\n1,\xCE\xC2\xB6\xC8,2\n"[..], "line 2: the byte CE"),
        (&b"measured_at,metric,value\n1,\xCE\xC2\xB6\xC8,2\n"[..], "GB 18030"),
        (&b"measured_at,metric,value\n\n1,temp\xE9rature,2\n"[..], "line 3: the byte E9"),
        (&b"measured_at,metric,value\n1,temp\xE9rature,2\n"[..], "Latin-1"),
        (&b"\xFF\xFEm\0e\0"[..], "UTF-16"),
        (&b"\0m\0e"[..], "UTF-16"),
        (&b"m\0e\0"[..], "UTF-16"),
    ] {
        let error = refused(text);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_name_in_another_normal_form_is_sent_in_form_c_and_said() {
    let text = format!(
        "measured_at,metric,value\n{NOON},temp\u{e9}rature,1\n{NOON},tempe\u{301}rature,2\n"
    );
    let readings = read(text).unwrap();
    assert_eq!(readings.rows[0][1], readings.rows[1][1]);
    assert_eq!(readings.notes.len(), 1);
    assert!(readings.notes[0].contains("`metric`: 1 values"), "{:?}", readings.notes);
    assert!(readings.notes[0].contains("line 3"), "{:?}", readings.notes);
}

#[test]
fn a_quoted_field_is_the_field() {
    let text =
        format!("\"measured_at\",\"metric\",\"value\"\n\"{NOON}\",\"a \"\"b\"\", c\",\"1\"\n");
    assert_eq!(read(text).unwrap().rows[0][1], Value::Symbol("a \"b\", c".into()));
}

proptest! {
    /// Whatever a program writes is read as it was meant or refused, never
    /// shortened: all rows come back.
    #[test]
    fn rows_that_are_written_are_read(
        rows in prop::collection::vec((any::<i64>(), "[a-zé温]{1,8}( [a-z\",]{1,4})?"), 0..20)
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["measured_at", "metric", "value"]).unwrap();
        for (value, metric) in &rows {
            let value = hufu_contract::number::decimal_text(*value, 3);
            writer.write_record([&NOON.to_string(), metric, &value]).unwrap();
        }
        let read = read(writer.into_inner().unwrap()).unwrap();
        let expected: Vec<Vec<Value>> = rows
            .iter()
            .map(|(value, metric)| {
                vec![Value::Time(NOON), Value::Symbol(metric.clone()), Value::Decimal(*value)]
            })
            .collect();
        prop_assert_eq!(read.rows, expected);
    }

    #[test]
    fn any_bytes_are_readings_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut text = b"measured_at,metric,value\n".to_vec();
        text.extend(bytes);
        let _ = read(text);
    }
}
