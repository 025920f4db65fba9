//! Who the members are: as the founders agreed, and as the consortium has
//! changed it since.
//!
//! The state of the ledger holds one [`Membership`] under [`STATE_KEY`]; while
//! it holds none, the founders are the members. Every change makes a new one
//! with a higher version. One set of validators votes for an *epoch*: its last
//! block is the first whose header commits to a state with a membership of a
//! later version than the epoch's own, and the members of that state are the
//! validators of the next epoch. Epochs are counted from 0; versions may skip
//! an epoch, when several changes come before one ends.
//!
//! It holds what proofs are verified with and nothing else, because every proof
//! from a later epoch carries one membership for each epoch before.

use std::io::{Error, ErrorKind, Read};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::genesis::{Genesis, MAX_MEMBERS};
use crate::identifier::Name;
use crate::key::PublicKey;

/// The key of the state under which the membership stands.
pub const STATE_KEY: &[u8] = b"membership";

/// One member, and the keys that verify what it signs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Its name everywhere on the ledger.
    pub name: Name,
    /// Verifies its votes and names it on the network.
    pub vote_key: PublicKey,
    /// Verifies its transactions and reports.
    pub statement_key: PublicKey,
}

/// The members as of some height.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// How many changes were made since the founding.
    pub version: u64,
    /// The members in the order of their names.
    pub seats: Vec<Seat>,
}

/// The seats are bounded, so that decoding does not allocate by a length that a
/// stranger wrote.
impl BorshDeserialize for Membership {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let version = u64::deserialize_reader(reader)?;
        let count = u32::deserialize_reader(reader)?;
        if usize::try_from(count).map_or(true, |count| count > MAX_MEMBERS) {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("seats: {count}, at most {MAX_MEMBERS} are accepted"),
            ));
        }
        let seats = (0..count)
            .map(|_| Seat::deserialize_reader(reader))
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { version, seats })
    }
}

impl Membership {
    /// The founders.
    pub fn founders(genesis: &Genesis) -> Self {
        let seat = |member: &crate::genesis::Member| Seat {
            name: member.name.clone(),
            vote_key: member.vote_key.clone(),
            statement_key: member.statement_key.clone(),
        };
        Self { version: 0, seats: genesis.members.iter().map(seat).collect() }
    }

    /// The member called `name`.
    pub fn seat(&self, name: &Name) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.name == *name)
    }

    /// Whether there is no seat for one more.
    pub fn is_full(&self) -> bool {
        self.seats.len() >= MAX_MEMBERS
    }

    /// The validators in the order that votes and certificates count them: by
    /// vote key.
    pub fn validators(&self) -> Vec<&Seat> {
        let mut validators: Vec<&Seat> = self.seats.iter().collect();
        validators.sort_by(|one, other| one.vote_key.as_bytes().cmp(other.vote_key.as_bytes()));
        validators
    }

    /// The members after `seat` has come, or has replaced that of its name.
    #[must_use]
    pub fn with(&self, seat: Seat) -> Self {
        let mut seats: Vec<Seat> =
            self.seats.iter().filter(|one| one.name != seat.name).cloned().collect();
        let place = seats.partition_point(|one| one.name < seat.name);
        seats.insert(place, seat);
        Self { version: self.version.saturating_add(1), seats }
    }

    /// The members after the one called `name` has gone; of a later version, too,
    /// when it had no seat.
    #[must_use]
    pub fn without(&self, name: &Name) -> Self {
        let seats = self.seats.iter().filter(|one| one.name != *name).cloned().collect();
        Self { version: self.version.saturating_add(1), seats }
    }
}
