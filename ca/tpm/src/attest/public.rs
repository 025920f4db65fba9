//! Public areas of TPM objects (`TPMT_PUBLIC`, TPM 2.0 Part 2 §12.2) and their
//! Names (Part 1 §16).
//!
//! Accepted are asymmetric keys on RSA-2048/3072/4096, P-256 and P-384 with
//! SHA-2 Names; everything else is refused while it is read, so that what was
//! read is known entirely. What was read is written back byte for byte.

use aws_lc_rs::digest;

use super::limits::{MAX_DIGEST, MAX_PUBLIC};
use super::wire::{Reader, WireError, Writer, unwrap_sized, wrap_sized};

const ALG_RSA: u16 = 0x0001;
const ALG_AES: u16 = 0x0006;
const ALG_SHA256: u16 = 0x000b;
const ALG_SHA384: u16 = 0x000c;
const ALG_SHA512: u16 = 0x000d;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAES: u16 = 0x0015;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_OAEP: u16 = 0x0017;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECDH: u16 = 0x0019;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;
const CURVE_P384: u16 = 0x0004;

/// DER of `SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING (66) }`
/// up to the point.
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A hash algorithm of a Name, a scheme or a key derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// Reads a `TPMI_ALG_HASH`. SHA-1 is refused.
    ///
    /// # Errors
    /// [`WireError::Value`] for any other algorithm.
    pub fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        let position = reader.position();
        match reader.u16(field)? {
            ALG_SHA256 => Ok(Self::Sha256),
            ALG_SHA384 => Ok(Self::Sha384),
            ALG_SHA512 => Ok(Self::Sha512),
            other => Err(Reader::refuse(field, position, other.into())),
        }
    }

    /// The `TPM_ALG_ID`.
    #[must_use]
    pub fn identifier(self) -> u16 {
        match self {
            Self::Sha256 => ALG_SHA256,
            Self::Sha384 => ALG_SHA384,
            Self::Sha512 => ALG_SHA512,
        }
    }

    /// Bytes in a digest.
    #[must_use]
    pub fn length(self) -> usize {
        self.algorithm().output_len()
    }

    pub(super) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// `TPMA_OBJECT` (Part 2 §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u32);

impl Attributes {
    /// The hierarchy of this TPM is the only place for the object.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The object does not survive a TPM restart.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The object cannot get another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made the private part itself.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The object is used with its authorization value.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// The object is administered with a policy only.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Wrong authorizations do not count towards lockout.
    pub const NO_DA: Self = Self(1 << 10);
    /// A duplicate must be encrypted.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// The object works on TPM-made data only.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// The object decrypts.
    pub const DECRYPT: Self = Self(1 << 17);
    /// The object signs.
    pub const SIGN: Self = Self(1 << 18);
    /// The object signs X.509 certificates with `TPM2_CertifyX509`.
    pub const X509_SIGN: Self = Self(1 << 19);

    const KNOWN: u32 = Self::FIXED_TPM.0
        | Self::ST_CLEAR.0
        | Self::FIXED_PARENT.0
        | Self::SENSITIVE_DATA_ORIGIN.0
        | Self::USER_WITH_AUTH.0
        | Self::ADMIN_WITH_POLICY.0
        | Self::NO_DA.0
        | Self::ENCRYPTED_DUPLICATION.0
        | Self::RESTRICTED.0
        | Self::DECRYPT.0
        | Self::SIGN.0
        | Self::X509_SIGN.0;

    /// All bits of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The value on the wire.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// The symmetric algorithm with which a storage key protects its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetric {
    /// None: not a storage key.
    None,
    /// AES in CFB mode with a key of so many bits (128, 192, 256).
    AesCfb {
        /// Bits of the key.
        key_bits: u16,
    },
}

/// The scheme a key is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// None; the caller chooses with each use.
    Null,
    /// RSASSA-PKCS1-v1_5.
    RsaSsa(HashAlgorithm),
    /// RSAES-PKCS1-v1_5.
    RsaEs,
    /// RSASSA-PSS.
    RsaPss(HashAlgorithm),
    /// RSAES-OAEP.
    Oaep(HashAlgorithm),
    /// ECDSA.
    Ecdsa(HashAlgorithm),
    /// ECDH.
    Ecdh(HashAlgorithm),
}

/// An elliptic curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// Bytes in a coordinate.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// The key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// An RSA key.
    Rsa {
        /// Key size in bits: 2048, 3072 or 4096.
        key_bits: u16,
        /// As written: zero stands for 65537.
        exponent: u32,
        /// Big-endian, exactly `key_bits` long.
        modulus: Vec<u8>,
    },
    /// A point on a curve. It may not lie on it: whoever uses it checks.
    Ecc {
        /// The curve.
        curve: Curve,
        /// Big-endian, at most the curve's length.
        x: Vec<u8>,
        /// Big-endian, at most the curve's length.
        y: Vec<u8>,
    },
}

/// A TPM object's Name: the hash algorithm, then the hash of its public area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// `TPM_ALG_ID` and digest, as in `TPM2B_NAME`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The 34 bytes of a SHA-256 Name, if it is one.
    #[must_use]
    pub fn as_sha256(&self) -> Option<[u8; 34]> {
        self.0.as_slice().try_into().ok()
    }
}

/// A `TPMT_PUBLIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// What the Name is made with.
    pub name_algorithm: HashAlgorithm,
    /// Attributes.
    pub attributes: Attributes,
    /// Digest of the authorization policy, empty if there is none.
    pub auth_policy: Vec<u8>,
    /// Protection of children.
    pub symmetric: Symmetric,
    /// Scheme.
    pub scheme: Scheme,
    /// Key.
    pub key: PublicKey,
}

impl Public {
    /// Reads a `TPM2B_PUBLIC`, as tpm2-tools write it.
    ///
    /// # Errors
    /// [`WireError`] names the field and its position.
    pub fn from_tpm2b(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_tpmt(unwrap_sized(bytes, "TPM2B_PUBLIC", 1, MAX_PUBLIC)?)
    }

    /// Reads a `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// [`WireError`] names the field and its position.
    pub fn from_tpmt(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, "TPMT_PUBLIC", MAX_PUBLIC)?;
        let position = reader.position();
        let kind = reader.u16("type")?;
        if kind != ALG_RSA && kind != ALG_ECC {
            return Err(Reader::refuse("type", position, kind.into()));
        }
        let name_algorithm = HashAlgorithm::read(&mut reader, "nameAlg")?;
        let attributes = read_attributes(&mut reader)?;
        let auth_policy = reader.sized("authPolicy", 0, MAX_DIGEST)?.to_vec();
        let symmetric = read_symmetric(&mut reader)?;
        let (scheme, key) =
            if kind == ALG_RSA { read_rsa(&mut reader)? } else { read_ecc(&mut reader)? };
        reader.finish()?;
        Ok(Self { name_algorithm, attributes, auth_policy, symmetric, scheme, key })
    }

    /// Writes the `TPMT_PUBLIC`.
    #[must_use]
    pub fn to_tpmt(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .u16(match self.key {
                PublicKey::Rsa { .. } => ALG_RSA,
                PublicKey::Ecc { .. } => ALG_ECC,
            })
            .u16(self.name_algorithm.identifier())
            .u32(self.attributes.bits())
            .sized(&self.auth_policy);
        match self.symmetric {
            Symmetric::None => writer.u16(ALG_NULL),
            Symmetric::AesCfb { key_bits } => writer.u16(ALG_AES).u16(key_bits).u16(ALG_CFB),
        };
        match self.scheme {
            Scheme::Null => writer.u16(ALG_NULL),
            Scheme::RsaEs => writer.u16(ALG_RSAES),
            Scheme::RsaSsa(hash) => writer.u16(ALG_RSASSA).u16(hash.identifier()),
            Scheme::RsaPss(hash) => writer.u16(ALG_RSAPSS).u16(hash.identifier()),
            Scheme::Oaep(hash) => writer.u16(ALG_OAEP).u16(hash.identifier()),
            Scheme::Ecdsa(hash) => writer.u16(ALG_ECDSA).u16(hash.identifier()),
            Scheme::Ecdh(hash) => writer.u16(ALG_ECDH).u16(hash.identifier()),
        };
        match &self.key {
            PublicKey::Rsa { key_bits, exponent, modulus } => {
                writer.u16(*key_bits).u32(*exponent).sized(modulus)
            }
            PublicKey::Ecc { curve, x, y } => writer
                .u16(match curve {
                    Curve::P256 => CURVE_P256,
                    Curve::P384 => CURVE_P384,
                })
                .u16(ALG_NULL)
                .sized(x)
                .sized(y),
        };
        writer.finish()
    }

    /// Writes the `TPM2B_PUBLIC`.
    #[must_use]
    pub fn to_tpm2b(&self) -> Vec<u8> {
        wrap_sized(&self.to_tpmt())
    }

    /// The object's Name.
    #[must_use]
    pub fn name(&self) -> Name {
        let algorithm = self.name_algorithm;
        let mut name = algorithm.identifier().to_be_bytes().to_vec();
        name.extend_from_slice(digest::digest(algorithm.algorithm(), &self.to_tpmt()).as_ref());
        Name(name)
    }

    /// The point as SEC1 uncompressed (`04 ‖ x ‖ y`), if it is a key on a
    /// curve. It may not lie on it.
    #[must_use]
    pub fn uncompressed_point(&self) -> Option<(Curve, Vec<u8>)> {
        let PublicKey::Ecc { curve, x, y } = &self.key else {
            return None;
        };
        let mut point = vec![4];
        for coordinate in [x, y] {
            point.resize(point.len() + curve.length() - coordinate.len(), 0);
            point.extend_from_slice(coordinate);
        }
        Some((*curve, point))
    }

    /// `SubjectPublicKeyInfo` in DER (RFC 5480), if it is a key on P-256.
    #[must_use]
    pub fn p256_spki_der(&self) -> Option<Vec<u8>> {
        match self.uncompressed_point()? {
            (Curve::P256, point) => Some([P256_SPKI_PREFIX.as_slice(), &point].concat()),
            (Curve::P384, _) => None,
        }
    }

    /// The point as SEC1 compressed, if it is a key on P-256.
    #[must_use]
    pub fn p256_compressed(&self) -> Option<[u8; 33]> {
        let (Curve::P256, point) = self.uncompressed_point()? else {
            return None;
        };
        let parity = point.last()? & 1;
        let mut compressed: [u8; 33] = *point.first_chunk()?;
        compressed[0] = 2 + parity;
        Some(compressed)
    }

    /// The RSA modulus and exponent, if it is an RSA key.
    #[must_use]
    pub fn rsa(&self) -> Option<(&[u8], u32)> {
        match &self.key {
            PublicKey::Rsa { modulus, exponent, .. } => {
                Some((modulus, if *exponent == 0 { 65537 } else { *exponent }))
            }
            PublicKey::Ecc { .. } => None,
        }
    }
}

fn read_attributes(reader: &mut Reader<'_>) -> Result<Attributes, WireError> {
    let position = reader.position();
    let bits = reader.u32("objectAttributes")?;
    if bits & !Attributes::KNOWN != 0 {
        return Err(Reader::refuse("objectAttributes", position, bits.into()));
    }
    Ok(Attributes(bits))
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<Symmetric, WireError> {
    let position = reader.position();
    match reader.u16("symmetric.algorithm")? {
        ALG_NULL => Ok(Symmetric::None),
        ALG_AES => {
            let position = reader.position();
            let key_bits = reader.u16("symmetric.keyBits")?;
            if ![128, 192, 256].contains(&key_bits) {
                let value = key_bits.into();
                return Err(Reader::refuse("symmetric.keyBits", position, value));
            }
            let position = reader.position();
            match reader.u16("symmetric.mode")? {
                ALG_CFB => Ok(Symmetric::AesCfb { key_bits }),
                other => Err(Reader::refuse("symmetric.mode", position, other.into())),
            }
        }
        other => Err(Reader::refuse("symmetric.algorithm", position, other.into())),
    }
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<(Scheme, PublicKey), WireError> {
    let position = reader.position();
    let scheme = match reader.u16("scheme")? {
        ALG_NULL => Scheme::Null,
        ALG_RSAES => Scheme::RsaEs,
        ALG_RSASSA => Scheme::RsaSsa(HashAlgorithm::read(reader, "scheme.hashAlg")?),
        ALG_RSAPSS => Scheme::RsaPss(HashAlgorithm::read(reader, "scheme.hashAlg")?),
        ALG_OAEP => Scheme::Oaep(HashAlgorithm::read(reader, "scheme.hashAlg")?),
        other => return Err(Reader::refuse("scheme", position, other.into())),
    };
    let position = reader.position();
    let key_bits = reader.u16("keyBits")?;
    if ![2048, 3072, 4096].contains(&key_bits) {
        return Err(Reader::refuse("keyBits", position, key_bits.into()));
    }
    let position = reader.position();
    let exponent = reader.u32("exponent")?;
    if exponent != 0 && (exponent < 65537 || exponent % 2 == 0) {
        return Err(Reader::refuse("exponent", position, exponent.into()));
    }
    let length = usize::from(key_bits / 8);
    let position = reader.position();
    let modulus = reader.sized("unique.rsa", length, length)?.to_vec();
    // A modulus that is shorter than it says, or even, is no RSA modulus.
    let first = modulus.first().copied().unwrap_or_default();
    let last = modulus.last().copied().unwrap_or_default();
    if first & 0x80 == 0 || last & 1 == 0 {
        return Err(Reader::refuse("unique.rsa", position, first.into()));
    }
    Ok((scheme, PublicKey::Rsa { key_bits, exponent, modulus }))
}

fn read_ecc(reader: &mut Reader<'_>) -> Result<(Scheme, PublicKey), WireError> {
    let position = reader.position();
    let scheme = match reader.u16("scheme")? {
        ALG_NULL => Scheme::Null,
        ALG_ECDSA => Scheme::Ecdsa(HashAlgorithm::read(reader, "scheme.hashAlg")?),
        ALG_ECDH => Scheme::Ecdh(HashAlgorithm::read(reader, "scheme.hashAlg")?),
        other => return Err(Reader::refuse("scheme", position, other.into())),
    };
    let position = reader.position();
    let curve = match reader.u16("curveID")? {
        CURVE_P256 => Curve::P256,
        CURVE_P384 => Curve::P384,
        other => return Err(Reader::refuse("curveID", position, other.into())),
    };
    let position = reader.position();
    let kdf = reader.u16("kdf")?;
    if kdf != ALG_NULL {
        return Err(Reader::refuse("kdf", position, kdf.into()));
    }
    let x = reader.sized("unique.x", 1, curve.length())?.to_vec();
    let y = reader.sized("unique.y", 1, curve.length())?.to_vec();
    Ok((scheme, PublicKey::Ecc { curve, x, y }))
}
