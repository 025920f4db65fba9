//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use futures::Stream;
use hyper::body::Bytes;
use rustix::fs::Mode;
use rustix::process::umask;

/// Bytes that are read of a file at a time on its way to another machine.
const PIECE: usize = 256 * 1024;

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// A sentence with the path.
pub fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let what = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(what)?;
    file.take(limit + 1).read_to_end(&mut bytes).with_context(what)?;
    anyhow::ensure!(bytes.len() as u64 <= limit, "{} is over {limit} bytes", path.display());
    Ok(bytes)
}

/// Lets nobody but the owner and the group read what this process makes from now
/// on, whatever makes it: databases and journals too. A mask that takes more away
/// stays.
pub fn close_to_others() {
    // Another thread may make a file between the two steps: it gets no more.
    let before = umask(Mode::from_raw_mode(0o777));
    umask(before | Mode::RWXO | Mode::WGRP);
}

/// Closes a directory to others that was made without [`close_to_others`]. One
/// that is still to be made will be closed.
///
/// # Errors
/// A sentence with the path.
pub fn close_directory(directory: &Path) -> anyhow::Result<()> {
    let what = || format!("cannot close {} to others", directory.display());
    let mode = match fs::metadata(directory) {
        Ok(found) => found.permissions().mode(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(what),
    };
    if mode & 0o007 == 0 {
        return Ok(());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(mode & !0o007)).with_context(what)
}

/// Writes a file durably: to a temporary name, synced, then renamed.
///
/// # Errors
/// A sentence with the path.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_as(path, bytes, 0o640)
}

fn write_as(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", path.display());
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().with_context(what)?.to_string_lossy();
    let temporary = parent.join(format!(".{name}.{}.new", std::process::id()));
    let written = (|| -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        // Whatever the process's mask takes away.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()
    })();
    written.with_context(what)
}

/// Writes a file that must not exist, unless it has exactly these bytes.
///
/// # Errors
/// A sentence with the path and what to do about the file in the way.
pub fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    match fs::read(path) {
        Ok(present) if present == bytes => Ok(()),
        Ok(_) => anyhow::bail!(
            "{} exists with other content; move it away or choose another name",
            path.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write(path, bytes),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Brings a file that everybody may read to these bytes, of at most `limit`; whether
/// it had others.
///
/// # Errors
/// A sentence with the path.
pub fn publish(path: &Path, bytes: &[u8], limit: u64) -> anyhow::Result<bool> {
    if read(path, limit).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    write_as(path, bytes, 0o644)?;
    Ok(true)
}

/// Removes a file; whether it was there.
///
/// # Errors
/// A sentence with the path.
pub fn remove(path: &Path) -> anyhow::Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => {
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
            Ok(true)
        }
    }
}

/// Removes a directory with all that is in it, if it is there.
///
/// # Errors
/// A sentence with the path.
pub fn remove_tree(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Bytes that are free where `path` is, for who is not root.
///
/// # Errors
/// What the operating system says.
pub fn free(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// What is left of `file`, in pieces.
pub fn pieces(
    file: impl io::Read + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    futures::stream::try_unfold(file, |mut file| async {
        let (piece, file) = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            file.by_ref().take(PIECE as u64).read_to_end(&mut piece).map(|_| (piece, file))
        })
        .await
        .map_err(io::Error::other)??;
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
    })
}
