//! The file in which a device keeps its TPM-wrapped keys, `device.tpmkeys`.
//!
//! It holds no secret that is of use without the TPM: private parts are
//! encrypted by the TPM to a storage key that never leaves it. Losing the file
//! loses the keys. All integers are big-endian.
//!
//! ```text
//! offset  size  field
//!      0     8  "HUFUTPMK"
//!      8     2  version: 1
//!     10     2  kind of the EK under which the AK lies: 1 RSA-2048, 2 P-384, 3 P-256
//!     12   2+n  TPM2B_PUBLIC of the AK
//!      .   2+n  TPM2B_PRIVATE of the AK, child of the EK
//!      .   2+n  TPM2B_PUBLIC of the device key
//!      .   2+n  TPM2B_PRIVATE of the device key, child of the storage root key
//!      .    32  SHA-256 of all before it, against torn writes
//! ```

use aws_lc_rs::digest;

use crate::attest::Public;
use crate::attest::limits::MAX_PUBLIC;
use crate::attest::wire::{Reader, WireError, Writer};

/// Name of the file in a state directory.
pub const FILE_NAME: &str = "device.tpmkeys";
/// Largest file that is read, in bytes.
pub const MAX_FILE: usize = 8 * 1024;
/// Largest `TPM2B_PRIVATE`, without its size, in bytes.
const MAX_PRIVATE: usize = 2048;

const MAGIC: [u8; 8] = *b"HUFUTPMK";
const VERSION: u16 = 1;

/// Which endorsement key of a TPM is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EkKind {
    /// RSA-2048, certificate at NV index 0x01c00002.
    Rsa2048,
    /// P-384, certificate at NV index 0x01c00016.
    EccP384,
    /// P-256, certificate at NV index 0x01c0000a.
    EccP256,
}

impl EkKind {
    fn to_wire(self) -> u16 {
        match self {
            Self::Rsa2048 => 1,
            Self::EccP384 => 2,
            Self::EccP256 => 3,
        }
    }
}

/// One wrapped key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Public area.
    pub public: Public,
    /// Content of the `TPM2B_PRIVATE`.
    pub private: Vec<u8>,
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The EK under which the AK lies.
    pub ek: EkKind,
    /// Attestation key.
    pub attestation_key: WrappedKey,
    /// Device key.
    pub device_key: WrappedKey,
}

/// Why a key file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It is no key file.
    #[error("it does not begin with HUFUTPMK")]
    Magic,
    /// It was written by another version.
    #[error("it has version {0}, this program reads version 1")]
    Version(u16),
    /// It was cut off or altered.
    #[error("its checksum is wrong: it was cut off or altered; restore it from a backup")]
    Checksum,
    /// A field is wrong.
    #[error("{0}")]
    Malformed(#[from] WireError),
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let mut reader = Reader::new(bytes, "key file", MAX_FILE)?;
        if reader.array("magic")? != MAGIC {
            return Err(KeyFileError::Magic);
        }
        let version = reader.u16("version")?;
        if version != VERSION {
            return Err(KeyFileError::Version(version));
        }
        let Some((body, checksum)) = bytes.split_last_chunk::<32>() else {
            return Err(KeyFileError::Checksum);
        };
        if digest::digest(&digest::SHA256, body).as_ref() != checksum {
            return Err(KeyFileError::Checksum);
        }
        let position = reader.position();
        let ek = match reader.u16("kind of the EK")? {
            1 => EkKind::Rsa2048,
            2 => EkKind::EccP384,
            3 => EkKind::EccP256,
            other => {
                let error = Reader::refuse("kind of the EK", position, other.into());
                return Err(error.into());
            }
        };
        let attestation_key = read_key(&mut reader)?;
        let device_key = read_key(&mut reader)?;
        reader.take("checksum", 32)?;
        reader.finish()?;
        Ok(Self { ek, attestation_key, device_key })
    }

    /// Writes a key file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(&MAGIC).u16(VERSION).u16(self.ek.to_wire());
        for key in [&self.attestation_key, &self.device_key] {
            writer.sized(&key.public.to_tpmt()).sized(&key.private);
        }
        let mut bytes = writer.finish();
        let checksum = digest::digest(&digest::SHA256, &bytes);
        bytes.extend_from_slice(checksum.as_ref());
        bytes
    }
}

fn read_key(reader: &mut Reader<'_>) -> Result<WrappedKey, WireError> {
    let public = Public::from_tpmt(reader.sized("public area", 1, MAX_PUBLIC)?)?;
    let private = reader.sized("private part", 1, MAX_PRIVATE)?.to_vec();
    Ok(WrappedKey { public, private })
}
