//! Reads what a contract calls by itself: `then` of actions, and triggers.

use std::collections::BTreeMap;

use super::types::read_target;
use super::{optional_title, read_expression};
use crate::package::{Call, Find, Package, Source, Trigger};
use crate::reader::{Node, Section};

/// Reads `do`, `target`, `with` and `when`.
pub(super) fn read_call(table: &Section<'_, '_>, package: &Package) -> Option<Call> {
    let action = table.required("do").and_then(|node| read_target(&node, package));
    let target = table.required("target").and_then(|node| read_expression(&node));
    let mut with = BTreeMap::new();
    if let Some(section) = table.optional("with").and_then(|node| node.table()) {
        for node in section.entries() {
            let (Some(name), Some(source)) = (node.key_name(), read_expression(&node)) else {
                continue;
            };
            with.insert(name, source);
        }
    }
    let when = optional_expression(table, "when");
    let (contract, action) = action?;
    Some(Call { at: table.at, contract, action, target: target?, with, when })
}

pub(super) fn read_trigger(node: &Node<'_, '_>, package: &Package) -> Option<Trigger> {
    let (name, table) = (node.key_name()?, node.table()?);
    let title = optional_title(&table);
    let on = table.required("on").and_then(|node| read_target(&node, package));
    let find = table.optional("find").and_then(|node| {
        let table = node.table()?;
        let asset = table.required("asset").and_then(|node| read_target(&node, package));
        let key = table.required("key").and_then(|node| read_expression(&node));
        table.finish(&[]);
        let (contract, asset) = asset?;
        Some(Find { contract, asset, key: key? })
    });
    let states = |key| table.optional(key).and_then(|node| node.names()).unwrap_or_default();
    let (to, from) = (states("to"), states("from"));
    let due = optional_expression(&table, "due");
    let call = read_call(&table, package);
    table.finish(&[
        ("at", "a date is written as `due = \"asset.field\"`"),
        ("every", "an interval is a field that the action moves on: `due = \"asset.next_at\"`"),
    ]);
    if due.is_some() && (find.is_some() || !to.is_empty()) {
        table.problem("due", "a date is of an asset; remove `find` and `to`");
    }
    if due.is_none() && !from.is_empty() {
        table.problem("from", "says in which states a date counts; write `to`, or `due`");
    }
    let ((contract, on), call) = (on?, call?);
    if due.is_some() && contract != package.name {
        table.problem("on", "a date is of an asset of this package");
    }
    Some(Trigger { name, title, at: node.at(), contract, on, find, to, from, due, call })
}

fn optional_expression(table: &Section<'_, '_>, key: &'static str) -> Option<Source> {
    table.optional(key).and_then(|node| read_expression(&node))
}
