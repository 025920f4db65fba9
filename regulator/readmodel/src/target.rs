//! A table as the projection writes it: its statements and the places of its
//! columns, worked out once.

use crate::catalogue::{STREAM_COLUMNS, Table, TableKind};
use crate::model::OPEN;

/// A table that is written.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) table: Table,
    /// Inserts a row: what every table of the kind has, then the columns.
    pub(crate) insert: String,
    /// Ends the version that is valid: of which height, of which key.
    pub(crate) close: String,
    /// Places of the declared columns in the order of their names.
    pub(crate) declared: Vec<usize>,
    /// Places of [`STREAM_COLUMNS`].
    pub(crate) added: [Option<usize>; STREAM_COLUMNS.len()],
}

impl Target {
    pub(crate) fn new(table: Table) -> Self {
        let fixed = match table.kind {
            TableKind::Asset => ["_key", "_from", "_to", "_tx"].as_slice(),
            TableKind::Stream => ["_from", "_tx"].as_slice(),
        };
        let physical = table.columns.iter().map(|column| column.physical.as_str());
        let names: Vec<&str> = fixed.iter().copied().chain(physical).collect();
        let insert = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            table.physical,
            names.join(", "),
            vec!["?"; names.len()].join(", ")
        );
        let close =
            format!("UPDATE {} SET _to = ?1 WHERE _key = ?2 AND _to = {OPEN}", table.physical);
        let columns = &table.columns;
        let mut declared: Vec<usize> = (0..columns.len())
            .filter(|&index| !STREAM_COLUMNS.contains(&columns[index].name.as_str()))
            .collect();
        declared.sort_by(|&one, &other| columns[one].name.cmp(&columns[other].name));
        let added =
            STREAM_COLUMNS.map(|name| columns.iter().position(|column| column.name == name));
        Self { insert, close, declared, added, table }
    }
}
