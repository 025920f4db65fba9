//! A value in a row of a result.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One value of a row: in JSON `null`, a whole number, a text, or
/// `{"hex":"…"}` for bytes. There is no floating number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A whole number; decimals are in units of their column's scale, times in
    /// milliseconds since 1970, truth values 0 or 1.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Integer(number) => write!(formatter, "{number}"),
            Self::Text(text) => formatter.write_str(text),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}")),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hex", &self.to_string())?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CellVisitor;
        impl<'de> Visitor<'de> for CellVisitor {
            type Value = Cell;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("null, a whole number, a text, or {\"hex\":\"…\"}")
            }
            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::Null)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Cell, E> {
                Ok(Cell::Integer(number))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Cell, E> {
                i64::try_from(number)
                    .map(Cell::Integer)
                    .map_err(|_| E::custom(format!("{number} is over 2^63 - 1")))
            }
            fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
                Ok(Cell::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
                let Some((name, digits)) = map.next_entry::<String, String>()? else {
                    return Err(A::Error::custom("an empty object is not a value"));
                };
                if name != "hex" || map.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom("bytes are written {\"hex\":\"…\"}"));
                }
                parse_hex(&digits).map(Cell::Bytes).ok_or_else(|| {
                    A::Error::custom("bytes are pairs of lower-case hexadecimal digits")
                })
            }
        }
        deserializer.deserialize_any(CellVisitor)
    }
}

fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = digits.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cells_round_trip(number: i64, text: String, bytes: Vec<u8>) {
            for cell in
                [Cell::Null, Cell::Integer(number), Cell::Text(text.clone()), Cell::Bytes(bytes)]
            {
                let json = crate::canonical::encode(&cell).unwrap();
                prop_assert_eq!(crate::canonical::decode::<Cell>(&json).unwrap(), cell);
            }
        }
    }

    #[test]
    fn what_is_no_cell_is_refused() {
        for text in [
            "1.5",
            "true",
            "[]",
            "{}",
            "{\"hex\":\"A0\"}",
            "{\"hex\":\"0\"}",
            "1e3",
            "{\"hex\":\"00\",\"x\":\"\"}",
            "9223372036854775808",
        ] {
            assert!(serde_json::from_str::<Cell>(text).is_err(), "{text}");
        }
    }
}
