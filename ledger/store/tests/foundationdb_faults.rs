//! What a store on FoundationDB does with everything that a cluster may answer,
//! or not answer: on the double, which does it on request.

mod bed;

use std::time::Duration;

use bed::Bed;
use hufu_fdb_double::{Fault, On, What};
use hufu_store::foundationdb::Options;
use hufu_store::limits::{MAX_TRANSACTION, MAX_VALUE};
use hufu_store::{Applied, FoundationStore, KeyRange, Space, Store as _, StoreError, Write};

/// Tried again, and certainly not done.
const NOT_DONE: [i32; 4] = [1007, 1009, 1020, 1037];
/// Tried again, and perhaps done.
const PERHAPS_DONE: [i32; 2] = [1021, 1039];
const OPERATION_TIMED_OUT: i32 = 1004;
const TRANSACTION_TIMED_OUT: i32 = 1031;
const TRANSACTION_TOO_LARGE: i32 = 2101;
/// In the key of the row that a flip sets.
const APPLIED: &[u8] = b"applied";

fn applied(height: u64) -> Applied {
    Applied { height, block: [height as u8; 32], commitment: vec![height as u8] }
}

/// Rows of several transactions, some of them of keys that every height has.
fn rows(height: u64) -> Vec<Write> {
    let mut rows = vec![
        Write::put(Space::State, *b"counter", height.to_be_bytes()),
        Write::put(Space::Headers, height.to_be_bytes(), *b"header"),
        Write::remove(Space::State, *b"nothing"),
    ];
    rows.extend((0..36_u8).map(|part| {
        let key = [&height.to_be_bytes()[..], &[part]].concat();
        Write::put(Space::Blocks, key, vec![height as u8; MAX_VALUE])
    }));
    rows
}

fn write(store: &FoundationStore, height: u64) -> Result<(), StoreError> {
    store.stage(height, rows(height))?;
    store.flip(applied(height))
}

/// Everything up to `height` is there, and nothing after it.
fn check(store: &FoundationStore, height: u64) {
    assert_eq!(store.applied().unwrap(), Some(applied(height)));
    for earlier in 0..=height {
        let counter = store.read(Space::State, b"counter", earlier).unwrap();
        assert_eq!(counter, Some(earlier.to_be_bytes().to_vec()));
    }
    let headers = store.scan(Space::Headers, &KeyRange::all(), height, 99).unwrap();
    assert_eq!(headers.len() as u64, height + 1);
    let blocks = store.scan(Space::Blocks, &KeyRange::all(), height, 999).unwrap();
    assert_eq!(blocks.len() as u64, 36 * (height + 1));
    assert_eq!(store.read_latest(Space::State, b"nothing").unwrap(), None);
}

fn commits(skip: u64, times: u64, what: What) -> Fault {
    Fault { on: On::Commit, key: Vec::new(), skip, times, what }
}

/// A disturbance of the next flip.
fn flips(what: What) -> Fault {
    Fault { key: APPLIED.to_vec(), ..commits(0, 1, what) }
}

/// How many commits opening, staging and flipping two heights takes.
fn commits_of_a_run() -> u64 {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.options()).unwrap();
    write(&store, 0).unwrap();
    write(&store, 1).unwrap();
    bed.cluster().counts().commits
}

#[test]
fn whatever_is_tried_again_changes_nothing() {
    let all = commits_of_a_run();
    assert!(all > 10, "several transactions for each height: {all}");
    let faults = NOT_DONE.into_iter().map(What::Fail);
    let faults = faults.chain(PERHAPS_DONE.into_iter().map(What::Fail));
    let faults = faults.chain(PERHAPS_DONE.into_iter().map(What::DoneBut));
    let expected = {
        let bed = Bed::double();
        let store = FoundationStore::open(&bed.options()).unwrap();
        write(&store, 0).and_then(|()| write(&store, 1)).unwrap();
        bed.cluster().keys()
    };
    for what in faults {
        for skip in 0..all {
            let bed = Bed::double();
            // Twice in a row, the second time at whatever is tried again.
            bed.cluster().inject(commits(skip, 2, what));
            let store = FoundationStore::open(&bed.options()).unwrap();
            write(&store, 0).unwrap();
            write(&store, 1).unwrap();
            check(&store, 1);
            assert_eq!(bed.cluster().keys(), expected, "{what:?} at {skip}");
        }
    }
}

#[test]
fn a_read_that_fails_is_tried_again() {
    for code in NOT_DONE.into_iter().chain(PERHAPS_DONE) {
        let bed = Bed::double();
        let store = FoundationStore::open(&bed.options()).unwrap();
        write(&store, 0).unwrap();
        for skip in 0..4 {
            let what = What::Fail(code);
            bed.cluster().inject(Fault { on: On::Read, ..commits(skip, 2, what) });
        }
        check(&store, 0);
    }
}

#[test]
fn a_commit_that_is_never_done_ends_with_an_error_and_may_be_tried_later() {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.options()).unwrap();
    write(&store, 0).unwrap();
    bed.cluster().inject(commits(0, u64::MAX, What::Fail(1020)));
    let error = write(&store, 1).unwrap_err();
    assert!(matches!(error, StoreError::Cluster { code: 1020, .. }), "{error}");
    bed.cluster().calm();
    // It is certain that nothing happened.
    write(&store, 1).unwrap();
    check(&store, 1);
}

#[test]
fn what_the_cluster_refuses_is_an_error_and_nothing_is_visible() {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.options()).unwrap();
    write(&store, 0).unwrap();
    bed.cluster().inject(commits(2, 1, What::Fail(TRANSACTION_TOO_LARGE)));
    let error = write(&store, 1).unwrap_err();
    assert!(matches!(error, StoreError::Cluster { code: TRANSACTION_TOO_LARGE, .. }), "{error}");
    check(&store, 0);
    assert!(matches!(store.flip(applied(1)), Err(StoreError::NotStaged(1))));
    write(&store, 1).unwrap();
    check(&store, 1);
}

#[test]
fn after_an_outcome_that_is_not_known_the_next_epoch_is_taken() {
    for what in [What::Fail(OPERATION_TIMED_OUT), What::DoneBut(OPERATION_TIMED_OUT)] {
        for skip in 0..commits_of_a_run() - 1 {
            let bed = Bed::double();
            let store = FoundationStore::open(&bed.options()).unwrap();
            bed.cluster().inject(commits(skip, 1, what));
            let mut epochs = 1;
            for height in 0..2 {
                while let Err(error) = write(&store, height) {
                    let known = matches!(error, StoreError::Cluster { code: 1004, .. });
                    assert!(known, "{error}");
                    epochs += 1;
                }
            }
            assert_eq!(store.fence(), epochs);
            check(&store, 1);
        }
    }
}

#[test]
fn a_flip_that_was_done_is_found_done_however_it_was_answered() {
    for what in [
        What::DoneBut(1021),
        What::DoneBut(1039),
        What::DoneBut(OPERATION_TIMED_OUT),
        What::DoneBut(TRANSACTION_TIMED_OUT),
        What::Silent { done: true },
    ] {
        let bed = Bed::double();
        let store = FoundationStore::open(&bed.impatient()).unwrap();
        write(&store, 0).unwrap();
        bed.cluster().inject(flips(what));
        write(&store, 1).unwrap_or_else(|error| panic!("{what:?}: {error}"));
        check(&store, 1);
        write(&store, 2).unwrap();
        check(&store, 2);
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_an_error_in_time() {
    let bed = Bed::double();
    let options = bed.impatient();
    let store = FoundationStore::open(&options).unwrap();
    write(&store, 0).unwrap();
    bed.cluster().inject(flips(What::Silent { done: false }));
    let error = write(&store, 1).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { after } if after == options.deadline));
    assert!(error.passes());
    check(&store, 0);
    bed.cluster().inject(Fault { on: On::Read, ..commits(0, 1, What::Silent { done: false }) });
    let read = store.read_latest(Space::State, b"counter");
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    // It is there again, and who waited goes on, with an epoch of its own.
    assert_eq!(store.fence(), 1);
    store.flip(applied(1)).unwrap();
    assert_eq!(store.fence(), 2);
    check(&store, 1);
    let store = FoundationStore::open(&options).unwrap();
    check(&store, 1);
}

#[test]
fn what_it_left_on_its_way_itself_arrives_in_vain_when_it_goes_on() {
    // A part, the last part, or the flip.
    let late = [commits(1, 1, What::Late(1031)), commits(4, 1, What::Late(1031))];
    for late in late.into_iter().chain([flips(What::Late(1031))]) {
        let bed = Bed::double();
        let store = FoundationStore::open(&bed.options()).unwrap();
        write(&store, 0).unwrap();
        bed.cluster().inject(late);
        let error = write(&store, 1).unwrap_err();
        assert!(error.passes(), "{error}");
        write(&store, 1).unwrap();
        assert_eq!(store.fence(), 2);
        store.stage(2, rows(2)).unwrap();
        assert_eq!(bed.cluster().release(), 0, "it read a fence that is over");
        store.flip(applied(2)).unwrap();
        check(&store, 2);
    }
}

#[test]
fn a_flip_that_was_done_and_never_answered_is_found_done_when_it_goes_on() {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.impatient()).unwrap();
    write(&store, 0).unwrap();
    bed.cluster().inject(flips(What::Silent { done: true }));
    // Read by the stage and by the flip, and then to learn what became of it.
    let look = Fault { on: On::Read, ..flips(What::Silent { done: false }) };
    bed.cluster().inject(Fault { skip: 2, ..look });
    let error = write(&store, 1).unwrap_err();
    assert!(error.passes(), "{error}");
    check(&store, 0);
    store.flip(applied(1)).unwrap();
    assert_eq!(store.fence(), 2);
    check(&store, 1);
    write(&store, 2).unwrap();
    check(&store, 2);
}

#[test]
fn going_on_is_as_sure_as_opening_and_only_for_who_holds_the_store() {
    // Taking the next epoch is not known to be done either, or comes late.
    for what in [What::Fail(1021), What::DoneBut(1021), What::DoneBut(1031), What::Late(1031)] {
        let bed = Bed::double();
        let options = bed.impatient();
        let store = FoundationStore::open(&options).unwrap();
        write(&store, 0).unwrap();
        bed.cluster().inject(flips(What::Silent { done: false }));
        assert!(write(&store, 1).unwrap_err().passes());
        bed.cluster().inject(Fault { key: b"holder".to_vec(), ..commits(0, 1, what) });
        while let Err(error) = write(&store, 1) {
            assert!(error.passes(), "{error}");
        }
        assert_eq!(bed.cluster().release(), 0);
        check(&store, 1);
        // Somebody else takes the store over while it is away.
        bed.cluster().inject(flips(What::Silent { done: false }));
        assert!(write(&store, 2).unwrap_err().passes());
        let newer = FoundationStore::open(&options).unwrap();
        let fenced = write(&store, 2);
        assert!(matches!(fenced, Err(StoreError::Fenced { .. })), "{fenced:?}");
        write(&newer, 2).unwrap();
        check(&newer, 2);
    }
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_in_time() {
    let bed = Bed::double();
    let directory = tempfile::tempdir().unwrap();
    let cluster_file = directory.path().join("fdb.cluster");
    let nobody = directory.path().join("nobody.sock");
    std::fs::write(&cluster_file, format!("double:double@unix:{}", nobody.display())).unwrap();
    let error = FoundationStore::open(&Options { cluster_file, ..bed.impatient() }).err().unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("fdbcli"), "{error}");
}

#[test]
fn a_slow_cluster_is_waited_for() {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.options()).unwrap();
    bed.cluster().inject(commits(0, 3, What::Slow(Duration::from_millis(50))));
    write(&store, 0).unwrap();
    check(&store, 0);
}

#[test]
fn what_an_older_holder_left_on_its_way_arrives_in_vain() {
    // Its stage, or its flip; which the newer holder writes otherwise.
    for late in [commits(1, 1, What::Late(TRANSACTION_TIMED_OUT)), flips(What::Late(1031))] {
        let bed = Bed::double();
        let options = bed.options();
        let older = FoundationStore::open(&options).unwrap();
        write(&older, 0).unwrap();
        bed.cluster().inject(late);
        let error = write(&older, 1).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        let newer = FoundationStore::open(&options).unwrap();
        assert_eq!(bed.cluster().release(), 0, "it read a fence that is over");
        newer.stage(1, vec![Write::put(Space::State, *b"counter", 1_u64.to_be_bytes())]).unwrap();
        newer.flip(applied(1)).unwrap();
        let blocks = newer.scan(Space::Blocks, &KeyRange::all(), 9, 99).unwrap();
        assert_eq!(blocks.len(), 36, "of height 0 alone");
        let fenced = older.applied().and_then(|_| write(&older, 2));
        assert!(matches!(fenced, Err(StoreError::Fenced { held: 1, current: 2 })), "{fenced:?}");
    }
}

#[test]
fn what_was_on_its_way_and_arrives_before_the_next_opening_is_found() {
    let bed = Bed::double();
    let options = bed.options();
    let store = FoundationStore::open(&options).unwrap();
    write(&store, 0).unwrap();
    bed.cluster().inject(flips(What::Late(TRANSACTION_TIMED_OUT)));
    assert!(matches!(write(&store, 1), Err(StoreError::Unavailable { .. })));
    assert_eq!(bed.cluster().release(), 1);
    let store = FoundationStore::open(&options).unwrap();
    check(&store, 1);
    store.flip(applied(1)).unwrap();
    write(&store, 2).unwrap();
    check(&store, 2);
}

#[test]
fn of_two_that_open_at_once_one_is_fenced() {
    let bed = Bed::double();
    let options = bed.options();
    for _ in 0..20 {
        let open = || FoundationStore::open(&options).unwrap();
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(open);
            let other = scope.spawn(open);
            (one.join().unwrap(), other.join().unwrap())
        });
        assert_ne!(one.fence(), other.fence());
        let (older, newer) = if one.fence() < other.fence() { (one, other) } else { (other, one) };
        let height = newer.applied().unwrap().map_or(0, |applied| applied.height + 1);
        let fenced = older.stage(height, vec![]);
        assert!(matches!(fenced, Err(StoreError::Fenced { .. })), "{fenced:?}");
        newer.stage(height, vec![]).unwrap();
        newer.flip(applied(height)).unwrap();
    }
}

#[test]
fn an_opening_whose_commit_is_not_known_takes_an_epoch_of_its_own() {
    let bed = Bed::double();
    let options = bed.options();
    bed.cluster().inject(commits(0, 3, What::DoneBut(1021)));
    let store = FoundationStore::open(&options).unwrap();
    assert_eq!(store.fence(), 4);
    write(&store, 0).unwrap();
}

#[test]
fn other_content_leaves_no_row_of_what_was_staged_wherever_removing_it_ends() {
    let stray = |height: u64| {
        let mut rows = rows(height);
        rows.push(Write::put(Space::State, *b"stray", vec![9; 9]));
        rows.push(Write::put(Space::Log, *b"stray", vec![9; 9]));
        rows
    };
    // Commits of staging the one, removing it, and staging the other.
    for skip in 0..16 {
        let bed = Bed::double();
        let options = bed.options();
        let mut store = FoundationStore::open(&options).unwrap();
        write(&store, 0).unwrap();
        let before = bed.cluster().keys();
        bed.cluster().inject(commits(skip, 1, What::Fail(OPERATION_TIMED_OUT)));
        let one = vec![Write::put(Space::State, *b"counter", 1_u64.to_be_bytes())];
        for rows in [stray(1), one] {
            if store.stage(1, rows.clone()).is_err() {
                store = FoundationStore::open(&options).unwrap();
                store.stage(1, rows).unwrap();
            }
        }
        bed.cluster().calm();
        store.flip(applied(1)).unwrap();
        assert_eq!(store.read_latest(Space::State, b"stray").unwrap(), None);
        assert_eq!(store.read_latest(Space::Log, b"stray").unwrap(), None);
        write(&store, 2).unwrap();
        // The 39 rows of height 2, one row of height 1, and no other: lists
        // and records were there before.
        assert_eq!(bed.cluster().keys(), before + 1 + 39, "{skip}");
    }
}

#[test]
fn rows_of_another_program_or_version_are_refused() {
    let bed = Bed::double();
    let options = bed.options();
    let key = |code: u8, rest: &[u8]| [options.prefix.as_bytes(), &[code], rest].concat();
    bed.cluster().set(&key(7, b"something"), Some(b"else"));
    let error = FoundationStore::open(&options).err().unwrap();
    assert!(matches!(&error, StoreError::Format { found, .. } if found == "of another program"));
    bed.cluster().set(&key(0, b"format"), Some(b"hufu-store 9"));
    let error = FoundationStore::open(&options).err().unwrap();
    assert!(matches!(&error, StoreError::Format { found, .. } if found == "hufu-store 9"));
}

#[test]
fn what_was_changed_by_another_program_is_reported_as_damage() {
    let bed = Bed::double();
    let options = bed.options();
    let key = |code: u8, rest: &[u8]| [options.prefix.as_bytes(), &[code], rest].concat();
    let damaged = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Damaged { .. })), "{result:?}");
    };
    let store = FoundationStore::open(&options).unwrap();
    write(&store, 0).unwrap();
    let read = |space, row: &[u8]| store.read_latest(space, row).map(|_| ());
    let scan = |space| store.scan(space, &KeyRange::all(), 0, 9).map(|_| ());
    bed.cluster().set(&key(Space::Headers.code(), &[0; 8]), Some(b"short"));
    bed.cluster().set(&key(Space::Usage.code(), b"no height"), Some(b"\x01value"));
    // Reads see it no later than their next transaction.
    write(&store, 1).unwrap();
    damaged(read(Space::Headers, &[0; 8]));
    damaged(scan(Space::Headers));
    damaged(scan(Space::Usage));
    for (record, row) in [(&b"staged"[..], None), (b"applied", Some(&b"short"[..]))] {
        bed.cluster().set(&key(0, record), row);
    }
    damaged(store.stage(2, rows(2)));
    damaged(FoundationStore::open(&options).map(|_| ()));
    bed.cluster().set(&key(0, b"epoch"), None);
    damaged(store.stage(2, rows(2)));
}

#[test]
fn five_seconds_end_a_read_version_and_not_the_reads() {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.options()).unwrap();
    write(&store, 0).unwrap();
    for _ in 0..3 {
        check(&store, 0);
        bed.cluster().advance(Duration::from_secs(6));
    }
}

#[test]
fn a_set_of_keys_costs_one_round() {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.options()).unwrap();
    let keys: Vec<Vec<u8>> = (0..500_u32).map(|key| key.to_be_bytes().to_vec()).collect();
    let both = |key: &Vec<u8>| {
        [Write::put(Space::State, key.clone(), *b"v"), Write::put(Space::Log, key.clone(), *b"v")]
    };
    store.stage(0, keys.iter().flat_map(both).collect()).unwrap();
    store.flip(applied(0)).unwrap();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let rounds = |work: &dyn Fn()| {
        let before = bed.cluster().counts();
        work();
        let after = bed.cluster().counts();
        (after.rounds - before.rounds, after.gets + after.ranges - before.gets - before.ranges)
    };
    for space in [Space::State, Space::Log] {
        let together = || assert_eq!(store.read_many(space, &keys, 0).unwrap().len(), 500);
        assert_eq!(rounds(&together), (1, 500));
        let alone = || {
            for key in &keys {
                assert!(store.read(space, key, 0).unwrap().is_some());
            }
        };
        assert_eq!(rounds(&alone), (500, 500));
        let scan = || assert_eq!(store.scan(space, &KeyRange::all(), 0, 500).unwrap().len(), 500);
        assert_eq!(rounds(&scan), (1, 1));
    }
}

#[test]
fn a_height_costs_few_rounds_and_small_transactions() {
    let bed = Bed::double();
    let store = FoundationStore::open(&bed.options()).unwrap();
    let small = |height: u64| vec![Write::put(Space::State, *b"key", height.to_be_bytes())];
    store.stage(0, small(0)).unwrap();
    store.flip(applied(0)).unwrap();
    let before = bed.cluster().counts();
    store.stage(1, small(1)).unwrap();
    store.flip(applied(1)).unwrap();
    let after = bed.cluster().counts();
    // To look and to commit, for the stage and for the flip.
    assert_eq!(after.rounds - before.rounds, 4);
    assert_eq!(after.commits - before.commits, 2);
    store.stage(2, rows(2)).unwrap();
    let large = bed.cluster().counts();
    assert!(large.commits - after.commits >= 3);
    // What a transaction has beside its rows is some hundred bytes.
    assert!(large.largest < MAX_TRANSACTION + 1_000, "{}", large.largest);
}
