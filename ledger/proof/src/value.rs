//! Values of contract fields, parameters and rows (CONTRACTS, Types).

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::identifier::{Digest, IdentityId, Name};

/// A typed value. There is no float. Bounds on length are the contract
/// schema's; a transaction as a whole is bounded by
/// [`crate::codec::MAX_TRANSACTION`].
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Value {
    /// True or false.
    Bool(bool) = 0,
    /// A whole number; its unit is the schema's.
    Int(i64) = 1,
    /// A decimal number in units of the schema's scale: with scale 3, 1500 is 1.5.
    Decimal(i64) = 2,
    /// Text, bounded by the schema.
    Text(String) = 3,
    /// A short code, at most 64 bytes.
    Symbol(String) = 4,
    /// The identifier of a thing, at most 128 bytes.
    Id(String) = 5,
    /// Bytes, bounded by the schema.
    Bytes(Vec<u8>) = 6,
    /// A SHA-256 digest.
    Digest(Digest) = 7,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Time(u64) = 8,
    /// A member of the consortium.
    Member(Name) = 9,
    /// Who signs.
    Identity(IdentityId) = 10,
    /// The key of another asset, whose type the schema names.
    Ref(String) = 11,
    /// Scalars in the order given.
    List(Vec<Value>) = 12,
    /// Scalars, each once.
    Set(BTreeSet<Value>) = 13,
}

impl Value {
    /// Longest symbol in bytes.
    pub const MAX_SYMBOL: usize = 64;
    /// Longest identifier in bytes.
    pub const MAX_ID: usize = 128;

    /// The name of its type, as contracts write it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Decimal(_) => "decimal",
            Self::Text(_) => "text",
            Self::Symbol(_) => "symbol",
            Self::Id(_) => "id",
            Self::Bytes(_) => "bytes",
            Self::Digest(_) => "digest",
            Self::Time(_) => "time",
            Self::Member(_) => "member",
            Self::Identity(_) => "identity",
            Self::Ref(_) => "ref",
            Self::List(_) => "list",
            Self::Set(_) => "set",
        }
    }
}
