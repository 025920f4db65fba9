//! What members decide together.
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
//! How much may be recorded in a day is changed by a proposal as well, from the
//! next block on ([`crate::accounts`]). How members stand and what the
//! constitution says has rules of its own ([`crate::standing`]). The number of
//! approvals is that of the constitution in force when the last one is given,
//! and only those count whose members have a seat then.

use std::collections::{BTreeMap, BTreeSet};

use hufu_contract::Contract;
use hufu_contract::compare::incompatibilities;
use hufu_proof::transaction::Proposal;
use hufu_proof::{Budget, Digest, Name, Outcome, Quotas};

use crate::contracts;
use crate::error::MachineError;
use crate::event::{Event, ProposalKind};
use crate::execute::{Execution, Signer, Stop};
use crate::key;
use crate::members::Form;
use crate::record::{ContractRecord, ProposalRecord, VersionRecord};
use crate::state::State as _;

impl Execution<'_> {
    pub(crate) fn propose(
        &mut self,
        id: Digest,
        signer: &Signer,
        proposal: &Proposal,
    ) -> Result<(), Stop> {
        signer.require_member()?;
        let digest = proposal.digest();
        let earlier: Option<ProposalRecord> = self.record("proposal", &key::proposal(&digest))?;
        if earlier.is_some_and(|earlier| earlier.enacted.is_none()) {
            return Err(Outcome::Conflict.into());
        }
        require_say(signer, proposal)?;
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
        signer.require_member()?;
        let record = self.record("proposal", &key::proposal(digest))?;
        let mut record: ProposalRecord = record.ok_or(Outcome::NotFound)?;
        let member = signer.record.owner.clone();
        if record.enacted.is_some() || !record.approvals.insert(member) {
            return Err(Outcome::Conflict.into());
        }
        let proposal = self.proposal(digest)?.ok_or(Outcome::NotFound)?;
        require_say(signer, &proposal)?;
        let subject = match &proposal {
            Proposal::Grant { contract, .. } | Proposal::Withdraw { contract, .. } => {
                contract.clone()
            }
            Proposal::Deploy { package } => contracts::name(package).ok_or(Outcome::Package)?,
            Proposal::MemberV1 { member } => member.name.clone(),
            Proposal::Member { member } => member.name.clone(),
            Proposal::Budget { .. } => named("budget")?,
            Proposal::Standing { member, .. } => member.clone(),
            Proposal::Constitution { .. } => named("constitution")?,
            Proposal::Quotas { .. } => named("quotas")?,
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
        // Whoever has no seat any more has no say any more.
        let seated = self.membership()?;
        let count = record.approvals.iter().filter(|name| seated.seat(name).is_some()).count();
        let enacted = count >= usize::from(self.constitution.approvals);
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
            Proposal::Quotas { quotas } => {
                self.put(key::QUOTAS.to_vec(), quotas);
                Ok(())
            }
            Proposal::Standing { member, to, reason } => {
                self.change_standing(id, digest, member, *to, reason)
            }
            Proposal::Constitution { constitution, from } => {
                self.change_constitution(id, digest, constitution, *from)
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
                if matches!(proposal, Proposal::Grant { .. }) {
                    self.require_good_standing(member)?;
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
                named("budget")
            }
            Proposal::Quotas { quotas } => {
                let now: Option<Quotas> = self.record("quotas", key::QUOTAS)?;
                if now.unwrap_or_default() == *quotas {
                    return Err(Outcome::Conflict.into());
                }
                named("quotas")
            }
            Proposal::Standing { member, to, .. } => {
                self.check_standing(member, *to)?;
                Ok(member.clone())
            }
            Proposal::Constitution { constitution, from } => {
                self.check_constitution(constitution, *from)?;
                named("constitution")
            }
        }
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
        self.subscribe(&contract)?;
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

    /// Notes whose assets and streams a contract has triggers on, in place of its
    /// version before.
    fn subscribe(&mut self, contract: &Contract) -> Result<(), Stop> {
        let (name, wanted) = (contract.name(), contract.subscribes_to());
        let before = self.active(name)?.map(|before| before.subscribes_to()).unwrap_or_default();
        for other in before.symmetric_difference(&wanted) {
            let key = key::subscribers(other);
            let subscribers: Option<BTreeSet<Name>> = self.record("set of subscribers", &key)?;
            let mut subscribers = subscribers.unwrap_or_default();
            if wanted.contains(other) {
                subscribers.insert(name.clone());
            } else {
                subscribers.remove(name);
            }
            self.put(key, &subscribers);
        }
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
}

/// A member has no say in how it stands.
fn require_say(signer: &Signer, proposal: &Proposal) -> Result<(), Outcome> {
    match proposal {
        Proposal::Standing { member, .. } if *member == signer.record.owner => {
            Err(Outcome::Forbidden)
        }
        _ => Ok(()),
    }
}

/// What a proposal is about that concerns all: the key of what it changes.
fn named(key: &'static str) -> Result<Name, Stop> {
    Ok(Name::new(key).map_err(|_| MachineError::damaged("name of what a proposal changes"))?)
}
