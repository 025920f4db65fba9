//! What of a package its cases touch.
//!
//! Told is what no case does: an action from a state that it starts from, an action
//! that is never refused, a trigger that never fires, an invariant that is never in
//! the way, a control that never finds anything or always does, a type that nobody is
//! asked to see or not to see.

use std::collections::BTreeSet;

use hufu_contract::package::Start;
use hufu_contract::review::Permission;
use hufu_contract::{Acted, Contract, Effects};
use hufu_proof::{Name, Outcome};

/// What the cases of a package did so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    acted: BTreeSet<Acted>,
    /// Actions and streams that were refused.
    refused: BTreeSet<Name>,
    fired: BTreeSet<Name>,
    /// Whether anything was refused with `invariant`.
    invariant: bool,
    found: BTreeSet<Name>,
    found_nothing: BTreeSet<Name>,
    seen: BTreeSet<Name>,
    hidden: BTreeSet<Name>,
}

impl Coverage {
    /// What a transaction does.
    pub(crate) fn did(&mut self, contract: &Name, effects: &Effects) {
        self.acted.extend(effects.acted.iter().filter(|one| one.contract == *contract).cloned());
        let fired = effects.fired.iter().filter(|one| one.contract == *contract);
        for one in fired {
            self.fired.insert(one.trigger.clone());
            self.invariant |= one.outcome == Outcome::Invariant;
        }
    }

    /// An action, stream or trigger of the package was refused.
    pub(crate) fn refused(&mut self, what: &Name, outcome: Outcome) {
        self.refused.insert(what.clone());
        self.invariant |= outcome == Outcome::Invariant;
    }

    pub(crate) fn controlled(&mut self, control: &Name, findings: usize) {
        let found = if findings > 0 { &mut self.found } else { &mut self.found_nothing };
        found.insert(control.clone());
    }

    pub(crate) fn asked_to_see(&mut self, asset_type: &Name, visible: bool) {
        let seen = if visible { &mut self.seen } else { &mut self.hidden };
        seen.insert(asset_type.clone());
    }

    /// What no case touches, a phrase each.
    pub(crate) fn untouched(&self, contract: &Contract) -> Vec<String> {
        let package = contract.package();
        let mut left = Vec::new();
        for (name, action) in &package.actions {
            let starts: Vec<Option<&Name>> = match action.start {
                Start::Nothing => vec![None],
                Start::Asset => action.from.iter().map(Some).collect(),
            };
            for from in starts {
                let done = |one: &Acted| one.action == *name && one.from.as_ref() == from;
                if !self.acted.iter().any(done) {
                    let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
                    left.push(format!("action {name}{from} is never done"));
                }
            }
            if !self.refused.contains(name) {
                left.push(format!("action {name} is never refused"));
            }
        }
        for name in package.triggers.keys().filter(|name| !self.fired.contains(*name)) {
            left.push(format!("trigger {name} never fires"));
        }
        if !package.invariants.is_empty() && !self.invariant {
            left.push("no invariant is ever in the way".to_owned());
        }
        for control in contract.controls() {
            if !self.found.contains(&control.id) {
                left.push(format!("control {} never finds anything", control.id));
            }
            if !self.found_nothing.contains(&control.id) {
                left.push(format!("control {} is never without findings", control.id));
            }
        }
        let cells = contract.permissions();
        for name in package.type_names() {
            // What is everybody's is hidden from nobody.
            let mut reads = cells.iter().filter(|cell| cell.on == *name && cell.action == "read");
            let open = reads.all(|cell| cell.permission == Permission::Permitted);
            if !self.seen.contains(name) {
                left.push(format!("nobody is asked to see {name}"));
            }
            if !open && !self.hidden.contains(name) {
                left.push(format!("nobody is asked not to see {name}"));
            }
        }
        left
    }
}
