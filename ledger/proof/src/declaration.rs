//! What a member declares of itself, with its statement key and without
//! anybody's approval: who may act in its name, whose a device is, where its node is
//! reached, and what is in its archive.
//!
//! A certificate with roles in a member's name counts for nothing unless the
//! member approved the holder's key for them. It approves one key
//! ([`KeyApproval`]), or lets the authority approve keys for it
//! ([`Delegation`]); the key of its node is approved by standing in the member's
//! record ([`crate::Member::node_key`]), and what the authority certifies for
//! itself it approves by certifying it. All of it is on the ledger, and ends
//! when the member says so.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::identifier::{Digest, IdentityId, Name};
use crate::number::{Height, UnixMillis};

/// The role that comes by approval alone: whoever has it acts for the member
/// on the member's own node.
pub const ADMINISTRATOR: &str = "administrator";

/// Most roles in an approval, a delegation or a certificate.
pub const MAX_ROLES: usize = 16;

/// What a member declares.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum Declaration {
    /// The holder of a key may act in the member's name. Replaces what the
    /// member approved of this key before.
    Approve(KeyApproval) = 0,
    /// The holder of a key may not any more, whoever approved it.
    Withdraw {
        /// The key.
        key: IdentityId,
    } = 1,
    /// The authority may approve keys in the member's name. Replaces what was
    /// delegated before; without roles it ends, and with it every approval that
    /// rests on it alone.
    Delegate(Delegation) = 2,
    /// A device of the member is another member's from now on; that member, and
    /// no longer this one, is certified for its identifier.
    HandOver {
        /// The device's identifier.
        device: String,
        /// Whose it is.
        to: Name,
    } = 3,
    /// The authority's issuing certificate for the time to come: of the same key
    /// and name as that of the genesis file, signed by the same root. The
    /// authority alone declares it. The ledger keeps it as it is and does not
    /// read it: whoever uses it checks it under the root.
    IssuingCertificate {
        /// X.509, DER.
        #[serde(with = "crate::codec::base64_text")]
        certificate: Vec<u8>,
    } = 4,
    /// Where the member's node is reached by the other validators: they take it for
    /// what their configurations say of it.
    Address {
        /// There; where the configurations say, without it.
        at: Option<Endpoint>,
    } = 5,
    /// The member has the blocks of some heights in a partition of its archive, whose
    /// manifest has this digest. The ledger keeps it as it is and does not see the
    /// partition: whoever has one compares. Replaces what the member declared of a
    /// partition that begins at the same height.
    Archive {
        /// The first height, from 1 on.
        first: Height,
        /// The last height, before the block that has the declaration.
        last: Height,
        /// SHA-256 of the manifest.
        manifest: Digest,
    } = 6,
}

/// Largest issuing certificate in bytes.
pub const MAX_ISSUING: usize = 8 * 1024;

/// Approval of a key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyApproval {
    /// The key, by its digest.
    pub key: IdentityId,
    /// The roles, at least one.
    pub roles: BTreeSet<Name>,
    /// Until when, inclusive; without end otherwise.
    pub until_ms: Option<UnixMillis>,
}

/// What the authority may approve in a member's name.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// The roles; none ends the delegation.
    pub roles: BTreeSet<Name>,
    /// Until when, inclusive; without end otherwise.
    pub until_ms: Option<UnixMillis>,
}
