//! The release that runs, as its image says.

use anyhow::Context as _;
use hufu_configuration::files;
use hufu_release::{Manifest, ReleaseKey};
use serde::Deserialize;

use crate::site::Site;

/// Largest of the image's own files about its release, in bytes.
const MAX: u64 = 64 * 1024;

/// The release that runs. It is written into the image, whose bytes are checked
/// against the signed root hash.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Its version.
    pub version: String,
    /// Its sequence number.
    pub sequence: u32,
    /// What it makes the least sequence number that ever runs again.
    pub floor: u32,
    /// `metal` or `cloud`.
    pub kernel: String,
}

impl Running {
    /// Reads what the image says.
    ///
    /// # Errors
    /// Where this is not an image of the appliance.
    pub fn read(site: &Site) -> anyhow::Result<Self> {
        let path = site.image("release.json");
        let bytes = files::read(&path, MAX)?;
        serde_json::from_slice(&bytes).with_context(|| format!("in {}", path.display()))
    }
}

/// Whose releases this machine takes.
pub(super) fn key(site: &Site) -> anyhow::Result<ReleaseKey> {
    let path = site.image("release.pem");
    let pem = files::read(&path, MAX)?;
    let pem = String::from_utf8(pem).with_context(|| format!("in {}", path.display()))?;
    ReleaseKey::from_pem(&pem).with_context(|| format!("in {}", path.display()))
}

/// Whether a machine on which `running` runs takes the release of `manifest`.
///
/// # Errors
/// A sentence that says why not.
pub(super) fn check(running: &Running, floor: u32, manifest: &Manifest) -> anyhow::Result<()> {
    let Running { version, sequence, kernel, .. } = running;
    anyhow::ensure!(
        manifest.sequence >= floor,
        "version {} has sequence number {}, and nothing below {floor} runs on this machine any \
         more; take a newer release",
        manifest.version,
        manifest.sequence
    );
    anyhow::ensure!(
        manifest.version != *version && manifest.sequence != *sequence,
        "version {version} runs already"
    );
    anyhow::ensure!(
        manifest.kernel == *kernel,
        "it is for `{}` machines, this one runs the image for `{kernel}`",
        manifest.kernel
    );
    Ok(())
}
