//! The machine's disks, as the kernel shows them in `/sys/block`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use hufu_configuration::files;
use serde::Serialize;

/// Largest attribute of a device that is read, in bytes.
const MAX_ATTRIBUTE: u64 = 4096;

/// Largest table of mounts that is read, in bytes.
const MAX_MOUNTS: u64 = 1024 * 1024;

/// The kernel counts sizes in these, whatever the disk has.
const SECTOR: u64 = 512;

/// Most disks that are looked at.
const MOST: usize = 256;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its name below `/dev`.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// What its maker calls it, and its serial number, where it says so.
    pub model: String,
    /// Whether it can be pulled out.
    pub removable: bool,
    /// Whether the machine runs from it or has something of it mounted.
    pub used: bool,
    /// Names of its partitions.
    pub partitions: Vec<String>,
}

/// All disks that can be written, by name.
///
/// # Errors
/// When the kernel does not show them.
pub fn all(root: &Path) -> anyhow::Result<Vec<Disk>> {
    let directory = root.join("sys/block");
    let mounts = files::read(&root.join("proc/self/mountinfo"), MAX_MOUNTS)?;
    let mounted = mounted(&String::from_utf8_lossy(&mounts));
    let entries =
        fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut disks = Vec::new();
    for entry in entries.take(MOST) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Real disks have a device; loops, mappings and memory have none.
        if !entry.path().join("device").exists() || is(&entry.path(), "ro") {
            continue;
        }
        disks.push(disk(&entry.path(), name, &mounted)?);
    }
    disks.retain(|disk| disk.size > 0);
    disks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(disks)
}

fn disk(path: &Path, name: String, mounted: &BTreeSet<String>) -> anyhow::Result<Disk> {
    let mut partitions: Vec<String> = fs::read_dir(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| path.join(name).join("partition").exists())
        .collect();
    partitions.sort();
    let mut used = in_use(path, mounted);
    for partition in &partitions {
        used |= in_use(&path.join(partition), mounted);
    }
    let words: Vec<String> = ["device/vendor", "device/model", "device/serial", "serial"]
        .into_iter()
        .filter_map(|name| attribute(path, name))
        .collect();
    let sectors = attribute(path, "size").and_then(|size| size.parse::<u64>().ok());
    Ok(Disk {
        size: sectors.unwrap_or(0).saturating_mul(SECTOR),
        model: words.join(" "),
        removable: is(path, "removable"),
        name,
        used,
        partitions,
    })
}

/// Whether something is built on a device, or it is mounted.
fn in_use(path: &Path, mounted: &BTreeSet<String>) -> bool {
    let held = fs::read_dir(path.join("holders")).is_ok_and(|mut held| held.next().is_some());
    held || attribute(path, "dev").is_some_and(|number| mounted.contains(&number))
}

/// The numbers of all devices that are mounted (proc_pid_mountinfo(5)).
fn mounted(table: &str) -> BTreeSet<String> {
    table.lines().filter_map(|line| line.split(' ').nth(2).map(str::to_owned)).collect()
}

/// What the kernel says of a device, without the spaces that pad it.
fn attribute(path: &Path, name: &str) -> Option<String> {
    let bytes = files::read(&path.join(name), MAX_ATTRIBUTE).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|character: char| character == '\0' || character.is_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}

fn is(path: &Path, name: &str) -> bool {
    attribute(path, name).as_deref() == Some("1")
}

/// A partition of a disk that is in use, by its label in the partition table.
///
/// # Errors
/// When there is none.
pub fn partition_in_use(root: &Path, label: &str) -> anyhow::Result<String> {
    let wanted = format!("PARTNAME={label}");
    for disk in all(root)?.into_iter().filter(|disk| disk.used) {
        for partition in disk.partitions {
            let path = root.join("sys/block").join(&disk.name).join(&partition);
            let told = attribute(&path, "uevent").unwrap_or_default();
            if told.lines().any(|line| line == wanted) {
                return Ok(partition);
            }
        }
    }
    anyhow::bail!("no disk in use has a partition `{label}`")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A machine that runs from `vda` and has more disks.
    pub fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let mounts = "36 35 253:1 / /boot rw shared:1 - vfat /dev/vda1 rw\n";
        file("proc/self/mountinfo", mounts);
        for (disk, sectors) in [("vda", 8_388_608), ("nvme0n1", 16_777_216), ("sr0", 0)] {
            file(&format!("sys/block/{disk}/size"), &format!("{sectors}\n"));
            file(&format!("sys/block/{disk}/device/model"), "  Disk of a maker \n");
        }
        file("sys/block/vda/vda1/partition", "1\n");
        file("sys/block/vda/vda1/dev", "253:1\n");
        file("sys/block/vda/vda1/uevent", "DEVNAME=vda1\nPARTN=1\nPARTNAME=esp\n");
        file("sys/block/nvme0n1/removable", "1\n");
        file("sys/block/nvme0n1/nvme0n1p1/partition", "1\n");
        file("sys/block/nvme0n1/nvme0n1p1/dev", "259:1\n");
        file("sys/block/dm-0/size", "100\n");
        file("sys/block/sdb/size", "100\n");
        file("sys/block/sdb/ro", "1\n");
        file("sys/block/sdb/device/model", "a stick that is write-protected\n");
        root
    }

    #[test]
    fn disks_are_told_from_what_is_built_on_them() {
        let root = machine();
        let found = all(root.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["nvme0n1", "vda"]);
        assert_eq!(found[0].size, 8 * 1024 * 1024 * 1024);
        assert_eq!((found[0].removable, found[0].used), (true, false));
        assert_eq!((found[1].removable, found[1].used), (false, true));
        assert_eq!(found[1].model, "Disk of a maker");
        assert_eq!(found[0].partitions, ["nvme0n1p1"]);
    }

    #[test]
    fn what_a_mapping_is_built_on_is_in_use() {
        let root = machine();
        fs::create_dir_all(root.path().join("sys/block/nvme0n1/nvme0n1p1/holders/dm-0")).unwrap();
        assert!(all(root.path()).unwrap()[0].used);
    }

    #[test]
    fn partitions_are_found_on_disks_in_use_only() {
        let root = machine();
        assert_eq!(partition_in_use(root.path(), "esp").unwrap(), "vda1");
        let other = root.path().join("sys/block/nvme0n1/nvme0n1p1/uevent");
        fs::write(other, "PARTNAME=hufu_1\n").unwrap();
        assert!(partition_in_use(root.path(), "hufu_1").is_err());
    }
}
