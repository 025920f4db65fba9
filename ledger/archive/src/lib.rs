//! What is old of the ledger, as Parquet partitions.
//!
//! A partition is a folder with the blocks of a range of heights:
//!
//! | file | holds |
//! |---|---|
//! | `manifest.json` | which heights of which consortium, by which member; size, SHA-256 and rows of each file ([`Manifest`]) |
//! | `proof.bin` | how the last block became final ([`Proof`]) |
//! | `blocks.parquet` | what headers are made of |
//! | `transactions.parquet` | every transaction, what became of it, and its bytes as they were signed |
//! | `asset.CONTRACT.TYPE.parquet` | what assets became, one row for each change |
//! | `stream.CONTRACT.STREAM.parquet` | rows of streams |
//! | `declaration.pem` | the receipt of the declaration of the manifest's digest, once there is one |
//!
//! # What a partition proves, with the genesis file alone
//!
//! [`Partition::verify`]: the headers are one chain that ends in a header that a
//! quorum made final; the transactions are those of the blocks, byte for byte; what
//! became of each and where it is in the log leads to the log root in that header; the
//! rows of streams are those that were signed. So a receipt can be made of any
//! transaction in it ([`Partition::receipt`]), which verifies like any other.
//!
//! The states of assets, the device of a stream's row, the member that answers for a
//! signer and the types of columns follow from the ledger's state, which is not here:
//! they are what the member says, and it declares the digest of the manifest, which
//! binds every file, on the ledger ([`hufu_proof::Declaration::Archive`]).
//!
//! # Rules it keeps
//!
//! - A file is looked into after its size and digest were found to be as the manifest
//!   says; sizes are bounded by [`limits`].
//! - A partition is in its place whole or not at all ([`create()`]).
//! - The same heights give the same bytes with the same software: no clock, no
//!   randomness, no order of a hash map.
//! - Memory is bounded by a row group for each table, whatever the partition's size,
//!   and by 32 bytes for each transaction.

mod about;
mod cell;
mod create;
mod declared;
mod error;
mod folder;
pub mod limits;
mod manifest;
mod partition;
mod proof;
mod rows;
mod schema;
mod table;
mod tables;
mod tree;
mod verify;

pub use self::create::{Wanted, create};
pub use self::declared::DECLARATION;
pub use self::error::ArchiveError;
pub use self::folder::{Folder, Kept, name_of};
pub use self::manifest::{FileEntry, MANIFEST, Manifest};
pub use self::partition::Partition;
pub use self::proof::Proof;
pub use self::verify::{Declared, Verified};

#[cfg(test)]
mod tests;
