//! By how much the members' clocks differ.
//!
//! Every node asks each of its peers for the time as often as it gives a sign
//! of life (`gossip`), and works out the difference as NTP does (RFC
//! 5905 §8): the peer's time, less the middle between the question and the
//! answer. The peer's clock can differ from that by half of the time that the
//! answer took; of the last answers the quickest counts.
//!
//! One answer may lie, so nobody's word decides whose clock is wrong: the
//! median of all clocks, this node's own included, is taken for the right one
//! (`Clocks::of`).
//!
//! It measures and says; nothing in consensus uses it. What the clocks are
//! needed for: a block whose time is ahead of a validator's clock is waited for,
//! so that a leader whose clock is ahead, and a validator whose clock is behind,
//! come too late.

use std::collections::VecDeque;

use hufu_proof::UnixMillis;

/// From this difference on people are told, in milliseconds.
pub const WARN_MS: u64 = 1_000;

/// From this difference on a node's clock keeps it from its part in the votes,
/// in milliseconds: about what a leader has for its block.
pub const HARM_MS: u64 = 2_000;

/// Answers that are remembered of each peer.
const ANSWERS: usize = 4;

/// After so many questions without an answer a peer's clock is not known.
const UNANSWERED: usize = 15;

/// Longest time that an answer may take, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// Measuring is not exact; so much less than [`WARN_MS`] is told as well, in
/// milliseconds.
const TOLERANCE_MS: u64 = 50;

/// How a peer's clock differs from this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// By how many milliseconds the peer's clock is ahead; negative when it is
    /// behind.
    pub ahead_ms: i64,
    /// By how many milliseconds this may be wrong.
    pub within_ms: u64,
}

impl Difference {
    /// From an answer: this node's clock when it asked and when it was answered,
    /// and the peer's in between. `None` when the answer took too long to say
    /// anything, or this node's clock was set back.
    pub(crate) fn measured(asked: UnixMillis, theirs: UnixMillis, now: UnixMillis) -> Option<Self> {
        let took = now.get().checked_sub(asked.get()).filter(|took| *took <= PATIENCE_MS)?;
        let middle = i128::from(asked.get()) + i128::from(took / 2);
        let ahead = i128::from(theirs.get()) - middle;
        Some(Self { ahead_ms: i64::try_from(ahead).ok()?, within_ms: took.div_ceil(2) })
    }
}

/// What is known of one peer's clock.
#[derive(Debug, Default)]
pub(crate) struct Measurements {
    answers: VecDeque<Difference>,
    unanswered: usize,
}

impl Measurements {
    /// The peer was asked once more.
    pub(crate) fn asked(&mut self) {
        self.unanswered += 1;
        if self.unanswered > UNANSWERED {
            self.answers.clear();
        }
    }

    /// The peer has answered.
    pub(crate) fn answered(&mut self, difference: Difference) {
        self.unanswered = 0;
        // A clock that was set makes what was measured before worthless.
        let agrees = |before: &Difference| {
            let apart = before.ahead_ms.abs_diff(difference.ahead_ms);
            apart <= before.within_ms + difference.within_ms + TOLERANCE_MS
        };
        if !self.answers.iter().all(agrees) {
            self.answers.clear();
        }
        self.answers.truncate(ANSWERS - 1);
        self.answers.push_front(difference);
    }

    pub(crate) fn best(&self) -> Option<Difference> {
        self.answers.iter().copied().min_by_key(|answer| answer.within_ms)
    }
}

/// Whose clocks are wrong, as far as this node can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// By how many milliseconds this node's own clock is ahead of the median of
    /// all clocks; negative when it is behind.
    pub own_ahead_ms: i64,
    /// The members whose clocks are so far from the median that people are to be
    /// told, and by how many milliseconds they are ahead of it.
    pub astray: Vec<(String, i64)>,
}

impl Clocks {
    /// Compares the other members' clocks, where they are known, and this node's.
    pub(crate) fn of<'a>(others: impl Iterator<Item = (&'a str, Difference)> + Clone) -> Self {
        let mut all: Vec<i64> = others.clone().map(|(_, clock)| clock.ahead_ms).collect();
        // This node's own.
        all.push(0);
        all.sort_unstable();
        // Of two in the middle the one nearer to this node's own: with one other
        // member, or as many on either side, it is the others that differ.
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        let median = if low.unsigned_abs() <= high.unsigned_abs() { low } else { high };
        let astray = others
            .map(|(member, clock)| (member, clock.ahead_ms.saturating_sub(median), clock.within_ms))
            .filter(|(_, ahead, within)| {
                is_told(*ahead) && ahead.unsigned_abs() > within.saturating_mul(2)
            })
            .map(|(member, ahead, _)| (member.to_owned(), ahead))
            .collect();
        Self { own_ahead_ms: median.saturating_neg(), astray }
    }

    /// Whether people are to be told that this node's own clock is wrong.
    pub fn is_own_astray(&self) -> bool {
        is_told(self.own_ahead_ms)
    }

    /// Whether this node's own clock keeps it from its part in the votes.
    pub fn does_harm(&self) -> bool {
        self.own_ahead_ms.unsigned_abs() + TOLERANCE_MS >= HARM_MS
    }
}

fn is_told(ahead_ms: i64) -> bool {
    ahead_ms.unsigned_abs() + TOLERANCE_MS >= WARN_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(asked: u64, theirs: u64, now: u64) -> Option<Difference> {
        Difference::measured(UnixMillis(asked), UnixMillis(theirs), UnixMillis(now))
    }

    const NAMES: [&str; 3] = ["one", "two", "three"];

    fn of(ahead: &[i64], within_ms: u64) -> Clocks {
        let difference = |ahead_ms: &i64| Difference { ahead_ms: *ahead_ms, within_ms };
        Clocks::of(NAMES.into_iter().zip(ahead.iter().map(difference)))
    }

    fn astray(ahead: &[i64]) -> (i64, Vec<(String, i64)>) {
        let Clocks { own_ahead_ms, astray } = of(ahead, 3);
        (own_ahead_ms, astray)
    }

    #[test]
    fn the_median_of_all_clocks_is_right() {
        let one = |name: &str, ahead| (name.to_owned(), ahead);
        assert_eq!(astray(&[]), (0, vec![]));
        assert_eq!(astray(&[3, -4]), (0, vec![]));
        // One of the others; this node's own, either way.
        assert_eq!(astray(&[3, 12_000, -2]), (0, vec![one("two", 12_000)]));
        assert_eq!(astray(&[11_990, 12_000, 12_010]).0, -11_990);
        assert_eq!(astray(&[-12_000, -12_001, -11_999]).0, 11_999);
        // Nobody can tell which of two: the other one differs.
        assert_eq!(astray(&[5_000]), (0, vec![one("one", 5_000)]));
        // From one second on.
        assert_eq!(astray(&[0, 0, 900]).1, vec![]);
        assert_eq!(astray(&[0, 0, -1_001]).1, vec![one("three", -1_001)]);
        let clocks = of(&[-1_500, -1_500, -1_500], 3);
        assert!(clocks.is_own_astray() && !clocks.does_harm());
        assert!(clocks.astray.is_empty(), "{clocks:?}");
    }

    #[test]
    fn what_is_not_measured_well_accuses_nobody() {
        assert_eq!(of(&[0, 0, 3_000], 2_000).astray, vec![]);
    }

    #[test]
    fn the_quickest_of_the_last_answers_counts() {
        assert_eq!(
            measured(1_000, 13_010, 1_020),
            Some(Difference { ahead_ms: 12_000, within_ms: 10 })
        );
        assert_eq!(measured(2_000, 2_000, 1_000), None, "set back meanwhile");
        assert_eq!(measured(0, 0, PATIENCE_MS + 1), None);
        assert_eq!(measured(0, u64::MAX, 1), None);
        let mut measured = Measurements::default();
        let quick = Difference { ahead_ms: 10, within_ms: 1 };
        measured.answered(quick);
        for _ in 1..ANSWERS {
            measured.answered(Difference { ahead_ms: 200, within_ms: 300 });
        }
        assert_eq!(measured.best(), Some(quick));
        // Set by an hour: what was measured before says nothing any more.
        let after = Difference { ahead_ms: 3_600_000, within_ms: 40 };
        measured.answered(after);
        assert_eq!(measured.best(), Some(after));
        for _ in 0..=UNANSWERED {
            measured.asked();
        }
        assert_eq!(measured.best(), None);
    }
}
