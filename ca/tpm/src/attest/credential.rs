//! `TPM2_MakeCredential` in software (TPM 2.0 Part 1 §24, annexes B.10.3 and
//! C.6.4; key derivations §11.4.10).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use aws_lc_rs::{agreement, digest, hmac};
use zeroize::Zeroizing;

use super::challenge::Randomness;
use super::wire::{Writer, wrap_sized};
use super::{AttestationError, Curve, HashAlgorithm, Name, Public, PublicKey, Symmetric};

const IDENTITY: &[u8] = b"IDENTITY";
const STORAGE: &[u8] = b"STORAGE";
const INTEGRITY: &[u8] = b"INTEGRITY";

/// What a TPM needs to recover the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// `TPM2B_ID_OBJECT`.
    pub blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Vec<u8>,
}

/// Wraps `secret` so that only the TPM that holds `ek` recovers it, and only
/// while an object named `name` is loaded.
///
/// The secret may be as long as a digest of the EK's name algorithm.
///
/// # Errors
/// [`AttestationError::EkAttributes`] when the EK is not a storage key or its
/// key is not one (a point off the curve), or the secret is too long for it;
/// [`AttestationError::Randomness`] and [`AttestationError::Cryptography`]
/// when this machine fails.
pub fn make_credential(
    ek: &Public,
    name: &Name,
    secret: &[u8],
    randomness: &mut dyn Randomness,
) -> Result<Credential, AttestationError> {
    let hash = ek.name_algorithm;
    if secret.len() > hash.length() {
        return Err(AttestationError::EkAttributes {
            reason: "its name algorithm is too short for the secret",
        });
    }
    let (seed, encrypted_secret) = match &ek.key {
        PublicKey::Rsa { .. } => rsa_seed(ek, randomness)?,
        PublicKey::Ecc { curve, .. } => ecc_seed(ek, *curve)?,
    };

    let Symmetric::AesCfb { key_bits } = ek.symmetric else {
        return Err(AttestationError::EkAttributes { reason: "it protects no children" });
    };
    let key = kdf_a(hash, &seed, STORAGE, name.as_bytes(), key_bits.into());
    let mut identity = Zeroizing::new(wrap_sized(secret));
    encrypt_cfb(&key, &mut identity)?;

    let bits = hash.length() * 8;
    let key = kdf_a(hash, &seed, INTEGRITY, &[], bits);
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac_algorithm(hash), &key));
    context.update(&identity);
    context.update(name.as_bytes());
    let integrity = context.sign();

    let mut object = Writer::new();
    object.sized(integrity.as_ref()).raw(&identity);
    Ok(Credential {
        blob: wrap_sized(&object.finish()),
        encrypted_secret: wrap_sized(&encrypted_secret),
    })
}

type Seed = (Zeroizing<Vec<u8>>, Vec<u8>);

/// A random seed, encrypted to an RSA EK with OAEP and the label `IDENTITY`,
/// its terminating zero included.
fn rsa_seed(ek: &Public, randomness: &mut dyn Randomness) -> Result<Seed, AttestationError> {
    let failed = |_| AttestationError::Cryptography { operation: "RSA-OAEP" };
    let (modulus, exponent) = ek.rsa().ok_or(AttestationError::EkMismatch)?;
    let exponent = exponent.to_be_bytes();
    let leading = exponent.iter().take_while(|byte| **byte == 0).count();
    let key = PublicKeyComponents { n: modulus, e: exponent.get(leading..).unwrap_or_default() };
    let key: PublicEncryptingKey = key
        .try_into()
        .map_err(|_| AttestationError::EkAttributes { reason: "its RSA key is not usable" })?;
    let key = OaepPublicEncryptingKey::new(key).map_err(failed)?;
    let mut seed = Zeroizing::new(vec![0; ek.name_algorithm.length()]);
    randomness.fill(&mut seed).map_err(|_| AttestationError::Randomness)?;
    let mut encrypted = vec![0; key.ciphertext_size()];
    let algorithm = match ek.name_algorithm {
        HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlgorithm::Sha512 => &OAEP_SHA512_MGF1SHA512,
    };
    let length =
        key.encrypt(algorithm, &seed, &mut encrypted, Some(b"IDENTITY\0")).map_err(failed)?.len();
    encrypted.truncate(length);
    Ok((seed, encrypted))
}

/// A seed agreed by one-pass ECDH between a fresh key and the EK; what is sent
/// is the fresh key's `TPMS_ECC_POINT`.
fn ecc_seed(ek: &Public, curve: Curve) -> Result<Seed, AttestationError> {
    let failed = |_| AttestationError::Cryptography { operation: "ECDH" };
    let algorithm = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
    };
    let ephemeral = agreement::PrivateKey::generate(algorithm).map_err(failed)?;
    let point = ephemeral.compute_public_key().map_err(failed)?;
    let (x, y) = coordinates(point.as_ref(), curve)
        .ok_or(AttestationError::Cryptography { operation: "encoding a point" })?;
    let (_, ek_point) = ek.uncompressed_point().ok_or(AttestationError::EkMismatch)?;
    let (ek_x, _) = coordinates(&ek_point, curve).ok_or(AttestationError::EkMismatch)?;
    let hash = ek.name_algorithm;
    let off_curve = AttestationError::EkAttributes { reason: "its point is not on the curve" };
    let peer = agreement::UnparsedPublicKey::new(algorithm, &ek_point);
    let seed = agreement::agree(&ephemeral, peer, off_curve, |shared| {
        Ok(kdf_e(hash, shared, IDENTITY, x, ek_x))
    })?;
    let mut writer = Writer::new();
    writer.sized(x).sized(y);
    Ok((seed, writer.finish()))
}

fn coordinates(point: &[u8], curve: Curve) -> Option<(&[u8], &[u8])> {
    let point = point.strip_prefix(&[4])?;
    (point.len() == 2 * curve.length()).then(|| point.split_at(curve.length()))
}

/// `KDFa` (SP 800-108 in counter mode, HMAC) with `contextV` empty.
fn kdf_a(
    hash: HashAlgorithm,
    key: &[u8],
    label: &[u8],
    context: &[u8],
    bits: usize,
) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hmac_algorithm(hash), key);
    derive(bits, |counter| {
        let mut mac = hmac::Context::with_key(&key);
        mac.update(&counter.to_be_bytes());
        mac.update(label);
        mac.update(&[0]);
        mac.update(context);
        mac.update(&u32::try_from(bits).unwrap_or(u32::MAX).to_be_bytes());
        Zeroizing::new(mac.sign().as_ref().to_vec())
    })
}

/// `KDFe` (SP 800-56A concatenation) for one digest's worth of bits.
fn kdf_e(
    hash: HashAlgorithm,
    shared: &[u8],
    label: &[u8],
    party_u: &[u8],
    party_v: &[u8],
) -> Zeroizing<Vec<u8>> {
    derive(hash.length() * 8, |counter| {
        let mut context = digest::Context::new(hash.algorithm());
        context.update(&counter.to_be_bytes());
        context.update(shared);
        context.update(label);
        context.update(&[0]);
        context.update(party_u);
        context.update(party_v);
        Zeroizing::new(context.finish().as_ref().to_vec())
    })
}

/// Concatenates blocks numbered from one until there are `bits` (a multiple of
/// eight).
fn derive(bits: usize, block: impl Fn(u32) -> Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let length = bits / 8;
    // Reserved at once: growing would leave copies of key material behind.
    let mut derived = Zeroizing::new(Vec::with_capacity(length + 64));
    for counter in 1u32.. {
        if derived.len() >= length {
            break;
        }
        derived.extend_from_slice(&block(counter));
    }
    derived.truncate(length);
    derived
}

/// AES-CFB with an initialisation vector of zeros, as Part 1 §24.4 has it: the
/// key is used once.
fn encrypt_cfb(key: &[u8], in_out: &mut [u8]) -> Result<(), AttestationError> {
    let failed = |_| AttestationError::Cryptography { operation: "AES-CFB" };
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(failed)?;
    let key = EncryptingKey::cfb128(key).map_err(failed)?;
    let zero = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(in_out, zero).map_err(failed)?;
    Ok(())
}

fn hmac_algorithm(hash: HashAlgorithm) -> hmac::Algorithm {
    match hash {
        HashAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HashAlgorithm::Sha384 => hmac::HMAC_SHA384,
        HashAlgorithm::Sha512 => hmac::HMAC_SHA512,
    }
}
