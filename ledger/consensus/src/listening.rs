//! Before its first vote since it started, a validator hears from the others
//! how far they are.
//!
//! The guard ([`crate::guard`]) keeps a validator from contradicting itself as
//! long as it has its records. Where an older copy of the data directory was put
//! back, or an empty one, it has them no more; the engine then begins in a view
//! that is long over, and would vote there once more, and otherwise. Peers take
//! that for what it looks like, and cut the validator off.
//!
//! So it abstains until as many others as it takes to finalize anything have
//! answered a question of this very start. What is final in the eyes of at least
//! one of them who is honest becomes the guard's floor: no vote in a view that is
//! over for the others. Nothing is lost by waiting, since with fewer of them there
//! is no progress; and when all start together, they all say the same.
//!
//! It is no proof, as the guard's records are: who votes in the view in which the
//! others still are, and then loses the records, may contradict itself there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use commonware_consensus::types::View;
use commonware_utils::{Faults as _, N3f1};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Listening {
    /// How many others must answer.
    needed: usize,
    /// How many of those may lie.
    faults: usize,
    /// What they said: the view that is final for them, by their numbers. `None`
    /// when enough did.
    told: Mutex<Option<BTreeMap<u16, View>>>,
}

impl Listening {
    /// Of one of this many validators.
    pub(crate) fn new(validators: usize) -> Self {
        let count = u32::try_from(validators).unwrap_or(u32::MAX);
        let needed = N3f1::quorum(count).saturating_sub(1) as usize;
        let told = (needed > 0).then(BTreeMap::new);
        Self { needed, faults: N3f1::max_faults(count) as usize, told: Mutex::new(told) }
    }

    /// Whether it still waits.
    pub(crate) fn waits(&self) -> bool {
        self.lock().is_some()
    }

    /// A validator answered that `view` is final for it. Once enough have: the
    /// view that is final, given as often as it is asked until [`Self::end`].
    pub(crate) fn told(&self, validator: u16, view: View) -> Option<View> {
        let mut told = self.lock();
        let all = told.as_mut()?;
        all.insert(validator, view);
        if all.len() < self.needed {
            return None;
        }
        let mut views: Vec<View> = all.values().copied().collect();
        views.sort_unstable_by(|one, other| other.cmp(one));
        views.get(self.faults).copied()
    }

    /// It votes from now on.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BTreeMap<u16, View>>> {
        // Every critical section leaves it whole.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_as_many_as_a_quorum_takes_beside_itself() {
        for (validators, needed) in [(1, 0), (2, 1), (3, 2), (4, 2), (7, 4)] {
            let listening = Listening::new(validators);
            assert_eq!(listening.waits(), needed > 0, "{validators}");
            for number in 1..needed {
                assert_eq!(listening.told(number, View::new(5)), None, "{validators}");
                // Said twice is said once.
                assert_eq!(listening.told(number, View::new(6)), None, "{validators}");
            }
            if needed > 0 {
                assert_eq!(
                    listening.told(needed, View::new(6)),
                    Some(View::new(6)),
                    "{validators}"
                );
                assert!(listening.waits(), "until the guard knows");
            }
            listening.end();
            assert!(!listening.waits());
            assert_eq!(listening.told(9, View::new(7)), None);
        }
    }

    #[test]
    fn one_who_lies_raises_nothing() {
        let listening = Listening::new(4);
        assert_eq!(listening.told(0, View::new(u64::MAX)), None);
        assert_eq!(listening.told(1, View::new(41)), Some(View::new(41)));
        assert_eq!(
            listening.told(2, View::new(42)),
            Some(View::new(42)),
            "and the third is heard too"
        );
    }
}
