//! PKCS#10 certification requests (RFC 2986): read as others write them,
//! proved, and reduced to what a profile may look at.
//!
//! A request is only a request: the subject and alternative names are looked
//! at by the profile, key usages that were asked for are the profile's own
//! business, and anything that would make an authority is refused loudly
//! rather than dropped. So is every name that would not be certified.
//!
//! Departures from RFC 2986, all seen in what is shipped: `attributes` may be
//! missing; extensions may stand in Microsoft's attribute of the same form
//! ([MS-WCCE] section 2.2.2.7.7.1 `szOID_CERT_EXTENSIONS`); an ECDSA signature's
//! algorithm may have NULL parameters (RFC 5758 section 3.2 has none). What is
//! signed is verified as it came, to the byte.

use der::Decode;
use der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;

use crate::algorithm::{PublicKey, SignatureAlgorithm};
use crate::form::FormError;
use crate::names::{self, AlternativeName};
use crate::subject::Subject;
use crate::tlv::{self, Element, elements, read_oid};
use crate::{limits, oid};

const WHAT: &str = "certification request";

/// A request whose signature was verified with the key inside it.
#[derive(Clone, Debug)]
pub struct CertificationRequest {
    subject: Subject,
    public_key: PublicKey,
    alternative_names: Vec<AlternativeName>,
    der: Vec<u8>,
}

impl CertificationRequest {
    /// Parses DER and verifies the proof of possession.
    ///
    /// # Errors
    /// Too large, not DER, an algorithm other than P-256, P-384 or Ed25519, a
    /// signature by another key, a subject or extension that breaks a rule.
    pub fn from_der(der: &[u8]) -> Result<CertificationRequest, FormError> {
        if der.len() > limits::CSR_DER {
            return Err(FormError::TooLarge {
                what: "certification request",
                limit: limits::CSR_DER,
            });
        }
        let (info, algorithm, signature) = parts(der)?;
        let fields = elements(WHAT, "certificationRequestInfo", info.content)?;
        let [version, subject, key, attributes @ ..] = fields.as_slice() else {
            return Err(FormError::malformed(
                WHAT,
                "certificationRequestInfo must hold version, subject and subjectPKInfo",
            ));
        };
        check_version(version)?;
        // The key before the signature: RSA is refused by name.
        let public_key = PublicKey::from_spki_der(key.whole)?;
        let algorithm = signature_algorithm(&algorithm)?;
        let signature = match signature.content {
            [0, signature @ ..] if !signature.is_empty() => signature,
            _ => return Err(FormError::malformed(WHAT, "signature has unused bits or is empty")),
        };
        if !public_key.verify(algorithm, info.whole, signature) {
            return Err(FormError::ProofOfPossession);
        }
        let subject = Name::from_der(subject.whole)
            .map_err(|error| FormError::malformed(WHAT, format!("subject: {error}")))?;
        let subject = Subject::from_name(&subject)?;
        let alternative_names = match attributes {
            [] => Vec::new(),
            [attributes] if attributes.tag == tlv::context(0) => {
                requested_names(attributes.content)?
            }
            _ => {
                let detail = "after subjectPKInfo only attributes ([0]) may follow";
                return Err(FormError::malformed(WHAT, detail));
            }
        };
        Ok(CertificationRequest { subject, public_key, alternative_names, der: der.to_vec() })
    }

    /// The requested subject.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The key to be certified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The requested alternative names.
    pub fn alternative_names(&self) -> &[AlternativeName] {
        &self.alternative_names
    }

    /// The request as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// certificationRequestInfo, signatureAlgorithm, signature.
fn parts(der: &[u8]) -> Result<(Element<'_>, Element<'_>, Element<'_>), FormError> {
    let wrong = |detail: &str| Err(FormError::malformed(WHAT, detail));
    let request = match elements(WHAT, "it", der)?.as_slice() {
        [request] if request.tag == tlv::SEQUENCE => *request,
        [request, ..] if request.tag == tlv::SEQUENCE => {
            return wrong("something follows its end; send one request and nothing else");
        }
        _ => return wrong("it is not a SEQUENCE, so not a PKCS#10 request"),
    };
    match elements(WHAT, "it", request.content)?.as_slice() {
        [info, ..] if info.content.first() == Some(&tlv::context(0)) => {
            wrong("it is a certificate; send the request for one (PKCS#10)")
        }
        [info, algorithm, signature]
            if (info.tag, algorithm.tag) == (tlv::SEQUENCE, tlv::SEQUENCE)
                && signature.tag == tlv::BIT_STRING =>
        {
            Ok((*info, *algorithm, *signature))
        }
        _ => wrong(
            "it must hold certificationRequestInfo, signatureAlgorithm and signature (PKCS#10, RFC 2986)",
        ),
    }
}

fn check_version(version: &Element<'_>) -> Result<(), FormError> {
    match (version.tag, version.content) {
        (tlv::INTEGER, [0]) => Ok(()),
        (tlv::INTEGER, [other]) => Err(FormError::malformed(
            WHAT,
            format!("version is {other}; a PKCS#10 request has version 0 (which is called v1)"),
        )),
        _ => Err(FormError::malformed(WHAT, "version is missing; it must be 0 (v1)")),
    }
}

fn signature_algorithm(identifier: &Element<'_>) -> Result<SignatureAlgorithm, FormError> {
    let fields = elements(WHAT, "signatureAlgorithm", identifier.content)?;
    let algorithm = read_oid(WHAT, "signatureAlgorithm", fields.first())?;
    let parameters = fields.get(1).map(|parameters| parameters.whole);
    let null = parameters == Some(&[0x05, 0x00]);
    match SignatureAlgorithm::from_parts(&algorithm, parameters) {
        Err(_) if null && algorithm != oid::ED25519 => {
            SignatureAlgorithm::from_parts(&algorithm, None)
        }
        other => other,
    }
}

/// The alternative names in the extensions that are asked for.
fn requested_names(attributes: &[u8]) -> Result<Vec<AlternativeName>, FormError> {
    let mut extensions = Vec::new();
    for attribute in elements(WHAT, "attributes", attributes)? {
        let fields = elements(WHAT, "an attribute", attribute.content)?;
        let kind = read_oid(WHAT, "an attribute", fields.first())?;
        let name = oid::name_of(&kind);
        match kind {
            oid::EXTENSION_REQUEST | oid::MICROSOFT_EXTENSIONS => {
                for list in values(&name, &fields)? {
                    extensions.extend(extensions_in(&name, &list)?);
                }
            }
            oid::MICROSOFT_NAME_VALUE => {
                for pair in values(&name, &fields)? {
                    refuse_names_in(&name, &pair)?;
                }
            }
            // Other attributes (challengePassword, unstructuredName, which
            // machine made it) may stand there and mean nothing here, as RFC
            // 2986 section 4.1 allows.
            _ => {}
        }
    }
    let mut alternative_names = Vec::new();
    let mut seen = Vec::<(ObjectIdentifier, &[u8])>::new();
    for (kind, value) in extensions {
        match seen.iter().find(|(other, _)| *other == kind) {
            Some((_, same)) if *same == value => continue,
            Some(_) => return Err(refused(&kind, "stands twice; give it once")),
            None => seen.push((kind, value)),
        }
        if let Some(names) = requested(&kind, value)? {
            alternative_names = names;
        }
    }
    Ok(alternative_names)
}

/// The values of an attribute: its SET.
fn values<'a>(name: &str, fields: &[Element<'a>]) -> Result<Vec<Element<'a>>, FormError> {
    match fields {
        [_, set] if set.tag == tlv::SET && !set.content.is_empty() => {
            elements(WHAT, name, set.content)
        }
        _ => Err(FormError::malformed(WHAT, format!("attribute {name} holds no value"))),
    }
}

/// Identifier and value of each of the Extensions in `list`. Whether they are
/// to be critical is the profile's business.
fn extensions_in<'a>(
    name: &str,
    list: &Element<'a>,
) -> Result<Vec<(ObjectIdentifier, &'a [u8])>, FormError> {
    if list.tag != tlv::SEQUENCE {
        return Err(FormError::malformed(WHAT, format!("{name} holds no Extensions")));
    }
    let mut extensions = Vec::new();
    for extension in elements(WHAT, name, list.content)? {
        let fields = elements(WHAT, name, extension.content)?;
        let kind = read_oid(WHAT, name, fields.first())?;
        let value = match fields.as_slice() {
            [_, value] => value,
            [_, critical, value] if critical.tag == tlv::BOOLEAN => value,
            _ => return Err(refused(&kind, "does not decode")),
        };
        if value.tag != tlv::OCTET_STRING {
            return Err(refused(&kind, "does not decode"));
        }
        extensions.push((kind, value.content));
    }
    Ok(extensions)
}

/// Names given as text for a Windows authority (`SAN` = `dns=...`) would be
/// lost here.
fn refuse_names_in(name: &str, pair: &Element<'_>) -> Result<(), FormError> {
    let fields = elements(WHAT, name, pair.content)?;
    // A BMPString: two octets a character.
    let label: Vec<u8> = fields
        .first()
        .map_or(&[][..], |label| label.content)
        .iter()
        .copied()
        .filter(|b| *b != 0)
        .collect();
    if label.eq_ignore_ascii_case(b"san") {
        return Err(FormError::Extension {
            extension: format!("{name} SAN"),
            detail: "is not read here; put the names into a subjectAltName extension".to_owned(),
        });
    }
    Ok(())
}

/// What one requested extension asks for: names, or nothing that matters.
fn requested(
    kind: &ObjectIdentifier,
    value: &[u8],
) -> Result<Option<Vec<AlternativeName>>, FormError> {
    match *kind {
        oid::SUBJECT_ALT_NAME => return names::parse(value).map(Some),
        oid::BASIC_CONSTRAINTS => {
            let constraints =
                BasicConstraints::from_der(value).map_err(|_| refused(kind, "does not decode"))?;
            if constraints.ca || constraints.path_len_constraint.is_some() {
                return Err(refused(
                    kind,
                    "asks for an authority's certificate; leave it out or say CA:FALSE",
                ));
            }
        }
        oid::KEY_USAGE => {
            let usage = KeyUsage::from_der(value).map_err(|_| refused(kind, "does not decode"))?;
            if usage.0.contains(KeyUsages::KeyCertSign) || usage.0.contains(KeyUsages::CRLSign) {
                return Err(refused(
                    kind,
                    "asks for keyCertSign or cRLSign, which only the ceremony gives; leave them out",
                ));
            }
        }
        // What the profile sets anyway may be named in a request; what Windows
        // and OpenSSL add by themselves says nothing that is certified here.
        oid::EXTENDED_KEY_USAGE
        | oid::SUBJECT_KEY_IDENTIFIER
        | oid::AUTHORITY_KEY_IDENTIFIER
        | oid::SMIME_CAPABILITIES
        | oid::NETSCAPE_CERTIFICATE_TYPE
        | oid::NETSCAPE_COMMENT
        | oid::MICROSOFT_TEMPLATE_NAME
        | oid::MICROSOFT_TEMPLATE
        | oid::MICROSOFT_APPLICATION_POLICIES => {}
        _ => {
            return Err(refused(
                kind,
                "is not certified here; leave it out (subjectAltName is the one that is read)",
            ));
        }
    }
    Ok(None)
}

fn refused(extension: &ObjectIdentifier, detail: &str) -> FormError {
    FormError::Extension { extension: oid::name_of(extension), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> &'static [u8] {
        static REQUEST: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        REQUEST.get_or_init(|| {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = vec!["a.example.org".to_owned()];
            let mut parameters = rcgen::CertificateParams::new(names).unwrap();
            parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "maker");
            parameters.serialize_request(&key).unwrap().der().to_vec()
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(CertificationRequest::from_der(&bytes).is_err());
        }

        #[test]
        fn a_request_with_changed_bytes_is_refused(
            changes in proptest::collection::vec((any::<usize>(), 1u8..), 1..4)
        ) {
            let mut altered = request().to_vec();
            for (position, change) in changes {
                let position = position % altered.len();
                altered[position] ^= change;
            }
            let outcome = CertificationRequest::from_der(&altered);
            prop_assert!(altered == request() || outcome.is_err());
        }

        #[test]
        fn bytes_cut_out_or_put_in_are_refused(at in any::<usize>(), cut in 0usize..20, put in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut altered = request().to_vec();
            let at = at % altered.len();
            let end = (at + cut).min(altered.len());
            altered.splice(at..end, put);
            let outcome = CertificationRequest::from_der(&altered);
            prop_assert!(altered == request() || outcome.is_err());
        }
    }

    #[test]
    fn a_request_says_what_it_asks_for() {
        let request = CertificationRequest::from_der(request()).unwrap();
        assert_eq!(request.alternative_names(), [AlternativeName::Dns("a.example.org".to_owned())]);
        assert_eq!(request.subject().to_text(), "O=maker,CN=rcgen self signed cert");
    }
}
