//! What a query may do, judged by SQLite itself while it prepares it.
//!
//! Allowed: SELECT over the views of the permitted tables, and functions from
//! one list. Everything else is refused with its name: no PRAGMA, ATTACH,
//! writes, system tables, recursion, clocks or randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::catalogue::Table;

/// Functions a query may call: deterministic, without floating numbers and
/// without effects. `->` and `->>` are JSON's.
pub const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "dense_rank",
    "first_value",
    "glob",
    "group_concat",
    "hex",
    // A caller cannot write it; what tells rows can.
    "hufu:rows",
    "ifnull",
    "iif",
    "instr",
    "iso_date",
    "iso_time",
    "json",
    "json_array",
    "json_array_length",
    "json_each",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_object",
    "json_type",
    "json_valid",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "lower",
    "ltrim",
    "max",
    "min",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "quote",
    "rank",
    "replace",
    "row_number",
    "rtrim",
    "sign",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "trim",
    "typeof",
    "unhex",
    "unicode",
    "upper",
];

/// What was refused first, for the message.
#[derive(Clone, Debug, Default)]
pub struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    /// Takes what was refused, if anything.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }
}

/// The judge of a connection that may read `tables` through their views, and
/// through the view of a table what else it looks into.
pub(crate) fn authorizer(
    tables: &[Table],
    looks_into: &BTreeMap<String, BTreeSet<String>>,
    refusal: &Refusal,
) -> impl for<'c> FnMut(AuthContext<'c>) -> Authorization + Send + 'static {
    let view = |table: &Table| {
        let mut physical = looks_into.get(&table.view()).cloned().unwrap_or_default();
        physical.insert(table.physical.clone());
        (table.view(), physical)
    };
    let views: Views = tables.iter().map(view).collect();
    let refusal = refusal.clone();
    move |context| match judge(&views, &context) {
        Ok(()) => Authorization::Allow,
        Err(what) => {
            refusal.note(what);
            Authorization::Deny
        }
    }
}

/// What may be read through each view, by physical names.
type Views = BTreeMap<String, BTreeSet<String>>;

fn judge(views: &Views, context: &AuthContext<'_>) -> Result<(), String> {
    match context.action {
        AuthAction::Select => Ok(()),
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            if FUNCTIONS.contains(&name.as_str()) {
                Ok(())
            } else {
                Err(format!("the function `{name}`"))
            }
        }
        AuthAction::Read { table_name, .. } => {
            let through_view = context
                .accessor
                .and_then(|view| views.get(view))
                .is_some_and(|physical| physical.contains(table_name));
            if views.contains_key(table_name) || through_view || table_name == "json_each" {
                Ok(())
            } else {
                Err(format!("the table `{table_name}`"))
            }
        }
        AuthAction::Pragma { pragma_name, .. } => Err(format!("PRAGMA {pragma_name}")),
        AuthAction::Attach { .. } => Err("ATTACH".into()),
        AuthAction::Detach { .. } => Err("DETACH".into()),
        AuthAction::Recursive => Err("a recursive query".into()),
        AuthAction::Insert { table_name } => Err(format!("INSERT into `{table_name}`")),
        AuthAction::Update { table_name, .. } => Err(format!("UPDATE of `{table_name}`")),
        AuthAction::Delete { table_name } => Err(format!("DELETE from `{table_name}`")),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            Err("a transaction statement".into())
        }
        _ => Err("a statement that is not a SELECT".into()),
    }
}
