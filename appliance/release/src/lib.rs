//! A release of the appliance: what its manifest says, who signed it, and the
//! one file that an update is.
//!
//! ```text
//! hufu release v1
//! {"format":1,...}
//! base64 of the signature
//! ```
//!
//! Three lines, each ended by a line feed. The signature is ECDSA with P-256 and
//! SHA-256 (ASN.1 DER) over the first two lines, line feeds included: the first
//! line keeps what is signed here from being mistaken for anything else. An
//! update is the same three lines with the parts' bytes behind them, in the
//! manifest's order and with nothing between.
//!
//! Nothing here reads or writes files: [`Unpacker`] is given an update piece by
//! piece, and gives the parts' bytes on once the signature was good.

mod error;
mod head;
mod manifest;
mod unpack;

pub use error::ReleaseError;
pub use head::{DOMAIN, MAX_HEAD, ReleaseKey, parse};
pub use manifest::{Manifest, Part, PartName, Sbom, Slot};
pub use unpack::{Sink, Unpacker};
