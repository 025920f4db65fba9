//! A projection of the ledger into SQLite: every table as of a height.
//!
//! The node feeds the events of each finalized height ([`ReadModel::apply`]);
//! regulators ask ([`Snapshot::query`]) and controls run ([`Snapshot::control`])
//! over snapshots. Every asset type and stream of every contract is a table
//! `contract_name.asset_type` with typed columns; the ledger's own tables stand
//! in schema `ledger`.
//!
//! It is *not* a source of truth: it can be removed at any time and is rebuilt
//! from the ledger, and whatever is reported from it carries proofs that do not
//! depend on it.
//!
//! Where to start reading: [`model`] writes, [`query`] reads, [`control`] turns
//! rows into findings with evidence; [`scope`] says of what somebody sees the rows,
//! [`authorize`] what a query may do.

pub mod authorize;
pub mod catalogue;
pub mod control;
pub mod error;
pub mod infer;
pub mod ledger_tables;
pub mod model;
mod project;
pub mod query;
pub mod rewrite;
pub mod scope;
pub mod sql;
mod tables;
mod target;
pub mod value;

pub use catalogue::{Column, ColumnType, Packages, Table, TableKind, TableSpec, contract_tables};
pub use control::{ControlQuery, Findings, Found, check_control};
pub use error::{Measure, Problem, ReadModelError, Untold};
pub use model::ReadModel;
pub use query::{Answer, Limits, Reader, Snapshot};
pub use scope::Scope;
