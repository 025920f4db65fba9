//! What was written to a machine's disk, in order, and what the disk holds when
//! the power goes in between.
//!
//! QEMU's `blklogwrites` records in the format of Linux's dm-log-writes
//! (Documentation/admin-guide/device-mapper/log-writes.rst): a superblock, then
//! for each write a sector that says where and how much, and the data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

const SECTOR: u64 = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DURABLE: u64 = 2;
const DISCARD: u64 = 4;

/// Most bytes that are copied at a time.
const PIECE: u64 = 1024 * 1024;

/// A record of writes.
pub struct Writes {
    file: File,
    entries: Vec<Entry>,
}

struct Entry {
    /// First byte on the disk.
    to: u64,
    /// First byte of the data in the record.
    from: u64,
    length: u64,
    flags: u64,
}

impl Writes {
    /// Reads the record of a machine that is off.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let size = file.metadata()?.len();
        let mut superblock = [0; SECTOR as usize];
        file.read_exact_at(&mut superblock, 0).context("the record of writes is empty")?;
        ensure!(number(&superblock, 0) == MAGIC, "{} is no record of writes", path.display());
        let (mut entries, mut at) = (Vec::new(), SECTOR);
        while at + SECTOR <= size {
            let mut head = [0; SECTOR as usize];
            file.read_exact_at(&mut head, at)?;
            let flags = number(&head, 2);
            // A discard has a size, but no data.
            let sectors = if flags & DISCARD == 0 { number(&head, 1) } else { 0 };
            let length = sectors.checked_mul(SECTOR).context("an entry's size")?;
            let to = number(&head, 0).checked_mul(SECTOR).context("an entry's place")?;
            at += SECTOR;
            if at.checked_add(length).is_none_or(|end| end > size) {
                // QEMU ended while it was written.
                break;
            }
            entries.push(Entry { to, from: at, length, flags });
            at += length;
        }
        Ok(Self { file, entries })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The first that was recorded when the record had this length, in bytes.
    pub fn after(&self, length: u64) -> usize {
        self.entries.partition_point(|entry| entry.from < length)
    }

    /// Does the first `count` writes again, as a disk with a cache does them whose
    /// power fails then: what was flushed is there, of the rest what `survives`.
    pub fn replay(
        &self,
        disk: &Path,
        count: usize,
        mut survives: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let disk = File::options()
            .write(true)
            .open(disk)
            .with_context(|| format!("cannot open the disk {}", disk.display()))?;
        let entries = self.entries.get(..count).context("the record has fewer writes")?;
        let flushed = entries.iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
        for (place, entry) in entries.iter().enumerate() {
            if place < flushed || entry.flags & DURABLE != 0 || survives() {
                self.copy(entry, &disk)?;
            }
        }
        Ok(())
    }

    fn copy(&self, entry: &Entry, disk: &File) -> io::Result<()> {
        let mut done = 0;
        while done < entry.length {
            let wanted = (entry.length - done).min(PIECE);
            let mut bytes = vec![0; wanted as usize];
            self.file.read_exact_at(&mut bytes, entry.from + done)?;
            disk.write_all_at(&bytes, entry.to + done)?;
            done += wanted;
        }
        Ok(())
    }
}

/// The `index`th number of a record's sector.
fn number(sector: &[u8; SECTOR as usize], index: usize) -> u64 {
    let bytes = sector[index * 8..].first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sector: u64, flags: u64, data: &[u8]) -> Vec<u8> {
        let sectors = (data.len() as u64).div_ceil(SECTOR);
        let mut bytes: Vec<u8> =
            [sector, sectors, flags, 0].iter().flat_map(|one| one.to_le_bytes()).collect();
        bytes.resize(SECTOR as usize, 0);
        bytes.extend(data);
        bytes.resize(((1 + sectors) * SECTOR) as usize, 0);
        bytes
    }

    #[test]
    fn what_was_flushed_is_there_and_the_rest_may_be() {
        let directory = std::env::temp_dir().join(format!("hufu-writes-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (record, disk) = (directory.join("record"), directory.join("disk"));
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.resize(SECTOR as usize, 0);
        bytes.extend(entry(1, 0, b"flushed"));
        let second = bytes.len() as u64;
        bytes.extend(entry(0, FLUSH, b""));
        let mut discard = entry(0, DISCARD, b"");
        discard[8] = 9;
        bytes.extend(discard);
        bytes.extend(entry(2, DURABLE, b"durable"));
        bytes.extend(entry(3, 0, b"cached"));
        // One that was not recorded to its end.
        bytes.extend(&entry(4, 0, b"torn")[..700]);
        std::fs::write(&record, bytes).unwrap();

        let writes = Writes::open(&record).unwrap();
        assert_eq!(writes.count(), 5);
        assert_eq!((writes.after(0), writes.after(second), writes.after(u64::MAX)), (0, 1, 5));
        let after = |count, survives: bool| {
            std::fs::write(&disk, vec![b'.'; 5 * SECTOR as usize]).unwrap();
            writes.replay(&disk, count, || survives).unwrap();
            let found = std::fs::read(&disk).unwrap();
            [1, 2, 3].map(|sector| found[sector * SECTOR as usize])
        };
        assert_eq!(after(0, true), [b'.'; 3]);
        assert_eq!(after(1, false), [b'.'; 3]);
        assert_eq!(after(2, false), [b'f', b'.', b'.']);
        assert_eq!(after(5, false), [b'f', b'd', b'.']);
        assert_eq!(after(5, true), [b'f', b'd', b'c']);
        assert!(writes.replay(&disk, 6, || true).is_err());
        std::fs::write(&record, [0; 600]).unwrap();
        assert!(Writes::open(&record).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
