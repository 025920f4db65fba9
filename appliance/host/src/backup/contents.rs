//! What is in a backup of a machine.
//!
//! | entry | |
//! |---|---|
//! | `config`, `genesis` | the configuration and the genesis file |
//! | `data/NAME` | every file that the node keeps beside the ledger's |
//! | `data/consensus/guard/evidence.jsonl` | what others did wrong |
//! | `token/TOKEN/NAME` | SoftHSM2's token |
//! | `secret/NAME` | PINs |
//!
//! What the ledger has is not in it, nor what can be made from it: the other
//! members have the ledger. The guard's records are not in it either: they are
//! old when they are restored, and a restored node does not vote by them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_backup::{Entry, Sealer};
use hufu_proof::Digest;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::site::Site;
use crate::vault::{self, Vault};

/// Largest file of a token, in bytes.
const MAX_SECRET: u64 = 1024 * 1024;

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// What others did wrong, in the data directory.
pub const EVIDENCE: &str = "consensus/guard/evidence.jsonl";

/// What the machine makes anew, in the data directory: the read model and the
/// journals of databases.
const NOT: &[&str] =
    &["read-model.sqlite", "read-model.sqlite-wal", "read-model.sqlite-shm", "ca.sqlite"];

enum Source {
    Memory(Zeroizing<Vec<u8>>),
    File(File),
}

struct Part {
    entry: Entry,
    source: Source,
}

/// All of it, open.
pub struct Contents {
    parts: Vec<Part>,
    /// Whether the token is in it.
    pub has_token: bool,
    copied: Option<PathBuf>,
}

impl Drop for Contents {
    fn drop(&mut self) {
        if let Some(copied) = &self.copied
            && let Err(error) = fs::remove_file(copied)
        {
            tracing::warn!(path = %copied.display(), %error, "a copy is left");
        }
    }
}

/// The PINs that are sealed here.
///
/// # Errors
/// When one does not open.
pub async fn pins(vault: &Vault) -> anyhow::Result<Vec<(&'static str, Zeroizing<String>)>> {
    let mut pins = Vec::new();
    for name in [vault::PIN, vault::SO_PIN] {
        if vault.has(name) {
            pins.push((name, vault.open(name).await?));
        }
    }
    Ok(pins)
}

impl Contents {
    /// Opens all that is to be in a backup; `copied` is the copy of the
    /// authority's records, which goes with this.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn collect(
        site: &Site,
        pins: Vec<(&'static str, Zeroizing<String>)>,
        copied: Option<PathBuf>,
        exportable: bool,
    ) -> anyhow::Result<Self> {
        let mut contents = Self { parts: Vec::new(), has_token: false, copied };
        contents.file("config", &site.config())?;
        contents.file("genesis", &site.genesis())?;
        for (name, path) in files(&site.data(""))? {
            let journal = name.ends_with("-wal") || name.ends_with("-shm");
            if !name.starts_with('.') && !journal && !NOT.contains(&name.as_str()) {
                contents.file(&format!("data/{name}"), &path)?;
            }
        }
        if let Some(copied) = contents.copied.clone() {
            contents.file("data/ca.sqlite", &copied)?;
        }
        let evidence = site.data(EVIDENCE);
        if evidence.exists() {
            contents.file(&format!("data/{EVIDENCE}"), &evidence)?;
        }
        if exportable {
            contents.token(&site.tokens())?;
        }
        for (name, pin) in pins {
            let bytes = Zeroizing::new(pin.as_bytes().to_vec());
            contents.memory(&format!("secret/{name}"), bytes);
        }
        Ok(contents)
    }

    fn token(&mut self, tokens: &Path) -> anyhow::Result<()> {
        for token in fs::read_dir(tokens).with_context(|| reading(tokens))? {
            let token = token.with_context(|| reading(tokens))?;
            if !token.file_type().with_context(|| reading(tokens))?.is_dir() {
                continue;
            }
            let name = token.file_name().to_string_lossy().into_owned();
            for (file, path) in files(&token.path())? {
                let mut bytes = Zeroizing::new(Vec::new());
                let opened =
                    open(&path)?.context("it is no file").with_context(|| reading(&path))?;
                opened
                    .take(MAX_SECRET + 1)
                    .read_to_end(&mut bytes)
                    .with_context(|| reading(&path))?;
                anyhow::ensure!(
                    bytes.len() as u64 <= MAX_SECRET,
                    "{} is too large",
                    path.display()
                );
                self.memory(&format!("token/{name}/{file}"), bytes);
                self.has_token = true;
            }
        }
        Ok(())
    }

    fn memory(&mut self, path: &str, bytes: Zeroizing<Vec<u8>>) {
        let size = bytes.len() as u64;
        let entry = Entry { path: path.to_owned(), size, sha256: Digest::of(&bytes).to_string() };
        self.parts.push(Part { entry, source: Source::Memory(bytes) });
    }

    fn file(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        // Sockets and the like are no part of it.
        let Some(file) = open(path)? else { return Ok(()) };
        let size = file.metadata().with_context(|| reading(path))?.len();
        let mut hasher = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let whole = read(&file, size, |piece| {
            hasher.update(piece);
            Ok(())
        });
        whole.with_context(|| reading(path))?;
        let sha256 = hex::encode(hasher.finish());
        let entry = Entry { path: name.to_owned(), size, sha256 };
        self.parts.push(Part { entry, source: Source::File(file) });
        Ok(())
    }

    /// What is in it.
    pub fn entries(&self) -> Vec<Entry> {
        self.parts.iter().map(|part| part.entry.clone()).collect()
    }

    /// Seals all of it.
    ///
    /// # Errors
    /// When it cannot be read, has changed, or nobody listens.
    pub fn write(&self, sealer: &mut Sealer<impl io::Write>) -> anyhow::Result<()> {
        for part in &self.parts {
            match &part.source {
                Source::Memory(bytes) => sealer.write(bytes)?,
                Source::File(file) => {
                    let mut sealed = Ok(());
                    let read = read(file, part.entry.size, |piece| {
                        sealed = sealer.write(piece);
                        sealed.as_ref().map_err(|_| io::Error::other("")).copied()
                    });
                    sealed?;
                    read.with_context(|| format!("cannot read `{}`", part.entry.path))?;
                }
            }
        }
        Ok(())
    }
}

/// The first `size` bytes of a file that may grow.
fn read(
    mut file: &File,
    size: u64,
    mut piece: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    io::Seek::rewind(&mut file)?;
    let mut bytes = Zeroizing::new(vec![0; PIECE]);
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        file.read_exact(&mut bytes[..most])?;
        piece(&bytes[..most])?;
        left -= most as u64;
    }
    Ok(())
}

/// Opens a file that the node may have replaced by anything: not what it points
/// to, and not what waits. `None` for what is no file.
fn open(path: &Path) -> anyhow::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let kind = fs::symlink_metadata(path).with_context(|| reading(path))?.file_type();
    if !kind.is_file() {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
        .open(path)
        .with_context(|| reading(path))?;
    let is_file = file.metadata().with_context(|| reading(path))?.is_file();
    Ok(is_file.then_some(file))
}

/// The files of a directory, by name.
fn files(directory: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| reading(directory))? {
        let entry = entry.with_context(|| reading(directory))?;
        if entry.file_type().with_context(|| reading(directory))?.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn reading(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_ledger_is_in_it_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        site.prepare().unwrap();
        fs::create_dir_all(site.data("consensus/guard")).unwrap();
        fs::create_dir_all(site.data("state")).unwrap();
        fs::create_dir_all(site.tokens().join("a-b")).unwrap();
        for path in [
            site.config(),
            site.genesis(),
            site.data("join.json"),
            site.data("ca.sqlite"),
            site.data("ca.sqlite-wal"),
            site.data(".backup.sqlite"),
            site.data("read-model.sqlite"),
            site.data("state/records"),
            site.data("consensus/guard/votes"),
            site.data(EVIDENCE),
            site.tokens().join("a-b/token.object"),
        ] {
            fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        // Not what the node's user points to.
        std::os::unix::fs::symlink("/etc/passwd", site.data("passwd")).unwrap();
        let copied = site.data(".backup.sqlite");
        let pins = vec![("hufu-pin", Zeroizing::new("1234".to_owned()))];
        let contents = Contents::collect(&site, pins, Some(copied.clone()), true).unwrap();
        let paths: Vec<String> = contents.entries().into_iter().map(|entry| entry.path).collect();
        assert_eq!(
            paths,
            [
                "config",
                "genesis",
                "data/join.json",
                "data/ca.sqlite",
                "data/consensus/guard/evidence.jsonl",
                "token/a-b/token.object",
                "secret/hufu-pin",
            ]
        );
        assert_eq!(contents.entries()[3].sha256, Digest::of(b".backup.sqlite").to_string());
        drop(contents);
        assert!(!copied.exists());
        let without = Contents::collect(&site, Vec::new(), None, false).unwrap();
        assert!(!without.has_token && without.entries().len() == 4);
    }
}
