//! Operators who open backups.

use std::fs;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use anyhow::Context as _;

/// One of them.
pub struct BackupOperator {
    /// The file with the key.
    pub identity: PathBuf,
    /// Whom a backup is made for.
    pub recipient: String,
}

/// A new one, whose key goes to `file` as `age-keygen` writes it.
///
/// # Errors
/// When the file cannot be written.
pub fn make(file: &Path) -> anyhow::Result<BackupOperator> {
    let key = age::x25519::Identity::generate();
    let (recipient, secret) = (key.to_public().to_string(), key.to_string());
    let lines = format!("# public key: {recipient}\n{}\n", secret.expose_secret());
    fs::write(file, lines).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(BackupOperator { identity: file.to_owned(), recipient })
}
