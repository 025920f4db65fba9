//! Where a PIN comes from: a file descriptor, a systemd credential, a prompt.
//! Never an argument, the environment or the configuration.

use anyhow::Context as _;
use hufu_keys::Pin;
use zeroize::Zeroizing;

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

fn prompt(question: &str) -> anyhow::Result<Pin> {
    let text = rpassword::prompt_password(question)
        .context("no terminal to ask for the PIN: give it with --pin-fd or a systemd credential")?;
    Ok(Pin::new(Zeroizing::new(text))?)
}
