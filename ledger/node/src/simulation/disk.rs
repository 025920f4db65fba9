//! A node's store that dies when it is told to, and what a power failure leaves
//! of it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hufu_consensus::testing::Random;
use hufu_store::watched::{Asked, Watch, Watched};
use hufu_store::{EmbeddedStore, Store, StoreError};

/// The disk brings whole pages down, in any order.
const PAGE: u64 = 4096;
/// No record in the journal has this many zeros in a row; the file is
/// preallocated with them.
const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// The directory of one node's store; it outlives the node.
pub struct Disk {
    directory: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// At how many more points the store goes on: before and after each write.
    points: Option<u64>,
    dead: bool,
    /// The journal, and how many of its bytes are on the disk for certain.
    synced: (PathBuf, u64),
}

impl Disk {
    pub fn new(directory: PathBuf) -> Arc<Self> {
        let synced = (directory.clone(), 0);
        let state = State { points: None, dead: false, synced };
        Arc::new(Self { directory, state: Mutex::new(state) })
    }

    pub fn open(self: &Arc<Self>) -> Arc<dyn Store> {
        let store = EmbeddedStore::open(&self.directory).unwrap();
        let journal = newest_journal(&self.directory);
        let synced = end_of_journal(&journal, 0);
        *self.state() = State { points: None, dead: false, synced: (journal, synced) };
        Arc::new(Watched { store, watch: Mortal(self.clone()) })
    }

    /// Makes the store fail for good after so many points: before a write, when
    /// nothing of it is there, or after it, when nobody hears that it is.
    pub fn die_after(&self, points: u64) {
        self.state().points = Some(points);
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Does to the end of the journal, which was written and not synced, what a
    /// power failure may do. Returns whether there was such an end.
    ///
    /// The store must be closed.
    pub fn tear(&self, random: &mut Random) -> bool {
        // The node has never run.
        if !self.directory.exists() {
            return false;
        }
        let (journal, synced) = self.state().synced.clone();
        assert_eq!(journal, newest_journal(&self.directory), "a test writes less than a journal");
        let end = end_of_journal(&journal, synced);
        if end <= synced {
            return false;
        }
        let at = synced + random.below(end - synced);
        let mut file = OpenOptions::new().write(true).open(&journal).unwrap();
        let mut write = |bytes: &[u8]| {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(bytes).unwrap();
        };
        let page = (PAGE - at % PAGE).min(end - at) as usize;
        match random.below(4) {
            // The file did not grow.
            0 => file.set_len(at).unwrap(),
            // It grew, and its last pages did not arrive.
            1 => write(&vec![0; (end - at) as usize]),
            // Later pages arrived before an earlier one.
            2 => write(&vec![0; page]),
            // A sector is neither old nor new.
            _ => write(&(0..page.min(512)).map(|_| random.next() as u8).collect::<Vec<u8>>()),
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store of a node that dies when its disk says so.
struct Mortal(Arc<Disk>);

impl Watch for Mortal {
    fn write(&self, flips: bool, write: Asked<'_>) -> Result<(), StoreError> {
        let mut state = self.0.state();
        state.pass()?;
        write()?;
        state.pass()?;
        if flips {
            let (journal, synced) = &mut state.synced;
            *synced = end_of_journal(journal, *synced);
        }
        Ok(())
    }
}

impl State {
    fn pass(&mut self) -> Result<(), StoreError> {
        self.dead |= self.points == Some(0);
        self.points = self.points.map(|points| points.saturating_sub(1));
        if self.dead { Err(StoreError::Poisoned) } else { Ok(()) }
    }
}

fn newest_journal(directory: &Path) -> PathBuf {
    let journals = std::fs::read_dir(directory).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let number: u64 = path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()?;
        Some((number, path))
    });
    journals.max().unwrap().1
}

/// Where the last record at or after `from` ends; `from` when there is none.
fn end_of_journal(journal: &Path, from: u64) -> u64 {
    let mut file = File::open(journal).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    let (mut end, mut offset) = (from, from);
    let mut buffer = ZEROS;
    loop {
        let read = file.read(&mut buffer).unwrap();
        let part = &buffer[..read];
        if part == &ZEROS[..read] {
            return end;
        }
        let last = part.iter().rposition(|byte| *byte != 0).unwrap_or_default();
        end = offset + last as u64 + 1;
        offset += read as u64;
    }
}
