//! Columns of streams as a node describes them to those who append: so that what
//! a device reads is judged by the same types before it is signed as after it.

use hufu_proof::Name;
use serde::{Deserialize, Serialize};

use crate::number::{self, decimal_text};
use crate::time;
use crate::types::{Clock, MAX_SCALE, MAX_TEXT, MAX_TIME, Type, TypeName};
use crate::unit::Unit;

/// A column, with the bounds of its type where there are some. Members that this
/// version does not know are skipped: a newer node may say more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDescription {
    /// Its name.
    pub name: Name,
    /// Its type, as contracts write it.
    #[serde(rename = "type")]
    pub kind: TypeName,
    /// Decimals, of a decimal.
    #[serde(default)]
    pub scale: Option<u8>,
    /// The unit of a number, when it is not a plain count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The least number, or the earliest time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The greatest number; the most bytes of text or bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// Milliseconds that a time may be ahead of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ahead: Option<u64>,
    /// `CONTRACT/ASSET` that a reference leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl ColumnDescription {
    /// Describes a column.
    pub fn new(name: &Name, ty: &Type) -> Self {
        let mut described = Self {
            name: name.clone(),
            kind: ty.name(),
            scale: None,
            unit: None,
            min: None,
            max: None,
            max_ahead: None,
            to: None,
        };
        let unit = ty.unit();
        if !unit.is_count() {
            described.unit = Some(unit.to_string());
        }
        match ty {
            Type::Int { min, max, .. } | Type::Decimal { min, max, .. } => {
                if let Type::Decimal { scale, .. } = ty {
                    described.scale = Some(*scale);
                }
                let shown = |value| decimal_text(value, described.scale.unwrap_or(0));
                (described.min, described.max) = (
                    (*min != i64::MIN).then(|| shown(*min)),
                    (*max != i64::MAX).then(|| shown(*max)),
                );
            }
            Type::Text { max } | Type::Bytes { max } => described.max = Some(max.to_string()),
            Type::Time { min, max_ahead, .. } => {
                described.min = (*min != 0).then(|| time::format(*min));
                described.max_ahead = *max_ahead;
            }
            Type::Ref { contract, asset } => described.to = Some(format!("{contract}/{asset}")),
            _ => {}
        }
        described
    }

    /// The type, with its bounds.
    ///
    /// # Errors
    /// A sentence when there is no such type, or its bounds make no sense.
    pub fn ty(&self) -> Result<Type, String> {
        let wrong = |message: String| format!("column `{}`: {message}", self.name);
        let bound = |text: &Option<String>, scale: u8, default: i64| match text {
            Some(text) => number::parse(text, scale).map_err(wrong),
            None => Ok(default),
        };
        let unit = || {
            self.unit.as_deref().map_or(Ok(Unit::count()), |unit| Unit::parse(unit).map_err(wrong))
        };
        let size = || {
            let max = bound(&self.max, 0, i64::from(MAX_TEXT))?;
            u32::try_from(max).map_err(|_| wrong(format!("no size of {max}")))
        };
        Ok(match self.kind {
            TypeName::Bool => Type::Bool,
            TypeName::Int => Type::Int {
                unit: unit()?,
                min: bound(&self.min, 0, i64::MIN)?,
                max: bound(&self.max, 0, i64::MAX)?,
            },
            TypeName::Decimal => {
                let scale = self.scale.unwrap_or(0);
                if scale > MAX_SCALE {
                    return Err(wrong(format!("no scale of {scale}")));
                }
                Type::Decimal {
                    scale,
                    unit: unit()?,
                    min: bound(&self.min, scale, i64::MIN)?,
                    max: bound(&self.max, scale, i64::MAX)?,
                }
            }
            TypeName::Text => Type::Text { max: size()? },
            TypeName::Symbol => Type::Symbol,
            TypeName::Id => Type::Id,
            TypeName::Bytes => Type::Bytes { max: size()? },
            TypeName::Digest => Type::Digest,
            TypeName::Time => Type::Time {
                clock: Clock::Signer,
                min: self.min.as_deref().map_or(Ok(0), time::parse).map_err(wrong)?,
                max_ahead: self.max_ahead.filter(|ahead| *ahead <= MAX_TIME),
            },
            TypeName::Member => Type::Member,
            TypeName::Identity => Type::Identity,
            TypeName::Ref => {
                let to = self.to.as_deref().and_then(|to| to.split_once('/'));
                let to = to.and_then(|(contract, asset)| {
                    Some((Name::new(contract).ok()?, Name::new(asset).ok()?))
                });
                let (contract, asset) = to.ok_or_else(|| wrong("refers to nothing".into()))?;
                Type::Ref { contract, asset }
            }
            TypeName::List | TypeName::Set => {
                let name = self.kind.code();
                return Err(wrong(format!("no values of type `{name}` stand in a cell")));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_what_it_is_described_as() {
        let name = |text: &str| Name::new(text).unwrap();
        let unit = Unit::parse("CNY 0.01 per hour").unwrap();
        for ty in [
            Type::Bool,
            Type::int(),
            Type::Int { unit: unit.clone(), min: -1, max: 5 },
            Type::Decimal { scale: 3, unit, min: -1500, max: i64::MAX },
            Type::Text { max: 512 },
            Type::Symbol,
            Type::Id,
            Type::Bytes { max: 8 },
            Type::Digest,
            Type::time(Clock::Signer),
            Type::Time { clock: Clock::Signer, min: 1_577_836_800_000, max_ahead: Some(60_000) },
            Type::Member,
            Type::Identity,
            Type::Ref { contract: name("device-registry"), asset: name("device") },
        ] {
            let described = ColumnDescription::new(&name("column"), &ty);
            let text = serde_json::to_string(&described).unwrap();
            let read: ColumnDescription = serde_json::from_str(&text).unwrap();
            assert_eq!(read.ty(), Ok(ty), "{text}");
        }
        let plain = r#"{"name":"a","type":"list","newer":true}"#;
        let list: ColumnDescription = serde_json::from_str(plain).unwrap();
        assert!(list.ty().unwrap_err().contains("column `a`"));
    }
}
