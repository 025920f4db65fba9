//! Where an update is kept until all of it is there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hufu_configuration::files;
use hufu_release::{Manifest, Part, PartName, Sink};

use super::release::{self, Running};
use crate::site;

/// Room in `/var` that an update leaves to the node, in bytes.
const SPARE: u64 = 64 * 1024 * 1024;

/// A directory that `systemd-sysupdate` looks into.
#[derive(Debug)]
pub(super) struct Staging {
    directory: PathBuf,
    running: Running,
    floor: u32,
    /// The part that comes in.
    open: Option<(PathBuf, File)>,
}

impl Staging {
    /// An empty directory for an update of what runs.
    ///
    /// # Errors
    /// A sentence with the path.
    pub(super) fn new(directory: &Path, running: Running, floor: u32) -> anyhow::Result<Self> {
        files::remove_tree(directory)?;
        site::directory(directory, 0o700, None)?;
        Ok(Self { directory: directory.to_owned(), running, floor, open: None })
    }

    fn room(&self, manifest: &Manifest) -> io::Result<()> {
        let free = files::free(&self.directory)?;
        let needed = manifest.parts.iter().map(|part| part.size).sum::<u64>().saturating_add(SPARE);
        if free < needed {
            let megabytes = |bytes: u64| bytes.div_ceil(1024 * 1024);
            return Err(io::Error::other(format!(
                "/var has {} MiB free, the update needs {} MiB; make room first",
                megabytes(free),
                megabytes(needed)
            )));
        }
        Ok(())
    }
}

/// The names that `systemd-sysupdate` looks for
/// (image/mkosi.extra/usr/lib/sysupdate.d).
fn file_name(manifest: &Manifest, part: &Part) -> String {
    let version = &manifest.version;
    let uuid = part.slot.as_ref().map(|slot| slot.uuid.as_str()).unwrap_or_default();
    match part.name {
        PartName::RootVerity => format!("hufu_{version}.root-x86-64-verity.{uuid}.raw"),
        PartName::Root => format!("hufu_{version}.root-x86-64.{uuid}.raw"),
        PartName::Uki => format!("hufu_{version}.efi"),
    }
}

impl Sink for Staging {
    fn accept(&mut self, manifest: &Manifest) -> io::Result<()> {
        release::check(&self.running, self.floor, manifest).map_err(io::Error::other)?;
        self.room(manifest)
    }

    fn write(&mut self, manifest: &Manifest, part: &Part, bytes: &[u8]) -> io::Result<()> {
        let (_, file) = match &mut self.open {
            Some(open) => open,
            none => {
                // Nothing looks at this name.
                let path = self.directory.join(format!(".{}", file_name(manifest, part)));
                let file = File::create_new(&path)?;
                none.insert((path, file))
            }
        };
        file.write_all(bytes)
    }

    fn end(&mut self, manifest: &Manifest, part: &Part) -> io::Result<()> {
        let Some((path, file)) = self.open.take() else {
            return Err(io::Error::other("it is empty"));
        };
        if let Some(slot) = &part.slot {
            // Zeros at the end were not sent. They overwrite what the slot held.
            file.set_len(slot.size)?;
        }
        file.sync_all()?;
        fs::rename(path, self.directory.join(file_name(manifest, part)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hufu_release::{Sbom, Slot};

    use super::*;

    fn running() -> Running {
        Running { version: "1".into(), sequence: 1, floor: 1, kernel: "cloud".into() }
    }

    fn manifest(version: &str, sequence: u32) -> Manifest {
        let part =
            |name, slot| Part { name, file: String::new(), size: 3, sha256: String::new(), slot };
        let slot =
            |uuid: &str| Some(Slot { size: 8192, uuid: uuid.to_owned(), label: String::new() });
        Manifest {
            format: 1,
            product: "hufu".into(),
            version: version.into(),
            sequence,
            floor: 0,
            architecture: "x86-64".into(),
            kernel: "cloud".into(),
            date: 0,
            root_hash: String::new(),
            parts: vec![
                part(PartName::RootVerity, slot("b")),
                part(PartName::Root, slot("a")),
                part(PartName::Uki, None),
            ],
            sbom: Sbom { file: String::new(), size: 0, sha256: String::new() },
        }
    }

    #[test]
    fn parts_get_their_names_and_sizes_when_they_are_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upgrade");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("left over"), "from an update that broke off").unwrap();
        let mut staging = Staging::new(&path, running(), 0).unwrap();
        let manifest = manifest("2", 2);
        staging.accept(&manifest).unwrap();
        for part in &manifest.parts {
            staging.write(&manifest, part, b"ab").unwrap();
            staging.write(&manifest, part, b"c").unwrap();
            let visible = fs::read_dir(&path).unwrap().filter(|entry| {
                !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')
            });
            let before = visible.count();
            staging.end(&manifest, part).unwrap();
            assert_eq!(fs::read_dir(&path).unwrap().count(), before + 1);
        }
        let names: BTreeSet<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected =
            ["hufu_2.efi", "hufu_2.root-x86-64-verity.b.raw", "hufu_2.root-x86-64.a.raw"];
        assert_eq!(names, expected.map(str::to_owned).into());
        assert_eq!(fs::read(path.join("hufu_2.efi")).unwrap(), b"abc");
        let root = fs::read(path.join("hufu_2.root-x86-64.a.raw")).unwrap();
        assert_eq!((root.len(), &root[..4]), (8192, &b"abc\0"[..]));
    }

    #[test]
    fn what_must_not_run_here_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let mut staging = Staging::new(directory.path(), running(), 5).unwrap();
        let metal = Manifest { kernel: "metal".into(), ..manifest("7", 7) };
        let mut huge = manifest("8", 8);
        huge.parts[1].size = u64::MAX / 2;
        for (release, words) in [
            (manifest("4", 4), "nothing below 5"),
            (manifest("1", 9), "runs already"),
            (metal, "`metal`"),
            (huge, "make room"),
        ] {
            let refused = staging.accept(&release).unwrap_err().to_string();
            assert!(refused.contains(words), "{words}: {refused}");
        }
        staging.accept(&manifest("5", 5)).unwrap();
    }
}
