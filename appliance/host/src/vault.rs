//! The token's PINs on disk: encrypted by `systemd-creds`, so that they open on
//! this machine alone, in the state that was measured when they were sealed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use hufu_configuration::files;
use zeroize::Zeroizing;

use crate::spawn;

/// The token's user PIN.
pub const PIN: &str = "hufu-pin";

/// The token's security-officer PIN.
pub const SO_PIN: &str = "hufu-so-pin";

/// Largest sealed secret, in bytes.
const MAX_SEALED: u64 = 64 * 1024;

/// What secrets are sealed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Seal {
    /// The machine's TPM: PCR 7 (Secure Boot) as it is, and PCR 11 (the booted
    /// image) as signed by the image's maker, so that an update opens them too.
    Tpm2,
    /// A key file of this machine's system, readable by root: for a machine
    /// without TPM.
    Host,
    /// Nothing: the secrets lie open. For tests.
    Null,
}

impl Seal {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            // systemd finds the public key that belongs to the signature in
            // /run/systemd/tpm2-pcr-public-key.pem, where the boot stub put it.
            Self::Tpm2 => {
                &["--with-key=tpm2-with-public-key", "--tpm2-pcrs=7", "--tpm2-public-key-pcrs=11"]
            }
            Self::Host => &["--with-key=host"],
            // The name that all versions know.
            Self::Null => &["--with-key=tpm2-absent"],
        }
    }
}

/// Sealed secrets in a directory.
#[derive(Clone, Debug)]
pub struct Vault {
    seal: Seal,
    directory: PathBuf,
}

impl Vault {
    /// The secrets in `directory`.
    pub fn new(seal: Seal, directory: PathBuf) -> Self {
        Self { seal, directory }
    }

    /// The same, in another directory.
    pub fn at(&self, directory: PathBuf) -> Self {
        Self { seal: self.seal, directory }
    }

    /// Where a secret is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Seals a secret, durably, in place of one that was there.
    ///
    /// # Errors
    /// What `systemd-creds` said.
    pub async fn seal(&self, name: &str, secret: &str) -> anyhow::Result<()> {
        let mut command = spawn::command("systemd-creds");
        command.arg("encrypt").arg(format!("--name={name}"));
        command.args(self.seal.arguments()).args(["-", "-"]);
        let sealed = spawn::run(command, secret.as_bytes())
            .await
            .with_context(|| format!("sealing the credential `{name}`"))?;
        anyhow::ensure!(!sealed.is_empty(), "systemd-creds gave no credential `{name}`");
        files::write(&self.path(name), &sealed)
    }

    /// Opens a secret.
    ///
    /// # Errors
    /// What `systemd-creds` said.
    pub async fn open(&self, name: &str) -> anyhow::Result<Zeroizing<String>> {
        let path = self.path(name);
        let what = || format!("the credential {} does not open", path.display());
        // Read here, so that a file that is not there is told as such.
        let sealed = files::read(&path, MAX_SEALED).with_context(what)?;
        let mut command = spawn::command("systemd-creds");
        command.arg("decrypt").arg(format!("--name={name}")).args(["-", "-"]);
        let secret = spawn::run(command, &sealed).await.with_context(what)?;
        let secret = std::str::from_utf8(&secret).ok().with_context(what)?;
        Ok(Zeroizing::new(secret.to_owned()))
    }

    /// Whether there is such a secret.
    pub fn has(&self, name: &str) -> bool {
        Path::exists(&self.path(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_sealed_opens_under_its_name_only() {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::new(Seal::Null, directory.path().to_owned());
        assert!(!vault.has(PIN));
        assert!(format!("{:#}", vault.open(PIN).await.unwrap_err()).contains("hufu-pin"));
        vault.seal(PIN, "1234").await.unwrap();
        vault.seal(PIN, "5678").await.unwrap();
        assert!(vault.has(PIN));
        assert_eq!(*vault.open(PIN).await.unwrap(), "5678");
        std::fs::rename(vault.path(PIN), vault.path(SO_PIN)).unwrap();
        assert!(vault.open(SO_PIN).await.is_err());
        std::fs::write(vault.path(PIN), "nonsense").unwrap();
        assert!(vault.open(PIN).await.is_err());
    }

    #[test]
    fn the_tpm_is_bound_to_secure_boot_and_to_the_signed_image() {
        let arguments = Seal::Tpm2.arguments().join(" ");
        assert!(arguments.contains("--tpm2-pcrs=7"), "{arguments}");
        assert!(arguments.contains("--tpm2-public-key-pcrs=11"), "{arguments}");
    }
}
