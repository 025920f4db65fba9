//! Transactions: what members and devices sign.

use std::collections::BTreeMap;
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::codec;
use crate::genesis::Member;
use crate::identifier::{Digest, Name, Serial};
use crate::key::{PublicKey, Signature, Signer, SignerFault};
use crate::value::Value;

/// What goes in front of the bytes a sender signs.
pub const DOMAIN: &str = "hufu transaction v1";

/// How many blocks ahead of the current height a transaction may expire. Within
/// this window its identifier is remembered, so that it takes effect once.
pub const MAX_LIFETIME: u64 = 100_000;

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// What is signed.
    pub body: Body,
    /// By the key named in the body.
    pub signature: Signature,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The consortium ([`crate::Genesis::digest`]), so that nothing signed for
    /// one is valid in another.
    pub chain: Digest,
    /// Who signs.
    pub signer: PublicKey,
    /// Makes two otherwise equal transactions different.
    pub nonce: u64,
    /// Last height at which it may be in a block.
    pub expires: u64,
    /// What it asks for.
    pub payload: Payload,
}

/// What a transaction asks for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum Payload {
    /// The authority records certificates before it signs them.
    Issue(Vec<Issuance>) = 0,
    /// The authority revokes a certificate.
    Revoke(Revocation) = 1,
    /// An action of a contract.
    Invoke(Invocation) = 2,
    /// Rows of a contract's stream, under one signature.
    Append(Batch) = 3,
    /// A change that needs the founders' approvals. The proposer approves it by
    /// proposing.
    Propose(Proposal) = 4,
    /// Approval of a proposal by the digest of [`Proposal`].
    Approve(Digest) = 5,
    /// A regulator's look, recorded by the member whose node was asked.
    Look(Look) = 6,
}

/// One certificate that is about to be signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuance {
    /// The certificate's serial number.
    pub serial: Serial,
    /// The profile it was made by.
    pub profile: Name,
    /// What the key may do on the ledger.
    pub kind: IdentityKind,
    /// The to-be-signed certificate, DER (RFC 5280 §4.1.1.1). The ledger keeps
    /// it as it is and does not read it.
    #[serde(with = "crate::codec::base64_text")]
    pub tbs: Vec<u8>,
    /// The subject's key.
    pub key: PublicKey,
    /// The subject, for people.
    pub subject: String,
    /// The member that answers for the subject.
    pub owner: Name,
    /// Begin of validity, milliseconds since 1970.
    pub not_before: u64,
    /// End of validity, milliseconds since 1970.
    pub not_after: u64,
    /// Digest of the evidence that the key lives in hardware.
    pub attestation: Option<Digest>,
}

impl Issuance {
    /// Largest TBS in bytes.
    pub const MAX_TBS: usize = 8 * 1024;
    /// Longest subject in bytes.
    pub const MAX_SUBJECT: usize = 512;
    /// Most entries in one transaction.
    pub const MAX_ENTRIES: usize = 256;
}

/// What the holder of a certified key is.
#[derive(
    Clone,
    Copy,
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
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum IdentityKind {
    /// A member's own key, from the genesis file.
    Member = 0,
    /// A device: it may append to streams and act for its owner.
    Device = 1,
    /// A person or program of a member: it authenticates connections.
    Client = 2,
    /// A server of a member: it authenticates connections.
    Server = 3,
}

/// A certificate loses its validity.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Which certificate.
    pub serial: Serial,
    /// CRLReason (RFC 5280 §5.3.1).
    pub reason: u8,
}

/// An action of a contract on one asset.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invocation {
    /// The contract.
    pub contract: Name,
    /// The action.
    pub action: Name,
    /// The key of the asset, also when the action creates it.
    pub asset: String,
    /// The parameters by name.
    pub params: BTreeMap<Name, Value>,
}

/// Rows of a stream.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The contract.
    pub contract: Name,
    /// The stream.
    pub stream: Name,
    /// 1 for the signer's first batch of this stream, then one more each time.
    pub sequence: u64,
    /// Rows; each has a value for every column, in the order of the columns'
    /// names.
    pub rows: Vec<Vec<Value>>,
}

/// A change of what all members share.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum Proposal {
    /// Deploy a contract package (its canonical encoding).
    Deploy {
        /// The package.
        #[serde(with = "crate::codec::base64_text")]
        package: Vec<u8>,
    } = 0,
    /// Give a member a role of a contract.
    Grant {
        /// The contract.
        contract: Name,
        /// The role.
        role: Name,
        /// The member.
        member: Name,
    } = 1,
    /// Take a role of a contract from a member.
    Withdraw {
        /// The contract.
        contract: Name,
        /// The role.
        role: Name,
        /// The member.
        member: Name,
    } = 2,
    /// Take a member in; or, when there is one of this name, replace all that
    /// is recorded of it, as after the loss of its token. The next epoch begins
    /// with it.
    Member {
        /// The member.
        member: Member,
    } = 3,
    /// Change how much may be recorded in a day.
    Budget {
        /// From the next block on.
        budget: Budget,
    } = 5,
}

impl Proposal {
    /// What approvals name.
    pub fn digest(&self) -> Digest {
        codec::digest("hufu proposal v1", self)
    }
}

/// A regulator looked at something.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// What was asked, at most [`Look::MAX_SUBJECT`] bytes.
    pub subject: String,
    /// As of which height.
    pub height: u64,
    /// Digest of the answer.
    pub answer: Digest,
}

impl Look {
    /// Longest subject in bytes.
    pub const MAX_SUBJECT: usize = 1024;
}

impl Body {
    /// The bytes a sender signs: the domain, a zero byte, the canonical body.
    pub fn message(&self) -> Vec<u8> {
        let mut message = DOMAIN.as_bytes().to_vec();
        message.push(0);
        message.extend_from_slice(&codec::encode(self));
        message
    }

    /// Signs with `signer`, whose key becomes the body's.
    ///
    /// # Errors
    /// [`SignerFault`] when the signer does not answer.
    pub fn sign(mut self, signer: &dyn Signer) -> Result<Transaction, SignerFault> {
        self.signer = signer.public_key();
        let signature = signer.sign(&self.message())?;
        Ok(Transaction { body: self, signature })
    }
}

impl Transaction {
    /// Its identifier: SHA-256 of [`Body::message`]. The signature is not part
    /// of it, so a re-randomised signature does not make a second transaction.
    pub fn id(&self) -> Digest {
        Digest::of(&self.body.message())
    }

    /// [`Self::id`], and the size of the encoded transaction in bytes.
    pub fn id_and_size(&self) -> (Digest, usize) {
        let message = self.body.message();
        let body = message.len() - DOMAIN.len() - 1;
        (Digest::of(&message), body + codec::encode(&self.signature).len())
    }
}

/// What became of a transaction in a block. Codes are never reused.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[repr(u8)]
pub enum Outcome {
    /// It took effect.
    Accepted = 0,
    /// Too large, or too many entries.
    Oversized = 1,
    /// Not of the form its kind must have.
    Malformed = 2,
    /// For another consortium.
    WrongChain = 3,
    /// The signature does not verify.
    Signature = 4,
    /// The signer's key is not registered.
    UnknownSigner = 5,
    /// The signer is revoked, suspended or past its validity.
    InactiveSigner = 6,
    /// The block is past the transaction's last height, or that is too far ahead.
    Expired = 7,
    /// It took effect before.
    Duplicate = 8,
    /// No such contract is active.
    NoContract = 9,
    /// The contract has no such action or stream.
    NoAction = 10,
    /// No such asset.
    NoAsset = 11,
    /// The asset exists.
    AssetExists = 12,
    /// The asset is in a state from which the action does not start.
    WrongState = 13,
    /// A parameter or column is missing, surplus, ill-typed or out of bounds.
    Parameter = 14,
    /// The policy does not permit it.
    Policy = 15,
    /// An effect overflows, divides by zero or refers to what is not there.
    Effect = 16,
    /// An invariant would not hold.
    Invariant = 17,
    /// It writes more than one transaction may.
    Limit = 18,
    /// A batch is missing before this one, or this one was recorded before.
    Sequence = 19,
    /// The signer's role does not include this.
    Forbidden = 20,
    /// What it would make exists already (serial number, proposal, approval).
    Conflict = 21,
    /// What it names does not exist (serial number, proposal).
    NotFound = 22,
    /// The contract package does not pass its check.
    Package = 23,
    /// A time that the signer declares is before the earliest, or further ahead
    /// of the block than the contract allows.
    Time = 24,
    /// The signer, or the member that answers for it, has used up what may be
    /// recorded of it in a day ([`crate::Budget`]).
    OverBudget = 28,
}

impl Outcome {
    /// Whether it took effect.
    pub fn is_accepted(self) -> bool {
        self == Self::Accepted
    }

    /// The stable code, in kebab case.
    pub fn code(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::WrongChain => "wrong-chain",
            Self::Signature => "signature",
            Self::UnknownSigner => "unknown-signer",
            Self::InactiveSigner => "inactive-signer",
            Self::Expired => "expired",
            Self::Duplicate => "duplicate",
            Self::NoContract => "no-contract",
            Self::NoAction => "no-action",
            Self::NoAsset => "no-asset",
            Self::AssetExists => "asset-exists",
            Self::WrongState => "wrong-state",
            Self::Parameter => "parameter",
            Self::Policy => "policy",
            Self::Effect => "effect",
            Self::Invariant => "invariant",
            Self::Limit => "limit",
            Self::Sequence => "sequence",
            Self::Forbidden => "forbidden",
            Self::Conflict => "conflict",
            Self::NotFound => "not-found",
            Self::Package => "package",
            Self::Time => "time",
            Self::OverBudget => "over-budget",
        }
    }

    /// What it means, for whoever sent the transaction: the end of a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Accepted => "it took effect",
            Self::Oversized => "it is too large or has too many entries; send less at once",
            Self::Malformed => "it has not the form that its kind must have",
            Self::WrongChain => "it is for another consortium; use this one's genesis file",
            Self::Signature => "its signature does not verify",
            Self::UnknownSigner => "its signer's key is not registered; enrol it first",
            Self::InactiveSigner => {
                "its signer is revoked, suspended or past its validity; renew its certificate"
            }
            Self::Expired => {
                "the last block in which it may stand is over, or too far ahead; sign it again"
            }
            Self::Duplicate => "it was recorded before",
            Self::NoContract => "no such contract is active",
            Self::NoAction => "the contract has no such action or stream",
            Self::NoAsset => "there is no such asset; register it first",
            Self::AssetExists => "there is such an asset already; choose another identifier",
            Self::WrongState => "the asset is in a state from which the action does not start",
            Self::Parameter => {
                "a parameter or column is missing, surplus, not of its type or out of its bounds"
            }
            Self::Policy => "the contract's policy does not permit it to this signer",
            Self::Effect => "it refers to what is not there, or an effect has no value",
            Self::Invariant => "what must always hold under the contract would not",
            Self::Limit => "it would write more than one transaction may",
            Self::Sequence => {
                "a batch before it is missing, or one with its number was recorded before"
            }
            Self::Forbidden => "its signer's role does not include it",
            Self::Conflict => "what it would make exists already, or is so already",
            Self::NotFound => "what it names does not exist",
            Self::Package => "the contract package does not pass its check",
            Self::Time => {
                "a time that it declares is before the earliest, or too far ahead of the block"
            }
            Self::OverBudget => {
                "its signer, or the member that answers for it, has used up what may be recorded of it \
                 today"
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_accepted() {
            formatter.write_str("accepted")
        } else {
            write!(formatter, "refused: {}", self.code())
        }
    }
}
