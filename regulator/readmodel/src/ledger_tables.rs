//! The ledger's own tables, in schema `ledger`.

use hufu_contract::Telling;
use hufu_proof::Name;

use crate::catalogue::{ColumnType, TableKind, TableSpec};

const DECIDED: &str = "the names of the ledger's tables are names";

/// The name that stands for the contract in the ledger's own tables.
pub fn ledger() -> Name {
    name("ledger")
}

fn name(text: &str) -> Name {
    // Every text here is a constant of this module, met by the test below.
    Name::new(text).expect(DECIDED)
}

use ColumnType::{Bool, Int, List, Text, Time};

type Declared =
    (&'static str, TableKind, Option<&'static str>, &'static [(&'static str, ColumnType)]);

/// The tables, in the order of their physical numbers: only ever append.
const TABLES: &[Declared] = &[
    (
        "blocks",
        TableKind::Stream,
        None,
        &[("height", Int), ("digest", Text), ("time", Time), ("transactions", Int)],
    ),
    (
        "transactions",
        TableKind::Stream,
        None,
        &[
            ("log_index", Int),
            ("id", Text),
            ("height", Int),
            ("position", Int),
            ("time", Time),
            ("outcome", Text),
            ("signer", Text),
            ("member", Text),
            ("kind", Text),
            ("contract", Text),
            ("action", Text),
        ],
    ),
    (
        "members",
        TableKind::Asset,
        Some("name"),
        &[
            ("title", Text),
            ("kinds", List),
            ("vote_key", Text),
            ("statement_key", Text),
            ("jurisdictions", List),
            // `none`, `named` or `whole`.
            ("sees", Text),
            ("names", List),
            ("node_key", Text),
        ],
    ),
    (
        "identities",
        TableKind::Asset,
        Some("identity"),
        &[
            ("key", Text),
            ("kind", Text),
            ("owner", Text),
            ("subject", Text),
            ("status", Text),
            ("serial", Text),
            ("not_before", Time),
            ("not_after", Time),
        ],
    ),
    (
        "certificates",
        TableKind::Asset,
        Some("serial"),
        &[
            ("status", Text),
            ("reason", Int),
            ("status_since", Time),
            ("identity", Text),
            ("profile", Text),
            ("kind", Text),
            ("owner", Text),
            ("subject", Text),
            ("not_before", Time),
            ("not_after", Time),
            ("tbs", Text),
            ("attestation", Text),
            ("transaction", Text),
            ("recorded", Time),
        ],
    ),
    (
        "contracts",
        TableKind::Asset,
        Some("name"),
        &[("version", Text), ("digest", Text), ("sql_schema", Text)],
    ),
    (
        "looks",
        TableKind::Stream,
        None,
        &[
            ("transaction", Text),
            ("member", Text),
            ("subject", Text),
            ("height", Int),
            ("answer", Text),
            ("time", Time),
        ],
    ),
    (
        "proposals",
        TableKind::Asset,
        Some("proposal"),
        &[
            ("kind", Text),
            ("contract", Text),
            ("proposer", Text),
            ("approvals", List),
            ("enacted", Bool),
        ],
    ),
    (
        "roles",
        TableKind::Asset,
        Some("grant"),
        &[("contract", Text), ("role", Text), ("member", Text), ("held", Bool)],
    ),
    (
        "events",
        TableKind::Stream,
        None,
        &[
            ("transaction", Text),
            ("contract", Text),
            ("name", Text),
            ("asset_type", Text),
            ("key", Text),
            ("height", Int),
            ("time", Time),
        ],
    ),
    // What certificates give their holders, and what members approved of it:
    // a role counts while the owner's approval of the key has it.
    (
        "certificate_rights",
        TableKind::Asset,
        Some("serial"),
        &[("roles", List), ("hosts", List), ("transaction", Text), ("log_index", Int)],
    ),
    (
        "approvals",
        TableKind::Asset,
        Some("approval"),
        &[
            ("member", Text),
            ("identity", Text),
            ("roles", List),
            ("until", Time),
            ("delegated", List),
            ("transaction", Text),
        ],
    ),
    (
        "delegations",
        TableKind::Asset,
        Some("member"),
        &[("roles", List), ("until", Time), ("transaction", Text)],
    ),
    (
        "device_identifiers",
        TableKind::Asset,
        Some("device"),
        &[("owner", Text), ("transaction", Text)],
    ),
    // What members declared, one after another: `approval` of a key, `delegation`,
    // `node-key` of the node's own, `issuing-certificate` of the authority, `archive` of
    // a partition. What counted at a place of the log is the last of its kind before it.
    (
        "declarations",
        TableKind::Stream,
        None,
        &[
            ("log_index", Int),
            ("what", Text),
            ("member", Text),
            ("identity", Text),
            ("roles", List),
            ("delegated", List),
            ("until", Time),
            ("time", Time),
            ("transaction", Text),
        ],
    ),
    // Members that are suspended or dismissed, or were: all others are `good`.
    (
        "standings",
        TableKind::Asset,
        Some("member"),
        &[("standing", Text), ("reason", Text), ("since", Time), ("transaction", Text)],
    ),
    // Where members say that their nodes are reached; nothing where they took it back.
    ("addresses", TableKind::Asset, Some("member"), &[("at", Text), ("transaction", Text)]),
    // The constitutions after the founders', as they were decided.
    (
        "constitutions",
        TableKind::Stream,
        None,
        &[("from_height", Int), ("approvals", Int), ("algorithms", List), ("transaction", Text)],
    ),
    // What contracts did by themselves, also what was refused: the trigger, and the
    // asset that changed, or signed the row, or whose date came.
    (
        "triggered",
        TableKind::Stream,
        None,
        &[
            ("transaction", Text),
            ("trigger_contract", Text),
            ("name", Text),
            ("contract", Text),
            ("asset_type", Text),
            ("key", Text),
            ("outcome", Text),
            ("height", Int),
            ("time", Time),
        ],
    ),
];

/// The specs of the ledger's own tables; the first column of a versioned one
/// is its key.
pub fn specs() -> Vec<TableSpec> {
    TABLES
        .iter()
        .map(|(table, kind, key, columns)| TableSpec {
            name: name(table),
            kind: *kind,
            columns: key
                .iter()
                .map(|key| (*key, Text))
                .chain(columns.iter().copied())
                .map(|(column, of)| (column.to_owned(), of))
                .collect(),
            // `scope` has their rules.
            telling: Telling::default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_is_a_name() {
        assert_eq!(super::specs().len(), super::TABLES.len());
        assert_eq!(super::ledger().as_str(), "ledger");
    }
}
