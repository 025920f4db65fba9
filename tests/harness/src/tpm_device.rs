//! A device with a TPM of its own and the `hufu` agent on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_tpm::swtpm::{Manufacturer, Swtpm};

use crate::Member;
use crate::est::{self, Enrolled};
use crate::process::{self, Answer, Watchdog};

/// A device whose key lives in its TPM.
#[derive(Debug)]
pub struct TpmDevice {
    /// Its identifier.
    pub id: String,
    directory: PathBuf,
    tpm: Swtpm,
}

impl TpmDevice {
    /// Makes the TPM of the device `id` under `directory` where there is none.
    ///
    /// # Errors
    /// When `swtpm_setup` does not succeed.
    pub fn make(manufacturer: &Manufacturer, directory: &Path, id: &str) -> anyhow::Result<()> {
        let state = directory.join(id).join("tpm");
        manufacturer.make(&state).with_context(|| format!("the TPM of {id}"))
    }

    /// Switches the device on.
    ///
    /// # Errors
    /// When its TPM does not start.
    pub fn start(directory: &Path, id: &str, watchdog: &Watchdog) -> anyhow::Result<Self> {
        let directory = directory.join(id);
        let tpm =
            Swtpm::start(&directory.join("tpm")).with_context(|| format!("the TPM of {id}"))?;
        watchdog.note(&format!("tpm-{id}"), tpm.process_id())?;
        fs::create_dir_all(directory.join("agent"))?;
        Ok(Self { id: id.to_owned(), directory, tpm })
    }

    /// How the agent reaches the TPM.
    pub fn tcti(&self) -> String {
        self.tpm.tcti()
    }

    /// What the agent keeps.
    pub fn state(&self) -> PathBuf {
        self.directory.join("agent")
    }

    /// Where its certificate is.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// Whether it has a certificate.
    pub fn is_enrolled(&self) -> bool {
        self.certificate().exists()
    }

    /// Its certificate.
    ///
    /// # Errors
    /// Before it is enrolled.
    pub fn enrolled(&self) -> anyhow::Result<Enrolled> {
        let path = self.certificate();
        let pem =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Enrolled { der: est::der_of_pem(&pem)?.swap_remove(0) })
    }

    /// Enrols on the production line of `maker`. Says how that ended, also
    /// when it was refused.
    ///
    /// # Errors
    /// When the agent does not start.
    pub fn enrol(&self, maker: &Member, est_url: &str, root: &Path) -> anyhow::Result<Answer> {
        let mut command = maker.hufu(&["device", "enroll", "--tcti", &self.tcti()]);
        command
            .arg("--state")
            .arg(self.state())
            .args(["--est", est_url, "--device-id", &self.id, "--ca"])
            .arg(root)
            .arg("--out")
            .arg(self.certificate());
        process::run(&mut command)
    }

    /// Signs the readings in `file` and sends them to `gateway`; those that were
    /// measured before the device was enrolled from `measured_from` on.
    ///
    /// # Errors
    /// When the agent does not start.
    pub fn send(
        &self,
        hufu: &Path,
        gateway_url: &str,
        root: &Path,
        genesis: &Path,
        file: &Path,
        measured_from: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut command = std::process::Command::new(hufu);
        command
            .args(["--json", "device", "send", "--tcti", &self.tcti(), "--state"])
            .arg(self.state())
            .args(["--gateway", gateway_url, "--ca"])
            .arg(root)
            .arg("--genesis")
            .arg(genesis)
            .args(["--contract", "operation-supervision", "--stream", "reading", "--file"])
            .arg(file);
        if let Some(time) = measured_from {
            command.args(["--measured-from", time]);
        }
        process::run(&mut command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tpm_listens_and_ends_with_its_device() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let manufacturer = Manufacturer::open(&directory.path().join("manufacturer"))?;
        let watchdog = Watchdog::start(&directory.path().join("run"), None)?;
        TpmDevice::make(&manufacturer, directory.path(), "T-1")?;
        assert!(manufacturer.roots_pem()?.contains("BEGIN CERTIFICATE"));
        let device = TpmDevice::start(directory.path(), "T-1", &watchdog)?;
        assert!(device.tcti().starts_with("swtpm:host=127.0.0.1,port="));
        assert!(!device.is_enrolled());
        let process = Path::new("/proc").join(device.tpm.process_id().to_string());
        assert!(process.exists());
        drop(device);
        assert!(!process.exists());
        Ok(())
    }
}
