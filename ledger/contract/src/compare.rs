//! What a new version of a contract changes, and what it must not change.

use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::Name;
use serde::Serialize;

use crate::contract::Contract;
use crate::package::Field;
use crate::problem::Problem;
use crate::review::{Cell, Permission};
use crate::sources::CONTRACT;
use crate::trigger::CheckedCall;
use crate::types::Type;

/// One difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// What kind of difference it is.
    pub kind: ChangeKind,
    /// What changed: `asset.device.fields.model`, `operator: revoke device in
    /// active`, ...
    pub thing: String,
    /// From what to what.
    pub change: String,
}

/// What kind of difference it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Something is there that was not.
    Added,
    /// Something is no longer there.
    Removed,
    /// Something is otherwise.
    Changed,
    /// Somebody may do more.
    Loosened,
    /// Somebody may do less.
    Tightened,
}

/// Everything that `new` changes against `old`, sorted.
pub fn compare(old: &Contract, new: &Contract) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    let (before, after) = (&old.package, &new.package);
    changes.keys("role", before.roles.keys(), after.roles.keys());
    changes.keys("asset", before.assets.keys(), after.assets.keys());
    changes.keys("stream", before.streams.keys(), after.streams.keys());
    changes.keys("action", before.actions.keys(), after.actions.keys());
    changes.keys("trigger", before.triggers.keys(), after.triggers.keys());
    changes.keys("invariant", before.invariants.keys(), after.invariants.keys());
    for (name, asset) in &before.assets {
        let Some(next) = after.assets.get(name) else { continue };
        let thing = format!("asset.{name}.fields");
        changes.keys(&thing, asset.fields.keys(), next.fields.keys());
        for (field, declared) in &asset.fields {
            if let Some(next) = next.fields.get(field) {
                changes.text(&format!("{thing}.{field}"), show(declared), show(next));
            }
        }
        changes.keys(&format!("asset.{name}.states"), asset.states.iter(), next.states.iter());
    }
    for (name, stream) in &before.streams {
        let Some(next) = after.streams.get(name) else { continue };
        let thing = format!("stream.{name}.rows");
        changes.keys(&thing, stream.columns.keys(), next.columns.keys());
        for (column, ty) in &stream.columns {
            if let Some(next) = next.columns.get(column) {
                changes.text(&format!("{thing}.{column}"), bounds(ty), bounds(next));
            }
        }
        let rows = |rows: u32| rows.to_string();
        changes.text(
            &format!("stream.{name}.max_rows"),
            rows(stream.max_rows),
            rows(next.max_rows),
        );
    }
    for (name, action) in &before.actions {
        let Some(next) = after.actions.get(name) else { continue };
        let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let to = |to: &Option<Name>| to.as_ref().map_or("the same state".into(), Name::to_string);
        let thing = format!("action.{name}");
        changes.text(&format!("{thing}.from"), names(&action.from), names(&next.from));
        changes.text(&format!("{thing}.to"), to(&action.to), to(&next.to));
        changes.keys(&format!("{thing}.params"), action.params.keys(), next.params.keys());
        changes.keys(&format!("{thing}.set"), action.set.keys(), next.set.keys());
        for (field, source) in &action.set {
            if let Some(next) = next.set.get(field) {
                let text = |source: &crate::package::Source| source.expression.to_string();
                changes.text(&format!("{thing}.set.{field}"), text(source), text(next));
            }
        }
    }
    let calls = |contract: &Contract, action: &Name| {
        let calls = contract.calls.get(action).into_iter().flatten();
        calls.map(CheckedCall::to_string).collect::<Vec<_>>().join("; then ")
    };
    for name in before.actions.keys().filter(|name| after.actions.contains_key(*name)) {
        changes.text(&format!("action.{name}.then"), calls(old, name), calls(new, name));
    }
    for (name, trigger) in &old.triggers {
        if let Some(next) = new.triggers.get(name) {
            changes.text(&format!("trigger.{name}"), trigger.to_string(), next.to_string());
        }
    }
    for (name, invariant) in &before.invariants {
        if let Some(next) = after.invariants.get(name) {
            let text = |holds: &crate::package::Source| holds.expression.to_string();
            changes.text(&format!("invariant.{name}"), text(&invariant.holds), text(&next.holds));
        }
    }
    changes.permissions(old.permissions(), new.permissions());
    if old.policies.trees != new.policies.trees {
        changes.add(
            ChangeKind::Changed,
            "policy.cedar".into(),
            "its policies are others; a condition may be looser or tighter without a line here"
                .into(),
        );
    }
    let mut changes = changes.0;
    changes.sort();
    changes
}

/// What forbids replacing `old` by `new`: recorded assets and rows must keep
/// their meaning.
pub fn incompatibilities(old: &Contract, new: &Contract) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |thing: String, message: String| {
        problems.push(Problem::new(CONTRACT, 0, thing, message));
    };
    if new.version() <= old.version() {
        refuse("package.version".into(), format!("must be over {}", old.version()));
    }
    for (name, asset) in &old.package.assets {
        let thing = format!("asset.{name}");
        let Some(next) = new.package.assets.get(name) else {
            refuse(thing, "was removed; recorded assets would lose their meaning".into());
            continue;
        };
        if asset.key != next.key {
            refuse(format!("{thing}.key"), format!("must stay `{}`", asset.key));
        }
        for state in asset.states.iter().filter(|state| !next.states.contains(state)) {
            refuse(format!("{thing}.states"), format!("must keep `{state}`"));
        }
        for (field, declared) in &asset.fields {
            let thing = format!("{thing}.fields.{field}");
            match next.fields.get(field) {
                None => refuse(thing, "was removed; make it optional instead".into()),
                Some(next) if !next.ty.accepts_all_of(&declared.ty) => refuse(
                    thing,
                    format!("was {}, is {}: keep it, or add another field", declared.ty, next.ty),
                ),
                Some(next) if declared.optional && !next.optional => {
                    refuse(thing, "must stay optional: recorded assets may lack it".into());
                }
                Some(_) => {}
            }
        }
        for (field, declared) in &next.fields {
            if !asset.fields.contains_key(field) && !declared.optional {
                refuse(
                    format!("{thing}.fields.{field}"),
                    "is new and must be optional: recorded assets lack it".into(),
                );
            }
        }
    }
    for (name, stream) in &old.package.streams {
        let thing = format!("stream.{name}");
        match new.package.streams.get(name) {
            None => refuse(thing, "was removed; recorded rows would lose their meaning".into()),
            Some(next) => {
                let same = stream.columns.len() == next.columns.len()
                    && stream.columns.iter().all(|(column, ty)| {
                        next.columns.get(column).is_some_and(|next| next.accepts_all_of(ty))
                    });
                if !same {
                    refuse(
                        format!("{thing}.rows"),
                        "must keep its columns and their types; declare another stream".into(),
                    );
                }
            }
        }
    }
    problems
}

struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, kind: ChangeKind, thing: String, change: String) {
        self.0.push(Change { kind, thing, change });
    }

    fn keys<'a>(
        &mut self,
        thing: &str,
        before: impl Iterator<Item = &'a Name>,
        after: impl Iterator<Item = &'a Name>,
    ) {
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.collect(), after.collect());
        for name in before.difference(&after) {
            self.add(ChangeKind::Removed, format!("{thing}.{name}"), String::new());
        }
        for name in after.difference(&before) {
            self.add(ChangeKind::Added, format!("{thing}.{name}"), String::new());
        }
    }

    fn text(&mut self, thing: &str, before: String, after: String) {
        if before != after {
            self.add(ChangeKind::Changed, thing.to_owned(), format!("{before} -> {after}"));
        }
    }

    fn permissions(&mut self, before: Vec<Cell>, after: Vec<Cell>) {
        let by_thing = |cells: Vec<Cell>| -> BTreeMap<String, Permission> {
            cells
                .into_iter()
                .map(|cell| {
                    let who = match (&cell.role, cell.device) {
                        (Some(role), _) => role.to_string(),
                        (None, true) => "a device".into(),
                        (None, false) => "a member in no role".into(),
                    };
                    let state = cell.state.map(|state| format!(" in {state}")).unwrap_or_default();
                    (format!("{who}: {} {}{state}", cell.action, cell.on), cell.permission)
                })
                .collect()
        };
        let (before, after) = (by_thing(before), by_thing(after));
        for thing in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let permission = |cells: &BTreeMap<String, Permission>| {
                cells.get(thing).copied().unwrap_or(Permission::Denied)
            };
            let (old, new) = (permission(&before), permission(&after));
            if old != new {
                let kind = if new > old { ChangeKind::Loosened } else { ChangeKind::Tightened };
                self.add(kind, thing.clone(), format!("{} -> {}", word(old), word(new)));
            }
        }
    }
}

fn word(permission: Permission) -> &'static str {
    match permission {
        Permission::Denied => "denied",
        Permission::Conditional => "under conditions",
        Permission::Permitted => "permitted",
    }
}

fn show(field: &Field) -> String {
    let optional = if field.optional { ", optional" } else { "" };
    format!("{}{optional}", bounds(&field.ty))
}

/// A type with its bounds.
fn bounds(ty: &Type) -> String {
    match ty {
        Type::Int { min, max, .. } | Type::Decimal { min, max, .. }
            if (*min, *max) != (i64::MIN, i64::MAX) =>
        {
            format!("{ty} from {min} to {max}")
        }
        Type::Time { min, max_ahead, .. } if (*min, *max_ahead) != (0, None) => {
            let ahead = max_ahead.map(|ahead| format!(", at most {ahead} ms ahead"));
            format!("{ty} from {}{}", crate::time::format(*min), ahead.unwrap_or_default())
        }
        Type::Text { max } | Type::Bytes { max } => format!("{ty} of at most {max} bytes"),
        Type::List { max, .. } | Type::Set { max, .. } => format!("{ty}, at most {max}"),
        _ => ty.to_string(),
    }
}
