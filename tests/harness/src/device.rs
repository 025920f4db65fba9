//! Simulated devices. Their keys are the simulator's: software keys exist here
//! and nowhere in the product.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use hufu_proof::{
    Algorithm, Body, Digest, Height, Payload, PublicKey, Sequence, Signature, Signer, SignerFault,
    Transaction,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue};
use serde::{Deserialize, Serialize};

use crate::est::{Enrolled, compressed};
use crate::http::Identity;

/// serialNumber (X.520), the name of a device in IEEE 802.1AR.
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// A device or client whose key is in software.
pub struct Device {
    /// Its identifier: the serialNumber in its certificate's subject.
    pub id: String,
    /// Its certificate, once enrolled.
    pub certificate: Option<Enrolled>,
    /// Batches accepted so far.
    pub sequence: Sequence,
    key: Key,
    pkcs8: rcgen::KeyPair,
}

enum Key {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
}

/// A device on disk.
#[derive(Serialize, Deserialize)]
struct Saved {
    id: String,
    algorithm: Algorithm,
    key_pem: String,
    certificate_pem: Option<String>,
    sequence: Sequence,
}

impl Device {
    /// A new device with a new key.
    ///
    /// # Errors
    /// For algorithms that are not simulated.
    pub fn new(id: &str, algorithm: Algorithm) -> anyhow::Result<Self> {
        let pkcs8 = rcgen::KeyPair::generate_for(suite(algorithm)?)?;
        Self::from_key(id, algorithm, pkcs8)
    }

    fn from_key(id: &str, algorithm: Algorithm, pkcs8: rcgen::KeyPair) -> anyhow::Result<Self> {
        let der = pkcs8.serialize_der();
        let key = match algorithm {
            Algorithm::Ed25519 => Key::Ed25519(
                Ed25519KeyPair::from_pkcs8(&der).map_err(|error| anyhow!("Ed25519: {error}"))?,
            ),
            _ => Key::EcdsaP256(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
                    .map_err(|error| anyhow!("P-256: {error}"))?,
            ),
        };
        Ok(Self { id: id.to_owned(), certificate: None, sequence: Sequence::ZERO, key, pkcs8 })
    }

    /// Loads what [`Device::save`] wrote.
    ///
    /// # Errors
    /// When the file is not that.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("the device in {}", path.display());
        let saved: Saved =
            serde_json::from_slice(&fs::read(path).with_context(what)?).with_context(what)?;
        let pkcs8 = rcgen::KeyPair::from_pem_and_sign_algo(&saved.key_pem, suite(saved.algorithm)?)
            .with_context(what)?;
        let mut device = Self::from_key(&saved.id, saved.algorithm, pkcs8)?;
        device.sequence = saved.sequence;
        if let Some(pem) = saved.certificate_pem {
            let der = crate::est::der_of_pem(&pem)?.swap_remove(0);
            device.certificate = Some(Enrolled { der });
        }
        Ok(device)
    }

    /// Writes the device, its key included, to `path`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let saved = Saved {
            id: self.id.clone(),
            algorithm: self.algorithm(),
            key_pem: self.pkcs8.serialize_pem(),
            certificate_pem: self.certificate.as_ref().map(Enrolled::pem),
            sequence: self.sequence,
        };
        fs::write(path, serde_json::to_vec_pretty(&saved)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Its key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.key {
            Key::Ed25519(_) => Algorithm::Ed25519,
            Key::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// A certificate request as a device makes it: its identifier as
    /// serialNumber (IEEE 802.1AR §8.6). DER.
    ///
    /// # Errors
    /// When the identifier cannot stand in a name.
    pub fn request(&self) -> anyhow::Result<Vec<u8>> {
        let id: rcgen::string::PrintableString = self.id.as_str().try_into()?;
        self.request_for(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), DnValue::PrintableString(id))
    }

    /// A certificate request with the identifier as common name, for clients.
    /// DER.
    ///
    /// # Errors
    /// When the request cannot be made.
    pub fn client_request(&self) -> anyhow::Result<Vec<u8>> {
        self.request_for(DnType::CommonName, DnValue::Utf8String(self.id.clone()))
    }

    fn request_for(&self, kind: DnType, value: DnValue) -> anyhow::Result<Vec<u8>> {
        let mut parameters = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(kind, value);
        parameters.distinguished_name = name;
        Ok(parameters.serialize_request(&self.pkcs8)?.der().to_vec())
    }

    /// The private key, PKCS#8 PEM, for clients that are not ours.
    pub fn key_pem(&self) -> String {
        self.pkcs8.serialize_pem()
    }

    /// For TLS, with `issuer_pem` behind its certificate.
    ///
    /// # Errors
    /// Before it is enrolled.
    pub fn identity(&self, issuer_pem: &str) -> anyhow::Result<Identity> {
        let certificate = self.certificate.as_ref().context("the device is not enrolled")?;
        Ok(Identity { chain_pem: certificate.pem() + issuer_pem, key_pem: self.key_pem() })
    }

    /// Signs `payload`, valid up to height `expires`.
    ///
    /// # Errors
    /// Never for keys in software, but for the trait's sake.
    pub fn sign_payload(
        &self,
        chain: Digest,
        expires: u64,
        payload: Payload,
    ) -> anyhow::Result<Transaction> {
        let body = Body {
            chain,
            signer: self.public_key(),
            nonce: rand::random(),
            expires: Height(expires),
            payload,
        };
        Ok(body.sign(self)?)
    }
}

fn suite(algorithm: Algorithm) -> anyhow::Result<&'static rcgen::SignatureAlgorithm> {
    match algorithm {
        Algorithm::Ed25519 => Ok(&rcgen::PKCS_ED25519),
        Algorithm::EcdsaP256 => Ok(&rcgen::PKCS_ECDSA_P256_SHA256),
        other => Err(anyhow!("devices with {other} keys are not simulated")),
    }
}

impl Signer for Device {
    fn public_key(&self) -> PublicKey {
        let key = match &self.key {
            Key::Ed25519(key) => PublicKey::new(Algorithm::Ed25519, key.public_key().as_ref()).ok(),
            Key::EcdsaP256(key) => compressed(key.public_key().as_ref())
                .ok()
                .and_then(|bytes| PublicKey::new(Algorithm::EcdsaP256, &bytes).ok()),
        };
        key.expect("the library gives public keys of the algorithm's length")
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let fault = |error: &dyn std::fmt::Display| SignerFault(error.to_string());
        let bytes = match &self.key {
            Key::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Key::EcdsaP256(key) => key
                .sign(&SystemRandom::new(), message)
                .map_err(|error| fault(&error))?
                .as_ref()
                .to_vec(),
        };
        Signature::new(self.algorithm(), &bytes).map_err(|error| fault(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_signs_what_its_public_key_verifies() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("device.json");
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let mut device = Device::new("D-1", algorithm)?;
            let certificate = rcgen::CertificateParams::default().self_signed(&device.pkcs8)?;
            let certificate = Enrolled { der: certificate.der().to_vec() };
            assert_eq!(certificate.identity()?, device.public_key().identity());
            device.certificate = Some(certificate);
            device.save(&path)?;
            let loaded = Device::load(&path)?;
            let signature = loaded.sign(b"message")?;
            device.public_key().verify(b"message", &signature)?;
            assert!(device.public_key().verify(b"massage", &signature).is_err());
        }
        Ok(())
    }
}
