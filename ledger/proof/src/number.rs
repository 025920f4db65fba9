//! Numbers that mean a place: a height, a place in the log, one in a stream, a
//! moment.
//!
//! All are counts from zero and are encoded alike, and one in the place of the
//! other points at something else without an error. So each has a type of its
//! own. What is done with them is named: there is a next one, a distance, a
//! range, and of a moment what is a [`Duration`] later; two of them are never
//! added, and none is taken for a plain number unless [`get`](Height::get) says
//! so.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Makes a number with a meaning: in borsh, JSON and text it is the plain number.
macro_rules! plain {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize,
            BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The first.
            pub const ZERO: Self = Self(0);

            /// The largest that can be written.
            pub const MAX: Self = Self(u64::MAX);

            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

/// Makes such a number that counts places, with the steps between them.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        plain! {
            $(#[$doc])*
            $name
        }

        impl $name {
            /// The one after this. There is none after the largest, which stays:
            /// what counts one by one never gets there.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The one before this, if there is one.
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The one `count` after this, at most the largest.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// The one `count` before this, at least the first.
            #[must_use]
            pub const fn minus(self, count: u64) -> Self {
                Self(self.0.saturating_sub(count))
            }

            /// How many steps lead here from `earlier`; none from a later one.
            pub const fn since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }

            /// Whether this comes directly after `earlier`.
            pub const fn follows(self, earlier: Self) -> bool {
                matches!(self.0.checked_sub(earlier.0), Some(1))
            }

            /// From this on, and before `end`.
            pub fn until(self, end: Self) -> impl DoubleEndedIterator<Item = Self> {
                (self.0..end.0).map(Self)
            }

            /// From this to `last`, both included.
            pub fn through(self, last: Self) -> impl DoubleEndedIterator<Item = Self> {
                (self.0..=last.0).map(Self)
            }

            /// Big-endian: keys in this order are in the numbers' order.
            pub const fn to_be_bytes(self) -> [u8; 8] {
                self.0.to_be_bytes()
            }

            /// What [`Self::to_be_bytes`] wrote.
            pub const fn from_be_bytes(bytes: [u8; 8]) -> Self {
                Self(u64::from_be_bytes(bytes))
            }
        }
    };
}

number! {
    /// How many blocks came before a block: the genesis block has height 0.
    Height
}

number! {
    /// How many entries came before an entry in the log of transactions and
    /// outcomes.
    LogIndex
}

number! {
    /// Which of a signer's batches in a stream: the first is 1, and 0 is before
    /// it.
    Sequence
}

plain! {
    /// A moment on the ledger's clock: how many milliseconds of UTC, without leap
    /// seconds, are over since 1970.
    ///
    /// How long something takes is a [`Duration`]; seconds since 1970 are another
    /// type's.
    UnixMillis
}

impl UnixMillis {
    /// `duration` after this, at most the last that can be written. What of it is
    /// finer than a millisecond is left out.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(duration)))
    }

    /// `duration` before this, at least the first.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(milliseconds(duration)))
    }

    /// How long it is since `earlier`; no time since a later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What a machine's clock says; a clock that is before 1970 says 1970.
impl From<SystemTime> for UnixMillis {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, milliseconds))
    }
}

/// The whole milliseconds of a duration, at most the most that can be written.
const fn milliseconds(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1000);
    whole.saturating_add(duration.subsec_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn a_number_with_a_meaning_is_written_as_the_plain_number() {
        for plain in [0, 1, 300, u64::MAX] {
            let height = Height(plain);
            assert_eq!(codec::encode(&height), codec::encode(&plain));
            assert_eq!(codec::decode::<Height>("height", &codec::encode(&plain), 8), Ok(height));
            assert_eq!(serde_json::to_string(&height).unwrap(), plain.to_string());
            assert_eq!(serde_json::from_str::<Height>(&plain.to_string()).unwrap(), height);
            assert_eq!(
                (height.to_string(), height.to_string().parse()),
                (plain.to_string(), Ok(height))
            );
            assert_eq!(Height::from_be_bytes(height.to_be_bytes()), height);
        }
        for wrong in ["", "-1", "1.0", "18446744073709551616"] {
            assert!(wrong.parse::<LogIndex>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn steps_end_where_the_numbers_end() {
        assert_eq!((Height(4).next(), Height::MAX.next()), (Height(5), Height::MAX));
        assert_eq!((Height(4).previous(), Height::ZERO.previous()), (Some(Height(3)), None));
        assert_eq!((Height(4).minus(5), Height(4).plus(2)), (Height::ZERO, Height(6)));
        assert_eq!((Height(6).since(Height(4)), Height(4).since(Height(6))), (2, 0));
        assert!(Height(5).follows(Height(4)) && !Height(4).follows(Height(4)));
        assert!(!Height::MAX.follows(Height::MAX) && !Height(4).follows(Height(5)));
        assert_eq!(Height(2).until(Height(4)).collect::<Vec<_>>(), [Height(2), Height(3)]);
        assert_eq!(Height(2).through(Height(2)).collect::<Vec<_>>(), [Height(2)]);
        assert_eq!(Height(3).through(Height(2)).next(), None);
    }

    #[test]
    fn moments_and_durations_do_not_overflow() {
        let (moment, second) = (UnixMillis(1_500), Duration::from_secs(1));
        assert_eq!(
            (moment.plus(second), moment.minus(second)),
            (UnixMillis(2_500), UnixMillis(500))
        );
        assert_eq!(moment.plus(Duration::from_micros(1_999)), UnixMillis(1_501));
        assert_eq!(
            (moment.plus(Duration::MAX), moment.minus(Duration::MAX)),
            (UnixMillis::MAX, UnixMillis::ZERO)
        );
        assert_eq!(moment.since(UnixMillis(500)), second);
        assert_eq!(UnixMillis(500).since(moment), Duration::ZERO);
        assert_eq!(UnixMillis::from(UNIX_EPOCH + Duration::from_millis(7)), UnixMillis(7));
        assert_eq!(UnixMillis::from(UNIX_EPOCH - second), UnixMillis::ZERO);
        assert_eq!(serde_json::to_string(&moment).unwrap(), "1500");
        assert_eq!(codec::encode(&moment), codec::encode(&1_500_u64));
    }
}
