//! A hold: this validator was restored from a backup, and what it signed before
//! is not known.
//!
//! The guard's records are gone or old, and the machine before may have voted
//! until the moment of the restore. While the hold is there, nothing is signed.
//! It ends with a block that is final in a view `w` and whose agreed time is
//! later than the restore by [`MARGIN`]: the floor is raised to `w + 2` first.
//!
//! Why that is enough: the machine before voted in view `v` only when `v - 1`
//! was certified, so at most one above the highest view certified before the
//! restore. A block's time is not ahead of the clocks of those who voted for it,
//! so a quorum was in `w` after the restore, and some honest member of it had
//! taken part in that highest certified view. So `v <= w + 1`.
//!
//! It rests on two things that no program can see to: the machine before does
//! not run any more, and the clock of the new one was right within the margin
//! when it was restored.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hufu_proof::UnixMillis;

use super::{GuardError, io as io_error, sync_directory};

/// How much later than the restore a block must be: covers the difference of
/// the members' clocks.
pub const MARGIN: Duration = Duration::from_secs(30);

/// Longest file, in bytes: a number and a line feed.
const MAX: u64 = 32;

fn path(directory: &Path) -> PathBuf {
    directory.join("restored")
}

/// Keeps the guard in `directory` from signing until the ledger has moved on
/// from `restored_ms`. To be called before the guard is opened.
///
/// # Errors
/// [`GuardError::Io`].
pub fn hold(directory: &Path, restored_ms: UnixMillis) -> Result<(), GuardError> {
    fs::create_dir_all(directory).map_err(io_error(directory))?;
    let (path, beside) = (path(directory), directory.join("restored.new"));
    let written = (|| {
        fs::write(&beside, format!("{restored_ms}\n"))?;
        fs::File::open(&beside)?.sync_all()?;
        fs::rename(&beside, &path)
    })();
    written.map_err(io_error(&path))?;
    sync_directory(directory)
}

/// The hold in `directory`, if there is one.
pub(super) fn read(directory: &Path) -> Result<Option<UnixMillis>, GuardError> {
    let path = path(directory);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&path)(error)),
        Ok(found) if found.len() > MAX => return Err(GuardError::Corrupt { path, offset: 0 }),
        Ok(_) => {}
    }
    let text = fs::read_to_string(&path).map_err(io_error(&path))?;
    match text.trim_end().parse() {
        Ok(restored_ms) => Ok(Some(restored_ms)),
        Err(_) => Err(GuardError::Corrupt { path, offset: 0 }),
    }
}

/// Ends the hold in `directory`.
pub(super) fn remove(directory: &Path) -> Result<(), GuardError> {
    let path = path(directory);
    fs::remove_file(&path).map_err(io_error(&path))?;
    sync_directory(directory)
}

/// Whether a block of this time was made after the restore.
pub(super) fn is_later(block_ms: UnixMillis, restored_ms: UnixMillis) -> bool {
    block_ms > restored_ms.plus(MARGIN)
}
