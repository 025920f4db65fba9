//! The regulator's report: what it says, how it is written, how it is verified.
//!
//! A report is computed from a state of the ledger and is the same, byte for
//! byte, on every member's node; only the signature block differs. It comes as
//! JSON (to process), HTML (to read and print) and CSV (for a spreadsheet), and
//! each of the three carries all of the data, so that each verifies offline
//! against nothing but the genesis file: [`verify_report`].
//!
//! This crate is *not* what computes a report: no SQL, no HTTP, no clock, no
//! I/O. It compiles for a browser.

pub mod canonical;
pub mod cell;
pub mod csv;
pub mod file;
pub mod html;
pub mod message;
pub mod model;
pub mod time;

pub use cell::Cell;
pub use file::{
    Checked, Format, MAX_REPORT, Opened, ReportError, SignatureBlock, body, open, seal,
    verify_report,
};
pub use message::Language;
pub use model::{
    Anchor, AsOf, ControlResult, ControlSetTitle, Counts, Evidence, Finding, PackageReference,
    Report, Severity,
};
