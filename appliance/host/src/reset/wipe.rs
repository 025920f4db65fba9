//! What takes secrets from disks.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{Advice, fadvise};

/// Both copies of a LUKS2 header and its key slots: what systemd-repart sets
/// aside, in bytes.
const HEADER: usize = 16 * 1024 * 1024;

/// Bytes that are written at a time.
const PIECE: usize = 1024 * 1024;

/// The partition that all state is on.
const VOLUME: &str = "dev/disk/by-partlabel/hufu_var";

/// What asks for a factory reset at the next start (systemd-repart(8) and
/// `hufu-reset.service` of the image): a variable of the firmware.
const VARIABLE: &str = "sys/firmware/efi/efivars/FactoryReset-8cf2644b-4b0b-428f-9387-6d876050dc67";

/// Non-volatile, for boot services and for the running system.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// Overwrites and removes everything in a directory.
///
/// # Errors
/// A sentence with the path.
pub fn tree(directory: &Path) -> anyhow::Result<()> {
    let what = || format!("cannot wipe {}", directory.display());
    for entry in fs::read_dir(directory).with_context(what)? {
        let entry = entry.with_context(what)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(what)?);
        if kind.is_dir() {
            tree(&path)?;
            fs::remove_dir(&path).with_context(what)?;
            continue;
        }
        if kind.is_file() {
            let file = OpenOptions::new().write(true).open(&path).with_context(what)?;
            overwrite(&file).with_context(what)?;
        }
        fs::remove_file(&path).with_context(what)?;
    }
    File::open(directory).and_then(|directory| directory.sync_all()).with_context(what)
}

/// Opens every file under a directory, so that its content can be overwritten
/// after somebody else has removed it.
///
/// # Errors
/// A sentence with the path.
pub fn hold(directory: &Path) -> anyhow::Result<Vec<File>> {
    let what = || format!("cannot open what is in {}", directory.display());
    let mut held = Vec::new();
    for entry in fs::read_dir(directory).with_context(what)? {
        let entry = entry.with_context(what)?;
        let kind = entry.file_type().with_context(what)?;
        if kind.is_dir() {
            held.extend(hold(&entry.path())?);
        } else if kind.is_file() {
            held.push(OpenOptions::new().write(true).open(entry.path()).with_context(what)?);
        }
    }
    Ok(held)
}

/// Overwrites a file, however many names it has.
///
/// # Errors
/// What the operating system says.
pub fn overwrite(mut file: &File) -> std::io::Result<()> {
    let mut left = file.metadata()?.len();
    let zeros = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        file.write_all(&zeros[..most])?;
        left -= most as u64;
    }
    file.sync_all()
}

/// Takes the sealed volume away from the next start, which makes a new one.
///
/// # Errors
/// A sentence that says what is still as it was.
pub fn volume(root: &Path) -> anyhow::Result<()> {
    ask(&root.join(VARIABLE)).context(
        "the firmware does not take the wish for a factory reset; nothing of the volume was changed",
    )?;
    header(&root.join(VOLUME), HEADER)
}

fn ask(variable: &Path) -> anyhow::Result<()> {
    let text: Vec<u8> = "yes\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let value = [&ATTRIBUTES[..], &text].concat();
    if fs::read(variable).is_ok_and(|found| found == value) {
        return Ok(());
    }
    // The firmware takes a variable in one piece or not at all.
    let what = || format!("cannot write {}", variable.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(variable)
        .with_context(what)?;
    let written = file.write(&value).with_context(what)?;
    anyhow::ensure!(written == value.len(), "{}", what());
    Ok(())
}

/// Overwrites the beginning of a device, and looks whether it is overwritten.
fn header(device: &Path, size: usize) -> anyhow::Result<()> {
    let what = || format!("cannot wipe the header of {}", device.display());
    let mut file = OpenOptions::new().read(true).write(true).open(device).with_context(what)?;
    let zeros = vec![0; PIECE];
    for at in (0..size).step_by(PIECE) {
        file.write_all(&zeros[..PIECE.min(size - at)]).with_context(what)?;
    }
    file.sync_all().with_context(what)?;
    // What is read is to come from the device.
    fadvise(&file, 0, None, Advice::DontNeed).with_context(what)?;
    let mut left = size;
    let mut file = File::open(device).with_context(what)?;
    let mut found = vec![0; PIECE];
    while left > 0 {
        let most = PIECE.min(left);
        file.read_exact(&mut found[..most]).with_context(what)?;
        anyhow::ensure!(
            found[..most].iter().all(|byte| *byte == 0),
            "{}: it is still there",
            what()
        );
        left -= most;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_empty_afterwards() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/key"), "secret").unwrap();
        fs::write(root.path().join("empty"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link")).unwrap();
        // Another name of the same file shows what was done to it.
        let other = tempfile::tempdir().unwrap();
        fs::hard_link(root.path().join("a/b/key"), other.path().join("key")).unwrap();
        tree(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert_eq!(fs::read(other.path().join("key")).unwrap(), [0; 6]);
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn a_header_is_overwritten_and_what_follows_is_not() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("device");
        let size = PIECE + 7;
        fs::write(&device, vec![1; size + 100]).unwrap();
        header(&device, size).unwrap();
        let found = fs::read(&device).unwrap();
        assert!(found[..size].iter().all(|byte| *byte == 0));
        assert!(found[size..].iter().all(|byte| *byte == 1) && found.len() == size + 100);
    }

    #[test]
    fn the_wish_is_in_the_form_of_the_firmware_and_comes_before_the_wiping() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join(VOLUME);
        fs::create_dir_all(device.parent().unwrap()).unwrap();
        fs::write(&device, vec![1; HEADER]).unwrap();
        let error = format!("{:#}", volume(root.path()).unwrap_err());
        assert!(error.contains("nothing of the volume was changed"), "{error}");
        assert_eq!(fs::read(&device).unwrap()[0], 1);
        let variable = root.path().join(VARIABLE);
        fs::create_dir_all(variable.parent().unwrap()).unwrap();
        for _ in 0..2 {
            volume(root.path()).unwrap();
            assert_eq!(fs::read(&variable).unwrap(), b"\x07\0\0\0y\0e\0s\0\0\0");
        }
        assert_eq!(fs::read(&device).unwrap()[0], 0);
    }
}
