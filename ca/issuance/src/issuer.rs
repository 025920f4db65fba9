//! An authority that signs, and is checked against.

use std::sync::Arc;

use crate::algorithm::PublicKey;
use crate::certificate::Certificate;
use crate::form::FormError;
use crate::signer::TbsSigner;

/// An authority that signs: its certificate and its key in the token.
pub struct Issuer {
    certificate: Certificate,
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
        root.check_signed(&certificate)?;
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
        if !certificate.is_authority()? || !certificate.may_sign_certificates()? {
            return Err(FormError::Certificate(
                "the issuing certificate is not an authority's".to_owned(),
            ));
        }
        let key_identifier = certificate
            .subject_key_identifier()?
            .unwrap_or_else(|| certificate.public_key().key_identifier().to_vec());
        let subject_der = certificate.subject_der()?;
        Ok(Issuer { certificate, root, signer, key_identifier, subject_der })
    }

    /// The issuing certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
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
