//! The double-sign guard: what stands between the engine and the vote key.
//!
//! A validator that signs two contradicting votes can help to fork the chain,
//! and is expelled for it. The engine's journal prevents that as long as it is
//! intact and one process uses it; restored backups, lost disks and a second
//! node started by mistake are what this guard is for. It does not trust the
//! journal and the journal does not know of it.
//!
//! Rules it keeps:
//! - **Durable before visible.** A vote's signature is recorded and synced
//!   (`fdatasync`) before it is handed out. One small append per vote. A
//!   signature that was made but not recorded never leaves this module.
//! - **One answer per question.** Asked again for a vote, also after a restart,
//!   it gives the recorded signature. ECDSA in a token is randomized, and peers
//!   take two different signatures on one vote for misbehaviour.
//! - **No contradiction.** In one view: one notarized block, one finalized
//!   block, and never both *nullify* and *finalize*.
//! - **No forgotten past.** Records older than [`WINDOW`] views may be dropped;
//!   then votes in those views are refused for ever.
//! - **Fenced.** A lock on a file beside it, held for life; a second process
//!   is refused. The file is bound to one key and one consortium; where there is
//!   one of another key, a member's former one, that of this key is in a
//!   directory beside it, named by the key.
//! - **Held after a restore.** Nothing is signed until the ledger has moved on
//!   from where the machine before may have voted (`guard/hold.rs`).
//! - **A failed write poisons.** After one, nothing is signed until the guard
//!   is opened again, because what the disk holds is then unknown.
//!
//! # File format
//!
//! ```text
//! header = "HUFUGRD1" ‖ public key (33) ‖ SHA-256 of the vote namespace (32) ‖ check
//! record = kind (1) ‖ epoch (8, big-endian) ‖ view (8) ‖ phase (1) ‖
//!          SHA-256 of the message (32) ‖ signature (64) ‖ check
//! check  = first 8 bytes of SHA-256 over what precedes it in the header or record
//! kind   = 1 a vote; 2 the floor: votes below (epoch, view) are refused
//! phase  = 1 notarize, 2 nullify, 3 finalize; 0 in a floor
//! ```
//!
//! Appends are synced one by one, so at most the last record can be torn, and
//! a torn record's vote was never handed out: it is cut off. Damage anywhere
//! else is [`GuardError::Corrupt`].

mod hold;
mod refusal;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hufu_proof::UnixMillis;

use crate::application::Round;
use crate::error::Error;
use crate::keys::{PublicKey, Signature};

pub use hold::{MARGIN, hold};
pub use refusal::{GuardError, Phase};

/// How many views before the latest one stay recorded at least.
pub const WINDOW: u64 = 1024;

const MAGIC: &[u8; 8] = b"HUFUGRD1";
const CHECK: usize = 8;
const HEADER: usize = 8 + 33 + 32 + CHECK;
const RECORD: usize = 1 + 8 + 8 + 1 + 32 + 64 + CHECK;
/// When the file is rewritten without the records that are no longer needed.
const COMPACT_AT: u64 = 2 * 1024 * 1024;

/// What is to be signed, as far as the guard cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Where.
    pub round: Round,
    /// The kind.
    pub phase: Phase,
    /// SHA-256 of the bytes to be signed.
    pub message: [u8; 32],
}

/// What was signed: message digest and signature.
type Signed = ([u8; 32], Signature);

/// See the module's documentation.
#[derive(Debug)]
pub struct Guard {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    header: [u8; HEADER],
    file: File,
    size: u64,
    votes: BTreeMap<Round, BTreeMap<Phase, Signed>>,
    floor: Round,
    /// When this validator was restored, until the ledger has moved on.
    restored_ms: Option<UnixMillis>,
    /// Where that is recorded.
    held: PathBuf,
    poisoned: bool,
    /// Held, not used: dropping it releases the fence.
    _lock: File,
}

impl Guard {
    /// Opens the guard of `key` in `directory`, or makes it.
    ///
    /// # Errors
    /// [`GuardError`] when it is held, foreign, damaged or not usable.
    pub fn open(directory: &Path, key: &PublicKey, namespace: &[u8]) -> Result<Self, GuardError> {
        // A hold is of the validator, whatever its key.
        let held = directory;
        let directory = &place(directory, key)?;
        std::fs::create_dir_all(directory).map_err(io(directory))?;
        let lock_path = directory.join("votes.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(GuardError::Held { path: lock_path }),
            Err(TryLockError::Error(source)) => {
                return Err(GuardError::Io { path: lock_path, source });
            }
        }
        let path = directory.join("votes");
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..41].copy_from_slice(key.as_bytes());
        header[41..73].copy_from_slice(&crate::sha256(namespace));
        let check = check(&header[..73]);
        header[73..].copy_from_slice(&check);
        let mut inner = Inner {
            file: OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
                .map_err(io(&path))?,
            path,
            header,
            size: 0,
            votes: BTreeMap::new(),
            floor: Round::default(),
            restored_ms: hold::read(held)?,
            held: held.to_owned(),
            poisoned: false,
            _lock: lock,
        };
        inner.load(directory)?;
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// Lets `sign` make a signature if `vote` contradicts nothing, records it,
    /// and returns it; or returns the signature recorded for this very vote.
    ///
    /// # Errors
    /// [`Error::Guard`], or whatever `sign` returns.
    pub fn sign(
        &self,
        vote: &Vote,
        sign: impl FnOnce() -> Result<Signature, Error>,
    ) -> Result<Signature, Error> {
        let mut inner = self.lock();
        if let Some(signature) = inner.check(vote)? {
            return Ok(signature);
        }
        let signature = sign()?;
        inner.append(&encode_vote(vote, &signature))?;
        inner.remember(vote, signature.clone());
        if inner.size >= COMPACT_AT {
            inner.compact()?;
        }
        Ok(signature)
    }

    /// Refuses for ever to vote in or below a view that is known to be
    /// finalized.
    ///
    /// # Errors
    /// [`GuardError`] when it cannot be recorded.
    pub fn raise_floor(&self, finalized: Round) -> Result<(), GuardError> {
        let mut inner = self.lock();
        let floor = Round { view: finalized.view.saturating_add(1), ..finalized };
        if floor <= inner.floor {
            return Ok(());
        }
        inner.usable()?;
        inner.append(&encode_floor(floor))?;
        inner.floor = floor;
        inner.votes = inner.votes.split_off(&floor);
        Ok(())
    }

    /// The latest round that it has a record of: of a vote, or of a floor that
    /// was raised because a view was final.
    pub fn latest(&self) -> Round {
        let inner = self.lock();
        let finalized = Round { view: inner.floor.view.saturating_sub(1), ..inner.floor };
        let voted = inner.votes.keys().next_back().copied();
        voted.into_iter().fold(finalized, std::cmp::max)
    }

    /// When this validator was restored, while it waits for the ledger to move on.
    pub fn restored_ms(&self) -> Option<UnixMillis> {
        self.lock().restored_ms
    }

    /// Hears of a block that is final in this round, and of its agreed time. Ends
    /// a hold; whether there is none any more.
    ///
    /// # Errors
    /// [`GuardError`] when it cannot be recorded.
    pub fn saw_final(&self, round: Round, block_ms: UnixMillis) -> Result<bool, GuardError> {
        let Some(restored_ms) = self.restored_ms() else { return Ok(true) };
        if !hold::is_later(block_ms, restored_ms) {
            return Ok(false);
        }
        // The floor first: without it, what was signed before is not known.
        self.raise_floor(Round { view: round.view.saturating_add(1), ..round })?;
        let mut inner = self.lock();
        hold::remove(&inner.held)?;
        inner.restored_ms = None;
        tracing::info!(
            epoch = round.epoch,
            view = round.view,
            "restored: the ledger has moved on, this validator votes again"
        );
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock is held leaves the state as it was before the
        // vote, or poisoned.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn load(&mut self, directory: &Path) -> Result<(), GuardError> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(io(&self.path))?;
        // Nothing was ever signed before the header was synced.
        if bytes.len() < HEADER {
            self.file.set_len(0).map_err(io(&self.path))?;
            self.append(&self.header.clone())?;
            return sync_directory(directory);
        }
        if bytes[..HEADER] != self.header {
            return Err(if check(&bytes[..HEADER - CHECK]) == bytes[HEADER - CHECK..HEADER] {
                GuardError::Foreign { path: self.path.clone() }
            } else {
                GuardError::Corrupt { path: self.path.clone(), offset: 0 }
            });
        }
        let mut offset = HEADER;
        while offset < bytes.len() {
            let record = bytes.get(offset..offset + RECORD);
            match record.and_then(decode) {
                Some(Decoded::Vote(vote, signature)) => self.remember(&vote, signature),
                Some(Decoded::Floor(floor)) => self.floor = self.floor.max(floor),
                None if bytes.len() - offset <= RECORD => {
                    tracing::warn!(offset, "the guard's last record is torn and is cut off");
                    break;
                }
                None => {
                    return Err(GuardError::Corrupt {
                        path: self.path.clone(),
                        offset: offset as u64,
                    });
                }
            }
            offset += RECORD;
        }
        self.votes = self.votes.split_off(&self.floor);
        self.size = offset as u64;
        self.file.set_len(self.size).map_err(io(&self.path))?;
        self.file.sync_all().map_err(io(&self.path))
    }

    /// The recorded signature if there is one, or why the vote is refused.
    fn check(&self, vote: &Vote) -> Result<Option<Signature>, GuardError> {
        self.usable()?;
        if self.restored_ms.is_some() {
            return Err(GuardError::Restored);
        }
        let &Vote { round, phase, message } = vote;
        if round < self.floor {
            return Err(GuardError::BelowFloor { round, phase });
        }
        let Some(recorded) = self.votes.get(&round) else { return Ok(None) };
        if let Some((signed, signature)) = recorded.get(&phase) {
            return if *signed == message {
                Ok(Some(signature.clone()))
            } else {
                Err(GuardError::Conflict { round, phase })
            };
        }
        let contradicts = match phase {
            Phase::Notarize => false,
            Phase::Nullify => recorded.contains_key(&Phase::Finalize),
            Phase::Finalize => recorded.contains_key(&Phase::Nullify),
        };
        if contradicts { Err(GuardError::Conflict { round, phase }) } else { Ok(None) }
    }

    fn usable(&self) -> Result<(), GuardError> {
        if self.poisoned { Err(GuardError::Poisoned) } else { Ok(()) }
    }

    fn remember(&mut self, vote: &Vote, signature: Signature) {
        self.votes.entry(vote.round).or_default().insert(vote.phase, (vote.message, signature));
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), GuardError> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.size))
            .and_then(|_| self.file.write_all(bytes))
            .and_then(|()| self.file.sync_data());
        self.poisoned = written.is_err();
        written.map_err(io(&self.path))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Rewrites the file without records that are [`WINDOW`] views old, beside
    /// it, and puts it in its place in one step.
    fn compact(&mut self) -> Result<(), GuardError> {
        if let Some(&last) = self.votes.keys().next_back() {
            self.floor = self.floor.max(Round { view: last.view.saturating_sub(WINDOW), ..last });
        }
        self.votes = self.votes.split_off(&self.floor);
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&encode_floor(self.floor));
        for (&round, recorded) in &self.votes {
            for (&phase, (message, signature)) in recorded {
                let vote = Vote { round, phase, message: *message };
                bytes.extend_from_slice(&encode_vote(&vote, signature));
            }
        }
        let beside = self.path.with_extension("new");
        let replaced = (|| {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)?;
            Ok(file)
        })();
        self.poisoned = replaced.is_err();
        self.file = replaced.map_err(io(&beside))?;
        self.size = bytes.len() as u64;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let synced = sync_directory(directory);
        self.poisoned = synced.is_err();
        synced
    }
}

/// Where the guard of `key` is: in `directory`, or in one of its own in there
/// when `directory` has that of another key.
fn place(directory: &Path, key: &PublicKey) -> Result<PathBuf, GuardError> {
    let path = directory.join("votes");
    let mut begin = Vec::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(HEADER as u64).read_to_end(&mut begin).map_err(io(&path))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(&path)(error)),
    }
    // A damaged header may be that of this key's guard.
    let whole = begin.len() == HEADER
        && begin.starts_with(MAGIC)
        && begin[HEADER - CHECK..] == check(&begin[..HEADER - CHECK]);
    let of_another = whole && begin[8..41] != key.as_bytes()[..];
    let own = crate::hexadecimal(key.as_bytes());
    Ok(if of_another { directory.join(own) } else { directory.to_owned() })
}

enum Decoded {
    Vote(Vote, Signature),
    Floor(Round),
}

fn encode(
    kind: u8,
    round: Round,
    phase: u8,
    message: &[u8; 32],
    signature: &[u8; 64],
) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[0] = kind;
    record[1..9].copy_from_slice(&round.epoch.to_be_bytes());
    record[9..17].copy_from_slice(&round.view.to_be_bytes());
    record[17] = phase;
    record[18..50].copy_from_slice(message);
    record[50..114].copy_from_slice(signature);
    let check = check(&record[..114]);
    record[114..].copy_from_slice(&check);
    record
}

fn encode_vote(vote: &Vote, signature: &Signature) -> [u8; RECORD] {
    encode(1, vote.round, vote.phase as u8, &vote.message, signature.as_bytes())
}

fn encode_floor(floor: Round) -> [u8; RECORD] {
    encode(2, floor, 0, &[0; 32], &[0; 64])
}

fn decode(record: &[u8]) -> Option<Decoded> {
    if record[114..] != check(&record[..114]) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| record[range].try_into().map(u64::from_be_bytes);
    let round = Round { epoch: number(1..9).ok()?, view: number(9..17).ok()? };
    match record[0] {
        1 => {
            let phase = Phase::decode(record[17])?;
            let message = record[18..50].try_into().ok()?;
            let signature = Signature::strict(record[50..114].try_into().ok()?)?;
            Some(Decoded::Vote(Vote { round, phase, message }, signature))
        }
        2 => Some(Decoded::Floor(round)),
        _ => None,
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&crate::sha256(bytes)[..CHECK]);
    check
}

fn sync_directory(directory: &Path) -> Result<(), GuardError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io(directory))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> GuardError + use<> {
    let path = path.to_owned();
    move |source| GuardError::Io { path, source }
}

#[cfg(test)]
mod tests;
