//! What kinds of values expressions have, and the rules of their numbers.

use super::ExpressionError;
use super::ast::{Binary, Expression};
use super::evaluate::{Code, Number};
use crate::types::{MAX_SCALE, Type};
use crate::unit::Unit;

/// What kind of value an expression has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value of a declared type (its bounds do not matter).
    Of(Type),
    /// A number written out, with this many decimals; `None` for a whole one.
    Number(Option<u8>),
    /// A text written out.
    Text,
    /// A list written out, of this many items of one kind.
    Items(Box<Kind>, u32),
    /// `[]`
    Nothing,
}

/// What an expression is compiled to, and its kind.
pub(super) type Typed = (Code, Kind);
pub(super) type Result<T, E = ExpressionError> = std::result::Result<T, E>;

pub(super) fn fail<T>(expression: &Expression, message: impl Into<String>) -> Result<T> {
    Err(ExpressionError { at: expression.at.0, message: message.into() })
}

pub(super) fn show(kind: &Kind) -> String {
    match kind {
        Kind::Of(ty) => ty.to_string(),
        Kind::Number(None) => "a whole number".into(),
        Kind::Number(Some(scale)) => format!("a number with {scale} decimals"),
        Kind::Text => "text".into(),
        Kind::Items(of, _) => format!("a list of {}", show(of)),
        Kind::Nothing => "an empty list".into(),
    }
}

pub(super) fn is_time(kind: &Kind) -> bool {
    matches!(kind, Kind::Of(Type::Time { .. }))
}

pub(super) fn is_ordered(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Number(_) | Kind::Of(Type::Int { .. } | Type::Decimal { .. } | Type::Time { .. })
    )
}

/// The scale (`None` for a whole number) and unit (`None` when written out).
pub(super) fn number_parts(kind: &Kind, at: &Expression) -> Result<(Option<u8>, Option<Unit>)> {
    match kind {
        Kind::Number(scale) => Ok((*scale, None)),
        Kind::Of(Type::Int { unit, .. }) => Ok((None, Some(unit.clone()))),
        Kind::Of(Type::Decimal { unit, scale, .. }) => Ok((Some(*scale), Some(unit.clone()))),
        _ => fail(at, format!("is {}, not a number", show(kind))),
    }
}

pub(super) fn number_type(scale: Option<u8>, unit: Unit) -> Type {
    match scale {
        None => Type::Int { unit, min: i64::MIN, max: i64::MAX },
        Some(scale) => Type::Decimal { scale, unit, min: i64::MIN, max: i64::MAX },
    }
}

pub(super) fn held(scale: Option<u8>) -> Number {
    if scale.is_some() { Number::Decimal } else { Number::Int }
}

/// The kind of `left * right` or `left / right`.
pub(super) fn product(
    operator: Binary,
    left: &Kind,
    right: &Kind,
    at: &Expression,
) -> Result<Kind> {
    let (left_scale, left_unit) = number_parts(left, at)?;
    let (right_scale, right_unit) = number_parts(right, at)?;
    let scale = match (operator, left_scale, right_scale) {
        (Binary::Divide, _, Some(_)) => {
            return fail(
                at,
                "division by a decimal is not exact; divide by a whole number, or cut the \
                 divisor off with truncate(x, 0)",
            );
        }
        (Binary::Divide, scale, None) => scale,
        (_, None, None) => None,
        (_, one, other) => {
            let sum = one.unwrap_or(0) + other.unwrap_or(0);
            if sum > MAX_SCALE {
                return fail(at, format!("the product has {sum} decimals; at most {MAX_SCALE}"));
            }
            Some(sum)
        }
    };
    let unit = match (&left_unit, &right_unit) {
        (None, None) => return Ok(Kind::Number(scale)),
        (left, right) => {
            let count = Unit::count();
            let (left, right) = (left.as_ref().unwrap_or(&count), right.as_ref().unwrap_or(&count));
            let unit = if operator == Binary::Divide { left.per(right) } else { left.times(right) };
            unit.or_else(|message| fail(at, message))?
        }
    };
    Ok(Kind::Of(number_type(scale, unit)))
}

pub(super) fn mixed_clocks() -> &'static str {
    "mixes a time of the block with a time that a signer declared; they are different clocks"
}
