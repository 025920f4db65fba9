//! What a contract means, for the eyes of those who must approve it: the
//! permission matrix and the worst-case cost of each action.

use hufu_proof::Name;
use serde::Serialize;

use crate::contract::Contract;
use crate::expression::Checked;
use crate::package::Start;
use crate::policy::matrix::Known;
use crate::trigger::{CheckedCall, CheckedTrigger, WaitsFor};

/// Whether a role may do something in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Never.
    Denied,
    /// Under conditions on the asset, the parameters or the principal.
    Conditional,
    /// Always.
    Permitted,
}

/// One cell of the permission matrix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// The asset type or stream.
    pub on: Name,
    /// The action, or `read`, or `append`.
    pub action: String,
    /// The state the asset is in; `None` for streams and where the action makes
    /// the asset.
    pub state: Option<Name>,
    /// The role, held by a member that signs with its own key; `None` is a
    /// member in no role, `device` a device.
    pub role: Option<Name>,
    /// Whether it is a device that signs.
    pub device: bool,
    /// What the policies say.
    pub permission: Permission,
}

/// The most that one action can cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// The action, or `append` and the stream.
    pub action: String,
    /// Steps of expressions and invariants.
    pub expressions: u64,
    /// Nodes of the policies that are asked.
    pub policy: u64,
    /// The largest asset or row in bytes, as it is stored.
    pub bytes: usize,
}

/// What a contract does by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Automatic {
    /// What causes it: an action of the contract, or a trigger.
    pub cause: String,
    /// What it waits for.
    pub waits_for: String,
    /// The action that is called, as `CONTRACT/ACTION`.
    pub calls: String,
}

impl Contract {
    /// What actions call and triggers do, by name.
    pub fn automatic(&self) -> Vec<Automatic> {
        let calls = |call: &CheckedCall| format!("{}/{}", call.contract, call.action);
        let mut all = Vec::new();
        for (action, called) in &self.calls {
            all.extend(called.iter().map(|call| Automatic {
                cause: action.to_string(),
                waits_for: "each time".into(),
                calls: calls(call),
            }));
        }
        for (name, trigger) in &self.triggers {
            let on = format!("{}/{}", trigger.contract, trigger.on);
            let states = |states: &[Name], none: &str| match states {
                [] => none.to_owned(),
                states => states.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
            };
            let waits_for = match &trigger.waits_for {
                WaitsFor::Row(_) => format!("a row of {on}"),
                WaitsFor::Change(to) => format!("{on} to be {}", states(to, "changed")),
                WaitsFor::Date(from, due) => {
                    format!("{} of {on} in {}", due.source(), states(from, "any state"))
                }
            };
            all.push(Automatic {
                cause: format!("trigger {name}"),
                waits_for,
                calls: calls(&trigger.call),
            });
        }
        all
    }

    /// The permission matrix: role × action × state, by asset type.
    pub fn permissions(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        let mut roles: Vec<(Option<&Name>, bool)> =
            self.package.roles.keys().map(|role| (Some(role), false)).collect();
        roles.extend([(None, false), (None, true)]);
        let mut add = |on: &Name, action: &str, state: Option<&Name>| {
            for (role, device) in &roles {
                let known = Known {
                    action,
                    on,
                    state,
                    role: *role,
                    kind: if *device { "device" } else { "member" },
                };
                let permission = match self.policies.verdict(&known) {
                    Some(true) => Permission::Permitted,
                    Some(false) => Permission::Denied,
                    None => Permission::Conditional,
                };
                cells.push(Cell {
                    on: on.clone(),
                    action: action.to_owned(),
                    state: state.cloned(),
                    role: role.cloned(),
                    device: *device,
                    permission,
                });
            }
        };
        for (name, asset) in &self.package.assets {
            for action in self.package.actions.values().filter(|action| action.asset == *name) {
                match action.start {
                    Start::Nothing => add(name, action.name.as_str(), None),
                    Start::Asset => {
                        for state in &action.from {
                            add(name, action.name.as_str(), Some(state));
                        }
                    }
                }
            }
            for state in &asset.states {
                add(name, "read", Some(state));
            }
        }
        for name in self.package.streams.keys() {
            add(name, "append", None);
            add(name, "read", None);
        }
        cells
    }

    /// The most each action and stream can cost, by name.
    pub fn costs(&self) -> Vec<Cost> {
        let of = |on: &Name| -> u64 {
            self.invariants.get(on).into_iter().flatten().map(|(_, holds)| holds.cost()).sum()
        };
        let policy =
            |action: &str, on: &Name| self.policies.guard(action, on).map_or(0, |guard| guard.cost);
        let mut costs = Vec::new();
        for (name, action) in &self.package.actions {
            let effects = self.effects.get(name).into_iter().flatten();
            let effects: u64 = effects.map(|(_, expression)| Checked::cost(expression)).sum();
            // Without what the called actions cost, which stand for themselves.
            let calls = self.calls.get(name).into_iter().flatten();
            let effects = effects + calls.map(CheckedCall::cost).sum::<u64>();
            let fields = self.package.assets.get(&action.asset).into_iter();
            let bytes = fields
                .flat_map(|asset| &asset.fields)
                .map(|(name, field)| 4 + name.as_str().len() + field.ty.max_size())
                .sum::<usize>();
            costs.push(Cost {
                action: name.to_string(),
                expressions: effects + of(&action.asset),
                policy: policy(name.as_str(), &action.asset),
                bytes: bytes + 8 + Name::MAX,
            });
        }
        for (name, stream) in &self.package.streams {
            costs.push(Cost {
                action: format!("append {name}"),
                expressions: (of(name) + self.row_triggers(name)) * u64::from(stream.max_rows),
                policy: policy("append", name),
                bytes: stream.columns.values().map(crate::types::Type::max_size).sum(),
            });
        }
        costs
    }

    /// Steps that the contract's own triggers on a stream take for a row.
    fn row_triggers(&self, stream: &Name) -> u64 {
        let own = self.triggers.values().filter(|trigger| {
            trigger.on == *stream && matches!(trigger.waits_for, WaitsFor::Row(_))
        });
        own.map(CheckedTrigger::cost).sum()
    }
}
