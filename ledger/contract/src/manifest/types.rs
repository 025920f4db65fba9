//! Reads the types of fields, parameters and columns.

use hufu_proof::Name;

use crate::number;
use crate::package::Package;
use crate::reader::{Node, Section};
use crate::time;
use crate::types::{Clock, MAX_ITEMS, MAX_SCALE, MAX_TEXT, Type, TypeName};
use crate::unit::Unit;

pub(super) const TYPE_HINTS: &[(&str, &str)] = &[
    (
        "private",
        "private fields are not supported yet; remove the key, or keep the text off the ledger \
         and record its digest",
    ),
    ("min", "bounds are for int, decimal and a signer's time"),
    ("max", "bounds are for int, decimal, text, bytes, list and set"),
    ("max_ahead", "how far it may be ahead of the block is for a signer's time"),
    ("unit", "units are for int and decimal"),
    ("scale", "a scale is for decimal"),
    ("clock", "a clock is for time"),
    ("of", "the type of items is for list and set"),
    ("to", "the target is for ref"),
    ("initial", "an initial value is for fields of assets"),
    ("optional", "columns always have a value"),
];

/// Reads the keys of a type from the table it stands in.
pub(crate) fn read_type(table: &Section<'_, '_>, package: &Package) -> Option<Type> {
    let node = table.required("type")?;
    let size = |default: u32, most: u32| {
        table.optional("max").map_or(Some(default), |node| node.bounded(1, most))
    };
    let unit = || {
        table.optional("unit").map_or(Some(Unit::count()), |node| {
            Unit::parse(node.text()?).map_err(|message| node.problem(message)).ok()
        })
    };
    let bound = |key: &'static str, scale: u8, default: i64| {
        table.optional(key).map_or(Some(default), |node| {
            let json = node.json()?;
            let text = match &json {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Number(number) => number.to_string(),
                _ => return node.refuse("is not a number"),
            };
            number::parse(&text, scale).map_err(|message| node.problem(message)).ok()
        })
    };
    let bounds = |scale: u8| {
        let (min, max) = (bound("min", scale, i64::MIN), bound("max", scale, i64::MAX));
        let (min, max) = (min?, max?);
        if min > max {
            table.problem("min", "is over max");
            return None;
        }
        Some((min, max))
    };
    let text = node.text()?;
    let Some(name) = TypeName::from_code(text) else {
        return node.refuse(match text {
            "float" | "double" | "number" => {
                "is not exact; use \"int\" with a unit, or \"decimal\" with a scale"
            }
            _ => {
                "is not a type; there are bool, int, decimal, text, symbol, id, bytes, digest, \
                 time, member, identity, ref, list and set"
            }
        });
    };
    Some(match name {
        TypeName::Bool => Type::Bool,
        TypeName::Int => {
            let (unit, bounds) = (unit(), bounds(0));
            let (min, max) = bounds?;
            Type::Int { unit: unit?, min, max }
        }
        TypeName::Decimal => {
            let scale =
                table.required("scale").and_then(|node| node.bounded(0, u32::from(MAX_SCALE)));
            let unit = unit();
            let scale = u8::try_from(scale?).ok()?;
            let (min, max) = bounds(scale)?;
            Type::Decimal { scale, unit: unit?, min, max }
        }
        TypeName::Text => Type::Text { max: size(1024, MAX_TEXT)? },
        TypeName::Symbol => Type::Symbol,
        TypeName::Id => Type::Id,
        TypeName::Bytes => Type::Bytes { max: size(1024, MAX_TEXT)? },
        TypeName::Digest => Type::Digest,
        TypeName::Time => read_time(table)?,
        TypeName::Member => Type::Member,
        TypeName::Identity => Type::Identity,
        TypeName::Ref => {
            let (contract, asset) = read_target(&table.required("to")?, package)?;
            Type::Ref { contract, asset }
        }
        TypeName::List | TypeName::Set => {
            let max = size(16, MAX_ITEMS);
            let of = table.required("of").and_then(|node| {
                if node.is_table() {
                    let inner = node.table()?;
                    let of = read_type(&inner, package);
                    inner.finish(TYPE_HINTS);
                    return of;
                }
                plain_type(&node)
            })?;
            if !of.is_scalar() {
                return node.refuse("items must be scalars, not lists or sets");
            }
            let (of, max) = (Box::new(of), max?);
            if name == TypeName::List { Type::List { of, max } } else { Type::Set { of, max } }
        }
    })
}

/// A time: whose clock, and what is plausible.
fn read_time(table: &Section<'_, '_>) -> Option<Type> {
    let clock = match table.optional("clock") {
        None => Clock::Signer,
        Some(node) => match node.text()? {
            // The block's time is agreed on, and needs no bounds.
            "block" => return Some(Type::time(Clock::Block)),
            "signer" => Clock::Signer,
            _ => return node.refuse("is not a clock; there are \"block\" and \"signer\""),
        },
    };
    let min = table.optional("min").map_or(Some(0), |node| {
        time::parse(node.text()?).map_err(|message| node.problem(message)).ok()
    });
    let max_ahead = table.optional("max_ahead").map_or(Some(None), |node| {
        match u64::try_from(node.integer()?) {
            Ok(milliseconds) => Some(Some(milliseconds)),
            Err(_) => node.refuse("is a number of milliseconds"),
        }
    });
    Some(Type::Time { clock, min: min?, max_ahead: max_ahead? })
}

/// A type that needs no more than its name.
fn plain_type(node: &Node<'_, '_>) -> Option<Type> {
    Some(match TypeName::from_code(node.text()?) {
        Some(TypeName::Bool) => Type::Bool,
        Some(TypeName::Int) => Type::int(),
        Some(TypeName::Symbol) => Type::Symbol,
        Some(TypeName::Id) => Type::Id,
        Some(TypeName::Digest) => Type::Digest,
        Some(TypeName::Member) => Type::Member,
        Some(TypeName::Identity) => Type::Identity,
        _ => return node.refuse("write the type of items as a table: { type = ..., ... }"),
    })
}

/// Reads `contract/asset` or `asset`.
pub(super) fn read_target(node: &Node<'_, '_>, package: &Package) -> Option<(Name, Name)> {
    let text = node.text()?;
    let (contract, asset) = match text.split_once('/') {
        Some((contract, asset)) => (Name::new(contract), Name::new(asset)),
        None => (Ok(package.name.clone()), Name::new(text)),
    };
    let (Ok(contract), Ok(asset)) = (contract, asset) else {
        return node.refuse("is not an asset type; write \"CONTRACT/ASSET\"");
    };
    if contract != package.name && !package.requires.contains_key(&contract) {
        return node.refuse(format!(
            "is of a contract that this one does not require; add \"{contract}@MAJOR\" to \
             package.requires"
        ));
    }
    Some((contract, asset))
}
