//! What a release says of itself.

use serde::{Deserialize, Serialize};

use crate::error::ReleaseError;

/// Largest partition, in bytes: that of the slots that the image makes.
const MAX_PARTITION: u64 = 4 * 1024 * 1024 * 1024;

/// Largest boot program, in bytes.
const MAX_UKI: u64 = 256 * 1024 * 1024;

/// Longest version: names of partitions have 36 characters.
const MAX_VERSION: usize = 20;

/// Steps that the sequence number may be away from what a TPM counted so far: a
/// counter goes up one by one.
const MAX_SEQUENCE: u32 = 100_000;

/// The manifest of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    pub format: u32,
    /// `hufu`.
    pub product: String,
    /// The version, for people and file names: up to 20 letters, digits, `.`,
    /// `-`, `~`.
    pub version: String,
    /// The release's number: each is greater than the one before.
    pub sequence: u32,
    /// Once this release runs for good, releases with a smaller sequence number
    /// never run again on the machine.
    pub floor: u32,
    /// `x86-64`.
    pub architecture: String,
    /// `metal` or `cloud`: for which machines the kernel has drivers.
    pub kernel: String,
    /// When it was made, seconds since 1970.
    pub date: u64,
    /// Root hash of the root partition (dm-verity), 64 hexadecimal digits.
    pub root_hash: String,
    /// The parts, in the order in which an update has them.
    pub parts: Vec<Part>,
    /// The list of what is inside, which is published beside the release.
    pub sbom: Sbom,
}

/// A part of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which part it is.
    pub name: PartName,
    /// The file it is published as.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// The partition it goes to; the boot program goes to a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Its size in bytes; after the part's own bytes it holds zeros.
    pub size: u64,
    /// Its identity, which follows from the root hash.
    pub uuid: String,
    /// Its name.
    pub label: String,
}

/// The list of what is inside a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sbom {
    /// Its file.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
}

/// The parts that a release has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartName {
    /// Hashes that the root partition is checked against.
    RootVerity,
    /// The root partition.
    Root,
    /// The boot program: kernel, first files and command line in one, signed.
    Uki,
}

impl PartName {
    /// Every part, in the order in which an update has them. The boot program is
    /// last: before it is there, nothing of the update is ever started.
    pub const ALL: [Self; 3] = [Self::RootVerity, Self::Root, Self::Uki];

    /// As the manifest has it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::RootVerity => "root-verity",
            Self::Root => "root",
            Self::Uki => "uki",
        }
    }
}

fn wrong(field: &'static str, problem: impl Into<String>) -> ReleaseError {
    ReleaseError::Manifest { field, problem: problem.into() }
}

fn digits(field: &'static str, text: &str) -> Result<[u8; 32], ReleaseError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| wrong(field, "64 hexadecimal digits are needed"))?;
    Ok(bytes)
}

impl Manifest {
    /// Checks every field that a machine acts upon.
    ///
    /// # Errors
    /// [`ReleaseError::Manifest`] with the field.
    pub fn check(&self) -> Result<(), ReleaseError> {
        if self.format != 1 {
            let problem =
                format!("{} is not known to this version; update to one between", self.format);
            return Err(wrong("format", problem));
        }
        if self.product != "hufu" {
            return Err(wrong("product", "it is for something else than `hufu`"));
        }
        if self.architecture != "x86-64" {
            return Err(wrong("architecture", "it is not for this machine, which is `x86-64`"));
        }
        check_version(&self.version)?;
        if self.sequence == 0 || self.sequence > MAX_SEQUENCE {
            return Err(wrong("sequence", format!("it is not from 1 to {MAX_SEQUENCE}")));
        }
        if self.floor > self.sequence {
            return Err(wrong("floor", "it is above the release's own sequence number"));
        }
        digits("root_hash", &self.root_hash)?;
        if !self.parts.iter().map(|part| part.name).eq(PartName::ALL) {
            return Err(wrong("parts", "they are not root-verity, root and uki, in this order"));
        }
        self.parts.iter().try_for_each(|part| self.check_part(part))
    }

    fn check_part(&self, part: &Part) -> Result<(), ReleaseError> {
        part.digest()?;
        let (half, suffix) = match part.name {
            PartName::Root => (0..32, ""),
            PartName::RootVerity => (32..64, "_verity"),
            PartName::Uki => {
                let fits = (1..=MAX_UKI).contains(&part.size) && part.slot.is_none();
                return fits.then_some(()).ok_or_else(|| {
                    wrong("parts.uki", format!("it is empty, over {MAX_UKI} bytes, or has a slot"))
                });
            }
        };
        let slot = part.slot.as_ref().ok_or_else(|| wrong("parts.slot", "a partition has none"))?;
        if !(1..=MAX_PARTITION).contains(&slot.size) || part.size > slot.size {
            return Err(wrong("parts.slot.size", "the part does not fit"));
        }
        // The machine finds the partitions of a slot by the halves of the hash.
        let expected = self.root_hash.get(half).unwrap_or_default();
        if slot.uuid.replace('-', "") != expected {
            return Err(wrong("parts.slot.uuid", "it is not the half of the root hash"));
        }
        if slot.label != format!("hufu_{}{suffix}", self.version) {
            return Err(wrong("parts.slot.label", "it does not name the version"));
        }
        Ok(())
    }
}

impl Part {
    /// SHA-256 of its bytes.
    ///
    /// # Errors
    /// [`ReleaseError::Manifest`] when the field is no digest.
    pub fn digest(&self) -> Result<[u8; 32], ReleaseError> {
        digits("parts.sha256", &self.sha256)
    }
}

/// Versions end up in names of files and partitions.
fn check_version(version: &str) -> Result<(), ReleaseError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'~');
    let good = (1..=MAX_VERSION).contains(&version.len()) && version.bytes().all(allowed);
    good.then_some(())
        .ok_or_else(|| wrong("version", "up to 20 letters, digits, `.`, `-` and `~` are needed"))
}
