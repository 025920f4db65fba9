//! The regulator's report: what it says, how it is written, how it is verified.
//!
//! A report is computed from a state of the ledger and is the same, byte for
//! byte, on every member's node; only who signed it differs. It comes as JSON (to
//! process), HTML (to read and print) and a ZIP of CSV tables (for a spreadsheet),
//! and each of the three carries all of the data, so that each verifies offline
//! against nothing but the genesis file: [`verify_report`].
//!
//! This crate is *not* what computes a report: no SQL, no HTTP, no clock, no
//! I/O. It compiles for a browser.
//!
//! Where to start reading: [`model`] is what a report says and [`shown`] how its
//! values are meant; [`style`] writes a value for people, and text from the ledger
//! so that nothing obeys it ([`hufu_proof::text`]); `page` and [`html`] make the page, [`csv`] and `archive` the
//! tables; [`mod@file`] seals and verifies.

mod archive;
mod block;
pub mod canonical;
pub mod cell;
mod chart;
pub mod csv;
mod error;
pub mod file;
mod first;
pub mod html;
pub mod message;
pub mod model;
mod page;
mod row;
pub mod shown;
pub mod style;
pub mod time;

pub use cell::Cell;
pub use file::{
    Checked, Format, MAX_REPORT, Opened, ReportError, SignatureBlock, body, open, seal,
    verify_report,
};
pub use message::Language;
pub use model::{
    Anchor, AsOf, Change, ControlResult, ControlSetTitle, Counts, Evidence, Finding,
    PackageReference, Report, Scope,
};
pub use shown::{Bound, Column, Form, Range, Role, Shown, Word};
pub use style::Style;
pub use time::UtcOffset;
