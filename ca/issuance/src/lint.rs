//! Rules that a TBSCertificate is held to *before* it goes to the ledger and
//! the token. What breaks one is not signed.
//!
//! The rules are RFC 5280's for all and IEEE 802.1AR-2018's for devices, and
//! that the certificate is what its profile says. The input is parsed afresh
//! from the bytes that would be signed.

use std::fmt;

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
};
use x509_cert::time::Time;

use crate::algorithm::{PublicKey, SignatureAlgorithm, strict};
use crate::names::AlternativeName;
use crate::profile::{MemberRule, NameKind, Profile, Purpose};
use crate::subject::{Attribute, Subject};
use crate::time::UnixTime;
use crate::{names, oid};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable name of the rule.
    pub rule: &'static str,
    /// Where the rule stands.
    pub section: &'static str,
    /// What is wrong.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.rule, self.section, self.detail)
    }
}

/// The issuer as far as lint looks at it.
pub(crate) struct IssuerFacts<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) key_identifier: &'a [u8],
    pub(crate) signature: SignatureAlgorithm,
    /// `None` for a certificate that signs itself.
    pub(crate) not_after: Option<UnixTime>,
}

struct Lint<'a> {
    tbs: &'a TbsCertificate,
    profile: &'a Profile,
    issuer: &'a IssuerFacts<'a>,
    findings: Vec<Finding>,
}

/// Everything that is wrong with `tbs`; nothing if it may be signed.
pub(crate) fn lint(tbs: &[u8], profile: &Profile, issuer: &IssuerFacts<'_>) -> Vec<Finding> {
    let parsed: TbsCertificate = match strict("TBSCertificate", tbs) {
        Ok(parsed) => parsed,
        Err(error) => {
            return vec![Finding {
                rule: "tbs-is-der",
                section: "RFC 5280 4.1",
                detail: error.to_string(),
            }];
        }
    };
    let mut lint = Lint { tbs: &parsed, profile, issuer, findings: Vec::new() };
    lint.frame();
    lint.validity();
    lint.subject();
    lint.key();
    lint.extensions();
    lint.key_usage();
    lint.constraints();
    lint.alternative_names();
    lint.addresses();
    if profile.purpose == Purpose::Device {
        lint.device();
    }
    lint.findings
}

impl Lint<'_> {
    fn found(&mut self, rule: &'static str, section: &'static str, detail: impl Into<String>) {
        self.findings.push(Finding { rule, section, detail: detail.into() });
    }

    fn require(&mut self, holds: bool, rule: &'static str, section: &'static str, detail: &str) {
        if !holds {
            self.found(rule, section, detail);
        }
    }

    fn frame(&mut self) {
        self.require(
            self.tbs.version() == Version::V3,
            "version-3",
            "RFC 5280 4.1.2.1",
            "certificates with extensions are version 3",
        );
        let serial = self.tbs.serial_number().as_bytes();
        let positive = serial.first().is_some_and(|first| first & 0x80 == 0)
            && serial.iter().any(|octet| *octet != 0);
        self.require(
            positive,
            "serial-positive",
            "RFC 5280 4.1.2.2",
            "the serial number must be positive",
        );
        // 8 octets of randomness at least; at most 20 octets in all.
        self.require(
            (8..=20).contains(&serial.len()),
            "serial-length",
            "RFC 5280 4.1.2.2, IEEE 802.1AR 8.2",
            "the serial number must have 8 to 20 octets",
        );
        let signature = SignatureAlgorithm::from_identifier(self.tbs.signature());
        self.require(
            signature.is_ok_and(|algorithm| algorithm == self.issuer.signature),
            "signature-is-issuers",
            "RFC 5280 4.1.2.3",
            "the signature algorithm must be the issuer's, without parameters",
        );
        let issuer = self.tbs.issuer().to_der().unwrap_or_default();
        self.require(
            issuer == self.issuer.name && !self.tbs.issuer().is_empty(),
            "issuer-is-issuers-subject",
            "RFC 5280 4.1.2.4",
            "the issuer must be the issuing certificate's subject, octet by octet",
        );
        self.require(
            self.tbs.issuer_unique_id().is_none() && self.tbs.subject_unique_id().is_none(),
            "no-unique-identifiers",
            "RFC 5280 4.1.2.8",
            "unique identifiers must not stand there",
        );
    }

    fn validity(&mut self) {
        let validity = self.tbs.validity();
        for (rule, time) in
            [("not-before-form", &validity.not_before), ("not-after-form", &validity.not_after)]
        {
            let year = time.to_date_time().year();
            let fits = match time {
                Time::UtcTime(_) => year <= 2049,
                Time::GeneralTime(_) => year >= 2050,
            };
            self.require(
                fits,
                rule,
                "RFC 5280 4.1.2.5",
                "UTCTime through 2049, GeneralizedTime after",
            );
        }
        let start = UnixTime::from_x509(&validity.not_before);
        let end = UnixTime::from_x509(&validity.not_after);
        self.require(
            start < end,
            "validity-order",
            "RFC 5280 4.1.2.5",
            "it must begin before it ends",
        );
        if self.profile.validity.never {
            self.require(
                end == UnixTime::NEVER,
                "validity-never",
                "IEEE 802.1AR 8.7",
                "a certificate without end says 99991231235959Z",
            );
        } else if let Some(issuer_end) = self.issuer.not_after {
            self.require(
                end <= issuer_end,
                "validity-within-issuer",
                "RFC 5280 6.1.3",
                "it must not outlive its issuer's certificate",
            );
        }
    }

    fn subject(&mut self) {
        let subject = match Subject::from_name(self.tbs.subject()) {
            Ok(subject) => subject,
            Err(error) => {
                return self.found("subject-form", "RFC 5280 4.1.2.6", error.to_string());
            }
        };
        self.require(
            !subject.is_empty(),
            "subject-not-empty",
            "RFC 5280 4.1.2.6",
            "the subject must hold an attribute",
        );
        for attribute in self.tbs.subject().iter() {
            let tag = attribute.value.tag();
            let printable = attribute.oid == oid::COUNTRY || attribute.oid == oid::SERIAL_NUMBER;
            let fits = tag == Tag::PrintableString || (tag == Tag::Utf8String && !printable);
            self.require(
                fits,
                "subject-string-type",
                "RFC 5280 4.1.2.4",
                "names are PrintableString or UTF8String; C and serialNumber PrintableString",
            );
        }
        for attribute in self.profile.subject.required.clone() {
            if subject.value(attribute).is_none() {
                self.found(
                    "subject-required",
                    "profile",
                    format!("{} is missing", attribute.name()),
                );
            }
        }
        let beyond: Vec<&str> = subject
            .attributes()
            .filter(|(attribute, _)| !self.profile.subject.allowed.contains(attribute))
            .map(|(attribute, _)| attribute.name())
            .collect();
        if !beyond.is_empty() {
            self.found("subject-allowed", "profile", format!("holds {}", beyond.join(", ")));
        }
    }

    fn key(&mut self) {
        let spki = self.tbs.subject_public_key_info().to_der().unwrap_or_default();
        match PublicKey::from_spki_der(&spki) {
            Err(error) => self.found("key-form", "RFC 5480 2, RFC 8410 4", error.to_string()),
            Ok(key) => {
                self.require(
                    self.profile.keys.contains(&key.algorithm()),
                    "key-algorithm",
                    "profile",
                    "the profile does not certify keys of this algorithm",
                );
                let identifier = self.value(&oid::SUBJECT_KEY_IDENTIFIER).map(<[u8]>::to_vec);
                let expected = crate::tlv::octet_string(&key.key_identifier());
                self.require(
                    identifier == Some(expected),
                    "subject-key-identifier",
                    "RFC 5280 4.2.1.2, IEEE 802.1AR 8.10.2",
                    "the subjectKeyIdentifier must be the SHA-1 of the key",
                );
            }
        }
    }

    /// Which extensions may stand there, each once, with the right
    /// criticality.
    fn extensions(&mut self) {
        let extensions: Vec<Extension> = self.tbs.extensions().cloned().unwrap_or_default();
        let authority = self.profile.purpose.is_authority();
        for (position, extension) in extensions.iter().enumerate() {
            let name = oid::name_of(&extension.extn_id);
            if extensions[..position].iter().any(|other| other.extn_id == extension.extn_id) {
                self.found("extension-once", "RFC 5280 4.2", format!("{name} stands twice"));
            }
            let critical = match extension.extn_id {
                oid::KEY_USAGE => true,
                oid::BASIC_CONSTRAINTS if authority => true,
                oid::SUBJECT_ALT_NAME => self.tbs.subject().is_empty(),
                oid::EXTENDED_KEY_USAGE
                | oid::AUTHORITY_KEY_IDENTIFIER
                | oid::SUBJECT_KEY_IDENTIFIER
                | oid::CRL_DISTRIBUTION_POINTS
                | oid::AUTHORITY_INFO_ACCESS => false,
                _ => {
                    self.found(
                        "extension-known",
                        "profile",
                        format!("{name} is not one of the profile's"),
                    );
                    continue;
                }
            };
            if extension.critical != critical {
                let should = if critical { "must be critical" } else { "must not be critical" };
                self.found("extension-critical", "RFC 5280 4.2.1", format!("{name} {should}"));
            }
        }
        let identifier = self
            .value(&oid::AUTHORITY_KEY_IDENTIFIER)
            .and_then(|value| AuthorityKeyIdentifier::from_der(value).ok())
            .filter(|identifier| {
                identifier.authority_cert_issuer.is_none()
                    && identifier.authority_cert_serial_number.is_none()
            })
            .and_then(|identifier| identifier.key_identifier)
            .map(|key| key.as_bytes().to_vec());
        self.require(
            identifier.as_deref() == Some(self.issuer.key_identifier),
            "authority-key-identifier",
            "RFC 5280 4.2.1.1, IEEE 802.1AR 8.10.1",
            "the authorityKeyIdentifier must be the issuer's subjectKeyIdentifier",
        );
    }

    fn key_usage(&mut self) {
        let usage = self.value(&oid::KEY_USAGE).and_then(|value| KeyUsage::from_der(value).ok());
        let Some(KeyUsage(bits)) = usage else {
            return self.found(
                "key-usage-present",
                "RFC 5280 4.2.1.3",
                "keyUsage must stand there",
            );
        };
        let expected = self
            .profile
            .extensions
            .key_usage
            .iter()
            .fold(der::flagset::FlagSet::<KeyUsages>::default(), |bits, usage| bits | usage.bit());
        self.require(
            bits == expected,
            "key-usage-is-profiles",
            "profile",
            "keyUsage must be the profile's",
        );
        let signs = bits.contains(KeyUsages::KeyCertSign) || bits.contains(KeyUsages::CRLSign);
        self.require(
            signs == self.profile.purpose.is_authority(),
            "key-usage-authority",
            "RFC 5280 4.2.1.3",
            "keyCertSign and cRLSign belong to authorities",
        );
        // An elliptic signature key cannot encipher keys.
        let enciphers =
            bits.contains(KeyUsages::KeyEncipherment) || bits.contains(KeyUsages::DataEncipherment);
        self.require(
            !enciphers,
            "key-usage-fits-key",
            "RFC 5480 3, RFC 8410 5",
            "an elliptic key does not encipher",
        );
        let purposes = self
            .value(&oid::EXTENDED_KEY_USAGE)
            .map(|value| ExtendedKeyUsage::from_der(value).map(|usage| usage.0));
        let expected: Vec<ObjectIdentifier> =
            self.profile.extensions.extended_key_usage.iter().map(|usage| usage.oid()).collect();
        let fits = match purposes {
            None => expected.is_empty(),
            Some(Ok(purposes)) => !expected.is_empty() && purposes == expected,
            Some(Err(_)) => false,
        };
        self.require(
            fits,
            "extended-key-usage-is-profiles",
            "RFC 5280 4.2.1.12, profile",
            "extKeyUsage must be the profile's",
        );
    }

    fn constraints(&mut self) {
        let constraints = self.value(&oid::BASIC_CONSTRAINTS).map(BasicConstraints::from_der);
        let authority = self.profile.purpose.is_authority();
        let fits = match constraints {
            None => !authority,
            Some(Ok(constraints)) => {
                constraints.ca == authority
                    && constraints.path_len_constraint == self.profile.extensions.path_length
            }
            Some(Err(_)) => false,
        };
        self.require(
            fits,
            "basic-constraints",
            "RFC 5280 4.2.1.9",
            "cA and pathLenConstraint must be there for authorities, as the profile says, and only for them",
        );
    }

    fn alternative_names(&mut self) {
        let names = self.value(&oid::SUBJECT_ALT_NAME).map(names::parse);
        match names {
            Some(Err(error)) => {
                self.found("subject-alt-name", "RFC 5280 4.2.1.6", error.to_string())
            }
            None => self.require(
                !self.profile.extensions.alternative_names_required,
                "subject-alt-name-required",
                "profile",
                "the profile requires an alternative name",
            ),
            Some(Ok(names)) => self.member(&names),
        }
    }

    /// Whoever relies on the certificate knows by it whose holder it is, and the
    /// subject says nothing else.
    fn member(&mut self, names: &[AlternativeName]) {
        if !self.profile.extensions.alternative_names.contains(&NameKind::MemberRoles) {
            return;
        }
        let members: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                AlternativeName::Uri(uri) => uri.strip_prefix("urn:hufu:member:"),
                _ => None,
            })
            .collect();
        let subject = Subject::from_name(self.tbs.subject()).ok();
        let organisation = subject.as_ref().and_then(|subject| subject.value(Attribute::O));
        let is_owner = self.profile.subject.member != MemberRule::Set
            || members.first().copied() == organisation;
        self.require(
            members.len() == 1 && is_owner,
            "names-its-member",
            "profile",
            "the alternative name must name one member, the one that the subject's O has",
        );
    }

    /// Addresses for status must be absolute and plain HTTP.
    fn addresses(&mut self) {
        for identifier in [oid::CRL_DISTRIBUTION_POINTS, oid::AUTHORITY_INFO_ACCESS] {
            let Some(value) = self.value(&identifier) else { continue };
            // Every URI in there is an element of tag [6].
            let fits = uris(value).is_some_and(|uris| {
                !uris.is_empty()
                    && uris.iter().all(|uri| uri.starts_with("http://") && uri.len() > 7)
            });
            self.require(
                fits,
                "status-addresses",
                "RFC 5280 4.2.1.13, 4.2.2.1, 8",
                "addresses must begin with http://",
            );
        }
    }

    fn device(&mut self) {
        self.require(
            self.tbs.subject().iter().any(|attribute| attribute.oid == oid::SERIAL_NUMBER),
            "device-serial-number",
            "IEEE 802.1AR 8.6",
            "a device's subject must hold serialNumber",
        );
        if self.profile.validity.never {
            self.require(
                self.value(&oid::EXTENDED_KEY_USAGE).is_none(),
                "idevid-no-extended-key-usage",
                "IEEE 802.1AR 8.10",
                "an IDevID is not narrowed to a purpose",
            );
        }
        let usage = self.value(&oid::KEY_USAGE).and_then(|value| KeyUsage::from_der(value).ok());
        self.require(
            usage.is_some_and(|usage| usage.digital_signature()),
            "device-digital-signature",
            "IEEE 802.1AR 8.10.3",
            "a device's key must be allowed to sign",
        );
    }

    fn value(&self, identifier: &ObjectIdentifier) -> Option<&[u8]> {
        self.tbs
            .extensions()?
            .iter()
            .find(|extension| extension.extn_id == *identifier)
            .map(|extension| extension.extn_value.as_bytes())
    }
}

/// All URIs of a cRLDistributionPoints or authorityInfoAccess value.
fn uris(value: &[u8]) -> Option<Vec<String>> {
    use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
    use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, CrlDistributionPoints};
    let uri = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        _ => None,
    };
    if let Ok(access) = AuthorityInfoAccessSyntax::from_der(value) {
        return access.0.iter().map(|description| uri(&description.access_location)).collect();
    }
    let points = CrlDistributionPoints::from_der(value).ok()?;
    let mut found = Vec::new();
    for point in &points.0 {
        match point.distribution_point.as_ref()? {
            DistributionPointName::FullName(names) => {
                for name in names {
                    found.push(uri(name)?);
                }
            }
            DistributionPointName::NameRelativeToCRLIssuer(_) => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests;
