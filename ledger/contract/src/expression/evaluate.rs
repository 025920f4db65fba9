//! Evaluation of a checked expression. It reads nothing but its [`Scope`], takes
//! at most the steps its cost says, and gives the same on every machine.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::{Digest, Name, Value};

use super::ast::Binary;
use crate::types::MAX_TIME;
use crate::world::{Asset, Context, World};

/// Why there is no result. All of them refuse the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A result does not fit into 64 bits, or a time is out of range.
    #[error("a result does not fit into 64 bits")]
    Overflow,
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// An optional field without a value, or a reference to no asset.
    #[error("refers to what is not there")]
    Missing,
    /// Values in the state are not of the types the contract was checked with.
    #[error("a value is not of its declared type")]
    Type,
}

/// What an expression can see.
pub struct Scope<'a> {
    /// `asset`: its key and itself.
    pub asset: Option<(&'a str, &'a Asset)>,
    /// `params`.
    pub params: &'a BTreeMap<Name, Value>,
    /// `row`: values in the order of the columns' names.
    pub row: &'a [Value],
    /// `principal` and `block`.
    pub context: &'a Context,
    /// Where references lead.
    pub world: &'a dyn World,
}

/// An expression with all names resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Code {
    Constant(Value),
    Asset(Part),
    Param(Name),
    Column(usize),
    PrincipalMember,
    PrincipalIdentity,
    PrincipalKind,
    PrincipalSubject,
    BlockHeight,
    BlockTime,
    Follow {
        of: Box<Code>,
        contract: Name,
        asset: Name,
        part: Part,
    },
    Has(Box<Code>),
    Not(Box<Code>),
    Negate(Box<Code>),
    Absolute(Box<Code>),
    Both(Box<Code>, Box<Code>),
    Either(Box<Code>, Box<Code>),
    Arithmetic(Binary, Box<Code>, Box<Code>, Number),
    Compare(Binary, Box<Code>, Box<Code>),
    Within(Box<Code>, Box<Code>),
    Choice(Box<Code>, Box<Code>, Box<Code>),
    List(Vec<Code>),
    Set(Vec<Code>),
    Size(Box<Code>),
    Least(Vec<Code>),
    Greatest(Vec<Code>),
    Truncate {
        of: Box<Code>,
        from: u8,
        to: u8,
        result: Number,
    },
    Join(Vec<Code>),
    Digest(Box<Code>),
    With(Box<Code>, Box<Code>),
    Without(Box<Code>, Box<Code>),
    /// The key of what a reference leads to.
    Key(Box<Code>),
    /// A reference to the asset with a key.
    Refer(Box<Code>),
}

/// A part of an asset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Key,
    State,
    Field(Name),
}

/// How a number is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Int,
    Decimal,
    Time,
}

type Result<T> = std::result::Result<T, Fault>;

impl Code {
    pub(crate) fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Cow<'a, Value>> {
        Ok(Cow::Owned(match self {
            Self::Constant(value) => return Ok(Cow::Borrowed(value)),
            Self::Asset(part) => {
                let (key, asset) = scope.asset.ok_or(Fault::Missing)?;
                return part.of(key, asset);
            }
            Self::Param(name) => {
                return scope.params.get(name).map(Cow::Borrowed).ok_or(Fault::Missing);
            }
            Self::Column(position) => {
                return scope.row.get(*position).map(Cow::Borrowed).ok_or(Fault::Missing);
            }
            Self::PrincipalMember => {
                let member = scope.context.principal.member.clone();
                Value::Member(member.ok_or(Fault::Missing)?)
            }
            Self::PrincipalIdentity => Value::Identity(scope.context.principal.identity),
            Self::PrincipalKind => Value::Symbol(scope.context.principal.kind.as_str().to_owned()),
            Self::PrincipalSubject => Value::Id(scope.context.principal.subject.clone()),
            Self::BlockHeight => {
                let height = i64::try_from(scope.context.block_height.get());
                Value::Int(height.map_err(|_| Fault::Overflow)?)
            }
            Self::BlockTime => time(i128::from(scope.context.block_time_ms.get()))?,
            Self::Follow { of, contract, asset, part } => {
                let reference = of.evaluate(scope)?;
                let Value::Ref(key) = reference.as_ref() else { return Err(Fault::Type) };
                let found = scope.world.asset(contract, asset, key).ok_or(Fault::Missing)?;
                part.of(key, &found)?.into_owned()
            }
            Self::Has(of) => match of.evaluate(scope) {
                Ok(_) => Value::Bool(true),
                Err(Fault::Missing) => Value::Bool(false),
                Err(fault) => return Err(fault),
            },
            Self::Not(of) => Value::Bool(!of.truth(scope)?),
            Self::Negate(of) => {
                let value = of.evaluate(scope)?;
                number(i128::from(whole(&value)?).checked_neg(), kind_of(&value)?)?
            }
            Self::Absolute(of) => {
                let value = of.evaluate(scope)?;
                number(i128::from(whole(&value)?).checked_abs(), kind_of(&value)?)?
            }
            Self::Both(one, other) => Value::Bool(one.truth(scope)? && other.truth(scope)?),
            Self::Either(one, other) => Value::Bool(one.truth(scope)? || other.truth(scope)?),
            Self::Arithmetic(operator, one, other, result) => {
                let one = i128::from(whole(one.evaluate(scope)?.as_ref())?);
                let other = i128::from(whole(other.evaluate(scope)?.as_ref())?);
                let value = match operator {
                    Binary::Add => one.checked_add(other),
                    Binary::Subtract => one.checked_sub(other),
                    Binary::Multiply => one.checked_mul(other),
                    Binary::Divide if other == 0 => return Err(Fault::DivisionByZero),
                    Binary::Divide => one.checked_div(other),
                    Binary::Remainder if other == 0 => return Err(Fault::DivisionByZero),
                    Binary::Remainder => one.checked_rem(other),
                    _ => return Err(Fault::Type),
                };
                number(value, *result)?
            }
            Self::Compare(operator, one, other) => {
                let (one, other) = (one.evaluate(scope)?, other.evaluate(scope)?);
                Value::Bool(match operator {
                    Binary::Equal => one == other,
                    Binary::Unequal => one != other,
                    // Both sides are of one type, so the order is that of its
                    // values.
                    Binary::Less => one < other,
                    Binary::LessOrEqual => one <= other,
                    Binary::Greater => one > other,
                    Binary::GreaterOrEqual => one >= other,
                    _ => return Err(Fault::Type),
                })
            }
            Self::Within(item, items) => {
                let (item, items) = (item.evaluate(scope)?, items.evaluate(scope)?);
                Value::Bool(match items.as_ref() {
                    Value::List(items) => items.contains(item.as_ref()),
                    Value::Set(items) => items.contains(item.as_ref()),
                    _ => return Err(Fault::Type),
                })
            }
            Self::Choice(condition, one, other) => {
                let chosen = if condition.truth(scope)? { one } else { other };
                return chosen.evaluate(scope);
            }
            Self::List(items) => Value::List(all(items, scope)?),
            Self::Set(items) => Value::Set(BTreeSet::from_iter(all(items, scope)?)),
            Self::Size(of) => {
                let size = match of.evaluate(scope)?.as_ref() {
                    Value::List(items) => items.len(),
                    Value::Set(items) => items.len(),
                    Value::Text(text) | Value::Symbol(text) | Value::Id(text) => text.len(),
                    Value::Bytes(bytes) => bytes.len(),
                    _ => return Err(Fault::Type),
                };
                Value::Int(i64::try_from(size).map_err(|_| Fault::Overflow)?)
            }
            Self::Least(items) => all(items, scope)?.into_iter().min().ok_or(Fault::Missing)?,
            Self::Greatest(items) => all(items, scope)?.into_iter().max().ok_or(Fault::Missing)?,
            Self::Truncate { of, from, to, result } => {
                let value = i128::from(whole(of.evaluate(scope)?.as_ref())?);
                number(rescale(value, *from, *to), *result)?
            }
            Self::Join(parts) => {
                let parts = parts.iter().map(|part| spelled(part.evaluate(scope)?.as_ref()));
                let joined = parts.collect::<Result<Vec<_>>>()?.join("-");
                if joined.len() > Value::MAX_ID {
                    return Err(Fault::Overflow);
                }
                Value::Id(joined)
            }
            Self::Digest(of) => {
                let value = of.evaluate(scope)?;
                Value::Digest(match value.as_ref() {
                    Value::Bytes(bytes) => Digest::of(bytes),
                    value => Digest::of(spelled(value)?.as_bytes()),
                })
            }
            Self::With(set, item) => {
                let (mut items, item) = (items_of(set, scope)?, item.evaluate(scope)?);
                items.insert(item.into_owned());
                Value::Set(items)
            }
            Self::Without(set, item) => {
                let (mut items, item) = (items_of(set, scope)?, item.evaluate(scope)?);
                items.remove(item.as_ref());
                Value::Set(items)
            }
            Self::Key(of) => match of.evaluate(scope)?.into_owned() {
                Value::Ref(key) => Value::Id(key),
                _ => return Err(Fault::Type),
            },
            Self::Refer(of) => match of.evaluate(scope)?.into_owned() {
                Value::Id(key) => Value::Ref(key),
                _ => return Err(Fault::Type),
            },
        }))
    }

    pub(crate) fn truth(&self, scope: &Scope<'_>) -> Result<bool> {
        match self.evaluate(scope)?.as_ref() {
            Value::Bool(value) => Ok(*value),
            _ => Err(Fault::Type),
        }
    }
}

impl Part {
    fn of<'a>(&self, key: &str, asset: &'a Asset) -> Result<Cow<'a, Value>> {
        match self {
            Self::Key => Ok(Cow::Owned(Value::Id(key.to_owned()))),
            Self::State => Ok(Cow::Owned(Value::Symbol(asset.state.to_string()))),
            Self::Field(name) => asset.fields.get(name).map(Cow::Borrowed).ok_or(Fault::Missing),
        }
    }
}

/// A name or a whole number as it is written.
fn spelled(value: &Value) -> Result<String> {
    Ok(match value {
        Value::Text(text) | Value::Symbol(text) | Value::Id(text) | Value::Ref(text) => {
            text.clone()
        }
        Value::Member(name) => name.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Time(time) => time.to_string(),
        _ => return Err(Fault::Type),
    })
}

fn items_of<'a>(set: &'a Code, scope: &Scope<'a>) -> Result<BTreeSet<Value>> {
    match set.evaluate(scope)?.into_owned() {
        Value::Set(items) => Ok(items),
        _ => Err(Fault::Type),
    }
}

/// `value` with `from` decimals as one with `to`, cut off towards zero.
pub(crate) fn rescale(value: i128, from: u8, to: u8) -> Option<i128> {
    let factor = 10_i128.checked_pow(u32::from(from.abs_diff(to)))?;
    if to >= from { value.checked_mul(factor) } else { value.checked_div(factor) }
}

fn all<'a>(items: &'a [Code], scope: &Scope<'a>) -> Result<Vec<Value>> {
    items.iter().map(|item| item.evaluate(scope).map(Cow::into_owned)).collect()
}

fn whole(value: &Value) -> Result<i64> {
    match value {
        Value::Int(value) | Value::Decimal(value) => Ok(*value),
        Value::Time(value) => i64::try_from(*value).map_err(|_| Fault::Overflow),
        _ => Err(Fault::Type),
    }
}

fn kind_of(value: &Value) -> Result<Number> {
    match value {
        Value::Int(_) => Ok(Number::Int),
        Value::Decimal(_) => Ok(Number::Decimal),
        _ => Err(Fault::Type),
    }
}

fn number(value: Option<i128>, kind: Number) -> Result<Value> {
    let value = value.ok_or(Fault::Overflow)?;
    let whole = i64::try_from(value).map_err(|_| Fault::Overflow);
    match kind {
        Number::Int => whole.map(Value::Int),
        Number::Decimal => whole.map(Value::Decimal),
        Number::Time => time(value),
    }
}

fn time(value: i128) -> Result<Value> {
    match u64::try_from(value) {
        Ok(value) if value <= MAX_TIME => Ok(Value::Time(value)),
        _ => Err(Fault::Overflow),
    }
}
