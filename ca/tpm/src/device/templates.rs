//! Public areas of the keys a device makes.

use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Public,
    PublicBuilder, PublicEccParameters, SymmetricDefinitionObject,
};

/// A key of ours: made in the TPM, never to leave it.
///
/// `noDA`: the keys have no authorization value to guess, and a TPM in lockout
/// should go on signing.
fn fixed() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
}

/// A P-256 key with ECDSA SHA-256 that signs what only the TPM writes.
pub(super) fn attestation_key() -> Result<Public, tss_esapi::Error> {
    let attributes = fixed().with_restricted(true).with_sign_encrypt(true).build()?;
    signing_key(attributes)
}

/// A P-256 key with ECDSA SHA-256 that signs anything.
pub(super) fn device_key() -> Result<Public, tss_esapi::Error> {
    signing_key(fixed().with_sign_encrypt(true).build()?)
}

fn signing_key(attributes: ObjectAttributes) -> Result<Public, tss_esapi::Error> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(PublicEccParameters::new(
            SymmetricDefinitionObject::Null,
            EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)),
            EccCurve::NistP256,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// The storage root key as the TCG's provisioning guidance has it (template
/// for ECC P-256, with 32 zero bytes for each coordinate): the same key each
/// time, for as long as the owner does not clear the TPM.
pub(super) fn storage_root_key() -> Result<Public, tss_esapi::Error> {
    let attributes = fixed().with_restricted(true).with_decrypt(true).build()?;
    let zero = || EccParameter::try_from(vec![0; 32]);
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(Digest::default())
        .with_ecc_parameters(PublicEccParameters::new(
            SymmetricDefinitionObject::AES_128_CFB,
            EccScheme::Null,
            EccCurve::NistP256,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(EccPoint::new(zero()?, zero()?))
        .build()
}
