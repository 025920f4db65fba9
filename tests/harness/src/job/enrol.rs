//! Step 3: devices get their certificates.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use hufu_proof::Algorithm;

use super::Fleet;
use crate::consortium::{Consortium, in_parallel};
use crate::device::Device;
use crate::est::Est;

/// The profile of devices without a TPM.
pub const PROFILE: &str = "idevid";

/// Enrolments that run at the same time, as on a production line.
const LANES: usize = 16;

/// Makes `count` simulated devices and switches the TPM devices on; none is
/// enrolled yet, unless in an earlier run on the same directory.
///
/// # Errors
/// When a device cannot be made.
pub fn assemble(consortium: &Consortium, count: usize) -> anyhow::Result<Fleet> {
    let directory = consortium.path("devices");
    fs::create_dir_all(&directory)?;
    let mut simulated = Vec::with_capacity(count);
    for number in 1..=count {
        let id = format!("SIM-{number:03}");
        let path = directory.join(format!("{id}.json"));
        if path.exists() {
            simulated.push(Device::load(&path)?);
            continue;
        }
        // Both algorithms that devices without a TPM use.
        let algorithm = if number % 2 == 0 { Algorithm::EcdsaP256 } else { Algorithm::Ed25519 };
        let device = Device::new(&id, algorithm)?;
        device.save(&path)?;
        simulated.push(device);
    }
    let tpm = consortium.start_tpm_devices()?;
    Ok(Fleet { simulated, tpm, directory })
}

/// Enrols every simulated device that has no certificate, over EST; `seen` is
/// told how many are done.
///
/// # Errors
/// The first refusal.
pub fn simulated(
    est: &Est,
    fleet: &mut Fleet,
    seen: impl Fn(usize) + Sync,
) -> anyhow::Result<usize> {
    let directory = &fleet.directory;
    let waiting: Vec<Mutex<&mut Device>> = fleet
        .simulated
        .iter_mut()
        .filter(|device| device.certificate.is_none())
        .map(Mutex::new)
        .collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lanes: Vec<usize> = (0..LANES.min(waiting.len())).collect();
    in_parallel(&lanes, |_| {
        while let Some(device) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut device = device.lock().map_err(|_| anyhow::anyhow!("another lane panicked"))?;
            let certificate = match est.enrol(PROFILE, &device.request()?)? {
                Ok(certificate) => certificate,
                Err(refused) => {
                    bail!("{} was refused: {} {}", device.id, refused.status, refused.reason)
                }
            };
            device.certificate = Some(certificate);
            device.save(&directory.join(format!("{}.json", device.id)))?;
            seen(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        Ok(())
    })?;
    Ok(waiting.len())
}

/// Enrols every TPM device that has no certificate, through the agent.
///
/// # Errors
/// The first refusal.
pub fn attested(
    consortium: &Consortium,
    fleet: &Fleet,
    seen: impl Fn(usize) + Sync,
) -> anyhow::Result<usize> {
    let mut enrolled = 0;
    let url = consortium.authority().est_url();
    for device in &fleet.tpm {
        if !device.is_enrolled() {
            device.enrol(consortium.maker(), &url, &consortium.root_path())?.success()?;
            enrolled += 1;
        }
        seen(enrolled);
    }
    Ok(enrolled)
}

/// What an enrolment that must not succeed was refused with: a TPM whose maker
/// nobody knows.
///
/// # Errors
/// When it was not refused.
pub fn unknown_tpm_is_refused(consortium: &Consortium) -> anyhow::Result<String> {
    let directory = consortium.path("stranger");
    let manufacturer = hufu_tpm::swtpm::Manufacturer::open(&directory.join("manufacturer"))?;
    let id = "TPM-STRANGER";
    crate::tpm_device::TpmDevice::make(&manufacturer, &directory, id)?;
    let device = consortium.start_tpm_device(&directory, id)?;
    let url = consortium.authority().est_url();
    let answer = device.enrol(consortium.maker(), &url, &consortium.root_path())?;
    ensure!(!answer.status.success(), "a TPM of an unknown maker was enrolled");
    ensure!(!device.is_enrolled(), "a TPM of an unknown maker was given a certificate");
    let reason = answer.stderr.lines().rev().find(|line| !line.trim().is_empty());
    Ok(reason.context("it was refused without a reason")?.trim().to_owned())
}
