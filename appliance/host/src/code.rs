//! The one-time code: whoever stands in front of the console may set the
//! machine up, and nobody who guesses.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// Letters and digits that nobody takes for another: 32, five bits each.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Characters of a code: 40 bits, of which a guesser gets three tries.
const LENGTH: usize = 8;

/// Wrong codes that close the endpoint.
const TRIES: u8 = 3;

/// `length` random characters of the alphabet, from the system's source of
/// randomness.
///
/// # Errors
/// When there is no randomness.
pub fn random(length: usize) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the system gives no random numbers")?;
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte % 32)]);
    Ok(Zeroizing::new(bytes.iter().map(letter).collect()))
}

/// What became of a code that somebody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one on the console.
    Right,
    /// It is not; so many tries are left.
    Wrong(u8),
    /// There were too many wrong ones.
    Closed,
}

/// The code and the tries that are left.
pub struct Gate(Mutex<Inner>);

struct Inner {
    code: Zeroizing<String>,
    left: u8,
}

impl Gate {
    /// A gate with a code of its own.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(Inner { code: random(LENGTH)?, left: TRIES })))
    }

    /// Looks at a code; a wrong one costs a try. Blanks, hyphens and case do
    /// not matter.
    pub fn judge(&self, given: &str) -> Verdict {
        let given: Zeroizing<String> = Zeroizing::new(
            given
                .chars()
                .filter(|one| !matches!(one, ' ' | '-'))
                .map(|one| one.to_ascii_uppercase())
                .collect(),
        );
        let mut inner = self.lock();
        if inner.left == 0 {
            return Verdict::Closed;
        }
        if verify_slices_are_equal(given.as_bytes(), inner.code.as_bytes()).is_ok() {
            return Verdict::Right;
        }
        inner.left -= 1;
        match inner.left {
            0 => Verdict::Closed,
            left => Verdict::Wrong(left),
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().left == 0
    }

    /// Opens it again, with a new code.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn renew(&self) -> anyhow::Result<()> {
        let code = random(LENGTH)?;
        *self.lock() = Inner { code, left: TRIES };
        Ok(())
    }

    /// The code as the console shows it: two groups.
    pub fn shown(&self) -> Zeroizing<String> {
        let inner = self.lock();
        let (first, second) = inner.code.split_at(LENGTH / 2);
        Zeroizing::new(format!("{first}-{second}"))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_right_code_opens_however_it_is_written() {
        let gate = Gate::new().unwrap();
        let shown = gate.shown();
        assert_eq!(shown.len(), LENGTH + 1);
        assert!(shown.bytes().all(|one| one == b'-' || ALPHABET.contains(&one)), "{}", *shown);
        for given in [shown.as_str(), &shown.to_lowercase(), &shown.replace('-', " ")] {
            assert_eq!(gate.judge(given), Verdict::Right);
        }
    }

    #[test]
    fn three_wrong_codes_close_it_for_the_right_one_too_until_it_is_renewed() {
        let gate = Gate::new().unwrap();
        let right = gate.shown();
        for (wrong, verdict) in
            [("", Verdict::Wrong(2)), ("0000-0000", Verdict::Wrong(1)), ("I", Verdict::Closed)]
        {
            assert!(!gate.is_closed());
            assert_eq!(gate.judge(wrong), verdict);
        }
        assert!(gate.is_closed());
        assert_eq!(gate.judge(&right), Verdict::Closed);
        gate.renew().unwrap();
        assert_eq!(gate.judge(&gate.shown()), Verdict::Right);
        assert_ne!(*gate.shown(), *right);
    }

    #[test]
    fn codes_differ_and_use_the_whole_alphabet() {
        let one = random(4096).unwrap();
        assert!(ALPHABET.iter().all(|letter| one.as_bytes().contains(letter)));
        assert_ne!(*one, *random(4096).unwrap());
    }

    proptest! {
        #[test]
        fn only_the_code_is_right(given in "(?s).{0,12}|[2-9A-HJ-NP-Z]{8}") {
            let gate = Gate::new().unwrap();
            let bare: String = given.chars().filter(|one| !matches!(one, ' ' | '-')).collect();
            let right = bare.to_ascii_uppercase() == gate.shown().replace('-', "");
            prop_assert_eq!(gate.judge(&given) == Verdict::Right, right);
        }
    }
}
