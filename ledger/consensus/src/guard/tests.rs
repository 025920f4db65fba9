use super::*;
use crate::keys::Identity;
use crate::testing::SoftwareSigner;
use proptest::prelude::*;
use std::cell::Cell;
use std::time::Duration;

const NAMESPACE: &[u8] = b"namespace";

fn key(seed: u8) -> PublicKey {
    Identity::new(SoftwareSigner::shared(seed)).unwrap().public_key().clone()
}

fn open(directory: &Path) -> Result<Guard, GuardError> {
    Guard::open(directory, &key(1), NAMESPACE)
}

fn vote(epoch: u64, view: u64, phase: Phase, message: u8) -> Vote {
    Vote { round: Round { epoch, view }, phase, message: [message; 32] }
}

/// A signature that differs with every call, as a token's does.
fn fresh(counter: &Cell<u64>) -> Signature {
    counter.set(counter.get() + 1);
    let mut bytes = [1; 64];
    bytes[..8].copy_from_slice(&counter.get().to_be_bytes());
    Signature::strict(bytes).unwrap()
}

fn ask(guard: &Guard, vote: &Vote, counter: &Cell<u64>) -> Result<Signature, Error> {
    guard.sign(vote, || Ok(fresh(counter)))
}

#[test]
fn contradictions_are_refused_and_repetitions_answered_alike() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Cell::new(0);
    let guard = open(directory.path()).unwrap();
    let notarize = vote(0, 5, Phase::Notarize, 1);
    let first = ask(&guard, &notarize, &counter).unwrap();
    assert_eq!(ask(&guard, &notarize, &counter).unwrap(), first);
    let refused = vote(0, 5, Phase::Notarize, 2);
    assert!(matches!(
        ask(&guard, &refused, &counter),
        Err(Error::Guard(GuardError::Conflict { round: Round { epoch: 0, view: 5 }, .. }))
    ));
    ask(&guard, &vote(0, 5, Phase::Finalize, 1), &counter).unwrap();
    assert!(ask(&guard, &vote(0, 5, Phase::Nullify, 9), &counter).is_err());
    assert!(ask(&guard, &vote(0, 5, Phase::Finalize, 2), &counter).is_err());
    ask(&guard, &vote(0, 6, Phase::Nullify, 9), &counter).unwrap();
    assert!(ask(&guard, &vote(0, 6, Phase::Finalize, 1), &counter).is_err());
    ask(&guard, &vote(1, 5, Phase::Notarize, 2), &counter).unwrap();
    drop(guard);
    let guard = open(directory.path()).unwrap();
    assert_eq!(ask(&guard, &notarize, &counter).unwrap(), first);
    assert!(ask(&guard, &vote(0, 5, Phase::Notarize, 2), &counter).is_err());
    assert!(ask(&guard, &vote(0, 6, Phase::Finalize, 1), &counter).is_err());
}

#[test]
fn a_second_holder_and_another_consortium_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let guard = open(directory.path()).unwrap();
    assert!(matches!(open(directory.path()), Err(GuardError::Held { .. })));
    drop(guard);
    assert!(matches!(
        Guard::open(directory.path(), &key(1), b"other"),
        Err(GuardError::Foreign { .. })
    ));
    open(directory.path()).unwrap();
}

#[test]
fn each_key_has_a_guard_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Cell::new(0);
    let (block, other) = (vote(0, 5, Phase::Notarize, 1), vote(0, 5, Phase::Notarize, 2));
    ask(&open(directory.path()).unwrap(), &block, &counter).unwrap();
    // The member's next key has signed nothing yet.
    let second = || Guard::open(directory.path(), &key(2), NAMESPACE).unwrap();
    ask(&second(), &other, &counter).unwrap();
    assert!(ask(&second(), &block, &counter).is_err());
    assert!(ask(&open(directory.path()).unwrap(), &other, &counter).is_err());
    // What holds the validator holds each of its keys.
    hold(directory.path(), UnixMillis(1_000_000)).unwrap();
    let later = UnixMillis(1_000_001).plus(MARGIN);
    assert!(ask(&second(), &vote(0, 6, Phase::Notarize, 1), &counter).is_err());
    assert!(second().saw_final(Round { epoch: 0, view: 20 }, later).unwrap());
    assert_eq!(open(directory.path()).unwrap().restored_ms(), None);
    // Whose guard it is must be certain.
    let path = directory.path().join("votes");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for key in [key(1), key(2)] {
        let opened = Guard::open(directory.path(), &key, NAMESPACE);
        assert!(matches!(opened, Err(GuardError::Corrupt { offset: 0, .. })));
    }
}

#[test]
fn a_signer_that_fails_leaves_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Cell::new(0);
    let guard = open(directory.path()).unwrap();
    let refused = guard.sign(&vote(0, 1, Phase::Notarize, 1), || {
        Err(Error::Signer(hufu_proof::SignerFault("gone".into())))
    });
    assert!(matches!(refused, Err(Error::Signer(_))));
    ask(&guard, &vote(0, 1, Phase::Notarize, 2), &counter).unwrap();
}

#[test]
fn damage_before_the_last_record_is_not_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Cell::new(0);
    let guard = open(directory.path()).unwrap();
    for view in 0..3 {
        ask(&guard, &vote(0, view, Phase::Notarize, 1), &counter).unwrap();
    }
    drop(guard);
    let path = directory.path().join("votes");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER + RECORD + 30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        open(directory.path()),
        Err(GuardError::Corrupt { offset, .. }) if offset == (HEADER + RECORD) as u64
    ));
    bytes[3] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(directory.path()), Err(GuardError::Corrupt { offset: 0, .. })));
}

#[test]
fn a_restored_guard_signs_nothing_until_the_ledger_has_moved_on() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Cell::new(0);
    let restored_ms = UnixMillis(1_000_000);
    let last = restored_ms.plus(MARGIN);
    let later = last.plus(Duration::from_millis(1));
    hold(directory.path(), restored_ms).unwrap();
    let guard = open(directory.path()).unwrap();
    assert_eq!(guard.restored_ms(), Some(restored_ms));
    let refused = ask(&guard, &vote(0, 900, Phase::Nullify, 1), &counter);
    assert!(matches!(refused, Err(Error::Guard(GuardError::Restored))));
    // Blocks of the time before, as it catches up.
    assert!(!guard.saw_final(Round { epoch: 0, view: 7 }, UnixMillis(5)).unwrap());
    assert!(!guard.saw_final(Round { epoch: 0, view: 8 }, last).unwrap());
    // The hold outlasts a restart.
    drop(guard);
    let guard = open(directory.path()).unwrap();
    assert!(ask(&guard, &vote(0, 900, Phase::Nullify, 1), &counter).is_err());
    assert!(guard.saw_final(Round { epoch: 0, view: 20 }, later).unwrap());
    assert_eq!(guard.restored_ms(), None);
    for view in [1, 20, 21] {
        let refused = ask(&guard, &vote(0, view, Phase::Notarize, 1), &counter);
        assert!(matches!(refused, Err(Error::Guard(GuardError::BelowFloor { .. }))), "{view}");
    }
    ask(&guard, &vote(0, 22, Phase::Notarize, 1), &counter).unwrap();
    // All of it is on disk, and what comes later changes nothing.
    assert!(guard.saw_final(Round { epoch: 0, view: 40 }, UnixMillis(0)).unwrap());
    drop(guard);
    let guard = open(directory.path()).unwrap();
    assert_eq!(guard.restored_ms(), None);
    assert!(ask(&guard, &vote(0, 21, Phase::Finalize, 1), &counter).is_err());
    ask(&guard, &vote(0, 23, Phase::Notarize, 1), &counter).unwrap();
}

#[test]
fn a_hold_that_cannot_be_read_is_no_reason_to_vote() {
    let directory = tempfile::tempdir().unwrap();
    for content in ["", "soon", "12 13", &"9".repeat(40)] {
        std::fs::write(directory.path().join("restored"), content).unwrap();
        assert!(matches!(open(directory.path()), Err(GuardError::Corrupt { .. })), "{content}");
    }
    // A time that never comes holds for ever, and does not overflow.
    hold(directory.path(), UnixMillis::MAX).unwrap();
    assert!(
        !open(directory.path())
            .unwrap()
            .saw_final(Round { epoch: 0, view: 1 }, UnixMillis::MAX)
            .unwrap()
    );
}

#[test]
fn a_failed_write_poisons() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Cell::new(0);
    let guard = open(directory.path()).unwrap();
    // A handle that may only read makes the next write fail for real.
    guard.lock().file = File::open(directory.path().join("votes")).unwrap();
    let refused = ask(&guard, &vote(0, 1, Phase::Notarize, 1), &counter);
    assert!(matches!(refused, Err(Error::Guard(GuardError::Io { .. }))));
    let refused = ask(&guard, &vote(0, 2, Phase::Notarize, 1), &counter);
    assert!(matches!(refused, Err(Error::Guard(GuardError::Poisoned))));
    assert!(matches!(guard.raise_floor(Round { epoch: 0, view: 9 }), Err(GuardError::Poisoned)));
}

#[test]
fn compaction_keeps_the_window_and_refuses_what_it_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Cell::new(0);
    let guard = open(directory.path()).unwrap();
    let last = 3 * WINDOW;
    {
        // Fill memory as appends would, without thousands of syncs.
        let mut inner = guard.lock();
        for view in 0..last {
            let signature = fresh(&counter);
            inner.remember(&vote(0, view, Phase::Notarize, 1), signature);
        }
        inner.compact().unwrap();
        assert!(inner.size < COMPACT_AT);
    }
    drop(guard);
    let guard = open(directory.path()).unwrap();
    assert!(matches!(
        ask(&guard, &vote(0, last - WINDOW - 2, Phase::Notarize, 2), &counter),
        Err(Error::Guard(GuardError::BelowFloor { .. }))
    ));
    assert!(matches!(
        ask(&guard, &vote(0, last - WINDOW, Phase::Notarize, 2), &counter),
        Err(Error::Guard(GuardError::Conflict { .. }))
    ));
    ask(&guard, &vote(0, last, Phase::Notarize, 2), &counter).unwrap();
    guard.raise_floor(Round { epoch: 0, view: last + 5 }).unwrap();
    drop(guard);
    let guard = open(directory.path()).unwrap();
    assert!(ask(&guard, &vote(0, last + 5, Phase::Notarize, 2), &counter).is_err());
    ask(&guard, &vote(0, last + 6, Phase::Notarize, 2), &counter).unwrap();
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just(Phase::Notarize), Just(Phase::Nullify), Just(Phase::Finalize)]
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u64, u64, Phase, u8),
    Reopen,
    /// The process dies while the last record is being written: this many of
    /// its bytes are on disk.
    Tear(usize),
    RaiseFloor(Round),
    Compact,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..2u64, 0..6u64, any_phase(), 0..3u8)
            .prop_map(|(epoch, view, phase, message)| Step::Ask(epoch, view, phase, message)),
        1 => Just(Step::Reopen),
        1 => (1..RECORD).prop_map(Step::Tear),
        1 => (0..2u64, 0..3u64).prop_map(|(epoch, view)| Step::RaiseFloor(Round { epoch, view })),
        1 => Just(Step::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is asked, and however often the process dies in between, the
    /// signatures that were handed out never contradict each other.
    #[test]
    fn no_two_signatures_handed_out_contradict(
        steps in prop::collection::vec(any_step(), 1..60)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("votes");
        let counter = Cell::new(0);
        let mut guard = open(directory.path()).unwrap();
        let mut handed_out: Vec<(Vote, Signature)> = Vec::new();
        for step in steps {
            match step {
                Step::Ask(epoch, view, phase, message) => {
                    let message = if phase == Phase::Nullify { 0 } else { message };
                    let vote = vote(epoch, view, phase, message);
                    match ask(&guard, &vote, &counter) {
                        Ok(signature) => handed_out.push((vote, signature)),
                        Err(Error::Guard(
                            GuardError::Conflict { .. } | GuardError::BelowFloor { .. },
                        )) => {}
                        Err(error) => return Err(TestCaseError::fail(error.to_string())),
                    }
                }
                Step::Reopen => {
                    drop(guard);
                    guard = open(directory.path()).unwrap();
                }
                Step::Tear(kept) => {
                    let record = encode_vote(&vote(1, 5, Phase::Finalize, 1), &fresh(&counter));
                    drop(guard);
                    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                    file.write_all(&record[..kept]).unwrap();
                    guard = open(directory.path()).unwrap();
                }
                Step::RaiseFloor(round) => guard.raise_floor(round).unwrap(),
                Step::Compact => guard.lock().compact().unwrap(),
            }
        }
        for (one, first) in &handed_out {
            for (other, second) in &handed_out {
                if one.round != other.round {
                    continue;
                }
                if one.phase == other.phase {
                    prop_assert_eq!(one.message, other.message);
                    prop_assert_eq!(first, second);
                }
                prop_assert!(!(one.phase == Phase::Nullify && other.phase == Phase::Finalize));
            }
        }
    }
}
