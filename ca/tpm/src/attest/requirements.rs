//! What is asked of the three kinds of key, by their public areas.

use super::{
    AttestationError, Attributes, Curve, HashAlgorithm, Public, PublicKey, Scheme, Symmetric,
};

/// Checks that a public area is that of an endorsement key: a restricted
/// decryption key that the TPM made and keeps (TCG EK Credential Profile 2.5,
/// annex B).
///
/// # Errors
/// [`AttestationError::EkAttributes`].
pub fn check_endorsement_key(ek: &Public) -> Result<(), AttestationError> {
    let refuse = |reason| Err(AttestationError::EkAttributes { reason });
    let wanted = Attributes::FIXED_TPM
        .with(Attributes::FIXED_PARENT)
        .with(Attributes::SENSITIVE_DATA_ORIGIN)
        .with(Attributes::ADMIN_WITH_POLICY)
        .with(Attributes::RESTRICTED)
        .with(Attributes::DECRYPT);
    if !ek.attributes.contains(wanted) {
        return refuse(
            "fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted and decrypt \
             must be set",
        );
    }
    if ek.attributes.contains(Attributes::SIGN)
        || ek.attributes.contains(Attributes::ENCRYPTED_DUPLICATION)
    {
        return refuse("sign and encryptedDuplication must be clear");
    }
    if ek.scheme != Scheme::Null {
        return refuse("the scheme must be TPM_ALG_NULL");
    }
    match ek.symmetric {
        Symmetric::AesCfb { key_bits: 128 | 256 } => {}
        _ => return refuse("children must be protected with AES-128 or AES-256 in CFB mode"),
    }
    if ek.auth_policy.len() != ek.name_algorithm.length() {
        return refuse("authPolicy must be a digest of the name algorithm");
    }
    Ok(())
}

/// Checks that a public area is that of an attestation key: a restricted
/// signing key on P-256 that the TPM made and keeps.
///
/// # Errors
/// [`AttestationError::AkNotRestricted`], [`AttestationError::AkAttributes`].
pub fn check_attestation_key(ak: &Public) -> Result<(), AttestationError> {
    let refuse = |reason| Err(AttestationError::AkAttributes { reason });
    if !ak.attributes.contains(Attributes::RESTRICTED) {
        return Err(AttestationError::AkNotRestricted);
    }
    if !ak.attributes.contains(Attributes::SIGN) || ak.attributes.contains(Attributes::DECRYPT) {
        return refuse("sign must be set and decrypt clear");
    }
    let wanted = Attributes::FIXED_TPM
        .with(Attributes::FIXED_PARENT)
        .with(Attributes::SENSITIVE_DATA_ORIGIN);
    if !ak.attributes.contains(wanted) {
        return refuse("fixedTPM, fixedParent and sensitiveDataOrigin must be set");
    }
    if !is_p256_ecdsa(ak) || ak.scheme == Scheme::Null {
        return refuse("it must be a P-256 key with the scheme ECDSA SHA-256");
    }
    Ok(())
}

/// Checks that a public area is that of a device key: a signing key on P-256
/// that the TPM made, and that cannot leave it.
///
/// # Errors
/// [`AttestationError::KeyNotFixedTpm`], [`KeyNotFixedParent`],
/// [`KeyImported`], [`KeyAttributes`].
///
/// [`KeyNotFixedParent`]: AttestationError::KeyNotFixedParent
/// [`KeyImported`]: AttestationError::KeyImported
/// [`KeyAttributes`]: AttestationError::KeyAttributes
pub fn check_device_key(key: &Public) -> Result<(), AttestationError> {
    let refuse = |reason| Err(AttestationError::KeyAttributes { reason });
    if !key.attributes.contains(Attributes::FIXED_TPM) {
        return Err(AttestationError::KeyNotFixedTpm);
    }
    if !key.attributes.contains(Attributes::FIXED_PARENT) {
        return Err(AttestationError::KeyNotFixedParent);
    }
    if !key.attributes.contains(Attributes::SENSITIVE_DATA_ORIGIN) {
        return Err(AttestationError::KeyImported);
    }
    if !key.attributes.contains(Attributes::SIGN)
        || key.attributes.contains(Attributes::DECRYPT)
        || key.attributes.contains(Attributes::RESTRICTED)
    {
        return refuse("sign must be set, decrypt and restricted clear");
    }
    if !is_p256_ecdsa(key) {
        return refuse("it must be a P-256 key, of no scheme or ECDSA SHA-256");
    }
    Ok(())
}

fn is_p256_ecdsa(public: &Public) -> bool {
    matches!(public.key, PublicKey::Ecc { curve: Curve::P256, .. })
        && matches!(public.scheme, Scheme::Null | Scheme::Ecdsa(HashAlgorithm::Sha256))
        && public.symmetric == Symmetric::None
}
