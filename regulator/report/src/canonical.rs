//! Canonical JSON: one value, one byte string.
//!
//! The form of RFC 8785 (JCS): no white space, members in the order of their
//! names' UTF-16 code units, the shortest escapes. It departs from it in §3.2.2.3:
//! numbers are integers of 64 bits and written exactly, and a number with a
//! fraction or exponent is refused rather than rounded.
//!
//! Reading is strict by re-encoding: what does not come out as it went in was
//! not canonical, and is refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why bytes are not canonical JSON of a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CanonicalError {
    /// A number is not a whole number of 64 bits.
    #[error("the number {0} is not a whole number of 64 bits")]
    Number(String),
    /// Not JSON of this form.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The same content in another form.
    #[error("not in canonical form; it was reformatted or altered")]
    Form,
}

/// Encodes `value` canonically.
///
/// # Errors
/// [`CanonicalError::Number`] when it holds a number that is not a whole one,
/// [`CanonicalError::Malformed`] when it does not map to JSON.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)
        .map_err(|error| CanonicalError::Malformed(error.to_string()))?;
    let mut out = Vec::new();
    write(&value, &mut out)?;
    Ok(out)
}

/// Decodes canonical bytes and nothing else.
///
/// # Errors
/// [`CanonicalError`].
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CanonicalError> {
    let value: T = serde_json::from_slice(bytes)
        .map_err(|error| CanonicalError::Malformed(error.to_string()))?;
    if encode(&value)? == bytes { Ok(value) } else { Err(CanonicalError::Form) }
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
            let whole = whole.ok_or_else(|| CanonicalError::Number(number.to_string()))?;
            out.extend_from_slice(whole.to_string().as_bytes());
        }
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // Sorted here, because a feature of serde_json that any crate of a
            // build can switch on keeps members in the order of insertion.
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            out.push(b'{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(name, out);
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// A string by RFC 8785 §3.2.2.2.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            control if control < ' ' => {
                out.extend_from_slice(format!("\\u{:04x}", control as u32).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(value: &Value) -> String {
        String::from_utf8(encode(value).unwrap()).unwrap()
    }

    #[test]
    fn members_are_sorted_by_utf_16_as_in_rfc_8785_section_3_2_3() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        assert_eq!(
            text(&value),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
             \"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet\"}"
        );
    }

    #[test]
    fn escapes_are_the_shortest() {
        assert_eq!(
            text(&json!("\u{8}\t\n\u{c}\r\"\\/\u{1f}\u{7f}<中")),
            "\"\\b\\t\\n\\f\\r\\\"\\\\/\\u001f\u{7f}<中\""
        );
    }

    #[test]
    fn fractions_are_refused() {
        assert!(matches!(encode(&json!(1.5)), Err(CanonicalError::Number(_))));
        assert_eq!(
            text(&json!([i64::MIN, u64::MAX, -0])),
            format!("[{},{},0]", i64::MIN, u64::MAX)
        );
    }

    #[test]
    fn another_form_of_the_same_is_refused() {
        for other in
            ["{\"a\": 1}", "{\"b\":1,\"a\":2}", "[1,2]\n", "\"\\u0041\"", "{\"a\":1,\"a\":1}"]
        {
            assert_eq!(decode::<Value>(other.as_bytes()), Err(CanonicalError::Form), "{other}");
        }
        assert!(matches!(decode::<Value>(b"[1"), Err(CanonicalError::Malformed(_))));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            let bytes = encode(&value).unwrap();
            prop_assert_eq!(decode::<Value>(&bytes).unwrap(), value);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode::<Value>(&bytes);
        }
    }
}
