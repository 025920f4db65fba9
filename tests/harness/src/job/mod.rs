//! The main job, step by step. The demonstration shows what these functions
//! give, the tests assert on it.

pub mod enrol;
pub mod life;
pub mod proof;
pub mod record;
pub mod report;
pub mod revoke;

use std::path::PathBuf;

use anyhow::Context as _;

use crate::device::Device;
use crate::tpm_device::TpmDevice;

/// All devices of the consortium.
pub struct Fleet {
    /// Those with keys in software.
    pub simulated: Vec<Device>,
    /// Those with a TPM.
    pub tpm: Vec<TpmDevice>,
    directory: PathBuf,
}

impl Fleet {
    /// Writes what a simulated device must not forget.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, device: &Device) -> anyhow::Result<()> {
        device.save(&self.directory.join(format!("{}.json", device.id)))
    }

    /// The device that is going to be revoked.
    ///
    /// # Errors
    /// When there are no simulated devices.
    pub fn condemned(&mut self) -> anyhow::Result<&mut Device> {
        self.simulated.last_mut().context("there are no simulated devices")
    }
}
