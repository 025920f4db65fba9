//! Brings the sides of an operation to one kind, values to a declared type, and
//! constants to their result.

use std::collections::BTreeMap;

use hufu_proof::{Height, IdentityId, Name, Sequence, UnixMillis, Value};

use super::ast::{Binary, Expression};
use super::evaluate::{Code, Number, Scope, rescale};
use super::kind::{Kind, Result, Typed, fail, is_time, mixed_clocks, number_type, show};
use crate::types::Type;
use crate::unit::Unit;
use crate::world::{Asset, Context, Member, Principal, World};

/// `time - time` is milliseconds; `time + milliseconds` is a time.
pub(super) fn times(
    left: Typed,
    right: Typed,
    operator: Binary,
    at: &Expression,
) -> Result<(Code, Code, Kind, Number)> {
    let milliseconds = number_type(None, Unit::milliseconds());
    match (operator, is_time(&right.1)) {
        (Binary::Subtract, true) => {
            if left.1 != right.1 {
                return fail(at, mixed_clocks());
            }
            Ok((left.0, right.0, Kind::Of(milliseconds), Number::Int))
        }
        (Binary::Add | Binary::Subtract, false) => {
            let other = coerce(right, &milliseconds, at)?;
            Ok((left.0, other, left.1, Number::Time))
        }
        _ => fail(at, "times are subtracted from each other, or moved by milliseconds"),
    }
}

/// Brings both sides to one kind.
pub(super) fn unify(left: Typed, right: Typed, at: &Expression) -> Result<(Code, Code, Kind)> {
    let kind = unify_kinds(left.clone(), right.clone(), at)?;
    Ok((coerce_kind(left, &kind, at)?, coerce_kind(right, &kind, at)?, kind))
}

/// The kind both sides can be brought to.
pub(super) fn unify_kinds(left: Typed, right: Typed, at: &Expression) -> Result<Kind> {
    match (left.1, right.1) {
        (Kind::Of(one), Kind::Of(other)) => {
            if one.same_meaning(&other) {
                return Ok(Kind::Of(one));
            }
            // A reference is compared by the key that it is.
            if matches!((&one, &other), (Type::Id, Type::Ref { .. }) | (Type::Ref { .. }, Type::Id))
            {
                return Ok(Kind::Of(Type::Id));
            }
            if matches!((&one, &other), (Type::Time { .. }, Type::Time { .. })) {
                return fail(at, mixed_clocks());
            }
            if one.unit() != other.unit() && one.name() == other.name() {
                return fail(
                    at,
                    format!("mixes {one} with {other}; both sides must have the same unit"),
                );
            }
            fail(at, format!("mixes {one} with {other}"))
        }
        (Kind::Of(ty), _) | (_, Kind::Of(ty)) => Ok(Kind::Of(ty)),
        (Kind::Number(one), Kind::Number(other)) => Ok(Kind::Number(match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).max(other.unwrap_or(0))),
        })),
        (Kind::Text, Kind::Text) => Ok(Kind::Text),
        (Kind::Nothing, kind) | (kind, Kind::Nothing) => Ok(kind),
        (Kind::Items(one, length), Kind::Items(other, other_length)) if one == other => {
            Ok(Kind::Items(one, length.max(other_length)))
        }
        (one, other) => fail(at, format!("mixes {} with {}", show(&one), show(&other))),
    }
}

/// Gives a number that was written out `scale` decimals.
fn adopt_scale(code: Code, kind: &Kind, scale: Option<u8>, at: &Expression) -> Result<Code> {
    let Kind::Number(own) = kind else { return Ok(code) };
    if *own == scale {
        return Ok(code);
    }
    each_constant(code, at, &|value| {
        let digits = match value {
            Value::Int(digits) | Value::Decimal(digits) => digits,
            _ => return fail(at, "is not a number"),
        };
        let (from, to) = (own.unwrap_or(0), scale.unwrap_or(0));
        if from > to {
            return fail(at, format!("has {from} decimals where there are {to}"));
        }
        let digits =
            rescale(i128::from(digits), from, to).and_then(|digits| i64::try_from(digits).ok());
        match (digits, scale) {
            (None, _) => fail(at, "the number does not fit into 64 bits"),
            (Some(digits), None) => Ok(Value::Int(digits)),
            (Some(digits), Some(_)) => Ok(Value::Decimal(digits)),
        }
    })
}

/// Brings a value to a declared type, or says why it cannot be.
pub(super) fn coerce(typed: Typed, wanted: &Type, at: &Expression) -> Result<Code> {
    let (code, kind) = typed;
    match (&kind, wanted) {
        (Kind::Of(ty), _) if ty.same_meaning(wanted) => Ok(code),
        // A reference is a key, and whether an asset has it is asked for later.
        (Kind::Of(Type::Id), Type::Ref { .. }) => Ok(Code::Refer(Box::new(code))),
        (Kind::Of(Type::Ref { .. }), Type::Id) => Ok(Code::Key(Box::new(code))),
        (Kind::Of(_), _) => {
            unify_kinds((code, kind), (Code::List(vec![]), Kind::Of(wanted.clone())), at)
                .and_then(|_| fail(at, format!("is not {wanted}")))
        }
        (Kind::Number(_), Type::Int { .. }) => adopt_scale(code, &kind, None, at),
        (Kind::Number(_), Type::Decimal { scale, .. }) => {
            adopt_scale(code, &kind, Some(*scale), at)
        }
        (
            Kind::Text,
            Type::Text { .. }
            | Type::Symbol
            | Type::Id
            | Type::Bytes { .. }
            | Type::Digest
            | Type::Member
            | Type::Identity
            | Type::Ref { .. },
        ) => each_constant(code, at, &|value| match value {
            Value::Text(text) => wanted.parse(&text).or_else(|message| fail(at, message)),
            _ => fail(at, format!("is not {wanted}")),
        }),
        (Kind::Nothing, Type::List { .. }) => Ok(Code::List(Vec::new())),
        (Kind::Nothing, Type::Set { .. }) => Ok(Code::Set(Vec::new())),
        (Kind::Items(kind, _), Type::List { of, .. }) => {
            coerce_items(code, kind, &Kind::Of((**of).clone()), at).map(Code::List)
        }
        (Kind::Items(kind, _), Type::Set { of, .. }) => {
            coerce_items(code, kind, &Kind::Of((**of).clone()), at).map(Code::Set)
        }
        _ => fail(at, format!("is {}, not {wanted}", show(&kind))),
    }
}

/// Brings a value to a kind that [`unify_kinds`] found for it.
pub(super) fn coerce_kind(typed: Typed, wanted: &Kind, at: &Expression) -> Result<Code> {
    match wanted {
        Kind::Of(ty) => coerce(typed, ty, at),
        Kind::Number(scale) => adopt_scale(typed.0, &typed.1, *scale, at),
        Kind::Text | Kind::Items(..) | Kind::Nothing => Ok(typed.0),
    }
}

pub(super) fn coerce_items(
    code: Code,
    kind: &Kind,
    wanted: &Kind,
    at: &Expression,
) -> Result<Vec<Code>> {
    match code {
        Code::List(items) => items
            .into_iter()
            .map(|item| coerce_kind((item, kind.clone()), wanted, at))
            .collect::<Result<Vec<_>>>(),
        _ => fail(at, "write the whole list out"),
    }
}

/// Applies `change` to the constants that something written out consists of.
fn each_constant(
    code: Code,
    at: &Expression,
    change: &dyn Fn(Value) -> Result<Value>,
) -> Result<Code> {
    match code {
        Code::Constant(value) => change(value).map(Code::Constant),
        Code::Choice(condition, one, other) => Ok(Code::Choice(
            condition,
            Box::new(each_constant(*one, at, change)?),
            Box::new(each_constant(*other, at, change)?),
        )),
        // Everything else of constants has been folded, but for a choice inside.
        _ => fail(at, "has no type of its own; move the choice `?:` outwards"),
    }
}

/// Computes what consists of constants only.
pub(super) fn fold(code: Code, at: &Expression) -> Result<Code> {
    let constant = |code: &Code| matches!(code, Code::Constant(_));
    let foldable = match &code {
        Code::Not(of) | Code::Negate(of) | Code::Absolute(of) | Code::Truncate { of, .. } => {
            constant(of)
        }
        Code::Arithmetic(_, one, other, _) | Code::Compare(_, one, other) => {
            constant(one) && constant(other)
        }
        Code::Least(items) | Code::Greatest(items) => items.iter().all(constant),
        _ => false,
    };
    if !foldable {
        return Ok(code);
    }
    let (block_height, block_time_ms) = (Height(0), UnixMillis::ZERO);
    let context = Context { principal: Principal::clock(), via: None, block_height, block_time_ms };
    let params = BTreeMap::new();
    let scope =
        Scope { asset: None, params: &params, row: &[], context: &context, world: &Nowhere };
    match code.evaluate(&scope) {
        Ok(value) => Ok(Code::Constant(value.into_owned())),
        Err(fault) => fail(at, format!("always fails: {fault}")),
    }
}

/// A world without anything, for constants.
struct Nowhere;

impl World for Nowhere {
    fn asset(&self, _: &Name, _: &Name, _: &str) -> Option<Asset> {
        None
    }

    fn member(&self, _: &Name, _: &Name) -> Option<Member> {
        None
    }

    fn stream_sequence(&self, _: &Name, _: &Name, _: &IdentityId) -> Sequence {
        Sequence::ZERO
    }
}
