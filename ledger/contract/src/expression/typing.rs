//! The types of expressions, and the worst-case cost of evaluating them.
//!
//! A number or text written out has no type of its own: it takes that of the
//! other side (`asset.state == 'active'`, `row.value > 21.5`), so that a decimal
//! is compared exactly and a text is checked to be a member's name where it is
//! compared with a member. Constants are folded, so an overflow among them is
//! found at check.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hufu_proof::{Name, Value};

use super::MAX_COST;
use super::ast::{Binary, Expression, Node, Unary};
use super::coerce::{coerce, coerce_items, coerce_kind, fold, times, unify, unify_kinds};
use super::evaluate::{Code, Fault, Part, Scope};
use super::kind::{
    Kind, Result, Typed, fail, held, is_ordered, is_time, number_parts, number_type, product, show,
};
use crate::package::{AssetType, AssetTypes, Parameter};
use crate::types::{Clock, MAX_ITEMS, MAX_SCALE, Type};

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
    pub(crate) catalogue: &'a dyn AssetTypes,
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
                "time" => (Code::BlockTime, Kind::Of(Type::time(Clock::Block))),
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
            ("join", [first, rest @ ..]) if !rest.is_empty() => {
                let mut parts = Vec::new();
                for argument in std::iter::once(first).chain(rest) {
                    let (code, kind) = self.typed(argument)?;
                    if !is_spelled(&kind) {
                        return fail(argument, format!("{} is no part of a name", show(&kind)));
                    }
                    parts.push(code);
                }
                Ok((Code::Join(parts), Kind::Of(Type::Id)))
            }
            ("digest", [of]) => {
                let (code, kind) = self.typed(of)?;
                if !is_spelled(&kind) && !matches!(kind, Kind::Of(Type::Bytes { .. })) {
                    return fail(of, format!("{} has no digest; join(...) has", show(&kind)));
                }
                Ok((Code::Digest(Box::new(code)), Kind::Of(Type::Digest)))
            }
            ("with" | "without", [set, item]) => {
                let (code, kind) = self.typed(set)?;
                let Kind::Of(Type::Set { of, .. }) = &kind else {
                    return fail(set, format!("is {}, not a set", show(&kind)));
                };
                let item = coerce(self.typed(item)?, of, item)?;
                let (code, item) = (Box::new(code), Box::new(item));
                let code =
                    if name == "with" { Code::With(code, item) } else { Code::Without(code, item) };
                Ok((code, kind))
            }
            ("join", _) => fail(expression, "`join` takes two or more arguments"),
            ("with" | "without", _) => {
                fail(expression, format!("`{name}` takes a set and an item"))
            }
            ("size" | "has" | "abs" | "digest", _) => {
                fail(expression, format!("`{name}` takes one argument"))
            }
            ("min" | "max", _) => fail(expression, format!("`{name}` takes two or more arguments")),
            ("truncate", _) => fail(expression, "`truncate` takes a number and its decimals"),
            _ => fail(
                expression,
                format!(
                    "no function `{name}`; there are size, has, min, max, abs, truncate, join, \
                     digest, with and without"
                ),
            ),
        }
    }
}

/// Whether there is one way to write it.
fn is_spelled(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Text
            | Kind::Number(None)
            | Kind::Of(
                Type::Text { .. }
                    | Type::Symbol
                    | Type::Id
                    | Type::Ref { .. }
                    | Type::Member
                    | Type::Int { .. }
                    | Type::Time { .. }
            )
    )
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

fn list_of<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<&str> = names.map(Name::as_str).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
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
        | Code::Key(of)
        | Code::Refer(of)
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
        Code::List(items)
        | Code::Set(items)
        | Code::Least(items)
        | Code::Greatest(items)
        | Code::Join(items) => sum(items),
        // A block of SHA-256 takes about as long as twenty steps; the longest
        // text has five hundred.
        Code::Digest(of) => cost(of) + 500,
        Code::With(set, item) | Code::Without(set, item) => {
            cost(set) + cost(item) + u64::from(MAX_ITEMS)
        }
    }
}
