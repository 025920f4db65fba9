//! What members declare of themselves ([`Declaration`]), and what the authority
//! certifies by it.
//!
//! A [`Certification`] takes effect when, in this order: an `Issue` of the same
//! certificate would; its device identifier, if it is a device's, is the owner's
//! or nobody's (and becomes the owner's); each host that it names is the owner's
//! or loopback; each role that it has is approved by the owner for its key. The
//! authority approves its own keys by certifying them, and another member's
//! under that member's delegation; both are recorded as approvals, which the
//! member can withdraw.
//!
//! An approval is of a key, not of a certificate: it may come before the
//! certificate is asked for, and holds for its renewals.

use std::collections::BTreeSet;

use hufu_proof::declaration::{Declaration, Delegation, KeyApproval};
use hufu_proof::transaction::{Certification, IdentityKind};
use hufu_proof::{
    Digest, Endpoint, Height, IdentityId, Name, NetworkName, Outcome, Standing, UnixMillis,
};

use crate::event::Event;
use crate::execute::{Execution, Signer, Stop};
use crate::key;
use crate::record::{
    ApprovalRecord, ArchiveRecord, CertificateRights, DelegationRecord, IssuingRecord,
};
use crate::rights;
use crate::state::State as _;

impl Execution<'_> {
    pub(crate) fn certify(
        &mut self,
        id: Digest,
        signer: &Signer,
        certifications: &[Certification],
    ) -> Result<(), Stop> {
        self.require_authority(signer)?;
        for certification in certifications {
            self.certify_one(id, certification)?;
        }
        Ok(())
    }

    fn certify_one(&mut self, id: Digest, certification: &Certification) -> Result<(), Stop> {
        let Certification { issuance, roles, hosts } = certification;
        self.issue_one(id, issuance)?;
        let owner = &issuance.owner;
        if issuance.kind == IdentityKind::Device {
            self.claim_device(id, &issuance.subject, owner)?;
        }
        for host in hosts {
            let owners = |found: Option<Name>| found.as_ref() == Some(owner);
            if !host.is_loopback() && !owners(rights::owner_of(self, host)?) {
                return Err(Outcome::ForeignName.into());
            }
        }
        self.require_approved(id, owner, &issuance.key.identity(), roles)?;
        if !roles.is_empty() || !hosts.is_empty() {
            let rights = CertificateRights { roles: roles.clone(), hosts: hosts.clone() };
            self.put(key::rights(&issuance.serial), &rights);
            let serial = issuance.serial.clone();
            self.tell(Event::Rights { transaction: id, serial, rights });
        }
        Ok(())
    }

    /// The identifier is its first owner's until that hands it over, or is
    /// dismissed and cannot any more.
    fn claim_device(&mut self, id: Digest, device: &str, owner: &Name) -> Result<(), Stop> {
        let found: Option<Name> = self.record("device", &key::device(device))?;
        match found {
            Some(found) if found == *owner => Ok(()),
            Some(found) if self.standings.of(&found) == Standing::Dismissed => {
                self.give_device(id, device, owner);
                Ok(())
            }
            Some(_) => Err(Outcome::ForeignDevice.into()),
            None => {
                self.give_device(id, device, owner);
                Ok(())
            }
        }
    }

    fn give_device(&mut self, id: Digest, device: &str, owner: &Name) {
        self.put(key::device(device), owner);
        let (device, owner) = (device.to_owned(), owner.clone());
        self.tell(Event::Device { transaction: id, device, owner });
    }

    /// Whether the owner approved the key for these roles, also by what it lets
    /// the authority approve, which is then recorded.
    fn require_approved(
        &mut self,
        id: Digest,
        owner: &Name,
        identity: &IdentityId,
        roles: &BTreeSet<Name>,
    ) -> Result<(), Stop> {
        let approved = rights::roles_approved(self, owner, identity, self.time_ms)?;
        let wanting: BTreeSet<Name> =
            roles.iter().filter(|role| !approved.has(role.as_str())).cloned().collect();
        if wanting.is_empty() {
            return Ok(());
        }
        let record: Option<ApprovalRecord> =
            self.record("approval", &key::approval(owner, identity))?;
        let record = record.unwrap_or_default();
        let record = if *owner == self.ground.genesis.authority.member {
            let lasting = record.roles_at(self.time_ms, None);
            let roles = lasting.union(&wanting).cloned().collect();
            ApprovalRecord { roles, until_ms: None, ..record }
        } else {
            let delegation: Option<DelegationRecord> =
                self.record("delegation", &key::delegation(owner))?;
            let delegated = record.delegated.union(&wanting).cloned().collect();
            let record = ApprovalRecord { delegated, ..record };
            let counts = record.roles_at(self.time_ms, delegation.as_ref());
            if !wanting.is_subset(&counts) {
                return Err(Outcome::Unapproved.into());
            }
            record
        };
        self.put_approval(id, owner, identity, record);
        Ok(())
    }

    fn put_approval(
        &mut self,
        id: Digest,
        member: &Name,
        identity: &IdentityId,
        record: ApprovalRecord,
    ) {
        self.put(key::approval(member, identity), &record);
        let (member, key) = (member.clone(), *identity);
        self.tell(Event::Approval { transaction: id, member, key, record });
    }

    pub(crate) fn declare(
        &mut self,
        id: Digest,
        signer: &Signer,
        declaration: &Declaration,
    ) -> Result<(), Stop> {
        signer.require_member()?;
        let member = &signer.record.owner;
        match declaration {
            Declaration::Approve(KeyApproval { key: identity, roles, until_ms }) => {
                self.require_future(*until_ms)?;
                let roles = roles.clone();
                let delegated = BTreeSet::new();
                let record = ApprovalRecord { roles, until_ms: *until_ms, delegated };
                self.put_approval(id, member, identity, record);
                Ok(())
            }
            Declaration::Withdraw { key: identity } => {
                let record: Option<ApprovalRecord> =
                    self.record("approval", &key::approval(member, identity))?;
                if record.is_none_or(|record| record == ApprovalRecord::default()) {
                    return Err(Outcome::NotFound.into());
                }
                self.put_approval(id, member, identity, ApprovalRecord::default());
                Ok(())
            }
            Declaration::Delegate(Delegation { roles, until_ms }) => {
                self.require_future(*until_ms)?;
                let delegation = key::delegation(member);
                if roles.is_empty() {
                    let record: Option<DelegationRecord> =
                        self.record("delegation", &delegation)?;
                    if record.is_none_or(|record| record.roles.is_empty()) {
                        return Err(Outcome::NotFound.into());
                    }
                }
                let record = DelegationRecord { roles: roles.clone(), until_ms: *until_ms };
                self.put(delegation, &record);
                self.tell(Event::Delegation { transaction: id, member: member.clone(), record });
                Ok(())
            }
            Declaration::HandOver { device, to } => {
                let owner: Option<Name> = self.record("device", &key::device(device))?;
                let owner = owner.ok_or(Outcome::NotFound)?;
                if owner != *member {
                    return Err(Outcome::ForeignDevice.into());
                }
                if self.value(&key::member(to))?.is_none() {
                    return Err(Outcome::NotFound.into());
                }
                self.require_good_standing(to)?;
                if owner == *to {
                    return Err(Outcome::Conflict.into());
                }
                self.give_device(id, device, to);
                Ok(())
            }
            Declaration::Address { at } => self.announce(id, member, at.as_ref()),
            Declaration::Archive { first, last, manifest } => {
                self.archived(id, member, (*first, *last), *manifest)
            }
            Declaration::IssuingCertificate { certificate } => {
                self.require_authority(signer)?;
                let record: Option<IssuingRecord> = self.record("issuing", key::ISSUING)?;
                let mut record = record.unwrap_or_default();
                if record.certificates.contains(certificate) {
                    return Err(Outcome::Conflict.into());
                }
                let over = (record.certificates.len() + 1).saturating_sub(IssuingRecord::MOST);
                record.certificates.drain(..over);
                record.certificates.push(certificate.clone());
                self.put(key::ISSUING.to_vec(), &record);
                self.tell(Event::Issuing { transaction: id, member: member.clone() });
                Ok(())
            }
        }
    }

    /// Where the member's node is reached. Not at another member's host, so that
    /// nobody sends the consortium there.
    fn announce(&mut self, id: Digest, member: &Name, at: Option<&Endpoint>) -> Result<(), Stop> {
        let now: Option<Option<Endpoint>> = self.record("address", &key::address(member))?;
        if now.flatten().as_ref() == at {
            return Err(Outcome::Conflict.into());
        }
        if let Some(at) = at
            && rights::owner_of(self, &at.host)?.is_some_and(|owner| owner != *member)
        {
            return Err(Outcome::ForeignName.into());
        }
        let at = at.cloned();
        self.put(key::address(member), &at);
        self.tell(Event::Address { transaction: id, member: member.clone(), at });
        Ok(())
    }

    /// What is in a partition, only who has it can say; that its heights are over is all
    /// that is known here.
    fn archived(
        &mut self,
        id: Digest,
        member: &Name,
        (first, last): (Height, Height),
        manifest: Digest,
    ) -> Result<(), Stop> {
        if last >= self.height {
            return Err(Outcome::Parameter.into());
        }
        let key = key::archive(member, first);
        let now: Option<ArchiveRecord> = self.record("archive", &key)?;
        if now.is_some_and(|now| now.last == last && now.manifest == manifest) {
            return Err(Outcome::Conflict.into());
        }
        self.put(key, &ArchiveRecord { last, manifest, transaction: id });
        let member = member.clone();
        self.tell(Event::Archive { transaction: id, member, first, last, manifest });
        Ok(())
    }

    fn require_future(&self, until_ms: Option<UnixMillis>) -> Result<(), Outcome> {
        match until_ms {
            Some(until_ms) if until_ms < self.time_ms => Err(Outcome::Parameter),
            _ => Ok(()),
        }
    }

    /// Gives a member's former names free and records its present ones; that
    /// nobody else owns any was checked.
    pub(crate) fn change_names(
        &mut self,
        owner: &Name,
        former: &BTreeSet<NetworkName>,
        names: &BTreeSet<NetworkName>,
    ) {
        for name in former.difference(names) {
            self.put(key::network_name(name), &None::<Name>);
        }
        for name in names.difference(former) {
            self.put(key::network_name(name), &Some(owner.clone()));
        }
    }
}
