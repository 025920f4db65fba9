//! The three lines that a release begins with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;

use crate::error::ReleaseError;
use crate::manifest::Manifest;

/// The first line, without its end: what a signature here is about.
pub const DOMAIN: &str = "hufu release v1";

/// Most bytes of the three lines.
pub const MAX_HEAD: usize = 64 * 1024;

/// Verifies releases.
#[derive(Clone, Debug)]
pub struct ReleaseKey(VerifyingKey);

impl ReleaseKey {
    /// From a P-256 public key as PEM (`PUBLIC KEY`, RFC 7468 §13).
    ///
    /// # Errors
    /// [`ReleaseError::Key`].
    pub fn from_pem(pem: &str) -> Result<Self, ReleaseError> {
        VerifyingKey::from_public_key_pem(pem)
            .map(Self)
            .map_err(|error| ReleaseError::Key(error.to_string()))
    }
}

/// The manifest at the beginning of `bytes`, and how many bytes it and its
/// signature take; `None` when more bytes are needed to tell.
///
/// # Errors
/// [`ReleaseError`]; nothing of the manifest is looked at before its signature
/// was good.
pub fn parse(bytes: &[u8], key: &ReleaseKey) -> Result<Option<(Manifest, usize)>, ReleaseError> {
    let first = format!("{DOMAIN}\n");
    let seen = bytes.len().min(first.len());
    if bytes.get(..seen) != first.as_bytes().get(..seen) {
        return Err(ReleaseError::Form("it does not begin with `hufu release v1`"));
    }
    let head = bytes.get(..bytes.len().min(MAX_HEAD)).unwrap_or_default();
    let mut ends = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let (Some(first_end), Some(second_end), Some(third_end)) =
        (ends.next(), ends.next(), ends.next())
    else {
        return if bytes.len() >= MAX_HEAD { Err(ReleaseError::TooLarge) } else { Ok(None) };
    };
    let line = |begin: usize, end: usize| head.get(begin..end).unwrap_or_default();
    let signed = line(0, second_end + 1);
    let signature = STANDARD
        .decode(line(second_end + 1, third_end))
        .map_err(|_| ReleaseError::Form("the third line is not base64"))?;
    let signature = DerSignature::from_bytes(&signature)
        .map_err(|_| ReleaseError::Form("the third line is not a signature"))?;
    key.0.verify(signed, &signature).map_err(|_| ReleaseError::Signature)?;
    let manifest: Manifest =
        serde_json::from_slice(line(first_end + 1, second_end)).map_err(|error| {
            ReleaseError::Manifest { field: "manifest", problem: error.to_string() }
        })?;
    manifest.check()?;
    Ok(Some((manifest, third_end + 1)))
}
