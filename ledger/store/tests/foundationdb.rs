//! The FoundationDB engine behaves as a store must, on a real cluster if there
//! is one.

mod bed;

use std::collections::BTreeMap;
use std::path::Path;

use bed::Bed;
use hufu_store::conformance::{self, Bench};
use hufu_store::foundationdb::Options;
use hufu_store::limits::{MAX_KEY, MAX_VALUE};
use hufu_store::watched::{Watch, Watched};
use hufu_store::{Applied, FoundationStore, KeyRange, Space, Store, StoreError, Write};
use proptest::prelude::*;

/// Where a store is, to open it again.
pub struct Place(Options);

impl Watch for Place {}

type Held = Watched<FoundationStore, Place>;

fn open(options: Options) -> Held {
    Held { store: FoundationStore::open(&options).unwrap(), watch: Place(options) }
}

impl Bench for Bed {
    type Engine = Held;

    fn empty(&self) -> Held {
        open(self.options())
    }

    fn reopen(&self, held: Held) -> Held {
        let Held { store, watch: Place(options) } = held;
        drop(store);
        open(options)
    }

    fn take_over(&self, held: &Held) -> Held {
        open(held.watch.0.clone())
    }
}

fn applied(height: u64) -> Applied {
    Applied { height, block: [height as u8; 32], commitment: vec![height as u8] }
}

fn write(store: &FoundationStore, height: u64, writes: Vec<Write>) {
    store.stage(height, writes).unwrap();
    store.flip(applied(height)).unwrap();
}

#[test]
fn the_foundationdb_engine_conforms() {
    conformance::check(&Bed::any());
}

#[test]
fn the_largest_rows_are_accepted_under_the_longest_prefix() {
    let bed = Bed::any();
    let prefix = format!("{:x<64}", bed.options().prefix);
    let store = FoundationStore::open(&bed.options_of(&prefix)).unwrap();
    // A versioned key has two bytes for its end and eight for its height.
    let rows: Vec<Write> = (0..40_u8)
        .flat_map(|number| {
            let mut key = vec![7; MAX_KEY];
            key[0] = number + 1;
            let plain = Write::put(Space::Log, key.clone(), vec![1; MAX_VALUE]);
            key.truncate(MAX_KEY - 10);
            [plain, Write::put(Space::State, key, vec![2; MAX_VALUE])]
        })
        .collect();
    write(&store, 0, rows.clone());
    for row in rows {
        assert!(store.read(row.space, &row.key, 0).unwrap() == row.value);
    }
    for space in [Space::Log, Space::State] {
        let rows = store.scan(space, &KeyRange::all(), 0, 100).unwrap();
        assert_eq!(rows.len(), 40);
    }
}

#[test]
fn stores_of_two_prefixes_do_not_mix() {
    let bed = Bed::any();
    let prefix = bed.options().prefix;
    // One prefix begins with the other.
    let one = FoundationStore::open(&bed.options_of(&prefix)).unwrap();
    let other = FoundationStore::open(&bed.options_of(&format!("{prefix}.other"))).unwrap();
    for space in Space::ALL {
        assert_eq!(one.scan(space, &KeyRange::all(), 9, 9).unwrap(), vec![]);
    }
    write(&one, 0, vec![Write::put(Space::State, *b"key", *b"one")]);
    write(&other, 0, vec![Write::put(Space::State, *b"key", *b"other")]);
    let rows = |store: &FoundationStore| store.scan(Space::State, &KeyRange::all(), 9, 9).unwrap();
    assert_eq!(rows(&one), vec![(b"key".to_vec(), b"one".to_vec())]);
    assert_eq!(rows(&other), vec![(b"key".to_vec(), b"other".to_vec())]);
}

#[test]
fn who_was_fenced_reads_on_as_of_its_own_last_height() {
    let bed = Bed::any();
    let options = bed.options();
    let older = FoundationStore::open(&options).unwrap();
    write(&older, 0, vec![Write::put(Space::State, *b"key", *b"0")]);
    let newer = FoundationStore::open(&options).unwrap();
    let rows = vec![Write::put(Space::State, *b"key", *b"1"), Write::put(Space::Log, *b"1", *b"")];
    write(&newer, 1, rows);
    assert_eq!(older.applied().unwrap(), Some(applied(0)));
    assert_eq!(older.read_latest(Space::State, b"key").unwrap(), Some(b"0".to_vec()));
    assert_eq!(older.scan(Space::Log, &KeyRange::all(), 9, 9).unwrap(), vec![]);
    assert_eq!(newer.applied().unwrap(), Some(applied(1)));
    assert_eq!(newer.read_latest(Space::State, b"key").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn settings_that_cannot_be_used_are_refused_with_what_to_do() {
    let bed = Bed::any();
    let good = bed.options();
    let refused = |options: &Options| FoundationStore::open(options).err().unwrap();
    for prefix in ["", "with space", "ümlaut", "\u{1}", &"x".repeat(65)] {
        let error = refused(&Options { prefix: prefix.into(), ..good.clone() });
        assert!(matches!(&error, StoreError::Prefix { prefix: said } if said == prefix));
    }
    let error = refused(&Options { cluster_file: "/nowhere/fdb.cluster".into(), ..good.clone() });
    assert!(
        matches!(&error, StoreError::File { path, .. } if path == Path::new("/nowhere/fdb.cluster"))
    );
    assert!(error.to_string().contains("`[store]`"), "{error}");
    FoundationStore::open(&good).unwrap();
    let library = "/nowhere/libfdb_c.so";
    let error = refused(&Options { library: library.into(), ..good });
    assert!(matches!(error, StoreError::ClientInUse), "{error}");
}

fn operations() -> impl Strategy<Value = Vec<Vec<(u8, Option<u8>)>>> {
    let write = (0..12_u8, prop::option::weighted(0.8, any::<u8>()));
    prop::collection::vec(prop::collection::vec(write, 0..8), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_height_reads_as_it_was_written(heights in operations(), limit in 1..9_usize) {
        let bed = Bed::any();
        let store = FoundationStore::open(&bed.options()).unwrap();
        // What every height's state is, by the rule.
        let mut states = Vec::<BTreeMap<Vec<u8>, Vec<u8>>>::new();
        for (height, writes) in heights.iter().enumerate() {
            let mut state = states.last().cloned().unwrap_or_default();
            // One value for each key.
            let writes: BTreeMap<_, _> = writes.iter().copied().collect();
            let writes = writes.into_iter().map(|(number, value)| {
                let key: Vec<u8> = [&[0; 3][..usize::from(number % 3)], &[number]].concat();
                let value = value.map(|value| vec![value; usize::from(value)]);
                match value.clone() {
                    Some(value) => state.insert(key.clone(), value),
                    None => state.remove(&key),
                };
                Write { space: Space::State, key, value }
            });
            write(&store, height as u64, writes.collect());
            states.push(state);
        }
        for (height, state) in states.into_iter().enumerate() {
            let (mut range, mut found) = (KeyRange::all(), Vec::new());
            loop {
                let rows = store.scan(Space::State, &range, height as u64, limit).unwrap();
                prop_assert!(rows.len() <= limit);
                let Some((last, _)) = rows.last() else { break };
                range = range.after(last);
                found.extend(rows);
            }
            prop_assert_eq!(found, state.into_iter().collect::<Vec<_>>());
        }
    }
}
