//! What a read model is told of a block, in the order in which it happened.
//!
//! For each height: [`Event::Block`] first; then, for each transaction in the
//! order of the block, [`Event::Transaction`] followed by what it changed.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_contract::{Asset, Cause};
use hufu_proof::transaction::Proposal;
use hufu_proof::{
    Block, Constitution, Digest, Endpoint, Height, IdentityId, LogIndex, Name, Outcome, Payload,
    Sequence, Serial, Standing, Transaction, UnixMillis,
};
use serde::{Deserialize, Serialize};

use crate::record::{
    ApprovalRecord, CertificateRecord, CertificateRights, DelegationRecord, IdentityRecord,
    MemberRecord,
};

/// Something that a read model records.
///
/// `transaction` is the identifier of the transaction that did it, absent in
/// the genesis block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case", tag = "event")]
#[repr(u8)]
pub enum Event {
    /// A block was executed.
    Block {
        /// Its height.
        height: Height,
        /// Its digest.
        digest: Digest,
        /// Its time.
        time_ms: UnixMillis,
        /// Transactions in it.
        transactions: u32,
    } = 0,
    /// A transaction was logged.
    Transaction {
        /// Its identifier. A refused duplicate has the identifier of the first.
        id: Digest,
        /// Its place in the block.
        index: u32,
        /// Its place in the log.
        log_index: LogIndex,
        /// What became of it.
        outcome: Outcome,
        /// Whose key is in it; of a transaction refused with `signature`, the
        /// holder of that key did not sign it.
        signer: IdentityId,
        /// The member that answers for the signer, if the signer is registered.
        member: Option<Name>,
        /// What it asked for.
        kind: PayloadKind,
        /// The contract it was for, if it was an `invoke` or `append`.
        contract: Option<Name>,
        /// The action or stream, likewise.
        action: Option<Name>,
    } = 1,
    /// A member is in the consortium, or what is recorded of it has changed.
    Member {
        /// The transaction that did it.
        transaction: Option<Digest>,
        /// Its name.
        name: Name,
        /// All that is recorded of it.
        record: MemberRecord,
    } = 2,
    /// An identity was registered or changed.
    Identity {
        /// The transaction that did it.
        transaction: Option<Digest>,
        /// The identity.
        identity: IdentityId,
        /// All that is recorded of it now.
        record: IdentityRecord,
    } = 3,
    /// A certificate was recorded or its status changed.
    Certificate {
        /// The transaction that did it.
        transaction: Digest,
        /// Its serial number.
        serial: Serial,
        /// All that is recorded of it now.
        record: CertificateRecord,
    } = 4,
    /// An asset was created or changed.
    Asset {
        /// The transaction that did it.
        transaction: Digest,
        /// The contract.
        contract: Name,
        /// The asset's type.
        asset_type: Name,
        /// Its key.
        key: String,
        /// Whether it did not exist before.
        created: bool,
        /// State and all fields now.
        asset: Asset,
    } = 5,
    /// A contract emitted an event.
    Emitted {
        /// The transaction that did it.
        transaction: Digest,
        /// The contract.
        contract: Name,
        /// Its name.
        name: Name,
        /// The type of the asset it happened to.
        asset_type: Name,
        /// The asset's key.
        key: String,
    } = 6,
    /// Rows were appended to a stream. The rows themselves are in the block:
    /// they are those of its transaction number `index`.
    Rows {
        /// The transaction that did it.
        transaction: Digest,
        /// Its place in the block.
        index: u32,
        /// The contract.
        contract: Name,
        /// The stream.
        stream: Name,
        /// Who signed the rows.
        signer: IdentityId,
        /// The key of the asset that signed: the `device` column.
        device: String,
        /// The batch's number in the signer's stream.
        sequence: Sequence,
        /// How many rows.
        rows: u32,
    } = 7,
    /// A proposal was made, approved or enacted.
    Proposal {
        /// The transaction that did it.
        transaction: Digest,
        /// Its digest.
        proposal: Digest,
        /// What it asks for.
        kind: ProposalKind,
        /// The contract it is about, or the member; of a budget, `budget`, of a
        /// constitution, `constitution`, of quotas, `quotas`.
        contract: Name,
        /// Who proposed it.
        proposer: Name,
        /// Who has approved it.
        approvals: BTreeSet<Name>,
        /// Whether it has taken effect.
        enacted: bool,
    } = 8,
    /// A contract version became the active one.
    Contract {
        /// The transaction that did it.
        transaction: Digest,
        /// The contract.
        contract: Name,
        /// The version.
        version: String,
        /// The package's digest.
        digest: Digest,
    } = 9,
    /// A member got or lost a role of a contract.
    Role {
        /// The transaction that did it.
        transaction: Digest,
        /// The contract.
        contract: Name,
        /// The role.
        role: Name,
        /// The member.
        member: Name,
        /// Whether the member has it now.
        held: bool,
    } = 10,
    /// A regulator looked at something.
    Look {
        /// The transaction that recorded it.
        transaction: Digest,
        /// Which member.
        member: Name,
        /// What was asked.
        subject: String,
        /// As of which height.
        height: Height,
        /// Digest of the answer.
        answer: Digest,
    } = 11,
    /// A certificate was recorded that gives its holder something.
    Rights {
        /// The transaction that did it.
        transaction: Digest,
        /// The certificate's serial number.
        serial: Serial,
        /// What it gives.
        rights: CertificateRights,
    } = 12,
    /// A member approved a key, or withdrew what was approved of it.
    Approval {
        /// The transaction that did it.
        transaction: Digest,
        /// The member.
        member: Name,
        /// The key.
        key: IdentityId,
        /// What is approved now.
        record: ApprovalRecord,
    } = 13,
    /// A member let the authority approve keys in its name, or ended that.
    Delegation {
        /// The transaction that did it.
        transaction: Digest,
        /// The member.
        member: Name,
        /// What is delegated now.
        record: DelegationRecord,
    } = 14,
    /// A device's identifier was certified first, or was handed over.
    Device {
        /// The transaction that did it.
        transaction: Digest,
        /// The identifier.
        device: String,
        /// Whose it is now.
        owner: Name,
    } = 15,
    /// The authority declared the issuing certificate for the time to come, which
    /// is in the transaction.
    Issuing {
        /// The transaction that did it.
        transaction: Digest,
        /// The authority's member.
        member: Name,
    } = 16,
    /// A member was suspended, dismissed or readmitted.
    Standing {
        /// The transaction that did it.
        transaction: Digest,
        /// The member.
        member: Name,
        /// How it stands now.
        standing: Standing,
        /// Why.
        reason: String,
    } = 17,
    /// A new constitution was decided.
    Constitution {
        /// The transaction that did it.
        transaction: Digest,
        /// The first height at which it is in force.
        from: Height,
        /// What it says.
        constitution: Constitution,
    } = 18,
    /// A member said where its node is reached, or took that back.
    Address {
        /// The transaction that did it.
        transaction: Digest,
        /// The member.
        member: Name,
        /// Where.
        at: Option<Endpoint>,
    } = 19,
    /// A trigger fired. What it did follows from the events before.
    Fired {
        /// The transaction that did it.
        transaction: Digest,
        /// The trigger's contract.
        contract: Name,
        /// The trigger.
        trigger: Name,
        /// The asset that changed, or signed the row, or whose date came.
        cause: Cause,
        /// What became of it.
        outcome: Outcome,
    } = 20,
    /// A member declared a partition of its archive.
    Archive {
        /// The transaction that did it.
        transaction: Digest,
        /// The member.
        member: Name,
        /// The partition's first height.
        first: Height,
        /// Its last height.
        last: Height,
        /// The digest of its manifest.
        manifest: Digest,
    } = 21,
}

impl Event {
    /// The event of a block's execution.
    pub(crate) fn block(block: &Block) -> Self {
        let header = &block.header;
        Self::Block {
            height: header.height,
            digest: header.digest(),
            time_ms: header.time_ms,
            // A block has far fewer than 2^32.
            transactions: block.transactions.len() as u32,
        }
    }

    /// The event of a transaction that was logged; `signer` is whose key is in it.
    pub(crate) fn transaction(
        transaction: &Transaction,
        id: Digest,
        signer: IdentityId,
        index: u32,
        log_index: LogIndex,
        outcome: Outcome,
        member: Option<Name>,
    ) -> Self {
        let body = &transaction.body;
        let (contract, action) = match &body.payload {
            Payload::Invoke(call) => (Some(&call.contract), Some(&call.action)),
            Payload::Append(batch) => (Some(&batch.contract), Some(&batch.stream)),
            Payload::Fire(firing) => (Some(&firing.contract), Some(&firing.trigger)),
            _ => (None, None),
        };
        Self::Transaction {
            id,
            index,
            log_index,
            outcome,
            signer,
            member,
            kind: PayloadKind::of(&body.payload),
            contract: contract.cloned(),
            action: action.cloned(),
        }
    }

    /// The transaction that did it.
    pub(crate) fn transaction_mut(&mut self) -> Option<&mut Digest> {
        match self {
            Self::Block { .. } | Self::Transaction { .. } => None,
            Self::Member { transaction, .. } | Self::Identity { transaction, .. } => {
                transaction.as_mut()
            }
            Self::Certificate { transaction, .. }
            | Self::Asset { transaction, .. }
            | Self::Emitted { transaction, .. }
            | Self::Rows { transaction, .. }
            | Self::Proposal { transaction, .. }
            | Self::Contract { transaction, .. }
            | Self::Role { transaction, .. }
            | Self::Look { transaction, .. }
            | Self::Rights { transaction, .. }
            | Self::Approval { transaction, .. }
            | Self::Delegation { transaction, .. }
            | Self::Device { transaction, .. }
            | Self::Issuing { transaction, .. }
            | Self::Address { transaction, .. }
            | Self::Fired { transaction, .. }
            | Self::Standing { transaction, .. }
            | Self::Constitution { transaction, .. }
            | Self::Archive { transaction, .. } => Some(transaction),
        }
    }
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident of $of:ident { $($(#[$variant_doc:meta])* $variant:ident($pattern:pat) = $code:literal $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[borsh(use_discriminant = true)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant = $code,)*
        }

        impl $name {
            /// The kind of this one.
            pub fn of(one: &$of) -> Self {
                match one {
                    $($pattern => Self::$variant,)*
                }
            }

            /// Its name, in lower case.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

kind! {
    /// What a transaction asks for.
    PayloadKind of Payload {
        /// To record certificates.
        Issue(Payload::Issue(_)) = 0 "issue",
        /// To revoke a certificate.
        Revoke(Payload::Revoke(_)) = 1 "revoke",
        /// An action of a contract.
        Invoke(Payload::Invoke(_)) = 2 "invoke",
        /// To append to a stream.
        Append(Payload::Append(_)) = 3 "append",
        /// A change of what all share.
        Propose(Payload::Propose(_)) = 4 "propose",
        /// Its approval.
        Approve(Payload::Approve(_)) = 5 "approve",
        /// To record a regulator's look.
        Look(Payload::Look(_)) = 6 "look",
        /// To record certificates and what they give.
        Certify(Payload::Certify(_)) = 7 "certify",
        /// To declare something of its own.
        Declare(Payload::Declare(_)) = 8 "declare",
        /// To let happen what is due.
        Fire(Payload::Fire(_)) = 9 "fire",
    }
}

kind! {
    /// What a proposal asks for.
    ProposalKind of Proposal {
        /// To deploy a contract package.
        Deploy(Proposal::Deploy { .. }) = 0 "deploy",
        /// To give a role.
        Grant(Proposal::Grant { .. }) = 1 "grant",
        /// To take a role.
        Withdraw(Proposal::Withdraw { .. }) = 2 "withdraw",
        /// To take a member in, or to replace what is recorded of one.
        Member(Proposal::MemberV1 { .. } | Proposal::Member { .. }) = 3 "member",
        /// To change how much may be recorded in a day.
        Budget(Proposal::Budget { .. }) = 5 "budget",
        /// To suspend a member.
        Suspend(Proposal::Standing { to: Standing::Suspended, .. }) = 6 "suspend",
        /// To dismiss a member.
        Dismiss(Proposal::Standing { to: Standing::Dismissed, .. }) = 7 "dismiss",
        /// To readmit a member.
        Readmit(Proposal::Standing { to: Standing::Good, .. }) = 8 "readmit",
        /// To change the constitution.
        Constitution(Proposal::Constitution { .. }) = 9 "constitution",
        /// To change how much each may have recorded.
        Quotas(Proposal::Quotas { .. }) = 10 "quotas",
    }
}
