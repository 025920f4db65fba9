//! The types of expressions, and the worst-case cost of evaluating them.
//!
//! A number or text written out has no type of its own: it takes that of the
//! other side (`asset.state == 'active'`, `row.value > 21.5`), so that a decimal
//! is compared exactly and a text is checked to be a member's name where it is
//! compared with a member. Constants are folded, so an overflow among them is
//! found at check.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, IdentityId, Name, Value};

use super::ast::{Binary, Expression, Node, Unary};
use super::evaluate::{Code, Fault, Number, Part, Scope, rescale};
use super::{ExpressionError, MAX_COST};
use crate::contract::Catalogue;
use crate::package::{AssetType, Parameter};
use crate::types::{Clock, MAX_ITEMS, MAX_SCALE, Type};
use crate::unit::Unit;
use crate::world::{Asset, Context, Member, Principal, World};

/// What a look-up through a reference costs beside a field.
const LOOKUP: u64 = 50;

/// What an expression may refer to.
pub struct Environment<'a> {
    /// `asset`.
    pub asset: Option<&'a AssetType>,
    /// Fields of `asset` that have no value yet: those a creating action sets.
    pub unset: &'a [Name],
    /// `params`.
    pub params: &'a BTreeMap<Name, Parameter>,
    /// `row`.
    pub row: Option<&'a BTreeMap<Name, Type>>,
    /// Where references lead.
    pub catalogue: Catalogue<'a>,
}

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

/// An expression that may be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    pub(crate) code: Code,
    source: String,
    cost: u64,
}

impl Checked {
    /// Its value.
    ///
    /// # Errors
    /// [`Fault`]; every fault refuses the transaction.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Fault> {
        self.code.evaluate(scope).map(Cow::into_owned)
    }

    /// Its value when it is true or false.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, Fault> {
        self.code.truth(scope)
    }

    /// Steps it takes at most.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// The expression in its canonical form.
    pub fn source(&self) -> &str {
        &self.source
    }
}

type Typed = (Code, Kind);
type Result<T, E = ExpressionError> = std::result::Result<T, E>;

impl Environment<'_> {
    /// Checks that `expression` gives a value of type `wanted`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self, expression: &Expression, wanted: &Type) -> Result<Checked> {
        let typed = self.typed(expression)?;
        let code = coerce(typed, wanted, expression)?;
        let cost = cost(&code);
        if cost > MAX_COST {
            return fail(
                expression,
                format!("costs up to {cost} steps; at most {MAX_COST} are accepted"),
            );
        }
        Ok(Checked { code, source: expression.to_string(), cost })
    }

    fn typed(&self, expression: &Expression) -> Result<Typed> {
        match &expression.node {
            Node::Number { digits, scale: 0 } => {
                Ok((Code::Constant(Value::Int(*digits)), Kind::Number(None)))
            }
            Node::Number { digits, scale } => {
                Ok((Code::Constant(Value::Decimal(*digits)), Kind::Number(Some(*scale))))
            }
            Node::Text(text) => Ok((Code::Constant(Value::Text(text.clone())), Kind::Text)),
            Node::Bool(value) => Ok((Code::Constant(Value::Bool(*value)), Kind::Of(Type::Bool))),
            Node::Name(name) => fail(
                expression,
                match name.as_str() {
                    "asset" | "params" | "row" | "principal" | "block" => {
                        format!("`{name}` is no value; name a field of it: `{name}.field`")
                    }
                    _ => format!(
                        "unknown name `{name}`; there are asset, params, row, principal and \
                         block, and text goes in quotes"
                    ),
                },
            ),
            Node::Field(of, field) => self.field(expression, of, field),
            Node::Unary(Unary::Not, operand) => {
                let code = self.truth(operand)?;
                Ok((fold(Code::Not(Box::new(code)), operand)?, Kind::Of(Type::Bool)))
            }
            Node::Unary(Unary::Negate, operand) => {
                let (code, kind) = self.typed(operand)?;
                number_parts(&kind, operand)?;
                Ok((fold(Code::Negate(Box::new(code)), expression)?, kind))
            }
            Node::Binary(operator, left, right) => self.binary(expression, *operator, left, right),
            Node::Choice(condition, one, other) => {
                let condition = self.truth(condition)?;
                let (one, other, kind) = unify(self.typed(one)?, self.typed(other)?, expression)?;
                let code = Code::Choice(Box::new(condition), Box::new(one), Box::new(other));
                Ok((code, kind))
            }
            Node::List(items) => self.list(expression, items),
            Node::Call(name, arguments) => self.call(expression, name, arguments),
        }
    }

    fn truth(&self, expression: &Expression) -> Result<Code> {
        match self.typed(expression)? {
            (code, Kind::Of(Type::Bool)) => Ok(code),
            (_, kind) => fail(expression, format!("is {}, not true or false", show(&kind))),
        }
    }

    fn field(&self, expression: &Expression, of: &Expression, field: &str) -> Result<Typed> {
        let Node::Name(root) = &of.node else {
            let (code, kind) = self.typed(of)?;
            let Kind::Of(Type::Ref { contract, asset }) = &kind else {
                return fail(expression, format!("{} has no fields", show(&kind)));
            };
            let Some(target) = self.catalogue.asset_type(contract, asset) else {
                return fail(expression, format!("no asset type {contract}/{asset}"));
            };
            let (part, ty) = part_of(target, field, expression)?;
            let (contract, asset) = (contract.clone(), asset.clone());
            return Ok((Code::Follow { of: Box::new(code), contract, asset, part }, ty));
        };
        let unknown = |fields: String| {
            fail(expression, format!("`{root}` has no field `{field}`; it has {fields}"))
        };
        match root.as_str() {
            "asset" => {
                let Some(asset) = self.asset else {
                    return fail(of, "there is no `asset` here");
                };
                let (part, ty) = part_of(asset, field, expression)?;
                if self.unset.iter().any(|unset| unset.as_str() == field) {
                    return fail(
                        expression,
                        format!("`asset.{field}` has no value yet: this action sets it"),
                    );
                }
                Ok((Code::Asset(part), ty))
            }
            "params" => match self.params.get_key_value(field) {
                Some((name, parameter)) => {
                    Ok((Code::Param(name.clone()), Kind::Of(parameter.ty.clone())))
                }
                None => unknown(list_of(self.params.keys())),
            },
            "row" => {
                let Some(row) = self.row else { return fail(of, "there is no `row` here") };
                match row.iter().enumerate().find(|(_, (name, _))| name.as_str() == field) {
                    Some((position, (_, ty))) => Ok((Code::Column(position), Kind::Of(ty.clone()))),
                    None => unknown(list_of(row.keys())),
                }
            }
            "principal" => Ok(match field {
                "member" => (Code::PrincipalMember, Kind::Of(Type::Member)),
                "identity" => (Code::PrincipalIdentity, Kind::Of(Type::Identity)),
                "kind" => (Code::PrincipalKind, Kind::Of(Type::Symbol)),
                "subject" => (Code::PrincipalSubject, Kind::Of(Type::Id)),
                _ => return unknown("member, identity, kind and subject".into()),
            }),
            "block" => Ok(match field {
                "height" => (Code::BlockHeight, Kind::Of(Type::int())),
                "time" => (Code::BlockTime, Kind::Of(Type::Time { clock: Clock::Block })),
                _ => return unknown("height and time".into()),
            }),
            _ => self.typed(of),
        }
    }

    fn binary(
        &self,
        expression: &Expression,
        operator: Binary,
        left: &Expression,
        right: &Expression,
    ) -> Result<Typed> {
        let boxed = |left, right| (Box::new(left), Box::new(right));
        match operator {
            Binary::And | Binary::Or => {
                let (one, other) = boxed(self.truth(left)?, self.truth(right)?);
                let code = if operator == Binary::And {
                    Code::Both(one, other)
                } else {
                    Code::Either(one, other)
                };
                Ok((code, Kind::Of(Type::Bool)))
            }
            Binary::In => {
                let (item, items) = (self.typed(left)?, self.typed(right)?);
                let (item, items) = match items.1.clone() {
                    Kind::Of(Type::List { of, .. } | Type::Set { of, .. }) => {
                        (coerce(item, &of, left)?, items.0)
                    }
                    Kind::Items(of, _) => {
                        // One type for the item and all items of the list.
                        let probe = (Code::Constant(Value::Bool(false)), (*of).clone());
                        let kind = unify_kinds(item.clone(), probe, expression)?;
                        let all = coerce_items(items.0, &of, &kind, right)?;
                        (coerce_kind(item, &kind, left)?, Code::List(all))
                    }
                    Kind::Nothing => (item.0, items.0),
                    kind => return fail(right, format!("is {}, not a list", show(&kind))),
                };
                let (item, items) = boxed(item, items);
                Ok((Code::Within(item, items), Kind::Of(Type::Bool)))
            }
            Binary::Equal | Binary::Unequal => {
                let (one, other, _) = unify(self.typed(left)?, self.typed(right)?, expression)?;
                let (one, other) = boxed(one, other);
                let code = fold(Code::Compare(operator, one, other), expression)?;
                Ok((code, Kind::Of(Type::Bool)))
            }
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                let (one, other, kind) = unify(self.typed(left)?, self.typed(right)?, expression)?;
                if !is_ordered(&kind) {
                    return fail(
                        expression,
                        format!("{} has no order; numbers and times have", show(&kind)),
                    );
                }
                let (one, other) = boxed(one, other);
                let code = fold(Code::Compare(operator, one, other), expression)?;
                Ok((code, Kind::Of(Type::Bool)))
            }
            Binary::Add | Binary::Subtract | Binary::Remainder => {
                let (left_kind, right_kind) = (self.typed(left)?, self.typed(right)?);
                let (one, other, kind, number) = if is_time(&left_kind.1) {
                    times(left_kind, right_kind, operator, expression)?
                } else {
                    let (one, other, kind) = unify(left_kind, right_kind, expression)?;
                    let number = number_parts(&kind, expression)?.0;
                    (one, other, kind, held(number))
                };
                let (one, other) = boxed(one, other);
                Ok((fold(Code::Arithmetic(operator, one, other, number), expression)?, kind))
            }
            Binary::Multiply | Binary::Divide => {
                let (one, left_kind) = self.typed(left)?;
                let (other, right_kind) = self.typed(right)?;
                let kind = product(operator, &left_kind, &right_kind, expression)?;
                let number = held(number_parts(&kind, expression)?.0);
                let (one, other) = boxed(one, other);
                Ok((fold(Code::Arithmetic(operator, one, other, number), expression)?, kind))
            }
        }
    }

    fn list(&self, expression: &Expression, items: &[Expression]) -> Result<Typed> {
        let mut rest = items.iter();
        let Some(first) = rest.next() else {
            return Ok((Code::List(Vec::new()), Kind::Nothing));
        };
        let length = u32::try_from(items.len()).unwrap_or(u32::MAX);
        if length > MAX_ITEMS {
            return fail(expression, format!("a list has at most {MAX_ITEMS} items"));
        }
        // First find the kind of all, then bring each to it.
        let mut kind = self.typed(first)?.1;
        for item in rest {
            let probe = (Code::Constant(Value::Bool(false)), kind);
            kind = unify_kinds(probe, self.typed(item)?, item)?;
        }
        let mut code = Vec::new();
        for item in items {
            let typed = self.typed(item)?;
            code.push(coerce_kind(typed, &kind, item)?);
        }
        if matches!(kind, Kind::Items(..) | Kind::Nothing)
            || matches!(&kind, Kind::Of(ty) if !ty.is_scalar())
        {
            return fail(expression, "a list of lists is not accepted");
        }
        Ok((Code::List(code), Kind::Items(Box::new(kind), length)))
    }

    fn call(&self, expression: &Expression, name: &str, arguments: &[Expression]) -> Result<Typed> {
        match (name, arguments) {
            ("size", [of]) => {
                let (code, kind) = self.typed(of)?;
                let sized = matches!(
                    kind,
                    Kind::Text
                        | Kind::Items(..)
                        | Kind::Nothing
                        | Kind::Of(
                            Type::Text { .. }
                                | Type::Symbol
                                | Type::Id
                                | Type::Bytes { .. }
                                | Type::List { .. }
                                | Type::Set { .. }
                        )
                );
                if !sized {
                    return fail(of, format!("{} has no size", show(&kind)));
                }
                Ok((Code::Size(Box::new(code)), Kind::Of(Type::int())))
            }
            ("has", [of]) => {
                let (code, _) = self.typed(of)?;
                let named = matches!(code, Code::Asset(_) | Code::Param(_) | Code::Follow { .. });
                if !named {
                    return fail(of, "`has` wants a field: `has(asset.field)`");
                }
                Ok((Code::Has(Box::new(code)), Kind::Of(Type::Bool)))
            }
            ("min" | "max", [first, rest @ ..]) if !rest.is_empty() => {
                let mut typed = vec![self.typed(first)?];
                for argument in rest {
                    typed.push(self.typed(argument)?);
                }
                let mut kind = typed[0].1.clone();
                for (item, argument) in typed.iter().zip(arguments) {
                    let probe = (Code::Constant(Value::Bool(false)), kind);
                    kind = unify_kinds(probe, item.clone(), argument)?;
                }
                if !is_ordered(&kind) {
                    return fail(expression, format!("{} has no order", show(&kind)));
                }
                let mut code = Vec::new();
                for (item, argument) in typed.into_iter().zip(arguments) {
                    code.push(coerce_kind(item, &kind, argument)?);
                }
                let code = if name == "min" { Code::Least(code) } else { Code::Greatest(code) };
                Ok((fold(code, expression)?, kind))
            }
            ("abs", [of]) => {
                let (code, kind) = self.typed(of)?;
                number_parts(&kind, of)?;
                Ok((fold(Code::Absolute(Box::new(code)), expression)?, kind))
            }
            ("truncate", [of, decimals]) => {
                let Node::Number { digits, scale: 0 } = &decimals.node else {
                    return fail(decimals, "write the number of decimals as a number");
                };
                let to = u8::try_from(*digits).ok().filter(|to| *to <= MAX_SCALE);
                let Some(to) = to else {
                    return fail(decimals, format!("0 to {MAX_SCALE} decimals are accepted"));
                };
                let (code, kind) = self.typed(of)?;
                let (from, unit) = number_parts(&kind, of)?;
                let scale = (to > 0).then_some(to);
                let code = Code::Truncate {
                    of: Box::new(code),
                    from: from.unwrap_or(0),
                    to,
                    result: held(scale),
                };
                let kind = match unit {
                    Some(unit) => Kind::Of(number_type(scale, unit)),
                    None => Kind::Number(scale),
                };
                Ok((fold(code, expression)?, kind))
            }
            ("size" | "has" | "abs", _) => fail(expression, format!("`{name}` takes one argument")),
            ("min" | "max", _) => fail(expression, format!("`{name}` takes two or more arguments")),
            ("truncate", _) => fail(expression, "`truncate` takes a number and its decimals"),
            _ => fail(
                expression,
                format!("no function `{name}`; there are size, has, min, max, abs and truncate"),
            ),
        }
    }
}

/// The part of an asset that a field's name means, and its kind.
fn part_of(asset: &AssetType, field: &str, at: &Expression) -> Result<(Part, Kind)> {
    if field == "state" {
        return Ok((Part::State, Kind::Of(Type::Symbol)));
    }
    if field == asset.key.as_str() {
        return Ok((Part::Key, Kind::Of(Type::Id)));
    }
    match asset.fields.get_key_value(field) {
        Some((name, declared)) => Ok((Part::Field(name.clone()), Kind::Of(declared.ty.clone()))),
        None => fail(
            at,
            format!(
                "asset type {} has no field `{field}`; it has state, {}",
                asset.name,
                list_of(asset.fields.keys())
            ),
        ),
    }
}

fn fail<T>(expression: &Expression, message: impl Into<String>) -> Result<T> {
    Err(ExpressionError { at: expression.at.0, message: message.into() })
}

fn list_of<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<&str> = names.map(Name::as_str).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn show(kind: &Kind) -> String {
    match kind {
        Kind::Of(ty) => ty.to_string(),
        Kind::Number(None) => "a whole number".into(),
        Kind::Number(Some(scale)) => format!("a number with {scale} decimals"),
        Kind::Text => "text".into(),
        Kind::Items(of, _) => format!("a list of {}", show(of)),
        Kind::Nothing => "an empty list".into(),
    }
}

fn is_time(kind: &Kind) -> bool {
    matches!(kind, Kind::Of(Type::Time { .. }))
}

fn is_ordered(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Number(_) | Kind::Of(Type::Int { .. } | Type::Decimal { .. } | Type::Time { .. })
    )
}

/// The scale (`None` for a whole number) and unit (`None` when written out).
fn number_parts(kind: &Kind, at: &Expression) -> Result<(Option<u8>, Option<Unit>)> {
    match kind {
        Kind::Number(scale) => Ok((*scale, None)),
        Kind::Of(Type::Int { unit, .. }) => Ok((None, Some(unit.clone()))),
        Kind::Of(Type::Decimal { unit, scale, .. }) => Ok((Some(*scale), Some(unit.clone()))),
        _ => fail(at, format!("is {}, not a number", show(kind))),
    }
}

fn number_type(scale: Option<u8>, unit: Unit) -> Type {
    match scale {
        None => Type::Int { unit, min: i64::MIN, max: i64::MAX },
        Some(scale) => Type::Decimal { scale, unit, min: i64::MIN, max: i64::MAX },
    }
}

fn held(scale: Option<u8>) -> Number {
    if scale.is_some() { Number::Decimal } else { Number::Int }
}

/// The kind of `left * right` or `left / right`.
fn product(operator: Binary, left: &Kind, right: &Kind, at: &Expression) -> Result<Kind> {
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

/// `time - time` is milliseconds; `time + milliseconds` is a time.
fn times(
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

fn mixed_clocks() -> &'static str {
    "mixes a time of the block with a time that a signer declared; they are different clocks"
}

/// Brings both sides to one kind.
fn unify(left: Typed, right: Typed, at: &Expression) -> Result<(Code, Code, Kind)> {
    let kind = unify_kinds(left.clone(), right.clone(), at)?;
    Ok((coerce_kind(left, &kind, at)?, coerce_kind(right, &kind, at)?, kind))
}

/// The kind both sides can be brought to.
fn unify_kinds(left: Typed, right: Typed, at: &Expression) -> Result<Kind> {
    match (left.1, right.1) {
        (Kind::Of(one), Kind::Of(other)) => {
            if one.same_meaning(&other) {
                return Ok(Kind::Of(one));
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
fn coerce(typed: Typed, wanted: &Type, at: &Expression) -> Result<Code> {
    let (code, kind) = typed;
    match (&kind, wanted) {
        (Kind::Of(ty), _) if ty.same_meaning(wanted) => Ok(code),
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
fn coerce_kind(typed: Typed, wanted: &Kind, at: &Expression) -> Result<Code> {
    match wanted {
        Kind::Of(ty) => coerce(typed, ty, at),
        Kind::Number(scale) => adopt_scale(typed.0, &typed.1, *scale, at),
        Kind::Text | Kind::Items(..) | Kind::Nothing => Ok(typed.0),
    }
}

fn coerce_items(code: Code, kind: &Kind, wanted: &Kind, at: &Expression) -> Result<Vec<Code>> {
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
fn fold(code: Code, at: &Expression) -> Result<Code> {
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
    let Ok(nobody) = Name::new("nobody") else { return Ok(code) };
    if !foldable {
        return Ok(code);
    }
    let context = Context {
        principal: Principal {
            identity: IdentityId(Digest::default()),
            member: nobody,
            kind: IdentityKind::Member,
            subject: String::new(),
        },
        block_height: 0,
        block_time_ms: 0,
    };
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

    fn stream_sequence(&self, _: &Name, _: &Name, _: &IdentityId) -> u64 {
        0
    }
}

/// Steps an expression takes at most: one for each operator and operand, more
/// where a reference is followed or a list is searched.
fn cost(code: &Code) -> u64 {
    let sum = |items: &[Code]| items.iter().map(cost).sum::<u64>();
    1 + match code {
        Code::Constant(_)
        | Code::Asset(_)
        | Code::Param(_)
        | Code::Column(_)
        | Code::PrincipalMember
        | Code::PrincipalIdentity
        | Code::PrincipalKind
        | Code::PrincipalSubject
        | Code::BlockHeight
        | Code::BlockTime => 0,
        Code::Follow { of, .. } => LOOKUP + cost(of),
        Code::Has(of)
        | Code::Not(of)
        | Code::Negate(of)
        | Code::Absolute(of)
        | Code::Size(of)
        | Code::Truncate { of, .. } => cost(of),
        Code::Both(one, other)
        | Code::Either(one, other)
        | Code::Arithmetic(_, one, other, _)
        | Code::Compare(_, one, other) => cost(one) + cost(other),
        Code::Within(item, items) => {
            let searched = match items.as_ref() {
                Code::List(items) => items.len() as u64,
                _ => u64::from(MAX_ITEMS),
            };
            cost(item) + cost(items) + searched
        }
        Code::Choice(condition, one, other) => cost(condition) + cost(one).max(cost(other)),
        Code::List(items) | Code::Set(items) | Code::Least(items) | Code::Greatest(items) => {
            sum(items)
        }
    }
}
