//! The statement of `TPM2_Certify`: `TPMS_ATTEST` of type certify (TPM 2.0
//! Part 2 §10.12) and its `TPMT_SIGNATURE` (§11.3).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::limits::{MAX_ATTEST, MAX_DIGEST, MAX_SIGNATURE};
use super::wire::{Reader, WireError, Writer};
use super::{AttestationError, HashAlgorithm, Name, Public};

/// `TPM_GENERATED_VALUE`: what a restricted key never signs unless the TPM
/// wrote it.
const GENERATED: u32 = 0xff54_4347;
const ATTEST_CERTIFY: u16 = 0x8017;
const ALG_ECDSA: u16 = 0x0018;

/// Order of the P-256 group (SP 800-186 §3.2.1.3).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Half of it, rounded down.
const P256_HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// A `TPMS_ATTEST` of type certify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifyStatement {
    /// Qualified Name of the key that signs.
    pub qualified_signer: Vec<u8>,
    /// The caller's qualifying data.
    pub extra_data: Vec<u8>,
    /// Milliseconds the TPM has been powered since its last clear.
    pub clock: u64,
    /// Resets since the last clear.
    pub reset_count: u32,
    /// Restarts since the last reset.
    pub restart_count: u32,
    /// Whether `clock` surely never stood at this value before.
    pub clock_safe: bool,
    /// The vendor's firmware version.
    pub firmware_version: u64,
    /// Name of the certified object.
    pub name: Vec<u8>,
    /// Qualified Name of the certified object.
    pub qualified_name: Vec<u8>,
}

impl CertifyStatement {
    /// Reads a `TPMS_ATTEST`, which must be of type certify.
    ///
    /// # Errors
    /// [`WireError`] names the field and its position.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, "TPMS_ATTEST", MAX_ATTEST)?;
        let position = reader.position();
        let magic = reader.u32("magic")?;
        if magic != GENERATED {
            return Err(Reader::refuse("magic", position, magic.into()));
        }
        let position = reader.position();
        let kind = reader.u16("type")?;
        if kind != ATTEST_CERTIFY {
            return Err(Reader::refuse("type", position, kind.into()));
        }
        let qualified_signer = reader.sized("qualifiedSigner", 0, MAX_DIGEST)?.to_vec();
        let extra_data = reader.sized("extraData", 0, MAX_DIGEST)?.to_vec();
        let clock = reader.u64("clockInfo.clock")?;
        let reset_count = reader.u32("clockInfo.resetCount")?;
        let restart_count = reader.u32("clockInfo.restartCount")?;
        let position = reader.position();
        let clock_safe = match reader.u8("clockInfo.safe")? {
            0 => false,
            1 => true,
            other => return Err(Reader::refuse("clockInfo.safe", position, other.into())),
        };
        let firmware_version = reader.u64("firmwareVersion")?;
        let name = reader.sized("certify.name", 1, MAX_DIGEST)?.to_vec();
        let qualified_name = reader.sized("certify.qualifiedName", 1, MAX_DIGEST)?.to_vec();
        reader.finish()?;
        Ok(Self {
            qualified_signer,
            extra_data,
            clock,
            reset_count,
            restart_count,
            clock_safe,
            firmware_version,
            name,
            qualified_name,
        })
    }

    /// Writes the `TPMS_ATTEST`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .u32(GENERATED)
            .u16(ATTEST_CERTIFY)
            .sized(&self.qualified_signer)
            .sized(&self.extra_data)
            .u64(self.clock)
            .u32(self.reset_count)
            .u32(self.restart_count)
            .u8(self.clock_safe.into())
            .u64(self.firmware_version)
            .sized(&self.name)
            .sized(&self.qualified_name);
        writer.finish()
    }
}

/// A `TPMT_SIGNATURE` of ECDSA with SHA-256 on P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcdsaSignature {
    /// `r ‖ s`, 32 bytes each, as the signer made it: `s` may be the high one.
    pub fixed: [u8; 64],
}

impl EcdsaSignature {
    /// Reads a `TPMT_SIGNATURE`. TPMs differ in whether they keep leading
    /// zeros of `r` and `s`; both are accepted.
    ///
    /// # Errors
    /// [`WireError`] names the field and its position.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, "TPMT_SIGNATURE", MAX_SIGNATURE)?;
        let position = reader.position();
        let algorithm = reader.u16("sigAlg")?;
        if algorithm != ALG_ECDSA {
            return Err(Reader::refuse("sigAlg", position, algorithm.into()));
        }
        let position = reader.position();
        let hash = HashAlgorithm::read(&mut reader, "signature.hash")?;
        if hash != HashAlgorithm::Sha256 {
            let value = hash.identifier().into();
            return Err(Reader::refuse("signature.hash", position, value));
        }
        let mut fixed = [0; 64];
        for (field, half) in
            ["signature.r", "signature.s"].into_iter().zip(fixed.chunks_exact_mut(32))
        {
            let integer = reader.sized(field, 1, half.len())?;
            let (_, tail) = half.split_at_mut(half.len() - integer.len());
            tail.copy_from_slice(integer);
        }
        reader.finish()?;
        Ok(Self { fixed })
    }

    /// `r ‖ s` with `s` in the lower half of the group order, as protocols
    /// want it that allow one form of a signature only.
    #[must_use]
    pub fn low_s(&self) -> [u8; 64] {
        let mut fixed = self.fixed;
        let (_, s) = fixed.split_at_mut(32);
        if &*s > P256_HALF_ORDER.as_slice() {
            // order - s, from the least significant byte.
            let mut borrow = false;
            for (digit, order) in s.iter_mut().zip(P256_ORDER).rev() {
                let (first, under) = order.overflowing_sub(*digit);
                let (second, under_again) = first.overflowing_sub(borrow.into());
                *digit = second;
                borrow = under || under_again;
            }
        }
        fixed
    }

    /// Writes the `TPMT_SIGNATURE`, leading zeros kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (r, s) = self.fixed.split_at(32);
        let mut writer = Writer::new();
        writer.u16(ALG_ECDSA).u16(HashAlgorithm::Sha256.identifier()).sized(r).sized(s);
        writer.finish()
    }
}

/// Checks that `attest`, signed by `ak`, certifies `key` for `qualifying`.
/// What attributes the two keys have is checked elsewhere.
///
/// # Errors
/// In this order: [`AttestationError::SignatureMalformed`],
/// [`AttestationError::CertifySignature`],
/// [`AttestationError::AttestMalformed`], [`AttestationError::CertifyNonce`],
/// [`AttestationError::KeyMismatch`].
pub fn check_certified(
    ak: &Public,
    key: &Name,
    qualifying: &[u8],
    attest: &[u8],
    signature: &[u8],
) -> Result<CertifyStatement, AttestationError> {
    let signature =
        EcdsaSignature::from_bytes(signature).map_err(AttestationError::SignatureMalformed)?;
    let (_, point) = ak.uncompressed_point().ok_or(AttestationError::CertifySignature)?;
    // Refuses a point that is not on the curve, too.
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
        .verify(attest, &signature.fixed)
        .map_err(|_| AttestationError::CertifySignature)?;
    let statement =
        CertifyStatement::from_bytes(attest).map_err(AttestationError::AttestMalformed)?;
    if statement.extra_data != qualifying {
        return Err(AttestationError::CertifyNonce);
    }
    if statement.name != key.as_bytes() {
        return Err(AttestationError::KeyMismatch);
    }
    Ok(statement)
}
