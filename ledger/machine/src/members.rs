//! Who the members are, and what is recorded of them.
//!
//! Members change by proposals ([`hufu_proof::transaction::Proposal::Member`]). A
//! key is used once: by one member, for votes or for statements, and not again
//! when it has been replaced. With a new statement key the old one is revoked at
//! once; votes change hands with the next epoch ([`crate::epoch`]). A suspended
//! member can get new keys as well, and has them when it is readmitted
//! ([`crate::standing`]).

use hufu_proof::genesis::Member;
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{
    Digest, Genesis, Membership, Name, Outcome, PublicKey, Standing, UnixMillis, codec,
};

use crate::error::MachineError;
use crate::event::Event;
use crate::execute::{Execution, Stop};
use crate::key;
use crate::record::{IdentityRecord, IdentityStatus, MemberRecord};
use crate::state::State as _;

impl Execution<'_> {
    /// Whether the member can come, or be changed into this, now; the members
    /// before it.
    pub(crate) fn check_member(&self, member: &Member) -> Result<Membership, Stop> {
        member.check(&self.constitution).map_err(|_| Outcome::Malformed)?;
        for key in [&member.vote_key, &member.statement_key].into_iter().chain(&member.node_key) {
            key.check().map_err(|_| Outcome::Malformed)?;
        }
        let membership = self.membership()?;
        let recorded: Option<MemberRecord> = self.record("member", &key::member(&member.name))?;
        match (self.standings.of(&member.name), &recorded) {
            (Standing::Dismissed, _) => return Err(Outcome::MemberDismissed.into()),
            (_, None) if membership.is_full() => return Err(Outcome::Limit.into()),
            (_, Some(recorded)) if *recorded == member_record(member) => {
                return Err(Outcome::Conflict.into());
            }
            _ => {}
        }
        let now = |key: fn(&MemberRecord) -> &PublicKey| recorded.as_ref().map(key);
        let votes_now = now(|now| &now.vote_key) == Some(&member.vote_key);
        let states_now = now(|now| &now.statement_key) == Some(&member.statement_key);
        if member.vote_key == member.statement_key
            || (!votes_now && self.is_used(&member.vote_key)?)
            || (!states_now && self.is_used(&member.statement_key)?)
        {
            return Err(Outcome::Conflict.into());
        }
        let suspended = self.standings.that_are(Standing::Suspended);
        let others = membership.seats.iter().map(|seat| &seat.name).chain(suspended);
        for other in others.filter(|other| **other != member.name) {
            let other: MemberRecord = self.member_of_seat(other)?;
            if member.name_shared_with(&other.names).is_some() {
                return Err(Outcome::Conflict.into());
            }
        }
        Ok(membership)
    }

    /// What is recorded of a member that is there.
    pub(crate) fn member_of_seat(&self, name: &Name) -> Result<MemberRecord, MachineError> {
        let record = self.record("member", &key::member(name))?;
        record.ok_or_else(|| MachineError::damaged("record of a member"))
    }

    /// The members as of this transaction.
    pub(crate) fn membership(&self) -> Result<Membership, Stop> {
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
    pub(crate) fn change_member(
        &mut self,
        id: Digest,
        member: &Member,
        form: Form,
    ) -> Result<(), Stop> {
        let membership = self.check_member(member)?;
        let name = &member.name;
        let former: Option<MemberRecord> = self.record("member", &key::member(name))?;
        // A suspended member has no seat, and keeps its keys or gets others.
        let earlier = former.as_ref().map(|former| former.seat(name));
        let earlier = earlier.as_ref();
        if earlier.is_none_or(|seat| seat.vote_key != member.vote_key) {
            self.put(key::vote_key(&member.vote_key), name);
        }
        if earlier.is_none_or(|seat| seat.statement_key != member.statement_key) {
            if let Some(seat) = earlier {
                self.retire_statement_key(id, &seat.statement_key)?;
            }
            let identity = member.statement_key.identity();
            self.change_identity(id, identity, identity_record(member));
        }
        let record = member_record(member);
        let seat = record.seat(name);
        // A new title is no reason for a new epoch.
        let reseated = earlier != Some(&seat) && self.standings.of(name) == Standing::Good;
        let names = former.map(|former| former.names).unwrap_or_default();
        self.change_names(name, &names, &member.names);
        self.put_bytes(key::member(name), form.bytes(&record));
        self.tell(Event::Member { transaction: Some(id), name: name.clone(), record });
        if reseated {
            self.put(key::MEMBERSHIP.to_vec(), &membership.with(seat));
        }
        Ok(())
    }

    /// A member's statement key signs nothing any more.
    pub(crate) fn retire_statement_key(&mut self, id: Digest, one: &PublicKey) -> Result<(), Stop> {
        let identity = one.identity();
        let record = self.record("identity", &key::identity(&identity))?;
        let mut record: IdentityRecord =
            record.ok_or_else(|| MachineError::damaged("identity of a member"))?;
        record.status = IdentityStatus::Revoked;
        self.change_identity(id, identity, record);
        Ok(())
    }
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
        not_before: UnixMillis::ZERO,
        not_after: UnixMillis::MAX,
    }
}
