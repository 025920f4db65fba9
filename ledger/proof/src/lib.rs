//! What verifies a Hufu receipt.
//!
//! This crate holds the bytes that leave an appliance and must still mean the
//! same in thirty years: identifiers, transactions, block headers, finality
//! certificates, the Merkle log, state proofs, receipts and the genesis file;
//! and the checks that need nothing but those bytes. `docs/formats.md` is the
//! prose of the same formats; `tests/vectors/` pins them.
//!
//! It is *not* a client: no async, no I/O, no clock, no unsafe, no X.509. It
//! compiles for a browser or a device.
//!
//! Rules it keeps:
//! - Everything is encoded with [borsh](https://borsh.io), which is canonical:
//!   one value, one byte string. A decoder that leaves bytes over is an error.
//! - Every hash is SHA-256 with a domain prefix, so bytes of one kind are never
//!   taken for another.
//! - Every key and signature names its algorithm; no size is assumed.

pub mod ancestry;
mod as_text;
pub mod block;
pub mod budget;
pub mod codec;
pub mod cose;
pub mod declaration;
pub mod endpoint;
pub mod finality;
pub mod genesis;
pub mod identifier;
pub mod json;
pub mod key;
pub mod member;
pub mod membership;
pub mod merkle;
pub mod names;
pub mod note;
pub mod number;
pub mod receipt;
pub mod role;
pub mod severity;
pub mod standing;
pub mod state;
pub mod text;
pub mod tile;
pub mod transaction;
pub mod value;

pub use ancestry::{FinalityProof, Handover};
pub use block::{Block, Commitment, Header};
pub use budget::{Budget, Quota, Quotas};
pub use declaration::Declaration;
pub use endpoint::Endpoint;
pub use finality::FinalityCertificate;
pub use genesis::{Constitution, Genesis};
pub use identifier::{Digest, IdentityId, Name, Serial};
pub use key::{Algorithm, PublicKey, Signature, Signer, SignerFault};
pub use member::{Jurisdictions, Member};
pub use membership::Membership;
pub use names::{Host, NetworkName};
pub use number::{Height, LogIndex, Sequence, UnixMillis};
pub use receipt::{LogEntry, Receipt};
pub use role::Role;
pub use severity::Severity;
pub use standing::Standing;
pub use state::StateProof;
pub use transaction::{Body, Outcome, Payload, Transaction};
pub use value::Value;
