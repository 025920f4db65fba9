//! What of a virtual machine is still there when it is off: disk, TPM, and the
//! firmware's variables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::tree::{self, Tree};
use crate::vm::disk::Disk;

/// The firmware's variables in a machine that nobody has enrolled keys in.
const EMPTY_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A machine that is off.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// Where its parts are.
    pub directory: PathBuf,
}

impl Hardware {
    /// Room for the second slot and `/var`, in bytes.
    pub const DISK_SIZE: u64 = 4 * 1024 * 1024 * 1024;

    /// A machine from the factory with `image` written to its disk.
    pub fn with_image(tree: &Tree, directory: &Path, image: &Path) -> anyhow::Result<Self> {
        tree::remove(directory)?;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let hardware = Self { directory: directory.to_owned() };
        sparse_copy(image, &hardware.disk_path())?;
        fs::File::options().write(true).open(hardware.disk_path())?.set_len(Self::DISK_SIZE)?;
        hardware.forget_keys(tree)?;
        hardware.replace_tpm(tree)?;
        Ok(hardware)
    }

    /// A machine like it, in another place.
    pub fn copy_to(&self, directory: &Path) -> anyhow::Result<Self> {
        tree::remove(directory)?;
        fs::create_dir_all(directory.join("tpm"))
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let copy = Self { directory: directory.to_owned() };
        sparse_copy(&self.disk_path(), &copy.disk_path())?;
        copy.take_secrets_of(self)?;
        Ok(copy)
    }

    /// Puts the TPM and the firmware's variables of another machine in place of
    /// its own.
    pub fn take_secrets_of(&self, other: &Self) -> anyhow::Result<()> {
        fs::copy(other.variables_path(), self.variables_path())?;
        for entry in fs::read_dir(other.tpm_path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), self.tpm_path().join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Its disk.
    pub fn disk(&self) -> anyhow::Result<Disk> {
        Disk::open(&self.disk_path())
    }

    /// The file of its disk.
    pub fn disk_path(&self) -> PathBuf {
        self.directory.join("disk.raw")
    }

    /// The file of the firmware's variables.
    pub fn variables_path(&self) -> PathBuf {
        self.directory.join("variables.fd")
    }

    /// The directory of the TPM's state.
    pub fn tpm_path(&self) -> PathBuf {
        self.directory.join("tpm")
    }

    /// The firmware knows no keys any more: Secure Boot is off.
    pub fn forget_keys(&self, tree: &Tree) -> anyhow::Result<()> {
        let from = tree.path(EMPTY_VARIABLES);
        fs::copy(&from, self.variables_path())
            .with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// Another TPM in its place.
    pub fn replace_tpm(&self, tree: &Tree) -> anyhow::Result<()> {
        tree::remove(&self.tpm_path())?;
        fs::create_dir_all(self.tpm_path())?;
        let mut setup = tree.command(&[&self.directory], "swtpm_setup");
        setup.args(["--tpm2", "--lock-nvram", "--overwrite", "--tpmstate"]).arg(self.tpm_path());
        tree::output(&mut setup).context("the software TPM")?;
        Ok(())
    }
}

/// Copies a file that is mostly holes.
fn sparse_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to);
    tree::output(&mut copy).map(drop)
}
