//! What a certificate authority checks before it believes that a key lives in
//! a TPM 2.0.
//!
//! Start with [`Challenges`]: `begin` verifies the endorsement key (EK) and
//! makes a credential that only the TPM with that EK *and* the named
//! attestation key (AK) can open; `complete` checks the opened secret and the
//! AK's statement (`TPM2_Certify`) about the device key.
//!
//! # Why the pieces hold together
//!
//! 1. The EK certificate chains to a manufacturer's root, so the EK is in a
//!    genuine TPM ([`ManufacturerRoots::verify_ek_certificate`]).
//! 2. `TPM2_ActivateCredential` gives up the secret only if an object with the
//!    AK's Name, private part included, is loaded beside the EK. The Name is a
//!    hash of the AK's public area, attributes included; a TPM never loads a
//!    private part from outside with `fixedTPM` set. So the AK is what it
//!    claims to be, in the same TPM.
//! 3. A *restricted* signing key signs structures that begin with
//!    `TPM_GENERATED_VALUE` only when the TPM itself made them, so a signed
//!    `TPMS_ATTEST` of type certify is the TPM's own word about a loaded
//!    object's Name.
//! 4. That Name is the hash of the device key's public area, attributes
//!    included (`fixedTPM`, `fixedParent`, `sensitiveDataOrigin`: made inside,
//!    cannot leave), and its point is the point of the CSR's key.
//! 5. The qualifying data names this challenge, so an old statement is of no
//!    use.
//!
//! # What is not claimed
//!
//! Nothing is said about the software that runs on the device, nor that the
//! TPM is soldered to it. Revocation of EK certificates is not checked: few
//! manufacturers publish any.

mod certify;
mod challenge;
mod credential;
mod ek;
mod error;
pub mod limits;
mod public;
mod requirements;
pub mod wire;
mod x509;

pub use certify::{CertifyStatement, EcdsaSignature, check_certified};
pub use challenge::{
    Attested, Challenge, ChallengeId, Challenges, DEFAULT_CAPACITY, LIFETIME, OpenChallenge,
    Randomness, RandomnessUnavailable, SystemRandomness, qualifying_data,
};
pub use credential::{Credential, make_credential};
pub use ek::{ManufacturerRoots, RootsError, VerifiedEk, certificate_is_for};
pub use error::{AttestationError, Fault};
pub use public::{Attributes, Curve, HashAlgorithm, Name, Public, PublicKey, Scheme, Symmetric};
pub use requirements::{check_attestation_key, check_device_key, check_endorsement_key};
