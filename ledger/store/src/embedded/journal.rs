//! Opening after a torn write.
//!
//! The engine itself drops a journal's end that is cut off or unreadable. What
//! it refuses is an end that has the right form and wrong bytes, which is what
//! a power failure leaves when the disk wrote the later of two pages first.
//! Such a batch was not flushed, so it was not acknowledged: this module cuts
//! the journal in the batch's end marker, whereupon the engine drops the batch.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use fjall::Database;

use super::{engine_error, io_error};
use crate::StoreError;

/// Most batches that are dropped: more than one height stages. Damage further
/// from the end is not a torn write.
const MAX_TORN: u32 = 64;

/// What ends every batch in the journal.
const TRAILER: &[u8] = b"FJL\x03";

/// What opening found and mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Batches at the end of the journal that were dropped because they were
    /// torn.
    pub dropped_batches: u32,
}

/// Opens with `open`; cuts torn batches from the journal's end as long as that
/// is what the engine complains about.
pub(super) fn open_repairing(
    path: &Path,
    open: impl Fn() -> fjall::Result<Database>,
) -> Result<(Database, Recovery), StoreError> {
    let mut recovery = Recovery::default();
    loop {
        match open() {
            Ok(database) => return Ok((database, recovery)),
            Err(error @ fjall::Error::JournalRecovery(_)) => {
                let cut = recovery.dropped_batches < MAX_TORN
                    && cut_last_batch(path).map_err(|error| io_error(error, path))?;
                if !cut {
                    return Err(engine_error(error, path));
                }
                recovery.dropped_batches += 1;
            }
            Err(error) => return Err(engine_error(error, path)),
        }
    }
}

/// Cuts the newest journal in its last end marker; false if it has none.
fn cut_last_batch(path: &Path) -> std::io::Result<bool> {
    let Some(journal) = newest_journal(path)? else { return Ok(false) };
    let mut file = OpenOptions::new().read(true).write(true).open(journal)?;
    let Some(end) = last_trailer(&mut file)? else { return Ok(false) };
    file.set_len(end)?;
    file.sync_all()?;
    Ok(true)
}

fn newest_journal(path: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let number = file
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".jnl"))
            .and_then(|name| name.parse::<u64>().ok());
        if let Some(number) = number {
            newest = newest.max(Some((number, file)));
        }
    }
    Ok(newest.map(|(_, file)| file))
}

/// Where the last trailer begins.
fn last_trailer(file: &mut File) -> std::io::Result<Option<u64>> {
    const WINDOW: u64 = 1024 * 1024;
    let overlap = TRAILER.len() as u64 - 1;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let begin = end.saturating_sub(WINDOW);
        let mut window = vec![0; (end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut window)?;
        if let Some(at) = window.windows(TRAILER.len()).rposition(|bytes| bytes == TRAILER) {
            return Ok(Some(begin + at as u64));
        }
        if begin == 0 {
            break;
        }
        end = begin + overlap;
    }
    Ok(None)
}
