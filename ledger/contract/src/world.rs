//! What a contract is given and what it gives back.
//!
//! A contract never reads a store, a clock or a network. The machine hands it
//! the signer, the block's height and time, and a [`World`] to look up state;
//! the contract answers with [`Effects`] that the machine writes, or with the
//! [`Outcome`] that goes into the receipt.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, Height, IdentityId, Name, Outcome, Sequence, UnixMillis, Value};
use serde::{Deserialize, Serialize};

/// Who acts, as the ledger's registry knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The signing key's identity; zeros for the clock.
    pub identity: IdentityId,
    /// The member that answers for it; none for the clock.
    pub member: Option<Name>,
    /// What it is.
    pub kind: PrincipalKind,
    /// The subject of its certificate: for a device, its device identifier; for
    /// a member, the member's name.
    pub subject: String,
}

impl Principal {
    /// Nobody: a date has come.
    pub fn clock() -> Self {
        let (identity, kind) = (IdentityId(Digest::default()), PrincipalKind::Clock);
        Self { identity, member: None, kind, subject: kind.as_str().to_owned() }
    }
}

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
pub enum PrincipalKind {
    /// Somebody who signed.
    Signer(IdentityKind),
    /// The agreed time.
    Clock,
}

impl PrincipalKind {
    /// How contracts call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signer(IdentityKind::Member) => "member",
            Self::Signer(IdentityKind::Device) => "device",
            Self::Signer(IdentityKind::Client) => "client",
            Self::Signer(IdentityKind::Server) => "server",
            Self::Clock => "clock",
        }
    }
}

/// What the world knows of a member, seen from one contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// What it is to the consortium (genesis file).
    pub kinds: BTreeSet<Name>,
    /// Roles it holds in the contract: granted ones, and its kinds that the
    /// contract declares as roles.
    pub roles: BTreeSet<Name>,
    /// What a supervisor among them may see; empty for everybody else.
    pub jurisdictions: BTreeSet<Name>,
}

/// The circumstances of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Who acts.
    pub principal: Principal,
    /// The action or trigger that calls, as `CONTRACT/NAME`; `None` for what the
    /// signer asked for.
    pub via: Option<String>,
    /// The height of its block.
    pub block_height: Height,
    /// The agreed time of its block.
    pub block_time_ms: UnixMillis,
}

/// An asset as it is stored. Its key is not among the fields: it is in the name
/// under which the machine stores the asset.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Asset {
    /// The state it is in.
    pub state: Name,
    /// Its fields but the key; optional fields that have no value are absent.
    pub fields: BTreeMap<Name, Value>,
}

impl Asset {
    /// Largest encoded asset in bytes; a transaction that would make a larger
    /// one is refused with `limit`.
    pub const MAX: usize = 64 * 1024;
}

/// State as of the transaction being executed.
///
/// A look-up that fails (a broken store) is the implementor's to remember and
/// to act upon by failing the whole block; to the contract it looks absent.
pub trait World {
    /// The asset of type `asset_type` of `contract` with this key.
    fn asset(&self, contract: &Name, asset_type: &Name, key: &str) -> Option<Asset>;

    /// What is known of `member`, with its roles in `contract`; `None` when
    /// there is no such member.
    fn member(&self, contract: &Name, member: &Name) -> Option<Member>;

    /// The sequence number of the last accepted batch of `identity` in the
    /// stream; 0 before the first.
    fn stream_sequence(&self, contract: &Name, stream: &Name, identity: &IdentityId) -> Sequence;
}

/// What an accepted action changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Assets to write whole.
    pub writes: Vec<Write>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Triggers that fired, in order.
    pub fired: Vec<Fired>,
    /// Actions that were done, in order. They are not recorded: writes say what
    /// they came to.
    pub acted: Vec<Acted>,
}

/// An action that was done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acted {
    /// Its contract.
    pub contract: Name,
    /// The action.
    pub action: Name,
    /// The state it started from; `None` when it made the asset.
    pub from: Option<Name>,
}

/// An asset to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its contract.
    pub contract: Name,
    /// Its type.
    pub asset_type: Name,
    /// Its key.
    pub key: String,
    /// Whether it did not exist before.
    pub created: bool,
    /// What it becomes.
    pub asset: Asset,
}

/// Something that happened to an asset, for those who subscribe.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Event {
    /// The contract.
    pub contract: Name,
    /// The event's name.
    pub name: Name,
    /// The type of the asset it happened to.
    pub asset_type: Name,
    /// The asset's key.
    pub key: String,
}

/// The asset that caused something.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Cause {
    /// Its contract.
    pub contract: Name,
    /// Its type.
    pub asset_type: Name,
    /// Its key.
    pub key: String,
}

/// A trigger that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Its contract.
    pub contract: Name,
    /// The trigger.
    pub trigger: Name,
    /// The asset that changed, or signed the row, or whose date came.
    pub cause: Cause,
    /// What became of it. What was refused changed nothing; what caused it stays.
    pub outcome: Outcome,
}

/// What an accepted batch changes: the machine keeps the batch's rows as they
/// are and remembers the sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEffects {
    /// The key of the asset that signed: the `device` column.
    pub device: String,
    /// The sequence number to remember for the signer.
    pub sequence: Sequence,
    /// What its rows triggered.
    pub triggered: Effects,
}
