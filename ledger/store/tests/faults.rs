//! What an embedded store is after its process died, its journal was torn, its
//! disk was full, or its files were damaged.

mod crash;

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crash::{Place, applied, check, go_on, lines, rows, say, spawn};
use hufu_store::{EmbeddedStore, Space, Store, StoreError};
use tempfile::TempDir;

const PLACE: &str = "HUFU_STORE_FAULT_DIRECTORY";

impl Place for TempDir {
    fn open(&self) -> Box<dyn Store> {
        Box::new(EmbeddedStore::open(self.path()).unwrap())
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![(PLACE, self.path().to_str().unwrap().to_owned())]
    }
}

/// Not a test of its own: what the other tests' child processes do.
#[test]
fn child() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let task = std::env::var(crash::TASK).unwrap_or_default();
    let store = EmbeddedStore::open(PathBuf::from(place)).unwrap();
    if task != "fill" {
        return crash::perform(&task, &store);
    }
    for height in 0.. {
        let result =
            store.stage(height, rows(height, 40)).and_then(|()| store.flip(applied(height)));
        if let Err(error) = result {
            let full = matches!(error, StoreError::Full(_));
            let after = store.stage(height, rows(height, 1));
            let poisoned = matches!(after, Err(StoreError::Poisoned));
            let reads = store.read_latest(Space::State, b"counter").is_ok();
            return say(&format!("error full={full} poisoned={poisoned} reads={reads}"));
        }
        say(&format!("flipped {height}"));
    }
}

/// A directory whose process was killed between stage and flip of height 5.
fn killed_after_stage() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    crash::kill_after_stage(&directory);
    directory
}

fn journal(directory: &Path) -> PathBuf {
    let mut journals: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    journals.sort();
    journals.pop().unwrap()
}

/// Where the journal's last batch ends: the file itself is preallocated.
fn end_of_journal(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

#[test]
fn killed_between_stage_and_flip() {
    crash::killed_between_stage_and_flip(&tempfile::tempdir().unwrap());
}

#[test]
fn killed_at_any_point_of_a_run() {
    crash::killed_at_any_point_of_a_run(|| Box::new(tempfile::tempdir().unwrap()));
}

#[test]
fn a_journal_cut_anywhere_in_its_last_height_opens_at_the_flip_before() {
    for cut in [1, 3, 20, 5_000, 500_000, 1_500_000] {
        let directory = killed_after_stage();
        let path = journal(directory.path());
        let end = end_of_journal(&path);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(end - cut).unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        check(&store, 4);
        go_on(&store, 5);
    }
}

#[test]
fn a_journal_garbled_in_its_last_height_opens_at_the_flip_before() {
    // In the last end marker, in a value, and in an earlier batch of the same
    // height: later pages can reach the disk before earlier ones.
    for back in [2, 9, 1_000, 60_000, 1_200_000] {
        let directory = killed_after_stage();
        let path = journal(directory.path());
        let at = end_of_journal(&path) - back;
        let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte[0] ^ 0x55]).unwrap();
        drop(file);
        let store = EmbeddedStore::open(directory.path()).unwrap();
        assert!(store.recovery().dropped_batches <= 3);
        check(&store, 4);
        go_on(&store, 5);
        drop(store);
        check(&EmbeddedStore::open(directory.path()).unwrap(), 5);
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_flipped_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    // A limit on the size of files stands in for a full disk: above the
    // journal's preallocated 64 MiB (in blocks of 512 bytes), and without the
    // signal that would end the process.
    let limit = "trap '' XFSZ; ulimit -f 135000; exec \"$@\"";
    let mut child = spawn(&directory, "fill", Some(limit));
    let said: Vec<String> = lines(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    let (last, flips) = said.split_last().unwrap();
    assert_eq!(last, "error full=true poisoned=true reads=true");
    let height = flips.len() as u64 - 1;
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let found = store.applied().unwrap().unwrap().height;
    // The flip that failed may have reached the file before the flush failed.
    assert!(found == height || found == height + 1, "{found} after {height}");
    check(&store, found);
    go_on(&store, found + 1);
}

#[test]
fn a_damaged_table_is_reported_as_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut height = 0;
    let tables = || -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![directory.path().join("keyspaces")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.parent().is_some_and(|parent| parent.ends_with("tables"))
                    && path.metadata().is_ok_and(|metadata| metadata.len() > 1_000_000)
                {
                    found.push(path);
                }
            }
        }
        found
    };
    let store = EmbeddedStore::open(directory.path()).unwrap();
    while tables().is_empty() {
        store.stage(height, rows(height, 40)).unwrap();
        store.flip(applied(height)).unwrap();
        height += 1;
        assert!(height < 200, "no table was written");
    }
    drop(store);
    for table in tables() {
        let mut file = OpenOptions::new().write(true).open(table).unwrap();
        file.seek(SeekFrom::Start(500_000)).unwrap();
        file.write_all(&[0x55; 4_000]).unwrap();
    }
    let outcome = EmbeddedStore::open(directory.path()).and_then(|store| {
        for height in 0..height {
            for part in 0..40u64 {
                let key = [height.to_be_bytes(), part.to_be_bytes()].concat();
                let value = store.read_latest(Space::Blocks, &key)?;
                assert_eq!(value, Some(vec![height as u8; 50_000]), "wrong bytes were believed");
            }
        }
        Ok(())
    });
    assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "{outcome:?}");
}

#[test]
fn a_store_of_another_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    {
        let database = fjall::Database::builder(directory.path()).open().unwrap();
        let meta = database.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
        meta.insert("format", "hufu-store 9").unwrap();
    }
    let refused = EmbeddedStore::open(directory.path()).err().unwrap();
    assert!(matches!(&refused, StoreError::Format { found, .. } if found == "hufu-store 9"));
}
