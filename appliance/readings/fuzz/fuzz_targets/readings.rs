//! Any bytes are readings or refused: never a panic, and what was read is of the
//! columns' types and within the period.

#![no_main]

use std::sync::LazyLock;

use hufu_contract::{ColumnDescription, Type};
use hufu_proof::{UnixMillis, Value};
use hufu_readings::{Period, from_csv};
use libfuzzer_sys::fuzz_target;

const PERIOD: Period =
    Period { began: UnixMillis(1_700_000_000_000), now: UnixMillis(1_800_000_000_000) };

static COLUMNS: LazyLock<Vec<ColumnDescription>> = LazyLock::new(|| {
    serde_json::from_str(
        r#"[{"name":"at","type":"time","min":"2020-01-01T00:00:00Z","max_ahead":60000},
            {"name":"metric","type":"symbol"},
            {"name":"note","type":"text","max":"64"},
            {"name":"value","type":"decimal","scale":3}]"#,
    )
    .expect("the columns are")
});

fuzz_target!(|bytes: &[u8]| {
    // Half of the inputs have a header that fits.
    let mut file = match bytes.first() {
        Some(first) if first % 2 == 0 => b"at,metric,note,value\n".to_vec(),
        _ => Vec::new(),
    };
    file.extend_from_slice(bytes.get(1..).unwrap_or_default());
    let Ok(readings) = from_csv(&file, &COLUMNS, PERIOD) else { return };
    let types: Vec<Type> = COLUMNS.iter().map(|column| column.ty().expect("a type")).collect();
    for row in &readings.rows {
        assert_eq!(row.len(), types.len());
        for (ty, value) in types.iter().zip(row) {
            ty.check(value).expect("what was read is of its type");
            ty.check_time(value, PERIOD.now).expect("what was read is plausible");
            assert!(!matches!(value, Value::Time(time) if *time < PERIOD.began.get()));
        }
    }
});
