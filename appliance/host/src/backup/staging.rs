//! Where a backup is opened, and how all of it takes its place at once.
//!
//! `restore/` fills up and is thrown away when anything is wrong, also by the
//! next start. Renamed to `restore.ready/` it is decided: what is in it takes its
//! place, now or after the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_backup::{Entry, Manifest, Sink};
use hufu_configuration::files;
use rustix::fs::syncfs;
use zeroize::Zeroizing;

use crate::backup::contents::EVIDENCE;
use crate::site::{Site, directory, give};
use crate::vault;

/// Room that is left free, in bytes: the node needs some.
const RESERVE: u64 = 128 * 1024 * 1024;

/// Largest PIN, in bytes.
const MAX_PIN: u64 = 4096;

/// A backup that is being opened.
pub struct Staging {
    site: Site,
    /// Where the files go.
    pub place: PathBuf,
    file: Option<File>,
    pin: Zeroizing<Vec<u8>>,
    /// The PINs, which are not written before they are sealed.
    pub pins: Vec<(&'static str, Zeroizing<String>)>,
    /// Whether there was a token.
    pub has_token: bool,
}

impl Staging {
    /// An empty place.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn new(site: &Site) -> anyhow::Result<Self> {
        clear(site)?;
        let place = site.restoring();
        directory(&place, 0o700, None)?;
        Ok(Self {
            site: site.clone(),
            place,
            file: None,
            pin: Zeroizing::default(),
            pins: Vec::new(),
            has_token: false,
        })
    }

    /// Decides that it is good: from here on it takes its place.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn decide(&self) -> anyhow::Result<()> {
        let what = || format!("cannot keep {}", self.place.display());
        let above = self.place.parent().map(File::open).with_context(what)?.with_context(what)?;
        syncfs(&above).with_context(what)?;
        fs::rename(&self.place, self.site.restored()).with_context(what)?;
        above.sync_all().with_context(what)
    }

    /// Where an entry goes; `None` for a PIN.
    fn target(&self, path: &str) -> Option<PathBuf> {
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["config"] => Some(self.place.join("hufu.toml")),
            ["genesis"] => Some(self.place.join("genesis.json")),
            ["data", name] => Some(self.place.join("data").join(name)),
            ["data", rest @ ..] if rest.join("/") == EVIDENCE => {
                Some(self.place.join("data").join(EVIDENCE))
            }
            ["token", token, name] => Some(self.place.join("tokens").join(token).join(name)),
            _ => None,
        }
    }
}

fn pin_name(path: &str) -> Option<&'static str> {
    [vault::PIN, vault::SO_PIN].into_iter().find(|name| path.strip_prefix("secret/") == Some(name))
}

impl Sink for Staging {
    fn accept(&mut self, manifest: &Manifest) -> io::Result<()> {
        for entry in &manifest.entries {
            if self.target(&entry.path).is_none() && pin_name(&entry.path).is_none() {
                let said = format!("this version does not know `{}`; take a newer one", entry.path);
                return Err(io::Error::other(said));
            }
            if pin_name(&entry.path).is_some() && entry.size > MAX_PIN {
                return Err(io::Error::other(format!("`{}` is too large", entry.path)));
            }
        }
        for needed in ["config", "genesis", "data/join.json", "data/transcript.json"] {
            if !manifest.entries.iter().any(|entry| entry.path == needed) {
                return Err(io::Error::other(format!("it has no `{needed}`")));
            }
        }
        let size = manifest.entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
        let free = files::free(&self.place)?;
        let needed = size.saturating_add(RESERVE);
        if free < needed {
            let mebibytes = |bytes: u64| bytes / (1024 * 1024);
            return Err(io::Error::other(format!(
                "{} MiB are free, and it takes {} MiB",
                mebibytes(free),
                mebibytes(needed)
            )));
        }
        Ok(())
    }

    fn write(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<()> {
        if pin_name(&entry.path).is_some() {
            self.pin.extend_from_slice(bytes);
            return Ok(());
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => {
                let mut file = self.create(entry)?;
                file.write_all(bytes)?;
                self.file = Some(file);
                Ok(())
            }
        }
    }

    fn end(&mut self, entry: &Entry) -> io::Result<()> {
        if let Some(name) = pin_name(&entry.path) {
            let text = std::str::from_utf8(&self.pin).map_err(io::Error::other)?;
            self.pins.push((name, Zeroizing::new(text.to_owned())));
            self.pin = Zeroizing::default();
            return Ok(());
        }
        self.has_token |= entry.path.starts_with("token/");
        let file = match self.file.take() {
            Some(file) => file,
            None => self.create(entry)?,
        };
        file.sync_all()
    }
}

impl Staging {
    fn create(&self, entry: &Entry) -> io::Result<File> {
        let target = self.target(&entry.path).ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)
    }
}

/// Throws away what was not decided.
///
/// # Errors
/// A sentence with the path.
pub fn clear(site: &Site) -> anyhow::Result<()> {
    files::remove_tree(&site.restoring())
}

/// Lets a restore that was decided take its place, and throws away one that was
/// not. Does nothing where there is none; can be done again.
///
/// # Errors
/// A sentence with the path.
pub fn finish(site: &Site) -> anyhow::Result<()> {
    clear(site)?;
    let place = site.restored();
    if !place.exists() {
        return Ok(());
    }
    site.prepare()?;
    // The configuration comes last: with it, the machine is set up.
    for (from, to) in
        [("tokens", site.tokens()), ("data", site.data("")), ("credentials", site.credentials())]
    {
        let from = place.join(from);
        if from.exists() {
            into(&from, &to, site)?;
        }
    }
    for (from, to) in [("genesis.json", site.genesis()), ("hufu.toml", site.config())] {
        let from = place.join(from);
        if from.exists() {
            fs::rename(&from, &to).with_context(|| format!("cannot make {}", to.display()))?;
        }
    }
    site.prepare()?;
    let what = || format!("cannot keep what was in {}", place.display());
    let above = place.parent().map(File::open).with_context(what)?.with_context(what)?;
    syncfs(&above).with_context(what)?;
    fs::remove_dir_all(&place).with_context(what)?;
    above.sync_all().with_context(what)?;
    tracing::info!("the backup is restored");
    Ok(())
}

/// Moves what is in `from` to `to`.
fn into(from: &Path, to: &Path, site: &Site) -> anyhow::Result<()> {
    let what = || format!("cannot move {} to {}", from.display(), to.display());
    let credentials = to == site.credentials();
    for entry in fs::read_dir(from).with_context(what)? {
        let entry = entry.with_context(what)?;
        if !credentials {
            owned(&entry.path(), site)?;
        }
        fs::rename(entry.path(), to.join(entry.file_name())).with_context(what)?;
    }
    Ok(())
}

/// Gives a file, or a directory with all that is in it, to the node's user.
fn owned(path: &Path, site: &Site) -> anyhow::Result<()> {
    if path.is_dir() {
        directory(path, 0o700, site.account)?;
        for entry in
            fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?
        {
            owned(&entry?.path(), site)?;
        }
        return Ok(());
    }
    give(path, site.account)
}
