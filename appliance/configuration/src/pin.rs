//! Where a PIN comes from: a file descriptor, a systemd credential, a prompt.
//! Never an argument, the environment or the configuration.

use std::io::Read as _;

use anyhow::Context as _;
use hufu_keys::{MAX_PIN_LEN, Pin};
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

/// A PIN that goes elsewhere, from a descriptor; whoever gets it checks it.
///
/// # Errors
/// When it cannot be read.
pub fn text(fd: u32) -> anyhow::Result<Zeroizing<String>> {
    let what = || format!("file descriptor {fd}");
    let mut text = Zeroizing::new(String::with_capacity(MAX_PIN_LEN + 4));
    let file = hufu_keys::take_descriptor(fd).with_context(what)?;
    file.take(MAX_PIN_LEN as u64 + 3).read_to_string(&mut text).with_context(what)?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn prompt(question: &str) -> anyhow::Result<Pin> {
    let text = rpassword::prompt_password(question)
        .context("no terminal to ask for the PIN: give it with --pin-fd or a systemd credential")?;
    Ok(Pin::new(Zeroizing::new(text))?)
}
