//! How members stand ([`Standing`]) and what the constitution says, as the members
//! decide it by proposals.
//!
//! # What a change of standing does
//!
//! It counts from the next transaction on: whoever signs for a suspended or
//! dismissed member, its devices and clients too, is refused for that, and its
//! earlier approvals count no more. Its seat is gone, so that its node votes no
//! more from the next epoch on. Its assets, its roles in contracts, what it signed
//! and its certificates stay recorded as they are.
//!
//! Dismissal is for good: the member's statement key is revoked, neither its name nor
//! a key of it is taken again, its names on the network and its devices'
//! identifiers are free, and contracts know it no more.
//!
//! # What is refused
//!
//! What would leave the consortium unable to decide or to certify
//! ([`Outcome::Undecidable`]): the authority keeps its seat, and as many members
//! keep theirs as the constitution in force, and each that was decided and has not
//! begun, asks for approvals. A new constitution asks for no more approvals than
//! there are seats, and has an algorithm for the key of each member that can come
//! back.

use hufu_proof::membership::Seat;
use hufu_proof::{Constitution, Digest, Height, Membership, Name, Outcome, Standing};

use crate::error::MachineError;
use crate::event::Event;
use crate::execute::{Execution, Stop};
use crate::key;
use crate::record::{Amendment, Amendments, MemberRecord, StandingRecord, Standings};
use crate::state::State as _;

impl Execution<'_> {
    /// The constitutions after the founders'.
    pub(crate) fn amendments(&self) -> Result<Amendments, MachineError> {
        Ok(self.record("amendments", key::AMENDMENTS)?.unwrap_or_default())
    }

    /// Refuses what is for a member that is suspended or gone.
    pub(crate) fn require_good_standing(&self, member: &Name) -> Result<(), Outcome> {
        self.standings.refusal(member).map_or(Ok(()), Err)
    }

    /// Whether a member can come to stand so now; what is recorded of it, and the
    /// members before it.
    pub(crate) fn check_standing(
        &self,
        member: &Name,
        to: Standing,
    ) -> Result<(MemberRecord, Membership), Stop> {
        let record: Option<MemberRecord> = self.record("member", &key::member(member))?;
        let record = record.ok_or(Outcome::NotFound)?;
        let membership = self.membership()?;
        let now = self.standings.of(member);
        match (now, to) {
            (Standing::Dismissed, _) => return Err(Outcome::MemberDismissed.into()),
            _ if now == to => return Err(Outcome::Conflict.into()),
            (Standing::Suspended, Standing::Good) if membership.is_full() => {
                return Err(Outcome::Limit.into());
            }
            (Standing::Good, _) => {
                let left = membership.seats.len().saturating_sub(1);
                let amendments = self.amendments()?;
                let mut coming = amendments.after(self.height);
                if *member == self.ground.genesis.authority.member
                    || !self.constitution.lets_decide(left)
                    || !coming.all(|one| one.lets_decide(left))
                {
                    return Err(Outcome::Undecidable.into());
                }
                let named = &self.standings.of;
                if !named.contains_key(member) && named.len() >= Standings::MOST {
                    return Err(Outcome::Limit.into());
                }
            }
            (Standing::Suspended, _) => {}
        }
        Ok((record, membership))
    }

    pub(crate) fn change_standing(
        &mut self,
        id: Digest,
        proposal: Digest,
        member: &Name,
        to: Standing,
        reason: &str,
    ) -> Result<(), Stop> {
        let (record, membership) = self.check_standing(member, to)?;
        let membership = match to {
            Standing::Good => membership.with(record.seat(member)),
            // Of a later version even if its seat was gone before, so that its node
            // is no longer a peer.
            Standing::Suspended | Standing::Dismissed => membership.without(member),
        };
        self.put(key::MEMBERSHIP.to_vec(), &membership);
        if to == Standing::Dismissed {
            self.retire_statement_key(id, &record.statement_key)?;
            self.change_names(member, &record.names, &Default::default());
            let record = MemberRecord { names: Default::default(), ..record };
            self.put(key::member(member), &record);
            self.tell(Event::Member { transaction: Some(id), name: member.clone(), record });
        }
        let mut standings = self.standings.clone();
        let since = self.height;
        standings.of.insert(member.clone(), StandingRecord { standing: to, since, proposal });
        self.put_standings(standings);
        let (member, reason) = (member.clone(), reason.to_owned());
        self.tell(Event::Standing { transaction: id, member, standing: to, reason });
        Ok(())
    }

    /// Whether the constitution can be changed into this from `from` on.
    pub(crate) fn check_constitution(
        &self,
        constitution: &Constitution,
        from: Height,
    ) -> Result<(), Stop> {
        if from > self.height.plus(Constitution::MAX_AHEAD) {
            return Err(Outcome::Parameter.into());
        }
        let amendments = self.amendments()?;
        if amendments.after(self.height).count() >= Amendments::MOST_COMING {
            return Err(Outcome::Limit.into());
        }
        let begun = amendments.at(from.max(self.height.next()));
        if begun.unwrap_or(&self.ground.genesis.constitution) == constitution {
            return Err(Outcome::Conflict.into());
        }
        let membership = self.membership()?;
        let suspended = self.standings.that_are(Standing::Suspended);
        for name in membership.seats.iter().map(|seat| &seat.name).chain(suspended) {
            let algorithm = self.member_of_seat(name)?.statement_key.algorithm();
            if !constitution.algorithms.contains(&algorithm) {
                return Err(Outcome::Undecidable.into());
            }
        }
        if constitution.lets_decide(membership.seats.len()) {
            Ok(())
        } else {
            Err(Outcome::Undecidable.into())
        }
    }

    pub(crate) fn change_constitution(
        &mut self,
        id: Digest,
        proposal: Digest,
        constitution: &Constitution,
        from: Height,
    ) -> Result<(), Stop> {
        self.check_constitution(constitution, from)?;
        let from = from.max(self.height.next());
        let constitution = constitution.clone();
        let mut amendments = self.amendments()?;
        amendments.add(Amendment { from, constitution: constitution.clone(), proposal });
        self.put(key::AMENDMENTS.to_vec(), &amendments);
        self.tell(Event::Constitution { transaction: id, from, constitution });
        Ok(())
    }
}

impl MemberRecord {
    /// Its seat, while it has one.
    pub(crate) fn seat(&self, name: &Name) -> Seat {
        Seat {
            name: name.clone(),
            vote_key: self.vote_key.clone(),
            statement_key: self.statement_key.clone(),
        }
    }
}
