//! Proof that a device's key lives in its TPM 2.0: both sides of it.
//!
//! * [`attest`] is what a certificate authority checks. It is pure software:
//!   no TPM, no clock, no socket. Every byte it reads is hostile.
//! * [`exchange`] holds the JSON bodies that device and authority exchange.
//! * [`keyfile`] is how a device keeps its TPM-wrapped keys.
//! * [`csr`] writes PKCS#10 requests for a key that only signs.
//! * [`device`] (feature `device`) drives a real TPM through tss2.
//! * [`swtpm`] (feature `testing`) starts software TPMs for tests.
//!
//! What it does not do: issue certificates, speak HTTP, know the ledger, or
//! measure boot state (no quotes over PCRs).
//!
//! # The exchange
//!
//! ```text
//! device                                            authority
//!   EK certificates, EK public, AK public  ───────▶  chain to a manufacturer's
//!                                                    root, attributes of EK, AK
//!   ◀─────── id, TPM2_MakeCredential(EK, AK name, secret), nonce
//!   TPM2_ActivateCredential → secret
//!   TPM2_Certify(key, by AK, over nonce)
//!   secret, key public, attest, signature  ───────▶  secret, signature, nonce,
//!                                                    Name and attributes of key
//!   ◀─────── accepted: a CSR for that very key may now be enrolled
//! ```

pub mod attest;
pub mod csr;
#[cfg(feature = "device")]
pub mod device;
pub mod exchange;
pub mod keyfile;
#[cfg(feature = "testing")]
pub mod swtpm;
