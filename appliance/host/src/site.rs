//! Where things are on the machine (docs/decisions/0009), what is still missing
//! of them, and whose they are.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::files;
use serde::Serialize;

/// Largest account file that is read, in bytes.
const MAX_ACCOUNTS: u64 = 1024 * 1024;

/// What the machine needs before it is a node, in the order in which it gets
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Configuration and witnesses; the machine holds the key ceremony.
    Ceremony,
    /// The genesis file.
    Genesis,
    /// The chain of the node's TLS certificate.
    Certificate,
}

impl Stage {
    /// What is missing, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ceremony => "configuration and key ceremony",
            Self::Genesis => "genesis file",
            Self::Certificate => "TLS certificate",
        }
    }
}

/// An account of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

impl Account {
    /// The account called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let accounts = files::read(Path::new("/etc/passwd"), MAX_ACCOUNTS)?;
        Self::in_passwd(&String::from_utf8_lossy(&accounts), name)
            .with_context(|| format!("there is no user `{name}` on this machine"))
    }

    fn in_passwd(text: &str, name: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let user = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Self { user, group })
    }
}

/// The places of decision 0009, under a root.
#[derive(Clone, Debug)]
pub struct Site {
    root: PathBuf,
    /// Who runs the node and owns what it keeps; nobody else than we where it
    /// is `None`.
    pub account: Option<Account>,
}

impl Site {
    /// The places under `root`, which is `/` on the appliance.
    pub fn new(root: &Path, account: Option<Account>) -> Self {
        Self { root: root.to_owned(), account }
    }

    /// What stands for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn state(&self, name: &str) -> PathBuf {
        self.root.join("var/lib/hufu").join(name)
    }

    /// A path in the directory that a reboot empties.
    pub fn run(&self, name: &str) -> PathBuf {
        self.root.join("run/hufu").join(name)
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.state("hufu.toml")
    }

    /// The genesis file.
    pub fn genesis(&self) -> PathBuf {
        self.state("genesis.json")
    }

    /// What the node keeps.
    pub fn data(&self, name: &str) -> PathBuf {
        match name {
            "" => self.state("data"),
            name => self.state("data").join(name),
        }
    }

    /// What `SOFTHSM2_CONF` names for the node.
    pub fn softhsm(&self) -> PathBuf {
        self.state("softhsm2.conf")
    }

    /// What an update leaves behind for its trial.
    pub fn pending_upgrade(&self) -> PathBuf {
        self.state("upgrade.json")
    }

    /// Where an update is kept until all of it is there.
    pub fn upgrade(&self) -> PathBuf {
        self.state("upgrade")
    }

    /// Where it is noted that this boot was good.
    pub fn blessed(&self) -> PathBuf {
        self.run("blessed")
    }

    /// Where signed extensions of the image are.
    pub fn extensions(&self) -> PathBuf {
        self.root.join("var/lib/extensions")
    }

    /// Addresses of the machine's network cards.
    pub fn network(&self) -> PathBuf {
        self.state("network")
    }

    /// Where the TPM's counter began.
    pub fn floor(&self) -> PathBuf {
        self.state("floor")
    }

    /// What the image says of itself.
    pub fn image(&self, name: &str) -> PathBuf {
        self.root.join("usr/share/hufu").join(name)
    }

    /// Sealed secrets.
    pub fn credentials(&self) -> PathBuf {
        self.state("credentials")
    }

    /// The machine's state, for whoever looks.
    pub fn state_file(&self) -> PathBuf {
        self.run("state.json")
    }

    /// Where this process listens for the node.
    pub fn socket(&self) -> PathBuf {
        self.run("appliance.sock")
    }

    /// The token of the setup endpoint, in memory.
    pub fn setup_token(&self) -> PathBuf {
        self.run("setup")
    }

    /// SoftHSM2's tokens.
    pub fn tokens(&self) -> PathBuf {
        self.state("tokens")
    }

    /// Where a backup is opened.
    pub fn restoring(&self) -> PathBuf {
        self.state("restore")
    }

    /// What was opened and is to take its place.
    pub fn restored(&self) -> PathBuf {
        self.state("restore.ready")
    }

    /// Where it is noted that the machine goes back to its factory state.
    pub fn reset_note(&self) -> PathBuf {
        self.state("reset.json")
    }

    /// Everything that the machine keeps.
    pub fn kept(&self) -> PathBuf {
        self.state("")
    }

    /// Makes the directories and the configuration of SoftHSM2.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn prepare(&self) -> anyhow::Result<()> {
        directory(&self.run(""), 0o755, None)?;
        // The node reads here, and writes only below.
        directory(&self.state(""), 0o750, None)?;
        share(&self.state(""), 0o750, self.account)?;
        directory(&self.credentials(), 0o700, None)?;
        directory(&self.data(""), 0o700, self.account)?;
        directory(&self.tokens(), 0o700, self.account)?;
        let settings = softhsm(&self.tokens());
        if fs::read(self.softhsm()).ok().as_deref() != Some(settings.as_bytes()) {
            self.write(&self.softhsm(), settings.as_bytes())?;
        }
        // A power failure may have kept a file and lost whose it is.
        for path in [self.softhsm(), self.config(), self.genesis()] {
            if path.exists() {
                share(&path, 0o640, self.account)?;
            }
        }
        Ok(())
    }

    /// Writes a file that the node reads and does not change.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        files::write(path, bytes)?;
        share(path, 0o640, self.account)
    }

    /// What is missing, in order.
    ///
    /// # Errors
    /// When the configuration that is there cannot be used.
    pub fn missing(&self) -> anyhow::Result<Vec<Stage>> {
        let mut missing = Vec::new();
        if !self.ceremony_held() {
            return Ok(vec![Stage::Ceremony, Stage::Genesis, Stage::Certificate]);
        }
        if !self.genesis().exists() {
            missing.push(Stage::Genesis);
        }
        let services = Config::load(&self.config())?.services;
        let certified = self.data("tls.pem").exists();
        if (services.gateway.is_some() || services.est.is_some()) && !certified {
            missing.push(Stage::Certificate);
        }
        Ok(missing)
    }

    /// Whether the ceremony was held. Its transcript is written last.
    pub fn ceremony_held(&self) -> bool {
        self.config().exists() && self.data("transcript.json").exists()
    }
}

/// Whether something is mounted at `path`.
///
/// # Errors
/// A sentence with the path.
pub fn is_mounted(path: &Path) -> anyhow::Result<bool> {
    let what = || format!("cannot look at {}", path.display());
    let here = fs::metadata(path).with_context(what)?;
    let above = fs::metadata(path.join("..")).with_context(what)?;
    Ok(here.dev() != above.dev() || here.ino() == above.ino())
}

/// What SoftHSM2 is told: where tokens are.
pub fn softhsm(tokens: &Path) -> String {
    format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    )
}

/// Makes a directory of `account` with these permissions.
///
/// # Errors
/// A sentence with the path.
pub fn directory(path: &Path, mode: u32, account: Option<Account>) -> anyhow::Result<()> {
    let what = || format!("cannot make {}", path.display());
    fs::create_dir_all(path).with_context(what)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(what)?;
    give(path, account)
}

/// Leaves something ours, and lets the account's group have what `mode` gives.
fn share(path: &Path, mode: u32, account: Option<Account>) -> anyhow::Result<()> {
    let Some(account) = account else { return Ok(()) };
    let ours = rustix::process::getuid().as_raw();
    chown(path, Some(ours), Some(account.group))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot let the node's user read {}", path.display()))
}

/// Gives something to the account.
///
/// # Errors
/// A sentence with the path.
pub fn give(path: &Path, account: Option<Account>) -> anyhow::Result<()> {
    let Some(account) = account else { return Ok(()) };
    chown(path, Some(account.user), Some(account.group))
        .with_context(|| format!("cannot give {} to the node's user", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let text = "root:x:0:0:root:/root:/bin/sh\nhufu-x:x:1:1::/:\nhufu:x:979:978::/:/sbin/nologin\n\nbad:x:y:1";
        let found = Account::in_passwd(text, "hufu");
        assert_eq!(found, Some(Account { user: 979, group: 978 }));
        for none in ["huf", "bad", "", "nobody"] {
            assert_eq!(Account::in_passwd(text, none), None, "{none}");
        }
    }

    #[test]
    fn a_new_machine_misses_everything_and_has_its_directories() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        site.prepare().unwrap();
        site.prepare().unwrap();
        assert_eq!(site.missing().unwrap(), [Stage::Ceremony, Stage::Genesis, Stage::Certificate]);
        let mode = fs::metadata(site.credentials()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // A configuration without transcript: the ceremony broke off.
        fs::write(site.config(), "").unwrap();
        assert_eq!(site.missing().unwrap()[0], Stage::Ceremony);
        // A transcript with a configuration that cannot be read is no start.
        fs::write(site.data("transcript.json"), "{}").unwrap();
        assert!(site.missing().is_err());
    }

    #[test]
    fn files_that_lost_their_owner_get_it_again() {
        let root = tempfile::tempdir().unwrap();
        let meta = fs::metadata(root.path()).unwrap();
        let site = Site::new(root.path(), Some(Account { user: meta.uid(), group: meta.gid() }));
        site.prepare().unwrap();
        fs::write(site.config(), "").unwrap();
        for path in [site.softhsm(), site.config()] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            site.prepare().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
    }

    #[test]
    fn a_mount_point_is_told_from_a_directory() {
        assert!(is_mounted(Path::new("/")).unwrap());
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(tempfile::tempdir().unwrap().path()).unwrap());
        assert!(is_mounted(Path::new("/nonexistent")).is_err());
    }
}
