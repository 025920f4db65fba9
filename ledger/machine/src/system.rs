//! Transactions that are not for a contract: certificates, proposals, looks.
//!
//! # Certificates
//!
//! Only the authority's member key issues and revokes. An `Issue` takes effect
//! as a whole or not at all; what else a `Certify` needs is in `declare`, and
//! consortia founded with version 2 of the genesis file take no other. A serial
//! number is used once. A key that is
//! certified again for the same kind, owner and subject is *renewed*: the new
//! certificate becomes its current one, the old one stays as good as it was. A
//! revoked key is never certified again.
//!
//! Revoking an identity's current certificate makes the identity *revoked*;
//! `certificateHold` makes it *suspended*, and `removeFromCRL` lifts a hold.
//! Revoking an older certificate changes that certificate alone.
//!
//! # Proposals
//!
//! Only members propose and approve, with their statement keys. A proposal
//! takes effect with the approval that reaches the constitution's number, at
//! once: the next transaction of the same block is already subject to it. A
//! package is checked when it is proposed and again when it is enacted, against
//! the contracts that are active then; its version must be higher than the one
//! that is active, and what was recorded under that must keep its meaning
//! ([`hufu_contract::compare::incompatibilities`]). A grant or withdrawal that
//! was enacted can be proposed again.
//!
//! # Members
//!
//! Who the members are is changed by proposals, too ([`Proposal::Member`]). A
//! key is used once: by one member, for votes or for statements, and not again
//! when it has been replaced. With a new statement key the old one is revoked at
//! once; votes change hands with the next epoch ([`crate::epoch`]).
//!
//! How much may be recorded in a day is changed by a proposal as well, from the
//! next block on ([`crate::accounts`]).

use std::collections::{BTreeMap, BTreeSet};

use hufu_contract::Contract;
use hufu_contract::compare::incompatibilities;
use hufu_proof::genesis::{MAX_MEMBERS, Member};
use hufu_proof::membership::Seat;
use hufu_proof::transaction::{IdentityKind, Issuance, Look, Proposal, Revocation};
use hufu_proof::{
    Budget, Digest, Genesis, IdentityId, Membership, Name, Outcome, PublicKey, codec,
};

use crate::contracts;
use crate::error::MachineError;
use crate::event::{Event, ProposalKind};
use crate::execute::{Execution, Signer, Stop};
use crate::key;
use crate::record::{
    CertificateRecord, CertificateStatus, ContractRecord, IdentityRecord, IdentityStatus,
    MemberRecord, ProposalRecord, VersionRecord,
};
use crate::revoked;
use crate::state::State as _;

/// CRLReason `certificateHold` (RFC 5280 §5.3.1).
const CERTIFICATE_HOLD: u8 = 6;
/// CRLReason `removeFromCRL`.
const REMOVE_FROM_CRL: u8 = 8;
/// CRLReason `keyCompromise`.
const KEY_COMPROMISE: u8 = 1;
/// CRLReason `unspecified`.
const UNSPECIFIED: u8 = 0;

/// Whether a revocation for a reason may be given a `later` one.
fn replaces(reason: u8, later: u8) -> bool {
    reason != later
        && later != CERTIFICATE_HOLD
        && later != REMOVE_FROM_CRL
        && (reason == UNSPECIFIED || (later == KEY_COMPROMISE && reason != KEY_COMPROMISE))
}

impl Execution<'_> {
    pub(crate) fn issue(
        &mut self,
        id: Digest,
        signer: &Signer,
        issuances: &[Issuance],
    ) -> Result<(), Stop> {
        self.require_authority(signer)?;
        // It says nothing of roles and hosts, so that they could not be judged.
        if self.ground.genesis.version != 1 {
            return Err(Outcome::Malformed.into());
        }
        for issuance in issuances {
            self.issue_one(id, issuance)?;
        }
        Ok(())
    }

    pub(crate) fn issue_one(&mut self, id: Digest, issuance: &Issuance) -> Result<(), Stop> {
        let serial_key = key::certificate(&issuance.serial);
        if self.value(&serial_key)?.is_some() {
            return Err(Outcome::Conflict.into());
        }
        if self.value(&key::member(&issuance.owner))?.is_none() {
            return Err(Outcome::NotFound.into());
        }
        let identity = issuance.key.identity();
        let identity_key = key::identity(&identity);
        let earlier: Option<IdentityRecord> = self.record("identity", &identity_key)?;
        let status = match earlier {
            None => IdentityStatus::Active,
            Some(earlier)
                if earlier.kind == issuance.kind
                    && earlier.owner == issuance.owner
                    && earlier.subject == issuance.subject
                    && earlier.status != IdentityStatus::Revoked =>
            {
                // A renewal does not lift a hold.
                earlier.status
            }
            Some(_) => return Err(Outcome::Conflict.into()),
        };
        let record = CertificateRecord {
            status: CertificateStatus::Good,
            identity,
            profile: issuance.profile.clone(),
            kind: issuance.kind,
            owner: issuance.owner.clone(),
            subject: issuance.subject.clone(),
            not_before: issuance.not_before,
            not_after: issuance.not_after,
            tbs: Digest::of(&issuance.tbs),
            attestation: issuance.attestation,
            transaction: id,
            recorded_ms: self.time_ms,
        };
        self.put(serial_key, &record);
        let serial = issuance.serial.clone();
        self.tell(Event::Certificate { transaction: id, serial, record });
        let record = IdentityRecord {
            key: issuance.key.clone(),
            kind: issuance.kind,
            owner: issuance.owner.clone(),
            subject: issuance.subject.clone(),
            status,
            serial: Some(issuance.serial.clone()),
            not_before: issuance.not_before,
            not_after: issuance.not_after,
        };
        self.change_identity(id, identity, record);
        Ok(())
    }

    pub(crate) fn revoke(
        &mut self,
        id: Digest,
        signer: &Signer,
        revocation: &Revocation,
    ) -> Result<(), Stop> {
        self.require_authority(signer)?;
        let certificate_key = key::certificate(&revocation.serial);
        let record = self.record("certificate", &certificate_key)?;
        let mut record: CertificateRecord = record.ok_or(Outcome::NotFound)?;
        let at_ms = self.time_ms;
        let (certificate, identity_status) = match (record.status, revocation.reason) {
            // A reason may be given or a compromise found out later; the date
            // of the revocation stays.
            (CertificateStatus::Revoked { reason, at_ms }, later) if replaces(reason, later) => {
                (CertificateStatus::Revoked { reason: later, at_ms }, IdentityStatus::Revoked)
            }
            (CertificateStatus::Revoked { .. }, _)
            | (CertificateStatus::Held { .. }, CERTIFICATE_HOLD)
            | (CertificateStatus::Good, REMOVE_FROM_CRL) => return Err(Outcome::Conflict.into()),
            (CertificateStatus::Good, CERTIFICATE_HOLD) => {
                (CertificateStatus::Held { at_ms }, IdentityStatus::Suspended)
            }
            (CertificateStatus::Held { .. }, REMOVE_FROM_CRL) => {
                (CertificateStatus::Good, IdentityStatus::Active)
            }
            (_, reason) => (CertificateStatus::Revoked { reason, at_ms }, IdentityStatus::Revoked),
        };
        record.status = certificate;
        let holder = record.identity;
        self.put_rows(vec![revoked::write(&revocation.serial)]);
        self.put(certificate_key, &record);
        let serial = revocation.serial.clone();
        self.tell(Event::Certificate { transaction: id, serial, record });
        let identity: Option<IdentityRecord> = self.record("identity", &key::identity(&holder))?;
        if let Some(mut identity) = identity
            && identity.serial.as_ref() == Some(&revocation.serial)
        {
            identity.status = identity_status;
            self.change_identity(id, holder, identity);
        }
        Ok(())
    }

    fn change_identity(&mut self, id: Digest, identity: IdentityId, record: IdentityRecord) {
        self.put(key::identity(&identity), &record);
        self.tell(Event::Identity { transaction: Some(id), identity, record });
    }

    pub(crate) fn propose(
        &mut self,
        id: Digest,
        signer: &Signer,
        proposal: &Proposal,
    ) -> Result<(), Stop> {
        require_member(signer)?;
        let digest = proposal.digest();
        let earlier: Option<ProposalRecord> = self.record("proposal", &key::proposal(&digest))?;
        if earlier.is_some_and(|earlier| earlier.enacted.is_none()) {
            return Err(Outcome::Conflict.into());
        }
        let subject = self.check_proposal(proposal)?;
        let proposer = signer.record.owner.clone();
        let record = ProposalRecord {
            approvals: BTreeSet::from([proposer.clone()]),
            proposer,
            proposed: self.height,
            enacted: None,
        };
        self.put_rows(contracts::proposal_writes(&digest, proposal)?);
        self.keep_proposal(digest, proposal.clone());
        self.decide(id, digest, proposal, subject, record)
    }

    pub(crate) fn approve(
        &mut self,
        id: Digest,
        signer: &Signer,
        digest: &Digest,
    ) -> Result<(), Stop> {
        require_member(signer)?;
        let record = self.record("proposal", &key::proposal(digest))?;
        let mut record: ProposalRecord = record.ok_or(Outcome::NotFound)?;
        let member = signer.record.owner.clone();
        if record.enacted.is_some() || !record.approvals.insert(member) {
            return Err(Outcome::Conflict.into());
        }
        let proposal = self.proposal(digest)?.ok_or(Outcome::NotFound)?;
        let subject = match &proposal {
            Proposal::Grant { contract, .. } | Proposal::Withdraw { contract, .. } => {
                contract.clone()
            }
            Proposal::Deploy { package } => contracts::name(package).ok_or(Outcome::Package)?,
            Proposal::MemberV1 { member } => member.name.clone(),
            Proposal::Member { member } => member.name.clone(),
            Proposal::Budget { .. } => budget_name()?,
        };
        self.decide(id, *digest, &proposal, subject, record)
    }

    /// Enacts the proposal if it has the approvals it needs, and records it.
    fn decide(
        &mut self,
        id: Digest,
        digest: Digest,
        proposal: &Proposal,
        subject: Name,
        mut record: ProposalRecord,
    ) -> Result<(), Stop> {
        let enacted =
            record.approvals.len() >= usize::from(self.ground.genesis.constitution.approvals);
        if enacted {
            record.enacted = Some(self.height);
        }
        self.put(key::proposal(&digest), &record);
        self.tell(Event::Proposal {
            transaction: id,
            proposal: digest,
            kind: ProposalKind::of(proposal),
            contract: subject,
            proposer: record.proposer,
            approvals: record.approvals,
            enacted,
        });
        if !enacted {
            return Ok(());
        }
        match proposal {
            Proposal::Deploy { package } => self.deploy(id, package),
            Proposal::Grant { contract, role, member } => {
                self.change_role(id, contract, role, member, true)
            }
            Proposal::Withdraw { contract, role, member } => {
                self.change_role(id, contract, role, member, false)
            }
            Proposal::MemberV1 { member } => {
                self.change_member(id, &member.clone().into(), Form::First)
            }
            Proposal::Member { member } => self.change_member(id, member, Form::Second),
            Proposal::Budget { budget } => {
                self.put(key::BUDGET.to_vec(), budget);
                Ok(())
            }
        }
    }

    /// Whether the proposal could take effect now; the contract or the member it
    /// is about.
    fn check_proposal(&self, proposal: &Proposal) -> Result<Name, Stop> {
        match proposal {
            Proposal::Deploy { package } => Ok(self.check_package(package)?.name().clone()),
            Proposal::Grant { contract: name, role, member }
            | Proposal::Withdraw { contract: name, role, member } => {
                let contract = self.active(name)?.ok_or(Outcome::NoContract)?;
                let declared = contract.has_role(role.as_str());
                if !declared || self.value(&key::member(member))?.is_none() {
                    return Err(Outcome::NotFound.into());
                }
                Ok(name.clone())
            }
            Proposal::MemberV1 { member } => {
                // It does not say what a regulator may see in so many words.
                if self.ground.genesis.version != 1 {
                    return Err(Outcome::Malformed.into());
                }
                self.check_member(&member.clone().into())?;
                Ok(member.name.clone())
            }
            Proposal::Member { member } => {
                self.check_member(member)?;
                Ok(member.name.clone())
            }
            Proposal::Budget { budget } => {
                let now: Option<Budget> = self.record("budget", key::BUDGET)?;
                if now.unwrap_or_default() == *budget {
                    return Err(Outcome::Conflict.into());
                }
                budget_name()
            }
        }
    }

    /// Whether the member can come, or be changed into this, now; the members
    /// before it.
    fn check_member(&self, member: &Member) -> Result<Membership, Stop> {
        member.check(&self.ground.genesis.constitution).map_err(|_| Outcome::Malformed)?;
        for key in [&member.vote_key, &member.statement_key].into_iter().chain(&member.node_key) {
            key.check().map_err(|_| Outcome::Malformed)?;
        }
        let membership = self.membership()?;
        let seat = membership.seat(&member.name);
        if seat.is_none() && membership.seats.len() >= MAX_MEMBERS {
            return Err(Outcome::Limit.into());
        }
        let recorded: Option<MemberRecord> = self.record("member", &key::member(&member.name))?;
        if recorded.is_some_and(|recorded| recorded == member_record(member)) {
            return Err(Outcome::Conflict.into());
        }
        let votes_now = seat.is_some_and(|seat| seat.vote_key == member.vote_key);
        let states_now = seat.is_some_and(|seat| seat.statement_key == member.statement_key);
        if member.vote_key == member.statement_key
            || (!votes_now && self.is_used(&member.vote_key)?)
            || (!states_now && self.is_used(&member.statement_key)?)
        {
            return Err(Outcome::Conflict.into());
        }
        for other in membership.seats.iter().filter(|other| other.name != member.name) {
            let other: MemberRecord = self.member_of_seat(&other.name)?;
            if member.name_shared_with(&other.names).is_some() {
                return Err(Outcome::Conflict.into());
            }
        }
        Ok(membership)
    }

    fn member_of_seat(&self, name: &Name) -> Result<MemberRecord, MachineError> {
        let record = self.record("member", &key::member(name))?;
        record.ok_or_else(|| MachineError::damaged("record of a member"))
    }

    /// The members as of this transaction.
    fn membership(&self) -> Result<Membership, Stop> {
        let changed = self.record("membership", key::MEMBERSHIP)?;
        Ok(changed.unwrap_or_else(|| Membership::founders(self.ground.genesis)))
    }

    /// Whether anybody ever had the key, for whatever.
    fn is_used(&self, one: &PublicKey) -> Result<bool, Stop> {
        let founders = &self.ground.genesis.members;
        Ok(founders.iter().any(|founder| founder.vote_key == *one)
            || self.value(&key::vote_key(one))?.is_some()
            || self.value(&key::identity(&one.identity()))?.is_some())
    }

    /// Takes a member in, or replaces what is recorded of it.
    fn change_member(&mut self, id: Digest, member: &Member, form: Form) -> Result<(), Stop> {
        let membership = self.check_member(member)?;
        let name = &member.name;
        let earlier = membership.seat(name);
        if earlier.is_none_or(|seat| seat.vote_key != member.vote_key) {
            self.put(key::vote_key(&member.vote_key), name);
        }
        if earlier.is_none_or(|seat| seat.statement_key != member.statement_key) {
            if let Some(seat) = earlier {
                let identity = seat.statement_key.identity();
                let record = self.record("identity", &key::identity(&identity))?;
                let mut record: IdentityRecord =
                    record.ok_or_else(|| MachineError::damaged("identity of a member"))?;
                record.status = IdentityStatus::Revoked;
                self.change_identity(id, identity, record);
            }
            let identity = member.statement_key.identity();
            self.change_identity(id, identity, identity_record(member));
        }
        let former: Option<MemberRecord> = self.record("member", &key::member(name))?;
        let former = former.map(|former| former.names).unwrap_or_default();
        self.change_names(name, &former, &member.names);
        let record = member_record(member);
        self.put_bytes(key::member(name), form.bytes(&record));
        self.tell(Event::Member { transaction: Some(id), name: name.clone(), record });
        let seat = Seat {
            name: name.clone(),
            vote_key: member.vote_key.clone(),
            statement_key: member.statement_key.clone(),
        };
        // A new title is no reason for a new epoch.
        if earlier != Some(&seat) {
            self.put(key::MEMBERSHIP.to_vec(), &membership.with(seat));
        }
        Ok(())
    }

    /// Checks a package against the contracts that are active now.
    fn check_package(&self, package: &[u8]) -> Result<Contract, Stop> {
        let active = self.all_active()?;
        let contract = contracts::compile(package, &active)?;
        let name = contract.name();
        let old = active.get(name);
        let newer = old.is_none_or(|old| contract.version() > old.version());
        let deployed = self.value(&key::version(name, &contract.version().to_string()))?.is_some();
        if deployed || !newer {
            return Err(Outcome::Conflict.into());
        }
        if old.is_some_and(|old| !incompatibilities(old, &contract).is_empty()) {
            return Err(Outcome::Package.into());
        }
        Ok(contract)
    }

    fn deploy(&mut self, id: Digest, package: &[u8]) -> Result<(), Stop> {
        let contract = self.check_package(package)?;
        let (name, digest) = (contract.name().clone(), contract.digest());
        let version = contract.version().to_string();
        let since = self.height;
        let dependencies: BTreeMap<Name, Digest> = contract
            .dependencies()
            .iter()
            .map(|(name, contract)| (name.clone(), contract.digest()))
            .collect();
        self.put_rows(contracts::package_writes(&digest, package, &dependencies)?);
        self.put(key::version(&name, &version), &VersionRecord { digest, since, dependencies });
        let record = ContractRecord { version: version.clone(), digest, since };
        self.put(key::contract(&name), &record);
        self.keep_contract(digest, contract);
        self.tell(Event::Contract { transaction: id, contract: name, version, digest });
        Ok(())
    }

    fn change_role(
        &mut self,
        id: Digest,
        contract: &Name,
        role: &Name,
        member: &Name,
        held: bool,
    ) -> Result<(), Stop> {
        let role_key = key::role(contract, member);
        let roles: Option<BTreeSet<Name>> = self.record("roles", &role_key)?;
        let mut roles = roles.unwrap_or_default();
        if held {
            roles.insert(role.clone());
        } else {
            roles.remove(role);
        }
        self.put(role_key, &roles);
        self.tell(Event::Role {
            transaction: id,
            contract: contract.clone(),
            role: role.clone(),
            member: member.clone(),
            held,
        });
        Ok(())
    }

    pub(crate) fn look(&mut self, id: Digest, signer: &Signer, look: &Look) -> Result<(), Stop> {
        require_member(signer)?;
        // Whoever was asked records it: a regulator may look on any member's node.
        let member = signer.record.owner.clone();
        if look.height > self.height {
            return Err(Outcome::Parameter.into());
        }
        self.tell(Event::Look {
            transaction: id,
            member,
            subject: look.subject.clone(),
            height: look.height,
            answer: look.answer,
        });
        Ok(())
    }

    pub(crate) fn require_authority(&self, signer: &Signer) -> Result<(), Outcome> {
        require_member(signer)?;
        if signer.record.owner == self.ground.genesis.authority.member {
            Ok(())
        } else {
            Err(Outcome::Forbidden)
        }
    }
}

/// What a proposal of a budget is about.
fn budget_name() -> Result<Name, Stop> {
    // The key of what it changes is a name.
    Ok(Name::new("budget").map_err(|_| MachineError::damaged("name of the budget"))?)
}

/// What is recorded of a member.
pub(crate) fn member_record(member: &Member) -> MemberRecord {
    MemberRecord {
        title: member.title.clone(),
        kinds: member.kinds.clone(),
        vote_key: member.vote_key.clone(),
        statement_key: member.statement_key.clone(),
        jurisdictions: member.jurisdictions.clone(),
        names: member.names.clone(),
        node_key: member.node_key.clone(),
    }
}

/// In which form a member is recorded: the one in which it was agreed on, so
/// that the state of a consortium stays what it was.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// Of version 1.
    First,
    /// Of version 2.
    Second,
}

impl Form {
    /// The form of the founders.
    pub(crate) fn of_genesis(genesis: &Genesis) -> Self {
        if genesis.version == 1 { Self::First } else { Self::Second }
    }

    pub(crate) fn bytes(self, record: &MemberRecord) -> Vec<u8> {
        match self {
            Self::First => record.to_bytes_v1(),
            Self::Second => codec::encode(record),
        }
    }
}

/// What is recorded of the identity of a member.
pub(crate) fn identity_record(member: &Member) -> IdentityRecord {
    IdentityRecord {
        key: member.statement_key.clone(),
        kind: IdentityKind::Member,
        owner: member.name.clone(),
        subject: member.name.as_str().to_owned(),
        status: IdentityStatus::Active,
        serial: None,
        not_before: 0,
        not_after: u64::MAX,
    }
}

pub(crate) fn require_member(signer: &Signer) -> Result<(), Outcome> {
    if signer.record.kind == IdentityKind::Member { Ok(()) } else { Err(Outcome::Forbidden) }
}
