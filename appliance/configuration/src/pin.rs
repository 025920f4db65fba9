//! Where a PIN comes from: a file descriptor, a systemd credential, a prompt.
//! Never an argument, the environment or the configuration.

use anyhow::Context as _;
use hufu_keys::{MAX_PIN_LEN, Pin};
use zeroize::Zeroizing;

use crate::files;

/// The systemd credential with the user PIN.
const CREDENTIAL: &str = "hufu-pin";

/// The token's user PIN.
///
/// # Errors
/// A sentence that says where it was looked for.
pub fn user(fd: Option<u32>) -> anyhow::Result<Pin> {
    if let Some(fd) = fd {
        return Ok(Pin::from_fd(fd)?);
    }
    if std::env::var_os("CREDENTIALS_DIRECTORY").is_some() {
        return Ok(Pin::from_credential(CREDENTIAL)?);
    }
    prompt("Token PIN: ")
}

/// The token's security-officer PIN.
///
/// # Errors
/// A sentence that says where it was looked for.
pub fn security_officer(fd: Option<u32>) -> anyhow::Result<Pin> {
    match fd {
        Some(fd) => Ok(Pin::from_fd(fd)?),
        None => prompt("Security officer PIN of the new token: "),
    }
}

/// A PIN that goes elsewhere, from a descriptor; whoever gets it checks it.
///
/// # Errors
/// When it cannot be read.
pub fn text(fd: u32) -> anyhow::Result<Zeroizing<String>> {
    let path = format!("/proc/self/fd/{fd}");
    let bytes = Zeroizing::new(files::read(path.as_ref(), MAX_PIN_LEN as u64 + 2)?);
    let text = std::str::from_utf8(&bytes).context("the PIN is not text")?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn prompt(question: &str) -> anyhow::Result<Pin> {
    let text = rpassword::prompt_password(question)
        .context("no terminal to ask for the PIN: give it with --pin-fd or a systemd credential")?;
    Ok(Pin::new(Zeroizing::new(text))?)
}
