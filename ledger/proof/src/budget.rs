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

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::MAX_TRANSACTION;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

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

/// The day of a block time in milliseconds since 1970, counted from 1970.
pub fn day(time_ms: u64) -> u64 {
    time_ms / DAY_MS
}

/// When the day of a block time ends, milliseconds since 1970.
pub fn end_of_day(time_ms: u64) -> u64 {
    (day(time_ms) + 1).saturating_mul(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        // 2026-11-29T23:59:59.999Z and a millisecond later.
        let last = 1_796_083_199_999 / DAY_MS * DAY_MS + DAY_MS - 1;
        assert_eq!(day(last) + 1, day(last + 1));
        assert_eq!(end_of_day(last), last + 1);
        assert_eq!(end_of_day(last + 1), last + 1 + DAY_MS);
        assert_eq!(end_of_day(u64::MAX), u64::MAX);
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
