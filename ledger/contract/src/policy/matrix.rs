//! Who may do what, as far as it can be said without data: a three-valued
//! reading of the policies.
//!
//! What is known is the action, the asset's type and state, and that the
//! principal is a member's key in one role (or in none). What depends on
//! anything else is unknown, and so the answer may be "under conditions".

use hufu_proof::Name;
use serde_json::Value as Json;

use super::Policies;
use super::schema::type_name;

/// What is known of a request.
pub(crate) struct Known<'a> {
    pub(crate) action: &'a str,
    pub(crate) on: &'a Name,
    pub(crate) state: Option<&'a Name>,
    pub(crate) role: Option<&'a Name>,
    /// `member` or `device`.
    pub(crate) kind: &'a str,
}

/// Whether something is so: `None` when it depends.
type Truth = Option<bool>;

impl Policies {
    /// Whether policies permit what is known: `None` when it depends on more.
    pub(crate) fn verdict(&self, known: &Known<'_>) -> Truth {
        let (mut permitted, mut forbidden) = (Some(false), Some(false));
        for tree in &self.trees {
            let applies = known.applies(tree);
            if tree["effect"] == "permit" {
                permitted = or(permitted, applies);
            } else {
                forbidden = or(forbidden, applies);
            }
        }
        and(permitted, not(forbidden))
    }
}

fn and(one: Truth, other: Truth) -> Truth {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(one: Truth, other: Truth) -> Truth {
    not(and(not(one), not(other)))
}

fn not(truth: Truth) -> Truth {
    truth.map(|truth| !truth)
}

impl Known<'_> {
    fn applies(&self, policy: &Json) -> Truth {
        let mut truth = self.scope("principal", &policy["principal"]);
        truth = and(truth, self.scope("action", &policy["action"]));
        truth = and(truth, self.scope("resource", &policy["resource"]));
        for condition in policy["conditions"].as_array().into_iter().flatten() {
            let holds = self.truth(&condition["body"]);
            truth = and(truth, if condition["kind"] == "unless" { not(holds) } else { holds });
        }
        truth
    }

    fn scope(&self, variable: &str, constraint: &Json) -> Truth {
        let entity = &constraint["entity"];
        match constraint["op"].as_str() {
            Some("All") => Some(true),
            Some("==") => self.is_entity(variable, entity),
            Some("in") => match constraint["entities"].as_array() {
                Some(entities) => {
                    let mut within = Some(false);
                    for entity in entities {
                        within = or(within, self.is_in(variable, entity));
                    }
                    within
                }
                None => self.is_in(variable, entity),
            },
            Some("is") => {
                let is = self.is_type(variable, constraint["entity_type"].as_str());
                match constraint.get("in") {
                    Some(inside) => and(is, self.is_in(variable, &inside["entity"])),
                    None => is,
                }
            }
            _ => None,
        }
    }

    fn is_entity(&self, variable: &str, entity: &Json) -> Truth {
        match variable {
            "action" => Some(entity["id"] == self.action),
            _ => None,
        }
    }

    fn is_in(&self, variable: &str, entity: &Json) -> Truth {
        match variable {
            "action" => Some(entity["id"] == self.action),
            "principal" if entity["type"] == "Role" => {
                Some(self.role.is_some_and(|role| entity["id"] == role.as_str()))
            }
            _ => None,
        }
    }

    fn is_type(&self, variable: &str, name: Option<&str>) -> Truth {
        let name = name?;
        match variable {
            "principal" => Some(name == "Identity"),
            "resource" => Some(name == type_name(self.on)),
            _ => None,
        }
    }

    /// The truth of a condition in Cedar's JSON form.
    fn truth(&self, tree: &Json) -> Truth {
        let (operator, operands) = tree.as_object()?.iter().next()?;
        let (left, right) = (&operands["left"], &operands["right"]);
        match operator.as_str() {
            "Value" => operands.as_bool(),
            "&&" => and(self.truth(left), self.truth(right)),
            "||" => or(self.truth(left), self.truth(right)),
            "!" => not(self.truth(&operands["arg"])),
            "==" => self.same(left, right),
            "!=" => not(self.same(left, right)),
            "if-then-else" => match self.truth(&operands["if"]) {
                Some(true) => self.truth(&operands["then"]),
                Some(false) => self.truth(&operands["else"]),
                None => {
                    let (one, other) =
                        (self.truth(&operands["then"]), self.truth(&operands["else"]));
                    if one == other { one } else { None }
                }
            },
            "in" => {
                let entity = &right["Value"]["__entity"];
                if entity.is_null() {
                    return None;
                }
                self.is_in(left["Var"].as_str()?, entity)
            }
            "is" if operands["in"].is_null() => {
                self.is_type(left["Var"].as_str()?, operands["entity_type"].as_str())
            }
            "contains" => {
                let text = self.text(right)?;
                let items = left["Set"].as_array()?;
                let items: Option<Vec<&str>> = items.iter().map(|item| self.text(item)).collect();
                Some(items?.contains(&text))
            }
            _ => None,
        }
    }

    fn same(&self, left: &Json, right: &Json) -> Truth {
        Some(self.text(left)? == self.text(right)?)
    }

    /// A text that is known: one written out, the state, the principal's kind.
    fn text<'t>(&'t self, tree: &'t Json) -> Option<&'t str> {
        if let Some(text) = tree["Value"].as_str() {
            return Some(text);
        }
        let access = &tree["."];
        match (access["left"]["Var"].as_str()?, access["attr"].as_str()?) {
            ("resource", "state") => self.state.map(Name::as_str),
            ("principal", "kind") => Some(self.kind),
            _ => None,
        }
    }
}
