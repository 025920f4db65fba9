//! One suite that every engine must pass, whatever it stores on (feature
//! `testing`).
//!
//! An engine's tests call [`check`] with a [`Bench`] that makes empty stores,
//! reopens them, and lets a second holder take one over. The suite panics with
//! what it expected, as tests do.

use crate::limits::{MAX_COMMITMENT, MAX_KEY, MAX_TRANSACTION, MAX_VALUE};
use crate::{Applied, KeyRange, Old, Space, Store, StoreError, Write, large};

/// How the suite gets stores of one engine.
pub trait Bench {
    /// The engine.
    type Engine: Store;

    /// A store with nothing in it, other than those made before.
    fn empty(&self) -> Self::Engine;

    /// Closes a store and opens it again.
    fn reopen(&self, store: Self::Engine) -> Self::Engine;

    /// Another holder of the same store, with the next epoch.
    fn take_over(&self, store: &Self::Engine) -> Self::Engine;
}

/// Runs the whole suite.
///
/// # Panics
/// When the engine does not behave as [`Store`] says.
pub fn check<B: Bench>(bench: &B) {
    an_empty_store_has_nothing(bench);
    what_is_staged_is_invisible_until_the_flip(bench);
    values_are_read_as_of_a_height(bench);
    many_keys_are_read_as_one_by_one(bench);
    keys_that_contain_one_another_do_not_mix(bench);
    scans_are_ordered_bounded_and_continue(bench);
    a_scan_passes_over_many_versions(bench);
    heights_follow_one_another(bench);
    staging_again_is_the_same_as_staging_once(bench);
    other_content_replaces_what_was_staged(bench);
    everything_survives_reopening(bench);
    an_older_holder_is_fenced(bench);
    limits_are_enforced_before_anything_is_written(bench);
    a_height_larger_than_a_transaction_is_staged(bench);
    large_values_are_split(bench);
    rows_are_attached_to_applied_heights_only(bench);
    what_is_old_leaves_and_nothing_else(bench);
    old_versions_leave_key_by_key(bench);
}

/// What `flip` is given for `height` in this suite.
fn applied(height: u64) -> Applied {
    Applied { height, block: [height as u8; 32], commitment: vec![1, 2, height as u8] }
}

fn put(key: &[u8], value: &[u8]) -> Write {
    Write::put(Space::State, key, value)
}

fn write_height(store: &impl Store, height: u64, writes: Vec<Write>) {
    store.stage(height, writes).expect("stages");
    store.flip(applied(height)).expect("flips");
}

fn state(store: &impl Store, key: &[u8], height: u64) -> Option<Vec<u8>> {
    store.read(Space::State, key, height).expect("reads")
}

fn an_empty_store_has_nothing<B: Bench>(bench: &B) {
    let store = bench.empty();
    assert_eq!(store.applied().expect("reads"), None);
    for space in Space::ALL {
        assert_eq!(store.read_latest(space, b"key").expect("reads"), None);
        assert_eq!(store.scan(space, &KeyRange::all(), 9, 9).expect("scans"), vec![]);
    }
}

fn what_is_staged_is_invisible_until_the_flip<B: Bench>(bench: &B) {
    let store = bench.empty();
    let rows = vec![put(b"key", b"value"), Write::put(Space::Blocks, *b"block", *b"bytes")];
    store.stage(0, rows).expect("stages");
    let invisible = |store: &B::Engine| {
        assert_eq!(state(store, b"key", 0), None);
        assert_eq!(store.read_latest(Space::Blocks, b"block").expect("reads"), None);
        for space in [Space::State, Space::Blocks] {
            assert_eq!(store.scan(space, &KeyRange::all(), 9, 9).expect("scans"), vec![]);
        }
    };
    invisible(&store);
    let store = bench.reopen(store);
    invisible(&store);
    store.flip(applied(0)).expect("flips what was staged before it was closed");
    assert_eq!(state(&store, b"key", 0), Some(b"value".to_vec()));
    assert_eq!(store.read_latest(Space::Blocks, b"block").expect("reads"), Some(b"bytes".to_vec()));
}

fn values_are_read_as_of_a_height<B: Bench>(bench: &B) {
    let store = bench.empty();
    write_height(&store, 0, vec![put(b"a", b"a0")]);
    write_height(&store, 1, vec![put(b"b", b"b1")]);
    write_height(&store, 2, vec![put(b"a", b"a2"), put(b"empty", b"")]);
    write_height(&store, 3, vec![Write::remove(Space::State, *b"a")]);
    write_height(&store, 4, vec![put(b"a", b"a4")]);
    let expected: [Option<&[u8]>; 6] =
        [Some(b"a0"), Some(b"a0"), Some(b"a2"), None, Some(b"a4"), Some(b"a4")];
    for (height, value) in expected.into_iter().enumerate() {
        assert_eq!(state(&store, b"a", height as u64).as_deref(), value, "as of {height}");
    }
    assert_eq!(state(&store, b"b", 0), None);
    assert_eq!(state(&store, b"empty", 4), Some(Vec::new()), "an empty value is a value");
    assert_eq!(store.read_latest(Space::State, b"a").expect("reads"), Some(b"a4".to_vec()));
    let rows = |height| store.scan(Space::State, &KeyRange::all(), height, 9).expect("scans");
    assert_eq!(rows(0), vec![(b"a".to_vec(), b"a0".to_vec())]);
    assert_eq!(
        rows(3),
        vec![(b"b".to_vec(), b"b1".to_vec()), (b"empty".to_vec(), vec![])],
        "a removed key is not in a scan"
    );
}

fn many_keys_are_read_as_one_by_one<B: Bench>(bench: &B) {
    let store = bench.empty();
    // More than an engine asks for at once.
    let keys: Vec<Vec<u8>> = (0..1_100_u32).map(|key| key.to_be_bytes().to_vec()).collect();
    for height in 0..3_u32 {
        let mut writes = Vec::new();
        for key in keys.iter().skip(height as usize).step_by(3) {
            writes.push(put(key, &[height as u8]));
            writes.push(Write::put(Space::Log, key.clone(), vec![height as u8]));
        }
        if height == 2 {
            writes.push(Write::remove(Space::State, keys[0].clone()));
        }
        write_height(&store, height.into(), writes);
    }
    let mut asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    asked.extend([&b"none"[..], b"", &keys[1], &keys[1]]);
    for space in [Space::State, Space::Log] {
        for height in 0..4 {
            let together = store.read_many(space, &asked, height).expect("reads");
            let alone: Vec<_> =
                asked.iter().map(|key| store.read(space, key, height).expect("reads")).collect();
            assert_eq!(together, alone, "{space} as of {height}");
        }
        assert_eq!(store.read_many(space, &[], 0).expect("reads"), Vec::<Option<Vec<u8>>>::new());
    }
}

fn keys_that_contain_one_another_do_not_mix<B: Bench>(bench: &B) {
    let store = bench.empty();
    let keys: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\x01",
        b"a",
        b"a\0",
        b"a\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"ab",
        b"\xff",
    ];
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let writes = keys.iter().map(|key| put(key, &[b"value of ", *key].concat())).collect();
    write_height(&store, 0, writes);
    for key in keys {
        assert_eq!(state(&store, key, 0), Some([b"value of ", key].concat()), "{key:?}");
    }
    let rows = store.scan(Space::State, &KeyRange::all(), 0, 99).expect("scans");
    let found: Vec<&[u8]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(found, sorted);
    for prefix in [&b"a"[..], b"\0", b"a\0", b"\xff"] {
        let rows = store.scan(Space::State, &KeyRange::prefix(prefix), 0, 99).expect("scans");
        let found: Vec<&[u8]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
        let expected: Vec<&[u8]> =
            sorted.iter().copied().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(found, expected, "prefix {prefix:?}");
    }
}

fn scans_are_ordered_bounded_and_continue<B: Bench>(bench: &B) {
    let store = bench.empty();
    let mut writes = Vec::new();
    for number in (0..50u8).rev() {
        writes.push(put(&[number], &[number]));
        writes.push(Write::put(Space::Log, vec![number], vec![number]));
    }
    write_height(&store, 0, writes);
    for space in [Space::State, Space::Log] {
        let mut range = KeyRange { start: vec![5], end: Some(vec![45]) };
        let mut found = Vec::new();
        loop {
            let rows = store.scan(space, &range, 0, 7).expect("scans");
            assert!(rows.len() <= 7);
            let Some((last, _)) = rows.last() else { break };
            range = range.after(last);
            found.extend(rows.into_iter().map(|(key, _)| key[0]));
        }
        assert_eq!(found, (5..45).collect::<Vec<u8>>());
        assert_eq!(store.scan(space, &KeyRange::all(), 0, 0).expect("scans"), vec![]);
        let backward = KeyRange { start: vec![9], end: Some(vec![3]) };
        assert_eq!(store.scan(space, &backward, 0, 9).expect("scans"), vec![]);
    }
}

fn a_scan_passes_over_many_versions<B: Bench>(bench: &B) {
    let store = bench.empty();
    for height in 0..60u64 {
        let value = height.to_be_bytes();
        write_height(&store, height, vec![put(b"hot", &value), put(b"warm", &value)]);
    }
    for height in [0, 10, 30, 59] {
        let rows = store.scan(Space::State, &KeyRange::all(), height, 9).expect("scans");
        let value = height.to_be_bytes().to_vec();
        assert_eq!(rows, vec![(b"hot".to_vec(), value.clone()), (b"warm".to_vec(), value)]);
    }
}

fn heights_follow_one_another<B: Bench>(bench: &B) {
    let store = bench.empty();
    let next = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::NotNext { .. })), "{result:?}");
    };
    next(store.stage(1, vec![]));
    next(store.flip(applied(1)));
    assert!(matches!(store.flip(applied(0)), Err(StoreError::NotStaged(0))));
    write_height(&store, 0, vec![put(b"key", b"0")]);
    next(store.stage(0, vec![]));
    next(store.stage(2, vec![]));
    next(store.flip(applied(2)));
    assert!(matches!(store.flip(applied(1)), Err(StoreError::NotStaged(1))));
    store.flip(applied(0)).expect("flipping to what is applied is accepted");
    let other = Applied { block: [9; 32], ..applied(0) };
    next(store.flip(other));
    assert_eq!(store.applied().expect("reads"), Some(applied(0)));
}

fn staging_again_is_the_same_as_staging_once<B: Bench>(bench: &B) {
    let store = bench.empty();
    let rows = || vec![put(b"key", b"value"), Write::put(Space::Log, *b"entry", *b"bytes")];
    store.stage(0, rows()).expect("stages");
    store.stage(0, rows()).expect("stages again");
    let store = bench.reopen(store);
    store.stage(0, rows()).expect("stages again after reopening");
    store.flip(applied(0)).expect("flips");
    assert_eq!(state(&store, b"key", 0), Some(b"value".to_vec()));
    let rows = store.scan(Space::State, &KeyRange::all(), 0, 9).expect("scans");
    assert_eq!(rows.len(), 1);
}

fn other_content_replaces_what_was_staged<B: Bench>(bench: &B) {
    let store = bench.empty();
    write_height(&store, 0, vec![put(b"old", b"0"), Write::put(Space::Log, *b"old", *b"0")]);
    let rows = vec![
        put(b"old", b"wrong"),
        put(b"stray", b"wrong"),
        Write::put(Space::Log, *b"stray", *b"wrong"),
    ];
    store.stage(1, rows).expect("stages");
    let store = bench.reopen(store);
    store.stage(1, vec![put(b"key", b"right")]).expect("stages other content");
    store.flip(applied(1)).expect("flips");
    assert_eq!(state(&store, b"stray", 1), None);
    assert_eq!(state(&store, b"old", 1), Some(b"0".to_vec()));
    assert_eq!(state(&store, b"key", 1), Some(b"right".to_vec()));
    assert_eq!(store.read_latest(Space::Log, b"stray").expect("reads"), None);
    assert_eq!(store.read_latest(Space::Log, b"old").expect("reads"), Some(b"0".to_vec()));
}

fn everything_survives_reopening<B: Bench>(bench: &B) {
    let mut store = bench.empty();
    for height in 0..5u64 {
        let value = height.to_be_bytes();
        let mut rows = vec![put(b"key", &value)];
        rows.push(Write::put(Space::Headers, value, *b"header"));
        write_height(&store, height, rows);
        let epoch = store.fence();
        store = bench.reopen(store);
        assert!(store.fence() > epoch, "whoever opens takes a new epoch");
        assert_eq!(store.applied().expect("reads"), Some(applied(height)));
        for earlier in 0..=height {
            let value = earlier.to_be_bytes();
            assert_eq!(state(&store, b"key", earlier), Some(value.to_vec()));
            let header = store.read_latest(Space::Headers, &value).expect("reads");
            assert_eq!(header, Some(b"header".to_vec()));
        }
    }
}

fn an_older_holder_is_fenced<B: Bench>(bench: &B) {
    let older = bench.empty();
    write_height(&older, 0, vec![put(b"key", b"0")]);
    older.stage(1, vec![put(b"key", b"1")]).expect("stages");
    let newer = bench.take_over(&older);
    assert!(newer.fence() > older.fence());
    let fenced = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Fenced { .. })), "{result:?}");
    };
    fenced(older.flip(applied(1)));
    fenced(older.stage(1, vec![put(b"key", b"2")]));
    fenced(older.attach(0, vec![Write::put(Space::Finality, *b"0", *b"certificate")]));
    assert_eq!(newer.applied().expect("reads"), Some(applied(0)));
    newer.stage(1, vec![put(b"key", b"1")]).expect("the newer holder goes on");
    newer.flip(applied(1)).expect("flips");
    assert_eq!(state(&newer, b"key", 1), Some(b"1".to_vec()));
    assert_eq!(state(&older, b"key", 0), Some(b"0".to_vec()), "an older holder may read");
}

fn limits_are_enforced_before_anything_is_written<B: Bench>(bench: &B) {
    let store = bench.empty();
    let refused = [
        put(&vec![1; MAX_KEY], b"the height does not fit into the key"),
        put(&vec![0; MAX_KEY / 2], b"zero bytes count twice"),
        Write::put(Space::Log, vec![1; MAX_KEY + 1], *b""),
        put(b"key", &vec![0; MAX_VALUE + 1]),
        Write::put(Space::Log, *b"key", vec![0; MAX_VALUE + 1]),
        Write::remove(Space::Log, *b"key"),
    ];
    for write in refused {
        let space = write.space;
        let result = store.stage(0, vec![put(b"first", b"value"), write]);
        assert!(
            matches!(
                result,
                Err(StoreError::KeyTooLarge { .. }
                    | StoreError::ValueTooLarge { .. }
                    | StoreError::Unsupported { .. })
            ),
            "{space}: {result:?}"
        );
        assert!(matches!(store.flip(applied(0)), Err(StoreError::NotStaged(0))));
    }
    let commitment = vec![0; MAX_COMMITMENT + 1];
    let result = store.flip(Applied { commitment, ..applied(0) });
    assert!(matches!(result, Err(StoreError::CommitmentTooLarge(_))));
    let longest = vec![1; MAX_KEY - 10];
    let rows = vec![
        put(&longest, &vec![7; MAX_VALUE]),
        Write::put(Space::Log, vec![1; MAX_KEY], vec![7; MAX_VALUE]),
    ];
    write_height(&store, 0, rows);
    assert_eq!(state(&store, &longest, 0), Some(vec![7; MAX_VALUE]));
}

fn a_height_larger_than_a_transaction_is_staged<B: Bench>(bench: &B) {
    let store = bench.empty();
    let count = 3 * MAX_TRANSACTION / MAX_VALUE;
    let rows = (0..count as u32)
        .map(|number| put(&number.to_be_bytes(), &vec![number as u8; MAX_VALUE]))
        .collect();
    write_height(&store, 0, rows);
    for number in 0..count as u32 {
        let value = state(&store, &number.to_be_bytes(), 0).expect("is there");
        assert!(value.len() == MAX_VALUE && value.iter().all(|byte| *byte == number as u8));
    }
}

fn large_values_are_split<B: Bench>(bench: &B) {
    let store = bench.empty();
    let sizes = [0, 1, MAX_VALUE - 5, MAX_VALUE - 4, MAX_VALUE - 3, 2 * MAX_VALUE, 1_000_000];
    let value = |size: usize| -> Vec<u8> { (0..size).map(|at| (at % 251) as u8).collect() };
    let mut rows = Vec::new();
    for size in sizes {
        let key = size.to_be_bytes();
        rows.extend(large::writes(Space::Packages, &key, &value(size)).expect("fits"));
    }
    write_height(&store, 0, rows);
    for size in sizes {
        let read = large::read(&store, Space::Packages, &size.to_be_bytes(), 0).expect("reads");
        assert_eq!(read, Some(value(size)), "{size} bytes");
        for offset in [0, 1, MAX_VALUE - 5, MAX_VALUE - 4, MAX_VALUE, 2 * MAX_VALUE - 4] {
            for length in [0, 1, 100, MAX_VALUE + 7] {
                let part = large::read_part(
                    &store,
                    Space::Packages,
                    &size.to_be_bytes(),
                    0,
                    offset,
                    length,
                );
                if length == 0 || offset + length <= size {
                    let expected = value(size).get(offset..offset + length).map(<[u8]>::to_vec);
                    assert_eq!(part.expect("reads"), expected.unwrap_or_default());
                } else {
                    assert!(part.is_err(), "{offset}+{length} of {size}");
                }
            }
        }
    }
    assert_eq!(large::read(&store, Space::Packages, b"none", 0).expect("reads"), None);
}

fn rows_are_attached_to_applied_heights_only<B: Bench>(bench: &B) {
    let store = bench.empty();
    let row = |value: &[u8]| vec![Write::put(Space::Finality, *b"1", value)];
    assert!(matches!(store.attach(0, row(b"early")), Err(StoreError::NotNext { .. })));
    write_height(&store, 0, vec![]);
    write_height(&store, 1, vec![]);
    assert!(matches!(store.attach(2, row(b"early")), Err(StoreError::NotNext { .. })));
    let state = vec![put(b"key", b"value")];
    assert!(matches!(store.attach(1, state), Err(StoreError::Unsupported { .. })));
    store.attach(1, row(b"certificate")).expect("attaches");
    let store = bench.reopen(store);
    let found = store.read_latest(Space::Finality, b"1").expect("reads");
    assert_eq!(found, Some(b"certificate".to_vec()));
    assert_eq!(store.applied().expect("reads"), Some(applied(1)));
}

fn what_is_old_leaves_and_nothing_else<B: Bench>(bench: &B) {
    let store = bench.empty();
    let block = |at: u8| Write::put(Space::Blocks, [at], vec![at; 9]);
    for height in 0..4 {
        write_height(&store, height, vec![block(height as u8), put(b"key", b"value")]);
    }
    let staged = vec![block(4), put(b"key", b"next")];
    store.stage(4, staged.clone()).expect("stages");
    let range = KeyRange { start: vec![], end: Some(vec![2]) };
    store.prune(Space::Blocks, Old::Range(&range)).expect("prunes");
    store.prune(Space::Blocks, Old::Rows(&[vec![3], vec![9]])).expect("prunes");
    let left = |store: &B::Engine| {
        let rows = store.scan(Space::Blocks, &KeyRange::all(), 9, 9).expect("scans");
        rows.into_iter().map(|(key, _)| key[0]).collect::<Vec<u8>>()
    };
    assert_eq!(left(&store), [2]);
    // What is not applied stays, and is flipped as if nothing had happened.
    store.stage(4, staged).expect("stages the same again");
    store.flip(applied(4)).expect("flips");
    store.compact(Space::Blocks).expect("compacts");
    let store = bench.reopen(store);
    assert_eq!(left(&store), [2, 4]);
    assert_eq!(state(&store, b"key", 4), Some(b"next".to_vec()));
    let none = KeyRange { start: vec![3], end: Some(vec![3]) };
    store.prune(Space::Blocks, Old::Range(&none)).expect("takes an empty range");
    assert_eq!(left(&store), [2, 4]);
    let rows = store.prune(Space::State, Old::Range(&KeyRange::all()));
    assert!(matches!(rows, Err(StoreError::Unsupported { .. })));
    let versions = |height| Old::Versions { from: b"", height, limit: 9 };
    let plain = store.prune(Space::Blocks, versions(4));
    assert!(matches!(plain, Err(StoreError::Unsupported { .. })));
    let early = store.prune(Space::State, versions(5));
    assert!(matches!(early, Err(StoreError::NotNext { .. })));
    let newer = bench.take_over(&store);
    assert!(matches!(
        store.prune(Space::Blocks, Old::Range(&KeyRange::all())),
        Err(StoreError::Fenced { .. })
    ));
    assert_eq!(left(&newer), [2, 4]);
}

fn old_versions_leave_key_by_key<B: Bench>(bench: &B) {
    let store = bench.empty();
    // Keys that contain one another and zero bytes, more versions than a page.
    let keys: [&[u8]; 5] = [b"a", b"a\0", b"ab", b"gone", b"z"];
    for height in 0..40 {
        let mut rows: Vec<Write> = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            if height % (number as u64 + 1) == 0 && !(*key == b"gone" && height > 20) {
                rows.push(put(key, &[height as u8]));
            }
        }
        if height == 21 {
            rows.push(Write::remove(Space::State, *b"gone"));
        }
        write_height(&store, height, rows);
    }
    let all = |store: &B::Engine, height| {
        let rows = store.scan(Space::State, &KeyRange::all(), height, 99).expect("scans");
        let single = keys.map(|key| state(store, key, height));
        (rows, single)
    };
    let before: Vec<_> = (30..40).map(|height| all(&store, height)).collect();
    let (mut from, mut rows, mut rounds) = (Some(Vec::new()), 0, 0);
    while let Some(key) = from {
        let old = Old::Versions { from: &key, height: 30, limit: 3 };
        let pruned = store.prune(Space::State, old).expect("prunes");
        (from, rows, rounds) = (pruned.next, rows + pruned.rows, rounds + 1);
    }
    assert!(rounds > 1, "one round took everything");
    // 31 of `a` but one, 16 of `a\0` but one, 11 of `ab` but one, 6 of `gone` and
    // its removal, 7 of `z` but one.
    assert_eq!(rows, 30 + 15 + 10 + 7 + 6);
    let store = bench.reopen(store);
    let after: Vec<_> = (30..40).map(|height| all(&store, height)).collect();
    assert_eq!(after, before);
    assert_eq!(state(&store, b"a", 29), None, "what was seen only before is gone");
    let again = Old::Versions { from: b"", height: 30, limit: 999 };
    assert_eq!(store.prune(Space::State, again).expect("prunes").rows, 0);
}
