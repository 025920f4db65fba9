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
