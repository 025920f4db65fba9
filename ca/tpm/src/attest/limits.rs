//! Size limits of everything that is read, in one place. All in bytes unless
//! said otherwise.

/// Largest `TPM2B_PUBLIC` (an RSA-4096 key takes about 610).
pub const MAX_PUBLIC: usize = 1024;
/// Largest `TPMS_ATTEST` of type certify (about 200 in practice).
pub const MAX_ATTEST: usize = 1024;
/// Largest `TPMT_SIGNATURE` over P-256.
pub const MAX_SIGNATURE: usize = 256;
/// Largest digest, Name or qualifying data inside a structure: a SHA-512 Name.
pub const MAX_DIGEST: usize = 66;
/// Largest RSA modulus, RSA-4096.
pub const MAX_RSA_MODULUS: usize = 512;
/// Largest X.509 certificate in an EK chain.
pub const MAX_CERTIFICATE: usize = 8 * 1024;
/// Most certificates a device may present.
pub const MAX_CHAIN: usize = 8;
/// Most certificates from the EK certificate to the root, both included.
pub const MAX_PATH: usize = 6;
/// Most signatures that are verified while a path is looked for, so that a
/// chain of look-alikes costs a bounded amount of work.
pub const MAX_PATH_SIGNATURES: usize = 16;
/// Most extensions in one certificate.
pub const MAX_EXTENSIONS: usize = 32;
/// Length of the secret that credential activation must return.
pub const SECRET: usize = 32;
/// Length of a challenge's nonce.
pub const NONCE: usize = 32;
/// Length of a challenge's identifier.
pub const CHALLENGE_ID: usize = 16;
/// Largest `TPM2B_ID_OBJECT` a device accepts.
pub const MAX_CREDENTIAL_BLOB: usize = 256;
/// Largest `TPM2B_ENCRYPTED_SECRET` a device accepts: RSA-4096.
pub const MAX_ENCRYPTED_SECRET: usize = 2 + MAX_RSA_MODULUS;
/// Largest request body of either endpoint, as JSON text. A server cuts off
/// what is longer before it parses.
pub const MAX_REQUEST_BODY: usize = 128 * 1024;
/// Most manufacturer certificates (roots and intermediates) in one store.
pub const MAX_MANUFACTURER_CERTIFICATES: usize = 4096;
