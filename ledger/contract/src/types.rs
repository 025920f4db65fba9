//! Types of fields, parameters and columns, and how values of them are checked,
//! read from text or JSON, and shown.

use std::collections::BTreeSet;
use std::fmt;

use hufu_proof::{Digest, IdentityId, Name, UnixMillis, Value};
use serde::{Deserialize, Serialize};

use crate::number::{self, decimal_text};
use crate::spelling;
use crate::unit::Unit;

/// Longest text field in bytes.
pub const MAX_TEXT: u32 = 32 * 1024;
/// Most items of a list or set.
pub const MAX_ITEMS: u32 = 256;
/// Highest scale of a decimal.
pub const MAX_SCALE: u8 = 18;
/// The last time that is accepted: the end of the year 9999, in milliseconds.
pub const MAX_TIME: u64 = 253_402_300_799_999;

/// Whose clock a time is from. The two are never compared or mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clock {
    /// The time the validators agreed on for a block.
    Block,
    /// A time that a signer declared.
    Signer,
}

macro_rules! type_names {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The name of a type, without its bounds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum TypeName {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl TypeName {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As contracts write it.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

type_names! {
    /// [`Type::Bool`].
    Bool = "bool",
    /// [`Type::Int`].
    Int = "int",
    /// [`Type::Decimal`].
    Decimal = "decimal",
    /// [`Type::Text`].
    Text = "text",
    /// [`Type::Symbol`].
    Symbol = "symbol",
    /// [`Type::Id`].
    Id = "id",
    /// [`Type::Bytes`].
    Bytes = "bytes",
    /// [`Type::Digest`].
    Digest = "digest",
    /// [`Type::Time`].
    Time = "time",
    /// [`Type::Member`].
    Member = "member",
    /// [`Type::Identity`].
    Identity = "identity",
    /// [`Type::Ref`].
    Ref = "ref",
    /// [`Type::List`].
    List = "list",
    /// [`Type::Set`].
    Set = "set",
}

impl TypeName {
    /// The name that contracts write like this.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.code() == code)
    }
}

/// The type of a field, parameter or column, with its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A whole number.
    Int {
        /// Its unit.
        unit: Unit,
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A number with `scale` decimals, held in units of its last decimal.
    Decimal {
        /// Decimals.
        scale: u8,
        /// Its unit.
        unit: Unit,
        /// Least value, in units of the last decimal.
        min: i64,
        /// Greatest value, in units of the last decimal.
        max: i64,
    },
    /// Text of at most `max` bytes.
    Text {
        /// Bytes.
        max: u32,
    },
    /// A short code of 1 to 64 bytes.
    Symbol,
    /// The identifier of a thing, 1 to 128 bytes.
    Id,
    /// At most `max` bytes.
    Bytes {
        /// Bytes.
        max: u32,
    },
    /// A SHA-256 digest.
    Digest,
    /// Milliseconds since 1970.
    Time {
        /// Whose clock.
        clock: Clock,
        /// The earliest that is accepted, in milliseconds since 1970.
        min: u64,
        /// How far a signer's time may be ahead of the block that records it,
        /// in milliseconds; `None` when nothing bounds it.
        max_ahead: Option<u64>,
    },
    /// A member of the consortium.
    Member,
    /// A signing key.
    Identity,
    /// The key of an asset.
    Ref {
        /// The contract that has the asset type.
        contract: Name,
        /// The asset type.
        asset: Name,
    },
    /// At most `max` scalars, in order.
    List {
        /// Their type.
        of: Box<Type>,
        /// Items.
        max: u32,
    },
    /// At most `max` scalars, each once.
    Set {
        /// Their type.
        of: Box<Type>,
        /// Items.
        max: u32,
    },
}

impl Type {
    /// An `int` without unit or bounds.
    pub fn int() -> Self {
        Self::Int { unit: Unit::count(), min: i64::MIN, max: i64::MAX }
    }

    /// A `time` without bounds.
    pub fn time(clock: Clock) -> Self {
        Self::Time { clock, min: 0, max_ahead: None }
    }

    /// Its name, as contracts write it.
    pub fn name(&self) -> TypeName {
        match self {
            Self::Bool => TypeName::Bool,
            Self::Int { .. } => TypeName::Int,
            Self::Decimal { .. } => TypeName::Decimal,
            Self::Text { .. } => TypeName::Text,
            Self::Symbol => TypeName::Symbol,
            Self::Id => TypeName::Id,
            Self::Bytes { .. } => TypeName::Bytes,
            Self::Digest => TypeName::Digest,
            Self::Time { .. } => TypeName::Time,
            Self::Member => TypeName::Member,
            Self::Identity => TypeName::Identity,
            Self::Ref { .. } => TypeName::Ref,
            Self::List { .. } => TypeName::List,
            Self::Set { .. } => TypeName::Set,
        }
    }

    /// The unit of a number; a plain count for everything else.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Int { unit, .. } | Self::Decimal { unit, .. } => unit.clone(),
            _ => Unit::count(),
        }
    }

    /// Whether it is one value, not a list or set.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::List { .. } | Self::Set { .. })
    }

    /// Whether values of the two types mean the same: all but the bounds is
    /// equal.
    pub fn same_meaning(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int { unit: one, .. }, Self::Int { unit: two, .. }) => one == two,
            (
                Self::Decimal { scale: one_scale, unit: one, .. },
                Self::Decimal { scale: two_scale, unit: two, .. },
            ) => one_scale == two_scale && one == two,
            (Self::Text { .. }, Self::Text { .. }) | (Self::Bytes { .. }, Self::Bytes { .. }) => {
                true
            }
            (Self::Time { clock: one, .. }, Self::Time { clock: two, .. }) => one == two,
            (Self::List { of: one, .. }, Self::List { of: two, .. })
            | (Self::Set { of: one, .. }, Self::Set { of: two, .. }) => one.same_meaning(two),
            _ => self == other,
        }
    }

    /// Whether every value of `other` is one of this type too.
    pub fn accepts_all_of(&self, other: &Self) -> bool {
        self.same_meaning(other)
            && match (self, other) {
                (Self::Int { min, max, .. }, Self::Int { min: low, max: high, .. })
                | (Self::Decimal { min, max, .. }, Self::Decimal { min: low, max: high, .. }) => {
                    min <= low && max >= high
                }
                (Self::Text { max }, Self::Text { max: other })
                | (Self::Bytes { max }, Self::Bytes { max: other }) => max >= other,
                (
                    Self::Time { min, max_ahead, .. },
                    Self::Time { min: other, max_ahead: other_ahead, .. },
                ) => {
                    let ahead = |bound: &Option<u64>| bound.unwrap_or(u64::MAX);
                    min <= other && ahead(max_ahead) >= ahead(other_ahead)
                }
                (Self::List { of, max }, Self::List { of: other_of, max: other })
                | (Self::Set { of, max }, Self::Set { of: other_of, max: other }) => {
                    max >= other && of.accepts_all_of(other_of)
                }
                _ => true,
            }
    }

    /// Checks that `value` is of this type and within its bounds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let range = |value: i64, min: i64, max: i64, scale: u8| {
            if value < min || value > max {
                let show = |value| decimal_text(value, scale);
                Err(format!("{} is not within {} to {}", show(value), show(min), show(max)))
            } else {
                Ok(())
            }
        };
        let bytes = |length: usize, max: usize| {
            if length > max {
                Err(format!("{length} bytes; at most {max} are accepted"))
            } else {
                Ok(())
            }
        };
        match (self, value) {
            (Self::Bool, Value::Bool(_))
            | (Self::Digest, Value::Digest(_))
            | (Self::Member, Value::Member(_))
            | (Self::Identity, Value::Identity(_)) => Ok(()),
            (Self::Int { min, max, .. }, Value::Int(value)) => range(*value, *min, *max, 0),
            (Self::Decimal { min, max, scale, .. }, Value::Decimal(value)) => {
                range(*value, *min, *max, *scale)
            }
            (Self::Text { max }, Value::Text(text)) => {
                let control = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
                if let Some(control) = text.chars().find(control) {
                    let code = u32::from(control);
                    return Err(format!(
                        "has a control character (U+{code:04X}); line feeds and tabs are taken"
                    ));
                }
                bytes(text.len(), *max as usize)
            }
            (Self::Symbol, Value::Symbol(text)) => spelling::check(text, Value::MAX_SYMBOL),
            (Self::Id, Value::Id(text)) | (Self::Ref { .. }, Value::Ref(text)) => {
                spelling::check(text, Value::MAX_ID)
            }
            (Self::Bytes { max }, Value::Bytes(value)) => bytes(value.len(), *max as usize),
            (Self::Time { .. }, Value::Time(time)) => {
                if *time > MAX_TIME {
                    Err(format!("{time} ms is after the year 9999"))
                } else {
                    Ok(())
                }
            }
            (Self::List { of, max }, Value::List(items)) => {
                count(items.len(), *max)?;
                items.iter().try_for_each(|item| of.check(item))
            }
            (Self::Set { of, max }, Value::Set(items)) => {
                count(items.len(), *max)?;
                items.iter().try_for_each(|item| of.check(item))
            }
            _ => Err(format!("is {}, not {self}", value.type_name())),
        }
    }

    /// Checks that the times in `value`, which [`Type::check`] has accepted, are
    /// plausible: not before the earliest, and no further ahead of `now`, a
    /// block's time, than the type allows.
    ///
    /// # Errors
    /// What is wrong with one, and what it may have been meant to be.
    pub fn check_time(&self, value: &Value, now: UnixMillis) -> Result<(), String> {
        match (self, value) {
            (Self::Time { min, max_ahead, .. }, Value::Time(time)) => {
                let wrong = |why: String| {
                    let meant = crate::time::guess(u128::from(*time)).unwrap_or_default();
                    let seen = crate::time::format(*time);
                    Err(format!("{time} is {seen}, {why}{meant}"))
                };
                if time < min {
                    return wrong(format!("before {}", crate::time::format(*min)));
                }
                match max_ahead {
                    Some(ahead) if time.saturating_sub(now.get()) > *ahead => wrong(format!(
                        "more than {} s ahead of {}, the ledger's time",
                        ahead / 1000,
                        crate::time::format(now.get())
                    )),
                    _ => Ok(()),
                }
            }
            (Self::List { of, .. }, Value::List(items)) => {
                items.iter().try_for_each(|item| of.check_time(item, now))
            }
            (Self::Set { of, .. }, Value::Set(items)) => {
                items.iter().try_for_each(|item| of.check_time(item, now))
            }
            _ => Ok(()),
        }
    }

    /// Reads a value as people write it: decimals with a point, times as
    /// milliseconds or ISO 8601 with an offset, bytes in hexadecimal;
    /// identifiers and symbols in whatever normal form they come. Lists and sets
    /// are read from JSON only.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let not =
            |what: &str| format!("`{}` is not {what}", text.chars().take(64).collect::<String>());
        let value = match self {
            Self::Bool => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(not("true or false")),
            },
            Self::Int { .. } => Value::Int(number::parse(text, 0)?),
            Self::Decimal { scale, .. } => Value::Decimal(number::parse(text, *scale)?),
            Self::Text { .. } => Value::Text(text.to_owned()),
            Self::Symbol => Value::Symbol(spelling::normal(text).into_owned()),
            Self::Id => Value::Id(spelling::normal(text).into_owned()),
            Self::Bytes { .. } => Value::Bytes(
                parse_hex(text).ok_or_else(|| not("an even number of hexadecimal digits"))?,
            ),
            Self::Digest => {
                Value::Digest(text.parse::<Digest>().map_err(|error| error.to_string())?)
            }
            Self::Time { .. } => Value::Time(crate::time::parse(text)?),
            Self::Member => Value::Member(Name::new(text).map_err(|error| error.to_string())?),
            Self::Identity => {
                Value::Identity(text.parse::<IdentityId>().map_err(|error| error.to_string())?)
            }
            Self::Ref { .. } => Value::Ref(spelling::normal(text).into_owned()),
            Self::List { .. } | Self::Set { .. } => return Err("write a list".into()),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Reads a value from JSON: numbers, text (as [`Type::parse`] reads it),
    /// true and false, and lists of them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(&self, json: &serde_json::Value) -> Result<Value, String> {
        use serde_json::Value as Json;
        let items = |of: &Self, max: u32| match json {
            Json::Array(items) => {
                count(items.len(), max)?;
                items.iter().map(|item| of.from_json(item)).collect::<Result<Vec<_>, _>>()
            }
            _ => Err("is not a list".to_owned()),
        };
        let value = match (self, json) {
            (Self::List { of, max }, _) => Value::List(items(of, *max)?),
            (Self::Set { of, max }, _) => {
                let items = items(of, *max)?;
                let length = items.len();
                let set: BTreeSet<Value> = items.into_iter().collect();
                if set.len() != length {
                    return Err("has an item twice".into());
                }
                Value::Set(set)
            }
            (_, Json::String(text)) => return self.parse(text),
            (Self::Int { .. } | Self::Decimal { .. } | Self::Time { .. }, Json::Number(number)) => {
                let text = number.to_string();
                // A number that is not whole went through a float, which keeps
                // 15 digits whatever they are.
                let digits = text.split(['e', 'E']).next().unwrap_or_default();
                let digits = digits.bytes().filter(u8::is_ascii_digit).count();
                if number.is_f64() && digits > 15 {
                    return Err(format!("`{text}` is not exact in JSON; write it as text"));
                }
                return self.parse(&text);
            }
            (Self::Bool, Json::Bool(value)) => Value::Bool(*value),
            _ => return Err(format!("is not {self}")),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Shows a value as [`Type::from_json`] reads it.
    pub fn to_json(&self, value: &Value) -> serde_json::Value {
        use serde_json::Value as Json;
        match (self, value) {
            (_, Value::Bool(value)) => Json::Bool(*value),
            (_, Value::Int(value)) => Json::from(*value),
            (Self::Decimal { scale, .. }, Value::Decimal(value)) => {
                Json::String(decimal_text(*value, *scale))
            }
            (_, Value::Decimal(value)) => Json::from(*value),
            (_, Value::Time(value)) => Json::from(*value),
            (_, Value::Text(text) | Value::Symbol(text) | Value::Id(text) | Value::Ref(text)) => {
                Json::String(text.clone())
            }
            (_, Value::Bytes(bytes)) => Json::String(hex_text(bytes)),
            (_, Value::Digest(digest)) => Json::String(digest.to_string()),
            (_, Value::Member(name)) => Json::String(name.to_string()),
            (_, Value::Identity(identity)) => Json::String(identity.to_string()),
            (Self::List { of, .. }, Value::List(items)) => {
                Json::Array(items.iter().map(|item| of.to_json(item)).collect())
            }
            (Self::Set { of, .. }, Value::Set(items)) => {
                Json::Array(items.iter().map(|item| of.to_json(item)).collect())
            }
            (_, Value::List(items)) => {
                Json::Array(items.iter().map(|item| self.to_json(item)).collect())
            }
            (_, Value::Set(items)) => {
                Json::Array(items.iter().map(|item| self.to_json(item)).collect())
            }
        }
    }

    /// The most bytes a value of it takes, encoded.
    pub fn max_size(&self) -> usize {
        1 + match self {
            Self::Bool => 1,
            Self::Int { .. } | Self::Decimal { .. } | Self::Time { .. } => 8,
            Self::Text { max } | Self::Bytes { max } => 4 + *max as usize,
            Self::Symbol | Self::Member => 4 + Value::MAX_SYMBOL,
            Self::Id | Self::Ref { .. } => 4 + Value::MAX_ID,
            Self::Digest | Self::Identity => 32,
            Self::List { of, max } | Self::Set { of, max } => 4 + *max as usize * of.max_size(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name().code())?;
        match self {
            Self::Decimal { scale, .. } => write!(formatter, "({scale})")?,
            Self::Time { clock: Clock::Block, .. } => formatter.write_str(" of the block")?,
            Self::Time { clock: Clock::Signer, .. } => formatter.write_str(" of a signer")?,
            Self::Ref { contract, asset } => write!(formatter, " to {contract}/{asset}")?,
            Self::List { of, .. } | Self::Set { of, .. } => write!(formatter, " of {of}")?,
            _ => {}
        }
        let unit = self.unit();
        if unit.is_count() { Ok(()) } else { write!(formatter, " in {unit}") }
    }
}

fn count(items: usize, max: u32) -> Result<(), String> {
    if items > max as usize {
        return Err(format!("{items} items; at most {max} are accepted"));
    }
    Ok(())
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Bytes in lower-case hexadecimal.
pub fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".{0,80}") {
            for ty in [
                Type::Bool, Type::int(), Type::Symbol, Type::Id, Type::Text { max: 16 },
                Type::Bytes { max: 8 }, Type::Digest, Type::Member, Type::Identity,
                Type::time(Clock::Signer),
                Type::Decimal { scale: 3, unit: Unit::count(), min: i64::MIN, max: i64::MAX },
            ] {
                if let Ok(value) = ty.parse(&text) {
                    prop_assert_eq!(ty.check(&value), Ok(()));
                    prop_assert_eq!(ty.from_json(&ty.to_json(&value)), Ok(value));
                }
            }
        }
    }

    #[test]
    fn bounds_are_kept() {
        let ty = Type::Decimal { scale: 3, unit: Unit::count(), min: -1500, max: 2000 };
        assert_eq!(ty.parse("-1.5"), Ok(Value::Decimal(-1500)));
        assert_eq!(ty.parse("2.0000"), Ok(Value::Decimal(2000)));
        assert!(ty.parse("2.001").unwrap_err().contains("2.001 is not within -1.500 to 2.000"));
        assert!(ty.parse("0.0001").unwrap_err().contains("more than 3 decimals"));
        assert!(ty.check(&Value::Int(1)).is_err());
        assert!(Type::Symbol.check(&Value::Symbol(String::new())).is_err());
        assert!(Type::Symbol.check(&Value::Symbol("a".repeat(65))).is_err());
        assert!(Type::Id.check(&Value::Id("a\nb".into())).is_err());
    }

    #[test]
    fn one_name_is_one_value() {
        let (composed, decomposed) = ("temp\u{e9}rature", "tempe\u{301}rature");
        for ty in [Type::Symbol, Type::Id] {
            assert_eq!(ty.parse(composed), ty.parse(decomposed));
        }
        // Whoever signs it otherwise is refused.
        assert!(Type::Symbol.check(&Value::Symbol(decomposed.into())).is_err());
        let device =
            Type::Ref { contract: Name::new("c").unwrap(), asset: Name::new("a").unwrap() };
        assert!(device.check(&Value::Ref(decomposed.into())).is_err());
    }

    #[test]
    fn text_is_seen_as_it_is() {
        let ty = Type::Text { max: 64 };
        assert!(ty.parse("two\nlines,\tone tab, \u{202b}any\u{202c} direction").is_ok());
        for control in ["\0", "\x1b[31m", "\r", "\x7f", "\u{9b}"] {
            assert!(ty.parse(control).unwrap_err().contains("control character"), "{control:?}");
        }
    }

    #[test]
    fn a_time_is_plausible_or_says_what_it_may_have_been() {
        let min = 1_577_836_800_000;
        let ty = Type::Time { clock: Clock::Signer, min, max_ahead: Some(60_000) };
        let now = 1_795_186_800_000;
        let said = |time| ty.check_time(&Value::Time(time), UnixMillis(now));
        assert_eq!(said(min), Ok(()));
        assert_eq!(said(now + 60_000), Ok(()));
        assert!(said(min - 1).unwrap_err().contains("before 2020-01-01T00:00:00Z"));
        assert!(said(now + 60_001).unwrap_err().contains("more than 60 s ahead"));
        let seconds = said(1_795_186_800).unwrap_err();
        assert!(seconds.contains("in seconds it would be 2026-11-20T15:00:00Z"), "{seconds}");
        assert_eq!(Type::time(Clock::Signer).check_time(&Value::Time(1), UnixMillis(now)), Ok(()));
        let list = Type::List { of: Box::new(ty), max: 2 };
        assert!(list.check_time(&Value::List(vec![Value::Time(1)]), UnixMillis(now)).is_err());
    }

    #[test]
    fn a_number_that_json_does_not_keep_is_refused() {
        let ty = Type::Decimal { scale: 18, unit: Unit::count(), min: i64::MIN, max: i64::MAX };
        let json = |text: &str| ty.from_json(&serde_json::from_str(text).unwrap());
        assert_eq!(json("0.25"), Ok(Value::Decimal(250_000_000_000_000_000)));
        assert_eq!(json("2"), Ok(Value::Decimal(2_000_000_000_000_000_000)));
        assert!(json("1.2345678901234567").unwrap_err().contains("write it as text"));
    }
}
