//! The device's key in its TPM, as a signer of transactions and of TLS.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hufu_configuration::keyring::ledger_key;
use hufu_proof::{Algorithm, PublicKey, Signature, Signer, SignerFault, UnixMillis};
use hufu_tpm::device::DeviceTpm;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

/// When a device's certificate (DER) began: it did not measure before.
///
/// # Errors
/// When it is none.
pub fn began(certificate: &[u8]) -> anyhow::Result<UnixMillis> {
    use x509_cert::der::Decode as _;
    let certificate = x509_cert::Certificate::from_der(certificate)?;
    let began = certificate.tbs_certificate().validity().not_before.to_unix_duration();
    Ok(UnixMillis::ZERO.plus(began))
}

/// The device key.
#[derive(Clone)]
pub struct DeviceKey {
    tpm: Arc<Mutex<DeviceTpm>>,
    public: PublicKey,
}

impl DeviceKey {
    /// Takes the TPM.
    ///
    /// # Errors
    /// When its key is not P-256.
    pub fn new(tpm: DeviceTpm) -> anyhow::Result<Self> {
        let public = PublicKey::new(Algorithm::EcdsaP256, &tpm.public_key())
            .context("the device key in the TPM")?;
        Ok(Self { tpm: Arc::new(Mutex::new(tpm)), public })
    }

    /// The key with its certificate chain, for TLS.
    ///
    /// # Errors
    /// When the certificate is not for this key.
    pub fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
    ) -> anyhow::Result<Arc<CertifiedKey>> {
        let leaf = chain.first().context("the certificate file is empty")?;
        let certified = hufu_issuance::public_key_of(leaf).context("the device's certificate")?;
        anyhow::ensure!(
            ledger_key(&certified)? == self.public,
            "the certificate is not for the key in this TPM"
        );
        Ok(Arc::new(CertifiedKey::new(chain, Arc::new(self.clone()))))
    }

    fn raw(&self, message: &[u8]) -> Result<[u8; 64], hufu_tpm::device::DeviceError> {
        // The TPM context keeps no state between commands that a panic in
        // another thread could have torn.
        self.tpm.lock().unwrap_or_else(PoisonError::into_inner).sign(message)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DeviceKey({})", self.public)
    }
}

impl Signer for DeviceKey {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let bytes = self.raw(message).map_err(|error| SignerFault(error.to_string()))?;
        Signature::new(Algorithm::EcdsaP256, &bytes).map_err(|error| SignerFault(error.to_string()))
    }
}

impl SigningKey for DeviceKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn rustls::sign::Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl rustls::sign::Signer for DeviceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let fault = |text: String| rustls::Error::General(text);
        let raw = self.raw(message).map_err(|error| fault(error.to_string()))?;
        hufu_tpm::csr::ecdsa_der(&raw).map_err(|error| fault(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
