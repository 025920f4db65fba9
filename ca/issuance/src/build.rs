//! From a profile and names to a TBSCertificate, and from that and a
//! signature to a certificate.
//!
//! Written out element by element (RFC 5280 section 4.1) rather than through a
//! general builder: what is signed is parsed again by [`crate::lint`] with
//! `x509-cert`, so two pieces of code have to agree on every octet.

use crate::algorithm::{PublicKey, SignatureAlgorithm};
use crate::form::FormError;
use crate::names::{self, AlternativeName};
use crate::profile::Profile;
use crate::serial::Serial;
use crate::subject::Subject;
use crate::time::UnixTime;
use crate::{oid, tlv};

use der::Encode;
use der::flagset::FlagSet;
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};

/// Where the world finds CRL, OCSP and the issuing certificate. They stand in
/// certificates for as long as those live, so use names that last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusAddresses {
    /// `http://.../crl/issuing.crl`
    pub crl: Option<String>,
    /// `http://.../ocsp`
    pub ocsp: Option<String>,
    /// `http://.../ca/issuing.cer`
    pub issuer: Option<String>,
}

impl StatusAddresses {
    /// The addresses of the status services under `base`, such as
    /// `http://pki.example.org`.
    ///
    /// # Errors
    /// `base` is not an `http` address (these services must be plain HTTP,
    /// RFC 5280 section 8: a client that checks TLS would go in circles).
    pub fn under(base: &str) -> Result<StatusAddresses, FormError> {
        let base = Self::base(base)?;
        Ok(StatusAddresses {
            crl: Some(format!("{base}/crl/issuing.crl")),
            ocsp: Some(format!("{base}/ocsp")),
            issuer: Some(format!("{base}/ca/issuing.cer")),
        })
    }

    /// What the issuing certificate says: the root's list and certificate under
    /// the same `base`. The root's key answers no OCSP.
    ///
    /// # Errors
    /// As of [`StatusAddresses::under`].
    pub fn of_root(base: &str) -> Result<StatusAddresses, FormError> {
        let base = Self::base(base)?;
        Ok(StatusAddresses {
            crl: Some(format!("{base}/crl/root.crl")),
            ocsp: None,
            issuer: Some(format!("{base}/ca/root.cer")),
        })
    }

    fn base(base: &str) -> Result<&str, FormError> {
        let base = base.trim_end_matches('/');
        let host = base.strip_prefix("http://").unwrap_or("");
        let fine = !host.is_empty()
            && base.len() <= 200
            && base.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
        if !fine {
            return Err(FormError::malformed(
                "status address",
                "use an address that begins with http:// and holds no spaces",
            ));
        }
        Ok(base)
    }
}

/// What goes into a TBSCertificate.
pub(crate) struct Content<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) serial: &'a Serial,
    pub(crate) signature: SignatureAlgorithm,
    /// The issuer's Name, DER.
    pub(crate) issuer: &'a [u8],
    pub(crate) authority_key_identifier: &'a [u8],
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    pub(crate) subject: &'a Subject,
    pub(crate) public_key: &'a PublicKey,
    pub(crate) alternative_names: &'a [AlternativeName],
    pub(crate) addresses: &'a StatusAddresses,
}

/// The TBSCertificate, DER.
pub(crate) fn tbs(content: &Content<'_>) -> Result<Vec<u8>, FormError> {
    let version = tlv::wrap(tlv::context(0), &[&tlv::unsigned(2)]);
    let validity = tlv::sequence(&[
        &content.not_before.to_x509()?.to_der().map_err(FormError::encoding)?,
        &content.not_after.to_x509()?.to_der().map_err(FormError::encoding)?,
    ]);
    let extensions = extensions(content)?;
    Ok(tlv::sequence(&[
        &version,
        &content.serial.to_der(),
        &content.signature.to_der(),
        content.issuer,
        &validity,
        &content.subject.to_der(),
        &content.public_key.to_spki_der(),
        &tlv::wrap(tlv::context(3), &[&extensions]),
    ]))
}

/// The certificate around a TBS.
pub(crate) fn assemble(tbs: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    tlv::signed(tbs, &algorithm.to_der(), signature)
}

/// An authorityKeyIdentifier's value with nothing but the keyIdentifier.
pub(crate) fn authority_key_identifier(identifier: &[u8]) -> Vec<u8> {
    tlv::sequence(&[&tlv::wrap(0x80, &[identifier])])
}

fn extensions(content: &Content<'_>) -> Result<Vec<u8>, FormError> {
    let rules = &content.profile.extensions;
    let mut list: Vec<Vec<u8>> = Vec::with_capacity(8);
    list.push(tlv::extension(
        &oid::AUTHORITY_KEY_IDENTIFIER,
        false,
        &authority_key_identifier(content.authority_key_identifier),
    ));
    list.push(tlv::extension(
        &oid::SUBJECT_KEY_IDENTIFIER,
        false,
        &tlv::octet_string(&content.public_key.key_identifier()),
    ));
    let bits = rules
        .key_usage
        .iter()
        .fold(FlagSet::<KeyUsages>::default(), |bits, usage| bits | usage.bit());
    let usage = KeyUsage(bits).to_der().map_err(FormError::encoding)?;
    list.push(tlv::extension(&oid::KEY_USAGE, true, &usage));
    if content.profile.purpose.is_authority() {
        let ca = [tlv::BOOLEAN, 1, 0xff];
        let length = rules.path_length.map(|length| tlv::unsigned(u64::from(length)));
        let length: &[u8] = length.as_deref().unwrap_or(&[]);
        let value = tlv::sequence(&[&ca, length]);
        list.push(tlv::extension(&oid::BASIC_CONSTRAINTS, true, &value));
    }
    if !rules.extended_key_usage.is_empty() {
        let purposes: Vec<Vec<u8>> =
            rules.extended_key_usage.iter().map(|usage| tlv::oid(&usage.oid())).collect();
        let parts: Vec<&[u8]> = purposes.iter().map(Vec::as_slice).collect();
        list.push(tlv::extension(&oid::EXTENDED_KEY_USAGE, false, &tlv::sequence(&parts)));
    }
    if !content.alternative_names.is_empty() {
        // Critical only where it stands alone (RFC 5280 section 4.2.1.6).
        let critical = content.subject.is_empty();
        let value = names::to_der(content.alternative_names);
        list.push(tlv::extension(&oid::SUBJECT_ALT_NAME, critical, &value));
    }
    if rules.status {
        status(content.addresses, &mut list);
    }
    let parts: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
    Ok(tlv::sequence(&parts))
}

fn status(addresses: &StatusAddresses, list: &mut Vec<Vec<u8>>) {
    let uri = |address: &str| tlv::wrap(0x86, &[address.as_bytes()]);
    if let Some(crl) = &addresses.crl {
        let name = tlv::wrap(tlv::context(0), &[&tlv::wrap(tlv::context(0), &[&uri(crl)])]);
        let value = tlv::sequence(&[&tlv::sequence(&[&name])]);
        list.push(tlv::extension(&oid::CRL_DISTRIBUTION_POINTS, false, &value));
    }
    let mut access = Vec::new();
    for (method, address) in
        [(oid::AD_OCSP, &addresses.ocsp), (oid::AD_CA_ISSUERS, &addresses.issuer)]
    {
        if let Some(address) = address {
            access.push(tlv::sequence(&[&tlv::oid(&method), &uri(address)]));
        }
    }
    if !access.is_empty() {
        let parts: Vec<&[u8]> = access.iter().map(Vec::as_slice).collect();
        list.push(tlv::extension(&oid::AUTHORITY_INFO_ACCESS, false, &tlv::sequence(&parts)));
    }
}
