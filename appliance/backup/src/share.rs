//! Shares of the identity that opens a backup.
//!
//! ```text
//! hufu-share-1:ID:NUMBER:HEX
//! ```
//!
//! `ID` names the backup, `NUMBER` is the point (from 1), `HEX` the values at
//! it, one byte for each byte of the identity's text.

use std::fmt;
use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use age::{tag, tagpq, x25519};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blahaj::Sharks;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::BackupError;
use crate::head::{Head, Operator, Plan};

/// Most operators of a backup.
pub const MAX_OPERATORS: usize = 16;

/// Longest text of a share, in bytes.
pub const MAX_SHARE: usize = 1024;

const PREFIX: &str = "hufu-share-1";

/// Bytes of an identity's text: `AGE-SECRET-KEY-1` and 58 letters.
const SECRET: usize = 74;

/// A share that its operator has opened. Its text is a secret.
#[derive(Clone)]
pub struct Share {
    id: String,
    index: u8,
    text: Zeroizing<String>,
    values: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "share {} of {}", self.index, self.id)
    }
}

impl Share {
    /// Reads a share's text; blanks around it do not matter.
    ///
    /// # Errors
    /// [`BackupError::ShareForm`].
    pub fn parse(text: &str) -> Result<Self, BackupError> {
        let form = BackupError::ShareForm;
        let text = text.trim();
        if text.len() > MAX_SHARE {
            return Err(form("it is too long"));
        }
        let mut parts = text.split(':');
        if parts.next() != Some(PREFIX) {
            return Err(form("it does not begin with `hufu-share-1`"));
        }
        let (Some(id), Some(index), Some(values), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(form("it has not four parts"));
        };
        let index = index.parse().ok().filter(|index| *index > 0);
        let index = index.ok_or(form("its number is none"))?;
        let values = hex::decode(values).map(Zeroizing::new).ok();
        let values = values
            .filter(|values| values.len() == SECRET)
            .ok_or(form("it is cut off or mistyped"))?;
        Ok(Self { id: id.to_owned(), index, text: Zeroizing::new(text.to_owned()), values })
    }

    /// Its number, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is the one that was made for the backup with this head.
    ///
    /// # Errors
    /// [`BackupError`] when it is not.
    pub fn check(&self, head: &Head) -> Result<(), BackupError> {
        if self.id != head.id {
            let (found, id) = (self.id.clone(), head.id.clone());
            return Err(BackupError::OtherBackup { found, id });
        }
        let operator = head.operators.get(usize::from(self.index) - 1);
        match operator {
            Some(operator) if operator.share_sha256 == digest(&self.text) => Ok(()),
            _ => Err(BackupError::ShareWrong { index: self.index }),
        }
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Whether something can be encrypted to `recipient`.
///
/// # Errors
/// [`BackupError::Recipient`] when it cannot.
pub fn check_recipient(recipient: &str) -> Result<(), BackupError> {
    parse_recipient(recipient).map(drop)
}

/// Native recipients, and those of hardware keys that need no plugin to encrypt
/// to: where backups are made there is none.
fn parse_recipient(text: &str) -> Result<Box<dyn age::Recipient>, BackupError> {
    if let Ok(recipient) = x25519::Recipient::from_str(text) {
        return Ok(Box::new(recipient));
    }
    if let Ok(recipient) = tag::Recipient::from_str(text) {
        return Ok(Box::new(recipient));
    }
    if let Ok(recipient) = tagpq::Recipient::from_str(text) {
        return Ok(Box::new(recipient));
    }
    let problem = match text.rsplit_once('1') {
        Some((kind, _)) if kind.starts_with("age1") => {
            "it needs a plugin to encrypt to, and there is none where backups are made"
        }
        _ => "it is no age recipient, or mistyped",
    };
    // Somebody may have given the secret key by mistake.
    let recipient = text.chars().take(16).collect::<String>();
    Err(BackupError::Recipient { recipient: recipient + "...", problem })
}

/// A fresh identity, and the head with its shares.
pub(crate) fn deal(plan: &Plan) -> Result<(x25519::Identity, Head), BackupError> {
    let count = plan.recipients.len();
    if count == 0 || count > MAX_OPERATORS {
        return Err(BackupError::Recipients("name 1 to 16 operators' recipients"));
    }
    if plan.threshold == 0 || usize::from(plan.threshold) > count {
        return Err(BackupError::Threshold { threshold: plan.threshold, operators: count });
    }
    let mut seen = plan.recipients.clone();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() != count {
        return Err(BackupError::Recipients("one is named twice, and would hold two shares"));
    }
    let recipients =
        plan.recipients.iter().map(|text| parse_recipient(text)).collect::<Result<Vec<_>, _>>()?;
    let identity = x25519::Identity::generate();
    let secret = identity.to_string();
    let secret = secret.expose_secret().as_bytes();
    let named = Sha256::new().chain_update(b"hufu backup id").chain_update(secret).finalize();
    let id = hex::encode(&named[..8]);
    let mut operators = Vec::with_capacity(count);
    let shares = Sharks(plan.threshold).dealer(secret);
    for ((share, recipient), name) in shares.zip(&recipients).zip(&plan.recipients) {
        let point = Zeroizing::new(Vec::from(&share));
        let values = Zeroizing::new(hex::encode(&point[1..]));
        let text = Zeroizing::new(format!("{PREFIX}:{id}:{}:{}", point[0], *values));
        let sealed = seal(&**recipient, text.as_bytes())?;
        operators.push(Operator {
            recipient: name.clone(),
            share_sha256: digest(&text),
            sealed: STANDARD.encode(sealed),
        });
    }
    let head = Head {
        format: 1,
        id,
        member: plan.member.clone(),
        genesis: plan.genesis.clone(),
        created_ms: plan.created_ms,
        software: plan.software.clone(),
        token: plan.token,
        threshold: plan.threshold,
        operators,
    };
    Ok((identity, head))
}

fn seal(recipient: &dyn age::Recipient, text: &[u8]) -> Result<Vec<u8>, BackupError> {
    use std::io::Write as _;
    let failed = |error: age::EncryptError| BackupError::Write(std::io::Error::other(error));
    let mut sealed = Vec::new();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient)).map_err(failed)?;
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(BackupError::Write)?;
    writer.write_all(text).map_err(BackupError::Write)?;
    writer.finish().map_err(BackupError::Write)?;
    Ok(sealed)
}

/// The identity that opens the backup with this head.
pub(crate) fn combine(head: &Head, shares: &[Share]) -> Result<x25519::Identity, BackupError> {
    let mut points: Vec<blahaj::Share> = Vec::new();
    for share in shares {
        share.check(head)?;
        if points.iter().any(|point| Vec::from(point).first() == Some(&share.index)) {
            continue;
        }
        let mut bytes = Zeroizing::new(vec![share.index]);
        bytes.extend_from_slice(&share.values);
        let point = blahaj::Share::try_from(bytes.as_slice()).map_err(BackupError::ShareForm)?;
        points.push(point);
    }
    if points.len() < usize::from(head.threshold) {
        return Err(BackupError::TooFew { given: points.len(), needed: head.threshold });
    }
    let secret = Sharks(head.threshold)
        .recover(&points)
        .map(Zeroizing::new)
        .map_err(|_| BackupError::Sealed)?;
    let text = std::str::from_utf8(&secret).map_err(|_| BackupError::Sealed)?;
    x25519::Identity::from_str(text).map_err(|_| BackupError::Sealed)
}

/// The identities in a file that `age-keygen` wrote.
///
/// # Errors
/// [`BackupError::Form`] when there is none that can be used without a plugin.
pub fn identities(file: &[u8]) -> Result<Vec<Box<dyn age::Identity>>, BackupError> {
    let none = BackupError::Form(
        "the identity file has no AGE-SECRET-KEY-1...; for a hardware key, use `age -d` with its \
         plugin on what `hufu backup inspect --json` shows as `sealed`",
    );
    let parsed = age::IdentityFile::from_buffer(file)
        .and_then(|file| file.into_identities().map_err(std::io::Error::other));
    match parsed {
        Ok(identities) if !identities.is_empty() => {
            Ok(identities.into_iter().map(|one| one as Box<dyn age::Identity>).collect())
        }
        _ => Err(none),
    }
}

/// Opens the share of whoever has one of `identities`.
///
/// # Errors
/// [`BackupError::NoShare`] when no share is to any of them.
pub fn open_share(
    head: &Head,
    identities: &[Box<dyn age::Identity>],
) -> Result<Share, BackupError> {
    use std::io::Read as _;
    for operator in &head.operators {
        let sealed = operator.sealed()?;
        let Ok(decryptor) = age::Decryptor::new(sealed.as_slice()) else { continue };
        let Ok(opened) = decryptor.decrypt(identities.iter().map(|one| &**one)) else { continue };
        let mut text = Zeroizing::new(String::new());
        if opened.take(MAX_SHARE as u64).read_to_string(&mut text).is_ok() {
            let share = Share::parse(&text)?;
            share.check(head)?;
            return Ok(share);
        }
    }
    let recipients: Vec<&str> = head.operators.iter().map(|one| one.recipient.as_str()).collect();
    Err(BackupError::NoShare(recipients.join(", ")))
}
