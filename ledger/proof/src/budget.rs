//! How many bytes of transactions may be recorded in a day.
//!
//! What is recorded stays on every member's disk for ever, so each byte is
//! charged: to the identity that signed it, and to the member that answers for
//! that identity. A day is one of UTC, by the blocks' agreed time. What is
//! refused and recorded is charged like what is accepted.
//!
//! | signer | may use in a day |
//! |---|---|
//! | a device, client or server | [`Budget::identity_bytes`], while its member has [`Budget::member_bytes`] |
//! | a member's own key | what its member has left, and [`Budget::reserve`] more |
//!
//! The reserve lets a member act (revoke, approve, propose) on the day on which
//! its devices have used up everything.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::MAX_TRANSACTION;
use crate::number::UnixMillis;

/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// How many bytes may be recorded in a day.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Of one identity that is not a member's own key, in bytes.
    pub identity_bytes: u64,
    /// Of all identities of a member together, in bytes.
    pub member_bytes: u64,
}

/// What holds until the members agree on something else.
impl Default for Budget {
    fn default() -> Self {
        Self { identity_bytes: 64 * 1024 * 1024, member_bytes: 1024 * 1024 * 1024 }
    }
}

impl Budget {
    /// The least that a day's budget of an identity may be: the largest
    /// transaction fits.
    pub const LEAST_IDENTITY: u64 = MAX_TRANSACTION as u64;

    /// The least that a day's budget of a member may be: the largest transaction
    /// fits into the reserve.
    pub const LEAST_MEMBER: u64 = 8 * MAX_TRANSACTION as u64;

    /// Whether the consortium can go on with it.
    pub fn is_sound(&self) -> bool {
        self.identity_bytes >= Self::LEAST_IDENTITY
            && self.member_bytes >= Self::LEAST_MEMBER
            && self.identity_bytes <= self.member_bytes
    }

    /// What a member's own key may use beyond [`Self::member_bytes`], in bytes.
    pub fn reserve(&self) -> u64 {
        self.member_bytes / 8
    }
}

/// How much may be recorded beside what a [`Budget`] says, where the members agreed
/// on it. A second is one of UTC, by the blocks' agreed time.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Of one identity.
    pub identity: Quota,
    /// Of all identities of a member together. The member's own key may use
    /// [`Quota::with_reserve`], as for a [`Budget`].
    pub member: Quota,
}

/// How much may be recorded; without a number, any.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Transactions in a day.
    pub transactions_a_day: Option<u64>,
    /// Transactions in a second.
    pub transactions_a_second: Option<u64>,
    /// Bytes in a second.
    pub bytes_a_second: Option<u64>,
}

impl Quotas {
    /// Whether there is none.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something is limited by the second.
    pub fn has_rates(&self) -> bool {
        [self.identity, self.member]
            .iter()
            .any(|quota| quota.transactions_a_second.is_some() || quota.bytes_a_second.is_some())
    }

    /// Whether the consortium can go on with them: each lets through the largest
    /// transaction, and a member's lets through as much as an identity's.
    pub fn is_sound(&self) -> bool {
        let within = |own: Option<u64>, all: Option<u64>| match (own, all) {
            (Some(own), Some(all)) => own <= all,
            (None, Some(_)) | (_, None) => true,
        };
        let Self { identity: own, member: all } = self;
        [own, all].into_iter().all(Quota::is_sound)
            && within(own.transactions_a_day, all.transactions_a_day)
            && within(own.transactions_a_second, all.transactions_a_second)
            && within(own.bytes_a_second, all.bytes_a_second)
    }
}

impl Quota {
    /// The least number of transactions in a day: what a member does to revoke,
    /// approve and propose fits into an eighth.
    pub const LEAST_A_DAY: u64 = 1_024;

    fn is_sound(&self) -> bool {
        self.transactions_a_day.is_none_or(|most| most >= Self::LEAST_A_DAY)
            && self.transactions_a_second.is_none_or(|most| most >= 1)
            && self.bytes_a_second.is_none_or(|most| most >= MAX_TRANSACTION as u64)
    }

    /// What a member's own key may use: an eighth more.
    #[must_use]
    pub fn with_reserve(self) -> Self {
        let more = |most: Option<u64>| most.map(|most| most.saturating_add((most / 8).max(1)));
        Self {
            transactions_a_day: more(self.transactions_a_day),
            transactions_a_second: more(self.transactions_a_second),
            bytes_a_second: more(self.bytes_a_second),
        }
    }
}

/// The second of a block time, counted from 1970.
pub fn second(time: UnixMillis) -> u64 {
    time.since(UnixMillis::ZERO).as_secs()
}

/// The day of a block time, counted from 1970.
pub fn day(time: UnixMillis) -> u64 {
    time.since(UnixMillis::ZERO).as_secs() / DAY.as_secs()
}

/// When the day of a block time ends.
pub fn end_of_day(time: UnixMillis) -> UnixMillis {
    UnixMillis::ZERO.plus(Duration::from_secs((day(time) + 1) * DAY.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        // 2026-11-29T23:59:59.999Z and a millisecond later.
        let last = UnixMillis(1_796_083_199_999);
        let next = last.plus(Duration::from_millis(1));
        assert_eq!(day(last) + 1, day(next));
        assert_eq!(end_of_day(last), next);
        assert_eq!(end_of_day(next), next.plus(DAY));
        assert_eq!(end_of_day(UnixMillis::MAX), UnixMillis::MAX);
    }

    #[test]
    fn quotas_let_through_what_must_pass() {
        let none = Quotas::default();
        assert!(none.is_sound() && none.is_unlimited() && !none.has_rates());
        let day = |most| Quota { transactions_a_day: Some(most), ..Quota::default() };
        let second = |most| Quota { transactions_a_second: Some(most), ..Quota::default() };
        let bytes = |most| Quota { bytes_a_second: Some(most), ..Quota::default() };
        let of = |identity, member| Quotas { identity, member };
        let large = MAX_TRANSACTION as u64;
        for (quotas, sound, rates) in [
            (of(day(1_024), day(1_024)), true, false),
            (of(day(1_025), day(1_024)), false, false),
            (of(day(1_023), none.member), false, false),
            (of(second(1), second(1)), true, true),
            (of(second(0), none.member), false, true),
            (of(second(2), second(1)), false, true),
            (of(none.identity, second(1)), true, true),
            (of(bytes(large), none.member), true, true),
            (of(bytes(large - 1), none.member), false, true),
            (of(bytes(large + 1), bytes(large)), false, true),
        ] {
            assert_eq!((quotas.is_sound(), quotas.has_rates()), (sound, rates), "{quotas:?}");
        }
        assert_eq!(second(1).with_reserve(), second(2));
        assert_eq!(day(1_024).with_reserve(), day(1_152));
        assert_eq!(none.member.with_reserve(), none.member);
    }

    #[test]
    fn what_would_stop_the_consortium_is_not_sound() {
        let usual = Budget::default();
        assert!(usual.is_sound());
        assert!(!Budget { identity_bytes: Budget::LEAST_IDENTITY - 1, ..usual }.is_sound());
        assert!(!Budget { member_bytes: Budget::LEAST_MEMBER - 1, ..usual }.is_sound());
        assert!(!Budget { identity_bytes: usual.member_bytes + 1, ..usual }.is_sound());
        let least =
            Budget { identity_bytes: Budget::LEAST_IDENTITY, member_bytes: Budget::LEAST_MEMBER };
        assert!(least.is_sound() && least.reserve() >= MAX_TRANSACTION as u64);
    }
}
