//! Reads actions.

use std::collections::BTreeMap;

use hufu_proof::Name;

use super::call::read_call;
use super::types::{TYPE_HINTS, read_type};
use super::{MAX_CALLS, MAX_FIELDS, optional_title, read_expression};
use crate::package::{Action, AssetType, Call, Package, Parameter, Source, Start};
use crate::reader::{Node, Section};
use crate::types::{Clock, Type};

pub(super) fn read_action(node: &Node<'_, '_>, package: &Package) -> Option<Action> {
    let (name, table) = (node.key_name()?, node.table()?);
    if matches!(name.as_str(), "read" | "append") {
        node.problem("is an action that every contract has; choose another name");
    }
    let title = optional_title(&table);
    let (creates, on) = (table.optional("creates"), table.optional("on"));
    let (start, target) = match (&creates, &on) {
        (Some(node), None) => (Start::Nothing, node),
        (None, Some(node)) => (Start::Asset, node),
        _ => {
            table.problem("", "must have one of `creates` and `on`");
            return None;
        }
    };
    let asset_name = target.name()?;
    let Some(asset) = package.assets.get(&asset_name) else {
        return target
            .refuse(format!("no valid asset type `{asset_name}`; declare [asset.{asset_name}]"));
    };
    let from = read_from(&table, start, asset);
    let to = table.optional("to").and_then(|node| {
        let to = node.name()?;
        if start == Start::Nothing {
            return node
                .refuse(format!("a new asset is in its first state, `{}`", asset.states[0]));
        }
        known_state(&node, asset, &to).then_some(to)
    });
    let params = read_params(&table, start, asset, package);
    let set = read_set(&table, asset, &params);
    let emit = table.optional("emit").and_then(|node| node.name());
    let then = read_then(&table, package);
    table.finish(&[(
        "when",
        "conditions of actions are written in policy.cedar: permit (...) when { ... }",
    )]);
    if start == Start::Nothing {
        for (field, declared) in &asset.fields {
            let given = declared.optional
                || declared.initial.is_some()
                || set.contains_key(field)
                || params.get(field).is_some_and(|param| param.sets_field && !param.optional);
            if !given {
                table.problem(
                    "",
                    format!(
                        "gives field `{field}` no value; make it a parameter, set it, or give \
                         the field an initial value or `optional = true`"
                    ),
                );
            }
        }
    }
    Some(Action { name, title, asset: asset_name, start, from: from?, to, params, set, emit, then })
}

/// Reads what an action calls.
fn read_then(table: &Section<'_, '_>, package: &Package) -> Vec<Call> {
    let Some(node) = table.optional("then") else { return Vec::new() };
    let items = node.items().unwrap_or_default();
    if items.len() > MAX_CALLS {
        node.problem(format!("{} calls; at most {MAX_CALLS} are accepted", items.len()));
        return Vec::new();
    }
    let read = |item: &Node<'_, '_>| {
        let table = item.table()?;
        let call = read_call(&table, package);
        table.finish(&[]);
        call
    };
    items.iter().filter_map(read).collect()
}

fn read_from(table: &Section<'_, '_>, start: Start, asset: &AssetType) -> Option<Vec<Name>> {
    match start {
        Start::Nothing => {
            if let Some(node) = table.optional("from") {
                node.problem("an action that creates starts from nothing; remove the key");
            }
            Some(Vec::new())
        }
        Start::Asset => {
            let node = table.required("from")?;
            let from = node.names()?;
            if from.is_empty() {
                return node.refuse("must name a state");
            }
            for state in &from {
                known_state(&node, asset, state);
            }
            Some(from)
        }
    }
}

fn known_state(node: &Node<'_, '_>, asset: &AssetType, state: &Name) -> bool {
    let known = asset.states.contains(state);
    if !known {
        let states: Vec<&str> = asset.states.iter().map(Name::as_str).collect();
        node.problem(format!(
            "{} has no state `{state}`; it has {}",
            asset.name,
            states.join(", ")
        ));
    }
    known
}

fn read_params(
    table: &Section<'_, '_>,
    start: Start,
    asset: &AssetType,
    package: &Package,
) -> BTreeMap<Name, Parameter> {
    let mut params = BTreeMap::new();
    let Some(node) = table.optional("params") else { return params };
    let of_field = |node: &Node<'_, '_>, name: &Name, optional: Option<bool>| {
        if *name == asset.key {
            if start == Start::Asset {
                node.problem("the key of an asset does not change");
            }
            // The key travels beside the parameters.
            return None;
        }
        let Some(field) = asset.fields.get(name) else {
            return node.refuse(format!(
                "{} has no field `{name}`; declare the parameter's type: params.{name} = {{ type \
                 = ... }}",
                asset.name
            ));
        };
        // An optional field's parameter may be left out, unless it says no.
        let optional = optional.unwrap_or(field.optional);
        let title = field.title.clone();
        Some(Parameter { ty: field.ty.clone(), optional, sets_field: true, title })
    };
    if node.is_array() {
        for item in node.items().unwrap_or_default() {
            let Some(name) = item.name() else { continue };
            if let Some(parameter) = of_field(&item, &name, None) {
                params.insert(name, parameter);
            }
        }
        return params;
    }
    let Some(section) = node.table() else { return params };
    for node in section.entries() {
        if params.len() >= MAX_FIELDS {
            section.problem("", format!("more than {MAX_FIELDS} parameters"));
            break;
        }
        let (Some(name), Some(inner)) = (node.key_word(), node.table()) else { continue };
        let optional = inner.optional("optional").and_then(|node| node.boolean());
        let title = optional_title(&inner);
        let is_field = inner.optional("field").and_then(|node| node.boolean()).unwrap_or(false);
        let parameter = if is_field {
            of_field(&node, &name, optional)
        } else {
            let optional = optional.unwrap_or(false);
            read_type(&inner, package).map(|ty| Parameter {
                ty,
                optional,
                sets_field: false,
                title,
            })
        };
        inner.finish(TYPE_HINTS);
        if let Some(parameter) = parameter {
            if let Type::Time { clock: Clock::Block, .. } = parameter.ty {
                node.problem(
                    "a parameter is declared by its signer; it cannot be the block's time",
                );
            }
            params.insert(name, parameter);
        }
    }
    params
}

fn read_set(
    table: &Section<'_, '_>,
    asset: &AssetType,
    params: &BTreeMap<Name, Parameter>,
) -> BTreeMap<Name, Source> {
    let mut set = BTreeMap::new();
    let Some(section) = table.optional("set").and_then(|node| node.table()) else { return set };
    for node in section.entries() {
        let Some(name) = node.key_name() else { continue };
        if name == asset.key {
            node.problem("the key of an asset does not change");
        } else if !asset.fields.contains_key(&name) {
            node.problem(format!("{} has no field `{name}`", asset.name));
        } else if params.get(&name).is_some_and(|param| param.sets_field) {
            node.problem("the parameter of the same name sets this field already");
        } else if let Some(source) = read_expression(&node) {
            set.insert(name, source);
        }
    }
    set
}
