//! An authority that signs, and is checked against.

use std::sync::{Arc, PoisonError, RwLock};

use crate::algorithm::PublicKey;
use crate::certificate::Certificate;
use crate::form::FormError;
use crate::signer::TbsSigner;

/// An authority that signs: its certificate and its key in the token.
pub struct Issuer {
    certificate: RwLock<Arc<Certificate>>,
    key: PublicKey,
    root: Certificate,
    signer: Arc<dyn TbsSigner>,
    key_identifier: Vec<u8>,
    subject_der: Vec<u8>,
}

impl Issuer {
    /// From the issuing certificate, the root above it and the key.
    ///
    /// # Errors
    /// The certificate is not the key's, not an authority's, or not under the
    /// root.
    pub fn new(
        certificate: Certificate,
        root: Certificate,
        signer: Arc<dyn TbsSigner>,
    ) -> Result<Issuer, FormError> {
        check_authority(&certificate, &root)?;
        root.check_signed(&root)?;
        if PublicKey::from_spki_der(signer.spki_der())? != *certificate.public_key() {
            return Err(FormError::Certificate(
                "the issuing certificate is of another key than the token's".to_owned(),
            ));
        }
        if certificate.public_key().algorithm().signature() != signer.algorithm() {
            return Err(FormError::Certificate(
                "the token's key signs with another algorithm than its certificate's key"
                    .to_owned(),
            ));
        }
        let key = certificate.public_key().clone();
        let key_identifier = key_identifier(&certificate)?;
        let subject_der = certificate.subject_der()?;
        let certificate = RwLock::new(Arc::new(certificate));
        Ok(Issuer { certificate, key, root, signer, key_identifier, subject_der })
    }

    /// The issuing certificate; another after [`Issuer::renew`].
    pub fn certificate(&self) -> Arc<Certificate> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on with another certificate of the same key and name, so that what
    /// was issued before is under it as well.
    ///
    /// # Errors
    /// It is of another key or name, not an authority's, or not under the root.
    pub fn renew(&self, certificate: Certificate) -> Result<(), FormError> {
        check_authority(&certificate, &self.root)?;
        if *certificate.public_key() != self.key
            || certificate.subject_der()? != self.subject_der
            || key_identifier(&certificate)? != self.key_identifier
        {
            return Err(FormError::Certificate(
                "the issuing certificate is of another authority than the one before".to_owned(),
            ));
        }
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
        Ok(())
    }

    /// The issuing key.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The root certificate.
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// The key.
    pub fn signer(&self) -> &Arc<dyn TbsSigner> {
        &self.signer
    }

    /// The keyIdentifier that issued certificates, CRLs name it by.
    pub fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }

    /// The issuer's Name, DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }
}

/// A certificate of an authority under the root.
fn check_authority(certificate: &Certificate, root: &Certificate) -> Result<(), FormError> {
    root.check_signed(certificate)?;
    if certificate.is_authority()? && certificate.may_sign_certificates()? {
        return Ok(());
    }
    Err(FormError::Certificate("the issuing certificate is not an authority's".to_owned()))
}

fn key_identifier(certificate: &Certificate) -> Result<Vec<u8>, FormError> {
    let own = || certificate.public_key().key_identifier().to_vec();
    Ok(certificate.subject_key_identifier()?.unwrap_or_else(own))
}
