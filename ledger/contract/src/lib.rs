//! Contract packages: parse, check, evaluate.
//!
//! A package is a folder of data that a company, a regulator and a validator can
//! all read: what there is (`contract.toml`), who may do and see what
//! (`policy.cedar`), what is looked for (`controls/*.sql`, `controls.toml`), and
//! scenarios (`cases/*.toml`). [`check()`] turns the files into a [`Contract`]
//! or into everything that is wrong with them; the contract turns a signed
//! action into [`Effects`] or the [`Outcome`](hufu_proof::Outcome) that goes into
//! the receipt.
//!
//! It is *not* a machine: no store, no clock, no network, no threads, no floats,
//! and nothing depends on the order of a hash map. Given the same bytes it does
//! the same everywhere. SQL is not parsed here but by the read model.
//!
//! Where to start reading: [`package`] is what a package declares, [`check()`]
//! ties the checks together, `execute` runs actions, `chain` what they call and
//! trigger, [`expression`] is the
//! language of effects, `policy` is Cedar.
//!
//! Rules it keeps:
//! - Every parser bounds its input and reports every problem with its line.
//! - Nothing is permitted by default; an error in a policy denies.
//! - Arithmetic is checked; overflow refuses the transaction.

pub mod belonging;
pub mod cache;
pub mod case;
mod chain;
mod check;
pub mod compare;
pub mod contract;
pub mod control;
pub mod described;
mod execute;
pub mod expression;
mod input;
pub mod manifest;
pub mod number;
pub mod package;
mod policy;
pub mod problem;
mod reader;
pub mod review;
pub mod shown;
pub mod sources;
pub mod spelling;
pub mod time;
mod trigger;
pub mod types;
pub mod unit;
pub mod world;

pub use belonging::{Belonging, Lead, Telling};
pub use chain::Contracts;
pub use check::check;
pub use contract::{Column, Contract, Table, TableKind};
pub use control::{Control, ControlSet};
pub use described::ColumnDescription;
pub use input::InputError;
pub use manifest::required_names;
pub use problem::Problem;
pub use sources::{CONTRACT, MAX_FILE, MAX_FILES, Sources};
pub use types::{Clock, Type, TypeName};
pub use unit::Unit;
pub use world::{
    Acted, Asset, Cause, Context, Effects, Event, Fired, Member, Principal, PrincipalKind,
    StreamEffects, World, Write,
};
