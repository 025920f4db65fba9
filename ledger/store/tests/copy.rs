//! A record moves between the engines: on a real cluster if there is one.

mod bed;

use bed::Bed;
use hufu_store::copy::{Copied, Portable, Work, copy};
use hufu_store::{
    Applied, EmbeddedStore, FoundationStore, KeyRange, Space, Store, StoreError, Write,
};

fn applied(height: u64) -> Applied {
    Applied { height, block: [height as u8; 32], commitment: vec![height as u8; 3] }
}

/// Rows of a height: large and small ones in every space, and a removal.
fn rows(height: u64) -> Vec<Write> {
    let mut rows = Vec::new();
    for space in Space::ALL {
        for number in 0..12_u8 {
            let key = if space.is_versioned() {
                vec![number, 0, 1]
            } else {
                [&height.to_be_bytes()[..], &[number]].concat()
            };
            let size = if number == 0 { 80_000 } else { usize::from(number) };
            rows.push(Write::put(space, key, vec![height as u8; size]));
        }
        if space.is_versioned() && height % 3 == 2 {
            rows.push(Write::remove(space, vec![200]));
        }
    }
    rows
}

fn fill(store: &dyn Store, heights: u64) {
    for height in 0..heights {
        store.stage(height, rows(height)).unwrap();
        store.flip(applied(height)).unwrap();
    }
    store.attach(0, vec![Write::put(Space::Finality, *b"later", *b"certificate")]).unwrap();
    // Left behind: the node died before the flip.
    store.stage(heights, rows(heights)).unwrap();
}

/// All that a store answers, as of every height.
fn answers(store: &dyn Store, heights: u64) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    (0..heights)
        .flat_map(|height| {
            Space::ALL.map(|space| store.scan(space, &KeyRange::all(), height, 9_999).unwrap())
        })
        .collect()
}

fn untold(_: Work, _: u64, _: u64) {}

fn check_moved(source: &dyn Portable, target: &dyn Portable, heights: u64) -> Copied {
    let copied = copy(source, target, &mut untold).unwrap();
    assert_eq!(copied.applied, applied(heights - 1));
    assert!(!copied.was_there);
    assert_eq!(target.applied().unwrap(), Some(applied(heights - 1)));
    assert_eq!(answers(target, heights), answers(source, heights));
    let again = copy(source, target, &mut untold).unwrap();
    assert_eq!(again, Copied { was_there: true, ..copied.clone() });
    copied
}

#[test]
fn a_record_moves_to_a_cluster_and_back_and_goes_on_there() {
    let bed = Bed::any();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = EmbeddedStore::open(path("state")).unwrap();
    fill(&source, 5);
    let options = bed.options();
    let there = check_moved(&source, &FoundationStore::open_target(&options).unwrap(), 5);

    let far = FoundationStore::open(&options).unwrap();
    far.stage(5, rows(5)).unwrap();
    far.flip(applied(5)).unwrap();
    assert!(matches!(
        copy(&source, &far, &mut untold),
        Err(StoreError::Occupied { height: Some(5) })
    ));
    drop(far);

    let far = FoundationStore::open_reader(&options).unwrap();
    let back = check_moved(&far, &EmbeddedStore::open_target(path("back")).unwrap(), 6);
    assert!(back.rows > there.rows && back.bytes > there.bytes, "{back:?} {there:?}");
    let near = EmbeddedStore::open(path("back")).unwrap();
    near.stage(6, rows(6)).unwrap();
    near.flip(applied(6)).unwrap();
}

/// The store that a copy goes to dies after so many pages.
struct Dying<'a> {
    store: &'a dyn Portable,
    pages: std::sync::atomic::AtomicUsize,
}

impl Store for Dying<'_> {
    fn fence(&self) -> u64 {
        self.store.fence()
    }
    fn applied(&self) -> Result<Option<Applied>, StoreError> {
        self.store.applied()
    }
    fn stage(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        self.store.stage(height, writes)
    }
    fn flip(&self, applied: Applied) -> Result<(), StoreError> {
        self.store.flip(applied)
    }
    fn attach(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        self.store.attach(height, writes)
    }
    fn read(&self, space: Space, key: &[u8], height: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read(space, key, height)
    }
    fn read_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        height: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.store.read_many(space, keys, height)
    }
    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<hufu_store::Row>, StoreError> {
        self.store.scan(space, range, height, limit)
    }
    fn prune(
        &self,
        space: Space,
        old: hufu_store::Old<'_>,
    ) -> Result<hufu_store::Pruned, StoreError> {
        self.store.prune(space, old)
    }
}

impl Portable for Dying<'_> {
    fn stored(
        &self,
        space: Space,
        after: Option<&[u8]>,
        height: u64,
        enough: usize,
    ) -> Result<hufu_store::copy::Page, StoreError> {
        self.store.stored(space, after, height, enough)
    }
    fn stored_row(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.stored_row(space, key)
    }
    fn unfinished(&self) -> Result<Option<hufu_store::copy::Progress>, StoreError> {
        self.store.unfinished()
    }
    fn begin_copy(&self, progress: &hufu_store::copy::Progress) -> Result<(), StoreError> {
        self.store.begin_copy(progress)
    }
    fn add(
        &self,
        space: Space,
        rows: Vec<hufu_store::Row>,
        progress: &hufu_store::copy::Progress,
    ) -> Result<(), StoreError> {
        use std::sync::atomic::Ordering;
        if self.pages.load(Ordering::Relaxed) == 0 {
            return Err(StoreError::Poisoned);
        }
        self.pages.fetch_sub(1, Ordering::Relaxed);
        self.store.add(space, rows, progress)
    }
    fn finish_copy(&self, applied: Applied) -> Result<(), StoreError> {
        self.store.finish_copy(applied)
    }
}

/// Copies with an end in the middle, again and again, until it is done; how often.
fn copy_in_bits<T: Portable>(source: &dyn Portable, open: impl Fn() -> T, pages: usize) -> usize {
    for attempt in 0.. {
        let store = open();
        let target = Dying { store: &store, pages: pages.into() };
        let mut resumed = None;
        let done = copy(source, &target, &mut |work, rows, _| {
            if work == Work::Resumed {
                resumed = Some(rows);
            }
        });
        match done {
            Ok(_) => return attempt,
            Err(StoreError::Poisoned) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(resumed.is_some(), attempt > 0, "attempt {attempt}");
        assert_eq!(store.applied().unwrap(), None, "nothing is visible before its end");
    }
    unreachable!()
}

#[test]
fn a_copy_that_was_interrupted_goes_on_where_it_was() {
    let bed = Bed::any();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = EmbeddedStore::open(path("state")).unwrap();
    fill(&source, 15);

    let options = bed.options();
    let attempts = copy_in_bits(&source, || FoundationStore::open_target(&options).unwrap(), 4);
    assert!(attempts >= 4, "{attempts}");
    let far = FoundationStore::open(&options).unwrap();
    assert_eq!(answers(&far, 15), answers(&source, 15));

    let open = || EmbeddedStore::open_target(path("back")).unwrap();
    assert_eq!(copy_in_bits(&far, open, 4), attempts);
    let near = EmbeddedStore::open(path("back")).unwrap();
    assert_eq!(answers(&near, 15), answers(&source, 15));
}

#[test]
fn nobody_uses_half_a_copy_and_one_of_an_earlier_height_is_made_anew() {
    let bed = Bed::any();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = EmbeddedStore::open(path("state")).unwrap();
    fill(&source, 9);
    let options = bed.options();
    let half = |store: &dyn Portable| {
        let target = Dying { store, pages: 3.into() };
        copy(&source, &target, &mut untold).unwrap_err();
    };
    half(&FoundationStore::open_target(&options).unwrap());
    half(&EmbeddedStore::open_target(path("back")).unwrap());
    let refused = |error: Option<StoreError>| {
        let error = error.unwrap();
        assert!(error.to_string().contains("run `hufu store copy` again"), "{error}");
    };
    refused(FoundationStore::open(&options).err());
    refused(EmbeddedStore::open(path("back")).err());

    // The source goes on, with other rows than those that were staged.
    source.stage(9, vec![Write::put(Space::State, *b"new", *b"new")]).unwrap();
    source.flip(applied(9)).unwrap();
    let told = |target: &dyn Portable| {
        let mut resumed = false;
        copy(&source, target, &mut |work, _, _| resumed |= work == Work::Resumed).unwrap();
        assert!(!resumed);
        assert_eq!(answers(target, 10), answers(&source, 10));
    };
    told(&FoundationStore::open_target(&options).unwrap());
    told(&EmbeddedStore::open_target(path("back")).unwrap());
}

#[test]
fn what_has_something_else_is_refused() {
    let bed = Bed::any();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = EmbeddedStore::open(path("state")).unwrap();
    let options = bed.options();
    let target = FoundationStore::open_target(&options).unwrap();
    assert!(matches!(copy(&source, &target, &mut untold), Err(StoreError::NothingToCopy)));
    fill(&source, 3);

    let other = EmbeddedStore::open(path("other")).unwrap();
    fill(&other, 2);
    let refused = copy(&source, &other, &mut untold);
    assert!(matches!(refused, Err(StoreError::Occupied { height: Some(1) })), "{refused:?}");
    // A node died there before its first height was visible.
    target.stage(0, rows(0)).unwrap();
    let refused = copy(&source, &target, &mut untold);
    assert!(matches!(refused, Err(StoreError::Occupied { height: None })), "{refused:?}");

    // The same height with another row is no copy.
    let wrong = EmbeddedStore::open(path("wrong")).unwrap();
    for height in 0..3 {
        let mut rows = rows(height);
        rows.push(Write::put(Space::Log, [9, height as u8], *b""));
        wrong.stage(height, rows).unwrap();
        wrong.flip(applied(height)).unwrap();
    }
    let refused = copy(&source, &wrong, &mut untold);
    let finality = StoreError::Different { space: Space::Finality }.to_string();
    assert_eq!(refused.unwrap_err().to_string(), finality);
}

#[test]
fn a_reader_follows_the_writer_and_writes_nothing() {
    let bed = Bed::any();
    let options = bed.options();
    let nothing = FoundationStore::open_reader(&options).err().unwrap();
    assert!(matches!(nothing, StoreError::NothingToRead), "{nothing}");
    let writer = FoundationStore::open(&options).unwrap();
    let reader = FoundationStore::open_reader(&options).unwrap();
    assert_eq!((reader.applied().unwrap(), reader.refresh().unwrap()), (None, false));
    for height in 0..4 {
        writer.stage(height, rows(height)).unwrap();
        assert!(!reader.refresh().unwrap());
        writer.flip(applied(height)).unwrap();
        // Until it asks, it is where it was.
        let before = height.checked_sub(1).map(applied);
        assert_eq!(reader.applied().unwrap(), before);
        assert_eq!(reader.read_latest(Space::State, &[1, 0, 1]).unwrap().is_some(), height > 0);
        assert!(reader.refresh().unwrap());
        assert_eq!(answers(&reader, height + 1), answers(&writer, height + 1));
    }
    for refused in [
        reader.stage(4, rows(4)).unwrap_err(),
        reader.flip(applied(4)).unwrap_err(),
        reader.attach(0, vec![]).unwrap_err(),
    ] {
        assert!(matches!(refused, StoreError::ReadOnly), "{refused}");
    }
    // It took nothing from the writer.
    writer.stage(4, rows(4)).unwrap();
    writer.flip(applied(4)).unwrap();
    assert_eq!(reader.epoch_now().unwrap(), writer.fence());
}
