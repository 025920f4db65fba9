//! A virtual machine's disk, from outside: partitions by their labels, and bytes
//! in them to be spoilt.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

const SECTOR: u64 = 512;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its label.
    pub label: String,
    /// Its first byte on the disk.
    pub start: u64,
    /// How many bytes it has.
    pub size: u64,
}

/// A disk with a GUID partition table.
pub struct Disk {
    file: File,
}

impl Disk {
    /// Opens a disk image.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open the disk {}", path.display()))?;
        Ok(Self { file })
    }

    /// Its partitions.
    pub fn partitions(&self) -> anyhow::Result<Vec<Partition>> {
        const ENTRY: usize = 128;
        let mut header = [0; 92];
        self.file.read_exact_at(&mut header, SECTOR)?;
        ensure!(&header[..8] == b"EFI PART", "the disk has no partition table");
        let number = |bytes: &[u8]| {
            bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let (table, count) = (number(&header[72..80]), number(&header[80..84]));
        ensure!(number(&header[84..88]) == ENTRY as u64 && count <= 256, "an unusual table");
        let mut entries = vec![0; ENTRY * usize::try_from(count)?];
        self.file.read_exact_at(&mut entries, table * SECTOR)?;
        Ok(entries
            .chunks_exact(ENTRY)
            .filter(|entry| entry[..16] != [0; 16])
            .map(|entry| {
                let (first, last) = (number(&entry[32..40]), number(&entry[40..48]));
                let units =
                    entry[56..].chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
                let label = char::decode_utf16(units.take_while(|unit| *unit != 0))
                    .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect();
                Partition {
                    label,
                    start: first * SECTOR,
                    size: (last + 1).saturating_sub(first) * SECTOR,
                }
            })
            .collect())
    }

    /// The partition with this label.
    pub fn partition(&self, label: &str) -> anyhow::Result<Partition> {
        let all = self.partitions()?;
        match all.iter().find(|partition| partition.label == label) {
            Some(partition) => Ok(partition.clone()),
            None => bail!(
                "the disk has no partition `{label}`; it has {:?}",
                all.iter().map(|partition| &partition.label).collect::<Vec<_>>()
            ),
        }
    }

    /// Turns over `count` bytes from `offset` of a partition.
    pub fn spoil(&self, partition: &Partition, offset: u64, count: usize) -> anyhow::Result<()> {
        ensure!(offset + count as u64 <= partition.size, "that is not in the partition");
        let mut bytes = vec![0; count];
        self.file.read_exact_at(&mut bytes, partition.start + offset)?;
        bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
        Ok(self.file.write_all_at(&bytes, partition.start + offset)?)
    }

    /// Writes from the beginning of a partition.
    pub fn write(&self, partition: &Partition, bytes: &[u8]) -> anyhow::Result<()> {
        ensure!(bytes.len() as u64 <= partition.size, "{} is too small", partition.label);
        Ok(self.file.write_all_at(bytes, partition.start)?)
    }

    /// Where `pattern` is in a partition.
    pub fn find(&self, partition: &Partition, pattern: &[u8]) -> anyhow::Result<u64> {
        const PIECE: usize = 4 * 1024 * 1024;
        let mut offset = 0;
        while offset < partition.size {
            let wanted = (PIECE + pattern.len()).min(usize::try_from(partition.size - offset)?);
            let mut bytes = vec![0; wanted];
            self.file.read_exact_at(&mut bytes, partition.start + offset)?;
            if let Some(at) = bytes.windows(pattern.len()).position(|window| window == pattern) {
                return Ok(offset + at as u64);
            }
            offset += PIECE as u64;
        }
        bail!("the partition `{}` does not hold what was looked for", partition.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_found_and_spoilt() {
        let path = std::env::temp_dir().join(format!("hufu-disk-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        file.set_len(1024 * 1024).unwrap();
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[72] = 2;
        header[80] = 4;
        header[84] = 128;
        file.write_all_at(&header, SECTOR).unwrap();
        let mut entry = [0; 128];
        entry[0] = 1;
        entry[32] = 40;
        entry[40] = 47;
        entry[56] = b'v';
        entry[58] = b'a';
        entry[60] = b'r';
        file.write_all_at(&entry, 2 * SECTOR + 128).unwrap();
        file.write_all_at(b"needle", 40 * SECTOR + 100).unwrap();

        let disk = Disk::open(&path).unwrap();
        let var = disk.partition("var").unwrap();
        assert_eq!((var.start, var.size), (40 * SECTOR, 8 * SECTOR));
        assert!(disk.partition("root").is_err());
        assert_eq!(disk.find(&var, b"needle").unwrap(), 100);
        disk.spoil(&var, 100, 2).unwrap();
        assert!(disk.find(&var, b"needle").is_err());
        assert_eq!(disk.find(&var, b"edle").unwrap(), 102);
        assert!(disk.spoil(&var, 8 * SECTOR - 1, 2).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
