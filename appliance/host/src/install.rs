//! The running image onto another disk: for a machine that was started from a
//! medium.
//!
//! `systemd-repart` writes it: boot partition, root file system and its tree of
//! hashes, block by block. The disk then holds what a disk from the factory
//! holds; its second slot and `/var` are made when it starts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::files;
use hufu_door::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::problem;
use crate::site::{self, Site};
use crate::spawn;
use crate::upgrade::Running;

/// Sizes of partitions in bytes, as image/mkosi.extra/usr/lib/repart.d has them.
const BOOT_SIZE: u64 = 512 * 1024 * 1024;
const VERITY_SIZE: u64 = 16 * 1024 * 1024;
const ROOT_SIZE: u64 = 768 * 1024 * 1024;
const VAR_SIZE: u64 = 512 * 1024 * 1024;

/// The least disk: with both slots, and room for the partition table.
const LEAST: u64 = BOOT_SIZE + 2 * (VERITY_SIZE + ROOT_SIZE) + VAR_SIZE + 8 * 1024 * 1024;

/// How long the writing may take.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// What is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The disk's name below `/dev`.
    pub disk: String,
    /// Whether what the disk holds may be lost.
    #[serde(default)]
    pub erase: bool,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Progress {
    /// Nothing was asked for.
    #[default]
    Idle,
    /// It is being written.
    Writing {
        /// The disk.
        disk: String,
    },
    /// It is there.
    Done {
        /// The disk.
        disk: String,
    },
    /// It is not; the disk cannot be started from.
    Failed {
        /// The disk.
        disk: String,
        /// Why.
        reason: String,
    },
}

/// The disks, and how far an installation is.
#[derive(Debug, Serialize)]
pub struct Told {
    /// All disks.
    pub disks: Vec<Disk>,
    /// How far the installation is.
    pub installation: Progress,
}

/// Installs the running image.
#[derive(Clone)]
pub struct Installer {
    site: Site,
    progress: Arc<Mutex<Progress>>,
}

impl Installer {
    /// Of the machine at `site`.
    pub fn new(site: Site) -> Self {
        Self { site, progress: Arc::default() }
    }

    /// Disks and progress.
    ///
    /// # Errors
    /// When the kernel does not show them.
    pub fn look(&self) -> Result<Told, Problem> {
        let disks = disk::all(self.site.root()).map_err(|error| problem::internal(&error))?;
        Ok(Told { disks, installation: self.lock().clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // It is replaced as a whole.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write the running image to a disk.
    ///
    /// # Errors
    /// What stands against it; nothing is written then.
    pub fn begin(&self, order: &Order) -> Result<Told, Problem> {
        let refused = |detail: String| Err(Problem::new(Code::DiskRefused, detail));
        let Ok(running) = Running::read(&self.site) else {
            return refused("this machine does not run an image that can be installed".to_owned());
        };
        let disks = self.look()?.disks;
        let Some(target) = disks.iter().find(|disk| disk.name == order.disk) else {
            let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
            return refused(format!("no disk `{}`; there are: {}", order.disk, names.join(", ")));
        };
        if target.used {
            return refused(format!("the machine runs from `{}`; choose another", target.name));
        }
        if target.size < LEAST {
            let mebibytes = |bytes: u64| bytes / (1024 * 1024);
            let (has, needs) = (mebibytes(target.size), mebibytes(LEAST));
            return refused(format!("`{}` has {has} MiB, and {needs} are needed", target.name));
        }
        if !target.partitions.is_empty() && !order.erase {
            let held = target.partitions.join(", ");
            return refused(format!(
                "`{}` holds partitions ({held}); say --erase when they may be lost",
                target.name
            ));
        }
        let (disk, version) = (target.name.clone(), running.version);
        {
            let mut progress = self.lock();
            if let Progress::Writing { disk } = &*progress {
                return refused(format!("`{disk}` is being written; wait until it is done"));
            }
            *progress = Progress::Writing { disk: disk.clone() };
        }
        let installer = self.clone();
        tokio::spawn(async move {
            let written = async { write(&installer.define(&version)?, &disk).await };
            let written = written.await;
            *installer.lock() = match written {
                Ok(()) => {
                    tracing::info!(disk, "the image is installed");
                    Progress::Done { disk }
                }
                Err(error) => {
                    tracing::error!(
                        disk,
                        error = format!("{error:#}"),
                        "the image is not installed"
                    );
                    Progress::Failed { disk, reason: format!("{error:#}") }
                }
            };
        });
        self.look()
    }

    /// Says what the disk is to hold (repart.d(5)).
    fn define(&self, version: &str) -> anyhow::Result<PathBuf> {
        let directory = self.site.run("install.d");
        site::directory(&directory, 0o700, None)?;
        let boot = disk::partition_in_use(self.site.root(), "esp")?;
        // The boot partition gets an identity of its own, so that it is not taken
        // for the medium's; the slot keeps the one that its root hash gives it.
        let slot = "CopyBlocks=auto\nReadOnly=yes";
        for (name, kind, label, from, size) in [
            ("00-esp", "esp", "esp", format!("CopyBlocks=/dev/{boot}"), BOOT_SIZE),
            (
                "10-verity",
                "root-verity",
                &format!("hufu_{version}_verity"),
                slot.to_owned(),
                VERITY_SIZE,
            ),
            ("20-root", "root", &format!("hufu_{version}"), slot.to_owned(), ROOT_SIZE),
        ] {
            let content = format!(
                "[Partition]\nType={kind}\nLabel={label}\n{from}\nSizeMinBytes={size}\n\
                 SizeMaxBytes={size}\n"
            );
            files::write(&directory.join(format!("{name}.conf")), content.as_bytes())?;
        }
        Ok(directory)
    }
}

async fn write(definitions: &std::path::Path, disk: &str) -> anyhow::Result<()> {
    let mut command = spawn::command("systemd-repart");
    command.args(["--dry-run=no", "--empty=force", "--seed=random", "--definitions"]);
    command.arg(definitions).arg(format!("/dev/{disk}"));
    spawn::run_within(PATIENCE, command, b"")
        .await
        .map(drop)
        .with_context(|| format!("systemd-repart did not write /dev/{disk}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::machine;

    fn installer(root: &std::path::Path) -> Installer {
        Installer::new(Site::new(root, None))
    }

    #[tokio::test]
    async fn what_would_lose_something_is_refused() {
        let root = machine();
        let installer = installer(root.path());
        let order = |disk: &str, erase| Order { disk: disk.to_owned(), erase };
        let refused = |disk: &str, erase| {
            let problem = installer.begin(&order(disk, erase)).unwrap_err();
            assert_eq!(problem.code().as_str(), "disk-refused");
            problem.detail().to_owned()
        };
        assert!(refused("nvme0n1", true).contains("does not run an image"));
        let image = root.path().join("usr/share/hufu");
        std::fs::create_dir_all(&image).unwrap();
        let release = r#"{"version":"1","sequence":1,"floor":1,"kernel":"metal"}"#;
        std::fs::write(image.join("release.json"), release).unwrap();
        assert!(refused("sdz", true).contains("nvme0n1, vda"));
        assert!(refused("../vda", true).contains("no disk"));
        assert!(refused("vda", true).contains("runs from"));
        assert!(refused("nvme0n1", false).contains("--erase"));
        std::fs::write(root.path().join("sys/block/nvme0n1/size"), "2048").unwrap();
        assert!(refused("nvme0n1", true).contains("1 MiB"));
        assert_eq!(installer.look().unwrap().installation, Progress::Idle);
    }

    #[test]
    fn the_disk_gets_the_running_slot_under_its_names() {
        let root = machine();
        let directory = installer(root.path()).define("1.2").unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(read("00-esp.conf").contains("CopyBlocks=/dev/vda1\n"));
        assert!(read("10-verity.conf").contains("Label=hufu_1.2_verity\n"));
        assert!(read("20-root.conf").contains("Label=hufu_1.2\n"));
        // As the image's own first start expects them.
        let image =
            std::path::Path::new(env!("HUFU_ROOT")).join("image/mkosi.extra/usr/lib/repart.d");
        for (name, written, size) in [
            ("00-esp.conf", "00-esp.conf", BOOT_SIZE),
            ("10-verity-a.conf", "10-verity.conf", VERITY_SIZE),
            ("11-root-a.conf", "20-root.conf", ROOT_SIZE),
            ("30-var.conf", "", VAR_SIZE),
        ] {
            let expected = std::fs::read_to_string(image.join(name)).unwrap();
            let line = format!("SizeMinBytes={}M\n", size / (1024 * 1024));
            assert!(expected.contains(&line), "{name}");
            if !written.is_empty() {
                assert!(read(written).contains(&format!("SizeMaxBytes={size}\n")), "{written}");
            }
        }
    }
}
