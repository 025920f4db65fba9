//! Transactions: what members and devices sign.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Quotas};
use crate::codec;
use crate::declaration::Declaration;
use crate::genesis::Constitution;
use crate::identifier::{Digest, Name, Serial};
use crate::key::{PublicKey, Signature, Signer, SignerFault};
use crate::member::{Member, MemberV1};
use crate::names::Host;
use crate::number::{Height, Sequence, UnixMillis};
use crate::standing::Standing;
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
    pub expires: Height,
    /// What it asks for.
    pub payload: Payload,
}

/// What a transaction asks for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum Payload {
    /// The authority records certificates before it signs them, in the form of
    /// consortia founded with version 1 of the genesis file.
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
    /// The authority records certificates before it signs them.
    Certify(Vec<Certification>) = 7,
    /// A member declares something of itself.
    Declare(Declaration) = 8,
    /// A date that a contract waits for has come: whoever notices says so.
    Fire(Firing) = 9,
}

impl Payload {
    /// The certificates that it records.
    pub fn issuances(&self) -> impl Iterator<Item = &Issuance> {
        let (old, new): (&[Issuance], &[Certification]) = match self {
            Self::Issue(issuances) => (issuances, &[]),
            Self::Certify(certifications) => (&[], certifications),
            _ => (&[], &[]),
        };
        old.iter().chain(new.iter().map(|one| &one.issuance))
    }
}

/// One certificate that is about to be signed, and what it gives its holder
/// beyond the key: roles in the owner's name, and hosts to speak for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certification {
    /// The certificate.
    pub issuance: Issuance,
    /// Roles of a client in the owner's name; the owner has approved its key for
    /// them ([`Declaration`]).
    pub roles: BTreeSet<Name>,
    /// The hosts that it names, all of them the owner's or loopback.
    pub hosts: BTreeSet<Host>,
}

impl Certification {
    /// Most hosts of a certificate.
    pub const MAX_HOSTS: usize = 64;
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
    /// Begin of validity.
    pub not_before: UnixMillis,
    /// End of validity.
    pub not_after: UnixMillis,
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

/// A trigger of a contract is due on an asset. Its signer has no say in what
/// happens: the contract and the block's time decide.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firing {
    /// The contract.
    pub contract: Name,
    /// The trigger.
    pub trigger: Name,
    /// The key of the asset.
    pub asset: String,
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
    pub sequence: Sequence,
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
    /// [`Self::Member`] in the form of consortia founded with version 1 of the
    /// genesis file.
    #[serde(rename = "member")]
    MemberV1 {
        /// The member.
        member: MemberV1,
    } = 3,
    /// Take a member in; or, when there is one of this name, replace all that
    /// is recorded of it, as after the loss of its token. New keys begin an
    /// epoch.
    #[serde(rename = "member_record")]
    Member {
        /// The member.
        member: Member,
    } = 4,
    /// Change how much may be recorded in a day.
    Budget {
        /// From the next block on.
        budget: Budget,
    } = 5,
    /// Suspend a member, dismiss it for good, or readmit a suspended one
    /// ([`Standing`]). The member itself has no say in it.
    Standing {
        /// The member.
        member: Name,
        /// How it stands from then on.
        to: Standing,
        /// Why, for people; at most [`Standing::MAX_REASON`] bytes.
        reason: String,
    } = 6,
    /// Change the constitution, by the rule of the one that is in force.
    Constitution {
        /// The new one.
        constitution: Constitution,
        /// The first height at which it is in force; the height after it was
        /// decided, should that be later. It replaces what was decided before and
        /// would begin then or later.
        from: Height,
    } = 7,
    /// Change how much each may have recorded in a day and in a second.
    Quotas {
        /// From the next block on.
        quotas: Quotas,
    } = 8,
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
    pub height: Height,
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

/// An outcome of each kind: its number, its code, and what it means.
macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $code:literal, $meaning:literal;)*) => {
        /// What became of a transaction in a block. Neither a number nor a code is
        /// ever used again for something else.
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
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Outcome {
            $($(#[$doc])* #[serde(rename = $code)] $name = $number,)*
        }

        impl Outcome {
            /// The stable code, in kebab case.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// What it means, for whoever sent the transaction: the end of a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

outcomes! {
    /// It took effect.
    Accepted = 0, "accepted", "it took effect";
    /// Too large, or too many entries.
    Oversized = 1, "oversized", "it is too large or has too many entries; send less at once";
    /// Not of the form its kind must have.
    Malformed = 2, "malformed", "it has not the form that its kind must have";
    /// For another consortium.
    WrongChain = 3, "wrong-chain", "it is for another consortium; use this one's genesis file";
    /// The signature does not verify.
    Signature = 4, "signature", "its signature does not verify";
    /// The signer's key is not registered.
    UnknownSigner = 5, "unknown-signer", "its signer's key is not registered; enrol it first";
    /// The signer is revoked, suspended or past its validity.
    InactiveSigner = 6, "inactive-signer",
        "its signer is revoked, suspended or past its validity; renew its certificate";
    /// The block is past the transaction's last height, or that is too far ahead.
    Expired = 7, "expired",
        "the last block in which it may stand is over, or too far ahead; sign it again";
    /// It took effect before.
    Duplicate = 8, "duplicate", "it was recorded before";
    /// No such contract is active.
    NoContract = 9, "no-contract", "no such contract is active";
    /// The contract has no such action or stream.
    NoAction = 10, "no-action", "the contract has no such action or stream";
    /// No such asset.
    NoAsset = 11, "no-asset", "there is no such asset; register it first";
    /// The asset exists.
    AssetExists = 12, "asset-exists", "there is such an asset already; choose another identifier";
    /// The asset is in a state from which the action does not start.
    WrongState = 13, "wrong-state", "the asset is in a state from which the action does not start";
    /// A parameter or column is missing, surplus, ill-typed or out of bounds.
    Parameter = 14, "parameter",
        "a parameter or column is missing, surplus, not of its type or out of its bounds";
    /// The policy does not permit it.
    Policy = 15, "policy", "the contract's policy does not permit it to this signer";
    /// An effect overflows, divides by zero or refers to what is not there.
    Effect = 16, "effect", "it refers to what is not there, or an effect has no value";
    /// An invariant would not hold.
    Invariant = 17, "invariant", "what must always hold under the contract would not";
    /// It writes more than one transaction may.
    Limit = 18, "limit", "it would write more than one transaction may";
    /// A batch is missing before this one, or this one was recorded before.
    Sequence = 19, "sequence",
        "a batch before it is missing, or one with its number was recorded before";
    /// The signer's role does not include this.
    Forbidden = 20, "forbidden", "its signer's role does not include it";
    /// What it would make exists already (serial number, proposal, approval).
    Conflict = 21, "conflict", "what it would make exists already, or is so already";
    /// What it names does not exist (serial number, proposal).
    NotFound = 22, "not-found", "what it names does not exist";
    /// The contract package does not pass its check.
    Package = 23, "package", "the contract package does not pass its check";
    /// A time that the signer declares is before the earliest, or further ahead
    /// of the block than the contract allows.
    Time = 24, "time",
        "a time that it declares is before the earliest, or too far ahead of the block";
    /// A host in the certificate belongs to another member, or to nobody.
    ForeignName = 25, "foreign-name", "a host in the certificate is another member's, or nobody's";
    /// The certificate has a role that its member has not approved for the key.
    Unapproved = 26, "unapproved",
        "its member has not approved the key for its roles; `hufu member approve` does";
    /// The device identifier belongs to another member.
    ForeignDevice = 27, "foreign-device", "the device identifier is another member's";
    /// The signer, or the member that answers for it, has used up what may be
    /// recorded of it in a day ([`crate::Budget`]) or a second ([`Quotas`]).
    OverBudget = 28, "over-budget",
        "its signer, or the member that answers for it, has used up what may be recorded of it \
         today, or in this second";
    /// The member that it is of, or that it is for, is suspended.
    MemberSuspended = 29, "member-suspended",
        "the member whose it is, or whom it is for, is suspended; the other members readmit it \
         with `hufu org readmit`";
    /// The member that it is of, or that it is for, was dismissed.
    MemberDismissed = 30, "member-dismissed",
        "the member whose it is, or whom it is for, was dismissed for good";
    /// The consortium could not go on after it.
    Undecidable = 31, "undecidable",
        "the consortium could not go on after it: it needs its authority, members enough for the \
         approvals that its constitution asks for now or later, and an algorithm for each \
         member's key";
    /// The trigger's date has not come, or what it waits for is not so.
    NotDue = 32, "not-due", "the trigger's date has not come, or what it waits for is not so";
}

impl Outcome {
    /// Whether it took effect.
    pub fn is_accepted(self) -> bool {
        self == Self::Accepted
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{self, MAX_TRANSACTION};
    use crate::declaration::{Delegation, KeyApproval};
    use crate::identifier::IdentityId;
    use crate::member::Jurisdictions;

    /// Bytes that were written by hand from `docs/formats.md`, not by this code;
    /// the fuzzer begins with them.
    fn pinned(bytes: &[u8], id: &str) -> Payload {
        let read: Transaction = codec::decode("transaction", bytes, MAX_TRANSACTION).unwrap();
        assert_eq!(codec::encode(&read), bytes);
        assert_eq!(read.id().to_string(), id);
        let json = serde_json::to_vec(&read).unwrap();
        assert_eq!(serde_json::from_slice::<Transaction>(&json).unwrap(), read);
        for length in 0..bytes.len() {
            let cut =
                codec::decode::<Transaction>("transaction", &bytes[..length], MAX_TRANSACTION);
            assert!(cut.is_err(), "{length} of {}", bytes.len());
        }
        read.body.payload
    }

    fn roles(texts: &[&str]) -> BTreeSet<Name> {
        texts.iter().map(|text| Name::new(text).unwrap()).collect()
    }

    #[test]
    fn declarations_have_the_published_form() {
        let key = IdentityId(Digest([2; 32]));
        let approve = KeyApproval {
            key,
            roles: roles(&["administrator", "operator"]),
            until_ms: Some(UnixMillis(1_900_000_000_000)),
        };
        let delegate = Delegation { roles: roles(&[]), until_ms: None };
        let to = Name::new("operator").unwrap();
        for (bytes, id, expected) in [
            (
                include_bytes!("../fuzz/corpus/transaction/approve").as_slice(),
                "87c4b86789f5290f6ef1752cc54fc9f0e3def5a3ed8cad7b4ff9599c5a0a1219",
                Declaration::Approve(approve),
            ),
            (
                include_bytes!("../fuzz/corpus/transaction/withdraw").as_slice(),
                "208e09458532b312b16907cd481bdfdbae9a2871bb78bc875a94a26f5809a62b",
                Declaration::Withdraw { key },
            ),
            (
                include_bytes!("../fuzz/corpus/transaction/delegate").as_slice(),
                "49b49653e636187635e4a6e14993222418ed200d022710a2805b26327bf686e9",
                Declaration::Delegate(delegate),
            ),
            (
                include_bytes!("../fuzz/corpus/transaction/hand-over").as_slice(),
                "594ca4810e4e2130ac1421eb51b7de19991a194ba84295b93b8037e01d1d362b",
                Declaration::HandOver { device: "PUMP-0001".into(), to },
            ),
            (
                include_bytes!("../fuzz/corpus/transaction/issuing").as_slice(),
                "a13c643b34a19b1f7d7ab47211882d0f1cc2bc10bf6c4883c911358646b24e8b",
                Declaration::IssuingCertificate { certificate: vec![0x30, 3, 2, 1, 7] },
            ),
        ] {
            assert_eq!(pinned(bytes, id), Payload::Declare(expected));
        }
    }

    #[test]
    fn a_firing_has_the_published_form() {
        let payload = pinned(
            include_bytes!("../fuzz/corpus/transaction/fire"),
            "641bab13d1228233384942f79434899115ad8f8ff3e10d86c0b48ede8eaf128c",
        );
        let (contract, trigger) = (Name::new("leasing").unwrap(), Name::new("overdue").unwrap());
        assert_eq!(payload, Payload::Fire(Firing { contract, trigger, asset: "L-1".into() }));
    }

    #[test]
    fn a_certification_has_the_published_form() {
        let payload = pinned(
            include_bytes!("../fuzz/corpus/transaction/certify"),
            "2dea258a392c28dab12c89a810af804cbd3a9b1188bb9fc5c6e61cd949ff25cb",
        );
        assert_eq!(payload.issuances().count(), 1);
        let Payload::Certify(entries) = payload else { panic!("{payload:?}") };
        let hosts: Vec<String> = entries[0].hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["node.maker.example", "192.0.2.7", "2001:db8::1"]);
        assert_eq!(entries[0].roles, roles(&["operator"]));
        assert_eq!(entries[0].issuance.owner.as_str(), "maker");
    }

    #[test]
    fn a_member_has_the_published_form() {
        let payload = pinned(
            include_bytes!("../fuzz/corpus/transaction/member"),
            "58127dcfde069de4f6808ac8aead878ec0066ec1ee6caf3e790dbcf3aff4171f",
        );
        let Payload::Propose(Proposal::Member { member }) = payload else { panic!("{payload:?}") };
        assert_eq!(member.jurisdictions, Jurisdictions::Only(roles(&["north"])));
        let names: Vec<String> = member.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["maker.example", "192.0.2.0/24"]);
        assert!(member.node_key.is_some());
    }
}
